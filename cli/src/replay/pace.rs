//! How fast messages may be sent, and being told to stop.

use std::cell::Cell;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::flags::PaceArgs;

/// A pace that all queues share.
#[derive(Debug)]
pub(super) struct Pace {
    messages: Option<f64>,
    bytes: Option<f64>,
    /// When the next message may be sent.
    next: Cell<Instant>,
    stop: watch::Sender<bool>,
}

impl Pace {
    pub(super) fn of(args: &PaceArgs) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "a rate needs no more than 53 bits")]
        let (messages, bytes) = (args.rate.map(|rate| rate.get() as f64), args.rate_bytes.map(|rate| rate as f64));
        Self { messages, bytes, next: Cell::new(Instant::now()), stop: watch::Sender::new(false) }
    }

    /// Lets no further message be sent.
    pub(super) fn stop(&self) {
        self.stop.send_replace(true);
    }

    pub(super) fn is_stopped(&self) -> bool {
        *self.stop.borrow()
    }

    /// Waits for the turn of a message; gives whether it has one.
    pub(super) async fn turn(&self, bytes: usize) -> bool {
        let now = Instant::now();
        let begin = self.next.get().max(now);
        self.next.set(begin + self.cost(bytes));
        if begin > now {
            let mut stopped = self.stop.subscribe();
            tokio::select! {
                () = sleep_until(begin) => {}
                _ = stopped.wait_for(|stopped| *stopped) => {}
            }
        }
        !self.is_stopped()
    }

    /// Waits for a while, or until told to stop; gives whether to go on.
    pub(super) async fn pause(&self, time: Duration) -> bool {
        let mut stopped = self.stop.subscribe();
        tokio::select! {
            () = tokio::time::sleep(time) => {}
            _ = stopped.wait_for(|stopped| *stopped) => {}
        }
        !self.is_stopped()
    }

    /// The time that a message takes of those behind it.
    fn cost(&self, bytes: usize) -> Duration {
        let of = |amount: f64, rate: Option<f64>| rate.map_or(0.0, |rate| amount / rate);
        #[expect(clippy::cast_precision_loss, reason = "a body is far below 2^53 bytes")]
        let seconds = of(1.0, self.messages).max(of(bytes as f64, self.bytes));
        Duration::from_secs_f64(seconds)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use super::*;

    fn pace(rate: u64, rate_bytes: Option<u64>) -> Pace {
        Pace::of(&PaceArgs { rate: NonZeroU64::new(rate), rate_bytes })
    }

    #[test]
    fn the_stricter_of_both_rates_counts() {
        let cost_ms = |rate, rate_bytes, bytes| pace(rate, rate_bytes).cost(bytes).as_millis();
        assert_eq!(cost_ms(0, None, 1_000_000), 0);
        assert_eq!(cost_ms(100, None, 1_000_000), 10);
        assert_eq!(cost_ms(1_000, Some(5_000), 1_000), 200);
        assert_eq!(cost_ms(10, Some(5_000), 5), 100);
    }

    #[tokio::test]
    async fn each_message_waits_for_those_before_it() {
        let (pace, began) = (pace(100, None), Instant::now());
        for _ in 0..11 {
            assert!(pace.turn(1).await);
        }
        assert!(began.elapsed() >= Duration::from_millis(100), "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn whoever_waits_is_stopped() {
        let (pace, began) = (pace(1, Some(1)), Instant::now());
        assert!(pace.turn(3_600).await);
        let (turn, ()) = tokio::join!(pace.turn(1), async { pace.stop() });
        assert!(!turn && !pace.turn(1).await && !pace.pause(Duration::from_secs(3_600)).await);
        assert!(began.elapsed() < Duration::from_secs(3_600));
    }
}
