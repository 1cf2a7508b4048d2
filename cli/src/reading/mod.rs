//! Reading queues as any consumer does: what is wanted of them, pulls, and messages out of their answers.
//!
//! Owns no command: `strata consume` prints what is read, `strata replay` sends it on.

pub(crate) mod message;
pub(crate) mod reader;

/// The group that brokers see when no other is given. It is RocketMQ's group of tools and always exists.
pub(crate) const TOOLS_GROUP: &str = "TOOLS_CONSUMER";
