//! What a bucket promises, on every kind of store: in memory, in a folder, on an S3 server that checks signatures, and on
//! any other one that is given.
//!
//! For another one: `STRATA_TEST_S3=s3://bucket/prefix` and the usual `AWS_…` variables. That server has to make
//! conditional puts atomically: moto does when it serves one request at a time (werkzeug's `threaded=False`), but not as
//! `moto_server` starts it, which looks and writes without a lock and now and then lets two of sixteen win.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod server;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use server::{KEY, SECRET, Server};
use strata_tiering::bucket::{BreakerState, Bucket, BucketError, Created, Location, Patience, Puts, probe};
use strata_tiering::limits::PIECE_BYTES;
use strata_tiering::manifest::{CommitError, Ledger, Writer};

async fn open(url: &str) -> Bucket {
    let location = Location::parse(url).unwrap();
    Bucket::open(&location, std::env::vars(), Patience::default()).await.unwrap()
}

/// A folder of the store that this test alone uses.
fn fresh() -> String {
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos();
    format!("t{now}-{}", std::process::id())
}

/// Bytes that do not compress.
fn pattern(bytes: usize) -> Bytes {
    let mut state = bytes as u64;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(bytes).collect()
}

/// The suite of a store that several writers may share: any one passes it, or the tier does not work there.
async fn conforms(bucket: &Bucket) {
    let at = fresh();
    one_of_sixteen_wins(bucket, &at).await;
    assert_eq!(probe(bucket).await, Ok(Puts::Atomic));
    conforms_to_one_writer(bucket, &at).await;
}

/// The suite without races.
async fn conforms_to_one_writer(bucket: &Bucket, at: &str) {
    objects_are_put_once(bucket, at).await;
    objects_are_read_in_parts(bucket, at).await;
    large_objects_come_back(bucket, at).await;
    missing_objects_are_missing(bucket, at).await;
    assert_ne!(probe(bucket).await, Ok(Puts::Ignored));
    assert_eq!(bucket.list("probe").await, Ok(vec![]), "the probe cleans up");
    for left in bucket.list(at).await.unwrap() {
        bucket.delete(&left.path).await.unwrap();
    }
    assert_eq!(bucket.list(at).await, Ok(vec![]));
    let figures = bucket.figures();
    assert_eq!(figures.breaker, BreakerState::Closed);
    assert!(figures.bytes_read > 0 && figures.bytes_sent > 0);
    assert!(figures.calls.iter().all(|call| call.calls > 0), "{figures:?}");
}

async fn objects_are_put_once(bucket: &Bucket, at: &str) {
    let path = format!("{at}/once/a");
    assert_eq!(bucket.read(&path).await, Err(BucketError::Missing { path: path.clone() }));
    assert_eq!(bucket.exists(&path).await, Ok(false));
    assert_eq!(bucket.put_new(&path, "one".into()).await, Ok(Created::Made));
    assert_eq!(bucket.put_new(&path, "two".into()).await, Ok(Created::Exists));
    assert_eq!(bucket.put_new(&path, "one".into()).await, Ok(Created::Made), "the same bytes are ours");
    assert_eq!(bucket.read(&path).await.unwrap(), "one");
    bucket.put(&path, "three".into()).await.unwrap();
    assert_eq!((bucket.read(&path).await.unwrap(), bucket.size(&path).await), ("three".into(), Ok(5)));
    let listed = bucket.list(&format!("{at}/once")).await.unwrap();
    assert_eq!(listed.iter().map(|one| (one.path.as_str(), one.bytes)).collect::<Vec<_>>(), [(path.as_str(), 5)]);
    bucket.delete(&path).await.unwrap();
    bucket.delete(&path).await.unwrap();
    assert_eq!(bucket.exists(&path).await, Ok(false));
    assert!(matches!(bucket.read("a//../b").await, Err(BucketError::Name { .. })));
}

