//! One conversation with one peer, as the rest of the process holds it.
//!
//! Owns a connection's identity and the ways to speak on it from anywhere. The socket itself belongs to
//! the connection's task.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use strata_protocol::command::{Command, FLAG_ONEWAY, FLAG_RESPONSE};
use strata_protocol::frame::HeaderCodec;
use strata_protocol::reply::Reply;
use thiserror::Error;

use crate::calls::Calls;
use crate::figures::Figures;
use crate::outbox::{Outbox, Phase, Refusal};

/// One connection. Handlers get it with every request and may keep it; it stays valid, closed, when the
/// peer is gone.
#[derive(Debug)]
pub struct Connection {
    id: u64,
    peer: SocketAddr,
    local: SocketAddr,
    fast_port: bool,
    /// Responders that exist: answers that may still come.
    owed: AtomicUsize,
    waited_ms: AtomicU32,
    pub(crate) outbox: Outbox,
    pub(crate) calls: Calls,
}

/// Why a request to the peer has no answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CallError {
    /// The connection ended before the answer came.
    #[error("the connection to {peer} is closed")]
    Closed {
        /// The other side.
        peer: SocketAddr,
    },
    /// The peer reads too slowly, or too many answers are awaited already.
    #[error("too much waits for {peer} already")]
    Busy {
        /// The other side.
        peer: SocketAddr,
    },
    /// No answer came in time. The peer may still act on the request.
    #[error("{peer} did not answer within {} ms", timeout.as_millis())]
    Timeout {
        /// The other side.
        peer: SocketAddr,
        /// How long was waited.
        timeout: Duration,
    },
}

/// Where a connection goes from and to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ends {
    pub(crate) peer: SocketAddr,
    pub(crate) local: SocketAddr,
    pub(crate) fast_port: bool,
}

impl Connection {
    pub(crate) fn new(id: u64, ends: Ends, figures: &Figures) -> Self {
        let Ends { peer, local, fast_port } = ends;
        let (outbox, calls) = (Outbox::new(&figures.unsent), Calls::default());
        Self { id, peer, local, fast_port, owed: AtomicUsize::new(0), waited_ms: AtomicU32::new(0), outbox, calls }
    }

    /// A number that no other connection of this process has had.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The other side's address.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// This side's address.
    #[must_use]
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// Whether it came through the fast port (listen port - 2), where RocketMQ answers no pulls.
    #[must_use]
    pub fn is_fast_port(&self) -> bool {
        self.fast_port
    }

    /// How long the request that is being handled had lain unread in the kernel, to within 10 ms. This is how
    /// late an overloaded server is; what waits long may be refused instead of served.
    #[must_use]
    pub fn waited(&self) -> Duration {
        Duration::from_millis(u64::from(self.waited_ms.load(Ordering::Relaxed)))
    }

    pub(crate) fn note_waited(&self, waited: Duration) {
        self.waited_ms.store(u32::try_from(waited.as_millis()).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    /// Whether frames are still taken for the peer.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.outbox.is_open()
    }

    /// What answers `request` later; the handler then returns [`Answer::Later`](crate::Answer::Later).
    #[must_use]
    pub fn responder(self: &Arc<Self>, request: &Command) -> Responder {
        self.owed.fetch_add(1, Ordering::Relaxed);
        Responder {
            connection: Arc::clone(self),
            opaque: request.opaque,
            codec: request.codec,
            oneway: request.is_oneway(),
        }
    }

    /// Sends a one-way request to the peer; false when the connection is closed or its outbox full.
    pub fn notify(&self, command: Command) -> bool {
        self.tell(command).is_ok()
    }

    /// Sends a one-way request to the peer and says why not.
    pub(crate) fn tell(&self, mut command: Command) -> Result<(), CallError> {
        command.opaque = self.calls.next_opaque();
        command.flag = (command.flag & !FLAG_RESPONSE) | FLAG_ONEWAY;
        self.outbox.push_command(command).map_err(|refusal| self.refused(refusal))
    }

    /// Sends a request to the peer and waits for its answer, whatever the answer's code is.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn call(&self, mut command: Command, timeout: Duration) -> Result<Command, CallError> {
        let mut pending = self.calls.open().ok_or(CallError::Busy { peer: self.peer })?;
        command.opaque = pending.opaque;
        command.flag &= !(FLAG_RESPONSE | FLAG_ONEWAY);
        self.outbox.push_command(command).map_err(|refusal| self.refused(refusal))?;
        match tokio::time::timeout(timeout, &mut pending.answer).await {
            Ok(answer) => answer.map_err(|_| CallError::Closed { peer: self.peer }),
            Err(_) => Err(CallError::Timeout { peer: self.peer, timeout }),
        }
    }

    /// Ends the connection when what was given to it so far has left, within a few seconds. Nothing more is taken.
    pub fn close(&self) {
        self.outbox.enter(Phase::Closing);
    }

    /// Ends the connection because the memory of its unfinished frame is needed.
    pub(crate) fn evict(&self) {
        self.outbox.enter(Phase::Evicted);
    }

    /// Lets the answers leave that are still owed, then ends the connection.
    pub(crate) fn drain(&self) {
        self.outbox.enter(Phase::Draining);
    }

    /// Marks the connection as over: nothing is taken, no caller waits any longer.
    pub(crate) fn end(&self) {
        self.outbox.enter(Phase::Closed);
        self.calls.abandon();
    }

    /// Answers that may still come.
    pub(crate) fn owed(&self) -> usize {
        self.owed.load(Ordering::Acquire)
    }

    fn refused(&self, refusal: Refusal) -> CallError {
        match refusal {
            Refusal::Closed => CallError::Closed { peer: self.peer },
            Refusal::Full => CallError::Busy { peer: self.peer },
        }
    }
}

/// The right to answer one request, once, from anywhere. It holds nothing of the request but its number.
///
/// A responder that is dropped leaves its request unanswered; the peer's own timeout then ends its wait.
#[derive(Debug)]
pub struct Responder {
    connection: Arc<Connection>,
    opaque: i32,
    codec: HeaderCodec,
    oneway: bool,
}

impl Responder {
    /// Sends the answer; false when it cannot reach the peer any more, or the request wanted none.
    ///
    /// A large answer to a peer that does not read what it has asked for arrives as `SYSTEM_BUSY`.
    pub fn send(self, reply: Reply) -> bool {
        !self.oneway && self.connection.outbox.push_reply(reply, self.opaque, self.codec).is_ok()
    }

    /// The connection that the request came from.
    #[must_use]
    pub fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        // The answer, if any, was queued before: a connection that drains and sees zero here finds it.
        if self.connection.owed.fetch_sub(1, Ordering::Release) == 1 {
            self.connection.outbox.nudge_draining();
        }
    }
}

const _: () = assert!(size_of::<Responder>() <= 24, "a hundred thousand pulls are parked with one each");
