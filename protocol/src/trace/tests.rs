//! Bodies as releases of clients write them, damage, and round trips.
//!
//! Bodies of Java (4.4.0, 4.8.0, 4.9.1, 4.9.8, 5.3.0, 5.5.0) and Go (2.1.2) are what the encoders of those releases
//! returned for one message with all fields and one with none. Those of C++ (2.2.0, `src/trace/TraceUtil.cpp`), Go 2.1.0,
//! mxsm's Rust and .NET are put together by the field lists in their sources.

use super::layout::{Slot, of, slot};
use super::*;
use crate::limits::{BODY_BYTES_MAX, TRACE_RECORD_BYTES_MIN};
use proptest::prelude::*;

const ONE: &str = "7F000001000100000000000000000001";
const TWO: &str = "7F000001000100000000000000000002";
const REQUEST: &str = "7F000001000100000000000000000009";
const OFFSET_ID: &str = "0A0102FF00002A9F0000000000000100";
const TIME: i64 = 1_700_000_000_123;

const PUB_14: &str = "Pub\x011700000000123\x01DefaultRegion\x01shop\x01orders\x017F000001000100000000000000000001\x01paid\x01\
    order-1 cust-2\x0110.1.2.255:10911\x0142\x017\x013\x010A0102FF00002A9F0000000000000100\x01true\x02";
const PUB_15: &str = "Pub\x011700000000123\x01DefaultRegion\x01shop\x01orders\x017F000001000100000000000000000001\x01paid\x01\
    order-1 cust-2\x0110.1.2.255:10911\x0142\x017\x013\x010A0102FF00002A9F0000000000000100\x01true\x0110.1.2.3\x02";
const BATCH: &str = "Pub\x011700000000123\x01DefaultRegion\x01shop\x01orders\x017F000001000100000000000000000001,\
    7F000001000100000000000000000002\x01null\x01null\x0110.1.2.255:10911\x0142\x017\x013\x01\
    0A0102FF00002A9F0000000000000100\x01true\x02";
const BEFORE_8: &str = "SubBefore\x011700000000123\x01DefaultRegion\x01shop\x017F000001000100000000000000000009\x01\
    7F000001000100000000000000000001\x012\x01order-1 cust-2\x02SubBefore\x011700000000123\x01DefaultRegion\x01shop\x01\
    7F000001000100000000000000000009\x017F000001000100000000000000000002\x012\x01null\x02";
const BEFORE_9: &str = "SubBefore\x011700000000123\x01DefaultRegion\x01shop\x017F000001000100000000000000000009\x01\
    7F000001000100000000000000000001\x012\x01order-1 cust-2\x0110.1.2.3\x02SubBefore\x011700000000123\x01DefaultRegion\x01\
    shop\x017F000001000100000000000000000009\x017F000001000100000000000000000002\x012\x01null\x0110.1.2.3\x02";
const AFTER_7: &str = "SubAfter\x017F000001000100000000000000000009\x017F000001000100000000000000000001\x017\x01true\x01\
    order-1 cust-2\x014\x02SubAfter\x017F000001000100000000000000000009\x017F000001000100000000000000000002\x017\x01true\
    \x01null\x014\x02";
const AFTER_9: &str = "SubAfter\x017F000001000100000000000000000009\x017F000001000100000000000000000001\x017\x01true\x01\
    order-1 cust-2\x014\x011700000000123\x01shop\x02SubAfter\x017F000001000100000000000000000009\x01\
    7F000001000100000000000000000002\x017\x01true\x01null\x014\x011700000000123\x01shop\x02";
/// Cloud mode of Java 4.9.8 and 5.3.0: two ends and a beginning, glued by 0x01.
const AFTER_GLUED: &str = "SubAfter\x017F000001000100000000000000000009\x017F000001000100000000000000000001\x017\x01true\x01\
    order-1 cust-2\x014\x01SubAfter\x017F000001000100000000000000000009\x017F000001000100000000000000000002\x017\x01true\x01\
    null\x014\x01SubBefore\x011700000000123\x01DefaultRegion\x01shop\x017F000001000100000000000000000009\x01\
    7F000001000100000000000000000001\x012\x01order-1 cust-2\x02";
/// Cloud mode of Java 5.5.0.
const AFTER_8: &str = "SubAfter\x017F000001000100000000000000000009\x017F000001000100000000000000000001\x017\x01true\x01\
    order-1 cust-2\x014\x01\x02SubAfter\x017F000001000100000000000000000009\x017F000001000100000000000000000002\x017\x01\
    true\x01null\x014\x01\x02";
