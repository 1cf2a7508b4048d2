//! What a bucket makes of a store that fails, and of one that is careless.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod faults;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use faults::{Dice, Faults, Rates};
use futures_util::future::join_all;
use object_store::memory::InMemory;
use strata_tiering::bucket::{BreakerState, Bucket, BucketError, Call, Created, Location, Patience, Puts, probe};
use strata_tiering::limits::PIECE_BYTES;

async fn open(url: &str) -> Bucket {
    let location = Location::parse(url).unwrap();
    Bucket::open(&location, std::env::vars(), Patience::default()).await.unwrap()
}

fn pattern(bytes: usize) -> Bytes {
    let mut dice = Dice::new(bytes as u64);
    let mut all = Vec::with_capacity(bytes + 8);
    while all.len() < bytes {
        all.extend_from_slice(&dice.next().to_le_bytes());
    }
    all.truncate(bytes);
    all.into()
}

/// An object as it is written: in pieces.
fn pieces(all: &Bytes) -> Vec<Bytes> {
    (0..all.len()).step_by(PIECE_BYTES).map(|at| all.slice(at..all.len().min(at + PIECE_BYTES))).collect()
}

#[tokio::test]
async fn prefixes_are_added_and_taken_off() {
    let bucket = open("memory:///a/b").await;
    bucket.put("c/d", "x".into()).await.unwrap();
    assert_eq!(bucket.list("c").await.unwrap()[0].path, "c/d");
    assert_eq!(bucket.to_string(), "memory:///a/b");
}

#[tokio::test(start_paused = true)]
async fn lost_answers_and_lies_do_not_hide_who_made_an_object() {
    for seed in 0..300 {
        let store = Faults::new(seed, Rates { after: 300, before: 100, lie: 200, hang: 50, ..Rates::default() });
        let patience = Patience { tries: 200, breaker_failures: u32::MAX, ..Patience::default() };
        let bucket = store.bucket(patience);
        let racers = ["a", "b", "c"].map(|body| bucket.put_new("x", body.into()));
        let outcomes = join_all(racers).await;
        let made: Vec<_> = outcomes.iter().filter(|outcome| **outcome == Ok(Created::Made)).collect();
        assert_eq!(made.len(), 1, "seed {seed}: {outcomes:?}");
        store.fail(Rates::default());
        let stored = bucket.read("x").await.unwrap();
        let winner = outcomes.iter().position(|outcome| *outcome == Ok(Created::Made)).unwrap();
        assert_eq!(stored, ["a", "b", "c"][winner]);
    }
}

#[tokio::test(start_paused = true)]
async fn large_objects_survive_faults() {
    let all = pattern(3 * PIECE_BYTES + 5);
    for seed in 0..20 {
        let rates = Rates { before: 100, after: 100, hang: 50, truncated: 200, ..Rates::default() };
        let store = Faults::new(seed, rates);
        let patience = Patience { tries: 50, breaker_failures: u32::MAX, ..Patience::default() };
        let bucket = store.bucket(patience);
        bucket.put_large("x", &pieces(&all)).await.unwrap();
        assert!(bucket.read("x").await.unwrap() == all, "seed {seed}");
        assert!(bucket.read_range("x", 5..99_999).await.unwrap() == all.slice(5..99_999), "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_down_is_given_up_and_found_again() {
    let store = Faults::new(1, Rates { before: 1000, ..Rates::default() });
    let bucket = store.bucket(Patience::default());
    let first = bucket.read("x").await.unwrap_err();
    assert!(matches!(&first, BucketError::Failed { call: Call::Read, tries: 6, .. }), "{first}");
    let second = bucket.read("x").await.unwrap_err();
    assert!(matches!(&second, BucketError::Failed { .. }), "{second}");
    let began = tokio::time::Instant::now();
    let third = bucket.read("x").await.unwrap_err();
    assert!(matches!(&third, BucketError::Down { last, .. } if last.contains("InternalError")), "{third}");
    assert_eq!(began.elapsed(), Duration::ZERO, "fails at once");
    assert_eq!((bucket.figures().breaker, bucket.figures().breaker_opened), (BreakerState::Open, 1));
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert!(bucket.read("x").await.is_err());
    store.fail(Rates::default());
    tokio::time::sleep(Duration::from_secs(60)).await;
    bucket.put("x", "back".into()).await.unwrap();
    assert_eq!(bucket.figures().breaker, BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_silent_store_costs_a_bounded_time() {
    let store = Faults::new(1, Rates { hang: 1000, ..Rates::default() });
    let bucket = store.bucket(Patience::default());
    let began = tokio::time::Instant::now();
    let error = bucket.read("x").await.unwrap_err();
    assert!(error.to_string().contains("no answer within 15 s"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(6 * 15 + 20), "{:?}", began.elapsed());
}

/// A store that looks, waits, and writes, as servers without atomic conditions do; or that does not look at all.
mod careless {
    use async_trait::async_trait;
    use futures_util::stream::BoxStream;
    use object_store::memory::InMemory;
    use object_store::path::Path;
    use object_store::{
        CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
        ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
    };

    #[derive(Debug)]
    pub(super) struct Careless {
        pub(super) inner: InMemory,
        pub(super) looks: bool,
    }

    impl std::fmt::Display for Careless {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("Careless")
        }
    }

    #[async_trait]
    impl ObjectStore for Careless {
        async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
            if self.looks && matches!(options.mode, PutMode::Create) && self.inner.head(path).await.is_ok() {
                return Err(Error::AlreadyExists { path: path.to_string(), source: "412".into() });
            }
            tokio::task::yield_now().await;
            self.inner.put(path, payload).await
        }

        async fn put_multipart_opts(&self, path: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
            self.inner.put_multipart(path).await
        }

        async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
            self.inner.get_opts(path, options).await
        }

        fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
            self.inner.delete_stream(paths)
        }

        fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
            self.inner.list(prefix)
        }

        async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
            self.inner.list_with_delimiter(prefix).await
        }

        async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
            self.inner.copy_opts(from, to, options).await
        }
    }
}

#[tokio::test]
async fn the_probe_tells_stores_apart() {
    for (looks, expected) in [(true, Puts::SequentialOnly), (false, Puts::Ignored)] {
        let store = Arc::new(careless::Careless { inner: InMemory::new(), looks });
        let bucket = Bucket::over(store, Patience::default());
        assert_eq!(probe(&bucket).await, Ok(expected));
        assert_eq!(bucket.list("probe").await, Ok(vec![]));
    }
}

#[tokio::test(start_paused = true)]
async fn a_closed_bucket_waits_for_nobody() {
    let store = Faults::new(1, Rates { hang: 1000, ..Rates::default() });
    let bucket = store.bucket(Patience::default());
    let began = tokio::time::Instant::now();
    let closing = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        bucket.close();
    };
    let (read, put, ()) = tokio::join!(bucket.read("x"), bucket.put_new("y", "1".into()), closing);
    assert_eq!((read, put), (Err(BucketError::Closed), Err(BucketError::Closed)));
    assert_eq!(began.elapsed(), Duration::from_secs(1));
    assert_eq!(bucket.clone().list("x").await, Err(BucketError::Closed), "for every handle, and for what comes later");
}
