//! The same questions over both tiers: the log answers what it has, the tier what is older.
//!
//! Each is asked of the log first, which does not wait; what only the tier knows may take as long as its store.

use std::sync::Arc;

use bytes::Bytes;
use strata_store::{Boundary, KeyKind, QueueRange};
use strata_tiering::cold::{self, KeyAsk};

use super::{Cold, Open};
use crate::hall::Hall;
use crate::refusal::Refusal;

/// A question by key.
#[derive(Debug, Clone)]
pub(crate) struct KeyQuestion {
    pub topic: String,
    pub key: String,
    pub kind: KeyKind,
    /// Store times, ms, both included.
    pub begin_ms: i64,
    pub end_ms: i64,
    pub max: usize,
}

impl Hall {
    /// The offsets of a queue over both tiers. While nobody knows where it begins in the tier, the log's begin counts:
    /// for questions about the end, and figures.
    pub(crate) fn range(&self, topic: &str, queue_id: i32) -> Option<QueueRange> {
        let hot = self.store.queue_range(topic, queue_id)?;
        let begin = self.cold.as_ref().and_then(|cold| cold.begin(topic, queue_id, hot));
        Some(QueueRange { min: begin.unwrap_or(hot.min), max: hot.max })
    }

    /// The same for who goes on from the begin, and must not pass over what is in the tier.
    pub(crate) fn certain_range(&self, topic: &str, queue_id: i32) -> Result<Option<QueueRange>, Refusal> {
        let Some(hot) = self.store.queue_range(topic, queue_id) else { return Ok(None) };
        let Some(cold) = &self.cold else { return Ok(Some(hot)) };
        let min = cold.begin(topic, queue_id, hot).ok_or_else(closed)?;
        Ok(Some(QueueRange { min, max: hot.max }))
    }

    /// The cold tier if an offset of a queue is to be read there: below what the log has, and not below all.
    pub(crate) fn cold_for(&self, topic: &str, queue_id: i32, offset: i64) -> Option<(&Arc<Cold>, QueueRange)> {
        let cold = self.cold.as_ref()?;
        let hot = self.store.queue_range(topic, queue_id).filter(|hot| offset < hot.min)?;
        let is_there = cold.begin(topic, queue_id, hot).is_none_or(|begin| offset >= begin);
        is_there.then_some((cold, hot))
    }

    /// The offset that a time means in a queue; see [`strata_store::Store::offset_by_time`].
    pub(crate) async fn offset_by_time(
        &self,
        queue: (&str, i32),
        time_ms: i64,
        boundary: Boundary,
    ) -> Result<i64, Refusal> {
        if let Some(known) = self.offset_by_time_at_once(queue, time_ms, boundary) {
            return Ok(known);
        }
        let boundary_there = match boundary {
            Boundary::Lower => cold::Boundary::Lower,
            Boundary::Upper => cold::Boundary::Upper,
        };
        let open = self.open_tier()?;
        let found = open.tier.cold().offset_by_time(queue, time_ms, boundary_there).await.map_err(failed)?;
        let range = self.certain_range(queue.0, queue.1)?;
        let offset = found.unwrap_or_else(|| self.store.offset_by_time(queue.0, queue.1, time_ms, boundary));
        Ok(range.map_or(offset, |range| offset.clamp(range.min, range.max)))
    }

    /// The same if the log alone tells: the message that is meant lies in it.
    pub(crate) fn offset_by_time_at_once(
        &self,
        (topic, queue_id): (&str, i32),
        time_ms: i64,
        boundary: Boundary,
    ) -> Option<i64> {
        let in_log = || self.store.offset_by_time(topic, queue_id, time_ms, boundary);
        let hot = self.store.queue_range(topic, queue_id);
        if self.cold.is_none() || hot.is_none_or(|hot| hot.min == 0) {
            return Some(in_log());
        }
        let earliest = self.store.earliest_store_time(topic, queue_id);
        let is_behind = earliest.is_some_and(|earliest| match boundary {
            Boundary::Lower => earliest < time_ms,
            Boundary::Upper => earliest <= time_ms,
        });
        is_behind.then(in_log)
    }

    /// When the message at an offset was stored, ms since 1970.
    pub(crate) async fn store_time(&self, topic: &str, queue_id: i32, offset: i64) -> Result<Option<i64>, Refusal> {
        if self.cold_for(topic, queue_id, offset).is_none() {
            return Ok(self.store.store_time(topic, queue_id, offset));
        }
        let open = self.open_tier()?;
        open.tier.cold().store_time(topic, queue_id, offset).await.map_err(failed)
    }

    /// The record at a log offset.
    pub(crate) async fn record_at(&self, log_offset: i64) -> Result<Option<Bytes>, Refusal> {
        let found = self.store.record_at(log_offset);
        let is_older = log_offset < self.store.log_range().0;
        if found.is_some() || self.cold.is_none() || !is_older {
            return Ok(found);
        }
        self.open_tier()?.tier.cold().record_at(log_offset).await.map_err(failed)
    }

    /// What the tier adds to the messages with a key that the log found.
    pub(crate) async fn older_by_key(&self, question: &KeyQuestion, found: usize) -> Result<Vec<Bytes>, Refusal> {
        let log_begin = self.store.log_range().0;
        let in_log = self.store.earliest_log_time().is_some_and(|first| question.begin_ms > first);
        if self.cold.is_none() || found >= question.max || log_begin == 0 || in_log {
            return Ok(Vec::new());
        }
        let ask = KeyAsk {
            topic: &question.topic,
            key: &question.key,
            kind: match question.kind {
                KeyKind::UniqueKey => cold::KeyKind::UniqueKey,
                KeyKind::Key => cold::KeyKind::Key,
            },
            times: question.begin_ms..=question.end_ms,
            max: question.max - found,
        };
        let below = u64::try_from(log_begin).unwrap_or(0);
        self.open_tier()?.tier.cold().by_key(&ask, below).await.map_err(failed)
    }

    fn open_tier(&self) -> Result<Arc<Open>, Refusal> {
        self.cold.as_ref().and_then(|cold| cold.opened()).ok_or_else(closed)
    }
}

fn closed() -> Refusal {
    Refusal::Busy { what: "the cold tier is not open yet" }
}

fn failed(error: cold::ColdError) -> Refusal {
    Refusal::Cold { reason: error.to_string() }
}