async fn missing_objects_are_missing(bucket: &Bucket, at: &str) {
    let path = format!("{at}/nothing/here");
    let missing = BucketError::Missing { path: path.clone() };
    assert_eq!(bucket.read(&path).await, Err(missing.clone()));
    assert_eq!(bucket.read_range(&path, 3..9).await, Err(missing.clone()));
    assert_eq!(bucket.size(&path).await, Err(missing));
    assert_eq!(bucket.list(&path).await, Ok(vec![]));
    assert_eq!(bucket.delete(&path).await, Ok(()));
}

async fn objects_are_read_in_parts(bucket: &Bucket, at: &str) {
    let (path, all) = (format!("{at}/parts"), pattern(100_000));
    bucket.put(&path, all.clone()).await.unwrap();
    let ranges = [0..10, 5..70_000, 99_999..100_000, 7..7];
    for range in ranges {
        let part = bucket.read_range(&path, range.clone()).await.unwrap();
        assert_eq!(part, all.slice(range.start as usize..range.end as usize));
    }
    assert!(bucket.read_range(&format!("{path}x"), 0..1).await.is_err());
}

/// An object as it is written: in pieces.
fn pieces(all: &Bytes) -> Vec<Bytes> {
    (0..all.len()).step_by(PIECE_BYTES).map(|at| all.slice(at..all.len().min(at + PIECE_BYTES))).collect()
}

async fn large_objects_come_back(bucket: &Bucket, at: &str) {
    for bytes in [0, 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES + 17] {
        let (path, all) = (format!("{at}/large-{bytes}"), pattern(bytes));
        let stored = bucket.put_large(&path, &pieces(&all)).await.unwrap();
        assert_eq!((stored.bytes, stored.crc32c), (bytes as u64, crc32c::crc32c(&all)));
        assert!(bucket.read(&path).await.unwrap() == all, "{bytes}");
    }
}

