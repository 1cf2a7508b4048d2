//! What goes into an append and what comes out of it.
//!
//! Owns the store's view of a message on its way in, and the event that wakes readers. How it is
//! written is told by `append`.

use std::net::SocketAddr;
use std::sync::Arc;

use smallvec::SmallVec;
use strata_protocol::hash::java_hash;
use strata_protocol::properties::IndexTerms;
use strata_protocol::record::{Placement, Prepared, Record};
use strata_protocol::sysflag::{self, TransactionType};

use crate::error::AppendError;
use crate::keys::{KeyHasher, KeyKind};
use crate::limits::{KEYS_PER_MESSAGE_MAX, PROPERTIES_NULS_MAX, QUEUE_ID_MAX, TOPIC_BYTES_MAX};

/// A message to be stored. The store adds body checksum, offsets, store time and store host.
#[derive(Debug, Clone, Copy)]
pub struct NewMessage<'a> {
    /// Topic; the caller has validated the name.
    pub topic: &'a str,
    /// Queue, 0 to [`QUEUE_ID_MAX`].
    pub queue_id: i32,
    /// The application's flag.
    pub flag: i32,
    /// See [`sysflag`]; the address bits are set by the hosts.
    pub sys_flag: i32,
    /// When the client made it, ms since 1970.
    pub born_timestamp: i64,
    /// The client's address.
    pub born_host: SocketAddr,
    /// How often it was consumed before.
    pub reconsume_times: i32,
    /// Log offset of the half message, 0 outside transactions.
    pub prepared_transaction_offset: i64,
    /// The body.
    pub body: &'a [u8],
    /// The properties text.
    pub properties: &'a [u8],
    /// `IndexTerms::of(properties)`; the caller has parsed them already.
    pub terms: IndexTerms<'a>,
}

/// Where a message was put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Log offset of the record.
    pub physical_offset: i64,
    /// Log offset behind it; durable when [`crate::Store::durable_offset`] has reached it.
    pub log_end: i64,
    /// Its number in the queue; 0 for prepared and rollback messages, which are in no queue.
    pub queue_offset: i64,
    /// When it was stored, ms since 1970.
    pub store_timestamp: i64,
    /// Bytes of the record.
    pub bytes: u32,
}

/// A message became visible to readers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AppendedEvent<'a> {
    /// Topic.
    pub topic: &'a str,
    /// Queue.
    pub queue_id: i32,
    /// Its number in the queue.
    pub queue_offset: i64,
    /// Java's hash of its tag, sign-extended; 0 without a tag.
    pub tags_code: i64,
}

/// Called after each append that readers can see. The append lock is not held; with synchronous flush the
/// flusher calls it between two flushes, so it must not flush or close the store.
pub type Listener = Box<dyn Fn(&AppendedEvent<'_>) + Send + Sync>;

/// An event that waits for its flush.
#[derive(Debug)]
pub(crate) struct PendingEvent {
    pub(crate) topic: Arc<str>,
    pub(crate) queue_id: i32,
    pub(crate) queue_offset: i64,
    pub(crate) tags_code: i64,
}

/// A message with all that can be computed before the append lock is taken.
pub(crate) struct Draft<'a> {
    pub(crate) prepared: Prepared<'a>,
    pub(crate) tag: i32,
    pub(crate) queued: bool,
    /// Most messages have a unique key and at most two search keys.
    pub(crate) key_hashes: SmallVec<[u32; 4]>,
}

impl<'a> Draft<'a> {
    /// Checks the message and computes sizes and hashes.
    pub(crate) fn new(message: &NewMessage<'a>, store_host: SocketAddr, bytes_max: usize) -> Result<Self, AppendError> {
        let queue_id = message.queue_id;
        if !(0..=QUEUE_ID_MAX).contains(&queue_id) {
            return Err(AppendError::QueueId { queue_id, max: QUEUE_ID_MAX });
        }
        if message.topic.len() > TOPIC_BYTES_MAX {
            let reason = format!("the topic has {} bytes, at most {TOPIC_BYTES_MAX} fit", message.topic.len());
            return Err(AppendError::Malformed { reason });
        }
        if looks_torn(message.properties) {
            let reason = format!("its properties end in NUL or hold more than {PROPERTIES_NULS_MAX} NULs in a row");
            return Err(AppendError::Malformed { reason });
        }
        let record = Record {
            topic: message.topic,
            queue_id,
            flag: message.flag,
            sys_flag: message.sys_flag,
            born_timestamp: message.born_timestamp,
            born_host: message.born_host,
            reconsume_times: message.reconsume_times,
            prepared_transaction_offset: message.prepared_transaction_offset,
            body: message.body,
            properties: message.properties,
            placed: Placement { queue_offset: 0, physical_offset: 0, store_timestamp: 0, store_host },
        };
        let too_large = |bytes| AppendError::RecordTooLarge { bytes, max: bytes_max };
        if message.body.len() > bytes_max {
            // Refused before its checksum is computed.
            return Err(too_large(message.body.len()));
        }
        let prepared = Prepared::new(record).map_err(|error| AppendError::Malformed { reason: error.to_string() })?;
        if prepared.bytes() > bytes_max {
            return Err(too_large(prepared.bytes()));
        }
        Ok(Self {
            prepared,
            tag: message.terms.tags.map_or(0, java_hash),
            queued: sysflag::is_queued(message.sys_flag),
            key_hashes: key_hashes(message.topic, message.sys_flag, &message.terms),
        })
    }
}

/// Whether recovery could take a part of the properties for a sector that a power cut took.
fn looks_torn(properties: &[u8]) -> bool {
    // Nearly no message has a NUL, and looking for one costs a few nanoseconds.
    properties.contains(&0)
        && (properties.last() == Some(&0)
            || properties.chunk_by(|a, b| a == b).any(|run| run[0] == 0 && run.len() > PROPERTIES_NULS_MAX))
}

/// The hashes under which a message is listed in the key index. Rolled-back messages are not listed,
/// as in RocketMQ.
pub(crate) fn key_hashes(topic: &str, sys_flag: i32, terms: &IndexTerms<'_>) -> SmallVec<[u32; 4]> {
    let mut hashes = SmallVec::new();
    if sysflag::transaction_type(sys_flag) == TransactionType::Rollback {
        return hashes;
    }
    let hasher = KeyHasher::of(topic);
    if let Some(key) = terms.unique_key {
        hashes.push(hasher.hash(key, KeyKind::UniqueKey));
    }
    for key in terms.each_key().take(KEYS_PER_MESSAGE_MAX) {
        hashes.push(hasher.hash(key, KeyKind::Key));
    }
    hashes
}
