//! Appending and reading as a broker does it, over several segments and restarts.

use crate::common::*;
use strata_protocol::record::RecordView;
use strata_store::limits::TOPIC_BYTES_MAX;
use strata_store::{AppendError, Keep, KeepAll, QueueRange, ReadBudget, ReadStatus, Store, StoreOptions};

#[test]
fn what_is_appended_is_read_also_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(options(folder.path()));
    let mut expected = Vec::new();
    let mut log_end = 0;
    for number in 0..500_i64 {
        let body = format!("body {number}").repeat(1 + number as usize % 40).into_bytes();
        let appended = append(&store, "T", 1, &body);
        assert_eq!(appended.queue_offset, number);
        assert!(appended.physical_offset == log_end || appended.physical_offset % 65_536 == 0);
        expected.push((number, body));
        log_end = append(&store, "U", 0, b"x").log_end;
    }
    assert!(store.stats().segments >= 3);
    assert_eq!(all(&store, "T", 1), expected);
    store.seal_pending().unwrap();
    assert_eq!(store.stats().sealing, 0);
    assert_eq!(all(&store, "T", 1), expected);
    assert_eq!(store.queue_range("T", 1), Some(QueueRange { min: 0, max: 500 }));
    store.close().unwrap();
    drop(store);
    let (store, recovery) = open(options(folder.path()));
    assert_eq!((recovery.cut, recovery.damaged.len(), recovery.rebuilt_sidecars), (None, 0, 0));
    assert!(recovery.scanned_bytes < 65_536);
    assert_eq!(all(&store, "T", 1), expected);
    assert_eq!(append(&store, "T", 1, b"next").queue_offset, 500);
}

#[test]
fn records_carry_what_was_given() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(options(folder.path()));
    let mut message = with_properties("T", 3, b"body", b"TAGS\x01a\x02");
    message.flag = 5;
    message.sys_flag = 1;
    message.reconsume_times = 2;
    message.born_host = "[::7]:9".parse().unwrap();
    let appended = store.append(&message).unwrap();
    let bytes = store.record_at(appended.physical_offset).unwrap();
    let record = RecordView::parse(&bytes).unwrap();
    assert_eq!((record.topic(), record.queue_id(), record.flag()), ("T", 3, 5));
    assert_eq!((record.sys_flag(), record.reconsume_times()), (0x11, 2));
    assert_eq!((record.born_host(), record.born_timestamp()), (message.born_host, 77));
    assert_eq!(record.store_host(), options(folder.path()).store_host);
    assert_eq!(record.store_timestamp(), 1_000_000);
    assert_eq!((record.body(), record.properties()), (&b"body"[..], &b"TAGS\x01a\x02"[..]));
    assert_eq!(bytes.len(), appended.bytes as usize);
    assert!(store.record_at(appended.physical_offset + 1).is_none());
    assert!(store.record_at(appended.log_end).is_none());
    assert!(store.record_at(-1).is_none());
}

#[test]
fn edges_of_a_queue() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(options(folder.path()));
    let status = |offset| {
        let read = read(&store, "T", 0, offset);
        (read.status, read.next_offset, read.min, read.max)
    };
    assert_eq!(status(5), (ReadStatus::Empty, 0, 0, 0));
    assert!(store.queue_is_young("T", 0));
    assert_eq!(store.queue_range("T", 0), None);
    append(&store, "T", 0, b"a");
    append(&store, "T", 0, b"b");
    assert_eq!(status(0), (ReadStatus::Found, 2, 0, 2));
    assert_eq!(status(2), (ReadStatus::AtEnd, 2, 0, 2));
    assert_eq!(status(3), (ReadStatus::BeyondEnd, 2, 0, 2));
    assert_eq!(status(-1), (ReadStatus::BeforeBegin, 0, 0, 2));
    assert!(store.queue_is_young("T", 0));
    store.seal_active().unwrap();
    assert!(!store.queue_is_young("T", 0));
    assert_eq!(store.queues("T"), [0]);
}

/// Keeps one tag and records that hold a byte.
struct Picky {
    tag: i64,
    byte: u8,
    shown: usize,
}

impl Keep for Picky {
    fn by_tag(&mut self, tags_code: i64) -> bool {
        tags_code == self.tag
    }

    fn by_record(&mut self, record: &[u8]) -> bool {
        self.shown += 1;
        RecordView::parse(record).unwrap().body().contains(&self.byte)
    }
}

