//! The client's side of a conversation: connect, ask, wait.
//!
//! Owns making connections and their end when the last handle goes. Reconnecting is the caller's decision.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use strata_protocol::code::ResponseCode;
use strata_protocol::command::Command;
use strata_protocol::reply::Reply;
use thiserror::Error;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout, timeout_at};

use crate::arrival::Arrivals;
use crate::connection::{CallError, Connection, Ends};
use crate::deadline::Patience;
use crate::figures::Figures;
use crate::handler::{Answer, Handler};
use crate::inbox::Inbox;
use crate::limits::{DRAIN_MAX, HALF_FRAME_MAX, WRITE_STALL_MAX};
use crate::pump::Pump;
use crate::roster::{Attended, Roster};
use crate::server::next_connection_id;

/// Why a server cannot be connected to.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The text is no `host:port`, or the host's name has no address.
    #[error("{address} cannot be resolved: {source}")]
    Unresolved {
        /// What was asked for.
        address: String,
        /// What the resolver says.
        source: io::Error,
    },
    /// No address of the host takes the connection.
    #[error("cannot connect to {address}: {source}")]
    Unreachable {
        /// What was asked for.
        address: String,
        /// What the operating system says, of the last address that was tried.
        source: io::Error,
    },
    /// It took too long.
    #[error("{address} did not take the connection within {} ms", timeout.as_millis())]
    Timeout {
        /// What was asked for.
        address: String,
        /// How long was waited.
        timeout: Duration,
    },
}

/// A connection to a server. Clones share it; it closes when the last one goes.
#[derive(Debug, Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    connection: Arc<Connection>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.connection.close();
    }
}

/// Answers a server's requests for a client that expects none.
struct Deaf;

impl Handler for Deaf {
    fn handle(&self, request: Command, _connection: &Arc<Connection>) -> Answer {
        let remark = format!(" request type {} not supported", request.code);
        Answer::Now(Reply::refusal(ResponseCode::RequestCodeNotSupported, remark))
    }
}

impl Client {
    /// Connects to `address`, which is `host:port`. Requests of the server are answered as not supported.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn connect(address: &str, timeout: Duration) -> Result<Self, ConnectError> {
        Self::connect_with(address, timeout, Arc::new(Deaf)).await
    }

    /// Connects to `address`; `handler` takes the requests that the server sends.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn connect_with<H>(address: &str, timeout: Duration, handler: Arc<H>) -> Result<Self, ConnectError>
    where
        H: Handler + ?Sized,
    {
        let socket = dial(address, timeout).await?;
        // Requests are written as soon as they are made.
        let _ = socket.set_nodelay(true);
        let ends = |socket: &TcpStream| -> io::Result<Ends> {
            Ok(Ends { peer: socket.peer_addr()?, local: socket.local_addr()?, fast_port: false })
        };
        let ends = ends(&socket).map_err(|source| ConnectError::Unreachable { address: address.to_owned(), source })?;
        // A roster of one: it keeps `closed` exact here as well.
        let roster = Arc::new(Roster::new(1, 1, Figures::new(usize::MAX, usize::MAX)));
        let connection = Arc::new(Connection::new(next_connection_id(), ends, &roster.figures));
        let patience = Patience {
            idle: None,
            first_frame: None,
            half_frame: HALF_FRAME_MAX,
            write_stall: WRITE_STALL_MAX,
            drain: DRAIN_MAX,
        };
        let pump = Pump::new(
            (socket, Arrivals::unwatched(), Inbox::of_answers()),
            Arc::clone(&connection),
            Arc::clone(&handler),
            &roster,
            patience,
        );
        let attended = Attended::begin(Arc::clone(&connection), handler, roster);
        tokio::spawn(async move {
            let ending = pump.run().await;
            attended.end(ending);
        });
        Ok(Self { shared: Arc::new(Shared { connection }) })
    }

    /// Sends a request and waits for its answer, whatever the answer's code is. Any number of requests may
    /// be under way at the same time; `opaque` is chosen here.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn call(&self, command: Command, timeout: Duration) -> Result<Command, CallError> {
        self.shared.connection.call(command, timeout).await
    }

    /// Sends a one-way request. That it was taken does not say that it arrived.
    ///
    /// # Errors
    /// [`CallError::Closed`] or [`CallError::Busy`].
    pub async fn notify(&self, command: Command) -> Result<(), CallError> {
        self.shared.connection.tell(command)
    }

    /// The server's address.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.shared.connection.peer()
    }

    /// This side's address.
    #[must_use]
    pub fn local(&self) -> SocketAddr {
        self.shared.connection.local()
    }

    /// Whether requests can still be sent.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.shared.connection.is_open()
    }

    /// Closes the connection for all clones, once what was sent so far has left.
    pub fn close(&self) {
        self.shared.connection.close();
    }
}

async fn dial(address: &str, patience: Duration) -> Result<TcpStream, ConnectError> {
    let deadline = Instant::now() + patience;
    let late = || ConnectError::Timeout { address: address.to_owned(), timeout: patience };
    let resolved = timeout_at(deadline, lookup_host(address)).await.map_err(|_| late())?;
    let addresses = resolved.map_err(|source| ConnectError::Unresolved { address: address.to_owned(), source })?;
    let unreachable = |source| ConnectError::Unreachable { address: address.to_owned(), source };
    dial_any(&addresses.collect::<Vec<_>>(), deadline).await.map_err(|last| last.map_or_else(late, unreachable))
}

/// Connects to the first candidate that takes the connection. Each has its share of the time that is left, so
/// that a dead one leaves time for the others. Gives the last failure; `None` when that was lateness.
async fn dial_any(candidates: &[SocketAddr], deadline: Instant) -> Result<TcpStream, Option<io::Error>> {
    let mut last = Some(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
    let mut left = u32::try_from(candidates.len()).unwrap_or(u32::MAX);
    for candidate in candidates {
        let share = deadline.saturating_duration_since(Instant::now()) / left;
        left -= 1;
        match timeout(share, TcpStream::connect(candidate)).await {
            Ok(Ok(socket)) => return Ok(socket),
            Ok(Err(error)) => last = Some(error),
            Err(_) => last = None,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::{TcpListener, TcpSocket};

    #[tokio::test]
    async fn an_address_that_never_answers_leaves_time_for_the_next() {
        let dead = TcpSocket::new_v4().unwrap();
        dead.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let dead = dead.listen(1).unwrap();
        let (dead_address, patience) = (dead.local_addr().unwrap(), Duration::from_millis(200));
        // A listener that accepts nothing lets further connections wait once its backlog is full.
        let mut waiting = Vec::new();
        while let Ok(connected) = timeout(patience, TcpStream::connect(dead_address)).await {
            waiting.push(connected.unwrap());
        }
        let alive = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let alive = alive.local_addr().unwrap();
        let deadline = Instant::now() + Duration::from_secs(2);
        let socket = dial_any(&[dead_address, alive], deadline).await.unwrap();
        assert_eq!(socket.peer_addr().unwrap(), alive);
        let late = dial_any(&[dead_address], Instant::now() + patience).await.unwrap_err();
        assert!(late.is_none(), "{late:?}");
    }
}
