//! Traces: what clients, and this broker, tell about the way of a message.
//!
//! Owns the text of trace records, reading ([`records`]) and writing ([`append`]). It does not look messages up,
//! inflates nothing and knows no table. Fields and their order are in `trace/layout.rs`.
//!
//! # The body
//!
//! A trace message's body is records, each ended by 0x02; fields are separated by 0x01, the first one says what
//! happened. Client fields by version, read in the sources named below; the Java rows from 4.4.0, 4.8.0, 4.9.1, 4.9.8,
//! 5.3.0 and 5.5.0 and the Go row from 2.1.2 are also what those releases wrote when they were run (`trace/tests.rs`):
//!
//! | record | fields behind the first | written by |
//! |---|---|---|
//! | `Pub` | time, region, group, topic, message id, tags, keys, store host, body bytes, cost, message type, offset id, success | Java but 4.8.0, Go up to 2.1.0, C++ |
//! | | the same, client host | Java 4.8.0, Go from 2.1.1, mxsm's Rust |
//! | | without offset id; without offset id and success | nobody known; readers of Apache take them |
//! | `SubBefore` | time, region, group, request id, message id, retries, keys | Java but 4.8.0, Go up to 2.1.0, C++, Rust |
//! | | the same, client host | Java 4.8.0, Go from 2.1.1 |
//! | `SubAfter` | request id, message id, cost, success, keys | C++ |
//! | | the same, context code | Java 4.4.0 to 4.7.1 and 4.9.1, Go up to 2.1.0 |
//! | | the same, time, group | Java 4.8.0, 4.9.0, from 4.9.2; Go from 2.1.1; Rust |
//! | | up to context code, 0x01, **no 0x02** | Java 4.9.5 to 4.9.8 and 5.1.4 to 5.3.0 in cloud mode |
//! | | up to context code, 0x01 | Java from 5.3.1 and Rust in cloud mode |
//! | `EndTransaction` | time, region, group, topic, message id, tags, keys, store host, message type, transaction id, state, from check | Java from 4.9.0, Rust |
//! | `Recall` | time, region, group, topic, message id, success | Java from 5.3.2 if asked for, Rust |
//! | no kind in front | topic, message id, tags, keys, store host, body bytes, cost, kind; records *separated* by 0x02 | NewLife.RocketMQ (.NET) |
//!
//! What the texts mean differs too:
//! - A missing text is `null` in Java, empty or `null` in Go and C++, and `dKey` for C++'s keys of consumption. All of
//!   these are read as absent; a message whose tag is really `null` cannot be told from one without.
//! - A batch's message id is the ids of its messages with commas between them ([`TracedMessage::ids`]); its body is counted
//!   as one. Java counts a body after compression, Go before. Search keys are separated by blanks.
//! - The time of `Pub` is when sending began in Java and C++ and when it ended in Go; that of `SubAfter` is its end.
//!   Cost is in milliseconds; Java divides that of consumption by the number of messages.
//! - Go's producer never sets the message type, so all its records say 0.
//! - Times, and in `SubAfter` the group, may be missing: take the message's born time, and the group of the `SubBefore`
//!   with the same request id.
//!
//! # The message
//!
//! Its topic is [`TRACE_TOPIC`] or any name that the application chose; the C++ client, and
//! Java and Go in cloud mode, send to a topic for each region (see [`is_trace_topic`]). Its `KEYS` are the message ids
//! (a batch's list is one key) and the search keys of all records, so a query by key finds traces by id. Java from 5.3.1
//! gathers 10 contexts (at most 20), older Java and Go 100, within some 128,000 bytes and for one topic; a context of
//! consumption makes one record for each message of the call. C++ and .NET send each context alone, and .NET names the
//! kind in `TAGS`. Java compresses bodies from 4 KiB on as for any message: inflate first. The Node client `ali-ons`
//! and the C++ core in PyPI's `rocketmq` 0.4.4 send no traces.
//!
//! # The broker's own records
//!
//! For clients that send none this broker can write records of the same shape with first fields that no client uses
//! ([`Kind::Store`] and following). Apache's decoder compares the first field with the kinds it knows and passes over
//! others, so `mqadmin queryMsgTraceById` and the dashboard show the clients' records beside them; tried with the decoders
//! of the six Java releases above. It fails for the whole body when a *known* kind has too few fields, or a record is
//! nothing but separators: own records are never that. An absent field is empty; more fields may follow one day.
//!
//! Sources: apache/rocketmq `client/src/main/java/org/apache/rocketmq/client/trace/` (`TraceDataEncoder`, `TraceView`,
//! `AsyncTraceDispatcher`, `hook/`) at its release tags from 4.4.0 to 5.3.3, and the jar of 5.5.0; apache/rocketmq-client-go
//! `internal/trace.go`, `producer/interceptor.go`, `consumer/interceptor.go` at 2.0.0, 2.1.0, 2.1.1, 2.1.2;
//! apache/rocketmq-client-cpp `src/trace/TraceUtil.cpp` at 2.2.0; mxsm/rocketmq-rust
//! `rocketmq-client/src/trace/trace_data_encoder.rs`; NewLifeX/NewLife.RocketMQ `MessageTrace/AsyncTraceDispatcher.cs`;
//! apache/rocketmq-dashboard `util/MsgTraceDecodeUtil.java`.

