//! The store from outside: through its public API and its files.

mod basic;
mod common;
mod recovery;
