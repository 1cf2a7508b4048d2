//! A blocked Bloom filter over key hashes: one cache line half per lookup.
//!
//! Owns the placing of bits. It answers "surely not" or "maybe".

use super::read_u32;

/// Bytes of a block: eight words with one bit each per key.
const BLOCK_BYTES: usize = 32;
/// Bits spent on a key; with eight of them set about one lookup in a thousand errs.
const BITS_PER_KEY: usize = 16;
/// Odd constants that spread one hash over eight words.
const SALT: [u32; 8] =
    [0x47B6_137B, 0x4497_4D91, 0x8824_AD5B, 0xA2B7_289D, 0x7054_95C7, 0x2DF1_424B, 0x9EFC_4947, 0x5C6B_FB31];

/// Builds the filter's bytes; none without keys.
pub(super) fn build(hashes: impl ExactSizeIterator<Item = u32>) -> Vec<u8> {
    let blocks = (hashes.len() * BITS_PER_KEY).div_ceil(BLOCK_BYTES * 8);
    let mut bytes = vec![0; blocks * BLOCK_BYTES];
    for hash in hashes {
        let at = block_of(hash, blocks) * BLOCK_BYTES;
        for (word, salt) in SALT.iter().enumerate() {
            let bit = hash.wrapping_mul(*salt) >> 27;
            bytes[at + word * 4 + (bit / 8) as usize] |= 1 << (bit % 8);
        }
    }
    bytes
}

/// Whether a key of this hash may be present.
pub(super) fn may_hold(bytes: &[u8], hash: u32) -> bool {
    let blocks = bytes.len() / BLOCK_BYTES;
    if blocks == 0 {
        return false;
    }
    let at = block_of(hash, blocks) * BLOCK_BYTES;
    SALT.iter()
        .enumerate()
        .all(|(word, salt)| read_u32(bytes, at + word * 4) >> (hash.wrapping_mul(*salt) >> 27) & 1 == 1)
}

/// The block of a hash: its high bits, scaled.
fn block_of(hash: u32, blocks: usize) -> usize {
    // The product of a 32-bit hash and a block number below 2^27 fits 64 bits; the result is below
    // `blocks`.
    usize::try_from((u64::from(hash) * blocks as u64) >> 32).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_and_others_mostly_not() {
        let hash = |n: u32| crc32c::crc32c(&n.to_le_bytes());
        let bytes = build((0..10_000).map(hash).collect::<Vec<_>>().into_iter());
        assert!((0..10_000).all(|n| may_hold(&bytes, hash(n))));
        let wrong = (10_000..110_000).filter(|n| may_hold(&bytes, hash(*n))).count();
        assert!(wrong < 1_000, "{wrong} of 100,000 absent keys were taken for present");
        assert!(!may_hold(&[], 7));
        assert!(build(std::iter::empty()).is_empty());
    }
}
