//! The bytes that a connection has read and not yet handled.
//!
//! Owns one growing buffer, cut into frames without copying. It grows as bytes arrive and never from a
//! length prefix, and an idle connection holds none of it.

use bytes::BytesMut;
use strata_protocol::command::{Command, Malformed};
use strata_protocol::frame::{self, Check};
use strata_protocol::limits::{FRAME_BYTES_MAX, HEADER_BYTES_MAX};

use crate::limits::{READ_BYTES_MAX, READ_BYTES_MIN};

#[derive(Debug)]
pub(crate) struct Inbox {
    buffer: BytesMut,
    /// What the next read asks for; doubles whenever a read was filled.
    chunk: usize,
    /// Bytes that the buffer was last grown to; parts of it may have left as frames.
    grown: usize,
    /// Bytes that a header may have.
    header_bytes_max: usize,
}

impl Inbox {
    /// For a peer that sends requests, and answers to the few small ones that it is sent.
    pub(crate) fn of_requests() -> Self {
        Self::new(HEADER_BYTES_MAX)
    }

    /// For a peer that sends answers: a large batch's has an id for each message in its header.
    pub(crate) fn of_answers() -> Self {
        Self::new(FRAME_BYTES_MAX)
    }

    fn new(header_bytes_max: usize) -> Self {
        Self { buffer: BytesMut::new(), chunk: READ_BYTES_MIN, grown: 0, header_bytes_max }
    }

    /// The buffer with room behind its bytes. A frame that is larger than a chunk gets as much room as it
    /// already has bytes, so that its arrival costs a logarithm of copies and nothing is given for a promise.
    ///
    /// While `memory_is_short` no buffer grows beyond need.
    pub(crate) fn room(&mut self, memory_is_short: bool) -> &mut BytesMut {
        if memory_is_short {
            self.chunk = READ_BYTES_MIN;
        }
        if self.must_grow() {
            let grown = self.next_footprint();
            self.buffer.reserve(grown - self.buffer.len());
            self.grown = self.grown.max(grown);
        }
        &mut self.buffer
    }

    fn must_grow(&self) -> bool {
        self.buffer.capacity() - self.buffer.len() < self.chunk / 2
    }

    fn next_footprint(&self) -> usize {
        let len = self.buffer.len();
        len + self.chunk.max(len)
    }

    /// Whether a frame is under way that has outgrown the usual buffer.
    pub(crate) fn is_large(&self) -> bool {
        self.buffer.len() >= READ_BYTES_MAX
    }

    /// The bytes that the buffer of a large frame must grow to for the next read; `None` when it need not.
    pub(crate) fn large_growth(&self) -> Option<usize> {
        (self.is_large() && self.must_grow()).then(|| self.next_footprint())
    }

    /// Bytes of memory that the buffer takes.
    pub(crate) fn footprint(&self) -> usize {
        self.grown
    }

    /// Learns from a read that brought `bytes`.
    pub(crate) fn read(&mut self, bytes: usize) {
        if bytes >= self.chunk {
            self.chunk = (self.chunk * 2).min(READ_BYTES_MAX);
        }
    }

    /// Takes the next whole frame, decoded; `None` when more bytes must come first.
    pub(crate) fn next(&mut self) -> Result<Option<Command>, Malformed> {
        match frame::check_with(&self.buffer, self.header_bytes_max)? {
            Check::Incomplete => Ok(None),
            Check::Complete { bytes } => Command::decode(self.buffer.split_to(bytes).freeze()).map(Some),
        }
    }

    /// Whether a frame has begun and not ended.
    pub(crate) fn is_partial(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// Whether reading would have to allocate; the socket is asked for readiness first.
    pub(crate) fn is_released(&self) -> bool {
        self.buffer.capacity() == 0
    }

    /// Bytes that wait for the rest of their frame.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buffer
    }

    /// Gives a buffer back that one large frame has grown, once that frame is gone.
    pub(crate) fn shrink(&mut self) {
        if self.buffer.is_empty() && self.grown > 4 * READ_BYTES_MAX {
            self.release();
        }
    }

    /// Gives the memory back if no bytes are in it.
    pub(crate) fn release(&mut self) {
        if self.buffer.is_empty() {
            *self = Self::new(self.header_bytes_max);
        }
    }

