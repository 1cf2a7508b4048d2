//! Bounds of the cold tier, each with its unit and its reason.

/// Rows of a row group.
pub const GROUP_ROWS_MAX: usize = 32_768;

/// Bytes of records in a row group, so that a reader of one needs so much memory.
pub const GROUP_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Rows of a page: what is decoded at least to read one message.
pub const PAGE_ROWS_MAX: usize = 4_096;

/// Properties of a roll that have a column of their own.
pub const PROPERTY_COLUMNS_MAX: usize = 16;
