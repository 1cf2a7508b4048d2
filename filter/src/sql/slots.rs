//! Finds the values of the few properties that an expression uses among all of a message's.
//!
//! Reads `name 0x01 value 0x02 ...` as RocketMQ's decoder does: an entry ends at 0x02 or at the end, its name at the
//! first 0x01; entries without a name, without 0x01 or with an empty value do not exist; of equal names the last counts.
//! Entries are read from the last to the first, so that the first one found counts and nothing is read behind it.

use strata_protocol::properties::{NAME_VALUE_SEPARATOR, PROPERTY_SEPARATOR};
use wide::u8x16;

/// Bytes whose separators are found together, as bits of one word.
const BLOCK: usize = 64;
/// Bytes that are compared at once.
const LANE: usize = 16;

/// Names up to this number are compared one by one, more are looked up in their sorted list.
const NAMES_FEW: usize = 8;

/// A name with its separator, and its first bytes in the form in which they are compared first.
#[derive(Debug, Clone)]
struct Needle {
    entry: Box<[u8]>,
    word: u64,
    mask: u64,
}

/// The names to be found.
#[derive(Debug, Clone)]
pub(super) struct Names {
    needles: Vec<Needle>,
    /// The places of the names in the order of their bytes; empty for few.
    sorted: Vec<u16>,
}

impl Names {
    pub(super) fn new(names: &[Box<str>]) -> Self {
        let needles: Vec<Needle> = names.iter().map(|name| Needle::new(name)).collect();
        let mut sorted: Vec<u16> = Vec::new();
        if needles.len() > NAMES_FEW {
            sorted = (0..needles.len() as u16).collect();
            sorted.sort_unstable_by(|left, right| {
                needles[usize::from(*left)].entry.cmp(&needles[usize::from(*right)].entry)
            });
        }
        Self { needles, sorted }
    }

    /// Fills `values`, which are as many as the names and all missing.
    #[inline]
    pub(super) fn find<'a>(&self, properties: &'a [u8], values: &mut [Option<&'a [u8]>]) {
        let mut missing = self.needles.len();
        if missing == 0 {
            return;
        }
        let mut end = properties.len();
        let mut base = properties.len();
        while base > 0 {
            let from = base.saturating_sub(BLOCK);
            let mut found = separators(properties, from, base);
            while found != 0 {
                let bit = 63 - found.leading_zeros();
                found ^= 1 << bit;
                let at = from + bit as usize;
                self.entry(properties, (at + 1, end), values, &mut missing);
                if missing == 0 {
                    return;
                }
                end = at;
            }
            base = from;
        }
        self.entry(properties, (0, end), values, &mut missing);
    }

    /// Takes the entry between two places if it is one that is looked for and not found yet.
    #[inline]
    fn entry<'a>(
        &self,
        properties: &'a [u8],
        (from, end): (usize, usize),
        values: &mut [Option<&'a [u8]>],
        missing: &mut usize,
    ) {
        let Some(entry) = properties.get(from..end) else { return };
        if !self.sorted.is_empty() {
            return self.entry_of_many(entry, values, missing);
        }
        let word = first_word(properties, from);
        for (needle, value) in self.needles.iter().zip(values) {
            if (word ^ needle.word) & needle.mask == 0 && value.is_none() {
                take(needle, entry, value, missing);
            }
        }
    }

    /// The same with a search for the name.
    fn entry_of_many<'a>(&self, entry: &'a [u8], values: &mut [Option<&'a [u8]>], missing: &mut usize) {
        let Some(length) = entry.iter().position(|byte| *byte == NAME_VALUE_SEPARATOR) else { return };
        let name = &entry[..=length];
        let found = self.sorted.binary_search_by(|slot| (*self.needles[usize::from(*slot)].entry).cmp(name));
        let slot = found.ok().and_then(|at| self.sorted.get(at)).map(|slot| usize::from(*slot));
        let Some((needle, value)) = slot.and_then(|slot| Some((self.needles.get(slot)?, values.get_mut(slot)?))) else {
            return;
        };
        if value.is_none() {
            take(needle, entry, value, missing);
        }
    }
}

