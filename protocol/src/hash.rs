//! Java's string hash, and the two numbers that RocketMQ derives from it: tag codes and index keys.
//!
//! Owns the arithmetic. It does not own the consume queue or the key index that store the results.

/// A Java `String.hashCode` that is fed piece by piece, so that a joined text need not be built.
///
/// Java hashes UTF-16 code units: `h = 31 * h + unit`, wrapping at 32 bits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JavaHash(i32);

impl JavaHash {
    /// The hash of the empty text.
    #[must_use]
    pub const fn new() -> Self {
        Self(0)
    }

    /// The hash of the text so far followed by `text`.
    #[must_use]
    pub fn then(self, text: &str) -> Self {
        let step = |hash: i32, unit: u16| hash.wrapping_mul(31).wrapping_add(i32::from(unit));
        if text.is_ascii() {
            // One byte is one code unit; this loop needs no decoding.
            return Self(text.bytes().fold(self.0, |hash, byte| step(hash, u16::from(byte))));
        }
        Self(text.encode_utf16().fold(self.0, step))
    }

    /// The hash as Java returns it.
    #[must_use]
    pub const fn value(self) -> i32 {
        self.0
    }
}

/// What Java's `text.hashCode()` returns.
#[must_use]
pub fn java_hash(text: &str) -> i32 {
    JavaHash::new().then(text).value()
}

/// The code by which consume queues and subscriptions know a tag: the hash, sign-extended, or 0 for a
/// message without a tag (`MessageExtBrokerInner.tagsString2tagsCode`).
#[must_use]
pub fn tags_code(tags: Option<&str>) -> i64 {
    i64::from(tags.map_or(0, java_hash))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_values_of_java() {
        // Values that `jshell` prints for these literals.
        assert_eq!(java_hash(""), 0);
        assert_eq!(java_hash("a"), 97);
        assert_eq!(java_hash("TagA"), 2_598_919);
        assert_eq!(java_hash("hello"), 99_162_322);
        assert_eq!(java_hash("polygenelubricants"), i32::MIN);
        assert_eq!(java_hash("\u{1F600}"), 1_772_899);
        assert_eq!(java_hash("é"), 233);
    }

    #[test]
    fn tag_codes_are_sign_extended() {
        assert_eq!(tags_code(None), 0);
        assert_eq!(tags_code(Some("polygenelubricants")), i64::from(i32::MIN));
    }

    proptest! {
        #[test]
        fn equals_the_definition(text in ".{0,40}") {
            let mut expected = 0_i32;
            for unit in text.encode_utf16() {
                expected = expected.wrapping_mul(31).wrapping_add(i32::from(unit));
            }
            prop_assert_eq!(java_hash(&text), expected);
        }

        #[test]
        fn pieces_equal_the_whole(a in ".{0,20}", b in ".{0,20}") {
            let joined = format!("{a}{b}");
            prop_assert_eq!(JavaHash::new().then(&a).then(&b).value(), java_hash(&joined));
        }
    }
}
