//! Chance that can be repeated: numbers that follow from a seed.
//!
//! Owns the generator of all tests here. It is no source of secrets, and it reads no clock.

/// A sequence of numbers that its seed decides (SplitMix64).
#[derive(Debug, Clone)]
pub struct Draw {
    state: u64,
}

impl Draw {
    /// The sequence of `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// A sequence of its own for each `label`, so that one part's draws do not shift another's.
    #[must_use]
    pub fn fork(&self, label: u64) -> Self {
        let mut fork = Self::new(self.state ^ label.wrapping_mul(0xD6E8_FEB8_6659_FD93));
        let _ = fork.number();
        fork
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`; 0 when the bound is 0. The bias of the remainder does not matter to tests.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.number() % bound }
    }

    /// A number from `low` up to and with `high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// True in `percent` of 100 cases.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of `choices`; `None` when there are none.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> Option<&'a T> {
        let at = usize::try_from(self.below(choices.len() as u64)).unwrap_or(0);
        choices.get(at)
    }

    /// Fills `bytes`.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let number = self.number().to_le_bytes();
            let wanted = chunk.len();
            chunk.copy_from_slice(&number[..wanted]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_decides_and_forks_differ() {
        let first: Vec<u64> = (0..4).scan(Draw::new(7), |draw, _| Some(draw.number())).collect();
        let again: Vec<u64> = (0..4).scan(Draw::new(7), |draw, _| Some(draw.number())).collect();
        assert_eq!(first, again);
        let base = Draw::new(7);
        assert_ne!(base.fork(1).number(), base.fork(2).number());
    }

    #[test]
    fn bounds_hold() {
        let mut draw = Draw::new(1);
        for _ in 0..1_000 {
            assert!(draw.below(3) < 3);
            assert!((5..=6).contains(&draw.between(5, 6)));
        }
        assert_eq!(draw.below(0), 0);
        assert_eq!(draw.pick::<u8>(&[]), None);
        let mut bytes = [0_u8; 11];
        draw.fill(&mut bytes);
        assert!(bytes.iter().any(|byte| *byte != 0));
    }
}
