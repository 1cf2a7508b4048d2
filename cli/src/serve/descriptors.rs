//! File descriptors: as many as the system allows, shared out between the ports and the store.
//!
//! Sockets and files come out of one number. Connections that took all of it would keep the store from
//! opening its next segment, so the ports take no more than leaves the store its part.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::connections::Connections;
use crate::limits::{CONNECTIONS_MIN, DESCRIPTORS_MIN, RESERVED_DESCRIPTORS};

/// The descriptors that this process may have open; `None` is without a bound.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Descriptors(Option<u64>);

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
    pub(crate) fn share(self, wanted: Connections, ports: u64) -> Connections {
        let share = self.0.map_or(u64::MAX, |limit| limit.saturating_sub(RESERVED_DESCRIPTORS) / ports);
        let share = usize::try_from(share).unwrap_or(usize::MAX);
        Connections { max: wanted.max.min(share.max(CONNECTIONS_MIN)), ..wanted }
    }

    /// Tells the limit, and what to do when it is low. `connections` is what each port takes.
    pub(crate) fn tell(self, connections: Connections) {
        let Some(limit) = self.0 else { return };
        let connections = connections.max;
        if limit < DESCRIPTORS_MIN {
            tracing::warn!(
                "only {limit} file descriptors are allowed, so that each port takes at most {connections} \
                 connections; allow {DESCRIPTORS_MIN} or more: ulimit -n before the start, LimitNOFILE= of a \
                 systemd unit, --ulimit nofile= of a container"
            );
        } else {
            tracing::info!(limit, connections, "file descriptors, and connections that each port takes");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_leave_the_store_its_descriptors() {
        let wanted = Connections { max: 20_000, per_address_max: 7 };
        let share = |limit, ports| Descriptors(limit).share(wanted, ports);
        assert_eq!(share(None, 3), wanted);
        assert_eq!(share(Some(DESCRIPTORS_MIN), 3), wanted, "the advice is enough for the default");
        assert_eq!(share(Some(RESERVED_DESCRIPTORS + 3_000), 3), Connections { max: 1_000, per_address_max: 7 });
        assert_eq!(share(Some(1_024), 3).max, CONNECTIONS_MIN);
        assert_eq!(
            Descriptors(Some(1_024)).share(Connections { max: 5, ..wanted }, 3).max,
            5,
            "never more than wanted"
        );
    }
}
