//! The language that brokers, name servers and clients speak, and the exact bytes it becomes.
//!
//! Owns names, positions, records, properties, requests, responses and their encodings. It does no
//! I/O and knows no runtime: the same functions serve servers, clients, tests and fuzzers.
//!
//! Reading order: [`frame`] (where a message begins and ends), [`command`] (what a frame says),
//! [`request`] (each request's fields), [`body`] (the JSON documents in frame bodies), then the record
//! side: [`record`], [`properties`], [`batch`], and [`trace`], the bodies of messages about messages.
#![forbid(unsafe_code)]

pub mod limits;
pub mod code;
pub mod frame;
pub mod fields;
pub mod command;
pub mod header;
pub mod reply;
pub mod request;
pub mod json;
pub mod checked;
pub mod body;
pub mod name;

pub mod record;
pub mod properties;
pub mod batch;
pub mod message_id;
pub mod trace;
pub mod hash;
pub mod sysflag;
pub mod version;