#[test]
fn filters_and_budgets_bound_a_read() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(options(folder.path()));
    for number in 0..200_u8 {
        let properties: &[u8] = if number % 2 == 0 { b"TAGS\x01even\x02" } else { b"" };
        store.append(&with_properties("T", 0, &[number, 1], properties)).unwrap();
    }
    let tag = strata_protocol::hash::tags_code(Some("even"));
    let mut keep = Picky { tag, byte: 100, shown: 0 };
    let found = store.read("T", 0, 0, &EVERYTHING, &mut keep);
    assert_eq!(bodies(&found), [(100, vec![100, 1])]);
    assert_eq!((keep.shown, found.next_offset), (100, 200));
    keep.byte = 255;
    let budget = ReadBudget { scan_entries_max: 30, ..EVERYTHING };
    let none = store.read("T", 0, 10, &budget, &mut keep);
    assert_eq!((none.status, none.next_offset), (ReadStatus::NoMatch, 40));
    let budget = ReadBudget { messages_max: 70, ..EVERYTHING };
    let some = store.read("T", 0, 0, &budget, &mut KeepAll);
    assert_eq!((some.messages, some.next_offset, some.slices.len()), (70, 70, 2));
    let record = some.bytes / 70;
    let budget = ReadBudget { bytes_max: record * 3 + 20, ..EVERYTHING };
    let three = store.read("T", 0, 1, &budget, &mut KeepAll);
    assert_eq!(bodies(&three).iter().map(|(offset, _)| *offset).collect::<Vec<_>>(), [1, 2, 3]);
    let budget = ReadBudget { bytes_max: 1, ..EVERYTHING };
    assert_eq!(store.read("T", 0, 0, &budget, &mut KeepAll).messages, 1);
}

/// Wants nothing, looks into everything, and has no time.
struct Hasty {
    shown: usize,
}

impl Keep for Hasty {
    fn by_tag(&mut self, _tags_code: i64) -> bool {
        true
    }

    fn by_record(&mut self, record: &[u8]) -> bool {
        assert!(RecordView::parse(record).is_ok());
        self.shown += 1;
        false
    }

    fn reads_records(&self) -> bool {
        true
    }

    fn is_over(&mut self) -> bool {
        true
    }
}

#[test]
fn a_reader_without_time_comes_forward_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    // Small segments: most of the messages are in sealed ones when the store is opened again.
    let options = || StoreOptions { segment_bytes: 64 * 1024, ..options(folder.path()) };
    let (store, _) = open(options());
    let (count, looks) = (1_000, 1_000_usize);
    for _ in 0..count {
        store.append(&message("T", 0, &[7; 400])).unwrap();
    }
    store.close().unwrap();
    drop(store);
    let (store, _) = open(options());
    let (mut next, mut reads, mut keep) = (0, 0, Hasty { shown: 0 });
    while next < count {
        let wait = reads % 2 == 0;
        let read = store.read("T", 0, next, &ReadBudget { wait, ..EVERYTHING }, &mut keep);
        if matches!(read.status, ReadStatus::Cold) && !wait {
            reads += 1;
            continue;
        }
        assert_eq!(read.status, ReadStatus::NoMatch);
        assert!(read.next_offset > next, "a read that comes no further would be asked for ever");
        (next, reads) = (read.next_offset, reads + 1);
    }
    assert_eq!((next, keep.shown), (count, looks), "each message is looked at once");
    assert!(reads > 10, "{reads} reads: the time must end each");
}

#[test]
fn batches_are_contiguous_and_all_or_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(options(folder.path()));
    let messages = [message("T", 0, b"a"), message("T", 0, b"b"), message("T", 1, b"c")];
    let appended = store.append_batch(&messages).unwrap();
    assert_eq!(appended.iter().map(|a| a.queue_offset).collect::<Vec<_>>(), [0, 1, 0]);
    assert_eq!(appended[0].log_end, appended[1].physical_offset);
    let before = store.log_range();
    let large = vec![0; 70_000];
    let messages = [message("T", 0, b"d"), message("T", 0, &large)];
    let error = store.append_batch(&messages).unwrap_err();
    assert!(matches!(error, AppendError::RecordTooLarge { .. }), "{error}");
    let half = vec![0; 40_000];
    let messages = [message("T", 0, &half), message("T", 0, &half)];
    let error = store.append_batch(&messages).unwrap_err();
    assert!(matches!(error, AppendError::RecordTooLarge { .. }), "{error}");
    let error = store.append_batch(&[]).unwrap_err();
    assert!(matches!(error, AppendError::BatchSize { messages: 0, .. }));
    assert_eq!(store.log_range(), before);
    assert_eq!(store.queue_range("T", 0), Some(QueueRange { min: 0, max: 2 }));
}

