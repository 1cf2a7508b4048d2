//! The delay levels: how long a message of each level waits.

use thiserror::Error;

/// Levels that a configuration may name; a level is a queue.
const LEVELS_MAX: usize = 64;

/// Why the text of the levels is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("messageDelayLevel: \"{word}\" is not a delay; write a number and s, m, h or d, such as 30s")]
pub struct BadDelay {
    /// The word that is wrong.
    pub word: String,
}

/// The delays of levels 1, 2, .., ms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DelayLevels {
    delays_ms: Vec<i64>,
}

impl DelayLevels {
    /// Reads `1s 5s 10s ..`.
    pub(crate) fn parse(text: &str) -> Result<Self, BadDelay> {
        let delays_ms = text.split_whitespace().map(delay_ms).collect::<Result<Vec<_>, _>>()?;
        if delays_ms.is_empty() || delays_ms.len() > LEVELS_MAX {
            return Err(BadDelay { word: text.to_owned() });
        }
        Ok(Self { delays_ms })
    }

    /// How many levels there are.
    pub(crate) fn count(&self) -> i32 {
        i32::try_from(self.delays_ms.len()).unwrap_or(i32::MAX)
    }

    /// The longest of them, ms.
    pub(crate) fn longest_ms(&self) -> i64 {
        self.delays_ms.iter().copied().max().unwrap_or(0)
    }

    /// The level that is meant by `level`: at most the last one. 0 and below mean no delay.
    pub(crate) fn clamp(&self, level: i32) -> i32 {
        level.min(self.count())
    }

    /// The delay of a queue of the schedule topic, ms.
    pub(crate) fn of_queue(&self, queue_id: i32) -> i64 {
        usize::try_from(queue_id).ok().and_then(|at| self.delays_ms.get(at)).copied().unwrap_or(0)
    }
}

/// Reads one, such as `30s`.
pub(crate) fn delay_ms(word: &str) -> Result<i64, BadDelay> {
    let bad = || BadDelay { word: word.to_owned() };
    let unit = word.char_indices().next_back().ok_or_else(bad)?;
    let factor = match unit.1 {
        's' => 1_000,
        'm' => 60_000,
        'h' => 3_600_000,
        'd' => 86_400_000,
        _ => return Err(bad()),
    };
    let number: i64 = word[..unit.0].parse().map_err(|_| bad())?;
    if number < 1 { Err(bad()) } else { number.checked_mul(factor).ok_or_else(bad) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_read_and_clamped() {
        let levels = DelayLevels::parse("1s 5s 2h").unwrap();
        assert_eq!((levels.of_queue(0), levels.of_queue(2), levels.clamp(9)), (1_000, 7_200_000, 3));
        for wrong in ["", "5", "0s", "1x", "-1s", "1s é", "9999999999999999d"] {
            assert!(DelayLevels::parse(wrong).is_err(), "{wrong}");
        }
    }
}