/// Takes the value of an entry whose first bytes are a name's.
#[inline]
fn take<'a>(needle: &Needle, entry: &'a [u8], value: &mut Option<&'a [u8]>, missing: &mut usize) {
    // Up to eight bytes were compared already; the entry may still be a longer name's or end before the name does.
    if let Some(found) = entry.strip_prefix(&*needle.entry).filter(|found| !found.is_empty()) {
        *value = Some(found);
        *missing -= 1;
    }
}

impl Needle {
    fn new(name: &str) -> Self {
        let mut entry = name.as_bytes().to_vec();
        entry.push(NAME_VALUE_SEPARATOR);
        let length = entry.len().min(8);
        let mask = if length == 8 { u64::MAX } else { (1 << (length * 8)) - 1 };
        Self { word: first_word(&entry, 0) & mask, mask, entry: entry.into() }
    }
}

/// The eight bytes at `from`, zeros behind the end.
#[inline]
fn first_word(bytes: &[u8], from: usize) -> u64 {
    let rest = bytes.get(from..).unwrap_or_default();
    match rest.first_chunk::<8>() {
        Some(eight) => u64::from_le_bytes(*eight),
        None => short_word(rest),
    }
}

fn short_word(rest: &[u8]) -> u64 {
    rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

/// Which of the bytes from `from` to `base`, at most a block, are separators: the first byte is the lowest bit.
#[inline]
fn separators(bytes: &[u8], from: usize, base: usize) -> u64 {
    match bytes.get(from..).and_then(|rest| rest.first_chunk::<BLOCK>()) {
        // The first block of a text is cut short by the one behind it, which was read before.
        Some(block) => mask(block) & (u64::MAX >> (BLOCK - (base - from))),
        None => {
            let mut block = [0; BLOCK];
            if let (Some(part), Some(short)) = (block.get_mut(..base - from), bytes.get(from..base)) {
                part.copy_from_slice(short);
            }
            mask(&block)
        }
    }
}

/// Which bytes of a block are separators. Sixteen are compared at once.
#[inline]
fn mask(block: &[u8; BLOCK]) -> u64 {
    let separator = u8x16::splat(PROPERTY_SEPARATOR);
    let (lanes, _) = block.as_chunks::<LANE>();
    lanes.iter().rev().fold(0, |mask, lane| mask << LANE | u64::from(u8x16::new(*lane).simd_eq(separator).to_bitmask()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use strata_protocol::properties::Properties;

    fn found<'a>(names: &[&str], properties: &'a [u8]) -> Vec<Option<&'a [u8]>> {
        let names: Vec<Box<str>> = names.iter().map(|name| (*name).into()).collect();
        let mut values = vec![None; names.len()];
        Names::new(&names).find(properties, &mut values);
        values
    }

    #[test]
    fn the_last_value_that_is_not_empty_counts() {
        let text = b"a\x01old\x02b\x01\x02a\x01new\x02a\x01\x02junk\x02\x01x\x02c\x01y\x01z";
        assert_eq!(found(&["a", "b", "c", "junk", "x"], text), [Some(&b"new"[..]), None, Some(b"y\x01z"), None, None]);
        assert_eq!(found(&["a"], b""), [None]);
        assert_eq!(found(&["a"], b"\x02"), [None]);
        assert_eq!(found(&["abcdefgh", "abcdefg"], b"abcdefgh\x01x\x02abcdefg\x01y"), [Some(&b"x"[..]), Some(b"y")]);
    }

    proptest! {
        /// The reference reads forward and keeps a map, as Java does.
        #[test]
        fn values_are_those_of_the_last_entries(
            text in proptest::collection::vec(prop_oneof![Just(1_u8), Just(2), Just(b'a'), Just(b'b'), Just(0)], 0..200),
            many in any::<bool>(),
        ) {
            let mut names = vec!["a", "b", "aa", "ab", "aaaaaaaa", "abababab"];
            if many {
                names.extend(["ba", "bb", "aaa", "aab", "aba", "abb", "baa"]);
            }
            let expected: Vec<_> = names
                .iter()
                .map(|name| Properties::of(&text).filter(|(n, v)| *n == name.as_bytes() && !v.is_empty()).last())
                .map(|entry| entry.map(|(_, value)| value))
                .collect();
            prop_assert_eq!(found(&names, &text), expected);
        }
    }
}
