//! Encoded frames on their way to one socket.
//!
//! Owns the order of bytes: headers and small bodies are copied into one buffer, large body slices stand
//! between its parts as they are, and everything leaves by vectored writes.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use strata_protocol::code::ResponseCode;
use strata_protocol::command::Command;
use strata_protocol::frame::HeaderCodec;
use strata_protocol::header::patch_prefix;
use strata_protocol::limits::FRAME_BYTES_MAX;
use strata_protocol::reply::Reply;
use tokio::io::AsyncWrite;

use crate::limits::{COPIED_BODY_BYTES_MAX, KEPT_BUFFER_BYTES_MAX, WRITE_SLICES_MAX};

/// Room that the header of nearly any answer fits, so that its many small pieces grow no buffer.
const HEADER_BYTES_USUAL: usize = 512;

#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    /// What leaves first.
    pieces: VecDeque<Bytes>,
    /// What leaves last, and still grows.
    tail: Vec<u8>,
    /// Bytes at the front of the tail that have left.
    tail_left: usize,
    /// Bytes of all of it that have not left.
    bytes: usize,
    /// Bytes of the first piece that have left; they take memory as long as the rest does.
    left: usize,
}

impl Outgoing {
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes that are held for what has not left.
    pub(crate) fn footprint(&self) -> usize {
        self.bytes + self.left + self.tail_left
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Adds the answer to request `opaque`. One that fits no frame becomes `SYSTEM_ERROR`: its receiver would
    /// close the connection, with everything else that waits on it.
    pub(crate) fn push_reply(&mut self, mut reply: Reply, opaque: i32, codec: HeaderCodec) {
        let before = self.tail.len();
        self.tail.reserve(HEADER_BYTES_USUAL);
        reply.encode_header(&mut self.tail, opaque, codec);
        // Clients of RocketMQ compare the whole frame with the limit, its length word included.
        let frame = self.tail.len() - before + reply.body_bytes();
        if frame > FRAME_BYTES_MAX {
            self.tail.truncate(before);
            let remark =
                format!("the answer has {frame} bytes, more than the {FRAME_BYTES_MAX} of a frame; ask for less");
            reply = Reply::refusal(ResponseCode::SystemError, remark);
            reply.encode_header(&mut self.tail, opaque, codec);
        }
        self.bytes += self.tail.len() - before;
        for slice in reply.body {
            self.push_body(slice);
        }
    }

    /// Adds a request.
    pub(crate) fn push_command(&mut self, mut command: Command) {
        let body = std::mem::take(&mut command.body);
        let start = self.tail.len();
        command.encode(&mut self.tail);
        patch_prefix(&mut self.tail, start, command.codec, body.len());
        self.bytes += self.tail.len() - start;
        self.push_body(body);
    }

    fn push_body(&mut self, body: Bytes) {
        self.bytes += body.len();
        if body.len() <= COPIED_BODY_BYTES_MAX {
            self.tail.extend_from_slice(&body);
        } else {
            self.seal();
            self.pieces.push_back(body);
        }
    }

    /// Ends the growing part, so that something else can stand behind it.
    fn seal(&mut self) {
        if !self.tail.is_empty() {
            self.drop_left();
            self.pieces.push_back(std::mem::take(&mut self.tail).into());
        }
    }

    /// Gives up the place of what has left of the growing part.
    fn drop_left(&mut self) {
        self.tail.drain(..self.tail_left);
        self.tail_left = 0;
    }

    /// Moves everything of `other`, of which nothing has left, behind this.
    pub(crate) fn append(&mut self, other: &mut Self) {
        if self.is_empty() {
            std::mem::swap(self, other);
            return;
        }
        self.bytes += std::mem::take(&mut other.bytes);
        if !other.pieces.is_empty() {
            self.seal();
            self.pieces.append(&mut other.pieces);
        }
        self.tail.extend_from_slice(&other.tail);
        other.tail.clear();
        other.shrink();
    }

    /// Writes once what fits into one call; gives the bytes that left.
    pub(crate) fn poll_write<W: AsyncWrite + Unpin>(
        &mut self,
        socket: &mut W,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let tail = &self.tail[self.tail_left..];
        let written = if self.pieces.is_empty() {
            ready!(Pin::new(socket).poll_write(cx, tail))?
        } else {
            let mut slices = [IoSlice::new(&[]); WRITE_SLICES_MAX];
            let mut count = 0;
            for piece in self.pieces.iter().map(|piece| &piece[..]).chain([tail]).take(WRITE_SLICES_MAX) {
                slices[count] = IoSlice::new(piece);
                count += 1;
            }
            ready!(Pin::new(socket).poll_write_vectored(cx, &slices[..count]))?
        };
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.advance(written);
        Poll::Ready(Ok(written))
    }

    fn advance(&mut self, mut written: usize) {
        self.bytes -= written;
        while let Some(piece) = self.pieces.front_mut() {
            if piece.len() > written {
                piece.advance(written);
                self.left += written;
                return;
            }
            written -= piece.len();
            self.left = 0;
            self.pieces.pop_front();
        }
        self.tail_left += written;
        // The place of what has left is used again as soon as the rest is the smaller part.
        if self.tail_left >= self.tail.len() / 2 {
            self.drop_left();
        }
    }

    /// Gives a buffer back that a burst has grown, once most of the burst has left.
    pub(crate) fn shrink(&mut self) {
        let used = self.tail.len() - self.tail_left;
        if self.tail.capacity() > KEPT_BUFFER_BYTES_MAX.max(4 * used) {
            self.drop_left();
            self.tail.shrink_to(used);
        }
    }

    /// Gives the memory back if nothing waits in it.
    pub(crate) fn release(&mut self) {
        if self.is_empty() {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;

    /// A socket that takes at most so many bytes at once.
    struct Narrow {
        taken: Vec<u8>,
        most: usize,
    }

    impl AsyncWrite for Narrow {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            let count = bytes.len().min(self.most);
            self.taken.extend_from_slice(&bytes[..count]);
            Poll::Ready(Ok(count))
        }

        fn poll_write_vectored(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            slices: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let all: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
            self.poll_write(cx, &all)
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn reply(body_bytes: usize) -> Reply {
        Reply::with_body(vec![b'b'; body_bytes]).int("queueOffset", 5)
    }

    fn encoded(reply: &Reply, opaque: i32) -> Vec<u8> {
        let mut out = BytesMut::new();
        reply.encode_header(&mut out, opaque, HeaderCodec::Json);
        reply.body.iter().for_each(|slice| out.extend_from_slice(slice));
        out.to_vec()
    }

    /// Bodies on both sides of the copy limit, in an order that mixes them.
    const BODIES: [usize; 6] = [0, 10, 5_000, COPIED_BODY_BYTES_MAX, COPIED_BODY_BYTES_MAX + 1, 3];

    #[test]
    fn bytes_leave_in_order_however_the_socket_cuts_them() {
        let expected: Vec<u8> = (0..).zip(BODIES).flat_map(|(opaque, bytes)| encoded(&reply(bytes), opaque)).collect();
        let mut cx = Context::from_waker(std::task::Waker::noop());
        for most in [1, 2, 7, 100, 1_000, 100_000] {
            let (mut out, mut socket) = (Outgoing::default(), Narrow { taken: Vec::new(), most });
            // Half is pushed before anything leaves, half while a part has left.
            for (opaque, bytes) in (0..).zip(BODIES) {
                out.push_reply(reply(bytes), opaque, HeaderCodec::Json);
                if opaque >= 2 {
                    assert!(out.poll_write(&mut socket, &mut cx).is_ready());
                }
                assert_eq!(out.bytes() + socket.taken.len(), {
                    let pushed: usize = (0..=opaque).zip(BODIES).map(|(o, b)| encoded(&reply(b), o).len()).sum();
                    pushed
                });
            }
            while !out.is_empty() {
                assert!(out.poll_write(&mut socket, &mut cx).is_ready());
            }
            assert_eq!(socket.taken, expected, "at most {most} bytes at once");
        }
    }

    #[test]
    fn answers_that_left_take_no_memory_although_something_always_waits() {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let (mut out, mut other) = (Outgoing::default(), Outgoing::default());
        let (mut sent, mut opaque) = (0, 0);
        while sent < 256 * 1024 * 1024 {
            // Half of the answers come from elsewhere; a larger body stands between them now and then.
            for _ in 0..100 {
                opaque += 1;
                out.push_reply(reply(if opaque % 5_000 == 0 { 5_000 } else { 100 }), opaque, HeaderCodec::Binary);
                other.push_reply(reply(100), opaque, HeaderCodec::Binary);
            }
            out.append(&mut other);
            let most = out.bytes() - 1_000;
            let mut socket = Narrow { taken: Vec::new(), most };
            while out.bytes() > 1_000 {
                assert!(out.poll_write(&mut socket, &mut cx).is_ready());
                out.shrink();
            }
            sent += socket.taken.len();
            assert!(!out.is_empty(), "the test is about a backlog that never ends");
            assert!(out.tail.capacity() <= KEPT_BUFFER_BYTES_MAX, "{} bytes after {sent}", out.tail.capacity());
            assert!(out.tail_left <= out.bytes, "what has left is kept");
        }
    }

    #[test]
    fn a_burst_gives_its_memory_back_before_its_last_byte_has_left() {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let mut out = Outgoing::default();
        while out.bytes() < 8 * 1024 * 1024 {
            out.push_reply(reply(COPIED_BODY_BYTES_MAX), 1, HeaderCodec::Binary);
        }
        let most = out.bytes() - 10;
        assert!(out.poll_write(&mut Narrow { taken: Vec::new(), most }, &mut cx).is_ready());
        out.shrink();
        assert_eq!((out.bytes(), out.tail.len()), (10, 10));
        assert!(out.tail.capacity() <= KEPT_BUFFER_BYTES_MAX);
        // A large body is one piece, and all of it is there until all of it has left.
        out.push_reply(reply(100_000), 1, HeaderCodec::Binary);
        let most = out.bytes() - 10;
        while out.bytes() > 10 {
            assert!(out.poll_write(&mut Narrow { taken: Vec::new(), most }, &mut cx).is_ready());
        }
        assert_eq!(out.footprint(), 100_000);
    }

    #[test]
    fn an_answer_that_fits_no_frame_becomes_an_error() {
        let head = encoded(&reply(0), 7).len();
        for (bytes, code) in [(FRAME_BYTES_MAX - head, 0), (FRAME_BYTES_MAX - head + 1, 1)] {
            let mut out = Outgoing::default();
            out.push_reply(reply(bytes), 7, HeaderCodec::Json);
            let mut socket = Narrow { taken: Vec::new(), most: usize::MAX };
            while !out.is_empty() {
                assert!(out.poll_write(&mut socket, &mut Context::from_waker(std::task::Waker::noop())).is_ready());
            }
            let answer = Command::decode(socket.taken.into()).unwrap();
            assert_eq!((answer.code, answer.opaque), (code, 7));
            assert_eq!(answer.remark.is_some(), code == 1);
        }
    }

    #[test]
    fn appended_frames_follow_those_that_wait() {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        for (first, second) in [(0, 0), (10, 5_000), (5_000, 10), (5_000, 5_000)] {
            let (mut out, mut other) = (Outgoing::default(), Outgoing::default());
            let mut socket = Narrow { taken: Vec::new(), most: 3 };
            out.push_reply(reply(first), 1, HeaderCodec::Json);
            assert!(out.poll_write(&mut socket, &mut cx).is_ready());
            other.push_reply(reply(second), 2, HeaderCodec::Json);
            out.append(&mut other);
            assert!(other.is_empty());
            while !out.is_empty() {
                assert!(out.poll_write(&mut socket, &mut cx).is_ready());
            }
            assert_eq!(socket.taken, [encoded(&reply(first), 1), encoded(&reply(second), 2)].concat());
        }
    }

    #[test]
    fn a_request_with_a_large_body_is_the_frame_that_encode_writes() {
        let mut command = Command::request(220);
        command.body = vec![1; 9_000].into();
        let mut expected = BytesMut::new();
        command.encode(&mut expected);
        let (mut out, mut socket) = (Outgoing::default(), Narrow { taken: Vec::new(), most: 100_000 });
        out.push_command(command);
        assert!(out.poll_write(&mut socket, &mut Context::from_waker(std::task::Waker::noop())).is_ready());
        assert_eq!(socket.taken, expected);
    }
}