async fn one_of_sixteen_wins(bucket: &Bucket, at: &str) {
    for round in 0..20 {
        let path = format!("{at}/race/{round}/deep/{round}");
        let racers = (0..16).map(|racer| {
            let (bucket, path) = (bucket.clone(), path.clone());
            tokio::spawn(async move { bucket.put_new(&path, format!("body {racer}").into()).await.unwrap() })
        });
        let outcomes: Vec<Created> = join_all(racers).await.into_iter().map(Result::unwrap).collect();
        let winners: Vec<usize> = (0..16).filter(|racer| outcomes[*racer] == Created::Made).collect();
        assert_eq!(winners.len(), 1, "round {round}: {winners:?}");
        assert_eq!(bucket.read(&path).await.unwrap(), format!("body {}", winners[0]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn memory_conforms() {
    conforms(&open("memory://").await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_folder_conforms_and_keeps() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("file://{}/a/b", folder.path().display());
    conforms(&open(&url).await).await;
    open(&url).await.put_new("kept", "x".into()).await.unwrap();
    assert_eq!(open(&url).await.read("kept").await.unwrap(), "x");
    // What a crash left under way is never shown.
    std::fs::write(folder.path().join("a/b/kept#12"), "half").unwrap();
    assert_eq!(open(&url).await.put_new("kept", "y".into()).await, Ok(Created::Exists));
    std::fs::create_dir(folder.path().join("a/b/list")).unwrap();
    std::fs::write(folder.path().join("a/b/list/kept#12"), "half").unwrap();
    assert_eq!(open(&url).await.list("list").await, Ok(vec![]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn s3_conforms_where_one_is_given() {
    if let Some((_, url)) = std::env::vars().find(|(name, _)| name == "STRATA_TEST_S3") {
        conforms(&open(&url).await).await;
    }
}

async fn connect(server: &Server) -> Bucket {
    let location = Location::parse("s3://tier/a/b").unwrap();
    // What was sent to a server that stops may never be answered.
    let patience = Patience { attempt: Duration::from_secs(2), ..Patience::default() };
    Bucket::open(&location, server.options(KEY, SECRET), patience).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_of_s3_conforms_to_one_writer() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), 0).await;
    let bucket = connect(&server).await;
    conforms_to_one_writer(&bucket, &fresh()).await;
}

/// This server looks whether an object is there, and writes later: of eight puts at once several win.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_that_looks_and_then_writes_is_found_out() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), 0).await;
    let bucket = connect(&server).await;
    let mut found = Puts::Atomic;
    for _ in 0..20 {
        if found == Puts::Atomic {
            found = probe(&bucket).await.unwrap();
        }
    }
    assert_eq!(found, Puts::SequentialOnly);
    let mut ledger = Ledger::open(bucket, "broker-a").await.unwrap();
    let refused = ledger.claim(found, Writer::Fenced).await;
    assert_eq!(refused, Err(CommitError::NotAtomic { puts: Puts::SequentialOnly }));
    assert_eq!(ledger.claim(found, Writer::Single).await, Ok(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_is_not_let_in_is_told_so_without_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), 0).await;
    connect(&server).await.put("x", "1".into()).await.unwrap();
    let location = Location::parse("s3://tier/a/b").unwrap();
    for (key, secret) in [(KEY, "another-secret"), ("AKIANOBODY", SECRET)] {
        let bucket = Bucket::open(&location, server.options(key, secret), Patience::default()).await.unwrap();
        let began = tokio::time::Instant::now();
        let errors = [
            bucket.read("x").await.map(drop),
            bucket.put("x", "2".into()).await,
            bucket.put_new("y", "2".into()).await.map(drop),
            bucket.put_large("z", &["2".into()]).await.map(drop),
            bucket.delete("x").await,
            bucket.list("x").await.map(drop),
            probe(&bucket).await.map(drop),
        ];
        for error in errors.map(Result::unwrap_err) {
            assert!(matches!(error, BucketError::Denied { .. }), "{error}");
            let text = format!("{error} {error:?}");
            assert!(text.contains("check the credentials"), "{text}");
            assert!(![SECRET, secret, key, "Signature="].iter().any(|secret| text.contains(secret)), "{text}");
        }
        assert!(began.elapsed() < Duration::from_secs(5), "what is denied is not tried again");
    }
    // Nothing of all that was done.
    let bucket = connect(&server).await;
    assert_eq!(bucket.read("x").await.unwrap(), "1");
    assert_eq!((bucket.exists("y").await, bucket.exists("z").await), (Ok(false), Ok(false)));
}

/// A server that is started again has what it had, and callers that were under way never notice.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_that_restarts_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(folder.path(), 0).await;
    let bucket = connect(&server).await;
    let (own, written) = (bucket.clone(), Arc::new(AtomicUsize::new(0)));
    let progress = Arc::clone(&written);
    let writer = tokio::spawn(async move {
        for nth in 0..150_usize {
            let large = pattern(40_000 + nth);
            own.put_large(&format!("large/{nth}"), &pieces(&large)).await.unwrap();
            assert_eq!(own.put_new(&format!("new/{nth}"), format!("{nth}").into()).await, Ok(Created::Made));
            assert_eq!(own.read(&format!("large/{}", nth / 2)).await.unwrap(), pattern(40_000 + nth / 2));
            progress.store(nth + 1, Ordering::Relaxed);
        }
    });
    // Each time the server goes while the writer is at work, and comes back after a call of it has failed.
    for before in [10, 40, 80] {
        until(|| written.load(Ordering::Relaxed) >= before).await;
        let (port, retried) = (server.port, retries(&bucket));
        server.stop().await;
        until(|| retries(&bucket) > retried).await;
        server = Server::start(folder.path(), port).await;
    }
    writer.await.unwrap();
    let bucket = connect(&server).await;
    for nth in 0..150_usize {
        assert_eq!(bucket.read(&format!("large/{nth}")).await.unwrap(), pattern(40_000 + nth));
        assert_eq!(bucket.read(&format!("new/{nth}")).await.unwrap(), format!("{nth}"));
    }
    assert_eq!(bucket.list("new").await.unwrap().len(), 150);
}

fn retries(bucket: &Bucket) -> u64 {
    bucket.figures().calls.iter().map(|call| call.retries).sum()
}

/// Waits until something is so, a minute at most.
async fn until(mut is_so: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(60), async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    waited.await.expect("what the test waits for comes within a minute");
}
