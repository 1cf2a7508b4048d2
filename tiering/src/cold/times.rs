//! Questions by time.
//!
//! The log's store times never go back, so a time lies in one roll, which the manifest tells; in it the queue's own
//! times rise with its rows.

use std::sync::Arc;

use super::columns::{GroupRows, end_of};
use super::locate::Spot;
use super::{Ask, Cold, ColdError, ColdStatus, KeepAll, Shared};
use crate::rows::names::STORE_TIME;

/// Which end of several messages a time means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boundary {
    /// The first message stored at the time or later.
    Lower,
    /// The last message stored at the time or earlier.
    Upper,
}

impl Cold {
    /// The offset that a time means in a queue, among what is listed; `None` when only the log can tell, because all
    /// that is listed is older, or when nothing is listed.
    ///
    /// Lower: the first offset whose message was stored at `time_ms` or later. Upper: the last one whose message was
    /// stored at `time_ms` or earlier, the queue's first one when all are later.
    ///
    /// # Errors
    /// The store refused, or an object is damaged.
    pub async fn offset_by_time(
        &self,
        queue: (&str, i32),
        time_ms: i64,
        boundary: Boundary,
    ) -> Result<Option<i64>, ColdError> {
        self.answered(|| self.offset_by_time_once(queue, time_ms, boundary)).await
    }

    async fn offset_by_time_once(
        &self,
        (topic, queue_id): (&str, i32),
        time_ms: i64,
        boundary: Boundary,
    ) -> Result<Option<i64>, ColdError> {
        let shared = &self.shared;
        let Some((begin, end)) = shared.range((topic, queue_id)).await? else { return Ok(None) };
        let manifest = shared.manifest.load_full();
        let first = Shared::first_of(&manifest, topic);
        let rolls = manifest.rolls();
        // The first roll that ends at the time or later holds what comes first at or behind it, unless the queue has
        // nothing there; its next message comes later then.
        let at = match boundary {
            Boundary::Lower => first + rolls[first..].partition_point(|roll| roll.last_time < time_ms),
            Boundary::Upper => {
                let behind = first + rolls[first..].partition_point(|roll| roll.first_time <= time_ms);
                if behind == rolls.len() && rolls.last().is_some_and(|roll| roll.last_time < time_ms) {
                    return Ok(None);
                }
                match behind.checked_sub(1).filter(|at| *at >= first) {
                    Some(at) => at,
                    None => return Ok(Some(begin)),
                }
            }
        };
        if at >= rolls.len() {
            return Ok(None);
        }
        let Some(spot) = shared.spot(&manifest, at, (topic, queue_id)).await? else {
            // The queue began later.
            return Ok(Some(begin));
        };
        let found = match boundary {
            Boundary::Lower => shared.first_from(&spot, time_ms).await?.unwrap_or(spot.span.next),
            Boundary::Upper => shared.last_until(&spot, time_ms).await?.unwrap_or(spot.span.base - 1),
        };
        Ok(Some(found.clamp(begin, end)))
    }

    /// When the message at an offset was stored, ms since 1970; `None` when it is not listed.
    ///
    /// # Errors
    /// The store refused, or an object is damaged.
    pub async fn store_time(&self, topic: &str, queue_id: i32, offset: i64) -> Result<Option<i64>, ColdError> {
        let ask = Ask { topic, queue_id, offset, messages_max: 1, bytes_max: 0 };
        let read = self.read(&ask, &KeepAll).await?;
        if read.status != ColdStatus::Found {
            return Ok(None);
        }
        let record = read.slices.first().and_then(|bytes| strata_protocol::record::RecordView::parse(bytes).ok());
        Ok(record.map(|record| record.store_timestamp()))
    }
}

impl Shared {
    /// The first offset in a roll whose message was stored at a time or later.
    async fn first_from(self: &Arc<Self>, spot: &Spot, time_ms: i64) -> Result<Option<i64>, ColdError> {
        for part in self.groups_in_time(spot, time_ms..=i64::MAX).await? {
            if part.times().is_some_and(|(_, last)| last < time_ms) {
                continue;
            }
            let times = self.numbers(&part, std::slice::from_ref(&part.rows), STORE_TIME).await?;
            let nth = times.partition_point(|time| *time < time_ms.saturating_mul(1000));
            if nth < times.len() {
                return Ok(Some(offset_in(spot, &part, nth)));
            }
        }
        Ok(None)
    }

    /// The last offset in a roll whose message was stored at a time or earlier.
    async fn last_until(self: &Arc<Self>, spot: &Spot, time_ms: i64) -> Result<Option<i64>, ColdError> {
        debug_assert!(end_of(&spot.span) >= spot.span.row, "a span does not end before it begins");
        for part in self.groups_in_time(spot, i64::MIN..=time_ms).await?.into_iter().rev() {
            if part.times().is_some_and(|(first, _)| first > time_ms) {
                continue;
            }
            let times = self.numbers(&part, std::slice::from_ref(&part.rows), STORE_TIME).await?;
            let behind = times.partition_point(|time| *time <= time_ms.saturating_mul(1000));
            if let Some(nth) = behind.checked_sub(1) {
                return Ok(Some(offset_in(spot, &part, nth)));
            }
        }
        Ok(None)
    }
}

impl GroupRows {
    /// Store times of the group, ms since 1970.
    fn times(&self) -> Option<(i64, i64)> {
        let leaf = self.object.layout.leaf(STORE_TIME)?;
        let (first, last) = self.object.layout.bounds(self.group, leaf)?;
        Some((first.div_euclid(1000), last.div_euclid(1000)))
    }
}

fn offset_in(spot: &Spot, part: &GroupRows, nth: usize) -> i64 {
    spot.index.offset_of(&spot.span, part.first_row + part.rows.start + nth as u64)
}
