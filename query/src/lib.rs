//! The reading room: messages of both tiers as SQL tables.
//!
//! Owns what a statement sees (one snapshot of log and tier, each message once), which columns messages have, and what is
//! passed over without being read. It changes nothing: no statement writes, and none reads a file or a URL. Planning and
//! running are DataFusion's, which nothing else depends on.
//!
//! Reading order: `engine` (a statement's way), `session` and `tables` (what it is planned in), `snapshot`, `messages` (the
//! table), then `hot` and `cold`; `http` and `postgres` are the fronts.
#![forbid(unsafe_code)]

mod cold;
mod columns;
mod depth;
mod engine;
mod error;
mod figures;
mod forms;
mod hot;
pub mod http;
mod json;
pub mod limits;
mod messages;
pub mod postgres;
mod segments;
mod session;
mod snapshot;
mod split;
mod state;
mod tables;
mod traces;
mod wanted;
mod yields;

pub use datafusion::arrow::error::ArrowError;
pub use engine::{Answer, Engine};
pub use error::QueryError;
pub use snapshot::{Source, TierNow};
pub use state::{State, StateRows};
