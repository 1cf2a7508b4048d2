//! The one task of a connection: it reads, hands requests over, and writes.
//!
//! Owns the socket and its buffers. One round reads once, up to 256 KiB, handles every whole frame of that,
//! and writes all answers with one call; what others left in the outbox goes along. While too much is
//! unsent it does not read: that is the back pressure on the peer.

use std::future::poll_fn;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use strata_protocol::code::ResponseCode;
use strata_protocol::command::{Command, Malformed};
use strata_protocol::reply::Reply;
use tokio::io::{AsyncReadExt as _, AsyncWrite as _};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tracing::error;

use crate::alarm::Alarm;
use crate::arrival::Arrivals;
use crate::budget::Share;
use crate::closing::{CloseReason, Ending, foreign_protocol};
use crate::connection::Connection;
use crate::deadline::{Look, Patience, Progress};
use crate::figures::Figures;
use crate::handler::{Answer, Handler};
use crate::inbox::Inbox;
use crate::incoming::Incoming;
use crate::limits::{OUTBOX_BYTES_MAX, TURN_BYTES_MAX};
use crate::outbox::Phase;
use crate::outgoing::Outgoing;
use crate::roster::Roster;

/// What the connection's task is about.
#[derive(Debug)]
enum Stage {
    /// Requests are read and answered.
    Serving,
    /// No request is read; answers that are owed still leave.
    Draining,
    /// What waits is written, nothing else.
    Finishing(Ending),
    /// All is written and the peer was told so. Its last bytes are read and forgotten, because closing a
    /// socket with unread bytes would take the answers away from the peer.
    Lingering(Ending),
}

pub(crate) struct Pump<H: ?Sized> {
    socket: TcpStream,
    connection: Arc<Connection>,
    handler: Arc<H>,
    figures: Arc<Figures>,
    arrivals: Arrivals,
    incoming: Incoming,
    out: Outgoing,
    unsent_share: Share,
    stage: Stage,
    progress: Progress,
    alarm: Alarm,
    /// The peer sends nothing more.
    peer_is_done: bool,
}

impl<H: Handler + ?Sized> Pump<H> {
    pub(crate) fn new(
        (socket, arrivals, inbox): (TcpStream, Arrivals, Inbox),
        connection: Arc<Connection>,
        handler: Arc<H>,
        roster: &Roster,
        patience: Patience,
    ) -> Self {
        let figures = Arc::clone(&roster.figures);
        Self {
            socket,
            connection,
            handler,
            incoming: Incoming::new(inbox, roster),
            unsent_share: Share::of(&figures.unsent),
            figures,
            arrivals,
            out: Outgoing::default(),
            stage: Stage::Serving,
            progress: Progress::default(),
            alarm: Alarm::new(patience),
            peer_is_done: false,
        }
    }

