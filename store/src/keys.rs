//! The key index of the active segment: which records may carry a key.
//!
//! Owns the key hash and a chained table in blocks. It finds candidates; whoever asks confirms them on
//! the record, because hashes collide.

/// Which of a message's properties a key is looked for in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyKind {
    /// One of the search keys in `KEYS`.
    Key,
    /// The client's message id in `UNIQ_KEY`.
    UniqueKey,
}

impl KeyKind {
    const fn byte(self) -> u8 {
        match self {
            Self::Key => 0,
            Self::UniqueKey => 1,
        }
    }
}

/// The hash of keys within one topic. It is the same in memory and in sidecars: two folded
/// multiplications a word, because most messages pay for two or three keys.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KeyHasher(u64);

impl KeyHasher {
    /// Takes the topic in.
    pub(crate) fn of(topic: &str) -> Self {
        Self(absorb(0x243F_6A88_85A3_08D3, topic.as_bytes()))
    }

    /// The hash of `key` in the topic.
    pub(crate) fn hash(self, key: &str, kind: KeyKind) -> u32 {
        let hash = absorb(self.0 ^ u64::from(kind.byte()), key.as_bytes());
        // The halves of the last product are mixed already; either would do.
        u32::try_from(hash >> 32).unwrap_or(0)
    }
}

/// Takes bytes into a hash: their number, then each eight of them as a little-endian word, the last
/// one filled up with zeros.
fn absorb(state: u64, bytes: &[u8]) -> u64 {
    let mut state = fold(state ^ bytes.len() as u64);
    let mut words = bytes.chunks_exact(8);
    for word in &mut words {
        state = fold(state ^ word.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)));
    }
    let rest = words.remainder();
    if rest.is_empty() {
        return state;
    }
    fold(state ^ rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)))
}

/// The two halves of a product, folded.
fn fold(word: u64) -> u64 {
    let product = u128::from(word ^ 0x9E37_79B9_7F4A_7C15) * 0xD6E8_FEB8_6659_FD93;
    product as u64 ^ (product >> 64) as u64
}

/// Keys in the first block; a quiet broker pays for these only.
const FIRST_BLOCK_KEYS: usize = 1 << 10;
/// Keys in the largest block. Blocks are never rehashed, so no append pays for growth.
const BLOCK_KEYS_MAX: usize = 1 << 16;

/// Key hashes and record positions, in append order.
#[derive(Debug, Default)]
pub(crate) struct KeyIndex {
    blocks: Vec<Block>,
}

/// A table of fixed size: a slot holds the number (from 1) of its newest key, a key that of the
/// slot's key before it.
#[derive(Debug)]
struct Block {
    slots: Vec<u32>,
    keys: Vec<Key>,
}

#[derive(Debug, Clone, Copy)]
struct Key {
    hash: u32,
    position: u32,
    before: u32,
}

impl Block {
    fn new(keys: usize) -> Self {
        Self { slots: vec![0; keys], keys: Vec::with_capacity(keys) }
    }

    fn slot(&self, hash: u32) -> usize {
        // The number of slots is a power of two; the hash is mixed down to its low bits.
        hash as usize & (self.slots.len() - 1)
    }
}

impl KeyIndex {
    /// Adds a key of the record at `position`.
    pub(crate) fn push(&mut self, hash: u32, position: u32) {
        let full = self.blocks.last().is_none_or(|block| block.keys.len() == block.slots.len());
        if full {
            let keys = self.blocks.last().map_or(FIRST_BLOCK_KEYS, |last| last.slots.len() * 2);
            self.blocks.push(Block::new(keys.min(BLOCK_KEYS_MAX)));
        }
        if let Some(block) = self.blocks.last_mut() {
            let slot = block.slot(hash);
            block.keys.push(Key { hash, position, before: block.slots[slot] });
            // A block has at most 65,536 keys.
            block.slots[slot] = u32::try_from(block.keys.len()).unwrap_or(u32::MAX);
        }
    }

    /// Appends to `out` the positions of records that may carry the key, newest first, until `out`
    /// holds `max`.
    pub(crate) fn find(&self, hash: u32, out: &mut Vec<u32>, max: usize) {
        for block in self.blocks.iter().rev() {
            let mut number = block.slots[block.slot(hash)];
            while number != 0 && out.len() < max {
                let key = block.keys[number as usize - 1];
                if key.hash == hash {
                    out.push(key.position);
                }
                number = key.before;
            }
        }
    }

