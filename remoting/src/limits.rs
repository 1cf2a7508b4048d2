//! Bounds of connections, each with its unit and its reason. The bounds of frames are the protocol's.

use std::time::Duration;

use strata_protocol::limits::FRAME_BYTES_MAX;

/// Connections of one port. A broker of RocketMQ serves a few thousand clients; twenty thousand idle ones
/// cost this process well below 100 MiB.
pub const CONNECTIONS_MAX: usize = 20_000;

/// Connections of one address (of one /64 network with IPv6). A host runs dozens of clients, each with a few
/// connections; loopback is free because tests, proxies and sidecars come from there.
pub const CONNECTIONS_PER_ADDRESS_MAX: usize = 1_000;

/// Connections that the kernel holds before they are accepted, as RocketMQ asks for.
pub const UNACCEPTED_CONNECTIONS_MAX: u32 = 1_024;

/// A connection without a byte in either direction for so long is closed (RocketMQ's
/// `serverChannelMaxIdleTimeSeconds`). Clients send heartbeats every 30 s.
pub const IDLE_MAX: Duration = Duration::from_secs(120);

/// A connection that never sends anything is closed after this: clients connect when they have a request.
pub const FIRST_FRAME_MAX: Duration = Duration::from_secs(10);

/// The rest of a frame must follow within this; a slow link moves the largest frame in less.
pub const HALF_FRAME_MAX: Duration = Duration::from_secs(30);

/// A peer that takes less than [`WRITE_PROGRESS_BYTES_MIN`] of what waits for it in this time is closed.
pub const WRITE_STALL_MAX: Duration = Duration::from_secs(30);

/// See [`WRITE_STALL_MAX`]: a link that is slower than 2 KiB a second serves nobody.
pub const WRITE_PROGRESS_BYTES_MIN: usize = 64 * 1024;

/// How long a server that stops, or a connection that is closed here, waits for its last answers to leave.
pub const DRAIN_MAX: Duration = Duration::from_secs(5);

/// How long a connection that has said all is kept so that its peer can take it: closing a socket with unread
/// bytes would make the kernel throw answers away. Clients close as soon as they see the end.
pub const LINGER_MAX: Duration = Duration::from_millis(500);

/// Unsent bytes of one connection above which it is not read on, asks nothing of its peer, and answers
/// `SYSTEM_BUSY` instead of a large body. One largest frame fits, so that every answer can be given.
pub const OUTBOX_BYTES_MAX: usize = FRAME_BYTES_MAX;

/// Unsent bytes at which the connection is given up: the largest frame on top of a full outbox, and 4 MiB of
/// small answers, which are never replaced because a producer's acknowledgement must not be lost lightly.
pub const OUTBOX_BYTES_HARD_MAX: usize = OUTBOX_BYTES_MAX + FRAME_BYTES_MAX + 4 * 1024 * 1024;

/// Unsent bytes of all connections of one server. Above it a connection whose peer has not taken all of its
/// answers is not read on, and its larger answers become `SYSTEM_BUSY`; at twice of it that happens to all
/// larger answers. A thousand peers that ask and do not read must not take the machine's memory.
pub const UNSENT_BYTES_MAX: usize = 512 * 1024 * 1024;

/// Unsent bytes in each of a connection's two buffers below which they do not count in [`UNSENT_BYTES_MAX`]:
/// small answers must not make the cores share a cache line. Twenty thousand connections leave out 320 MiB at most.
pub const SHARE_STEP_BYTES: usize = 8 * 1024;

/// Bytes of a buffer for answers that a connection keeps although they have left; more is given back.
pub const KEPT_BUFFER_BYTES_MAX: usize = 4 * READ_BYTES_MAX;

/// Bytes of a body up to which an answer counts as small, see [`OUTBOX_BYTES_MAX`].
pub const SMALL_ANSWER_BYTES_MAX: usize = 4 * 1024;

/// Bytes of a body slice up to which it is copied behind its header: below this a copy is cheaper than one
/// more entry in the vectored write and a reference count on another core's cache line.
pub const COPIED_BODY_BYTES_MAX: usize = 512;

/// Slices of one vectored write. Linux takes 1,024; the array lies on the stack.
pub const WRITE_SLICES_MAX: usize = 128;

/// Bytes asked from the socket by the first read, and again after a quiet while.
pub const READ_BYTES_MIN: usize = 4 * 1024;

/// Bytes asked from the socket by one read of a busy connection: 64 requests of 4 KiB. Only a frame that is
/// larger asks for more, up to as much as has arrived of it.
pub const READ_BYTES_MAX: usize = 256 * 1024;

/// Bytes that a connection reads before the others of its thread have their turn: a peer that sends without a
/// pause must not have those wait for more than a few milliseconds each.
pub const TURN_BYTES_MAX: u64 = READ_BYTES_MAX as u64;

/// Bytes of the read buffers of one server, together. Above it new buffers stay at [`READ_BYTES_MIN`], and a
/// frame that needs more than [`READ_BYTES_MAX`] ends those that began before it and are not whole yet: half a
/// frame of 16 MiB on each of a few hundred connections must neither take the machine's memory nor the place of
/// those that send whole ones.
pub const READ_BUFFERS_BYTES_MAX: usize = 512 * 1024 * 1024;

/// Requests to one peer whose answers are awaited (RocketMQ's client allows as many).
pub const CALLS_MAX: usize = 65_535;

/// Lines about bad peers that one server logs in a second; the rest is counted.
pub const COMPLAINTS_PER_SECOND_MAX: u32 = 10;

/// Wait after a failed accept, doubled from a hundredth of it; descriptors come back when connections end.
pub const ACCEPT_PAUSE_MAX: Duration = Duration::from_secs(1);

const _: () = assert!(OUTBOX_BYTES_MAX >= FRAME_BYTES_MAX, "the largest answer fits an empty outbox");
const _: () = assert!(READ_BYTES_MIN <= READ_BYTES_MAX, "reads only grow");
