//! One call as several attempts: what is tried again, when, and for how long.
//!
//! It is decided here alone. The clients of object stores have retries of their own; they are turned off, since theirs
//! times ours would be a minute of silence, since the breaker and the figures would not see them, and since whoever
//! creates an object has to know that an earlier attempt may have made it.

use std::future::Future;
use std::time::Duration;

use object_store::Error as StoreError;
use tokio::time::Instant;

use super::Bucket;
use super::error::{BucketError, Call, words};
use crate::{chance, limits};

/// How long and how often a store is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Attempts of one call.
    pub tries: u32,
    /// Time of an attempt, beside that for the bytes it moves.
    pub attempt: Duration,
    /// The longest first pause; it doubles with each attempt.
    pub first_pause: Duration,
    /// The longest pause.
    pub pause_max: Duration,
    /// Failed attempts in a row after which the store counts as down.
    pub breaker_failures: u32,
    /// How long nothing is sent to a store that is down, at first.
    pub breaker_pause: Duration,
    /// The same after it doubled often.
    pub breaker_pause_max: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            tries: limits::TRIES_MAX,
            attempt: limits::ATTEMPT_MAX,
            first_pause: limits::FIRST_PAUSE_MAX,
            pause_max: limits::PAUSE_MAX,
            breaker_failures: limits::BREAKER_FAILURES_MAX,
            breaker_pause: limits::BREAKER_PAUSE_MIN,
            breaker_pause_max: limits::BREAKER_PAUSE_MAX,
        }
    }
}

impl Patience {
    /// Full jitter: anything between nothing and a bound that doubles, so that many callers do not come back at once.
    fn pause(&self, tries: u32) -> Duration {
        let doubled = self.first_pause.saturating_mul(1_u32.checked_shl(tries.saturating_sub(1)).unwrap_or(u32::MAX));
        let bound = doubled.min(self.pause_max).as_micros();
        Duration::from_micros(u64::try_from(u128::from(chance::bits()) % bound.max(1)).unwrap_or(0))
    }
}

/// What a store's error means for the call.
enum Verdict {
    /// The store works, and that is its answer.
    Answer(BucketError),
    /// Another attempt would be refused as well, and so will be other calls.
    Denied(BucketError, String),
    /// It may go well another time.
    Again(String),
}

#[allow(clippy::wildcard_enum_match_arm, reason = "the library's errors grow, and a new one is worth another attempt")]
fn judge(call: Call, path: &str, error: &StoreError) -> Verdict {
    let (path, what) = (path.to_owned(), words(error));
    match error {
        StoreError::NotFound { .. } => Verdict::Answer(BucketError::Missing { path }),
        StoreError::NotSupported { .. } | StoreError::NotImplemented { .. } | StoreError::InvalidPath { .. } => {
            Verdict::Answer(BucketError::Unsupported { call, path, what })
        }
        StoreError::PermissionDenied { .. } | StoreError::Unauthenticated { .. } => {
            Verdict::Denied(BucketError::Denied { call, path, what: what.clone() }, what)
        }
        // Clients tell a refused listing as any other failure of one, and only in words.
        _ if ["status code: 401", "status code: 403"].iter().any(|status| what.contains(status)) => {
            Verdict::Denied(BucketError::Denied { call, path, what: what.clone() }, what)
        }
        _ => Verdict::Again(what),
    }
}

/// An error that another attempt may not have.
pub(super) fn again(what: String) -> StoreError {
    StoreError::Generic { store: "bucket", source: what.into() }
}

impl Bucket {
    /// Makes attempts until one succeeds, the store gives an answer that is final, or patience is over. `attempt` is
    /// given the number of the attempt, from 1.
    pub(super) async fn attempts<T, F>(
        &self,
        call: Call,
        path: &str,
        attempt: impl Fn(u32) -> F,
    ) -> Result<T, BucketError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let began = Instant::now();
        self.shared.counts.began(call);
        let mut closed = self.shared.closed.subscribe();
        let result = tokio::select! {
            biased;
            // An error of the waiting would mean that the bucket is gone, which this handle prevents.
            _ = closed.wait_for(|is_closed| *is_closed) => Err(BucketError::Closed),
            result = self.try_in_turn(call, path, attempt) => result,
        };
        let failed = result.as_ref().is_err_and(|error| !matches!(error, BucketError::Missing { .. }));
        self.shared.counts.ended(call, failed, began.elapsed());
        result
    }

    async fn try_in_turn<T, F>(&self, call: Call, path: &str, attempt: impl Fn(u32) -> F) -> Result<T, BucketError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let mut tries = 0;
        loop {
            let pass = self.shared.breaker.admit()?;
            tries += 1;
            let error = match attempt(tries).await {
                Ok(done) => {
                    pass.succeeded();
                    return Ok(done);
                }
                Err(error) => error,
            };
            let what = match judge(call, path, &error) {
                Verdict::Answer(error) => {
                    pass.succeeded();
                    return Err(error);
                }
                Verdict::Denied(error, what) => {
                    self.count_opened(pass.failed(&what));
                    return Err(error);
                }
                Verdict::Again(what) => what,
            };
            self.count_opened(pass.failed(&what));
            if tries >= self.shared.patience.tries {
                return Err(BucketError::Failed { call, path: path.to_owned(), tries, what });
            }
            self.shared.counts.retried(call);
            tokio::time::sleep(self.shared.patience.pause(tries)).await;
        }
    }

    fn count_opened(&self, opened: bool) {
        if opened {
            self.shared.counts.opened();
        }
    }

    /// Bounds the time of something that moves so many bytes.
    pub(super) async fn within<T>(
        &self,
        bytes: u64,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let moving = bytes / limits::TRANSFER_BYTES_PER_SECOND_MIN;
        let allowed = self.shared.patience.attempt.saturating_add(Duration::from_secs(moving));
        match tokio::time::timeout(allowed, work).await {
            Ok(done) => done,
            Err(_) => Err(again(format!("no answer within {} s", allowed.as_secs()))),
        }
    }
}
