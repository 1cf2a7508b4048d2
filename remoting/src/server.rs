//! A listening port: it accepts connections and gives each a task.
//!
//! Owns the listener and the end of the server. What is said on a connection is the pump's.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use thiserror::Error;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::sleep;
use tracing::warn;

use crate::arrival::Arrivals;
use crate::connection::{Connection, Ends};
use crate::deadline::Patience;
use crate::figures::Figures;
use crate::handler::Handler;
use crate::inbox::Inbox;
use crate::limits::{
    ACCEPT_PAUSE_MAX, CONNECTIONS_MAX, CONNECTIONS_PER_ADDRESS_MAX, DRAIN_MAX, FIRST_FRAME_MAX, HALF_FRAME_MAX,
    IDLE_MAX, LINGER_MAX, READ_BUFFERS_BYTES_MAX, UNACCEPTED_CONNECTIONS_MAX, UNSENT_BYTES_MAX, WRITE_STALL_MAX,
};
use crate::pump::Pump;
use crate::roster::{Attended, Roster};

/// What a server allows its connections. The defaults are those of [`crate::limits`], with their reasons.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerOptions {
    /// Connections at the same time.
    pub connections_max: usize,
    /// Connections of one address at the same time; loopback is free.
    pub connections_per_address_max: usize,
    /// Bytes of all read buffers together, above which the oldest unfinished large frames are given up.
    pub read_buffers_bytes_max: usize,
    /// Bytes of all answers that peers have not read, above which those peers are not served on.
    pub unsent_bytes_max: usize,
    /// Time without a byte in either direction.
    pub idle_max: Duration,
    /// Time until the first byte of a new connection.
    pub first_frame_max: Duration,
    /// Time for the rest of a frame that has begun.
    pub half_frame_max: Duration,
    /// Time in which a peer must read some of what waits for it.
    pub write_stall_max: Duration,
    /// Time for the last answers when the server stops.
    pub drain_max: Duration,
    /// Whether this is the fast port, see [`Connection::is_fast_port`].
    pub fast_port: bool,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            connections_max: CONNECTIONS_MAX,
            connections_per_address_max: CONNECTIONS_PER_ADDRESS_MAX,
            read_buffers_bytes_max: READ_BUFFERS_BYTES_MAX,
            unsent_bytes_max: UNSENT_BYTES_MAX,
            idle_max: IDLE_MAX,
            first_frame_max: FIRST_FRAME_MAX,
            half_frame_max: HALF_FRAME_MAX,
            write_stall_max: WRITE_STALL_MAX,
            drain_max: DRAIN_MAX,
            fast_port: false,
        }
    }
}

impl ServerOptions {
    fn patience(&self) -> Patience {
        Patience {
            idle: Some(self.idle_max),
            first_frame: Some(self.first_frame_max),
            half_frame: self.half_frame_max,
            write_stall: self.write_stall_max,
            drain: self.drain_max,
        }
    }
}

/// Why a port cannot be listened on, and what to do about it.
#[derive(Debug, Error)]
pub enum BindError {
    /// Another program has the port.
    #[error("cannot listen on {address}: the port is in use; stop the program that has it, or choose another port")]
    InUse {
        /// What was asked for.
        address: SocketAddr,
    },
    /// The address belongs to no interface of this machine.
    #[error("cannot listen on {address}: this machine has no such address; use one of its own, or 0.0.0.0 for all")]
    NotHere {
        /// What was asked for.
        address: SocketAddr,
    },
    /// Ports below 1024 need a privilege.
    #[error("cannot listen on {address}: not permitted; choose a port above 1023, or give the program the privilege")]
    NotPermitted {
        /// What was asked for.
        address: SocketAddr,
    },
    /// Anything else.
    #[error("cannot listen on {address}: {source}")]
    Other {
        /// What was asked for.
        address: SocketAddr,
        /// What the operating system says.
        source: io::Error,
    },
}

impl BindError {
    fn new(address: SocketAddr, source: io::Error) -> Self {
        let kind = source.kind();
        if kind == io::ErrorKind::AddrInUse {
            Self::InUse { address }
        } else if kind == io::ErrorKind::AddrNotAvailable {
            Self::NotHere { address }
        } else if kind == io::ErrorKind::PermissionDenied {
            Self::NotPermitted { address }
        } else {
            Self::Other { address, source }
        }
    }
}

