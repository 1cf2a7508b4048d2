//! The front door: connections, frames, and the conversation of requests and answers on them.
//!
//! Owns sockets, their buffers, deadlines and limits, on the server's and on the client's side. It does
//! not know what a request means: each goes to a [`Handler`], which answers at once or later.
//!
//! Reading order: [`Handler`] (what a room provides), [`Connection`] and [`Responder`] (what it gets),
//! `pump` (the one task of a connection), [`Server`], [`Client`].
#![forbid(unsafe_code)]

pub mod limits;

mod alarm;
mod arrival;
mod budget;
mod calls;
mod client;
mod closing;
mod connection;
mod deadline;
mod figures;
mod handler;
mod inbox;
mod incoming;
mod large_frames;
mod outbox;
mod outgoing;
mod pace;
mod pump;
mod roster;
mod server;

pub use client::{Client, ConnectError};
pub use closing::CloseReason;
pub use connection::{CallError, Connection, Responder};
pub use figures::Figures;
pub use handler::{Answer, Handler};
pub use pace::Pace;
pub use server::{BindError, Server, ServerOptions};
