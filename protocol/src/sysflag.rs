//! The bits of a message's `sysFlag`: compression, transaction state, host address families.
//!
//! Owns the bit positions (`MessageSysFlag` and `CompressionType` of RocketMQ). It does not compress.

/// The body is compressed.
pub const COMPRESSED: i32 = 0x1;
/// The tags property may hold several tags.
pub const MULTI_TAGS: i32 = 0x2;
/// Mask of the transaction type.
pub const TRANSACTION_MASK: i32 = 0xC;
/// The born host takes 16 address bytes instead of 4.
pub const BORN_HOST_V6: i32 = 0x10;
/// The store host takes 16 address bytes instead of 4.
pub const STORE_HOST_V6: i32 = 0x20;
/// A broker must unwrap an inner batch before it answers old clients.
pub const NEED_UNWRAP: i32 = 0x40;
/// The body is an inner batch.
pub const INNER_BATCH: i32 = 0x80;
/// Mask of the compression type.
pub const COMPRESSION_MASK: i32 = 0x700;

/// What a message is to the transaction machinery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TransactionType {
    /// Not part of a transaction; also how half messages are stored.
    None,
    /// Announced and not yet decided.
    Prepared,
    /// Decided: to be delivered.
    Commit,
    /// Decided: never to be delivered.
    Rollback,
}

impl TransactionType {
    /// The bits of this type.
    #[must_use]
    pub const fn bits(self) -> i32 {
        match self {
            Self::None => 0,
            Self::Prepared => 0x4,
            Self::Commit => 0x8,
            Self::Rollback => 0xC,
        }
    }
}

/// The transaction type in `sys_flag`.
#[must_use]
pub const fn transaction_type(sys_flag: i32) -> TransactionType {
    match sys_flag & TRANSACTION_MASK {
        0x4 => TransactionType::Prepared,
        0x8 => TransactionType::Commit,
        0xC => TransactionType::Rollback,
        _ => TransactionType::None,
    }
}

/// `sys_flag` with its transaction type replaced.
#[must_use]
pub const fn with_transaction_type(sys_flag: i32, kind: TransactionType) -> i32 {
    (sys_flag & !TRANSACTION_MASK) | kind.bits()
}

/// Whether a message of this flag gets a queue offset and a place in its consume queue.
///
/// Prepared and rollback messages do not (`DefaultMessageStore.CommitLogDispatcherBuildConsumeQueue`).
#[must_use]
pub const fn is_queued(sys_flag: i32) -> bool {
    matches!(transaction_type(sys_flag), TransactionType::None | TransactionType::Commit)
}

/// How a compressed body is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compression {
    /// A raw zlib stream; also what flags without a type mean.
    Zlib,
    /// An LZ4 frame.
    Lz4,
    /// A zstd frame.
    Zstd,
}

/// The compression of the body, `None` for a plain one. A type that RocketMQ does not define is
/// `Some(Err(bits))`.
#[must_use]
pub const fn compression(sys_flag: i32) -> Option<Result<Compression, i32>> {
    if sys_flag & COMPRESSED == 0 {
        return None;
    }
    Some(match sys_flag & COMPRESSION_MASK {
        0 | 0x300 => Ok(Compression::Zlib),
        0x100 => Ok(Compression::Lz4),
        0x200 => Ok(Compression::Zstd),
        other => Err(other),
    })
}

/// Bytes of a born host field: address and port.
#[must_use]
pub const fn born_host_bytes(sys_flag: i32) -> usize {
    if sys_flag & BORN_HOST_V6 == 0 { 8 } else { 20 }
}

/// Bytes of a store host field: address and port.
#[must_use]
pub const fn store_host_bytes(sys_flag: i32) -> usize {
    if sys_flag & STORE_HOST_V6 == 0 { 8 } else { 20 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transaction_types_survive_the_flag() {
        let all =
            [TransactionType::None, TransactionType::Prepared, TransactionType::Commit, TransactionType::Rollback];
        for kind in all {
            let flag = with_transaction_type(0x713 | TransactionType::Rollback.bits(), kind);
            assert_eq!(transaction_type(flag), kind);
            assert_eq!(flag & !TRANSACTION_MASK, 0x713);
        }
        assert!(is_queued(0) && is_queued(0x8));
        assert!(!is_queued(0x4) && !is_queued(0xC));
    }

    #[test]
    fn compression_types() {
        assert_eq!(compression(0x100), None);
        assert_eq!(compression(0x1), Some(Ok(Compression::Zlib)));
        assert_eq!(compression(0x101), Some(Ok(Compression::Lz4)));
        assert_eq!(compression(0x201), Some(Ok(Compression::Zstd)));
        assert_eq!(compression(0x301), Some(Ok(Compression::Zlib)));
        assert_eq!(compression(0x701), Some(Err(0x700)));
    }

    #[test]
    fn host_widths() {
        assert_eq!((born_host_bytes(0), store_host_bytes(0)), (8, 8));
        assert_eq!((born_host_bytes(0x10), store_host_bytes(0x10)), (20, 8));
        assert_eq!((born_host_bytes(0x20), store_host_bytes(0x20)), (8, 20));
    }
}
