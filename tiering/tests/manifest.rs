//! The manifest's rules, and its writers one after the other, on every kind of store.
//!
//! For S3: `STRATA_TEST_S3=s3://bucket/prefix` and the usual `AWS_…` variables.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod faults;
mod rolls;

use std::sync::Arc;

use faults::{Faults, Rates};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use rolls::{add, add_at, roll};
use strata_tiering::bucket::{Bucket, Location, Patience, Puts};
use strata_tiering::manifest::{CommitError, Edit, Ledger, ManifestError, ObjectRef, RollKey, Writer};

async fn open(bucket: &Bucket) -> Ledger {
    Ledger::open(bucket.clone(), "b").await.unwrap()
}

async fn claimed(bucket: &Bucket) -> Ledger {
    let mut ledger = open(bucket).await;
    ledger.claim(Puts::Atomic, Writer::Fenced).await.unwrap();
    ledger
}

/// Commits adds of one roll each.
async fn grow(ledger: &mut Ledger, rolls: u64) {
    for _ in 0..rolls {
        ledger.commit(add(ledger)).await.unwrap();
    }
}

fn quiet() -> (Arc<Faults>, Bucket) {
    let store = Faults::new(0, Rates::default());
    let bucket = store.bucket(Patience::default());
    (store, bucket)
}

#[tokio::test]
async fn every_store_keeps_a_manifest() {
    let folder = tempfile::tempdir().unwrap();
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos();
    let s3 = std::env::vars().find(|(name, _)| name == "STRATA_TEST_S3").map(|(_, url)| format!("{url}/m{now}"));
    let urls = ["memory://".to_owned(), format!("file://{}", folder.path().display())];
    for url in urls.into_iter().chain(s3) {
        let location = Location::parse(&url).unwrap();
        let bucket = Bucket::open(&location, std::env::vars(), Patience::default()).await.unwrap();
        let mut first = claimed(&bucket).await;
        grow(&mut first, 130).await;
        let mut second = claimed(&bucket).await;
        assert_eq!((first.epoch(), second.epoch()), (Some(1), Some(2)));
        assert_eq!(first.commit(add(&first)).await, Err(CommitError::Fenced { by: 2 }));
        grow(&mut second, 70).await;
        let collected = second.collect().await.unwrap();
        assert_eq!(collected, 127 - 1 + 1, "edits 1 to 127 without post 64, and checkpoint 64");
        let reader = open(&bucket).await;
        assert_eq!(reader.manifest(), second.manifest(), "{url}");
        assert_eq!((reader.manifest().number(), reader.manifest().totals().rows), (202, 200 * 10));
        for left in bucket.list("b").await.unwrap() {
            bucket.delete(&left.path).await.unwrap();
        }
    }
}

