//! The store from outside: through its public API and its files.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod basic;
mod begin;
mod common;
mod copies;
mod damage;
mod early;
mod finding;
mod flushing;
mod gate;
mod hot;
mod inspect;
mod model;
mod recovery;
mod retention;
mod scrub;
mod sim;
mod unavailable;
mod upkeep;
