//! Edits, and the bytes they are stored as.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use strata_protocol::checked::{self, Proof};

use super::ManifestError;
use super::names::edit_name;
use super::roll::{ObjectRef, Roll};
use crate::limits::EDIT_BYTES_MAX;

/// The version of all documents of the manifest.
pub(super) const VERSION: u64 = 1;

/// Which roll is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RollKey {
    /// Where it begins in the log.
    pub from: u64,
    /// Where it ends.
    pub to: u64,
    /// Who made it.
    pub epoch: u64,
}

impl From<&Roll> for RollKey {
    fn from(roll: &Roll) -> Self {
        Self { from: roll.from, to: roll.to, epoch: roll.epoch }
    }
}

/// One change of the manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Edit {
    /// Another writer begins. Made by `Ledger::claim` alone.
    Claim {},
    /// New rolls behind the last one.
    Add {
        /// In the order of the log; the first one begins where the log was rolled to.
        rolls: Vec<Roll>,
    },
    /// Other rolls for the same part of the log.
    Swap {
        /// Neighbours, in the order of the log.
        remove: Vec<RollKey>,
        /// What covers exactly the same part.
        add: Vec<Roll>,
    },
    /// The oldest rolls go.
    Expire {
        /// From the oldest one on.
        rolls: Vec<RollKey>,
    },
    /// Messages of topics are gone, though the objects that they share with others stay.
    Drop {
        /// Topics, and the log offset up to which their messages are gone.
        topics: BTreeMap<String, u64>,
    },
    /// Messages of topics have expired, though the objects that they share with others stay.
    ExpireTopics {
        /// Topics, and the log offset up to which their messages are gone: one at which a roll ends.
        topics: BTreeMap<String, u64>,
    },
    /// Properties get columns of their own.
    Properties {
        /// Their ids, for good.
        ids: BTreeMap<String, i32>,
    },
    /// Which log is rolled here from now on.
    Log {
        /// The id that its data folder made up.
        id: String,
    },
    /// The broker's topics, groups and offsets as they were.
    State {
        /// The object they are in; the last one counts.
        object: ObjectRef,
    },
}

/// An edit in its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Numbered {
    pub(super) version: u64,
    pub(super) number: u64,
    pub(super) epoch: u64,
    /// A text that is this writer's alone: what two writers make is never the same bytes.
    pub(super) writer: String,
    pub(super) edit: Edit,
    /// Stands in the bytes only.
    #[serde(default, skip_serializing)]
    crc32c: Option<String>,
}

/// What is looked at first.
#[derive(Deserialize)]
pub(super) struct VersionOnly {
    pub(super) version: u64,
}

impl Numbered {
    pub(super) fn new(number: u64, epoch: u64, writer: &str, edit: Edit) -> Self {
        Self { version: VERSION, number, epoch, writer: writer.to_owned(), edit, crc32c: None }
    }

    /// The object's bytes, the same whenever they are made.
    pub(super) fn encode(&self) -> Result<Vec<u8>, String> {
        let text = serde_json::to_vec(self).map_err(|error| error.to_string())?;
        let bytes = checked::json_with_checksum(&edit_name(self.number), text);
        if bytes.len() > EDIT_BYTES_MAX {
            return Err(format!("it has {} bytes, an edit has {EDIT_BYTES_MAX} at most", bytes.len()));
        }
        Ok(bytes)
    }

    /// Understands the object of that number, called `name` for people.
    pub(super) fn decode(name: &str, number: u64, bytes: &[u8]) -> Result<Self, ManifestError> {
        let damaged = |what: String| ManifestError::Damaged { name: name.to_owned(), what };
        if bytes.len() > EDIT_BYTES_MAX {
            return Err(damaged(format!("it has {} bytes", bytes.len())));
        }
        match checked::check_json(&edit_name(number), bytes) {
            Ok(Proof::Checksum) => {}
            Ok(Proof::None) => return Err(damaged("it has no checksum".to_owned())),
            Err(error) => return Err(damaged(error.to_string())),
        }
        let VersionOnly { version } = serde_json::from_slice(bytes).map_err(|error| damaged(error.to_string()))?;
        if version != VERSION {
            return Err(ManifestError::Version { name: name.to_owned(), version });
        }
        let mut edit: Self = serde_json::from_slice(bytes).map_err(|error| damaged(error.to_string()))?;
        if edit.number != number {
            return Err(damaged(format!("it says that it is edit {}", edit.number)));
        }
        edit.crc32c = None;
        Ok(edit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_come_back_and_other_versions_are_refused_by_name() {
        let edit = Numbered::new(7, 3, "w", Edit::Drop { topics: [("t".to_owned(), 5)].into() });
        let bytes = edit.encode().unwrap();
        let text = String::from_utf8(bytes.clone()).unwrap();
        assert!(
            text.starts_with(
                r#"{"version":1,"number":7,"epoch":3,"writer":"w","edit":{"drop":{"topics":{"t":5}}},"crc32c":""#
            ),
            "{text}"
        );
        assert_eq!(Numbered::decode("x", 7, &bytes), Ok(edit.clone()));
        assert!(matches!(Numbered::decode("x", 8, &bytes), Err(ManifestError::Damaged { name, .. }) if name == "x"));
        for at in 0..bytes.len() {
            let mut other = bytes.clone();
            other[at] ^= 1;
            assert!(Numbered::decode("x", 7, &other).is_err(), "byte {at}");
            assert!(Numbered::decode("x", 7, &bytes[..at]).is_err(), "cut to {at}");
        }
        let newer = Numbered { version: 2, ..edit }.encode().unwrap();
        let expected = ManifestError::Version { name: "x".to_owned(), version: 2 };
        assert_eq!(Numbered::decode("x", 7, &newer), Err(expected));
    }
}