use std::iter::FusedIterator;

use thiserror::Error;

use crate::limits::{TRACE_FIELDS_MAX, TRACE_RECORDS_MAX};
use crate::name::{TRACE_REGION_PREFIX, TRACE_TOPIC};
use crate::properties::KEY_SEPARATOR;

mod layout;
#[cfg(test)]
mod tests;

/// Between the fields of a record.
pub const FIELD_SEPARATOR: u8 = 1;
/// After each record; readers accept that the last one is missing.
pub const RECORD_SEPARATOR: u8 = 2;
/// Between the ids of a batch's messages.
pub const ID_SEPARATOR: char = ',';

/// Whether clients send traces to `topic` by default. An application may choose any other topic too.
#[must_use]
pub fn is_trace_topic(topic: &str) -> bool {
    topic == TRACE_TOPIC || topic.starts_with(TRACE_REGION_PREFIX)
}

/// The key by which the broker's own records of a queue are found, in the message that carries them. No topic has a colon
/// in its name.
#[must_use]
pub fn queue_key(topic: &str, queue_id: i32) -> String {
    format!("{topic}:{queue_id}")
}

/// What happened to a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A producer sent it and has the answer.
    Publish,
    /// A consumer's listener is about to be called with it.
    ConsumeBegin,
    /// The listener returned.
    ConsumeEnd,
    /// A producer committed or rolled back its transaction.
    EndTransaction,
    /// A producer took a delayed message back.
    Recall,
    /// The broker stored it.
    Store,
    /// The broker handed messages of a queue to a consumer.
    Deliver,
    /// A group's offset went past messages of a queue, or one was acknowledged by itself.
    Ack,
    /// A consumer sent it back, to have it again.
    Retry,
    /// It went to its group's dead-letter topic.
    DeadLetter,
}

impl Kind {
    /// All kinds: the clients' first, then the broker's.
    pub const ALL: [Self; 10] = [
        Self::Publish,
        Self::ConsumeBegin,
        Self::ConsumeEnd,
        Self::EndTransaction,
        Self::Recall,
        Self::Store,
        Self::Deliver,
        Self::Ack,
        Self::Retry,
        Self::DeadLetter,
    ];

    /// The first field of its records.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Publish => "Pub",
            Self::ConsumeBegin => "SubBefore",
            Self::ConsumeEnd => "SubAfter",
            Self::EndTransaction => "EndTransaction",
            Self::Recall => "Recall",
            Self::Store => "BrokerStore",
            Self::Deliver => "BrokerDeliver",
            Self::Ack => "BrokerAck",
            Self::Retry => "BrokerRetry",
            Self::DeadLetter => "BrokerDeadLetter",
        }
    }

    /// The kind with this text; upper and lower case differ.
    #[must_use]
    pub fn of(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.text() == text)
    }

    /// Whether clients write it, not the broker.
    #[must_use]
    pub const fn is_of_client(self) -> bool {
        matches!(self, Self::Publish | Self::ConsumeBegin | Self::ConsumeEnd | Self::EndTransaction | Self::Recall)
    }
}

