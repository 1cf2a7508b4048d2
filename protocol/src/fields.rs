//! The named text values of a header, held as they lie in the frame.
//!
//! A decoded header keeps its bytes and remembers where each name and value is; only what JSON escaped
//! is copied. What a caller builds lies in the same side buffer.

use bytes::Bytes;
use smallvec::SmallVec;

/// Marks a [`Span`] that lies in the side buffer instead of the frame.
const IN_SIDE: u32 = 1 << 31;

/// Fields that are kept without an allocation: a send has 12 to 14.
const INLINE_FIELDS: usize = 16;

/// A piece of the frame's header or of the side buffer. Both are far below 2 GiB.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    start: u32,
    length: u32,
}

impl Span {
    #[expect(clippy::cast_possible_truncation, reason = "headers are shorter than FRAME_BYTES_MAX")]
    pub(crate) fn frame(start: usize, length: usize) -> Self {
        Self { start: start as u32, length: length as u32 }
    }

    #[expect(clippy::cast_possible_truncation, reason = "headers are shorter than FRAME_BYTES_MAX")]
    pub(crate) fn side(start: usize, length: usize) -> Self {
        Self { start: start as u32 | IN_SIDE, length: length as u32 }
    }

    /// Its length.
    pub(crate) fn bytes(self) -> usize {
        self.length as usize
    }
}

/// Name and value pairs of a header, in wire order.
#[derive(Debug, Clone, Default)]
pub struct Fields {
    frame: Bytes,
    pairs: Pairs,
}

/// Where names and values of a header are, while its frame is read.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pairs {
    /// UTF-8, by whoever adds to it.
    side: Vec<u8>,
    entries: SmallVec<[(Span, Span); INLINE_FIELDS]>,
}

impl Pairs {
    pub(crate) fn side(&mut self) -> &mut Vec<u8> {
        &mut self.side
    }

    pub(crate) fn add(&mut self, name: Span, value: Span) {
        self.entries.push((name, value));
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The fields of the header that all this was found in.
    pub(crate) fn of_frame(self, frame: Bytes) -> Fields {
        Fields { frame, pairs: self }
    }
}

impl Fields {
    /// No fields yet; [`Fields::push`] adds.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one field. Names are not checked for repetition: the first one wins on reading.
    pub fn push(&mut self, name: &str, value: &str) {
        let side = &mut self.pairs.side;
        let start = side.len();
        side.extend_from_slice(name.as_bytes());
        let middle = side.len();
        side.extend_from_slice(value.as_bytes());
        self.pairs.add(Span::side(start, name.len()), Span::side(middle, value.len()));
    }

    /// The value of `name`, or `None` when it is absent.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        self.value_bytes(name).map(text)
    }

    /// The same as bytes, which are UTF-8.
    pub(crate) fn value_bytes(&self, name: &str) -> Option<&[u8]> {
        self.iter_bytes().find(|(key, _)| *key == name.as_bytes()).map(|(_, value)| value)
    }

    /// All fields in wire order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.iter_bytes().map(|(name, value)| (text(name), text(value)))
    }

    /// The same as bytes, which are UTF-8: for readers that need few of them as text.
    #[inline]
    pub(crate) fn iter_bytes(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.pairs.entries.iter().map(|(name, value)| (self.bytes(*name), self.bytes(*value)))
    }

    /// How many fields there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pairs.entries.is_empty()
    }

    #[inline]
    fn bytes(&self, span: Span) -> &[u8] {
        let (source, start) = match span.start & IN_SIDE {
            0 => (&self.frame[..], span.start as usize),
            _ => (&self.pairs.side[..], (span.start & !IN_SIDE) as usize),
        };
        source.get(start..start + span.bytes()).unwrap_or_default()
    }
}

/// The decoders refuse a header that is not UTF-8, so the empty text is never taken here.
pub(crate) fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

impl PartialEq for Fields {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl Eq for Fields {}

impl<'a> FromIterator<(&'a str, &'a str)> for Fields {
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a str)>>(pairs: I) -> Self {
        let mut fields = Self::new();
        for (name, value) in pairs {
            fields.push(name, value);
        }
        fields
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_a_repeated_name_is_read() {
        let fields: Fields = [("a", "1"), ("b", "2"), ("a", "3")].into_iter().collect();
        assert_eq!(fields.value("a"), Some("1"));
        assert_eq!(fields.value("c"), None);
        assert_eq!(fields.len(), 3);
    }
}