    /// Forgets everything and gives the memory back; what arrives from now on is not wanted.
    pub(crate) fn discard(&mut self) {
        *self = Self::new(self.header_bytes_max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(count: i32) -> BytesMut {
        let mut out = BytesMut::new();
        for opaque in 0..count {
            let mut command = Command::request(10);
            command.opaque = opaque;
            command.body = vec![b'x'; 100].into();
            command.encode(&mut out);
        }
        out
    }

    #[test]
    fn frames_come_out_in_order_and_the_rest_waits() {
        let bytes = frames(3);
        let mut inbox = Inbox::of_requests();
        inbox.room(false).extend_from_slice(&bytes[..bytes.len() - 1]);
        let opaques: Vec<i32> = std::iter::from_fn(|| inbox.next().unwrap()).map(|command| command.opaque).collect();
        assert_eq!(opaques, [0, 1]);
        assert!(inbox.is_partial());
        inbox.room(false).extend_from_slice(&bytes[bytes.len() - 1..]);
        assert_eq!(inbox.next().unwrap().unwrap().opaque, 2);
        assert!(!inbox.is_partial());
    }

    #[test]
    fn only_answers_have_long_headers() {
        let mut answer = Command::request(0);
        answer.fields.push("msgId", &"1".repeat(2 * HEADER_BYTES_MAX));
        let mut bytes = BytesMut::new();
        answer.encode(&mut bytes);
        let (mut client, mut server) = (Inbox::of_answers(), Inbox::of_requests());
        client.room(false).extend_from_slice(&bytes);
        assert_eq!(client.next().unwrap().unwrap().fields, answer.fields);
        client.release();
        client.room(false).extend_from_slice(&bytes);
        assert!(client.next().unwrap().is_some());
        server.room(false).extend_from_slice(&bytes);
        assert!(server.next().is_err());
    }

    #[test]
    fn room_follows_the_bytes_that_came_and_not_those_that_are_announced() {
        let mut inbox = Inbox::of_requests();
        inbox.room(false).extend_from_slice(&(16 * 1024 * 1024_i32).to_be_bytes());
        assert!(inbox.next().unwrap().is_none());
        let room = inbox.room(false);
        assert!(room.capacity() <= 2 * READ_BYTES_MIN, "{} bytes for a prefix", room.capacity());
    }

    #[test]
    fn when_memory_is_short_buffers_grow_by_need_alone() {
        let bytes = frames(1);
        let mut inbox = Inbox::of_requests();
        inbox.chunk = READ_BYTES_MAX;
        inbox.room(true).extend_from_slice(&bytes);
        assert!(inbox.next().unwrap().is_some());
        assert!(inbox.footprint() <= READ_BYTES_MIN);
        assert_eq!(inbox.large_growth(), None);
        inbox.room(true).extend_from_slice(&vec![0; READ_BYTES_MAX]);
        assert_eq!(inbox.large_growth(), Some(2 * READ_BYTES_MAX), "a large frame asks before it grows");
    }

    #[test]
    fn a_buffer_is_used_again_when_its_frames_are_gone() {
        let bytes = frames(10);
        let mut inbox = Inbox::of_requests();
        for _ in 0..1_000 {
            inbox.room(false).extend_from_slice(&bytes);
            inbox.read(bytes.len());
            while inbox.next().unwrap().is_some() {}
        }
        assert!(inbox.buffer.capacity() <= 2 * READ_BYTES_MIN);
        inbox.release();
        assert!(inbox.is_released());
    }

    #[test]
    fn a_large_frame_is_taken_and_its_buffer_given_back() {
        let mut command = Command::request(10);
        command.body = vec![7; 15 * 1024 * 1024].into();
        let mut bytes = BytesMut::new();
        command.encode(&mut bytes);
        let mut inbox = Inbox::of_requests();
        for piece in bytes.chunks(100_000) {
            inbox.room(false).extend_from_slice(piece);
            inbox.read(piece.len());
        }
        assert_eq!(inbox.next().unwrap().unwrap().body, command.body);
        assert!(inbox.footprint() >= bytes.len());
        inbox.shrink();
        assert!(inbox.buffer.capacity() <= 4 * READ_BYTES_MAX);
        assert_eq!(inbox.footprint(), 0);
    }
}
