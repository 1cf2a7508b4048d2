//! Finds the values of the few properties that an expression uses among all of a message's.
//!
//! Reads `name 0x01 value 0x02 ...` as RocketMQ's decoder does: an entry ends at 0x02 or at the end, its name at the
//! first 0x01; entries without a name, without 0x01 or with an empty value do not exist; of equal names the last counts.
//! Most of what a filter costs is spent here, so that only entries are looked at which begin with a wanted name's first
//! byte, found sixteen bytes at a time.

use memchr::memchr;
use smallvec::SmallVec;
use strata_protocol::properties::{NAME_VALUE_SEPARATOR, PROPERTY_SEPARATOR};
use wide::u8x16;

/// Bytes whose separators are found together, as bits of one word.
const BLOCK: usize = 64;
/// Bytes that are compared at once.
const LANE: usize = 16;

/// Names up to this number are compared one by one, more are looked up in their sorted list.
const NAMES_FEW: usize = 8;

/// The first bytes of a name and its separator, in the form in which they are compared.
#[derive(Debug, Clone, Copy)]
struct Head {
    word: u64,
    mask: u64,
    /// Bytes of the whole name and its separator.
    length: usize,
}

/// The names to be found.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    /// Each name with its separator.
    entries: Vec<Box<[u8]>>,
    heads: SmallVec<[Head; 2]>,
    /// The places of the names in the order of their bytes; empty for few.
    sorted: Vec<u16>,
}

impl Names {
    pub(crate) fn new(names: &[Box<str>]) -> Self {
        let with_separator = |name: &str| [name.as_bytes(), &[NAME_VALUE_SEPARATOR]].concat().into_boxed_slice();
        let entries: Vec<_> = names.iter().map(|name| with_separator(name)).collect();
        let mut sorted: Vec<u16> = Vec::new();
        if entries.len() > NAMES_FEW {
            sorted = (0..entries.len() as u16).collect();
            sorted.sort_unstable_by(|left, right| entries[usize::from(*left)].cmp(&entries[usize::from(*right)]));
        }
        Self { heads: entries.iter().map(|entry| Head::new(entry)).collect(), entries, sorted }
    }

    /// Fills `values`, which are at least as many as the names and all missing.
    #[inline]
    pub(crate) fn find<'a>(&self, properties: &'a [u8], values: &mut [Option<&'a [u8]>]) {
        let found = match self.heads.len() {
            0 => true,
            1 => self.find_last::<1>(properties, values),
            2 => self.find_last::<2>(properties, values),
            3 => self.find_last::<3>(properties, values),
            4 => self.find_last::<4>(properties, values),
            _ => false,
        };
        if !found {
            self.find_each(properties, values);
        }
    }

    /// Remembers for each name the last entry that begins like it, and looks at those entries alone. `false` if one of
    /// them has no value, so that an entry before it may count.
    #[inline]
    fn find_last<'a, const N: usize>(&self, properties: &'a [u8], values: &mut [Option<&'a [u8]>]) -> bool {
        let Some(heads) = self.heads.first_chunk::<N>() else { return false };
        // Where the entries begin, and 1, so that 0 is none.
        let mut last = [0; N];
        let mut look_at = |from: usize| {
            let word = first_word(properties, from);
            for (head, last) in heads.iter().zip(&mut last) {
                *last = std::hint::select_unpredictable(head.begins(word), from + 1, *last);
            }
        };
        look_at(0);
        let firsts = heads.each_ref().map(|head| u8x16::splat(head.word as u8));
        each_begin(properties, &firsts, look_at);
        let mut all = true;
        for (slot, (place, value)) in last.into_iter().zip(values).enumerate().filter(|(_, (place, _))| *place > 0) {
            let entries = properties.get(place - 1..).unwrap_or_default();
            let entry = entries.get(..end_of(entries)).unwrap_or_default();
            *value = self.value_of(entry, slot);
            all &= value.is_some();
        }
        all
    }

    /// Looks at every entry that may be one of the names.
    #[inline(never)]
    fn find_each<'a>(&self, properties: &'a [u8], values: &mut [Option<&'a [u8]>]) {
        if !self.sorted.is_empty() {
            return each_entry(properties, |from, end| self.entry_of_many(properties, (from, end), values));
        }
        each_entry(properties, |from, end| {
            let word = first_word(properties, from);
            for (slot, _) in self.heads.iter().enumerate().filter(|(_, head)| head.begins(word)) {
                self.take(properties.get(from..end).unwrap_or_default(), slot, values);
            }
        });
    }

    /// The value of an entry whose first bytes are a name's, if all are and the value is not empty.
    #[inline]
    fn value_of<'a>(&self, entry: &'a [u8], slot: usize) -> Option<&'a [u8]> {
        // Up to eight bytes are known to be equal, the separator behind the name among them.
        let value = match self.heads.get(slot)?.length {
            length @ ..=8 => entry.get(length..),
            _ => entry.strip_prefix(&**self.entries.get(slot)?),
        };
        value.filter(|value| !value.is_empty())
    }

    /// Takes the value of such an entry.
    fn take<'a>(&self, entry: &'a [u8], slot: usize, values: &mut [Option<&'a [u8]>]) {
        if let (Some(found), Some(value)) = (self.value_of(entry, slot), values.get_mut(slot)) {
            *value = Some(found);
        }
    }

    /// Looks for an entry's name among many.
    fn entry_of_many<'a>(&self, properties: &'a [u8], (from, end): (usize, usize), values: &mut [Option<&'a [u8]>]) {
        let entry = properties.get(from..end).unwrap_or_default();
        let Some(length) = entry.iter().position(|byte| *byte == NAME_VALUE_SEPARATOR) else { return };
        let name = &entry[..=length];
        let found = self.sorted.binary_search_by(|slot| (*self.entries[usize::from(*slot)]).cmp(name));
        if let Some(slot) = found.ok().and_then(|at| self.sorted.get(at)) {
            self.take(entry, usize::from(*slot), values);
        }
    }
}

