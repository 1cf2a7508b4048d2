//! Why connections end, and how much is said about it.
//!
//! Owns the list of reasons and the complaints in the log; ends nothing itself.

use std::fmt;
use std::net::SocketAddr;

use tracing::{debug, warn};

use crate::limits::COMPLAINTS_PER_SECOND_MAX;
use crate::pace::Pace;

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// The peer closed it.
    Peer,
    /// The network or the peer's kernel broke it.
    Broken,
    /// This process asked for it.
    Local,
    /// The server stops.
    Shutdown,
    /// Nothing was ever sent.
    FirstFrameMissing,
    /// No byte went in either direction for long.
    Idle,
    /// The rest of a frame did not follow.
    HalfFrame,
    /// The peer does not read what waits for it.
    SlowReader,
    /// The bytes are no frame, or its header cannot be read.
    Malformed,
    /// The peer speaks another protocol: TLS, HTTP, PROXY.
    ForeignProtocol,
    /// The read buffers of all connections had reached their limit, and this one's large frame was under way for
    /// longest.
    OutOfMemory,
}

impl CloseReason {
    /// All reasons, for tables of figures.
    pub const ALL: [Self; 11] = [
        Self::Peer,
        Self::Broken,
        Self::Local,
        Self::Shutdown,
        Self::FirstFrameMissing,
        Self::Idle,
        Self::HalfFrame,
        Self::SlowReader,
        Self::Malformed,
        Self::ForeignProtocol,
        Self::OutOfMemory,
    ];

    /// A short name in snake case, as metrics and logs show it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Peer => "peer",
            Self::Broken => "broken",
            Self::Local => "local",
            Self::Shutdown => "shutdown",
            Self::FirstFrameMissing => "first_frame_missing",
            Self::Idle => "idle",
            Self::HalfFrame => "half_frame",
            Self::SlowReader => "slow_reader",
            Self::Malformed => "malformed",
            Self::ForeignProtocol => "foreign_protocol",
            Self::OutOfMemory => "out_of_memory",
        }
    }

    /// Whether an operator should see a line about it: somebody else's program is wrong or hostile. Health
    /// checks of load balancers connect and leave, which is nobody's concern.
    fn is_complaint(self) -> bool {
        match self {
            Self::HalfFrame | Self::SlowReader | Self::Malformed | Self::ForeignProtocol | Self::OutOfMemory => true,
            Self::Peer | Self::Broken | Self::Local | Self::Shutdown | Self::FirstFrameMissing | Self::Idle => false,
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The end of a connection: the reason and its words.
#[derive(Debug)]
pub(crate) struct Ending {
    pub(crate) reason: CloseReason,
    /// Never holds bytes of the peer's messages.
    pub(crate) detail: String,
}

impl Ending {
    pub(crate) fn plain(reason: CloseReason) -> Self {
        Self { reason, detail: String::new() }
    }

    pub(crate) fn with(reason: CloseReason, detail: impl fmt::Display) -> Self {
        Self { reason, detail: detail.to_string() }
    }
}

/// Names the protocol that a connection's first bytes belong to, when they are no frame.
pub(crate) fn foreign_protocol(first: &[u8]) -> Option<&'static str> {
    const NAMES: [(&[u8], &str); 8] = [
        (b"\x16\x03", "TLS"),
        (b"PRI ", "HTTP/2 (gRPC)"),
        (b"PROX", "the PROXY protocol"),
        (b"\r\n\r\n", "the PROXY protocol"),
        (b"GET ", "HTTP"),
        (b"POST", "HTTP"),
        (b"HEAD", "HTTP"),
        (b"SSH-", "SSH"),
    ];
    NAMES.iter().find(|(prefix, _)| first.starts_with(prefix)).map(|(_, name)| *name)
}

/// Writes the lines about ended connections, at most so many a second.
#[derive(Debug)]
pub(crate) struct Complaints {
    pace: Pace,
}

impl Complaints {
    pub(crate) fn new() -> Self {
        Self { pace: Pace::new(COMPLAINTS_PER_SECOND_MAX) }
    }

    pub(crate) fn ended(&self, peer: SocketAddr, ending: &Ending) {
        let Ending { reason, detail } = ending;
        if !reason.is_complaint() {
            debug!(%peer, %reason, detail, "connection ended");
        } else if let Some(withheld) = self.pace.admit() {
            warn!(%peer, %reason, detail, withheld, "connection closed");
        }
    }

    pub(crate) fn refused(&self, peer: SocketAddr, why: &str) {
        if let Some(withheld) = self.pace.admit() {
            warn!(%peer, withheld, "connection refused: {why}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_protocols_are_recognised_by_their_first_bytes() {
        assert_eq!(foreign_protocol(b"\x16\x03\x01\x02\x00"), Some("TLS"));
        assert_eq!(foreign_protocol(b"PRI * HTTP/2.0"), Some("HTTP/2 (gRPC)"));
        assert_eq!(foreign_protocol(b"PROXY TCP4"), Some("the PROXY protocol"));
        assert_eq!(foreign_protocol(&[0, 0, 0, 8]), None);
    }
}
