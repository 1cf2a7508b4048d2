//! Sends without end: many connections, each with many sends under way, and what became of each send.
//!
//! Owns the sockets of the load and the count of answers. A refused send is not sent again; the next one takes its
//! place at once, whatever the answer was, so that refusals do not slow the load down.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::{Buf as _, BytesMut};
use strata_protocol::command::Command;
use strata_protocol::frame::{self, Check, HeaderCodec};
use strata_tests::history::Queue;
use strata_tests::talk::{Draft, number};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

/// Bytes of a body.
pub(crate) const BODY_BYTES: usize = 1_024;

/// Queues of the topic that is written.
pub(crate) const QUEUES: usize = 8;

/// Bytes that a connection makes before it writes.
const WRITE_BYTES: usize = 64 * 1024;

/// Bytes of one read.
const READ_BYTES: usize = 64 * 1024;

/// How long answers may still come when nothing is sent any more.
const LAST_ANSWER_MAX: Duration = Duration::from_secs(20);

/// A stretch of time over which answers are counted.
const WINDOW: Duration = Duration::from_millis(500);

/// Windows at the beginning that do not count: the load is not there yet.
const WINDOWS_SKIPPED: usize = 3;

/// The code of a refusal that is right.
pub(crate) const SYSTEM_BUSY: i32 = 2;

/// How much is sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) connections: usize,
    /// Sends under way on each.
    pub(crate) in_flight: usize,
    pub(crate) time: Duration,
    /// Sets messages of one load apart from those of another.
    pub(crate) run: u32,
}

/// A message that was acknowledged: where it is, and who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stored {
    pub(crate) queue: i32,
    pub(crate) offset: i64,
    pub(crate) name: Name,
}

/// Run, connection and number of a message; its body begins with it.
pub(crate) type Name = (u32, u32, u64);

/// Bytes of a name in a body.
pub(crate) const NAME_BYTES: usize = 16;

/// Reads a name from a body.
pub(crate) fn name_of(body: &[u8]) -> Option<Name> {
    let mut bytes = body.get(..NAME_BYTES)?;
    Some((bytes.get_u32(), bytes.get_u32(), bytes.get_u64()))
}

/// What became of a load.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) stored: Vec<Stored>,
    pub(crate) sent: u64,
    pub(crate) busy: u64,
    /// Of those, the ones refused for waiting too long unread, and how long that was by the server's own account; the
    /// others are refused for what waits for the disk.
    pub(crate) late: Vec<Duration>,
    /// Answers that are neither success nor SYSTEM_BUSY, by code.
    pub(crate) others: BTreeMap<i32, u64>,
    /// Successes of each window.
    pub(crate) windows: Vec<u64>,
    /// From the writing of a send to its refusal, of those sent after the first windows.
    pub(crate) refusals: Vec<Duration>,
}

impl Outcome {
    fn add(&mut self, mut other: Self) {
        self.stored.append(&mut other.stored);
        self.refusals.append(&mut other.refusals);
        self.sent += other.sent;
        self.busy += other.busy;
        self.late.append(&mut other.late);
        other.others.into_iter().for_each(|(code, count)| *self.others.entry(code).or_default() += count);
        self.windows.resize(self.windows.len().max(other.windows.len()), 0);
        self.windows.iter_mut().zip(other.windows).for_each(|(sum, one)| *sum += one);
    }

    /// Successes a second: the median of the windows in which the load was complete.
    pub(crate) fn goodput(&self, load: &Load) -> f64 {
        let whole = usize::try_from(load.time.as_millis() / WINDOW.as_millis()).unwrap_or(0);
        let mut counted: Vec<u64> = self.windows.iter().take(whole).skip(WINDOWS_SKIPPED).copied().collect();
        counted.sort_unstable();
        counted.get(counted.len() / 2).copied().unwrap_or(0) as f64 / WINDOW.as_secs_f64()
    }
}

/// Runs a load until its time is over and every send was answered.
pub(crate) async fn run(port: u16, load: Load) -> Result<Outcome> {
    let stop = Arc::new(AtomicBool::new(false));
    let mut tasks = JoinSet::new();
    for nth in 0..load.connections {
        let socket = TcpStream::connect(("127.0.0.1", port)).await.context("cannot connect")?;
        socket.set_nodelay(true)?;
        let line = Line::new(socket, load, u32::try_from(nth)?)?;
        tasks.spawn(line.run(Arc::clone(&stop)));
    }
    sleep(load.time).await;
    stop.store(true, Ordering::Relaxed);
    let mut outcome = Outcome::default();
    while let Some(line) = tasks.join_next().await {
        outcome.add(line.context("a connection of the load panicked")??);
    }
    Ok(outcome)
}

/// The place of a send under way.
#[derive(Debug, Clone, Copy)]
struct Slot {
    number: u64,
    since: Instant,
}

/// One connection of a load.
struct Line {
    socket: TcpStream,
    load: Load,
    connection: u32,
    /// The request, one for each queue, and where the number of the request stands in it.
    frames: Vec<BytesMut>,
    opaque_at: usize,
    out: BytesMut,
    unread: BytesMut,
    /// Sends under way; a request's number is its slot's.
    slots: Vec<Slot>,
    free: Vec<usize>,
    began: Instant,
    outcome: Outcome,
}