impl Head {
    fn new(entry: &[u8]) -> Self {
        let bits = entry.len().min(8) * 8;
        let mask = u64::MAX >> (64 - bits);
        Self { word: first_word(entry, 0) & mask, mask, length: entry.len() }
    }

    /// Whether an entry whose first bytes are `word` may be the name's.
    #[inline]
    const fn begins(&self, word: u64) -> bool {
        (word ^ self.word) & self.mask == 0
    }
}

/// Calls `with` with the begin of each entry but the first that begins with one of the bytes, in their order.
#[inline]
fn each_begin<const N: usize>(properties: &[u8], firsts: &[u8x16; N], mut with: impl FnMut(usize)) {
    let mut from = 0;
    while from + 1 < properties.len() {
        let mut found = begins(properties, from, firsts);
        while found != 0 {
            with(from + found.trailing_zeros() as usize + 1);
            found &= found - 1;
        }
        from += BLOCK;
    }
}

/// Which bytes of the block at `from` are separators with one of `firsts` behind them. More than one byte is left
/// there.
#[inline]
fn begins<const N: usize>(bytes: &[u8], from: usize, firsts: &[u8x16; N]) -> u64 {
    if let Some(block) = bytes.get(from..).and_then(|rest| rest.first_chunk()) {
        return begin_mask(block, firsts);
    }
    match bytes.last_chunk() {
        Some(block) => begin_mask(block, firsts) >> (from + BLOCK + 1 - bytes.len()),
        None => begin_mask(&padded(bytes), firsts),
    }
}

/// Which bytes of a block are separators with one of `firsts` behind them.
#[inline]
fn begin_mask<const N: usize>(block: &[u8; BLOCK + 1], firsts: &[u8x16; N]) -> u64 {
    let separator = u8x16::splat(PROPERTY_SEPARATOR);
    let lanes = block[..BLOCK].as_chunks::<LANE>().0.iter().zip(block[1..].as_chunks::<LANE>().0);
    lanes.rev().fold(0, |mask, (lane, behind)| {
        let behind = u8x16::new(*behind);
        let is_first = firsts.iter().fold(u8x16::ZERO, |any, first| any | behind.simd_eq(*first));
        mask << LANE | u64::from((is_first & u8x16::new(*lane).simd_eq(separator)).to_bitmask())
    })
}

/// Where the first entry ends.
#[inline]
fn end_of(entries: &[u8]) -> usize {
    let near = entries
        .first_chunk::<LANE>()
        .map_or(0, |lane| u8x16::new(*lane).simd_eq(u8x16::splat(PROPERTY_SEPARATOR)).to_bitmask());
    if near != 0 {
        return near.trailing_zeros() as usize;
    }
    memchr(PROPERTY_SEPARATOR, entries).unwrap_or(entries.len())
}

/// Calls `with` with the begin and end of each entry, in their order.
#[inline]
fn each_entry(properties: &[u8], mut with: impl FnMut(usize, usize)) {
    let mut begin = 0;
    let mut from = 0;
    while from < properties.len() {
        let mut found = separators(properties, from);
        while found != 0 {
            let end = from + found.trailing_zeros() as usize;
            found &= found - 1;
            with(begin, end);
            begin = end + 1;
        }
        from += BLOCK;
    }
    if begin < properties.len() {
        with(begin, properties.len());
    }
}

/// The eight bytes at `from`, zeros behind the end.
#[inline]
fn first_word(bytes: &[u8], from: usize) -> u64 {
    match bytes.get(from..from + 8).and_then(|eight| eight.try_into().ok()) {
        Some(eight) => u64::from_le_bytes(eight),
        None => short_word(bytes, from),
    }
}

/// [`first_word`] near the end.
#[cold]
fn short_word(bytes: &[u8], from: usize) -> u64 {
    let rest = bytes.get(from..).unwrap_or_default();
    rest.iter().take(8).rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

/// Which bytes of the block at `from` are separators: the first byte is the lowest bit, none is behind the end.
#[inline]
fn separators(bytes: &[u8], from: usize) -> u64 {
    if let Some(block) = bytes.get(from..).and_then(|rest| rest.first_chunk::<BLOCK>()) {
        return mask(block);
    }
    // The last block is short. Where there are 64 bytes at all, it is read from further ahead.
    match bytes.last_chunk::<BLOCK>() {
        Some(block) => mask(block) >> (from + BLOCK - bytes.len()),
        None => mask(&padded(bytes)),
    }
}

/// A text that is shorter than a block, with zeros behind it.
fn padded<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut block = [0; N];
    if let Some(part) = block.get_mut(..bytes.len()) {
        part.copy_from_slice(bytes);
    }
    block
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
