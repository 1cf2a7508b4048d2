//! Connections of the bench: non-blocking sockets of one thread, read and written in large pieces.
//!
//! Owns buffers and readiness. `remoting`'s client has a task and a channel for each connection, which costs
//! more than the bench may cost a message; frames and headers are the protocol's here as there.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

use bytes::BytesMut;
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use strata_protocol::command::Command;
use strata_protocol::frame::{self, Check};
use strata_protocol::limits::FRAME_BYTES_MAX;

use crate::exit::{Exit, Failure, OrFail as _, Outcome};
use crate::limits::{BENCH_EVENTS, BENCH_READ_BYTES_MAX, BENCH_READ_BYTES_MIN, BENCH_UNSENT_BYTES_MAX};

/// One connection.
pub(super) struct Wire {
    socket: TcpStream,
    peer: SocketAddr,
    place: usize,
    arrived: BytesMut,
    /// Bytes that the next read asks for: what reads brought lately, so that little is cleared in vain.
    read_bytes: usize,
    /// What is to be sent.
    pub(super) out: Vec<u8>,
    written: usize,
    watched_for_room: bool,
}

impl Wire {
    /// Connects; `place` is what the poll calls it.
    pub(super) fn connect(peer: SocketAddr, place: usize, patience: Duration) -> Outcome<Self> {
        let cannot = || format!("cannot connect to {peer}");
        let socket = TcpStream::connect_timeout(&peer, patience).or_fail_with(Exit::Unreachable, cannot())?;
        let prepared = socket.set_nodelay(true).and_then(|()| socket.set_nonblocking(true));
        prepared.or_fail_with(Exit::Unreachable, cannot())?;
        Ok(Self {
            socket,
            peer,
            place,
            arrived: BytesMut::new(),
            read_bytes: BENCH_READ_BYTES_MIN,
            out: Vec::new(),
            written: 0,
            watched_for_room: false,
        })
    }

    fn broken(&self, error: impl std::fmt::Display) -> Failure {
        Failure::new(Exit::Unreachable, format!("the connection to {} broke: {error}", self.peer))
    }

    /// Reads once; what is not there is not waited for.
    pub(super) fn read(&mut self) -> Outcome {
        let before = self.arrived.len();
        self.arrived.resize(before + self.read_bytes, 0);
        let read = self.socket.read(&mut self.arrived[before..]);
        let bytes = match &read {
            Ok(bytes) => *bytes,
            Err(_) => 0,
        };
        self.arrived.truncate(before + bytes);
        if bytes == self.read_bytes {
            self.read_bytes = (bytes * 2).min(BENCH_READ_BYTES_MAX);
        } else if bytes < self.read_bytes / 4 {
            self.read_bytes = (self.read_bytes / 2).max(BENCH_READ_BYTES_MIN);
        }
        match read {
            Ok(0) => Err(self.broken("the server closed it")),
            Ok(_) => Ok(()),
            Err(error) if is_later(&error) => Ok(()),
            Err(error) => Err(self.broken(error)),
        }
    }

    /// The next whole answer that has arrived.
    pub(super) fn next(&mut self) -> Outcome<Option<Command>> {
        let checked = frame::check_with(&self.arrived, FRAME_BYTES_MAX).map_err(|error| self.broken(error))?;
        let Check::Complete { bytes } = checked else { return Ok(None) };
        let whole = self.arrived.split_to(bytes).freeze();
        Command::decode(whole).map(Some).map_err(|error| self.broken(error))
    }

    /// Whether more may be put into [`Self::out`].
    pub(super) fn has_room(&self) -> bool {
        self.out.len() - self.written < BENCH_UNSENT_BYTES_MAX
    }

    /// Writes what there is, as far as the kernel takes it.
    pub(super) fn write(&mut self, poll: &Poll) -> Outcome {
        while self.written < self.out.len() {
            match self.socket.write(&self.out[self.written..]) {
                Ok(bytes) => self.written += bytes,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(self.broken(error)),
            }
        }
        let waits = self.written < self.out.len();
        if !waits {
            self.out.clear();
            self.written = 0;
        } else if self.written > BENCH_UNSENT_BYTES_MAX {
            self.out.drain(..self.written);
            self.written = 0;
        }
        if waits != self.watched_for_room {
            self.watched_for_room = waits;
            poll.change(&self.socket, self.place, waits).map_err(|error| self.broken(error))?;
        }
        Ok(())
    }
}

fn is_later(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

const CANNOT_WATCH: &str = "connections cannot be watched";

/// Which connections have something to read, or room to write.
pub(super) struct Poll {
    epoll: OwnedFd,
    events: Vec<Event>,
}

impl Poll {
    /// Watches connections; their places are what they were connected with.
    pub(super) fn of(wires: &[Wire]) -> Outcome<Self> {
        let poll = Self::new()?;
        wires.iter().try_for_each(|wire| poll.add(&wire.socket, wire.place))?;
        Ok(poll)
    }

    /// Watches nothing yet.
    pub(super) fn new() -> Outcome<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC).or_fail_with(Exit::Failed, CANNOT_WATCH)?;
        Ok(Self { epoll, events: Vec::with_capacity(BENCH_EVENTS) })
    }

    /// Watches for what there is to read.
    pub(super) fn add(&self, socket: &TcpStream, place: usize) -> Outcome {
        let place = EventData::new_u64(place as u64);
        epoll::add(&self.epoll, socket, place, EventFlags::IN).or_fail_with(Exit::Failed, CANNOT_WATCH)
    }

    /// Watches no more.
    pub(super) fn remove(&self, socket: &TcpStream) -> Outcome {
        epoll::delete(&self.epoll, socket).or_fail_with(Exit::Failed, CANNOT_WATCH)
    }

    /// Watches for room to write as well, or no more.
    fn change(&self, socket: &TcpStream, place: usize, for_room: bool) -> io::Result<()> {
        let flags = if for_room { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
        Ok(epoll::modify(&self.epoll, socket, EventData::new_u64(place as u64), flags)?)
    }

    /// Waits at most so long, a whole number of ms, and gives the places of those that are ready.
    pub(super) fn wait(&mut self, most: Duration, ready: &mut Vec<usize>) -> Outcome {
        let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(most.subsec_millis()) * 1_000_000 };
        self.events.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(Failure::new(Exit::Failed, format!("{CANNOT_WATCH}: {error}"))),
        }
        ready.clear();
        ready.extend(self.events.iter().map(|event| event.data.u64() as usize));
        Ok(())
    }
}