#[tokio::test]
async fn edits_add_up() {
    let (_, bucket) = quiet();
    let mut ledger = claimed(&bucket).await;
    let mut edit = |edit| {
        let committed = futures_util::FutureExt::boxed_local(async { ledger.commit(edit).await });
        futures_util::FutureExt::now_or_never(committed).unwrap()
    };
    let refused = |result: Result<_, CommitError>| matches!(result, Err(CommitError::Refused { .. }));
    edit(Edit::Add { rolls: vec![roll(1000, 2000, 1), roll(2000, 3000, 1)] }).unwrap();
    assert!(refused(edit(Edit::Add { rolls: vec![roll(2000, 3000, 1)] })), "not where the last one ended");
    assert!(refused(edit(Edit::Add { rolls: vec![roll(3001, 4000, 1)] })), "a gap");
    assert!(refused(edit(Edit::Add { rolls: vec![roll(3000, 4000, 2)] })), "another epoch");
    assert!(refused(edit(Edit::Claim {})));
    edit(Edit::Add { rolls: vec![roll(3000, 4000, 1), roll(4000, 5000, 1)] }).unwrap();
    let key = |from, to| RollKey { from, to, epoch: 1 };
    let wide = |from, to| vec![roll(from, to, 1)];
    assert!(refused(edit(Edit::Swap { remove: vec![key(2000, 3000), key(4000, 5000)], add: wide(2000, 5000) })));
    assert!(refused(edit(Edit::Swap { remove: vec![key(2000, 3000)], add: wide(2000, 4000) })));
    assert!(refused(edit(Edit::Swap { remove: vec![], add: vec![] })));
    let merged = edit(Edit::Swap { remove: vec![key(2000, 3000), key(3000, 4000)], add: wide(2000, 4000) }).unwrap();
    assert_eq!(merged.rolls().len(), 3);
    assert_eq!(merged.totals().objects, 3);
    assert_eq!(merged.roll_of(3500).map(|roll| roll.to), Some(4000));
    assert_eq!((merged.roll_of(999), merged.roll_of(5000)), (None, None));
    edit(Edit::Drop { topics: [("old".to_owned(), 1500), ("t".to_owned(), 4500)].into() }).unwrap();
    assert!(refused(edit(Edit::Drop { topics: [("t".to_owned(), 5001)].into() })));
    assert!(refused(edit(Edit::Expire { rolls: vec![key(2000, 4000)] })), "not the oldest");
    let expired = edit(Edit::Expire { rolls: vec![key(1000, 2000)] }).unwrap();
    assert_eq!((expired.start(), expired.end()), (Some(2000), Some(5000)));
    assert_eq!(expired.dropped().keys().collect::<Vec<_>>(), ["t"], "nothing of the other is left");
    assert!(expired.is_dropped("t", 4499) && !expired.is_dropped("t", 4500));
    let ids = expired.property_ids(&["a", "b"]);
    assert_eq!(ids, [("a".to_owned(), 1000), ("b".to_owned(), 1001)].into());
    let named = edit(Edit::Properties { ids }).unwrap();
    assert_eq!(named.property_ids(&["b", "c"]), [("b".to_owned(), 1001), ("c".to_owned(), 1002)].into());
    assert!(refused(edit(Edit::Properties { ids: [("a".to_owned(), 1005)].into() })));
    assert!(refused(edit(Edit::Properties { ids: [("c".to_owned(), 1001)].into() })));
    assert!(refused(edit(Edit::Properties { ids: [("c".to_owned(), 999)].into() })));
    assert_eq!(named.log(), None);
    assert!(refused(edit(Edit::Log { id: String::new() })) && refused(edit(Edit::Log { id: "x".repeat(65) })));
    assert_eq!(edit(Edit::Log { id: "first".into() }).unwrap().log(), Some("first"));
    assert_eq!(edit(Edit::Log { id: "second".into() }).unwrap().log(), Some("second"), "the last one counts");
    let object = |name: &str| ObjectRef { name: name.into(), bytes: 1, crc32c: 2 };
    edit(Edit::State { object: object("s1") }).unwrap();
    let last = edit(Edit::State { object: object("s2") }).unwrap();
    assert_eq!(last.state(), Some(&object("s2")));
    assert!(last.object_names().any(|name| name == "s2") && last.object_names().all(|name| name != "s1"));
    assert_eq!(*open(&bucket).await.manifest(), *last);
}

#[tokio::test]
async fn opening_needs_no_hint_and_no_newest_checkpoint() {
    let (store, bucket) = quiet();
    let mut ledger = claimed(&bucket).await;
    for rolls in [62, 1, 1, 64, 300, 1] {
        grow(&mut ledger, rolls).await;
        let expected = ledger.manifest();
        let last = expected.number() / 64 * 64;
        assert_eq!(open(&bucket).await.manifest(), expected);
        for hint in ["64", "128\n", "0", "7", "640", "x", "18446744073709551552"] {
            store.inner.put(&Path::from("b/manifest/hint"), hint.into()).await.unwrap();
            assert_eq!(open(&bucket).await.manifest(), expected, "{hint}");
        }
        store.inner.delete(&Path::from("b/manifest/hint")).await.unwrap();
        assert_eq!(open(&bucket).await.manifest(), expected);
        store.inner.delete(&Path::from(format!("b/manifest/checkpoint-{last:020}"))).await.unwrap();
        assert_eq!(open(&bucket).await.manifest(), expected);
    }
}

