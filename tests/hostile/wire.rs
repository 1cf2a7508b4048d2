//! Raw conversations: bytes on a socket, and frames that no client would write.
//!
//! Owns the making of frames by hand. Well-formed requests go through `strata_tests::talk`.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::{Bytes, BytesMut};
use strata_protocol::command::Command;
use strata_protocol::frame::{self, Check};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long an answer or a close may take on loopback.
const SOON: Duration = Duration::from_secs(10);

/// What the other side did.
#[derive(Debug)]
pub(crate) enum Heard {
    /// A whole frame.
    Frame(Box<Command>),
    /// The connection ended.
    Closed,
}

/// One connection without a protocol.
pub(crate) struct Wire {
    socket: TcpStream,
    unread: BytesMut,
}

impl Wire {
    pub(crate) async fn dial(port: u16) -> Result<Self> {
        let socket = TcpStream::connect(("127.0.0.1", port)).await.context("cannot connect")?;
        socket.set_nodelay(true)?;
        Ok(Self { socket, unread: BytesMut::new() })
    }

    /// Sends bytes. That the server closed in the middle is no failure: `hear` tells it.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> bool {
        self.socket.write_all(bytes).await.is_ok()
    }

    /// Says that nothing more comes.
    pub(crate) async fn end(&mut self) {
        let _ = self.socket.shutdown().await;
    }

    /// The next frame, or the end.
    pub(crate) async fn hear(&mut self) -> Result<Heard> {
        match timeout(SOON, self.hear_now()).await {
            Ok(heard) => heard,
            Err(_) => bail!("the server neither answers nor closes within {SOON:?}"),
        }
    }

    async fn hear_now(&mut self) -> Result<Heard> {
        loop {
            if let Check::Complete { bytes } = frame::check(&self.unread)? {
                let frame = self.unread.split_to(bytes).freeze();
                return Ok(Heard::Frame(Box::new(Command::decode(frame)?)));
            }
            match self.socket.read_buf(&mut self.unread).await {
                Ok(0) | Err(_) => return Ok(Heard::Closed),
                Ok(_) => {}
            }
        }
    }

    /// Whether the other side has ended the connection; waits only a moment.
    pub(crate) async fn has_ended(&mut self) -> bool {
        matches!(timeout(Duration::from_millis(5), self.hear_now()).await, Ok(Ok(Heard::Closed) | Err(_)))
    }

    /// The next frame; the connection must not end.
    pub(crate) async fn answer(&mut self) -> Result<Command> {
        match self.hear().await? {
            Heard::Frame(answer) => Ok(*answer),
            Heard::Closed => bail!("the connection was closed instead of an answer"),
        }
    }

    /// The connection must end; answers before that are allowed when they refuse.
    pub(crate) async fn closed(&mut self) -> Result<()> {
        loop {
            match self.hear().await? {
                Heard::Closed => return Ok(()),
                Heard::Frame(answer) => ensure!(answer.code != 0, "nonsense was answered with success"),
            }
        }
    }
}

/// A frame with any header bytes, any codec number and any body.
pub(crate) fn frame(codec: u8, header: &[u8], body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(4 + header.len() + body.len()).unwrap_or(u32::MAX);
    let word = (u32::from(codec) << 24) | (u32::try_from(header.len()).unwrap_or(0) & 0x00FF_FFFF);
    [&length.to_be_bytes()[..], &word.to_be_bytes(), header, body].concat()
}

/// A good request as bytes.
pub(crate) fn request(code: i32, fields: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut command = Command::request(code);
    command.opaque = 7;
    command.fields = fields.iter().copied().collect();
    command.body = Bytes::copy_from_slice(body);
    let mut out = BytesMut::new();
    command.encode(&mut out);
    out.to_vec()
}
