//! Search by halves among sealed segments of which some cannot be opened now.
//!
//! Owns what is certain all the same: the neighbours that open speak for those that do not.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::sealed::{Parts, Sealed};
use crate::store::Shared;

/// Where the first segment lies for which a question is answered by yes.
pub(super) struct Place {
    /// Before this index all segments answer no.
    from: usize,
    /// The first segment that was opened and answers yes; the number of segments when none does.
    to: usize,
    /// The files of the segment at `to`.
    pub(super) parts: Option<Arc<Parts>>,
}

impl Place {
    /// The stretch of the log that cannot be opened now and may hold the first yes; `None` when the
    /// place is certain.
    pub(super) fn unsure(&self, sealed: &[Arc<Sealed>]) -> Option<(i64, i64)> {
        let unopened = sealed.get(self.from..self.to)?;
        Some((unopened.first()?.first, unopened.last()?.end))
    }
}

impl Shared {
    /// Asks `yes`, which stays true once it is, for the first segment that answers so.
    pub(super) fn first_where(&self, sealed: &[Arc<Sealed>], yes: impl Fn(&Parts) -> bool) -> Place {
        let mut place = Place { from: 0, to: sealed.len(), parts: None };
        let mut unopened = Vec::new();
        while let Some((at, parts)) = self.probe(sealed, &place, &mut unopened) {
            if yes(&parts) {
                place.to = at;
                place.parts = Some(parts);
            } else {
                place.from = at + 1;
            }
        }
        place
    }

    /// The segment in the middle of what is open, or the nearest behind or before it that opens.
    fn probe(&self, sealed: &[Arc<Sealed>], place: &Place, unopened: &mut Vec<usize>) -> Option<(usize, Arc<Parts>)> {
        let middle = place.from + (place.to - place.from) / 2;
        for at in (middle..place.to).chain((place.from..middle).rev()) {
            if unopened.contains(&at) {
                continue;
            }
            match self.parts(&sealed[at]) {
                Ok(parts) => return Some((at, parts)),
                Err(error) => {
                    if !sealed[at].said.swap(true, Ordering::Relaxed) {
                        tracing::error!(%error, segment = sealed[at].first, "a segment cannot be opened now");
                    }
                    unopened.push(at);
                }
            }
        }
        None
    }
}
