//! Which fields a trace record has and in which order: one table for reading and writing.

use std::io::Write as _;

use super::{FIELD_SEPARATOR, Kind, RECORD_SEPARATOR, Reason, Trace, TraceError};

/// A field of a record behind its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    Time,
    Region,
    Group,
    Topic,
    MessageId,
    Tags,
    Keys,
    StoreHost,
    BodyBytes,
    Cost,
    MessageType,
    OffsetId,
    Success,
    ClientHost,
    ClientId,
    RequestId,
    RetryTimes,
    ContextCode,
    DelayLevel,
    TransactionId,
    TransactionState,
    FromCheck,
    QueueId,
    QueueOffset,
    LastQueueOffset,
    Messages,
}

/// The fields of a kind, the kind itself not counted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    /// All fields in their order.
    pub(super) fields: &'static [Field],
    /// The fewest that are read.
    pub(super) least: usize,
    /// The fewest that are written; absent ones behind them are left out.
    written: usize,
}

use Field::{
    BodyBytes, ClientHost, ClientId, ContextCode, Cost, DelayLevel, FromCheck, Group, Keys, LastQueueOffset, MessageId,
    MessageType, Messages, OffsetId, QueueId, QueueOffset, Region, RequestId, RetryTimes, StoreHost, Success, Tags,
    Time, Topic, TransactionId, TransactionState,
};

const PUBLISH: Layout = Layout {
    fields: &[
        Time,
        Region,
        Group,
        Topic,
        MessageId,
        Tags,
        Keys,
        StoreHost,
        BodyBytes,
        Cost,
        MessageType,
        OffsetId,
        Success,
        ClientHost,
    ],
    least: 11,
    written: 13,
};

/// [`PUBLISH`] without the offset id, which readers tell by the number of fields alone.
const PUBLISH_SHORT: Layout = Layout {
    fields: &[Time, Region, Group, Topic, MessageId, Tags, Keys, StoreHost, BodyBytes, Cost, MessageType, Success],
    least: 11,
    written: 12,
};

const CONSUME_BEGIN: Layout =
    Layout { fields: &[Time, Region, Group, RequestId, MessageId, RetryTimes, Keys, ClientHost], least: 7, written: 7 };

const CONSUME_END: Layout =
    Layout { fields: &[RequestId, MessageId, Cost, Success, Keys, ContextCode, Time, Group], least: 5, written: 8 };

const END_TRANSACTION: Layout = Layout {
    fields: &[
        Time,
        Region,
        Group,
        Topic,
        MessageId,
        Tags,
        Keys,
        StoreHost,
        MessageType,
        TransactionId,
        TransactionState,
        FromCheck,
    ],
    least: 12,
    written: 12,
};

const RECALL: Layout = Layout { fields: &[Time, Region, Group, Topic, MessageId, Success], least: 6, written: 6 };

/// The broker's [`PUBLISH`], and where the message lies.
const STORE: Layout = Layout {
    fields: &[
        Time,
        Region,
        Group,
        Topic,
        MessageId,
        Tags,
        Keys,
        StoreHost,
        BodyBytes,
        Cost,
        MessageType,
        OffsetId,
        Success,
        ClientHost,
        QueueId,
        QueueOffset,
        ClientId,
        LastQueueOffset,
        Messages,
    ],
    least: 5,
    written: 5,
};

/// What the broker tells of consumption: one layout for its four kinds.
const CONSUMPTION: Layout = Layout {
    fields: &[
        Time,
        Region,
        Group,
        Topic,
        MessageId,
        ClientHost,
        ClientId,
        QueueId,
        QueueOffset,
        LastQueueOffset,
        Messages,
        RetryTimes,
        DelayLevel,
    ],
    least: 5,
    written: 5,
};

/// NewLife.RocketMQ's fields, in front of the kind.
pub(super) const DOTNET: [Field; 7] = [Topic, MessageId, Tags, Keys, StoreHost, BodyBytes, Cost];

/// How records of a kind are written.
pub(super) const fn of(kind: Kind) -> &'static Layout {
    match kind {
        Kind::Publish => &PUBLISH,
        Kind::ConsumeBegin => &CONSUME_BEGIN,
        Kind::ConsumeEnd => &CONSUME_END,
        Kind::EndTransaction => &END_TRANSACTION,
        Kind::Recall => &RECALL,
        Kind::Store => &STORE,
        Kind::Deliver | Kind::Ack | Kind::Retry | Kind::DeadLetter => &CONSUMPTION,
    }
}

/// How a record of a kind is read that has `found` fields behind the kind.
pub(super) fn read(kind: Kind, found: usize) -> &'static Layout {
    if kind == Kind::Publish && found <= PUBLISH_SHORT.fields.len() { &PUBLISH_SHORT } else { of(kind) }
}