    /// Runs the connection to its end.
    pub(crate) async fn run(mut self) -> Ending {
        poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Ending> {
        let turn_ends = self.progress.bytes_in + TURN_BYTES_MAX;
        loop {
            // Read before the outbox: an answer is queued before its responder goes.
            let owed = self.connection.owed();
            let phase = self.connection.outbox.take(&mut self.out, cx);
            self.follow(phase);
            if phase == Phase::Overrun {
                return Poll::Ready(Ending::with(CloseReason::SlowReader, "answers pile up unread"));
            }
            if let Err(broken) = self.write(cx) {
                return Poll::Ready(broken);
            }
            if self.progress.bytes_in >= turn_ends {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            match self.step(owed, cx) {
                Poll::Ready(Some(ending)) => return Poll::Ready(ending),
                Poll::Ready(None) => {}
                Poll::Pending => match self.alarm(cx) {
                    Poll::Ready(Some(ending)) => return Poll::Ready(ending),
                    Poll::Ready(None) => {}
                    Poll::Pending => return Poll::Pending,
                },
            }
        }
    }

    /// Follows what others want of the connection.
    fn follow(&mut self, phase: Phase) {
        match (&self.stage, phase) {
            (Stage::Serving, Phase::Draining) => {
                self.stage = Stage::Draining;
                self.alarm.begin_drain();
            }
            (Stage::Serving | Stage::Draining, Phase::Closing) => self.finish(Ending::plain(CloseReason::Local)),
            (Stage::Serving | Stage::Draining, Phase::Evicted) => self.run_out_of_memory(),
            _ => {}
        }
    }

    fn finish(&mut self, ending: Ending) {
        // What is said from now on would come after the end.
        self.connection.outbox.enter(Phase::Closing);
        // Nothing is read for its content any more; the memory is others'.
        self.incoming.discard();
        self.stage = Stage::Finishing(ending);
        self.alarm.begin_drain();
    }

    /// Gives the unfinished frame up, and the conversation with it.
    fn run_out_of_memory(&mut self) {
        let detail = "no memory is left for all large frames, and this one began before others";
        self.finish(Ending::with(CloseReason::OutOfMemory, detail));
    }

    /// Writes until nothing is left or the socket is full.
    fn write(&mut self, cx: &mut Context<'_>) -> Result<(), Ending> {
        let before = self.progress.bytes_out;
        while !self.out.is_empty() {
            match self.out.poll_write(&mut self.socket, cx) {
                Poll::Ready(Ok(bytes)) => self.progress.bytes_out += bytes as u64,
                Poll::Ready(Err(error)) => return Err(Ending::with(CloseReason::Broken, error)),
                Poll::Pending => break,
            }
        }
        if self.progress.bytes_out != before {
            self.figures.count_out(self.progress.bytes_out - before);
            self.out.shrink();
            self.alarm.moved();
        }
        self.connection.outbox.note_unsent(self.out.bytes());
        self.unsent_share.update_coarsely(self.out.footprint());
        Ok(())
    }

    /// Does what the stage is about, once. Ready without an ending means that it should be called again.
    fn step(&mut self, owed: usize, cx: &mut Context<'_>) -> Poll<Option<Ending>> {
        match &self.stage {
            Stage::Serving => self.serve(cx).map(|()| None),
            Stage::Draining => {
                if owed > 0 {
                    // The last responder may have gone between the look at `owed` and at the outbox; it then
                    // found no one to wake.
                    return if self.connection.owed() == 0 { Poll::Ready(None) } else { Poll::Pending };
                }
                if !self.out.is_empty() {
                    return Poll::Pending;
                }
                self.finish(Ending::plain(CloseReason::Shutdown));
                Poll::Ready(None)
            }
            Stage::Finishing(_) => {
                if !self.out.is_empty() {
                    return Poll::Pending;
                }
                // The peer may be gone already, and then there is nobody to tell.
                let _ = ready!(Pin::new(&mut self.socket).poll_shutdown(cx));
                let ending = self.take_ending();
                if self.peer_is_done {
                    return Poll::Ready(Some(ending));
                }
                self.stage = Stage::Lingering(ending);
                self.alarm.begin_linger();
                Poll::Ready(None)
            }
            Stage::Lingering(_) => match ready!(self.read(cx)) {
                Ok(1..) => {
                    self.incoming.discard();
                    Poll::Ready(None)
                }
                Ok(0) | Err(_) => Poll::Ready(Some(self.take_ending())),
            },
        }
    }

    fn take_ending(&mut self) -> Ending {
        match std::mem::replace(&mut self.stage, Stage::Draining) {
            Stage::Finishing(ending) | Stage::Lingering(ending) => ending,
            Stage::Serving | Stage::Draining => Ending::plain(CloseReason::Shutdown),
        }
    }

    /// Whether the peer must take answers before it is read on. The socket tells when it has.
    fn must_wait(&self) -> bool {
        let unsent = self.out.bytes();
        unsent >= OUTBOX_BYTES_MAX || (unsent > 0 && self.figures.unsent.is_short())
    }

    /// Handles what is there, then reads once and handles that.
    fn serve(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.must_wait() {
            self.arrivals.pause();
            return Poll::Pending;
        }
        // Frames are left over only when their predecessors' answers had filled the outbox.
        if self.incoming.inbox.is_partial() && (self.handle_all() > 0 || !matches!(self.stage, Stage::Serving)) {
            return Poll::Ready(());
        }
        if !self.incoming.may_grow(&self.connection) {
            self.run_out_of_memory();
            return Poll::Ready(());
        }
        if let Some(waited) = self.arrivals.look(&self.socket) {
            self.connection.note_waited(waited);
        }
        match ready!(self.read(cx)) {
            Ok(0) => {
                self.peer_is_done = true;
                self.finish(Ending::plain(CloseReason::Peer));
            }
            Ok(bytes) => {
                self.figures.count_bytes_in(bytes as u64);
                let frames = self.handle_all();
                self.incoming.settle(frames);
                self.alarm.moved();
            }
            Err(error) => {
                self.peer_is_done = true;
                self.finish(Ending::with(CloseReason::Broken, error));
            }
        }
        Poll::Ready(())
    }

    fn read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.incoming.inbox.is_released() {
            // An idle connection waits without a buffer.
            ready!(self.socket.poll_read_ready(cx))?;
        }
        let room = self.incoming.room();
        let bytes = ready!(pin!(self.socket.read_buf(room)).poll(cx))?;
        self.incoming.read(bytes);
        self.progress.bytes_in += bytes as u64;
        Poll::Ready(Ok(bytes))
    }

    /// Handles whole frames until none is left or their answers fill the outbox; gives their number.
    fn handle_all(&mut self) -> u64 {
        let before = self.progress.frames_in;
        // The end of one request is the beginning of the next: reading a clock costs as much as reading a field.
        let mut began = Instant::now();
        while self.out.bytes() < OUTBOX_BYTES_MAX {
            match self.incoming.inbox.next() {
                Ok(Some(command)) => {
                    self.progress.frames_in += 1;
                    self.handle(command, &mut began);
                }
                Ok(None) => break,
                Err(malformed) => {
                    self.refuse(&malformed);
                    break;
                }
            }
        }
        let frames = self.progress.frames_in - before;
        if frames > 0 {
            self.figures.count_frames_in(frames);
        }
        frames
    }

    fn handle(&mut self, command: Command, began: &mut Instant) {
        if command.is_response() {
            // Nobody waits when the caller's patience ended before the answer came.
            self.connection.calls.answered(command);
            return;
        }
        let (code, opaque, codec, oneway) = (command.code, command.opaque, command.codec, command.is_oneway());
        let handled = catch_unwind(AssertUnwindSafe(|| self.handler.handle(command, &self.connection)));
        let answer = handled.unwrap_or_else(|_| {
            self.figures.count_panic();
            error!(code, peer = %self.connection.peer(), "a request's handler panicked");
            Answer::Now(Reply::refusal(ResponseCode::SystemError, "the request failed here; the log has the reason"))
        });
        if let Answer::Now(reply) = &answer {
            let now = Instant::now();
            self.handler.answered(code, reply, now - *began);
            *began = now;
        }
        match answer {
            Answer::Now(reply) if !oneway => {
                let (bytes, waiting) = (reply.body_bytes(), self.out.bytes());
                match self.connection.outbox.unaffordable(bytes, waiting, &self.figures.unsent) {
                    None => self.out.push_reply(reply, opaque, codec),
                    Some(busy) => self.out.push_reply(busy, opaque, codec),
                }
            }
            Answer::Now(_) | Answer::Later | Answer::Never => {}
        }
    }

    /// Ends a conversation that cannot go on; answers to the frames before still leave.
    fn refuse(&mut self, malformed: &Malformed) {
        let foreign = foreign_protocol(self.incoming.inbox.bytes()).filter(|_| self.progress.frames_in == 0);
        let ending = match foreign {
            Some(name) => Ending::with(CloseReason::ForeignProtocol, format_args!("{name} is not served on this port")),
            None => Ending::with(CloseReason::Malformed, malformed),
        };
        self.finish(ending);
    }

    /// Looks whether patience is over. Ready without an ending means that the alarm was set anew.
    fn alarm(&mut self, cx: &mut Context<'_>) -> Poll<Option<Ending>> {
        ready!(self.alarm.poll(cx));
        match &self.stage {
            Stage::Serving => {}
            Stage::Draining => return Poll::Ready(Some(Ending::plain(CloseReason::Shutdown))),
            Stage::Finishing(_) | Stage::Lingering(_) => return Poll::Ready(Some(self.take_ending())),
        }
        // A frame does not end because this side does not read on: that is the reader's fault, not the writer's.
        let partial = self.incoming.inbox.is_partial() && !self.must_wait();
        let progress = Progress { partial, unsent: !self.out.is_empty(), ..self.progress };
        match self.alarm.look(progress) {
            Look::Near(_) => {}
            Look::Quiet(_) => {
                self.incoming.release();
                self.out.release();
                self.connection.outbox.release();
            }
            Look::Over(reason) => return Poll::Ready(Some(self.give_up(reason))),
        }
        Poll::Ready(None)
    }

    fn give_up(&self, reason: CloseReason) -> Ending {
        if reason == CloseReason::SlowReader {
            return Ending::with(reason, format_args!("{} bytes wait unread", self.out.bytes()));
        }
        Ending::plain(reason)
    }
}