const END: &str = "EndTransaction\x011700000000123\x01DefaultRegion\x01shop\x01orders\x017F000001000100000000000000000001\
    \x01paid\x01order-1\x0110.1.2.255:10911\x013\x017F000001000100000000000000000001\x01COMMIT_MESSAGE\x01true\x02";
const RECALL: &str =
    "Recall\x011700000000123\x01DefaultRegion\x01shop\x01orders\x017F000001000100000000000000000001\x01true\x02";
const GO_PUB: &str = "Pub\x011700000000123\x01DefaultRegion\x01shop\x01orders\x017F000001000100000000000000000002\x01\x01\x01\
    10.1.2.255:10911\x0142\x017\x010\x010A0102FF00002A9F0000000000000100\x01true\x0110.1.2.3\x02";
/// C++: a message without tag and keys, sent, and consumed under the region that this client falls back on.
const CPP: [&str; 3] = [
    "Pub\x011700000000123\x01DefaultRegion\x01shop\x01orders\x017F000001000100000000000000000002\x01\x01\x01\
    10.1.2.255:10911\x0142\x017\x010\x010A0102FF00002A9F0000000000000100\x01true\x02",
    "SubBefore\x011700000000123\x01DEFAULT_REGION\x01shop\x017F000001000100000000000000000009\x01\
    7F000001000100000000000000000002\x012\x01dKey\x02",
    "SubAfter\x017F000001000100000000000000000009\x017F000001000100000000000000000002\x017\x01false\x01dKey\x02",
];
/// .NET: what C# makes of nulls is empty.
const DOTNET: &str = "orders\x017F000001000100000000000000000001\x01paid\x01order-1\x0110.1.2.255:10911\x0142\x017\x01SubAfter\
    \x02orders\x017F000001000100000000000000000002\x01\x01\x0110.1.2.255:10911\x0142\x01-7\x01SubAfter";

fn message(id: &'static str) -> TracedMessage<'static> {
    let full = id == ONE;
    TracedMessage {
        id: Some(id),
        tags: full.then_some("paid"),
        keys: full.then_some("order-1 cust-2"),
        ..TracedMessage::default()
    }
}

/// What a producer tells of a message.
fn sent(id: &'static str, message_type: i32) -> TracedMessage<'static> {
    TracedMessage {
        topic: Some("orders"),
        store_host: Some("10.1.2.255:10911"),
        body_bytes: Some(42),
        message_type: Some(message_type),
        offset_id: Some(OFFSET_ID),
        ..message(id)
    }
}

fn timed(kind: Kind) -> Trace<'static> {
    Trace { time_ms: Some(TIME), region: Some("DefaultRegion"), group: Some("shop"), ..Trace::new(kind) }
}

fn publish(message: TracedMessage<'static>, host: Option<&'static str>) -> Trace<'static> {
    let client = TracedClient { host, id: None };
    Trace { cost_ms: Some(7), success: Some(true), message, client, ..timed(Kind::Publish) }
}

fn begin(id: &'static str, host: Option<&'static str>) -> Trace<'static> {
    let consumption = Consumption { request_id: Some(REQUEST), retry_times: Some(2), ..Consumption::default() };
    let message = TracedMessage { tags: None, ..message(id) };
    Trace { message, consumption, client: TracedClient { host, id: None }, ..timed(Kind::ConsumeBegin) }
}

