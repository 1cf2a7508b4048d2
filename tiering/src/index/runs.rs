//! A queue's offsets in a roll as stretches that have rows and stretches that were lost.

use super::{Index, Span};

/// Neighbouring offsets of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Run {
    /// So many messages, in rows behind each other.
    Rows(u32),
    /// So many offsets without a row.
    Lost(u32),
}

impl Run {
    /// Offsets of it.
    #[must_use]
    pub const fn offsets(self) -> u32 {
        match self {
            Self::Rows(count) | Self::Lost(count) => count,
        }
    }
}

impl Index {
    /// The stretches of a span, from its first offset to its last one.
    pub fn runs(&self, span: Span) -> impl Iterator<Item = Run> {
        let (mut lost, mut at, end) = (self.lost_of(span).peekable(), span.base, span.next);
        std::iter::from_fn(move || {
            if at >= end {
                return None;
            }
            let run = match lost.peek().copied() {
                Some((first, count)) if first <= at => {
                    lost.next();
                    Run::Lost(count)
                }
                Some((first, _)) => Run::Rows(u32::try_from(first.min(end) - at).unwrap_or(u32::MAX)),
                None => Run::Rows(u32::try_from(end - at).unwrap_or(u32::MAX)),
            };
            at += i64::from(run.offsets());
            Some(run)
        })
    }
}
