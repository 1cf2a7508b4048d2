//! What a room provides to be spoken to: one function from requests to answers.
//!
//! Owns the contract between connections and the rooms behind them, and nothing else.

use std::sync::Arc;
use std::time::Duration;

use strata_protocol::command::Command;
use strata_protocol::reply::Reply;

use crate::connection::Connection;

/// What becomes of a request when its handler returns.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "answers are moved once and mostly `Now`; a box would cost an allocation"
)]
pub enum Answer {
    /// This is the answer. It leaves together with those of the other requests that came with it.
    Now(Reply),
    /// A [`Responder`](crate::Responder) that the handler took from the connection will answer.
    Later,
    /// The requester gets no answer.
    Never,
}

/// Receives the requests of all connections of a server, or of a client whose server asks back.
pub trait Handler: Send + Sync + 'static {
    /// Takes one request, on the connection's own task, in the order of arrival.
    ///
    /// It must not block: the other requests of the connection, and the connections that share the thread, wait.
    /// Long work goes elsewhere and answers through a [`Responder`](crate::Responder). A panic is answered with
    /// `SYSTEM_ERROR` and hurts nobody else. The request's fields and body are slices of the connection's
    /// read buffer, all of which stays allocated with them, mostly 256 KiB, with a large frame up to twice the
    /// frame: what is kept beyond the answer should be a copy.
    fn handle(&self, request: Command, connection: &Arc<Connection>) -> Answer;

    /// A request of `code` was answered with [`Answer::Now`], `took` after the connection's task had turned to it.
    fn answered(&self, _code: i32, _reply: &Reply, _took: Duration) {}

    /// A connection was accepted or made; none of its requests was handled yet.
    fn opened(&self, _connection: &Arc<Connection>) {}

    /// The connection has ended; called exactly once for every `opened`.
    fn closed(&self, _connection: &Arc<Connection>) {}
}