/// Where a field's value is kept.
pub(super) enum Slot<'t, 'a> {
    Text(&'t mut Option<&'a str>),
    Long(&'t mut Option<i64>),
    Int(&'t mut Option<i32>),
    Flag(&'t mut Option<bool>),
}

pub(super) const fn slot<'t, 'a>(trace: &'t mut Trace<'a>, field: Field) -> Slot<'t, 'a> {
    match field {
        Time => Slot::Long(&mut trace.time_ms),
        Region => Slot::Text(&mut trace.region),
        Group => Slot::Text(&mut trace.group),
        Cost => Slot::Long(&mut trace.cost_ms),
        Success => Slot::Flag(&mut trace.success),
        Topic => Slot::Text(&mut trace.message.topic),
        MessageId => Slot::Text(&mut trace.message.id),
        OffsetId => Slot::Text(&mut trace.message.offset_id),
        Tags => Slot::Text(&mut trace.message.tags),
        Keys => Slot::Text(&mut trace.message.keys),
        BodyBytes => Slot::Int(&mut trace.message.body_bytes),
        MessageType => Slot::Int(&mut trace.message.message_type),
        StoreHost => Slot::Text(&mut trace.message.store_host),
        ClientHost => Slot::Text(&mut trace.client.host),
        ClientId => Slot::Text(&mut trace.client.id),
        RequestId => Slot::Text(&mut trace.consumption.request_id),
        RetryTimes => Slot::Int(&mut trace.consumption.retry_times),
        ContextCode => Slot::Int(&mut trace.consumption.context_code),
        DelayLevel => Slot::Int(&mut trace.consumption.delay_level),
        TransactionId => Slot::Text(&mut trace.transaction.id),
        TransactionState => Slot::Text(&mut trace.transaction.state),
        FromCheck => Slot::Flag(&mut trace.transaction.from_check),
        QueueId => Slot::Int(&mut trace.span.queue_id),
        QueueOffset => Slot::Long(&mut trace.span.queue_offset),
        LastQueueOffset => Slot::Long(&mut trace.span.last_queue_offset),
        Messages => Slot::Int(&mut trace.span.messages),
    }
}

/// Whether a text stands for no value: `null` is Java's, `dKey` what C++ writes for no keys.
fn is_absent(kind: Kind, field: Field, text: &str) -> bool {
    let consumed = matches!(kind, Kind::ConsumeBegin | Kind::ConsumeEnd);
    text.is_empty() || (kind.is_of_client() && text == "null") || (consumed && field == Keys && text == "dKey")
}

/// Sets a field, which is number `at` of its record, from its text.
pub(super) fn set<'a>(trace: &mut Trace<'a>, field: Field, text: &'a str, at: usize) -> Result<(), Reason> {
    if is_absent(trace.kind, field, text) {
        return Ok(());
    }
    let not_number = |_| Reason::NotNumber { field: at };
    match slot(trace, field) {
        Slot::Text(slot) => *slot = Some(text),
        Slot::Long(slot) => *slot = Some(text.parse().map_err(not_number)?),
        Slot::Int(slot) => *slot = Some(text.parse().map_err(not_number)?),
        Slot::Flag(slot) if text.eq_ignore_ascii_case("true") => *slot = Some(true),
        Slot::Flag(slot) if text.eq_ignore_ascii_case("false") => *slot = Some(false),
        Slot::Flag(_) => return Err(Reason::NotBoolean { field: at }),
    }
    Ok(())
}

/// Writes a record behind `out`; after an error `out` has a part of it.
pub(super) fn write(out: &mut Vec<u8>, trace: &Trace<'_>) -> Result<(), TraceError> {
    let kind = trace.kind;
    let layout = of(kind);
    // Fields are taken as they are written, so what is left has no place.
    let mut rest = *trace;
    out.extend_from_slice(kind.text().as_bytes());
    let mut end = out.len();
    for (index, field) in layout.fields.iter().enumerate() {
        out.push(FIELD_SEPARATOR);
        let start = out.len();
        take(out, slot(&mut rest, *field));
        if out[start..].iter().any(|byte| [FIELD_SEPARATOR, RECORD_SEPARATOR].contains(byte)) {
            return Err(TraceError::Separator { kind: kind.text(), field: index + 1 });
        }
        if out.len() > start || index < layout.written {
            end = out.len();
        }
    }
    if rest != Trace::new(kind) {
        return Err(TraceError::NoField { kind: kind.text() });
    }
    out.truncate(end);
    out.push(RECORD_SEPARATOR);
    Ok(())
}

/// Takes a value out of its slot and writes its text, which is empty for none.
fn take(out: &mut Vec<u8>, slot: Slot<'_, '_>) {
    // A vector takes all that is written to it.
    let _ = match slot {
        Slot::Text(slot) => slot.take().map(|text| out.write_all(text.as_bytes())),
        Slot::Long(slot) => slot.take().map(|number| write!(out, "{number}")),
        Slot::Int(slot) => slot.take().map(|number| write!(out, "{number}")),
        Slot::Flag(slot) => slot.take().map(|flag| write!(out, "{flag}")),
    };
}
