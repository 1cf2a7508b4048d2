//! Finding out what a store makes of conditional puts, on which the manifest's single truth rests.

use std::fmt;

use bytes::Bytes;
use futures_util::future::join_all;

use super::{Bucket, BucketError, Created};
use crate::chance;

/// Puts at once in one race.
const RACERS: u32 = 8;
/// Races: a store that decides early and writes late loses most of them, but not each.
const RACES: u32 = 3;

/// What a store makes of puts that must be the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Puts {
    /// Exactly one of several at once wins.
    Atomic,
    /// The second of two after each other is refused; of several at once more than one may win.
    SequentialOnly,
    /// The condition is not looked at, or not supported.
    Ignored,
}

impl fmt::Display for Puts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Atomic => "atomic",
            Self::SequentialOnly => "sequential-only",
            Self::Ignored => "ignored",
        })
    }
}

/// Tries conditional puts on names of its own, which it removes.
///
/// # Errors
/// What the store says; nothing is known then.
pub async fn probe(bucket: &Bucket) -> Result<Puts, BucketError> {
    let run = chance::unique();
    let one_by_one = in_sequence(bucket, &format!("probe/{run}-0")).await?;
    if !one_by_one {
        return Ok(Puts::Ignored);
    }
    for race in 1..=RACES {
        if !at_once(bucket, &format!("probe/{run}-{race}")).await? {
            return Ok(Puts::SequentialOnly);
        }
    }
    Ok(Puts::Atomic)
}

/// A body that no other racer has.
fn body(racer: u32) -> Bytes {
    format!("{racer} {}", chance::unique()).into()
}

async fn clean<T>(bucket: &Bucket, path: &str, result: Result<T, BucketError>) -> Result<T, BucketError> {
    if let Err(error) = bucket.delete(path).await {
        tracing::debug!(path, %error, "an object of the probe could not be removed");
    }
    result
}

/// Whether the second of two puts is refused and changes nothing.
async fn in_sequence(bucket: &Bucket, path: &str) -> Result<bool, BucketError> {
    let run = async {
        let (first, second) = (body(0), body(1));
        let puts = match bucket.put_new(path, first.clone()).await {
            // A client that is told not to send conditions says so.
            Err(BucketError::Unsupported { .. }) => return Ok(false),
            Err(error) => return Err(error),
            Ok(made) => (made, bucket.put_new(path, second).await?),
        };
        Ok(puts == (Created::Made, Created::Exists) && bucket.read(path).await? == first)
    };
    let result = run.await;
    clean(bucket, path, result).await
}

/// Whether exactly one of several puts at once wins, and what is stored is its body.
async fn at_once(bucket: &Bucket, path: &str) -> Result<bool, BucketError> {
    let run = async {
        let bodies: Vec<Bytes> = (0..RACERS).map(body).collect();
        let puts = join_all(bodies.iter().map(|body| bucket.put_new(path, body.clone()))).await;
        let mut winners = Vec::new();
        for (put, body) in puts.into_iter().zip(&bodies) {
            if put? == Created::Made {
                winners.push(body);
            }
        }
        let stored = bucket.read(path).await?;
        Ok(winners == [&stored])
    };
    let result = run.await;
    clean(bucket, path, result).await
}
