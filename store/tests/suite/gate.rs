//! Deletion that waits until the log was copied elsewhere, whatever asks for the space.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use strata_store::{AppendError, KeepHot, Retention, Store, StoreOptions, UpkeepError};

use crate::common::*;
use crate::retention::{Fixture, HOUR, keep, sealed};

const SEGMENT: i64 = 65_536;

/// Puts a gate before the store's deletion that says what the number says.
fn gate(store: &Store, copied: i64) -> Arc<AtomicI64> {
    let number = Arc::new(AtomicI64::new(copied));
    let told = Arc::clone(&number);
    store.keep_until_copied(Box::new(move || told.load(Ordering::SeqCst)));
    number
}

/// The rule that would delete everything, and the fixture in which it does.
fn rules() -> Vec<(&'static str, Fixture)> {
    let aged = sealed(&["A", "B", "C"], keep(10));
    aged.clock.pass(100 * HOUR);
    aged.disk.used.store(760, Ordering::SeqCst);
    let large = sealed(&["A", "B", "C"], Retention { log_bytes_max: Some(0), ..keep(1_000) });
    let full = sealed(&["A", "B", "C"], keep(1_000));
    full.disk.used.store(860, Ordering::SeqCst);
    vec![("age", aged), ("bytes", large), ("disk", full)]
}

#[test]
fn no_rule_deletes_what_was_not_copied() {
    for (rule, fixture) in rules() {
        let copied = gate(&fixture.store, 0);
        assert_eq!((fixture.sweep(), fixture.store.stats().deletion_waits), (0, true), "{rule}");
        copied.store(SEGMENT - 1, Ordering::SeqCst);
        assert_eq!(fixture.sweep(), 0, "{rule}: a part of a segment is none");
        copied.store(SEGMENT, Ordering::SeqCst);
        assert_eq!((fixture.sweep(), fixture.store.stats().deletion_waits), (1, true), "{rule}");
        assert_eq!(fixture.store.log_range().0, SEGMENT, "{rule}");
        assert_eq!(all(&fixture.store, "Common", 0).len(), 2, "{rule}");
        copied.store(i64::MAX, Ordering::SeqCst);
        assert_eq!((fixture.sweep(), fixture.store.stats().deletion_waits), (2, false), "{rule}");
    }
}

#[test]
fn without_a_gate_the_same_rules_delete_everything() {
    for (rule, fixture) in rules() {
        assert_eq!((fixture.sweep(), fixture.store.stats().deletion_waits), (3, false), "{rule}");
    }
}

#[test]
fn what_must_be_kept_is_kept_although_it_was_copied() {
    let fixture = sealed(&["A", "B"], keep(10));
    gate(&fixture.store, i64::MAX);
    assert_eq!((fixture.sweep(), fixture.store.stats().deletion_waits), (0, false));
    fixture.clock.pass(100 * HOUR);
    assert_eq!(fixture.sweep(), 1, "as without a gate, one a sweep");
    let long = |topic: &str| (topic == "B").then_some(KeepHot { time_ms: Some(1_000 * HOUR), bytes: None });
    assert_eq!(fixture.store.sweep(&long, i64::MAX).unwrap().segments, 0, "topics that are kept longer still are");
}

#[test]
fn a_full_disk_refuses_appends_while_deletion_waits() {
    let fixture = sealed(&["A", "B"], keep(10));
    let copied = gate(&fixture.store, 0);
    fixture.disk.used.store(910, Ordering::SeqCst);
    assert_eq!(fixture.sweep(), 0);
    let refused = fixture.store.append(&message("A", 0, b"x")).unwrap_err();
    assert!(matches!(refused, AppendError::DiskFull { .. }), "{refused}");
    assert_eq!(all(&fixture.store, "Common", 0).len(), 2, "reads go on");
    copied.store(2 * SEGMENT, Ordering::SeqCst);
    assert_eq!(fixture.sweep(), 2);
}

#[test]
fn nothing_is_deleted_before_the_gate_is_there_when_one_is_awaited() {
    let fixture = sealed(&["A", "B"], keep(1));
    fixture.store.close().unwrap();
    let Fixture { folder: _folder, options, store, clock, disk } = fixture;
    drop(store);
    clock.pass(100 * HOUR);
    disk.used.store(860, Ordering::SeqCst);
    let options = StoreOptions { awaits_copies: true, ..options };
    let (store, _) = Store::open_on(options, Arc::clone(&clock) as _, Arc::clone(&disk) as _).unwrap();
    assert_eq!(store.sweep(&|_| None, i64::MAX).unwrap().segments, 0);
    gate(&store, SEGMENT);
    assert_eq!(store.sweep(&|_| None, i64::MAX).unwrap().segments, 1);
}

/// At the very moment of deletion the gate is asked again.
#[test]
fn a_gate_that_goes_back_deletes_nothing() {
    let fixture = sealed(&["A", "B"], keep(1));
    fixture.clock.pass(100 * HOUR);
    let asked = AtomicI64::new(0);
    let falling = move || if asked.fetch_add(1, Ordering::SeqCst) == 0 { SEGMENT } else { SEGMENT - 1 };
    fixture.store.keep_until_copied(Box::new(falling));
    let error = fixture.store.sweep(&|_| None, i64::MAX).unwrap_err();
    let told = UpkeepError::NotCopied { from: 0, to: SEGMENT, copied: SEGMENT - 1 };
    assert_eq!(error.to_string(), told.to_string());
    assert_eq!(fixture.store.log_range().0, 0);
    assert_eq!(all(&fixture.store, "Common", 0).len(), 2);
    assert!(!fixture.folder.path().join("sidecar/floor").exists());
}

#[test]
fn a_segment_that_cannot_be_opened_waits_too() {
    let fixture = sealed(&["A", "B"], keep(10));
    let oldest = files(&fixture.folder.path().join("commitlog"), "")[0].clone();
    fixture.store.close().unwrap();
    let Fixture { folder: _folder, options, store, clock, disk } = fixture;
    drop(store);
    let (store, _) = Store::open_on(options, Arc::clone(&clock) as _, Arc::clone(&disk) as _).unwrap();
    std::fs::OpenOptions::new().write(true).open(&oldest).unwrap().set_len(10).unwrap();
    disk.used.store(860, Ordering::SeqCst);
    let copied = gate(&store, 0);
    assert_eq!(store.sweep(&|_| None, i64::MAX).unwrap().segments, 0);
    assert!(oldest.exists());
    copied.store(2 * SEGMENT, Ordering::SeqCst);
    assert_eq!(store.sweep(&|_| None, i64::MAX).unwrap().segments, 2);
}
