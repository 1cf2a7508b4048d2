//! Numbers that nobody else has: for names that must be new, and for pauses that must not agree.

use std::hash::{BuildHasher, RandomState};

/// 64 bits from the seeds that the standard library takes from the system; each call has other ones.
pub(crate) fn bits() -> u64 {
    RandomState::new().hash_one(0_u8)
}

/// A text of 32 hexadecimal digits that no other process will ever make.
#[must_use]
pub fn unique() -> String {
    format!("{:016x}{:016x}", bits(), bits())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    #[test]
    fn no_two_are_the_same() {
        let all: HashSet<String> = (0..10_000).map(|_| super::unique()).collect();
        assert_eq!(all.len(), 10_000);
        assert!(all.iter().all(|text| text.len() == 32));
    }
}