fn end(id: &'static str) -> Trace<'static> {
    let consumption = Consumption { request_id: Some(REQUEST), context_code: Some(4), ..Consumption::default() };
    let message = TracedMessage { tags: None, ..message(id) };
    Trace { message, consumption, cost_ms: Some(7), success: Some(true), ..Trace::new(Kind::ConsumeEnd) }
}

fn timed_end(id: &'static str) -> Trace<'static> {
    Trace { time_ms: Some(TIME), group: Some("shop"), ..end(id) }
}

fn read(body: &str) -> Vec<Trace<'_>> {
    records(body.as_bytes()).collect::<Result<_, _>>().unwrap()
}

/// The bytes of `body`'s records, one after another.
fn write(traces: &[Trace<'_>]) -> String {
    let mut out = Vec::new();
    traces.iter().for_each(|trace| append(&mut out, trace).unwrap());
    String::from_utf8(out).unwrap()
}

#[test]
fn all_java_but_4_8_0_sends() {
    let traces = [publish(sent(ONE, 3), None)];
    assert_eq!(read(PUB_14), traces);
    assert_eq!(write(&traces), PUB_14);
    assert_eq!(traces[0].message.type_name(), Some("Delay_Msg"));
    assert!(traces[0].message.each_key().eq(["order-1", "cust-2"]));
}

#[test]
fn java_4_8_0_and_go_2_1_2_name_the_client() {
    assert_eq!(read(PUB_15), [publish(sent(ONE, 3), Some("10.1.2.3"))]);
    assert_eq!(write(&read(PUB_15)), PUB_15);
    assert_eq!(read(GO_PUB), [publish(sent(TWO, 0), Some("10.1.2.3"))]);
    let both = [begin(ONE, Some("10.1.2.3")), begin(TWO, Some("10.1.2.3"))];
    assert_eq!(read(BEFORE_9), both);
}

#[test]
fn a_batch_has_several_ids() {
    let traces = read(BATCH);
    assert!(traces[0].message.ids().eq([ONE, TWO]));
    assert_eq!((traces[0].message.tags, traces[0].message.keys), (None, None));
    assert_eq!(traces[0].message.each_key().count(), 0);
}

#[test]
fn java_4_4_0_and_go_2_1_0_consume() {
    assert_eq!(read(BEFORE_8), [begin(ONE, None), begin(TWO, None)]);
    assert_eq!(read(AFTER_7), [end(ONE), end(TWO)]);
    assert_eq!(end(ONE).consumption.context_name(), Some("FAILED"));
}

#[test]
fn java_4_8_0_and_from_4_9_2_and_go_2_1_2_consume() {
    assert_eq!(read(AFTER_9), [timed_end(ONE), timed_end(TWO)]);
    // Empty where Java has `null`; readers take both.
    assert_eq!(write(&read(AFTER_9)), AFTER_9.replace("null", ""));
}

#[test]
fn the_cloud_mode_of_java_consumes() {
    assert_eq!(read(AFTER_GLUED), [end(ONE), end(TWO), begin(ONE, None)]);
    assert_eq!(read(AFTER_8), [end(ONE), end(TWO)]);
    let alone = AFTER_GLUED.split_inclusive("\x014\x01").next().unwrap();
    assert_eq!(read(alone), [end(ONE)], "the last one ends with 0x01 alone");
}

#[test]
fn java_ends_transactions_and_recalls() {
    let transaction = Transaction { id: Some(ONE), state: Some("COMMIT_MESSAGE"), from_check: Some(true) };
    let message = TracedMessage { keys: Some("order-1"), offset_id: None, body_bytes: None, ..sent(ONE, 3) };
    let ended = Trace { message, transaction, ..timed(Kind::EndTransaction) };
    assert_eq!(read(END), [ended]);
    assert_eq!(write(&[ended]), END);
    let message = TracedMessage { topic: Some("orders"), id: Some(ONE), ..TracedMessage::default() };
    let recalled = Trace { message, success: Some(true), ..timed(Kind::Recall) };
    assert_eq!(read(RECALL), [recalled]);
    assert_eq!(write(&[recalled]), RECALL);
}

#[test]
fn cpp_writes_other_texts_for_nothing() {
    let [sending, before, after] = CPP;
    assert_eq!(read(sending), [publish(sent(TWO, 0), None)]);
    assert_eq!(read(before), [Trace { region: Some("DEFAULT_REGION"), ..begin(TWO, None) }]);
    let mut ended = Trace { success: Some(false), ..end(TWO) };
    ended.consumption.context_code = None;
    assert_eq!(read(after), [ended]);
}

#[test]
fn dotnet_names_the_kind_last() {
    let consumed = |id, keys, cost| {
        let message = TracedMessage { message_type: None, offset_id: None, keys, ..sent(id, 0) };
        Trace { message, cost_ms: Some(cost), ..Trace::new(Kind::ConsumeEnd) }
    };
    assert_eq!(read(DOTNET), [consumed(ONE, Some("order-1"), 7), consumed(TWO, None, -7)]);
    let mut out = b"before".to_vec();
    assert_eq!(append(&mut out, &read(DOTNET)[0]), Err(TraceError::NoField { kind: "SubAfter" }));
    assert_eq!(out, b"before");
}

#[test]
fn old_forms_of_sending_are_told_by_their_length() {
    let long: Vec<&str> = PUB_14.trim_end_matches('\x02').split('\x01').collect();
    let twelve = long[..12].join("\x01");
    let thirteen = format!("{twelve}\x01FALSE");
    let expected = Trace { success: None, ..publish(TracedMessage { offset_id: None, ..sent(ONE, 3) }, None) };
    assert_eq!(read(&twelve), [expected]);
    assert_eq!(read(&thirteen), [Trace { success: Some(false), ..expected }]);
}

#[test]
fn fields_of_newer_clients_are_passed_over() {
    let newer = PUB_15.replace("10.1.2.3", "10.1.2.3\x01new\x01newer");
    assert_eq!(read(&newer), read(PUB_15));
}

#[test]
fn damage_is_told_and_the_rest_is_read() {
    let cases: [(&[u8], Reason); 8] = [
        (b"New\x011", Reason::UnknownKind),
        (b"\x01", Reason::UnknownKind),
        (b"Pub", Reason::TooFewFields { kind: "Pub", found: 1, least: 12 }),
        (b"SubAfter\x01r\x01m\x017\x01true", Reason::TooFewFields { kind: "SubAfter", found: 5, least: 6 }),
        (b"Recall\x01now\x01\x01\x01\x01\x01", Reason::NotNumber { field: 1 }),
        (b"SubAfter\x01r\x01m\x019223372036854775808\x01true\x01k", Reason::NotNumber { field: 3 }),
        (b"Recall\x01\x01\x01\x01\x01\x01yes", Reason::NotBoolean { field: 6 }),
        (b"Recall\x01\x01\xFF\x01\x01\x01\x01", Reason::NotText),
    ];
    for (record, reason) in cases {
        let body = [RECALL.as_bytes(), record, b"\x02\x02", RECALL.as_bytes()].concat();
        let read: Vec<_> = records(&body).collect();
        let damaged = Damaged { at: RECALL.len(), record, reason };
        assert_eq!(read[1], Err(damaged));
        assert_eq!((read.len(), read[0].is_ok(), read[2].is_ok()), (3, true, true));
    }
}

#[test]
fn damage_says_where_and_what() {
    let damaged = records(b"\x02SubBefore\x01").next().unwrap().unwrap_err();
    assert_eq!(damaged.to_string(), "the trace record at byte 1 has 2 fields, SubBefore has at least 8");
}

#[test]
fn fields_and_records_are_bounded() {
    let wide = ["Recall"; TRACE_FIELDS_MAX + 1].join("\x01");
    let reason = records(wide.as_bytes()).next().unwrap().unwrap_err().reason;
    assert_eq!(reason, Reason::TooManyFields { max: TRACE_FIELDS_MAX });
    let body = RECALL.repeat(TRACE_RECORDS_MAX + 2);
    let read: Vec<_> = records(body.as_bytes()).collect();
    assert_eq!(read.len(), TRACE_RECORDS_MAX + 1);
    let last = read[TRACE_RECORDS_MAX].as_ref().unwrap_err();
    assert_eq!(last.reason, Reason::TooManyRecords { max: TRACE_RECORDS_MAX });
    assert_eq!(last.record, [RECALL, RECALL].concat().as_bytes());
}

/// Four MiB without one 0x02: a search for it from each record on would be some 100 GB of reading.
#[test]
fn a_body_of_glued_records_is_read_in_one_pass() {
    let glued = AFTER_GLUED.split_inclusive("\x014\x01").next().unwrap();
    let body = glued.repeat(BODY_BYTES_MAX / glued.len());
    assert_eq!(records(body.as_bytes()).filter(|read| *read == Ok(end(ONE))).count(), BODY_BYTES_MAX / glued.len());
}

#[test]
fn no_client_writes_smaller_records_than_the_bound_supposes() {
    let all = [PUB_14, BEFORE_8, AFTER_7, AFTER_GLUED, END, RECALL, GO_PUB, CPP[0], CPP[1], CPP[2]];
    for record in all.iter().flat_map(|body| body.split_terminator('\x02')) {
        assert!(record.len() >= TRACE_RECORD_BYTES_MIN, "{record}");
    }
}

#[test]
fn golden_records_of_the_broker() {
    let span = Span { queue_id: Some(3), queue_offset: Some(100), ..Span::default() };
    let client = TracedClient { host: Some("10.1.2.3:4711"), id: None };
    let stored = Trace { kind: Kind::Store, span, client, ..publish(sent(ONE, 3), None) };
    let golden = PUB_14.replace("Pub", "BrokerStore").replace('\x02', "\x0110.1.2.3:4711\x013\x01100\x02");
    assert_eq!(write(&[stored]), golden);
    let client = TracedClient { id: Some("10.1.2.3@1"), ..client };
    let span = Span { last_queue_offset: Some(131), messages: Some(20), ..span };
    let message = TracedMessage { topic: Some("orders"), ..TracedMessage::default() };
    let delivered = Trace { message, client, span, ..timed(Kind::Deliver) };
    let golden = "BrokerDeliver\x011700000000123\x01DefaultRegion\x01shop\x01orders\x01\x0110.1.2.3:4711\x0110.1.2.3@1\x013\x01\
        100\x01131\x0120\x02";
    assert_eq!(write(&[delivered]), golden);
    assert_eq!(read(golden), [delivered]);
}

#[test]
fn separators_in_texts_are_refused() {
    let mut out = RECALL.as_bytes().to_vec();
    let torn = Trace { group: Some("a\x02b"), ..timed(Kind::Ack) };
    assert_eq!(append(&mut out, &torn), Err(TraceError::Separator { kind: "BrokerAck", field: 3 }));
    assert_eq!(out, RECALL.as_bytes());
}

#[test]
fn topics_of_traces_are_known() {
    assert!(is_trace_topic("RMQ_SYS_TRACE_TOPIC") && is_trace_topic("rmq_sys_TRACE_DATA_DefaultRegion"));
    assert!(!is_trace_topic("orders"));
}

fn a_kind() -> impl Strategy<Value = Kind> {
    (0..Kind::ALL.len()).prop_map(|index| Kind::ALL[index])
}

/// Fields of a body, with all that readers look for among them.
fn a_piece() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => Just(vec![FIELD_SEPARATOR]),
        2 => Just(vec![RECORD_SEPARATOR]),
        2 => a_kind().prop_map(|kind| kind.text().as_bytes().to_vec()),
        2 => prop_oneof![Just("true"), Just("null"), Just("dKey"), Just("17"), Just("-1")].prop_map(|text| text.into()),
        1 => prop::collection::vec(any::<u8>(), 0..6),
        1 => a_kind().prop_map(|kind| [kind.text(), &"\x017".repeat(20)].concat().into_bytes()),
        1 => Just(AFTER_GLUED.as_bytes().to_vec()),
    ]
}

