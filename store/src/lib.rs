//! The local log of a broker: append, index, read, flush, recover, trim.
//!
//! Owns the files that `FORMAT.md` describes. It is synchronous and knows nothing of the network.
//!
//! One idea carries everything: the log is a sequence of segments. The active one is a preallocated,
//! mapped file with an index in memory; a full one is sealed, which writes one sidecar with its index
//! and checksums. Nothing exists per queue.
//!
//! Reading order: [`limits`], `head` (what an append changes), `append`, `flush`, `locate` and `read`,
//! `seal` and `sidecar`, `scan` and `recover`, `retain`; `sealed_copy` and `gate` for whoever keeps copies elsewhere.
#![deny(unsafe_code)]

mod append;
mod begin;
mod catalog;
mod checkpoint;
mod clock;
mod disk;
mod early;
mod error;
mod flush;
mod gate;
mod head;
mod hot;
mod index;
pub mod inspect;
mod keys;
pub mod limits;
mod locate;
mod lock;
mod mapping;
mod message;
mod options;
mod query;
mod read;
mod recover;
mod reindex;
mod retain;
mod scan;
mod scrub;
mod seal;
mod sealed;
mod sealed_copy;
mod segment;
mod sidecar;
mod store;
mod sums;
mod tombstones;
mod upkeep;

pub use begin::{NextOffset, begin_at, begin_at_on};
pub use clock::{Clock, SystemClock};
pub use disk::{Disk, Existing, RealDisk};
pub use error::{AppendError, FlushFailed, OpenError, UpkeepError};
pub use flush::Done;
pub use gate::CopiedTo;
pub use keys::KeyKind;
pub use message::{Appended, AppendedEvent, Listener, NewMessage};
pub use options::{FlushMode, Retention, StoreOptions};
pub use query::Boundary;
pub use read::{Keep, KeepAll, Read, ReadBudget, ReadStatus};
pub use recover::{DamagedRange, Recovery};
pub use retain::{KeepHot, Swept, TopicRetention};
pub use scrub::Scrubbed;
pub use sealed_copy::{Loaded, LostRecord, SealedCopy, SealedRange};
pub use store::{QueueRange, Store, StoreStats};
