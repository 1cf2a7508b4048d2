//! Where the rest of the process leaves frames for a connection, and how it asks the connection to end.
//!
//! Owns the bounded queue between any thread and the connection's task. The lock is held while a header is
//! encoded or while the queue is taken over, never across an await: both are shorter than a context switch.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Waker};

use parking_lot::Mutex;
use strata_protocol::code::ResponseCode;
use strata_protocol::command::Command;
use strata_protocol::frame::HeaderCodec;
use strata_protocol::reply::Reply;

use crate::budget::{Budget, Share};
use crate::limits::{OUTBOX_BYTES_HARD_MAX, OUTBOX_BYTES_MAX, SMALL_ANSWER_BYTES_MAX};
use crate::outgoing::Outgoing;

/// How far a connection is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Requests and answers flow.
    Open,
    /// The server stops: no new requests, answers still leave.
    Draining,
    /// The connection ends when what waits has left.
    Closing,
    /// The same, and what has arrived of a frame is given up, because others need the memory.
    Evicted,
    /// The connection ends now, because its peer does not read.
    Overrun,
    /// Over; nothing is taken any more.
    Closed,
}

/// Why a frame was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    Closed,
    Full,
}

#[derive(Debug)]
pub(crate) struct Outbox {
    state: Mutex<State>,
    /// Bytes that the connection's task has taken over and not yet sent; it alone writes this.
    unsent: AtomicUsize,
}

#[derive(Debug)]
struct State {
    queued: Outgoing,
    /// What `queued` is of the unsent bytes of all connections.
    share: Share,
    /// Wakes the connection's task; gone between the first push and the task's next look.
    waker: Option<Waker>,
    phase: Phase,
}

impl Outbox {
    pub(crate) fn new(unsent: &Arc<Budget>) -> Self {
        let (queued, share) = (Outgoing::default(), Share::of(unsent));
        let state = State { queued, share, waker: None, phase: Phase::Open };
        Self { state: Mutex::new(state), unsent: AtomicUsize::new(0) }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.state.lock().phase <= Phase::Draining
    }

    /// `SYSTEM_BUSY` in place of an answer with a body of `bytes` that cannot be kept until the peer takes it.
    /// `waiting` bytes are before it. Small answers always can.
    pub(crate) fn unaffordable(&self, bytes: usize, waiting: usize, all: &Budget) -> Option<Reply> {
        if bytes <= SMALL_ANSWER_BYTES_MAX {
            return None;
        }
        if waiting >= OUTBOX_BYTES_MAX {
            return Some(busy("too many answers wait unread on this connection"));
        }
        let peer_is_slow = self.unsent.load(Relaxed) > 0;
        if (peer_is_slow && all.is_short()) || all.is_exhausted() {
            return Some(busy("too many answers wait unread on all connections"));
        }
        None
    }

    /// Queues an answer. A large one that finds the outbox full becomes `SYSTEM_BUSY`; when even small ones do
    /// not fit any more, the connection is given up.
    pub(crate) fn push_reply(&self, reply: Reply, opaque: i32, codec: HeaderCodec) -> Result<(), Refusal> {
        self.push(|state| {
            let waiting = self.unsent.load(Relaxed) + state.queued.bytes();
            if waiting >= OUTBOX_BYTES_HARD_MAX {
                state.phase = Phase::Overrun;
                return Err(Refusal::Full);
            }
            let busy = self.unaffordable(reply.body_bytes(), waiting, state.share.budget());
            state.queued.push_reply(busy.unwrap_or(reply), opaque, codec);
            Ok(())
        })
    }

    /// Queues a request to the peer, unless too much waits already.
    pub(crate) fn push_command(&self, command: Command) -> Result<(), Refusal> {
        self.push(|state| {
            if self.unsent.load(Relaxed) + state.queued.bytes() >= OUTBOX_BYTES_MAX {
                return Err(Refusal::Full);
            }
            state.queued.push_command(command);
            Ok(())
        })
    }

