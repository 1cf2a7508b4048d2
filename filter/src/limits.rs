//! Bounds of expressions, each with its reason.

/// Bytes of an expression's text; every client keeps it in each heartbeat.
pub const EXPRESSION_BYTES_MAX: usize = 16 * 1024;

/// Tags of one subscription; each costs a comparison per message.
pub const TAGS_MAX: usize = 1_024;
