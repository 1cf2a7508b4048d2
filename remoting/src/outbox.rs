//! Where the rest of the process leaves frames for a connection, and how it asks the connection to end.
//!
//! Owns the bounded queue between any thread and the connection's task. The lock is held while a header is
//! encoded or while the queue is taken over, never across an await: both are shorter than a context switch.

use std::task::{Context, Waker};

use parking_lot::Mutex;
use strata_protocol::code::ResponseCode;
use strata_protocol::command::Command;
use strata_protocol::frame::HeaderCodec;
use strata_protocol::reply::Reply;

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
}

#[derive(Debug)]
struct State {
    queued: Outgoing,
    /// Bytes that the connection's task has taken over and not yet sent.
    taken: usize,
    /// Wakes the connection's task; gone between the first push and the task's next look.
    waker: Option<Waker>,
    phase: Phase,
}

impl Outbox {
    pub(crate) fn new() -> Self {
        Self { state: Mutex::new(State { queued: Outgoing::default(), taken: 0, waker: None, phase: Phase::Open }) }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.state.lock().phase <= Phase::Draining
    }

    /// Queues an answer. A large one that finds the outbox full becomes `SYSTEM_BUSY`; when even small ones do
    /// not fit any more, the connection is given up.
    pub(crate) fn push_reply(&self, reply: Reply, opaque: i32, codec: HeaderCodec) -> Result<(), Refusal> {
        self.push(|state| {
            let waiting = state.taken + state.queued.bytes();
            if waiting >= OUTBOX_BYTES_HARD_MAX {
                state.phase = Phase::Overrun;
                return Err(Refusal::Full);
            }
            let reply = if waiting >= OUTBOX_BYTES_MAX && reply.body_bytes() > SMALL_ANSWER_BYTES_MAX {
                Reply::refusal(ResponseCode::SystemBusy, "[OVERLOAD]too many answers wait unread on this connection")
            } else {
                reply
            };
            state.queued.push_reply(reply, opaque, codec);
            Ok(())
        })
    }

    /// Queues a request to the peer, unless too much waits already.
    pub(crate) fn push_command(&self, command: Command) -> Result<(), Refusal> {
        self.push(|state| {
            if state.taken + state.queued.bytes() >= OUTBOX_BYTES_MAX {
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
        }
        state.taken = out.bytes();
        if !state.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            state.waker = Some(cx.waker().clone());
        }
        state.phase
    }

    /// Gives unused memory back.
    pub(crate) fn release(&self) {
        self.state.lock().queued.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn large() -> Reply {
        Reply::with_body(vec![0; 1024 * 1024])
    }

    fn bytes(outbox: &Outbox) -> usize {
        outbox.state.lock().queued.bytes()
    }

    #[test]
    fn a_full_outbox_turns_large_answers_into_busy_and_refuses_requests() {
        let outbox = Outbox::new();
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
        let outbox = Outbox::new();
        let mut out = Outgoing::default();
        while bytes(&outbox) < OUTBOX_BYTES_MAX {
            outbox.push_reply(large(), 1, HeaderCodec::Json).unwrap();
        }
        outbox.take(&mut out, &Context::from_waker(Waker::noop()));
        assert_eq!(bytes(&outbox), 0);
        assert_eq!(outbox.push_command(Command::request(40)), Err(Refusal::Full));
    }

    #[test]
    fn what_never_reads_is_given_up() {
        let outbox = Outbox::new();
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
        let outbox = Outbox::new();
        outbox.enter(Phase::Closing);
        outbox.enter(Phase::Draining);
        assert_eq!(outbox.state.lock().phase, Phase::Closing);
        assert_eq!(outbox.push_command(Command::request(40)), Err(Refusal::Closed));
    }
}
