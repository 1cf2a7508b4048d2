//! What moving messages costs at least on this machine: loopback sockets, copies and checksums, nothing else.
//!
//! Owns the probes of the network. A probe has a serving thread, whose CPU counts, and an asking thread, each
//! on a core of its own. It knows no header, no topic and no index: what a broker costs beyond it is the broker's.

use std::io::{ErrorKind, IoSlice, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use rustix::thread::{CpuSet, sched_setaffinity};
use rustix::time::{ClockId, Timespec, clock_gettime};
use tokio::time::Instant;

use super::wire::Poll;
use crate::exit::{Exit, Failure, OrFail as _, Outcome};
use crate::limits::{BENCH_FLOOR_LOG_BYTES, BENCH_READ_BYTES_MAX, BENCH_SPIN_MAX};

/// Bytes of a request: a body of 1 KiB and what a send's header has in RocketMQ's binary form.
const REQUEST_BYTES: usize = BODY_AT + BODY_BYTES;
const BODY_AT: usize = 190;
const BODY_BYTES: usize = 1_024;
/// Bytes of an answer.
const ANSWER_BYTES: usize = 120;
/// Bytes of a record beside its body.
const RECORD_HEAD_BYTES: usize = 88;
/// Bytes of an entry of RocketMQ's consume queue.
const ENTRY_BYTES: usize = 20;
/// Messages of one vectored write: a pull's answer.
const SLICES: usize = 32;

/// What a probe found.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cost {
    pub(super) messages: u64,
    pub(super) seconds: f64,
    /// CPU of the serving thread.
    pub(super) cpu_seconds: f64,
}

/// The cores of the serving and the asking thread.
pub(super) type Cores = (usize, usize);

fn pin(core: usize) -> Outcome {
    let mut set = CpuSet::new();
    if core >= CpuSet::MAX_CPU {
        return Err(Failure::new(Exit::Usage, format!("there is no core {core}")));
    }
    set.set(core);
    sched_setaffinity(None, &set).or_fail_with(Exit::Usage, format!("core {core} cannot be used"))
}

fn thread_cpu() -> f64 {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::ThreadCPUTime);
    tv_sec as f64 + tv_nsec as f64 * 1e-9
}

/// Runs both sides on threads of their own and gives what the serving one counted.
fn both(
    cores: Cores,
    serve: impl FnOnce() -> Outcome<(u64, f64)> + Send,
    ask: impl FnOnce() -> Outcome + Send,
) -> Outcome<Cost> {
    let began = Instant::now();
    let panicked = || Failure::new(Exit::Failed, "a probe's thread ended");
    let (served, asked) = thread::scope(|scope| {
        let server = scope.spawn(|| pin(cores.0).and_then(|()| serve()));
        let asker = scope.spawn(|| pin(cores.1).and_then(|()| ask()));
        (server.join(), asker.join())
    });
    asked.map_err(|_| panicked())??;
    let (messages, cpu_seconds) = served.map_err(|_| panicked())??;
    Ok(Cost { messages, seconds: began.elapsed().as_secs_f64(), cpu_seconds })
}

/// One end of a connection that carries pieces of one size.
struct Pipe {
    socket: TcpStream,
    buffer: Vec<u8>,
    filled: usize,
}

impl Pipe {
    fn new(socket: TcpStream) -> Outcome<Self> {
        let prepared = socket.set_nodelay(true).and_then(|()| socket.set_nonblocking(true));
        prepared.or_fail_with(Exit::Failed, "a loopback connection")?;
        Ok(Self { socket, buffer: vec![0; BENCH_READ_BYTES_MAX], filled: 0 })
    }

    /// Reads once and shows each whole piece; false when the other side has closed.
    fn read(&mut self, bytes: usize, mut each: impl FnMut(&[u8])) -> Outcome<bool> {
        match self.socket.read(&mut self.buffer[self.filled..]) {
            Ok(0) => return Ok(false),
            Ok(read) => self.filled += read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
            // An asker whose time is over leaves answers unread.
            Err(error) if has_gone(&error) => return Ok(false),
            Err(error) => return Err(Failure::new(Exit::Failed, format!("a loopback connection: {error}"))),
        }
        let whole = self.filled / bytes * bytes;
        self.buffer[..whole].chunks_exact(bytes).for_each(&mut each);
        self.buffer.copy_within(whole..self.filled, 0);
        self.filled -= whole;
        Ok(true)
    }

    /// Writes everything; what has no room is tried again.
    fn write(&mut self, mut bytes: &[u8]) -> Outcome {
        while !bytes.is_empty() {
            match self.socket.write(bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => thread::yield_now(),
                // The next read tells it.
                Err(error) if has_gone(&error) => return Ok(()),
                Err(error) => return Err(Failure::new(Exit::Failed, format!("a loopback connection: {error}"))),
            }
        }
        Ok(())
    }
}

fn has_gone(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
}

/// Connections over the loopback, both ends.
fn connect(count: usize) -> Outcome<(Vec<Pipe>, Vec<Pipe>)> {
    let cannot = "a loopback connection";
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).or_fail_with(Exit::Failed, cannot)?;
    let address = listener.local_addr().or_fail_with(Exit::Failed, cannot)?;
    let (mut near, mut far) = (Vec::new(), Vec::new());
    for _ in 0..count {
        near.push(Pipe::new(TcpStream::connect(address).or_fail_with(Exit::Failed, cannot)?)?);
        far.push(Pipe::new(listener.accept().or_fail_with(Exit::Failed, cannot)?.0)?);
    }
    Ok((near, far))
}

