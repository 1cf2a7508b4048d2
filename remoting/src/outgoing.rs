//! Encoded frames on their way to one socket.
//!
//! Owns the order of bytes: headers and small bodies are copied into one buffer, large body slices stand
//! between its parts as they are, and everything leaves by vectored writes.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use strata_protocol::command::Command;
use strata_protocol::frame::HeaderCodec;
use strata_protocol::header::patch_prefix;
use strata_protocol::reply::Reply;
use tokio::io::AsyncWrite;

use crate::limits::{COPIED_BODY_BYTES_MAX, READ_BYTES_MAX, WRITE_SLICES_MAX};

#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    /// What leaves first.
    pieces: VecDeque<Bytes>,
    /// What leaves last, and still grows.
    tail: BytesMut,
    /// Bytes of `tail` that have left.
    sent: usize,
    /// Bytes of all of it that have not left.
    bytes: usize,
}

impl Outgoing {
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Adds the answer to request `opaque`.
    pub(crate) fn push_reply(&mut self, reply: Reply, opaque: i32, codec: HeaderCodec) {
        let before = self.tail.len();
        reply.encode_header(&mut self.tail, opaque, codec);
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
        if self.tail.len() > self.sent {
            let mut piece = self.tail.split().freeze();
            piece.advance(self.sent);
            self.pieces.push_back(piece);
        } else {
            self.tail.clear();
        }
        self.sent = 0;
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
    }

    /// Writes once what fits into one call; gives the bytes that left.
    pub(crate) fn poll_write<W: AsyncWrite + Unpin>(
        &mut self,
        socket: &mut W,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let tail = &self.tail[self.sent..];
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
                return;
            }
            written -= piece.len();
            self.pieces.pop_front();
        }
        self.sent += written;
        if self.sent == self.tail.len() {
            self.tail.clear();
            self.sent = 0;
        }
    }

    /// Gives buffers back that a burst has grown, once it has left.
    pub(crate) fn shrink(&mut self) {
        if self.is_empty() && self.tail.capacity() > 4 * READ_BYTES_MAX {
            self.release();
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
