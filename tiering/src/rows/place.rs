//! Where the value of a property lies in a row.
//!
//! Owns the codes of `property_names`, and which values a column takes.

use memchr::memchr_iter;

/// The value is in `msg_id`.
pub(super) const IN_MSG_ID: u8 = 1;
/// The value is in `keys`.
pub(super) const IN_KEYS: u8 = 2;
/// The value is in `tags`.
pub(super) const IN_TAGS: u8 = 3;
/// The value is the next one of `properties`; the name follows.
pub(super) const IN_REST: u8 = 4;
/// The value is in the name's own column; the name follows.
pub(super) const IN_COLUMN: u8 = 5;

/// Where the value of an entry goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    MsgId,
    Keys,
    Tags,
    /// The column of this number among those of properties.
    Column(usize),
    Rest,
    /// To the rest although the name has a column, since the value is empty.
    EmptyRest,
    /// To the rest, since the blanks between the keys would not come back.
    KeysRest,
}

impl Place {
    /// The byte that stands for it.
    pub(super) const fn code(self) -> u8 {
        match self {
            Self::MsgId => IN_MSG_ID,
            Self::Keys => IN_KEYS,
            Self::Tags => IN_TAGS,
            Self::Column(_) => IN_COLUMN,
            Self::Rest | Self::EmptyRest | Self::KeysRest => IN_REST,
        }
    }

    /// Whether this is where the value of a name goes that went here with another value.
    #[inline]
    pub(super) fn takes(self, value: &[u8]) -> bool {
        match self {
            Self::MsgId | Self::Tags | Self::Column(_) => !value.is_empty(),
            Self::Keys => are_plain_keys(value),
            Self::Rest => true,
            Self::EmptyRest => value.is_empty(),
            Self::KeysRest => !are_plain_keys(value),
        }
    }
}

/// Whether the keys, joined with one blank each, are the text again.
#[inline]
fn are_plain_keys(text: &[u8]) -> bool {
    // The blank before the first key is the one that may not be another's neighbour.
    let mut next = 0;
    memchr_iter(b' ', text).all(|blank| {
        let is_plain = blank != next;
        next = blank + 1;
        is_plain
    }) && next != text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_plain_if_joining_gives_them_back() {
        for text in ["", " ", "a", "a b", " a", "a ", "a  b", "a b c", "ab cd  e", "a  ", "é ü"] {
            let joined = text.split(' ').filter(|key| !key.is_empty()).collect::<Vec<_>>().join(" ");
            assert_eq!(are_plain_keys(text.as_bytes()), joined == text && !text.is_empty(), "{text:?}");
        }
    }
}
