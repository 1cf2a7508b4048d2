//! Delivers delayed messages when their time has come.
//!
//! Each delay level is a queue of the schedule topic, ordered by time because all of its messages wait
//! equally long. How far each level is delivered is kept in `delayOffset.json`, never ahead of what is on
//! disk and little more than a second behind: a crash delivers the messages of that time again, it loses
//! none. For who loses the disk too, the cold tier keeps how far they were delivered when the log was as long as what is
//! in it: a copy that was not rolled is delivered again.
//!
//! A message's time is its store time and its delay. Where store times lie ahead, because the clock was set back
//! or had jumped ahead for a while, it is the time that this process measured instead: the message has waited at
//! least since it was seen, and comes when that is its delay, after twice its delay at the latest.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use strata_filter::Filter;
use strata_protocol::body::DataVersion;
use strata_protocol::checked::json_with_checksum;
use strata_protocol::code::request;
use strata_protocol::name::SCHEDULE_TOPIC;
use strata_protocol::properties;
use strata_protocol::record::{RecordView, records};
use strata_store::{Read, ReadStatus};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::{error, warn};

use crate::cold::{Outcome, read_cold};
use crate::durable::{DurableError, DurableFile};
use crate::hall::Hall;
use crate::handle::Draft;
use crate::limits::{LEVEL_MARKS_MAX, SCHEDULE_BATCH_MESSAGES_MAX};
use crate::reading::{self, Place};
use crate::refusal::Refusal;
use crate::sieve::Sifter;
use crate::waiting::PullPlan;

/// The file in the folder of configuration files.
pub(crate) const FILE: &str = "delayOffset.json";

/// Time between looks at what is due, when nothing is known to be due earlier: no delay is shorter. Progress is
/// written as often while something is delivered.
const TICK: Duration = Duration::from_secs(1);

/// Shortest sleep: messages that are due within it are delivered together.
const PAUSE_MIN: Duration = Duration::from_millis(5);

/// The form of `delayOffset.json`: level to offset.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct DelayOffsets {
    offset_table: BTreeMap<i32, i64>,
    data_version: DataVersion,
    /// The same for the copies that are in the cold tier.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    rolled_table: BTreeMap<i32, i64>,
}

/// The file's text for a broker that is made from the cold tier alone: copies that are not in it are delivered again.
pub(crate) fn as_rolled(text: &[u8]) -> Option<Vec<u8>> {
    let mut offsets: DelayOffsets = serde_json::from_slice(text).ok()?;
    offsets.offset_table.append(&mut offsets.rolled_table);
    Some(json_with_checksum(FILE, serde_json::to_vec(&offsets).ok()?))
}

/// The delivery of delayed messages.
pub(crate) struct Schedule {
    hall: Arc<Hall>,
    file: DurableFile,
    /// Touched by the one task that delivers, and at the end.
    state: Mutex<State>,
}

/// How far the levels are.
#[derive(Default)]
struct State {
    /// What the file says or will say: everything before these offsets is on disk where it belongs.
    kept: DelayOffsets,
    /// The next message of each level to deliver.
    next: BTreeMap<i32, i64>,
    /// Deliveries whose copies may not be on disk yet: end of the copy in the log, level, next offset.
    unflushed: VecDeque<(i64, i32, i64)>,
    unsaved: bool,
    seen: Seen,
    /// What was delivered and may not be in the cold tier yet.
    marks: Marks,
}

/// By level, oldest first: how long the log was when everything before an offset was delivered.
#[derive(Default)]
struct Marks(BTreeMap<i32, VecDeque<(i64, i64)>>);

impl Marks {
    /// Notes that the level's messages before `offset` were delivered, the last one by a copy that ends at `log_end`.
    fn note(&mut self, level: i32, log_end: i64, offset: i64) {
        let marks = self.0.entry(level).or_default();
        if marks.len() >= LEVEL_MARKS_MAX {
            // With half of them it is known less finely, and never too far.
            let mut nth = 0_usize;
            marks.retain(|_| {
                nth += 1;
                nth.is_multiple_of(2)
            });
        }
        // What had no copy is as good as in the tier when what came before it is.
        let log_end = marks.back().map_or(log_end, |(before, _)| log_end.max(*before));
        match marks.back_mut() {
            Some(last) if last.0 == log_end => last.1 = offset,
            _ => marks.push_back((log_end, offset)),
        }
    }

