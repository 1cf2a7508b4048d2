//! The manifest: the one truth about what the tier holds, as numbered edits that are made once each.
//!
//! Owns the edits, the state they add up to, checkpoints, and the rules by which one writer at a time is believed. They
//! are told in `FORMAT.md`. It lists objects by name and never looks into them.

mod apply;
mod checkpoint;
mod collect;
mod edit;
mod error;
mod expired;
mod ledger;
mod names;
mod roll;
mod state;
mod trail;

pub use edit::{Edit, RollKey};
pub use error::{CommitError, ManifestError};
pub use ledger::{Ledger, Writer};
pub use names::{broker_folder, index_name, object_name, roll_folder};
pub use roll::{ObjectEntry, ObjectRef, Place, Roll};
pub use state::{Manifest, Totals};
