//! Names of objects.

use crate::limits::POST_EDITS;

/// The folder of a broker: its name, with every byte outside `A-Z a-z 0-9 _ -` as `.` and two hex digits.
#[must_use]
pub fn broker_folder(broker: &str) -> String {
    let mut folder = String::with_capacity(broker.len());
    for byte in broker.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-' {
            folder.push(char::from(byte));
        } else {
            folder.push_str(&format!(".{byte:02x}"));
        }
    }
    folder
}

/// The folder of a roll in that of its broker. `attempt` tells apart what one writer makes of the same part of the log
/// again, so that a put of the first attempt that lands late hits nothing of the second.
#[must_use]
pub fn roll_folder(from: u64, to: u64, epoch: u64, attempt: u32) -> String {
    format!("roll/{from:020}-{to:020}-{epoch}-{attempt}")
}

/// The index of a roll.
#[must_use]
pub fn index_name(roll_folder: &str) -> String {
    format!("{roll_folder}/index")
}

/// An object of a roll.
#[must_use]
pub fn object_name(roll_folder: &str, number: usize) -> String {
    format!("{roll_folder}/{number:04}.parquet")
}

/// What an object of the manifest's folder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Edit(u64),
    Checkpoint(u64),
}

/// The names of one manifest.
#[derive(Debug, Clone)]
pub(super) struct Names {
    folder: String,
}

impl Names {
    pub(super) fn new(folder: &str) -> Self {
        Self { folder: folder.to_owned() }
    }

    pub(super) fn folder(&self) -> &str {
        &self.folder
    }

    pub(super) fn manifest(&self) -> String {
        format!("{}/manifest", self.folder)
    }

    pub(super) fn edit(&self, number: u64) -> String {
        format!("{}/{}", self.folder, edit_name(number))
    }

    pub(super) fn checkpoint(&self, number: u64) -> String {
        format!("{}/manifest/checkpoint-{number:020}", self.folder)
    }

    pub(super) fn hint(&self) -> String {
        format!("{}/manifest/hint", self.folder)
    }

    /// What a listed object is; `None` for anything that no edit and no checkpoint is called.
    pub(super) fn kind(&self, path: &str) -> Option<Kind> {
        let name = path.strip_prefix(&self.manifest())?.strip_prefix('/')?;
        let (digits, is_checkpoint) = match name.strip_prefix("checkpoint-") {
            Some(digits) => (digits, true),
            None => (name, false),
        };
        let number = digits.parse().ok().filter(|_| digits.len() == 20)?;
        Some(if is_checkpoint { Kind::Checkpoint(number) } else { Kind::Edit(number) })
    }
}

/// The name of an edit in its broker's folder, which its checksum covers.
pub(super) fn edit_name(number: u64) -> String {
    format!("manifest/{number:020}")
}

/// Whether an edit is a post: one that stays for good.
pub(super) fn is_post(number: u64) -> bool {
    number.is_multiple_of(POST_EDITS)
}

/// The post at or above an edit.
fn post_of(number: u64) -> u64 {
    number.div_ceil(POST_EDITS).saturating_mul(POST_EDITS)
}

/// The post that exists before an edit may be collected: a collection needs a checkpoint at the edit's own post or
/// later, and one more above that.
pub(super) fn guard_of(number: u64) -> u64 {
    post_of(number).saturating_add(POST_EDITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_the_format_says() {
        assert_eq!(broker_folder("broker-a_1"), "broker-a_1");
        assert_eq!(broker_folder("a.b/ö%"), "a.2eb.2f.c3.b6.25");
        assert_eq!(broker_folder(".."), ".2e.2e");
        let names = Names::new("b");
        assert_eq!(names.edit(7), "b/manifest/00000000000000000007");
        assert_eq!(names.kind(&names.edit(7)), Some(Kind::Edit(7)));
        assert_eq!(names.kind(&names.checkpoint(64)), Some(Kind::Checkpoint(64)));
        assert_eq!(names.kind(&names.hint()), None);
        assert_eq!(names.kind("b/manifest/7"), None);
        let folder = roll_folder(1, 2, 3, 4);
        assert_eq!(object_name(&folder, 5), "roll/00000000000000000001-00000000000000000002-3-4/0005.parquet");
    }

    #[test]
    fn guards_stand_a_window_behind() {
        assert_eq!((guard_of(1), guard_of(64), guard_of(65)), (128, 128, 192));
        assert!(is_post(64) && !is_post(65));
    }
}