#[tokio::test]
async fn a_missing_checkpoint_is_put_by_the_next_writer() {
    let (store, bucket) = quiet();
    let mut ledger = claimed(&bucket).await;
    grow(&mut ledger, 70).await;
    let checkpoint = Path::from("b/manifest/checkpoint-00000000000000000064");
    store.inner.delete(&checkpoint).await.unwrap();
    claimed(&bucket).await;
    assert!(store.inner.head(&checkpoint).await.is_ok());
}

#[tokio::test]
async fn damage_is_an_error_that_names_the_object() {
    let (store, bucket) = quiet();
    let mut ledger = claimed(&bucket).await;
    grow(&mut ledger, 80).await;
    for name in ["manifest/00000000000000000070", "manifest/checkpoint-00000000000000000064"] {
        let path = Path::from(format!("b/{name}"));
        let good = store.inner.get(&path).await.unwrap().bytes().await.unwrap();
        for at in (0..good.len()).step_by(7) {
            let mut bad = good.to_vec();
            bad[at] ^= 4;
            store.inner.put(&path, bad.into()).await.unwrap();
            let error = Ledger::open(bucket.clone(), "b").await.unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
        }
        store.inner.put(&path, good[..good.len() / 2].to_vec().into()).await.unwrap();
        assert!(Ledger::open(bucket.clone(), "b").await.unwrap_err().to_string().contains(name));
        store.inner.put(&path, good.into()).await.unwrap();
    }
    store.inner.delete(&Path::from("b/manifest/00000000000000000070")).await.unwrap();
    let error = Ledger::open(bucket.clone(), "b").await.unwrap_err();
    assert!(matches!(&error, ManifestError::Damaged { what, .. } if what.contains("missing")), "{error}");
}

#[tokio::test]
async fn weak_stores_need_the_operators_word() {
    let (_, bucket) = quiet();
    let mut ledger = open(&bucket).await;
    assert_eq!(ledger.commit(Edit::Add { rolls: vec![roll(0, 1, 1)] }).await, Err(CommitError::Unclaimed));
    for puts in [Puts::SequentialOnly, Puts::Ignored] {
        assert_eq!(ledger.claim(puts, Writer::Fenced).await, Err(CommitError::NotAtomic { puts }));
        ledger.claim(puts, Writer::Single).await.unwrap();
        grow(&mut ledger, 70).await;
        assert_eq!(open(&bucket).await.manifest(), ledger.manifest());
        let mut other = open(&bucket).await;
        other.claim(puts, Writer::Single).await.unwrap();
        assert!(matches!(ledger.commit(add(&ledger)).await, Err(CommitError::Fenced { .. })));
        ledger = open(&bucket).await;
    }
}

/// A writer, a reader and one that is about to claim are away while others write hundreds of edits and collect.
#[tokio::test(start_paused = true)]
async fn fences_outlive_collection() {
    for more in [10, 64, 130, 400] {
        let (store, bucket) = quiet();
        let mut old = claimed(&bucket).await;
        grow(&mut old, 5).await;
        let (mut reader, mut late) = (open(&bucket).await, open(&bucket).await);
        let mut new = claimed(&bucket).await;
        grow(&mut new, more).await;
        new.collect().await.unwrap();
        let gone = store.inner.head(&Path::from("b/manifest/00000000000000000007")).await.is_err();
        assert_eq!(gone, more > 128);
        let end = old.manifest().end().unwrap();
        // Here the old one's put is the first of its number again, if that was collected.
        assert_eq!(old.commit(add_at(end, end + 7, 1)).await, Err(CommitError::Fenced { by: 2 }), "{more}");
        assert_eq!(old.commit(add_at(end, end + 7, 1)).await, Err(CommitError::Fenced { by: 2 }), "{more}");
        assert_eq!(old.claim(Puts::Atomic, Writer::Fenced).await, Err(CommitError::Fenced { by: 2 }));
        assert_eq!(reader.refresh().await.unwrap(), new.manifest());
        assert_eq!(open(&bucket).await.manifest(), new.manifest());
        assert_eq!(late.claim(Puts::Atomic, Writer::Fenced).await, Ok(3));
        assert_eq!(new.commit(add(&new)).await, Err(CommitError::Fenced { by: 3 }));
        late.collect().await.unwrap();
        if gone {
            let left = store.inner.head(&Path::from("b/manifest/00000000000000000007")).await;
            assert!(left.is_err(), "what the old one put is collected");
        }
    }
}

