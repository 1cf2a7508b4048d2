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

/// The hash of a key within its topic: crc32c, which the processor computes and which is the same in
/// memory and in sidecars.
pub(crate) fn key_hash(topic: &str, key: &str, kind: KeyKind) -> u32 {
    let seed = crc32c::crc32c(topic.as_bytes());
    crc32c::crc32c_append(crc32c::crc32c_append(seed, &[kind.byte()]), key.as_bytes())
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
        // The number of slots is a power of two; crc32c mixes its low bits well.
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

    #[test]
    fn kinds_and_topics_are_apart() {
        let hash = key_hash("t", "k", KeyKind::Key);
        assert_ne!(hash, key_hash("t", "k", KeyKind::UniqueKey));
        assert_ne!(hash, key_hash("u", "k", KeyKind::Key));
        assert_eq!(hash, crc32c::crc32c(b"t\0k"));
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
