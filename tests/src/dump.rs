//! Everything that queues hold, read message by message.
//!
//! Owns the reading and its form. A message that cannot be read is kept as such, with the broker's words.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use strata_protocol::code::ResponseCode;
use strata_protocol::record::{RecordView, records};

use crate::history::{Delivery, Digest, Queue, Ticket};
use crate::limits::DUMP_PULL_MESSAGES;
use crate::message::ticket_of;
use crate::talk::{Ask, Talk};

/// The group that reads for the tests; it stores no progress.
const READER: &str = "proving-ground-reader";

/// One stored message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its offset, as the record says.
    pub offset: i64,
    /// Its position in the log, as the record says.
    pub position: i64,
    /// Hash of the whole record.
    pub record: u64,
    /// Its body.
    pub body: Digest,
    /// The body is the one that was stored, by the record's own checksum.
    pub body_good: bool,
    /// Its properties text.
    pub properties: Arc<[u8]>,
    /// Who it says it is.
    pub ticket: Option<Ticket>,
    /// When it was stored, ms since 1970.
    pub stored_ms: i64,
    /// How often it was given to consumers before.
    pub reconsume_times: i32,
}

impl Stored {
    /// What a record says.
    #[must_use]
    pub fn of(record: &RecordView<'_>) -> Self {
        Self {
            offset: record.queue_offset(),
            position: record.physical_offset(),
            record: Digest::of(record.bytes()).hash,
            body: Digest::of(record.body()),
            body_good: record.check_body().is_ok(),
            properties: Arc::from(record.properties()),
            ticket: ticket_of(record.properties()),
            stored_ms: record.store_timestamp(),
            reconsume_times: record.reconsume_times(),
        }
    }

    /// The same as a consumer's log keeps it.
    #[must_use]
    pub fn delivery(&self) -> Delivery {
        Delivery { offset: self.offset, record: self.record, ticket: self.ticket }
    }
}

/// One queue.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueueDump {
    /// The first offset.
    pub min: i64,
    /// The next offset.
    pub max: i64,
    /// The messages in the order in which they were given.
    pub stored: Vec<Stored>,
    /// Offsets that could not be read, and what the broker said.
    pub unreadable: BTreeMap<i64, String>,
}

impl QueueDump {
    /// The message at an offset. Works while the offsets rise, which `check` looks at on its own.
    #[must_use]
    pub fn at(&self, offset: i64) -> Option<&Stored> {
        self.stored.binary_search_by_key(&offset, |stored| stored.offset).ok().and_then(|found| self.stored.get(found))
    }

    /// Why there is nothing at an offset.
    #[must_use]
    pub fn absence(&self, offset: i64) -> String {
        match self.unreadable.get(&offset) {
            Some(words) => format!("unreadable: {words}"),
            None => format!("nothing is there; the queue has offsets {} to {}", self.min, self.max),
        }
    }
}

/// What a server holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dump {
    /// By queue.
    pub queues: BTreeMap<Queue, QueueDump>,
}

impl Dump {
    /// Reads `queues` from begin to end.
    ///
    /// # Errors
    /// The server does not answer, or gives bytes that are no records.
    pub async fn read(talk: &Talk, queues: impl IntoIterator<Item = &Queue>) -> Result<Self> {
        let mut dump = Self::default();
        for queue in queues {
            let held = read_queue(talk, queue).await.with_context(|| format!("reading {queue}"))?;
            dump.queues.insert(queue.clone(), held);
        }
        Ok(dump)
    }

    /// How many messages there are.
    #[must_use]
    pub fn messages(&self) -> usize {
        self.queues.values().map(|queue| queue.stored.len()).sum()
    }
}

/// Reads one queue. The end is the one of the beginning, so that this ends while others write.
async fn read_queue(talk: &Talk, queue: &Queue) -> Result<QueueDump> {
    let (min, max) = talk.range(queue).await?;
    let mut held = QueueDump { min, max, ..QueueDump::default() };
    let mut offset = min;
    while offset < max {
        let ask = Ask { group: READER, queue, offset, most: DUMP_PULL_MESSAGES, hold_ms: 0, commit: None };
        let pulled = talk.pull(&ask).await?;
        match ResponseCode::of(pulled.code) {
            Some(ResponseCode::Success) => {
                let before = held.stored.len();
                for record in records(&pulled.records) {
                    // What was stored since the end was asked for is left out.
                    let stored = Stored::of(&record?);
                    if stored.offset < max {
                        held.stored.push(stored);
                    }
                }
                if held.stored.len() == before {
                    bail!("an answer with code 0 at offset {offset} carries no message below {max}");
                }
                offset = pulled.next.max(offset + 1);
            }
            // A damaged message: the broker says so, and a reader steps over it by its own decision.
            Some(ResponseCode::SystemError) => {
                held.unreadable.insert(offset, pulled.remark);
                offset += 1;
            }
            Some(ResponseCode::PullRetryImmediately) if pulled.next > offset => offset = pulled.next,
            _ => {
                held.unreadable.insert(offset, format!("code {}: {}", pulled.code, pulled.remark));
                offset += 1;
            }
        }
    }
    Ok(held)
}
