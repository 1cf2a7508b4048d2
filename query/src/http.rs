//! `POST /api/v1/sql`: a statement in, its rows out while they are found.
//!
//! Owns who is listened to, and the form of answers. A statement ends when its connection does.

use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use datafusion::arrow::datatypes::Schema;
use datafusion::arrow::record_batch::RecordBatch;
use futures_util::{StreamExt, stream};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_io_timeout::TimeoutStream;

use crate::engine::{Answer, Engine, Statement};
use crate::error::QueryError;
use crate::figures::Front;
use crate::forms::{Encoder, Form};
use crate::limits::{
    BODY_BYTES_MAX, CONNECTIONS_MAX, LAST_LINE_SECONDS_MAX, REQUEST_SECONDS_MAX, STALLED_SECONDS_MAX, UNSENT_BYTES_MAX,
};

/// The header that names the columns and their types, in their order, as JSON.
pub const COLUMNS_HEADER: &str = "x-strata-columns";

/// The member of the last line of an answer that was broken off.
pub const ERROR_MEMBER: &str = "strata_error";

/// Between two tries to accept a connection when the system has none to give.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves statements until `until` is over.
pub async fn serve(listener: TcpListener, engine: Arc<Engine>, until: impl Future<Output = ()>) {
    let router = Router::new().route("/api/v1/sql", post(answer)).with_state(engine);
    let (mut connections, mut until) = (JoinSet::new(), pin!(until));
    loop {
        tokio::select! {
            () = &mut until => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok((socket, _)) => {
                    let service = TowerToHyperService::new(router.clone());
                    let exchange = async move {
                        let mut exchange = http1::Builder::new();
                        exchange.timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(REQUEST_SECONDS_MAX));
                        exchange.keep_alive(false).max_buf_size(UNSENT_BYTES_MAX);
                        let mut socket = TimeoutStream::new(socket);
                        socket.set_write_timeout(Some(Duration::from_secs(STALLED_SECONDS_MAX)));
                        let exchange = exchange.serve_connection(TokioIo::new(Box::pin(socket)), service);
                        if let Err(error) = exchange.await {
                            tracing::debug!(%error, "a statement's connection went wrong");
                        }
                    };
                    connections.spawn(exchange);
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection for a statement could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// What a request must show before it is listened to.
///
/// A page of somewhere else, open in a browser on this machine, can send a request here: it says where it is from, and
/// names the host that its own address led to. Clients of other kinds say nothing, or an address.
fn is_from_here(headers: &HeaderMap) -> bool {
    let text = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let is_address = |host: &str| {
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        name == "localhost" || host.parse::<SocketAddr>().is_ok() || host.parse::<IpAddr>().is_ok()
    };
    let is_same = |origin: &str| {
        text(header::HOST).is_some_and(|host| origin.split_once("://").is_some_and(|(_, at)| at == host))
    };
    text(header::HOST).is_none_or(is_address) && text(header::ORIGIN).is_none_or(is_same)
}

/// The text of a request's body.
async fn text_of(body: Body) -> Result<String, QueryError> {
    let failed = |what: &str| QueryError::Statement(what.to_owned());
    let whole = axum::body::to_bytes(body, BODY_BYTES_MAX);
    let bytes = timeout(Duration::from_secs(REQUEST_SECONDS_MAX), whole).await;
    let bytes = bytes.map_err(|_| failed("the statement did not arrive in time"))?;
    let bytes = bytes.map_err(|error| failed(&format!("the statement did not arrive: {error}")))?;
    String::from_utf8(bytes.into()).map_err(|_| failed("the statement is not UTF-8"))
}

async fn answer(State(engine): State<Arc<Engine>>, headers: HeaderMap, body: Body) -> Response {
    if !is_from_here(&headers) {
        let told = QueryError::Statement(
            "a page of another site asks, or the broker is called by a name; ask by its IP address".to_owned(),
        );
        return (StatusCode::FORBIDDEN, error_line(&told)).into_response();
    }
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let form = Form::accepted(accept);
    match answered(&engine, body, form).await {
        Ok(response) => response,
        Err(error) => {
            let status = match error {
                QueryError::TooLong { .. }
                | QueryError::ReadOnly { .. }
                | QueryError::Syntax { .. }
                | QueryError::Statement(_) => StatusCode::BAD_REQUEST,
                QueryError::TooSlow { .. } | QueryError::Crowded { .. } => StatusCode::REQUEST_TIMEOUT,
                QueryError::Memory(_) | QueryError::Failed(_) | QueryError::Broken | QueryError::Threads(_) => {
                    StatusCode::INTERNAL_SERVER_ERROR
                }
            };
            (status, error_line(&error)).into_response()
        }
    }
}

async fn answered(engine: &Arc<Engine>, body: Body, form: Form) -> Result<Response, QueryError> {
    let statement = text_of(body).await?;
    let mut answer = engine.run(Front::Http, Statement::Text(statement)).await?;
    let encoder = match Encoder::new(form, &answer.schema()) {
        Ok(encoder) => encoder,
        Err(error) => return Err(answer.fails(error)),
    };
    // What fails before its first rows is answered with its status.
    let first = answer.next().await.transpose()?;
    Ok(rows(engine, (answer, first), (encoder, form)))
}

fn rows(
    engine: &Arc<Engine>,
    (answer, first): (Answer, Option<RecordBatch>),
    (encoder, form): (Encoder, Form),
) -> Response {
    let columns = columns(&answer.schema());
    let engine = Arc::clone(engine);
    let begun = first.map(Ok);
    let written = stream::unfold(Some((answer, begun, encoder, engine)), |under_way| async move {
        let (mut answer, begun, mut encoder, engine) = under_way?;
        let next = match begun {
            Some(first) => Some(first),
            None => answer.next().await,
        };
        let written = engine.apart(move || match next {
            Some(batch) => (batch.and_then(|batch| encoder.rows(&batch)), Some(encoder)),
            None => (encoder.end(), None),
        });
        let (bytes, encoder) = written.await.unwrap_or_else(|error| (Err(error), None));
        let rest = encoder.filter(|_| bytes.is_ok()).map(|encoder| (answer, None, encoder, engine));
        Some((bytes.map(Bytes::from), rest))
    });
    // What came before an error is of no use without knowing that it is not all: the error is the last line of those
    // forms that have lines, and the connection is cut behind it.
    let told = written.flat_map(move |bytes| match bytes {
        Ok(bytes) => stream::iter([Ok(bytes)]).right_stream(),
        Err(error) => {
            let line = (form == Form::Json).then(|| Ok(error_line(&error).into()));
            stream::iter(line).chain(stream::once(cut(error)).boxed()).left_stream()
        }
    });
    let mut response = Body::from_stream(told).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(form.media_type()));
    if let Ok(columns) = HeaderValue::from_str(&columns) {
        headers.insert(COLUMNS_HEADER, columns);
    }
    response
}

/// The end of an answer that was broken off. An error drops what was not sent yet, so it waits for that to be sent.
async fn cut(error: QueryError) -> Result<Bytes, QueryError> {
    tokio::time::sleep(Duration::from_secs(LAST_LINE_SECONDS_MAX)).await;
    Err(error)
}

fn columns(schema: &Schema) -> String {
    let columns: Vec<[String; 2]> =
        schema.fields().iter().map(|field| [field.name().clone(), field.data_type().to_string()]).collect();
    serde_json::to_string(&columns).unwrap_or_default()
}

fn error_line(error: &QueryError) -> String {
    let line = serde_json::json!({ ERROR_MEMBER: error.to_string() });
    format!("{line}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_other_sites_are_not_listened_to() {
        let headers = |host: &str, origin: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, origin.parse().unwrap());
            }
            headers
        };
        assert!(is_from_here(&HeaderMap::new()));
        assert!(is_from_here(&headers("127.0.0.1:5558", None)));
        assert!(is_from_here(&headers("[::1]:5558", None)));
        assert!(is_from_here(&headers("localhost:5558", Some("http://localhost:5558"))));
        assert!(!is_from_here(&headers("127.0.0.1:5558", Some("https://example.org"))));
        assert!(!is_from_here(&headers("127.0.0.1:5558", Some("null"))));
        assert!(!is_from_here(&headers("rebound.example.org:5558", None)));
    }
}