    /// All keys as (hash, position), in append order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.blocks.iter().flat_map(|block| block.keys.iter().map(|key| (key.hash, key.position)))
    }

    /// Number of keys.
    pub(crate) fn len(&self) -> usize {
        self.blocks.iter().map(|block| block.keys.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(topic: &str, key: &str, kind: KeyKind) -> u32 {
        KeyHasher::of(topic).hash(key, kind)
    }

    #[test]
    fn hashes_are_those_of_the_format() {
        // Golden values: sidecars on disk hold these.
        assert_eq!(hash("t", "k", KeyKind::Key), 0xC833_DA6F);
        assert_eq!(hash("BenchmarkTest", "order-1", KeyKind::UniqueKey), 0x4DBA_9CE1);
    }

    #[test]
    fn kinds_topics_and_lengths_are_apart() {
        let all = [
            hash("t", "k", KeyKind::Key),
            hash("t", "k", KeyKind::UniqueKey),
            hash("u", "k", KeyKind::Key),
            hash("t", "k\0", KeyKind::Key),
            hash("t\0", "k", KeyKind::Key),
            hash("tk", "", KeyKind::Key),
        ];
        let unique: std::collections::HashSet<_> = all.iter().collect();
        assert_eq!(unique.len(), all.len());
    }

    #[test]
    fn hashes_spread_over_buckets() {
        let mut counts = [0_u32; 256];
        for number in 0..25_600 {
            let hash = hash("T", &format!("order-{number}"), KeyKind::Key);
            counts[(hash & 255) as usize] += 1;
        }
        // A hundred a bucket on average; five standard deviations to either side.
        assert!(counts.iter().all(|count| (50..150).contains(count)), "{counts:?}");
    }

    /// Two keys of topic `T` with one hash.
    fn colliding_keys() -> (String, String) {
        let mut seen = std::collections::HashMap::new();
        let keys = (0_u64..).map(|number| format!("{number:x}"));
        let mut pairs = keys.filter_map(|key| {
            let other = seen.insert(hash("T", &key, KeyKind::Key), key.clone())?;
            Some((other, key))
        });
        pairs.next().unwrap()
    }

    #[test]
    fn equal_hashes_of_other_keys_give_nothing() {
        use crate::{NewMessage, Store, StoreOptions, SystemClock};
        use strata_protocol::properties::IndexTerms;
        use strata_protocol::record::RecordView;

        let (one, other) = colliding_keys();
        let folder = tempfile::tempdir().unwrap();
        let mut options = StoreOptions::new(folder.path());
        options.segment_bytes = 64 * 1024;
        let clock = std::sync::Arc::new(SystemClock::new());
        let (store, _) = Store::open(options, clock).unwrap();
        for key in [&one, &other, &one] {
            let properties = format!("KEYS\u{1}{key}\u{2}").into_bytes();
            let message = NewMessage {
                topic: "T",
                queue_id: 0,
                flag: 0,
                sys_flag: 0,
                born_timestamp: 0,
                born_host: "1.2.3.4:5".parse().unwrap(),
                reconsume_times: 0,
                prepared_transaction_offset: 0,
                body: b"",
                properties: &properties,
                terms: IndexTerms::of(&properties),
            };
            store.append(&message).unwrap();
        }
        let found = |key: &str| -> Vec<i64> {
            let found = store.query_by_key("T", key, 0, i64::MAX, 9, KeyKind::Key);
            found.iter().map(|bytes| RecordView::parse(bytes).unwrap().queue_offset()).collect()
        };
        for _ in 0..2 {
            assert_eq!((found(&one), found(&other)), (vec![2, 0], vec![1]));
            store.seal_active().unwrap();
        }
    }

    #[test]
    fn equal_hashes_come_newest_first_across_blocks() {
        let mut index = KeyIndex::default();
        let count = (FIRST_BLOCK_KEYS * 3 + 5) as u32;
        for position in 0..count {
            index.push(if position % 100 == 7 { 42 } else { position | 1 << 31 }, position);
        }
        let mut found = Vec::new();
        index.find(42, &mut found, usize::MAX);
        let expected: Vec<u32> = (0..count).rev().filter(|p| p % 100 == 7).collect();
        assert_eq!(found, expected);
        assert_eq!(index.len(), count as usize);
        assert_eq!(index.iter().nth(107), Some((42, 107)));
        found.clear();
        index.find(42, &mut found, 3);
        assert_eq!(found, expected[..3]);
    }
}
