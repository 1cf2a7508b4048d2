//! Between a client's socket and its session.
//!
//! Owns what a client may send before anybody keeps it in memory, and that its session, and with it a statement that
//! runs, ends when the client is gone. Answers that there is no encryption.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BufMut, BytesMut};
use datafusion_postgres::pgwire::tokio::process_socket_unix;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_io_timeout::TimeoutWriter;

use super::session::Front;
use crate::limits::{
    GATE_BUFFER_BYTES, POSTGRES_MESSAGE_BYTES_MAX, STALLED_SECONDS_MAX, STARTUP_BYTES_MAX, STARTUP_MAX,
};

/// Asks for TLS, and for GSSAPI's encryption, in place of a protocol version.
const SSL_REQUEST: i32 = 80_877_103;
const GSS_REQUEST: i32 = 80_877_104;
/// Asks to stop another session's statement.
const CANCEL_REQUEST: i32 = 80_877_102;
/// Bytes of a length and of what comes first.
const STARTUP_HEAD_BYTES: usize = 8;
/// Bytes of a message's type and length.
const HEAD_BYTES: usize = 5;

/// Serves one client until it goes, or sends what nobody takes.
pub(super) async fn serve(mut client: TcpStream, front: Arc<Front>) -> io::Result<()> {
    client.set_nodelay(true)?;
    let Some(startup) = timeout(STARTUP_MAX, startup(&mut client)).await?? else { return Ok(()) };
    let is_cancel = startup.get(4..8).is_some_and(|code| code == CANCEL_REQUEST.to_be_bytes());
    let (near, far) = UnixStream::pair()?;
    let session = front.session(process_socket_unix(far, Arc::clone(&front)))?;
    let ends = session.abort_handle();
    // However this ends: a statement that runs has its turn until its session is gone.
    let _ends = Ends(Some(session.abort_handle()).filter(|_| !is_cancel));
    let (mut answers, mut questions) = near.into_split();
    let (mut from_client, to_client) = client.into_split();
    let mut to_client = TimeoutWriter::new(to_client);
    to_client.set_timeout(Some(Duration::from_secs(STALLED_SECONDS_MAX)));
    let mut to_client = pin!(to_client);
    questions.write_all(&startup).await?;
    let asked = async {
        let refused = questions_of(&mut from_client, &mut questions).await?;
        // The client is gone, or is about to be told why it must go.
        if !is_cancel {
            ends.abort();
        }
        Ok::<_, io::Error>(refused)
    };
    let answered = async {
        let copied = tokio::io::copy(&mut answers, &mut to_client).await;
        copied.map(|_| ())
    };
    let refused = tokio::select! {
        asked = asked => asked?,
        answered = answered => { answered?; None }
    };
    if let Some(bytes) = refused {
        to_client.write_all(&too_large(bytes)).await?;
    }
    to_client.shutdown().await?;
    // A session that stops another one's statement ends by itself when nothing more comes; nobody is told how it went.
    drop((questions, answers));
    if !is_cancel {
        session.abort();
    }
    let _ = timeout(STARTUP_MAX, session).await;
    Ok(())
}

/// Ends a session with what serves it.
struct Ends(Option<AbortHandle>);

impl Drop for Ends {
    fn drop(&mut self) {
        if let Some(session) = &self.0 {
            session.abort();
        }
    }
}

/// The first message that is not about encryption; `None` when the client went away, or sent something else.
async fn startup(client: &mut TcpStream) -> io::Result<Option<BytesMut>> {
    loop {
        let mut head = [0; STARTUP_HEAD_BYTES];
        if client.read_exact(&mut head).await.is_err() {
            return Ok(None);
        }
        let (mut length, mut code) = (&head[..4], &head[4..]);
        let (length, code) = (length.get_i32(), code.get_i32());
        if code == SSL_REQUEST || code == GSS_REQUEST {
            client.write_all(b"N").await?;
            continue;
        }
        let length = usize::try_from(length).unwrap_or(0);
        if !(STARTUP_HEAD_BYTES..=STARTUP_BYTES_MAX).contains(&length) {
            return Ok(None);
        }
        let mut message = BytesMut::zeroed(length);
        message[..STARTUP_HEAD_BYTES].copy_from_slice(&head);
        client.read_exact(&mut message[STARTUP_HEAD_BYTES..]).await?;
        return Ok(Some(message));
    }
}

