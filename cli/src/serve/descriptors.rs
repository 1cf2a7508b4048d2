//! File descriptors: as many as the system allows, shared out between the ports and the store.
//!
//! Sockets and files come out of one number. Connections that took all of it would keep the store from
//! opening its next segment, so the ports take no more than leaves the store its part.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::connections::Connections;
use crate::limits::{CONNECTIONS_MIN, RESERVED_DESCRIPTORS};

/// The descriptors that this process may have open; `None` is without a bound.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Descriptors(Option<u64>);

/// What each port takes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) connections: Connections,
    /// What an operator is told when it is less than was wanted.
    pub(crate) shortage: Option<String>,
}

impl Descriptors {
    /// Raises the soft limit, which is 1,024 on most systems, to the hard one, which needs no privilege.
    pub(crate) fn raise() -> Self {
        let now = getrlimit(Resource::Nofile);
        if now.current == now.maximum {
            return Self(now.current);
        }
        let raised = Rlimit { current: now.maximum, maximum: now.maximum };
        match setrlimit(Resource::Nofile, raised) {
            Ok(()) => Self(now.maximum),
            Err(error) => {
                tracing::warn!(%error, "the limit of file descriptors could not be raised");
                Self(now.current)
            }
        }
    }

    /// What each of `ports` may take of the `wanted` connections.
    pub(crate) fn share(self, wanted: Connections, ports: u64) -> Share {
        let Some(limit) = self.0 else { return Share { connections: wanted, shortage: None } };
        let left = limit - RESERVED_DESCRIPTORS.min(limit / 2);
        let share = usize::try_from(left / ports).unwrap_or(usize::MAX).max(CONNECTIONS_MIN);
        let shortage = (share < wanted.max).then(|| {
            let enough = RESERVED_DESCRIPTORS.saturating_add(ports.saturating_mul(wanted.max as u64));
            format!(
                "only {limit} file descriptors are allowed, so that each port takes at most {share} connections and \
                 not {}; allow {enough} or more: ulimit -n before the start, LimitNOFILE= of a systemd unit, --ulimit \
                 nofile= of a container",
                wanted.max
            )
        });
        Share { connections: Connections { max: wanted.max.min(share), ..wanted }, shortage }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_leave_the_store_its_descriptors() {
        let wanted = Connections { max: 20_000, per_address_max: 7 };
        let share = |limit, ports| Descriptors(limit).share(wanted, ports).connections;
        assert_eq!(share(None, 3), wanted);
        assert_eq!(share(Some(RESERVED_DESCRIPTORS + 3 * 20_000), 3), wanted, "the advice is enough");
        assert_eq!(share(Some(RESERVED_DESCRIPTORS + 3_000), 3), Connections { max: 1_000, per_address_max: 7 });
        assert_eq!((share(Some(1_024), 3).max, share(Some(256), 3).max), (170, CONNECTIONS_MIN));
        assert_eq!(
            Descriptors(Some(1_024)).share(Connections { max: 5, ..wanted }, 3).connections.max,
            5,
            "never more than wanted"
        );
    }
}