/// One record. Which fields a kind has is in the table above; all others, and those left empty, are `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trace<'a> {
    /// What happened.
    pub kind: Kind,
    /// When, in milliseconds since 1970.
    pub time_ms: Option<i64>,
    /// The broker's region, `DefaultRegion` unless its configuration says otherwise.
    pub region: Option<&'a str>,
    /// The producer's or consumer's group, without namespace.
    pub group: Option<&'a str>,
    /// Milliseconds that it took.
    pub cost_ms: Option<i64>,
    /// Whether it went well.
    pub success: Option<bool>,
    /// The message.
    pub message: TracedMessage<'a>,
    /// The client.
    pub client: TracedClient<'a>,
    /// How it was consumed.
    pub consumption: Consumption<'a>,
    /// Its transaction.
    pub transaction: Transaction<'a>,
    /// Where it lies; broker's records only.
    pub span: Span,
}

/// A message as its trace tells of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TracedMessage<'a> {
    /// Its topic, without namespace.
    pub topic: Option<&'a str>,
    /// The client's id, or those of a batch's messages; see [`Self::ids`].
    pub id: Option<&'a str>,
    /// The broker's id.
    pub offset_id: Option<&'a str>,
    /// Its tag.
    pub tags: Option<&'a str>,
    /// Its search keys as one text; see [`Self::each_key`].
    pub keys: Option<&'a str>,
    /// Bytes of its body, compressed or not as the client counts.
    pub body_bytes: Option<i32>,
    /// Apache's `MessageType` by its number; see [`Self::type_name`].
    pub message_type: Option<i32>,
    /// Address of the broker that has it.
    pub store_host: Option<&'a str>,
}

impl<'a> TracedMessage<'a> {
    /// The client's ids, one for each message of a batch.
    pub fn ids(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.id.unwrap_or("").split(ID_SEPARATOR).filter(|id| !id.is_empty())
    }

    /// The search keys one by one.
    pub fn each_key(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.keys.unwrap_or("").split(KEY_SEPARATOR).filter(|key| !key.is_empty())
    }

    /// Apache's name of the message type; `None` also for numbers that 5.5.0 does not have.
    #[must_use]
    pub fn type_name(&self) -> Option<&'static str> {
        const NAMES: [&str; 5] = ["Normal_Msg", "Trans_Msg_Half", "Trans_msg_Commit", "Delay_Msg", "Order_Msg"];
        name_at(&NAMES, self.message_type)
    }
}

/// The client of a trace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TracedClient<'a> {
    /// Its address, with or without port.
    pub host: Option<&'a str>,
    /// Its client id; broker's records only.
    pub id: Option<&'a str>,
}

/// How a message was consumed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Consumption<'a> {
    /// One call of a listener: its beginning and its end have the same.
    pub request_id: Option<&'a str>,
    /// How often it was consumed before.
    pub retry_times: Option<i32>,
    /// Apache's `ConsumeReturnType` by its number; see [`Self::context_name`].
    pub context_code: Option<i32>,
    /// The level of its delay before it comes again ([`Kind::Retry`]).
    pub delay_level: Option<i32>,
}

impl Consumption<'_> {
    /// Apache's name of the context code; `None` also for numbers that 5.5.0 does not have.
    #[must_use]
    pub fn context_name(&self) -> Option<&'static str> {
        const NAMES: [&str; 5] = ["SUCCESS", "TIME_OUT", "EXCEPTION", "RETURNNULL", "FAILED"];
        name_at(&NAMES, self.context_code)
    }
}

/// The end of a transaction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Transaction<'a> {
    /// The transaction's id.
    pub id: Option<&'a str>,
    /// Apache's `LocalTransactionState` by its name: `COMMIT_MESSAGE`, `ROLLBACK_MESSAGE`, `UNKNOW`.
    pub state: Option<&'a str>,
    /// Whether the broker had asked.
    pub from_check: Option<bool>,
}