/// The same with a put that was sent before and lands after.
#[tokio::test(start_paused = true)]
async fn puts_that_land_late_are_not_believed() {
    let patience = Patience { attempt: std::time::Duration::from_secs(1_000_000), ..Patience::default() };
    for is_claim in [false, true] {
        let store = Faults::new(0, Rates::default());
        let bucket = store.bucket(patience);
        let mut old = claimed(&bucket).await;
        grow(&mut old, 5).await;
        let mut reader = open(&bucket).await;
        let go = store.hold("manifest/");
        let stalled = tokio::spawn(async move {
            if is_claim {
                let mut other = old;
                let claimed = other.claim(Puts::Atomic, Writer::Fenced).await;
                (other, claimed.map(drop))
            } else {
                let edit = add(&old);
                let committed = old.commit(edit).await;
                (old, committed.map(drop))
            }
        });
        tokio::task::yield_now().await;
        let mut new = claimed(&bucket).await;
        grow(&mut new, 300).await;
        new.collect().await.unwrap();
        go.notify_one();
        let (mut old, result) = stalled.await.unwrap();
        assert!(store.inner.head(&Path::from("b/manifest/00000000000000000007")).await.is_ok(), "it landed");
        if is_claim {
            assert_eq!((result, old.epoch()), (Ok(()), Some(3)), "it claims again behind the others");
            assert_eq!(new.commit(add(&new)).await, Err(CommitError::Fenced { by: 3 }));
            grow(&mut old, 1).await;
        } else {
            assert_eq!(result, Err(CommitError::Fenced { by: 2 }));
            grow(&mut new, 1).await;
            assert_eq!(reader.refresh().await.unwrap(), new.manifest());
        }
        let fresh = open(&bucket).await.manifest();
        assert_eq!(reader.refresh().await.unwrap(), fresh);
        assert_eq!(fresh.rolls().len(), 5 + 300 + 1);
    }
}

#[tokio::test(start_paused = true)]
async fn an_edit_of_unknown_fate_is_made_once() {
    let (store, bucket) = quiet();
    let mut ledger = claimed(&bucket).await;
    let edit = add(&ledger);
    store.fail(Rates { after: 1000, ..Rates::default() });
    let unsettled = ledger.commit(edit.clone()).await;
    assert!(matches!(unsettled, Err(CommitError::Unsettled { .. })), "{unsettled:?}");
    store.fail(Rates::default());
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    assert_eq!(ledger.commit(edit.clone()).await.unwrap().number(), 2);
    assert!(matches!(ledger.commit(edit).await, Err(CommitError::Refused { .. })), "a second time it is another one");
    let next = add(&ledger);
    store.fail(Rates { before: 1000, ..Rates::default() });
    assert!(ledger.commit(next).await.is_err());
    store.fail(Rates::default());
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    let object = ObjectRef { name: "s".into(), bytes: 1, crc32c: 2 };
    let last = ledger.commit(Edit::State { object }).await.unwrap();
    assert_eq!((last.number(), last.rolls().len()), (4, 2), "the earlier edit is settled first");
    assert_eq!(open(&bucket).await.manifest(), last);
}
