//! The hall: where each request meets the room that answers it.
//!
//! Owns topics, groups, offsets, clients, locks, waiting pulls and delayed messages of one broker, and
//! the handlers of its requests. The log itself belongs to the store, sockets to remoting.
//!
//! Reading order: `handle` (the table of contents), `hall` (what handlers share), then a handler.
#![forbid(unsafe_code)]

mod options;
mod broker;
mod handle;
mod hall;
mod reading;
mod sieve;
mod filters;
mod trouble;
mod refusal;
mod topics;
mod attributes;
mod groups;
mod offsets;
mod clients;
mod cold;
mod locks;
mod waiting;
mod turns;
mod delay;
mod retention;
mod schedule;
mod registration;
mod creation;
mod durable;
mod config_files;
mod traffic;
mod trail;
mod histogram;
mod latency;
mod figures;
mod metrics;
mod state;
pub mod limits;

pub use broker::{Broker, NotOpen, ServeError, StartError};
pub use cold::{ColdError, StateError, write_config, write_identity};
pub use config_files::{check_config, restore_config};
pub use delay::BadDelay;
pub use durable::{ConfigFile, DurableError};
pub use options::{
    BrokerOptions, ColdSettings, FilterSettings, Identity, Patience, PullSettings, StoreSettings, TopicSettings,
};
pub use retention::{BadKeep, keep_text, parse_keep};
pub use state::{ClientState, GroupState, LagState, QueueState, TopicState};
pub use trail::Sampling;
