//! What a broker promises about queue offsets, held against what it answers.
//!
//! Owns the judgement of sends: every offset of a queue is given exactly once, without gaps, and a message
//! that is sent when another one is acknowledged gets the higher offset. It also counts faults.

use std::collections::VecDeque;
use std::fmt::Write as _;

use serde::Serialize;

use crate::limits::BENCH_FAULTS_LISTED_FAULTS_MAX;

/// What a broker did wrong.
#[derive(Debug, Default, Serialize)]
pub(super) struct Faults {
    /// How many there were.
    pub(super) count: u64,
    /// The first ones.
    pub(super) first: Vec<String>,
}

impl Faults {
    /// Counts a fault; the first ones are described.
    pub(super) fn add(&mut self, describe: impl FnOnce() -> String) {
        self.count += 1;
        if self.first.len() < BENCH_FAULTS_LISTED_FAULTS_MAX {
            self.first.push(describe());
        }
    }

    /// Takes another's faults.
    pub(super) fn extend(&mut self, other: Self) {
        self.count += other.count;
        let room = BENCH_FAULTS_LISTED_FAULTS_MAX.saturating_sub(self.first.len());
        self.first.extend(other.first.into_iter().take(room));
    }

    /// One line about all of them; `None` without any.
    pub(super) fn sentence(&self) -> Option<String> {
        let first = self.first.first()?;
        let mut text = format!("the broker is at fault: {first}");
        if self.count > 1 {
            // Writing to a text cannot fail.
            let _ = write!(text, " ({} faults in all)", self.count);
        }
        Some(text)
    }
}

/// One queue, as far as its offsets were acknowledged.
#[derive(Debug)]
struct Queue {
    /// The first offset that was not acknowledged.
    next: i64,
    /// Whether the offsets from `next` on were.
    ahead: VecDeque<bool>,
    /// How many of those were not: each is of a send whose answer is still to be read.
    missing: usize,
    /// One more than the highest offset that was acknowledged.
    above: i64,
}

/// The queues of a run. A queue is named by its place, counted from 0.
#[derive(Debug)]
pub(super) struct Ledger {
    queues: Vec<Queue>,
    ahead_max: usize,
}

impl Ledger {
    /// Queues whose next offsets are `next`; `ahead_max` sends are under way at once at most.
    pub(super) fn new(next: impl IntoIterator<Item = i64>, ahead_max: usize) -> Self {
        let queues =
            next.into_iter().map(|next| Queue { next, ahead: VecDeque::new(), missing: 0, above: next }).collect();
        Self { queues, ahead_max }
    }

    /// What the offset of a message that is sent now must reach at least.
    pub(super) fn floor(&self, queue: usize) -> i64 {
        self.queues[queue].above
    }

    /// Takes an acknowledgement: `offset` in `queue`, for a message that was sent when [`Self::floor`] was `floor`.
    pub(super) fn acknowledge(&mut self, queue: usize, offset: i64, floor: i64) -> Result<(), String> {
        let Queue { next, ahead, missing, above } = &mut self.queues[queue];
        let Ok(place) = usize::try_from(offset - *next) else {
            return Err(format!("offset {offset} was given before; {next} is the next one"));
        };
        // One connection may be read often while another's answer waits, so that not the distance counts.
        if *missing + place.saturating_sub(ahead.len()) >= self.ahead_max + usize::from(place < ahead.len()) {
            return Err(format!("offset {offset} leaves a gap: {next} is the first that was not given yet"));
        }
        if place == 0 && ahead.is_empty() {
            *next += 1;
        } else {
            if ahead.len() <= place {
                *missing += place + 1 - ahead.len();
                ahead.resize(place + 1, false);
            }
            if std::mem::replace(&mut ahead[place], true) {
                return Err(format!("offset {offset} was given before"));
            }
            *missing -= 1;
            while ahead.front() == Some(&true) {
                ahead.pop_front();
                *next += 1;
            }
        }
        *above = (*above).max(offset + 1);
        if offset < floor {
            let before = floor - 1;
            return Err(format!("offset {offset} was given after {before} was acknowledged"));
        }
        Ok(())
    }

    /// The offset that `queue` must end at, when all answers are there; an error names a gap.
    pub(super) fn end(&self, queue: usize) -> Result<i64, String> {
        let Queue { next, ahead, above, .. } = &self.queues[queue];
        if ahead.is_empty() { Ok(*next) } else { Err(format!("offset {next} was never given, but {} was", above - 1)) }
    }

    /// How many queues there are.
    pub(super) fn len(&self) -> usize {
        self.queues.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(offsets: &[i64]) -> Result<i64, String> {
        let mut ledger = Ledger::new([10], 4);
        for offset in offsets {
            ledger.acknowledge(0, *offset, 10)?;
        }
        ledger.end(0)
    }

    #[test]
    fn offsets_are_given_once_and_without_gaps_in_any_order() {
        assert_eq!(given(&[10, 11, 12]), Ok(13));
        assert_eq!(given(&[12, 10, 11, 13]), Ok(14));
        assert_eq!(given(&[]), Ok(10));
        // The answer with 10 is read late.
        assert_eq!(given(&[11, 12, 13, 14, 15, 16, 10]), Ok(17));
    }

    #[test]
    fn lost_doubled_and_stray_offsets_are_seen() {
        assert!(given(&[10, 12]).unwrap_err().contains("offset 11 was never given, but 12 was"));
        assert!(given(&[10, 10]).unwrap_err().contains("given before"));
        assert!(given(&[11, 11]).unwrap_err().contains("given before"));
        assert!(given(&[9]).unwrap_err().contains("given before"));
        assert!(given(&[10, 11, 16]).unwrap_err().contains("leaves a gap"));
        assert!(given(&[12, 14, 17]).unwrap_err().contains("leaves a gap"));
    }

    #[test]
    fn a_later_message_never_gets_a_lower_offset() {
        let mut ledger = Ledger::new([0], 4);
        ledger.acknowledge(0, 1, 0).unwrap();
        assert_eq!(ledger.floor(0), 2);
        assert!(ledger.acknowledge(0, 0, 2).unwrap_err().contains("after 1 was acknowledged"));
    }

    #[test]
    fn faults_are_counted_and_the_first_are_told() {
        let mut faults = Faults::default();
        assert_eq!(faults.sentence(), None);
        (0..100).for_each(|at| faults.add(|| format!("fault {at}")));
        assert_eq!(faults.first.len(), BENCH_FAULTS_LISTED_FAULTS_MAX);
        assert_eq!(faults.sentence().as_deref(), Some("the broker is at fault: fault 0 (100 faults in all)"));
    }
}