proptest! {
    #[test]
    fn any_bytes_are_survived(pieces in prop::collection::vec(a_piece(), 0..60)) {
        let body = pieces.concat();
        let mut at = 0;
        for read in records(&body) {
            match read {
                Err(damaged) => {
                    prop_assert!(damaged.at >= at && body[damaged.at..].starts_with(damaged.record));
                    at = damaged.at + damaged.record.len();
                }
                Ok(trace) => {
                    let mut out = Vec::new();
                    // .NET tells of consumption what other clients do not.
                    if append(&mut out, &trace).is_ok() {
                        prop_assert!(records(&out).eq([Ok(trace)]));
                    }
                }
            }
        }
    }

    #[test]
    fn round_trip(
        kind in a_kind(),
        values in prop::collection::vec(prop::option::of(("[a-z0-9é ,@:|%-]{1,12}", any::<i64>())), 20),
    ) {
        let mut trace = Trace::new(kind);
        for (field, value) in of(kind).fields.iter().zip(&values) {
            let value = value.as_ref().filter(|(text, _)| text != "null");
            match slot(&mut trace, *field) {
                Slot::Text(slot) => *slot = value.map(|(text, _)| text.as_str()),
                Slot::Long(slot) => *slot = value.map(|(_, number)| *number),
                Slot::Int(slot) => *slot = value.map(|(_, number)| (*number >> 32) as i32),
                Slot::Flag(slot) => *slot = value.map(|(_, number)| *number > 0),
            }
        }
        let mut out = Vec::new();
        append(&mut out, &trace).unwrap();
        prop_assert_eq!(records(&out).collect::<Vec<_>>(), vec![Ok(trace)]);
        out.extend_from_within(..);
        prop_assert_eq!(records(&out).filter(|read| *read == Ok(trace)).count(), 2);
    }
}
