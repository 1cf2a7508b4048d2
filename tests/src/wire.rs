//! Raw conversations: bytes on a socket, and frames that no client would write.
//!
//! Owns the making of frames by hand. Well-formed requests go through [`crate::talk`].

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::{Bytes, BytesMut};
use strata_protocol::command::Command;
use strata_protocol::frame::{self, Check};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

/// How long an answer or a close may take on loopback.
const SOON: Duration = Duration::from_secs(10);

/// What the other side did.
#[derive(Debug)]
pub enum Heard {
    /// A whole frame.
    Frame(Box<Command>),
    /// The connection ended.
    Closed,
}

/// One connection without a protocol.
#[derive(Debug)]
pub struct Wire {
    socket: TcpStream,
    unread: BytesMut,
}

impl Wire {
    /// Connects to a port of this machine.
    ///
    /// # Errors
    /// Nobody listens.
    pub async fn dial(port: u16) -> Result<Self> {
        Self::over(TcpSocket::new_v4()?, port).await
    }

    /// Connects by way of `socket`, which may have settings and an address of its own.
    ///
    /// # Errors
    /// Nobody listens.
    pub async fn over(socket: TcpSocket, port: u16) -> Result<Self> {
        let socket = socket.connect((Ipv4Addr::LOCALHOST, port).into()).await.context("cannot connect")?;
        socket.set_nodelay(true)?;
        Ok(Self { socket, unread: BytesMut::new() })
    }

    /// Whether something has arrived that nobody heard.
    #[must_use]
    pub fn has_bytes(&mut self) -> bool {
        matches!(self.socket.try_read_buf(&mut self.unread), Ok(1..)) || !self.unread.is_empty()
    }

    /// Sends bytes. That the server closed in the middle is no failure: `hear` tells it.
    pub async fn send(&mut self, bytes: &[u8]) -> bool {
        self.socket.write_all(bytes).await.is_ok()
    }

    /// Says that nothing more comes.
    pub async fn end(&mut self) {
        let _ = self.socket.shutdown().await;
    }

    /// The next frame, or the end.
    ///
    /// # Errors
    /// Neither comes, or what comes is no frame.
    pub async fn hear(&mut self) -> Result<Heard> {
        match timeout(SOON, self.hear_now()).await {
            Ok(heard) => heard,
            Err(_) => bail!("the server neither answers nor closes within {SOON:?}"),
        }
    }

    /// The same, however long it takes. It may be given up and called again.
    ///
    /// # Errors
    /// What comes is no frame.
    pub async fn hear_now(&mut self) -> Result<Heard> {
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
    pub async fn has_ended(&mut self) -> bool {
        matches!(timeout(Duration::from_millis(5), self.hear_now()).await, Ok(Ok(Heard::Closed) | Err(_)))
    }

    /// The next frame; the connection must not end.
    ///
    /// # Errors
    /// It ends, or nothing comes.
    pub async fn answer(&mut self) -> Result<Command> {
        match self.hear().await? {
            Heard::Frame(answer) => Ok(*answer),
            Heard::Closed => bail!("the connection was closed instead of an answer"),
        }
    }

    /// The connection must end; answers before that are allowed when they refuse.
    ///
    /// # Errors
    /// It does not end, or nonsense is answered with success.
    pub async fn closed(&mut self) -> Result<()> {
        loop {
            match self.hear().await? {
                Heard::Closed => return Ok(()),
                Heard::Frame(answer) => ensure!(answer.code != 0, "nonsense was answered with success"),
            }
        }
    }
}

/// A frame with any header bytes, any codec number and any body.
#[must_use]
pub fn frame(codec: u8, header: &[u8], body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(4 + header.len() + body.len()).unwrap_or(u32::MAX);
    let word = (u32::from(codec) << 24) | (u32::try_from(header.len()).unwrap_or(0) & 0x00FF_FFFF);
    [&length.to_be_bytes()[..], &word.to_be_bytes(), header, body].concat()
}

/// A good request as bytes.
#[must_use]
pub fn request(code: i32, fields: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut command = Command::request(code);
    command.opaque = 7;
    command.fields = fields.iter().copied().collect();
    command.body = Bytes::copy_from_slice(body);
    frames([command]).to_vec()
}

/// Requests as bytes, one after another.
#[must_use]
pub fn frames(requests: impl IntoIterator<Item = Command>) -> BytesMut {
    let mut out = BytesMut::new();
    requests.into_iter().for_each(|request| request.encode(&mut out));
    out
}