    /// Takes what was delivered when the log was no longer than `copied`: levels and offsets.
    fn take(&mut self, copied: i64) -> impl Iterator<Item = (i32, i64)> {
        self.0.iter_mut().filter_map(move |(level, marks)| {
            let mut last = None;
            while let Some((_, offset)) = marks.pop_front_if(|(log_end, _)| *log_end <= copied) {
                last = Some((*level, offset));
            }
            last
        })
    }
}

/// When messages of a level that are stamped ahead of the clock were seen: by level the end of those, and the
/// measured time, ms.
#[derive(Default)]
struct Seen(BTreeMap<i32, (i64, i64)>);

impl Seen {
    /// How long the message at `offset`, the next of its level, has waited at least, ms. `end` is the level's end.
    fn waited_ms(&mut self, queue: i32, (offset, end): (i64, i64), elapsed_ms: i64) -> i64 {
        let (seen_end, since) = self.0.entry(queue).or_insert((end, elapsed_ms));
        if offset >= *seen_end {
            // All that were seen then are delivered.
            (*seen_end, *since) = (end, elapsed_ms);
        }
        elapsed_ms - *since
    }
}

impl State {
    /// Takes what is on disk by now into what is kept.
    fn confirm(&mut self, durable: i64) {
        while let Some((_, level, offset)) = self.unflushed.pop_front_if(|(log_end, ..)| *log_end <= durable) {
            self.kept.offset_table.insert(level, offset);
            self.unsaved = true;
        }
    }

    /// The same for what is in the cold tier.
    fn confirm_rolled(&mut self, copied: i64) {
        for (level, offset) in self.marks.take(copied) {
            self.kept.rolled_table.insert(level, offset);
            self.unsaved = true;
        }
    }
}

/// What became of one level's round.
enum Round {
    /// Nothing is due before this time, ms; `None`: the level is empty.
    Until(Option<i64>),
    /// There is more to deliver at once.
    More,
    /// The log refused; try again later.
    Refused,
}

impl Schedule {
    /// Reads how far each level is delivered.
    pub(crate) fn load(hall: Arc<Hall>, config: &Path) -> Result<Self, DurableError> {
        let file = DurableFile::new(config, FILE);
        let kept: DelayOffsets = file.load()?.unwrap_or_default();
        let next = kept.offset_table.clone();
        let mut marks = Marks::default();
        let (_, log_end) = hall.store.log_range();
        next.iter().for_each(|(level, offset)| marks.note(*level, log_end, *offset));
        Ok(Self { hall, file, state: Mutex::new(State { kept, next, marks, ..State::default() }) })
    }

