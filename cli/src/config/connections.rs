//! How many connections a port takes: the two keys that brokers and name servers share.
//!
//! RocketMQ has no such keys. The names follow its `serverChannelMaxIdleTimeSeconds`.

use strata_remoting::limits::{CONNECTIONS_MAX, CONNECTIONS_PER_ADDRESS_MAX};

use super::values::number;
use super::{Key, Role};
use crate::limits::CONNECTIONS_WANTED_MAX;

/// The bounds of one port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Connections {
    pub(crate) max: usize,
    /// Loopback is free.
    pub(crate) per_address_max: usize,
}

impl Default for Connections {
    fn default() -> Self {
        Self { max: CONNECTIONS_MAX, per_address_max: CONNECTIONS_PER_ADDRESS_MAX }
    }
}

/// A draft that holds such bounds.
pub(crate) trait HasConnections: Role {
    /// The bounds while they are put together.
    fn connections(&self) -> &Connections;
    /// The bounds to change.
    fn connections_mut(&mut self) -> &mut Connections;
}

/// `serverMaxConnections`.
pub(super) const fn all<D: HasConnections>() -> Key<D> {
    Key {
        name: "serverMaxConnections",
        meaning: "connections that each of its ports takes",
        apply: |d, v| number(&mut d.connections_mut().max, v, 1..=CONNECTIONS_WANTED_MAX),
        show: |d| d.connections().max.to_string(),
    }
}

/// `serverMaxConnectionsPerAddress`.
pub(super) const fn of_one_address<D: HasConnections>() -> Key<D> {
    Key {
        name: "serverMaxConnectionsPerAddress",
        meaning: "those of one address; this machine's own are not counted",
        apply: |d, v| number(&mut d.connections_mut().per_address_max, v, 1..=CONNECTIONS_WANTED_MAX),
        show: |d| d.connections().per_address_max.to_string(),
    }
}