impl Line {
    fn new(socket: TcpStream, load: Load, connection: u32) -> Result<Self> {
        let frames = (0..QUEUES).map(|queue| frame_of(queue, 0)).collect::<Result<Vec<_>>>()?;
        let other = frame_of(0, i32::MAX)?;
        let differ = frames[0].iter().zip(&other).position(|(one, other)| one != other);
        let now = Instant::now();
        Ok(Self {
            socket,
            load,
            connection,
            frames,
            opaque_at: differ.context("no number in a frame")?,
            out: BytesMut::with_capacity(2 * WRITE_BYTES),
            unread: BytesMut::with_capacity(2 * READ_BYTES),
            slots: vec![Slot { number: 0, since: now }; load.in_flight],
            free: (0..load.in_flight).rev().collect(),
            began: now,
            outcome: Outcome::default(),
        })
    }

    async fn run(mut self, stop: Arc<AtomicBool>) -> Result<Outcome> {
        while !stop.load(Ordering::Relaxed) {
            self.fill()?;
            self.turn().await?;
        }
        let rest = async {
            while self.free.len() < self.slots.len() {
                self.turn().await?;
            }
            anyhow::Ok(())
        };
        timeout(LAST_ANSWER_MAX, rest).await.context("a send was never answered")??;
        Ok(self.outcome)
    }

    /// Makes sends until all slots are taken or there is enough to write.
    fn fill(&mut self) -> Result<()> {
        while self.out.len() < WRITE_BYTES {
            let Some(slot) = self.free.pop() else { return Ok(()) };
            let number = self.outcome.sent;
            self.slots[slot] = Slot { number, since: Instant::now() };
            let frame = &mut self.frames[usize::try_from(number)? % QUEUES];
            let body = frame.len() - BODY_BYTES;
            frame[self.opaque_at..self.opaque_at + 4].copy_from_slice(&u32::try_from(slot)?.to_be_bytes());
            frame[body..body + 4].copy_from_slice(&self.load.run.to_be_bytes());
            frame[body + 4..body + 8].copy_from_slice(&self.connection.to_be_bytes());
            frame[body + 8..body + NAME_BYTES].copy_from_slice(&number.to_be_bytes());
            self.out.extend_from_slice(frame);
            self.outcome.sent += 1;
        }
        Ok(())
    }

    /// Waits for the socket, writes and reads once each.
    async fn turn(&mut self) -> Result<()> {
        let interest = if self.out.is_empty() { Interest::READABLE } else { Interest::READABLE | Interest::WRITABLE };
        let ready = self.socket.ready(interest).await?;
        if ready.is_writable() && !self.out.is_empty() {
            match self.socket.try_write(&self.out) {
                Ok(bytes) => self.out.advance(bytes),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error).context("the server ended a connection of the load"),
            }
        }
        if ready.is_readable() {
            self.unread.reserve(READ_BYTES);
            match self.socket.try_read_buf(&mut self.unread) {
                Ok(0) => bail!("the server ended a connection of the load"),
                Ok(_) => self.take_answers()?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error).context("the server ended a connection of the load"),
            }
        }
        Ok(())
    }

    fn take_answers(&mut self) -> Result<()> {
        let now = Instant::now();
        while let Check::Complete { bytes } = frame::check(&self.unread)? {
            let answer = Command::decode(self.unread.split_to(bytes).freeze())?;
            self.take(&answer, now)?;
        }
        Ok(())
    }

    fn take(&mut self, answer: &Command, now: Instant) -> Result<()> {
        let at = usize::try_from(answer.opaque).unwrap_or(usize::MAX);
        let slot = *self.slots.get(at).with_context(|| format!("nobody asked for {answer:?}"))?;
        self.free.push(at);
        match answer.code {
            0 => {
                let place = number(answer, "queueId").zip(number(answer, "queueOffset"));
                let (queue, offset) = place.with_context(|| format!("no place in {answer:?}"))?;
                let name = (self.load.run, self.connection, slot.number);
                self.outcome.stored.push(Stored { queue: i32::try_from(queue)?, offset, name });
                let window = usize::try_from((now - self.began).as_millis() / WINDOW.as_millis())?;
                self.outcome.windows.resize(self.outcome.windows.len().max(window + 1), 0);
                self.outcome.windows[window] += 1;
            }
            SYSTEM_BUSY => {
                self.outcome.busy += 1;
                self.outcome.late.extend(answer.remark.as_deref().and_then(waited));
                if slot.since - self.began > WINDOW * u32::try_from(WINDOWS_SKIPPED)? {
                    self.outcome.refusals.push(now - slot.since);
                }
            }
            other => {
                *self.outcome.others.entry(other).or_default() += 1;
            }
        }
        Ok(())
    }
}

/// How long a send lay unread before it was refused, from the words of the refusal.
fn waited(remark: &str) -> Option<Duration> {
    let (_, rest) = remark.split_once("waited ")?;
    rest.split_whitespace().next()?.parse().ok().map(Duration::from_millis)
}

/// A send as bytes, in the binary form, whose numbers have a fixed width.
fn frame_of(queue: usize, opaque: i32) -> Result<BytesMut> {
    let queue = Queue::new("flood", i32::try_from(queue)?);
    let command = Command { opaque, ..Draft::new(&queue, "", vec![b'x'; BODY_BYTES]).command(HeaderCodec::Binary) };
    let mut bytes = BytesMut::new();
    command.encode(&mut bytes);
    ensure!(bytes.len() > BODY_BYTES, "no frame");
    Ok(bytes)
}