/// Requests of 1 KiB in, each copied into a warm log with its checksum and an index entry; short answers out.
pub(super) fn echo(cores: Cores, connections: usize, in_flight: usize, time: Duration) -> Outcome<Cost> {
    let (askers, servers) = connect(connections)?;
    let log = warm_memory();
    both(cores, move || serve_echo(servers, log), move || ask_echo(askers, in_flight, time))
}

/// Memory whose pages were all written once, so that none is touched for the first time while it counts.
fn warm_memory() -> Vec<u8> {
    vec![1; BENCH_FLOOR_LOG_BYTES]
}

fn serve_echo(mut pipes: Vec<Pipe>, mut log: Vec<u8>) -> Outcome<(u64, f64)> {
    let mut poll = Poll::new()?;
    pipes.iter().enumerate().try_for_each(|(at, pipe)| poll.add(&pipe.socket, at))?;
    let (mut log_at, mut entries, mut out) = (0, vec![1_u8; 1024 * 1024], Vec::new());
    let (mut messages, mut open, mut ready) = (0_u64, pipes.len(), Vec::new());
    let began = thread_cpu();
    while open > 0 {
        poll.wait(BENCH_SPIN_MAX, &mut ready)?;
        for at in &ready {
            out.clear();
            let is_open = pipes[*at].read(REQUEST_BYTES, |request| {
                let body = &request[BODY_AT..];
                let sum = crc32fast::hash(body);
                if log_at + RECORD_HEAD_BYTES + BODY_BYTES > log.len() {
                    log_at = 0;
                }
                let record = &mut log[log_at..log_at + RECORD_HEAD_BYTES + BODY_BYTES];
                record[..RECORD_HEAD_BYTES].copy_from_slice(&request[..RECORD_HEAD_BYTES]);
                record[RECORD_HEAD_BYTES..].copy_from_slice(body);
                let entry = (messages as usize * ENTRY_BYTES) % (entries.len() - ENTRY_BYTES);
                entries[entry..entry + 8].copy_from_slice(&(log_at as u64).to_le_bytes());
                entries[entry + 8..entry + 12].copy_from_slice(&sum.to_le_bytes());
                log_at += RECORD_HEAD_BYTES + BODY_BYTES;
                out.extend_from_slice(&request[..ANSWER_BYTES]);
                messages += 1;
            })?;
            if !is_open {
                open -= 1;
                let _ = pipes[*at].socket.shutdown(std::net::Shutdown::Both);
                poll.remove(&pipes[*at].socket)?;
                continue;
            }
            pipes[*at].write(&out)?;
        }
    }
    Ok((messages, thread_cpu() - began))
}

fn ask_echo(mut pipes: Vec<Pipe>, in_flight: usize, time: Duration) -> Outcome {
    let mut poll = Poll::new()?;
    pipes.iter().enumerate().try_for_each(|(at, pipe)| poll.add(&pipe.socket, at))?;
    let requests = vec![7_u8; REQUEST_BYTES * in_flight];
    for pipe in &mut pipes {
        pipe.write(&requests)?;
    }
    let (began, mut ready) = (Instant::now(), Vec::new());
    while began.elapsed() < time {
        poll.wait(BENCH_SPIN_MAX, &mut ready)?;
        for at in &ready {
            let mut answers = 0;
            pipes[*at].read(ANSWER_BYTES, |_| answers += 1)?;
            pipes[*at].write(&requests[..answers * REQUEST_BYTES])?;
        }
    }
    Ok(())
}

/// Records of `bytes` bytes out of warm memory, 32 slices a vectored write, to a reader that drops them.
pub(super) fn writev(cores: Cores, bytes: usize, time: Duration) -> Outcome<Cost> {
    let (mut readers, mut writers) = connect(1)?;
    let (Some(mut reader), Some(mut writer)) = (readers.pop(), writers.pop()) else {
        return Err(Failure::new(Exit::Failed, "a loopback connection"));
    };
    let memory = warm_memory();
    let serve = move || {
        let cannot = "a loopback connection";
        writer.socket.set_nonblocking(false).or_fail_with(Exit::Failed, cannot)?;
        let (mut at, mut sent, began, began_cpu) = (0, 0_u64, Instant::now(), thread_cpu());
        while began.elapsed() < time {
            if at + SLICES * bytes > memory.len() {
                at = 0;
            }
            let slices: Vec<IoSlice<'_>> = memory[at..at + SLICES * bytes].chunks(bytes).map(IoSlice::new).collect();
            sent += writer.socket.write_vectored(&slices).or_fail_with(Exit::Failed, cannot)? as u64;
            at += SLICES * bytes;
        }
        Ok((sent / bytes as u64, thread_cpu() - began_cpu))
    };
    let ask = move || {
        reader.socket.set_nonblocking(false).or_fail_with(Exit::Failed, "a loopback connection")?;
        // The writer's end closes the stream.
        while reader.read(1, |_| {})? {}
        Ok(())
    };
    both(cores, serve, ask)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_count_what_they_moved() {
        let time = Duration::from_millis(60);
        for cost in [echo((0, 0), 1, 8, time), echo((0, 0), 4, 1, time), writev((0, 0), 100, time)] {
            let Cost { messages, seconds, cpu_seconds } = cost.unwrap();
            assert!(messages > 10 && cpu_seconds > 0.0 && cpu_seconds < seconds, "{messages} {seconds} {cpu_seconds}");
        }
        assert!(echo((100_000, 0), 1, 1, time).is_err());
    }
}