/// Numbers connections of all servers and clients of the process.
static CONNECTION_IDS: AtomicU64 = AtomicU64::new(1);

pub(crate) fn next_connection_id() -> u64 {
    CONNECTION_IDS.fetch_add(1, Relaxed)
}

/// A port that is listened on; [`Server::run`] serves it.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    local: SocketAddr,
    options: ServerOptions,
    roster: Arc<Roster>,
}

impl Server {
    /// Takes the port. Connections queue in the kernel until [`Server::run`].
    ///
    /// # Errors
    /// See [`BindError`].
    pub async fn bind(address: SocketAddr, options: ServerOptions) -> Result<Self, BindError> {
        let listen = || {
            let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
            // A restarted server gets its port although old connections are not quite over.
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            let listener = socket.listen(UNACCEPTED_CONNECTIONS_MAX)?;
            let local = listener.local_addr()?;
            Ok((listener, local))
        };
        let (listener, local) = listen().map_err(|source| BindError::new(address, source))?;
        let figures = Figures::new(options.read_buffers_bytes_max, options.unsent_bytes_max);
        let roster = Roster::new(options.connections_max, options.connections_per_address_max, figures);
        Ok(Self { listener, local, options, roster: Arc::new(roster) })
    }

    /// The address that is listened on, its port filled in when 0 was asked for.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// The server's counters; they stay readable when the server is gone.
    #[must_use]
    pub fn figures(&self) -> Arc<Figures> {
        Arc::clone(&self.roster.figures)
    }

    /// Serves until `shutdown` is ready. Then nothing is accepted or read any more, and answers that
    /// requests are owed may leave for `drain_max`, after which every connection is over.
    pub async fn run<H: Handler>(self, handler: Arc<H>, shutdown: impl Future<Output = ()> + Send + 'static) {
        let Self { listener, options, roster, .. } = self;
        let mut shutdown = pin!(shutdown);
        let mut pause = ACCEPT_PAUSE_MAX / 100;
        loop {
            let accepted = tokio::select! {
                () = &mut shutdown => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((socket, peer)) => {
                    pause = ACCEPT_PAUSE_MAX / 100;
                    attend(socket, peer, &options, &handler, &roster);
                }
                Err(error) => {
                    // Mostly no descriptor is left; connections that end give theirs back.
                    warn!(%error, "a connection could not be accepted");
                    tokio::select! {
                        () = &mut shutdown => break,
                        () = sleep(pause) => {}
                    }
                    pause = (pause * 2).min(ACCEPT_PAUSE_MAX);
                }
            }
        }
        drop(listener);
        roster.drain();
        // Connections end by themselves; one whose handler hangs is left behind.
        let last = options.drain_max + LINGER_MAX + Duration::from_secs(1);
        if tokio::time::timeout(last, roster.emptied()).await.is_err() {
            warn!("some connections did not end; their handlers hang");
        }
    }
}

fn attend<H: Handler>(
    socket: TcpStream,
    peer: SocketAddr,
    options: &ServerOptions,
    handler: &Arc<H>,
    roster: &Arc<Roster>,
) {
    // A socket without a local address was reset while it waited to be accepted.
    let Ok(local) = socket.local_addr() else { return };
    // Answers are written in one piece already; waiting for more would only delay them.
    let _ = socket.set_nodelay(true);
    let ends = Ends { peer, local, fast_port: options.fast_port };
    let connection = Arc::new(Connection::new(next_connection_id(), ends, &roster.figures));
    if let Err(why) = roster.admit(&connection) {
        roster.figures.count_refused();
        roster.complaints.refused(peer, why);
        return;
    }
    let attended = Attended::begin(Arc::clone(&connection), Arc::clone(handler), Arc::clone(roster));
    let arrivals = Arrivals::watch(&socket);
    let parts = (socket, arrivals, Inbox::of_requests());
    let pump = Pump::new(parts, connection, Arc::clone(handler), roster, options.patience());
    tokio::spawn(async move {
        let ending = pump.run().await;
        attended.end(ending);
    });
}
