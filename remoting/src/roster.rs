//! The connections of one server.
//!
//! Owns who is connected, the limits on how many, and the exactly-once `closed` of every connection. Its
//! lock is held for map operations when connections come and go, never while one speaks.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tracing::error;

use crate::closing::{CloseReason, Complaints, Ending};
use crate::connection::Connection;
use crate::figures::Figures;
use crate::handler::Handler;
use crate::large_frames::LargeFrames;

#[derive(Debug)]
pub(crate) struct Roster {
    connections_max: usize,
    per_address_max: usize,
    present: Mutex<Present>,
    emptied: Notify,
    pub(crate) figures: Arc<Figures>,
    pub(crate) complaints: Complaints,
    pub(crate) large_frames: Arc<LargeFrames>,
}

#[derive(Debug, Default)]
struct Present {
    connections: HashMap<u64, Weak<Connection>>,
    addresses: HashMap<IpAddr, usize>,
}

impl Roster {
    pub(crate) fn new(connections_max: usize, per_address_max: usize, figures: Figures) -> Self {
        Self {
            connections_max,
            per_address_max,
            present: Mutex::default(),
            emptied: Notify::new(),
            figures: Arc::new(figures),
            complaints: Complaints::new(),
            large_frames: Arc::default(),
        }
    }

    /// Takes a connection in, unless there are too many.
    pub(crate) fn admit(&self, connection: &Arc<Connection>) -> Result<(), &'static str> {
        let counted = counted_address(connection.peer());
        let mut present = self.present.lock();
        if present.connections.len() >= self.connections_max {
            return Err("the server has its limit of connections");
        }
        if let Some(address) = counted {
            let of_address = present.addresses.entry(address).or_default();
            if *of_address >= self.per_address_max {
                return Err("the address has its limit of connections");
            }
            *of_address += 1;
        }
        present.connections.insert(connection.id(), Arc::downgrade(connection));
        self.figures.count_accepted();
        Ok(())
    }

    fn leave(&self, connection: &Connection) {
        let mut present = self.present.lock();
        present.connections.remove(&connection.id());
        if let Some(address) = counted_address(connection.peer())
            && let Some(of_address) = present.addresses.get_mut(&address)
        {
            *of_address -= 1;
            if *of_address == 0 {
                present.addresses.remove(&address);
            }
        }
        if present.connections.is_empty() {
            self.emptied.notify_waiters();
        }
    }

    /// Asks every connection to end once its answers have left.
    pub(crate) fn drain(&self) {
        let all: Vec<_> = self.present.lock().connections.values().filter_map(Weak::upgrade).collect();
        for connection in all {
            connection.drain();
        }
    }

    /// Waits until no connection is left.
    pub(crate) async fn emptied(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.present.lock().connections.is_empty() {
                return;
            }
            emptied.await;
        }
    }
}

/// What a peer's connections are counted under: its address, or its /64 with IPv6, because one host has
/// all of that. Loopback is not counted.
fn counted_address(peer: SocketAddr) -> Option<IpAddr> {
    let address = peer.ip().to_canonical();
    match address {
        address if address.is_loopback() => None,
        IpAddr::V4(_) => Some(address),
        IpAddr::V6(address) => Some(IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)))),
    }
}

/// A connection between `opened` and `closed`. However its task ends, also with its runtime, dropping this
/// tells the handler once.
pub(crate) struct Attended<H: Handler + ?Sized> {
    connection: Arc<Connection>,
    handler: Arc<H>,
    roster: Arc<Roster>,
    ending: Ending,
}

impl<H: Handler + ?Sized> Attended<H> {
    pub(crate) fn begin(connection: Arc<Connection>, handler: Arc<H>, roster: Arc<Roster>) -> Self {
        guarded(&connection, || handler.opened(&connection));
        Self { connection, handler, roster, ending: Ending::plain(CloseReason::Shutdown) }
    }

    pub(crate) fn end(mut self, ending: Ending) {
        self.ending = ending;
    }
}

impl<H: Handler + ?Sized> Drop for Attended<H> {
    fn drop(&mut self) {
        self.connection.end();
        guarded(&self.connection, || self.handler.closed(&self.connection));
        self.roster.complaints.ended(self.connection.peer(), &self.ending);
        self.roster.figures.count_ended(self.ending.reason);
        self.roster.leave(&self.connection);
    }
}

fn guarded(connection: &Connection, tell: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(tell)).is_err() {
        error!(peer = %connection.peer(), "a handler panicked when a connection came or went");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::Ends;

    fn unbounded() -> Figures {
        Figures::new(usize::MAX, usize::MAX)
    }

    fn connection(id: u64, peer: &str) -> Arc<Connection> {
        let peer = peer.parse().unwrap();
        Arc::new(Connection::new(id, Ends { peer, local: peer, fast_port: false }, &unbounded()))
    }

    #[test]
    fn an_address_has_its_limit_and_loopback_has_none() {
        let roster = Roster::new(100, 2, unbounded());
        let far: Vec<_> = (0..3).map(|id| connection(id, "192.0.2.1:100")).collect();
        assert_eq!(roster.admit(&far[0]), Ok(()));
        assert_eq!(roster.admit(&far[1]), Ok(()));
        assert!(roster.admit(&far[2]).is_err());
        assert_eq!(roster.admit(&connection(3, "192.0.2.2:100")), Ok(()), "another address is not concerned");
        roster.leave(&far[0]);
        assert_eq!(roster.admit(&far[2]), Ok(()), "a place came free");
        for id in 10..20 {
            assert_eq!(roster.admit(&connection(id, "127.0.0.1:100")), Ok(()));
            assert_eq!(roster.admit(&connection(id + 10, "[::ffff:127.0.0.1]:100")), Ok(()));
        }
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one_address() {
        let roster = Roster::new(100, 1, unbounded());
        assert_eq!(roster.admit(&connection(1, "[2001:db8::1]:1")), Ok(()));
        assert!(roster.admit(&connection(2, "[2001:db8::2]:1")).is_err());
        assert_eq!(roster.admit(&connection(3, "[2001:db8:0:1::1]:1")), Ok(()));
    }

    #[test]
    fn all_connections_have_a_limit_too() {
        let roster = Roster::new(1, 10, unbounded());
        let first = connection(1, "127.0.0.1:1");
        assert_eq!(roster.admit(&first), Ok(()));
        assert!(roster.admit(&connection(2, "127.0.0.1:2")).is_err());
        roster.leave(&first);
        assert_eq!(roster.admit(&connection(2, "127.0.0.1:2")), Ok(()));
        assert_eq!(roster.present.lock().addresses.len(), 0);
    }
}
