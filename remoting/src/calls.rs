//! Requests to the peer whose answers are awaited.
//!
//! Owns the correlation ids of one direction of one connection and the callers that wait for them. The
//! lock is held for one map operation.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};

use parking_lot::Mutex;
use strata_protocol::command::Command;
use tokio::sync::oneshot;

use crate::limits::CALLS_MAX;

#[derive(Debug, Default)]
pub(crate) struct Calls {
    next: AtomicI32,
    waiting: Mutex<HashMap<i32, oneshot::Sender<Command>>>,
}

impl Calls {
    /// A correlation id that no other request of this direction has until the numbers come round.
    pub(crate) fn next_opaque(&self) -> i32 {
        self.next.fetch_add(1, Relaxed)
    }

    /// Waits for the answer to a new request; `None` when too many are waited for.
    pub(crate) fn open(&self) -> Option<Pending<'_>> {
        let opaque = self.next_opaque();
        let (sender, answer) = oneshot::channel();
        let mut waiting = self.waiting.lock();
        if waiting.len() >= CALLS_MAX {
            return None;
        }
        waiting.insert(opaque, sender);
        Some(Pending { calls: self, opaque, answer })
    }

    /// Hands an answer to its caller; false when nobody waits for it (any more).
    pub(crate) fn answered(&self, answer: Command) -> bool {
        let caller = self.waiting.lock().remove(&answer.opaque);
        caller.is_some_and(|caller| caller.send(answer).is_ok())
    }

    /// Ends the wait of all callers without an answer.
    pub(crate) fn abandon(&self) {
        let callers = std::mem::take(&mut *self.waiting.lock());
        drop(callers);
    }
}

/// One awaited answer; dropping it forgets the request.
#[derive(Debug)]
pub(crate) struct Pending<'a> {
    calls: &'a Calls,
    pub(crate) opaque: i32,
    pub(crate) answer: oneshot::Receiver<Command>,
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.calls.waiting.lock().remove(&self.opaque);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_find_their_callers_in_any_order() {
        let calls = Calls::default();
        let (mut first, mut second) = (calls.open().unwrap(), calls.open().unwrap());
        let answer = |opaque| Command { opaque, ..Command::request(0) };
        assert!(calls.answered(answer(second.opaque)));
        assert!(calls.answered(answer(first.opaque)));
        assert!(!calls.answered(answer(first.opaque)), "an answer counts once");
        assert_eq!(first.answer.try_recv().unwrap().opaque, first.opaque);
        assert_eq!(second.answer.try_recv().unwrap().opaque, second.opaque);
    }

    #[test]
    fn a_caller_that_gave_up_leaves_nothing_behind() {
        let calls = Calls::default();
        let opaque = calls.open().unwrap().opaque;
        assert!(calls.waiting.lock().is_empty());
        assert!(!calls.answered(Command { opaque, ..Command::request(0) }));
    }

    #[test]
    fn waiting_calls_are_bounded() {
        let calls = Calls::default();
        let all: Vec<_> = (0..CALLS_MAX).map(|_| calls.open().unwrap()).collect();
        assert!(calls.open().is_none());
        drop(all);
        assert!(calls.open().is_some());
    }
}