/// Messages of one queue. Those of a range may be fewer than its offsets: a filter passes some over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Span {
    /// The queue's number in its topic.
    pub queue_id: Option<i32>,
    /// The queue offset of the message, or of the first one.
    pub queue_offset: Option<i64>,
    /// The queue offset of the last message, itself one of them; `None` with one message alone.
    pub last_queue_offset: Option<i64>,
    /// How many messages.
    pub messages: Option<i32>,
}

fn name_at(names: &[&'static str], number: Option<i32>) -> Option<&'static str> {
    names.get(usize::try_from(number?).ok()?).copied()
}

impl Trace<'_> {
    /// A record of which nothing but the kind is known.
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            time_ms: None,
            region: None,
            group: None,
            cost_ms: None,
            success: None,
            message: TracedMessage::default(),
            client: TracedClient::default(),
            consumption: Consumption::default(),
            transaction: Transaction::default(),
            span: Span::default(),
        }
    }
}

/// Why a record is not understood. Fields are counted as in Apache's source: the kind is number 0.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Reason {
    /// Not UTF-8.
    #[error("is not UTF-8 text")]
    NotText,
    /// The first field is no kind, and the last one is none of .NET's.
    #[error("begins with no known kind")]
    UnknownKind,
    /// Fewer fields than any client writes.
    #[error("has {found} fields, {kind} has at least {least}")]
    TooFewFields {
        /// The first field.
        kind: &'static str,
        /// Fields found, the kind among them.
        found: usize,
        /// The fewest, the kind among them.
        least: usize,
    },
    /// More fields than a reader looks at.
    #[error("has more than {max} fields")]
    TooManyFields {
        /// The bound.
        max: usize,
    },
    /// A field that must be a whole number is another text, or too large.
    #[error("has no number, or one too large, in field {field}")]
    NotNumber {
        /// The field's number.
        field: usize,
    },
    /// A field that must be `true` or `false` is another text.
    #[error("has neither true nor false in field {field}")]
    NotBoolean {
        /// The field's number.
        field: usize,
    },
    /// The body has more records than a reader looks at; this one is all the rest.
    #[error("is the rest of a body with more than {max} records")]
    TooManyRecords {
        /// The bound.
        max: usize,
    },
}

/// A record that is not understood, as it is.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the trace record at byte {at} {reason}")]
pub struct Damaged<'a> {
    /// Where it begins in the body.
    pub at: usize,
    /// Its bytes, without the separator behind it.
    pub record: &'a [u8],
    /// What is wrong with it.
    pub reason: Reason,
}

/// The records of a body, inflated if the message was compressed.
///
/// A record that is not understood is an error, and those behind it are still read. Empty records are passed over.
/// Time is linear in the body's length and nothing is allocated.
#[must_use]
pub const fn records(body: &[u8]) -> Records<'_> {
    Records { body, at: 0, end: 0, left: TRACE_RECORDS_MAX }
}

/// The iterator of [`records`].
#[derive(Debug, Clone)]
pub struct Records<'a> {
    body: &'a [u8],
    /// Where the next record begins.
    at: usize,
    /// Position of the 0x02 at or behind `at`, or the length. Kept, because records may be glued together: looking
    /// for it again for each of them would take quadratic time.
    end: usize,
    /// Records that may still be read.
    left: usize,
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Trace<'a>, Damaged<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        let at = self.begin()?;
        if self.left == 0 {
            self.at = self.body.len();
            let reason = Reason::TooManyRecords { max: TRACE_RECORDS_MAX };
            return Some(Err(Damaged { at, record: &self.body[at..], reason }));
        }
        self.left -= 1;
        let record = &self.body[at..self.end];
        let record = glued_at(record).map_or(record, |cut| &record[..cut]);
        self.at = at + record.len() + 1;
        Some(decode(record).map_err(|reason| Damaged { at, record, reason }))
    }
}

impl FusedIterator for Records<'_> {}