#[test]
fn bad_messages_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(options(folder.path()));
    for queue_id in [-1, 65_536] {
        let error = store.append(&message("T", queue_id, b"")).unwrap_err();
        assert_eq!(error, AppendError::QueueId { queue_id, max: 65_535 });
    }
    let properties = vec![b'x'; 32_768];
    // What recovery would take for a sector that a power cut took.
    let nuls = [b"k\x01", &[0; 256][..], b"\x02"].concat();
    for bad in [
        message("", 0, b""),
        message(&"t".repeat(TOPIC_BYTES_MAX + 1), 0, b""),
        with_properties("T", 0, b"", &properties),
        with_properties("T", 0, b"", &nuls),
        with_properties("T", 0, b"", b"k\x01v\0"),
    ] {
        let error = store.append(&bad).unwrap_err();
        assert!(matches!(error, AppendError::Malformed { .. }), "{error}");
    }
    assert_eq!(store.log_range(), (0, 0));
    store.close().unwrap();
    assert_eq!(store.append(&message("T", 0, b"")).unwrap_err(), AppendError::Closed);
}

#[test]
fn a_kill_takes_no_message_for_its_zeros() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(options(folder.path()));
    // Of all lengths, so that the zeros lie at each place of a sector.
    let properties = [b"k\x01v", &[0; 255][..], b"v", &[0; 255], b"\x02"].concat();
    for number in 0..100_u8 {
        store.append(&with_properties("T", 0, &vec![number; number.into()], &properties[..300])).unwrap_err();
        store.append(&with_properties("T", 0, &vec![number; usize::from(number) * 5], &properties[..259])).unwrap();
    }
    let crashed = tempfile::tempdir().unwrap();
    copy(folder.path(), crashed.path());
    for sums in files(&crashed.path().join("sidecar"), ".sums") {
        std::fs::remove_file(sums).unwrap();
    }
    let (again, recovery) = open(options(crashed.path()));
    assert_eq!((recovery.cut, recovery.damaged.len()), (None, 0));
    assert_eq!(all(&again, "T", 0), all(&store, "T", 0));
}

#[test]
fn half_messages_are_in_no_queue() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(options(folder.path()));
    for sys_flag in [4, 12, 8, 0] {
        let mut message = with_properties("T", 0, b"x", b"KEYS\x01k\x02");
        message.sys_flag = sys_flag;
        store.append(&message).unwrap();
    }
    let check = |store: &Store| {
        let read = read(store, "T", 0, 0);
        assert_eq!(bodies(&read).len(), 2);
        let found = store.query_by_key("T", "k", 0, i64::MAX, 10, strata_store::KeyKind::Key);
        let flags: Vec<i32> = found.iter().map(|bytes| RecordView::parse(bytes).unwrap().sys_flag()).collect();
        assert_eq!(flags, [0, 8, 4], "rolled-back messages are not listed");
    };
    check(&store);
    store.seal_active().unwrap();
    check(&store);
    std::fs::remove_file(&files(&folder.path().join("sidecar"), ".index")[0]).unwrap();
    drop(store);
    let (store, recovery) = open(options(folder.path()));
    assert_eq!(recovery.rebuilt_sidecars, 1);
    check(&store);
}

#[test]
fn the_listener_hears_every_queued_message() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(options(folder.path()));
    let heard = std::sync::Arc::new(parking_lot::Mutex::new(Vec::new()));
    let sink = std::sync::Arc::clone(&heard);
    store.listen(Box::new(move |event| {
        let event = (event.topic.to_owned(), event.queue_id, event.queue_offset, event.tags_code);
        sink.lock().push(event);
    }));
    store.append(&with_properties("T", 2, b"", b"TAGS\x01a\x02")).unwrap();
    store.append_batch(&[message("T", 2, b""), message("U", 0, b"")]).unwrap();
    let heard = heard.lock().clone();
    let expected = [("T".to_owned(), 2, 0, 97), ("T".to_owned(), 2, 1, 0), ("U".to_owned(), 0, 0, 0)];
    assert_eq!(heard, expected);
}
