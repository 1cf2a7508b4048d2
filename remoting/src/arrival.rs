//! How long requests have lain unread in the kernel: the one measure of overload that no queue of ours hides.
//!
//! Requests are handled as they are read, so a server that falls behind leaves them in its sockets. The kernel
//! stamps what arrives; the oldest unread byte is looked at without taking it. One look costs a system call of
//! half a microsecond, so a connection looks once per [`LOOK_EVERY`] and lets the result stand in between; what
//! was late is looked at again at the next read, so that a server that has caught up refuses nothing. What a
//! peer could not send yet, because the connection's window was full, has not arrived: its wait is the peer's.

use std::io;
use std::io::IoSliceMut;
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt::ReceiveTimestampns};
use nix::sys::time::{TimeSpec, TimeValLike as _};
use nix::time::{ClockId, clock_gettime};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::Instant;

/// How long a look stands. Much shorter than any wait that would be refused.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A wait longer than any that a client endures is a clock that was set meanwhile.
const BELIEVED_MAX: Duration = Duration::from_secs(300);

/// The wait of one connection's oldest unread byte.
#[derive(Debug)]
pub(crate) struct Arrivals {
    is_stamped: bool,
    looked: Option<Instant>,
    waited: Duration,
    /// This side does not read, because the peer does not take its answers.
    is_paused: bool,
    /// When it read again: what waited before that waited for the peer.
    resumed: Option<Instant>,
}

impl Arrivals {
    /// Has the kernel stamp what arrives at `socket` from now on; where it cannot, nothing ever waits.
    pub(crate) fn watch(socket: &TcpStream) -> Self {
        Self { is_stamped: setsockopt(socket, ReceiveTimestampns, &true).is_ok(), ..Self::unwatched() }
    }

    /// The peer's requests are answers that this side waits for, or their age does not matter.
    pub(crate) fn unwatched() -> Self {
        Self { is_stamped: false, looked: None, waited: Duration::ZERO, is_paused: false, resumed: None }
    }

    /// Nothing is read until the next look, and that is the peer's doing.
    pub(crate) fn pause(&mut self) {
        self.is_paused = true;
    }

    /// How long the next byte to be read has waited; `None` when there is none, or an earlier look stands.
    pub(crate) fn look(&mut self, socket: &TcpStream) -> Option<Duration> {
        if !self.is_stamped {
            return None;
        }
        let now = Instant::now();
        if std::mem::take(&mut self.is_paused) {
            (self.resumed, self.looked) = (Some(now), None);
        }
        if self.waited < LOOK_EVERY && self.looked.is_some_and(|looked| now - looked < LOOK_EVERY) {
            return None;
        }
        // Mostly nothing is there yet; what really goes wrong goes wrong with the read that follows, too.
        let Ok(stamp) = socket.try_io(Interest::READABLE, || oldest_stamp(socket)) else {
            // What comes next has not waited, whatever the last look said.
            return (std::mem::take(&mut self.waited) > Duration::ZERO).then_some(Duration::ZERO);
        };
        self.looked = Some(now);
        let read_for = self.resumed.map_or(Duration::MAX, |resumed| now - resumed);
        self.waited = stamp.and_then(since).unwrap_or_default().min(read_for);
        Some(self.waited)
    }
}

/// When the oldest unread byte arrived. Segments that the kernel has merged carry the time of the youngest,
/// so a wait is never overstated.
fn oldest_stamp(socket: &TcpStream) -> io::Result<Option<TimeSpec>> {
    let mut byte = [0];
    let mut room = [IoSliceMut::new(&mut byte)];
    let mut control = nix::cmsg_space!(TimeSpec);
    let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
    let seen = recvmsg::<()>(socket.as_raw_fd(), &mut room, Some(&mut control), flags)?;
    let stamp = seen
        .cmsgs()?
        .find_map(|message| if let ControlMessageOwned::ScmTimestampns(stamp) = message { Some(stamp) } else { None });
    Ok(stamp)
}

/// The time since a stamp of the kernel, by the clock that it stamps with. `None` when that clock was set.
fn since(stamp: TimeSpec) -> Option<Duration> {
    let now = clock_gettime(ClockId::CLOCK_REALTIME).ok()?;
    let waited = now.num_nanoseconds() - stamp.num_nanoseconds();
    let waited = Duration::from_nanos(u64::try_from(waited).ok()?);
    (waited <= BELIEVED_MAX).then_some(waited)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn the_oldest_unread_byte_tells_how_long_it_waits() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut arrivals = Arrivals::watch(&socket);
        assert_eq!(arrivals.look(&socket), None, "nothing is there");

        // The kernel begins to stamp shortly after it was asked to.
        tokio::time::sleep(Duration::from_millis(50)).await;
        peer.write_all(b"old").await.unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        socket.readable().await.unwrap();
        let waited = arrivals.look(&socket).unwrap();
        assert!((Duration::from_millis(290)..Duration::from_secs(10)).contains(&waited), "{waited:?}");

        let waited = arrivals.look(&socket).expect("what was late is looked at again");
        assert!(waited >= Duration::from_millis(290), "{waited:?}");

        let mut taken = [0; 8];
        assert_eq!(socket.read(&mut taken).await.unwrap(), 3, "looking takes nothing");
        peer.write_all(b"new").await.unwrap();
        socket.readable().await.unwrap();
        arrivals.pause();
        assert_eq!(arrivals.look(&socket), Some(Duration::ZERO), "the peer had it wait");
        arrivals.resumed = None;
        arrivals.looked = None;
        let waited = arrivals.look(&socket).unwrap();
        assert!(waited < Duration::from_millis(290), "{waited:?}");
        if waited < LOOK_EVERY {
            assert_eq!(arrivals.look(&socket), None, "the look stands");
        }
    }
}
