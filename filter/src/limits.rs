//! Bounds of expressions, each with its reason.

/// Bytes of an expression's text; every client keeps it in each heartbeat.
pub const EXPRESSION_BYTES_MAX: usize = 16 * 1024;

/// Tags of one subscription; each costs a comparison per message.
pub const TAGS_MAX: usize = 1_024;

/// Open parentheses and unary operators of an SQL expression. RocketMQ's own parser overflows its stack at 500 to
/// 1,000 of them; here they cost a byte each while a message is evaluated.
pub const SQL_LEVELS_MAX: usize = 512;

/// Nodes of an SQL expression's tree. A text of [`EXPRESSION_BYTES_MAX`] holds no more, since no node takes less than a
/// byte; the bound is checked all the same, because memory is kept for each.
pub const SQL_NODES_MAX: usize = EXPRESSION_BYTES_MAX;

/// Elements of one IN list, of which the shortest takes three bytes of text. Lists are sorted when they are compiled,
/// so a long one costs a message no more than a few comparisons.
pub const SQL_ELEMENTS_MAX: usize = EXPRESSION_BYTES_MAX / 3 + 1;

/// Open parentheses and NOT of an expression in the strict dialect, which owes nothing to what others compile.
pub const SQL_STRICT_LEVELS_MAX: usize = 256;

/// Nodes of an expression in the strict dialect; each may cost a comparison per message.
pub const SQL_STRICT_NODES_MAX: usize = 4_096;

/// Elements of one IN list in the strict dialect.
pub const SQL_STRICT_ELEMENTS_MAX: usize = 1_024;

/// Bytes kept, while a batch of columns is evaluated, of what comparisons gave for the distinct values of dictionaries:
/// one for each value and comparison. What finds no room is compared row by row.
pub const COLUMN_MEMO_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Characters of the expression that a refusal quotes; remarks travel in response headers.
pub const SQL_QUOTE_CHARS_MAX: usize = 40;
