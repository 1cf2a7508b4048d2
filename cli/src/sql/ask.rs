//! A statement over HTTP, and its rows as they come.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use bytes::Bytes;
use futures_util::StreamExt;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Map, Value};
use strata_query::http::{COLUMNS_HEADER, ERROR_MEMBER};
use tokio::net::TcpStream;

use crate::exit::{Exit, Failure, OrFail, Outcome};

/// Where statements are asked.
pub(crate) struct Ask<'a> {
    address: &'a str,
}

/// The rows of an answer.
pub(crate) struct Rows {
    /// Names and types.
    pub(crate) columns: Vec<(String, String)>,
    body: axum::body::BodyDataStream,
    /// What came of a line that is not whole yet.
    pending: Vec<u8>,
}

impl<'a> Ask<'a> {
    pub(crate) const fn new(address: &'a str) -> Self {
        Self { address }
    }

    /// A host that the broker takes: a name that led here is told as an address.
    fn host(&self) -> &str {
        let name = self.address.rsplit_once(':').map_or(self.address, |(name, _)| name);
        if name.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok() { self.address } else { "localhost" }
    }

    /// Asks for rows line by line.
    pub(crate) async fn run(&self, statement: String) -> Outcome<Rows> {
        self.run_as(statement, "application/x-ndjson").await
    }

    /// Asks for rows in the form of a media type.
    pub(crate) async fn run_as(&self, statement: String, media_type: &str) -> Outcome<Rows> {
        let unreachable = || {
            format!(
                "SQL at {} cannot be reached; a broker tells where it answers when it starts, name it with --sql H:P",
                self.address
            )
        };
        let socket = TcpStream::connect(self.address).await.or_fail_with(Exit::Unreachable, unreachable())?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(socket)).await.or_fail_with(Exit::Unreachable, unreachable())?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "the connection to SQL ended");
            }
        });
        let request = Request::post("/api/v1/sql").header("host", self.host()).header("accept", media_type);
        let request = request.body(Body::from(statement));
        let answer = sender.send_request(request.or_fail(Exit::Usage)?).await.or_fail(Exit::Unreachable)?;
        let (parts, body) = answer.into_parts();
        let columns = parts.headers.get(COLUMNS_HEADER).and_then(|value| serde_json::from_slice(value.as_bytes()).ok());
        let mut rows = Rows {
            columns: columns.unwrap_or_default(),
            body: Body::new(body).into_data_stream(),
            pending: Vec::new(),
        };
        if parts.status != StatusCode::OK {
            // The only line is the error, which reading it gives.
            let exit = if parts.status == StatusCode::BAD_REQUEST { Exit::Usage } else { Exit::Refused };
            while rows.next().await.map_err(|failure| Failure::new(exit, failure))?.is_some() {}
            return Err(Failure::new(exit, format!("SQL answered {}", parts.status)));
        }
        Ok(rows)
    }
}

impl Rows {
    /// The next row.
    pub(crate) async fn next(&mut self) -> Outcome<Option<Map<String, Value>>> {
        let Some(line) = self.next_line().await? else { return Ok(None) };
        serde_json::from_str(&line).or_fail_with(Exit::Failed, "a row is no JSON").map(Some)
    }

    /// The next bytes of a form that has no lines.
    pub(crate) async fn next_bytes(&mut self) -> Outcome<Option<Bytes>> {
        let broken = "the broker broke the answer off; its log tells why";
        self.body.next().await.transpose().or_fail_with(Exit::Failed, broken)
    }

    /// The next row as its line.
    pub(crate) async fn next_line(&mut self) -> Outcome<Option<String>> {
        loop {
            if let Some(end) = self.pending.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.pending.drain(..=end).collect();
                let line = String::from_utf8_lossy(&line).trim_end().to_owned();
                if line.is_empty() {
                    continue;
                }
                return match broken_off(&line) {
                    Some(error) => Err(Failure::new(Exit::Failed, error)),
                    None => Ok(Some(line)),
                };
            }
            match self.body.next().await {
                Some(bytes) => self.pending.extend_from_slice(&bytes.or_fail(Exit::Failed)?),
                None if self.pending.is_empty() => return Ok(None),
                None => self.pending.push(b'\n'),
            }
        }
    }
}

/// Why an answer was broken off, if the line says so.
fn broken_off(line: &str) -> Option<String> {
    let begin = format!("{{\"{ERROR_MEMBER}\":");
    let value: Value = line.starts_with(&begin).then(|| serde_json::from_str(line).ok()).flatten()?;
    value.get(ERROR_MEMBER)?.as_str().map(str::to_owned)
}