/// Passes a client's messages on until it goes; the bytes of one that is too large.
async fn questions_of(
    client: &mut (impl AsyncReadExt + Unpin),
    session: &mut (impl AsyncWrite + Unpin),
) -> io::Result<Option<usize>> {
    let mut buffer = BytesMut::with_capacity(GATE_BUFFER_BYTES);
    // Of the message that is passed on, bytes that are still to come.
    let mut rest = 0;
    loop {
        while let Some(length) = next(&buffer, rest) {
            match length {
                Ok(bytes) => {
                    session.write_all(&buffer[..bytes]).await?;
                    buffer.advance(bytes);
                    rest = rest.saturating_sub(bytes);
                }
                Err(bytes) if bytes > POSTGRES_MESSAGE_BYTES_MAX => return Ok(Some(bytes)),
                Err(bytes) => rest = bytes,
            }
        }
        buffer.reserve(GATE_BUFFER_BYTES);
        if client.read_buf(&mut buffer).await? == 0 {
            return Ok(None);
        }
    }
}

/// What comes next of what was read: bytes of the present message that can be passed on, or the bytes of a new one.
fn next(buffer: &[u8], rest: usize) -> Option<Result<usize, usize>> {
    if rest > 0 {
        return Some(Ok(buffer.len().min(rest))).filter(|_| !buffer.is_empty());
    }
    let mut length = buffer.get(1..HEAD_BYTES)?;
    // A length that is too small for itself is for the session to refuse, with the head that it has.
    let length = usize::try_from(length.get_i32()).unwrap_or(0).max(HEAD_BYTES - 1);
    Some(Err(length + 1))
}

/// The message that ends a session whose client sent too much.
fn too_large(bytes: usize) -> BytesMut {
    let text = format!("a message of {bytes} bytes; at most {POSTGRES_MESSAGE_BYTES_MAX} are taken");
    let mut fields = BytesMut::new();
    for (kind, value) in [(b'S', "FATAL"), (b'V', "FATAL"), (b'C', "54000"), (b'M', &*text)] {
        fields.put_u8(kind);
        fields.put_slice(value.as_bytes());
        fields.put_u8(0);
    }
    fields.put_u8(0);
    let mut message = BytesMut::new();
    message.put_u8(b'E');
    message.put_i32(i32::try_from(fields.len() + 4).unwrap_or(i32::MAX));
    message.extend_from_slice(&fields);
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut out = vec![kind];
        out.extend_from_slice(&i32::try_from(body.len() + 4).unwrap().to_be_bytes());
        out.extend_from_slice(body);
        out
    }

    #[tokio::test]
    async fn messages_pass_as_they_are_and_those_too_large_do_not() {
        let mut sent = message(b'Q', b"SELECT 1\0");
        sent.extend(message(b'S', b""));
        sent.extend(message(b'P', &vec![7; 100_000]));
        let good = sent.clone();
        sent.push(b'Q');
        sent.extend_from_slice(&i32::MAX.to_be_bytes());
        sent.extend_from_slice(b"and so on");
        let (mut client, mut there) = tokio::io::duplex(1_000);
        let (mut session, mut passed) = tokio::io::duplex(1_000_000);
        let sender = tokio::spawn(async move { client.write_all(&sent).await });
        let refused = questions_of(&mut there, &mut session).await.unwrap();
        assert_eq!(refused, Some(i32::MAX as usize + 1));
        drop(session);
        let mut got = Vec::new();
        passed.read_to_end(&mut got).await.unwrap();
        assert!(got == good, "{} bytes of {} came", got.len(), good.len());
        drop(there);
        let _ = sender.await;
    }

    #[tokio::test]
    async fn lengths_that_are_none_do_not_stop_it() {
        let (mut client, mut there) = tokio::io::duplex(1_000);
        let (mut session, mut passed) = tokio::io::duplex(1_000);
        client.write_all(&[b'Q', 0xff, 0xff, 0xff, 0xff, b'x', 0, 0, 0, 0]).await.unwrap();
        drop(client);
        assert_eq!(questions_of(&mut there, &mut session).await.unwrap(), None);
        drop(session);
        let mut got = Vec::new();
        passed.read_to_end(&mut got).await.unwrap();
        assert_eq!(got.len(), 10);
    }
}