    fn push(&self, add: impl FnOnce(&mut State) -> Result<(), Refusal>) -> Result<(), Refusal> {
        let (pushed, waker) = {
            let mut state = self.state.lock();
            if state.phase > Phase::Draining {
                return Err(Refusal::Closed);
            }
            let pushed = add(&mut state);
            let queued = state.queued.bytes();
            state.share.update_coarsely(queued);
            (pushed, state.waker.take())
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        pushed
    }

    /// Moves the connection on to a later phase; an earlier one is ignored.
    pub(crate) fn enter(&self, phase: Phase) {
        let waker = {
            let mut state = self.state.lock();
            state.phase = state.phase.max(phase);
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Makes the connection's task look again if it waits for the last answers.
    pub(crate) fn nudge_draining(&self) {
        let waker = {
            let mut state = self.state.lock();
            if state.phase == Phase::Draining { state.waker.take() } else { None }
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Moves what is queued behind `out`, and arranges that the task is woken by the next push.
    pub(crate) fn take(&self, out: &mut Outgoing, cx: &Context<'_>) -> Phase {
        let mut state = self.state.lock();
        if !state.queued.is_empty() {
            out.append(&mut state.queued);
            state.share.update(0);
        }
        self.unsent.store(out.bytes(), Relaxed);
        if !state.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            state.waker = Some(cx.waker().clone());
        }
        state.phase
    }

    /// Learns how much is left of what was taken over, after a write.
    pub(crate) fn note_unsent(&self, bytes: usize) {
        self.unsent.store(bytes, Relaxed);
    }

    /// Gives unused memory back.
    pub(crate) fn release(&self) {
        self.state.lock().queued.release();
    }
}

fn busy(why: &'static str) -> Reply {
    Reply::refusal(ResponseCode::SystemBusy, format!("[OVERLOAD]{why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outbox() -> Outbox {
        Outbox::new(&Arc::new(Budget::new(usize::MAX)))
    }

    fn large() -> Reply {
        Reply::with_body(vec![0; 1024 * 1024])
    }

    fn bytes(outbox: &Outbox) -> usize {
        outbox.state.lock().queued.bytes()
    }

    #[test]
    fn a_full_outbox_turns_large_answers_into_busy_and_refuses_requests() {
        let outbox = outbox();
        while bytes(&outbox) < OUTBOX_BYTES_MAX {
            assert_eq!(outbox.push_reply(large(), 1, HeaderCodec::Json), Ok(()));
        }
        let full = bytes(&outbox);
        assert_eq!(outbox.push_reply(large(), 1, HeaderCodec::Json), Ok(()));
        assert!(bytes(&outbox) - full < 1_000, "the large body was replaced");
        assert_eq!(outbox.push_command(Command::request(40)), Err(Refusal::Full));
        assert_eq!(outbox.push_reply(Reply::success(), 1, HeaderCodec::Json), Ok(()));
        assert!(outbox.is_open());
    }

    #[test]
    fn bytes_that_the_task_has_taken_count_as_waiting() {
        let outbox = outbox();
        let mut out = Outgoing::default();
        while bytes(&outbox) < OUTBOX_BYTES_MAX {
            outbox.push_reply(large(), 1, HeaderCodec::Json).unwrap();
        }
        outbox.take(&mut out, &Context::from_waker(Waker::noop()));
        assert_eq!(bytes(&outbox), 0);
        assert_eq!(outbox.push_command(Command::request(40)), Err(Refusal::Full));
        outbox.note_unsent(0);
        assert_eq!(outbox.push_command(Command::request(40)), Ok(()), "all was sent");
    }

    #[test]
    fn when_memory_is_short_slow_peers_get_no_large_answers_and_then_nobody_does() {
        let all = Arc::new(Budget::new(10 * 1024 * 1024));
        let (slow, prompt) = (Outbox::new(&all), Outbox::new(&all));
        let mut kept = Share::of(&all);
        let is_taken = |outbox: &Outbox| {
            let before = bytes(outbox);
            outbox.push_reply(large(), 1, HeaderCodec::Json).unwrap();
            let pushed = bytes(outbox) - before;
            outbox.take(&mut Outgoing::default(), &Context::from_waker(Waker::noop()));
            pushed > 1024 * 1024
        };
        let unsent = |outbox: &Outbox, bytes| {
            let taken = is_taken(outbox);
            outbox.note_unsent(bytes);
            taken
        };
        slow.note_unsent(1);
        assert!(unsent(&slow, 1) && unsent(&prompt, 0));
        kept.update(11 * 1024 * 1024);
        assert!(!unsent(&slow, 1));
        assert!(unsent(&prompt, 0));
        kept.update(22 * 1024 * 1024);
        assert!(!unsent(&slow, 1) && !unsent(&prompt, 0));
        assert_eq!(all.used(), 22 * 1024 * 1024, "what is queued is counted until it is taken");
    }

    #[test]
    fn what_never_reads_is_given_up() {
        let outbox = outbox();
        let small = || Reply::with_body(vec![0; SMALL_ANSWER_BYTES_MAX]);
        while outbox.push_reply(small(), 1, HeaderCodec::Json).is_ok() {
            assert!(bytes(&outbox) < OUTBOX_BYTES_HARD_MAX + 2 * SMALL_ANSWER_BYTES_MAX);
        }
        assert!(bytes(&outbox) >= OUTBOX_BYTES_HARD_MAX);
        assert!(!outbox.is_open());
        assert_eq!(outbox.push_reply(small(), 1, HeaderCodec::Json), Err(Refusal::Closed));
    }

    #[test]
    fn phases_only_move_on() {
        let outbox = outbox();
        outbox.enter(Phase::Closing);
        outbox.enter(Phase::Draining);
        assert_eq!(outbox.state.lock().phase, Phase::Closing);
        assert_eq!(outbox.push_command(Command::request(40)), Err(Refusal::Closed));
    }
}