    /// Delivers until `stop` is rung.
    pub(crate) async fn run(&self, stop: Arc<Notify>) {
        let mut saved = Instant::now();
        loop {
            // Both touch the disk; the runtime moves the connections of this thread away meanwhile.
            let pause = tokio::task::block_in_place(|| self.round());
            if saved.elapsed() >= TICK {
                if let Err(error) = tokio::task::block_in_place(|| self.save()) {
                    warn!(%error, "the progress of delayed messages was not stored; trying again");
                }
                saved = Instant::now();
            }
            tokio::select! {
                () = stop.notified() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// One round over all levels; gives the time until the next one.
    fn round(&self) -> Duration {
        let now = self.hall.now_ms();
        let mut pause = TICK;
        for queue in 0..self.hall.delays.count() {
            let wanted = match self.deliver(queue, now) {
                Round::Until(None) | Round::Refused => TICK,
                Round::Until(Some(due)) => Duration::from_millis(u64::try_from(due - now).unwrap_or(0)).max(PAUSE_MIN),
                Round::More => Duration::ZERO,
            };
            pause = pause.min(wanted);
        }
        pause
    }

    fn offset(&self, queue: i32) -> i64 {
        let known = self.state.lock().next.get(&(queue + 1)).copied().unwrap_or(0);
        // A log that lost its tail in a power cut must not be waited for; neither must one that was trimmed.
        match self.hall.certain_range(SCHEDULE_TOPIC, queue) {
            Ok(range) => range.map_or(known, |range| known.clamp(range.min, range.max)),
            // Nobody knows what the cold tier holds: nothing is passed over.
            Err(_) => known,
        }
    }

    /// The level goes on at `offset`; what was delivered before it ends in the log at `log_end`.
    fn advance(&self, queue: i32, offset: i64, log_end: i64) {
        let mut state = self.state.lock();
        if state.next.insert(queue + 1, offset).is_none() {
            // Nothing of this level was delivered before, so no copy of it is in the cold tier.
            state.kept.rolled_table.insert(queue + 1, 0);
        }
        state.unflushed.push_back((log_end, queue + 1, offset));
        if self.hall.cold.is_some() {
            state.marks.note(queue + 1, log_end, offset);
        }
    }

    /// Delivers what is due of one level.
    fn deliver(&self, queue: i32, now_ms: i64) -> Round {
        let offset = self.offset(queue);
        let plan = PullPlan {
            code: request::PULL_MESSAGE,
            group: Arc::from("SCHEDULE_CONSUMER"),
            topic: Arc::from(SCHEDULE_TOPIC),
            queue_id: queue,
            offset,
            seen: offset,
            sifter: Sifter::from(Arc::new(Filter::All)),
            messages_max: SCHEDULE_BATCH_MESSAGES_MAX,
            bytes_max: self.hall.options.pull.bytes_max,
            deadline_ms: 0,
            watched: None,
        };
        let (read, is_cold) = self.read(&plan);
        match read.status {
            ReadStatus::Found => {}
            ReadStatus::BeforeBegin if is_cold && read.next_offset > offset => {
                let next = read.next_offset;
                error!(level = queue + 1, offset, next, "delayed messages were lost before they were rolled; going on");
                self.advance(queue, next, 0);
                return Round::More;
            }
            ReadStatus::Damaged { .. } => {
                error!(
                    level = queue + 1,
                    offset,
                    next = read.next_offset,
                    "delayed messages are damaged on disk and cannot be delivered"
                );
                self.advance(queue, read.next_offset.max(offset + 1), 0);
                return Round::More;
            }
            ReadStatus::Cold | ReadStatus::Unavailable { .. } => {
                warn!(level = queue + 1, offset, "delayed messages cannot be read now; trying again");
                return Round::Refused;
            }
            ReadStatus::NoMatch
            | ReadStatus::AtEnd
            | ReadStatus::BeyondEnd
            | ReadStatus::BeforeBegin
            | ReadStatus::Empty => {
                return Round::Until(None);
            }
        }
        for record in read.slices.iter().flat_map(|slice| records(slice)) {
            let Ok(message) = record else {
                // Those before it have moved the level on; those behind it are read again without it.
                let bad = self.offset(queue);
                error!(level = queue + 1, offset = bad, "a delayed message cannot be read and is passed over");
                self.advance(queue, bad + 1, 0);
                return Round::More;
            };
            let due = self.due_ms(queue, &message, now_ms);
            if due > now_ms {
                return Round::Until(Some(due));
            }
            match self.release(&message) {
                Ok(log_end) => self.advance(queue, message.queue_offset() + 1, log_end),
                Err(refusal) => {
                    let offset = message.queue_offset();
                    warn!(level = queue + 1, offset, %refusal, "a due message was not delivered; trying again");
                    return Round::Refused;
                }
            }
        }
        Round::More
    }

    /// Reads delayed messages, out of the cold tier too: a broker that was made from it has them nowhere else. Gives
    /// whether they came from there.
    fn read(&self, plan: &PullPlan) -> (Read, bool) {
        if let Some((cold, hot)) = self.hall.cold_for(SCHEDULE_TOPIC, plan.queue_id, plan.seen) {
            let read = read_cold(cold, plan, hot, |_, _| {});
            if let Outcome::Read(read) = Handle::current().block_on(read) {
                return (read, true);
            }
        }
        (reading::read(&self.hall, plan, Place::Turn), false)
    }

    /// When a message, the next one of its level, is to be delivered, ms since 1970.
    fn due_ms(&self, queue: i32, message: &RecordView<'_>, now_ms: i64) -> i64 {
        let (stored_ms, delay_ms) = (message.store_timestamp(), self.hall.delays.of_queue(queue));
        if stored_ms <= now_ms {
            return stored_ms + delay_ms;
        }
        let offset = message.queue_offset();
        let end = self.hall.store.queue_range(SCHEDULE_TOPIC, queue).map_or(offset + 1, |range| range.max);
        let waited_ms = self.state.lock().seen.waited_ms(queue, (offset, end), self.hall.elapsed_ms());
        (stored_ms + delay_ms).min(now_ms + delay_ms - waited_ms)
    }

    /// Stores a due message where it belongs; gives the end of the copy in the log, 0 when there is none.
    fn release(&self, message: &RecordView<'_>) -> Result<i64, Refusal> {
        let text = message.properties();
        let topic = properties::find_str(text, properties::REAL_TOPIC);
        let queue_id = properties::find_str(text, properties::REAL_QID).and_then(|text| text.parse().ok());
        let (Some(topic), Some(queue_id)) = (topic, queue_id) else {
            error!(
                position = message.physical_offset(),
                "a delayed message does not say where it belongs; it stays in the log"
            );
            return Ok(0);
        };
        let Some(known) = self.hall.tables.topics.find(topic) else {
            warn!(
                topic,
                position = message.physical_offset(),
                "the topic of a delayed message was deleted; it is not delivered"
            );
            return Ok(0);
        };
        let draft = Draft {
            topic: Cow::Borrowed(topic),
            queue_id,
            flag: message.flag(),
            sys_flag: message.sys_flag(),
            born_timestamp: message.born_timestamp(),
            born_host: message.born_host(),
            reconsume_times: message.reconsume_times(),
            body: message.body(),
            properties: properties::without(text, &[properties::DELAY]),
            terms: properties::IndexTerms::of(text),
            delay_level: 0,
            sender: None,
        };
        let stored = draft.store(&self.hall, &known)?;
        known.delayed.add_sized(u64::from(stored.bytes));
        Ok(stored.log_end)
    }

    /// Writes the progress if it changed since it was last written.
    pub(crate) fn save(&self) -> Result<(), DurableError> {
        let changed = || {
            let mut state = self.state.lock();
            state.confirm(self.hall.store.durable_offset());
            if let Some(cold) = &self.hall.cold {
                state.confirm_rolled(cold.copied_to());
            }
            if !std::mem::take(&mut state.unsaved) {
                return None;
            }
            state.kept.data_version.counter += 1;
            Some(state.kept.clone())
        };
        self.file.save(changed, || self.state.lock().unsaved = true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_has_waited_since_then() {
        let mut seen = Seen::default();
        assert_eq!(seen.waited_ms(3, (10, 12), 1_000), 0, "seen for the first time");
        assert_eq!(seen.waited_ms(3, (10, 20), 1_700), 700);
        assert_eq!(seen.waited_ms(3, (11, 20), 1_700), 700, "it was there when its predecessor was seen");
        assert_eq!(seen.waited_ms(3, (12, 20), 1_700), 0, "nobody knows since when this one waits");
        assert_eq!(seen.waited_ms(3, (19, 30), 2_000), 300);
        assert_eq!(seen.waited_ms(4, (0, 1), 2_000), 0, "levels do not mix");
    }

    #[test]
    fn marks_never_tell_more_than_was_delivered() {
        let mut marks = Marks::default();
        for nth in 1..=100_000_i64 {
            marks.note(3, nth * 100, nth);
        }
        assert!(marks.0[&3].len() <= LEVEL_MARKS_MAX);
        marks.note(4, 700, 5);
        // Without a copy.
        marks.note(4, 0, 6);
        let mut known = 0;
        for copied in [0, 99, 100, 5_050, 1_000_000, 5_000_000, 9_999_999] {
            for (level, offset) in marks.take(copied) {
                assert!(level == 4 || offset <= copied / 100, "{offset} at {copied}");
                assert!(level == 3 || (copied >= 700 && offset == 6), "{offset} at {copied}");
                known = known.max(offset);
            }
        }
        assert!(known > 90_000, "{known} of 100,000 is too little");
        assert_eq!(marks.take(10_000_000).collect::<Vec<_>>(), [(3, 100_000)]);
        assert_eq!(marks.take(i64::MAX).next(), None);
    }

    #[test]
    fn a_tier_is_told_what_is_in_it() {
        let text = br#"{"offsetTable":{"1":7,"2":9},"rolledTable":{"1":4}}"#;
        let told: DelayOffsets = serde_json::from_slice(&as_rolled(text).unwrap()).unwrap();
        assert_eq!(told.offset_table, BTreeMap::from([(1, 4), (2, 9)]), "what is not known stays");
        assert!(told.rolled_table.is_empty());
        assert_eq!(as_rolled(b"{"), None);
    }
}
