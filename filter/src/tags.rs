//! Sets of tags, asked first by hash code and then by text.

use strata_protocol::hash::java_hash;

/// The tags of one subscription, sorted by their hash codes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TagSet {
    tags: Vec<(i32, String)>,
}

impl TagSet {
    /// Splits `A || B` as RocketMQ's `FilterAPI` does: at `||`, blanks trimmed, empty parts dropped.
    #[must_use]
    pub(crate) fn parse(expression: &str) -> Self {
        let parts = expression.split("||").map(str::trim).filter(|tag| !tag.is_empty());
        let mut tags: Vec<_> = parts.map(|tag| (java_hash(tag), tag.to_owned())).collect();
        tags.sort_unstable();
        tags.dedup();
        Self { tags }
    }

    /// Whether some tag has this code. Codes are computed here from the text, not taken from clients:
    /// some of them hash other bytes.
    #[must_use]
    pub fn has_code(&self, code: i64) -> bool {
        i32::try_from(code).is_ok_and(|code| self.tags.binary_search_by_key(&code, |(known, _)| *known).is_ok())
    }

    /// Whether this very tag is in the set.
    #[must_use]
    pub fn has(&self, tag: &[u8]) -> bool {
        self.tags.iter().any(|(_, known)| known.as_bytes() == tag)
    }

    /// The tags, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.tags.iter().map(|(_, tag)| tag.as_str())
    }

    /// How many tags there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tags.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tags.is_empty()
    }
}