impl Records<'_> {
    /// Where the next record begins that is not empty; sets its end.
    fn begin(&mut self) -> Option<usize> {
        while self.at < self.body.len() {
            if self.at >= self.end {
                let rest = &self.body[self.at..];
                let bytes = rest.iter().position(|byte| *byte == RECORD_SEPARATOR).unwrap_or(rest.len());
                self.end = self.at + bytes;
            }
            if self.at < self.end {
                return Some(self.at);
            }
            self.at += 1;
        }
        None
    }
}

/// Where the first record ends when Java's cloud mode left 0x02 out: a `SubAfter` of seven fields whose eighth, where
/// other versions have a time, is the kind of the next.
fn glued_at(record: &[u8]) -> Option<usize> {
    const FIELDS: usize = 7;
    let separator = |byte: &u8| *byte == FIELD_SEPARATOR;
    let kind = Kind::ConsumeEnd.text().as_bytes();
    if !record.starts_with(kind) || record.get(kind.len()) != Some(&FIELD_SEPARATOR) {
        return None;
    }
    let cut = record.iter().enumerate().filter(|(_, byte)| separator(byte)).nth(FIELDS - 1)?.0;
    let next = record[cut + 1..].split(separator).next()?;
    let known = Kind::ALL.into_iter().any(|kind| kind.is_of_client() && kind.text().as_bytes() == next);
    known.then_some(cut)
}

fn decode(record: &[u8]) -> Result<Trace<'_>, Reason> {
    let text = std::str::from_utf8(record).map_err(|_| Reason::NotText)?;
    let separator = char::from(FIELD_SEPARATOR);
    let found = text.split(separator).take(TRACE_FIELDS_MAX + 1).count();
    if found > TRACE_FIELDS_MAX {
        return Err(Reason::TooManyFields { max: TRACE_FIELDS_MAX });
    }
    let (first, rest) = text.split_once(separator).unwrap_or((text, ""));
    let Some(kind) = Kind::of(first) else {
        return decode_dotnet(text, found);
    };
    let layout = layout::read(kind, found - 1);
    if found <= layout.least {
        return Err(Reason::TooFewFields { kind: kind.text(), found, least: layout.least + 1 });
    }
    let mut trace = Trace::new(kind);
    for (index, (field, text)) in layout.fields.iter().zip(rest.split(separator)).enumerate() {
        layout::set(&mut trace, *field, text, index + 1)?;
    }
    Ok(trace)
}

/// A record of NewLife.RocketMQ: the kind comes last.
fn decode_dotnet(text: &str, found: usize) -> Result<Trace<'_>, Reason> {
    let separator = char::from(FIELD_SEPARATOR);
    let last = text.rsplit(separator).next().and_then(Kind::of);
    let kind = last.filter(|kind| matches!(kind, Kind::Publish | Kind::ConsumeBegin | Kind::ConsumeEnd));
    let Some(kind) = kind.filter(|_| found == layout::DOTNET.len() + 1) else {
        return Err(Reason::UnknownKind);
    };
    let mut trace = Trace::new(kind);
    for (index, (field, text)) in layout::DOTNET.iter().zip(text.split(separator)).enumerate() {
        layout::set(&mut trace, *field, text, index)?;
    }
    Ok(trace)
}

/// Why a record cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TraceError {
    /// A text would end its field or its record.
    #[error("field {field} of a {kind} record holds 0x01 or 0x02")]
    Separator {
        /// The first field.
        kind: &'static str,
        /// The field's number, the kind being 0.
        field: usize,
    },
    /// Something is set for which records of the kind have no field.
    #[error("{kind} records do not have all the fields that are set")]
    NoField {
        /// The first field.
        kind: &'static str,
    },
}

/// Appends one record to `out`, in the shape of the newest Java client or of this broker.
///
/// [`records`] gives it back equal, but for texts that are empty and those that mean absence in the clients' kinds
/// (`null`, `dKey`).
///
/// # Errors
/// A text holds a separator, or something is set that the kind has no field for; `out` is as before.
pub fn append(out: &mut Vec<u8>, trace: &Trace<'_>) -> Result<(), TraceError> {
    let before = out.len();
    let written = layout::write(out, trace);
    if written.is_err() {
        out.truncate(before);
    }
    written
}
