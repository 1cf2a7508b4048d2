//! Bounds of the wire, each with its unit and its reason. Other rooms keep bounds of their own.

/// Bytes of one frame, its length prefix not counted. RocketMQ's decoder has the same bound
/// (`com.rocketmq.remoting.frameMaxLength`), so no client sends more.
pub const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Bytes of one request's header. A legal message may carry 32,767 bytes of properties, and JSON writes a
/// control character as six bytes; anything beyond that is not a message of a client. The answer to a large
/// batch has an id for each message in its header, and has no bound but the frame's.
pub const HEADER_BYTES_MAX: usize = 256 * 1024;

/// Extension fields of one header. The widest request of RocketMQ has fewer than twenty.
pub const FIELDS_MAX: usize = 256;

/// Bytes of the name of an extension field.
pub const FIELD_NAME_BYTES_MAX: usize = 256;

/// Levels of nesting in a JSON document, so that a parser's stack is bounded.
pub const JSON_DEPTH_MAX: usize = 32;

/// Bytes of a JSON body that a server parses (heartbeats, operators' requests). Registrations may fill a frame.
pub const JSON_BODY_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Bytes that a compressed registration may expand to: [`REGISTERED_TOPICS_MAX`] topics with names of average
/// length, several times over.
pub const INFLATED_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Topics in one registration. Apache's largest clusters report tens of thousands; each costs the reader a few
/// hundred bytes, and sixteen MiB of the shortest possible ones would cost a gigabyte.
pub const REGISTERED_TOPICS_MAX: usize = 200_000;

/// Characters of a topic name (`TopicValidator` of RocketMQ).
pub const TOPIC_CHARS_MAX: usize = 127;

/// Characters of a group name (`Validators` of RocketMQ's client).
pub const GROUP_CHARS_MAX: usize = 255;

/// Characters of a retry or dead-letter topic name: the longer prefix, `%RETRY%`, and a group.
pub const DERIVED_TOPIC_CHARS_MAX: usize = 7 + GROUP_CHARS_MAX;

/// Bytes of a message's properties text: its length is a signed 16-bit number in the record.
pub const PROPERTIES_BYTES_MAX: usize = 32_767;

/// Bytes of a message body by default (`maxMessageSize`).
pub const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Bytes of the smallest message that clients put into a batch: its fixed part, an empty body, and the two
/// properties that they add to each (`UNIQ_KEY` with 32 characters, `WAIT`).
pub const BATCH_MESSAGE_BYTES_MIN: usize = 74;

/// Messages in one batch request. RocketMQ bounds a batch by its bytes alone; so many of the smallest messages
/// are as many as a batch of [`BODY_BYTES_MAX`] has.
pub const BATCH_MESSAGES_MAX: usize = BODY_BYTES_MAX / BATCH_MESSAGE_BYTES_MIN;

/// Fields of one record of a trace. Clients write fifteen at most, this broker seventeen; what a newer client adds
/// behind them is passed over.
pub const TRACE_FIELDS_MAX: usize = 32;

/// Bytes of the smallest trace records that clients write: each holds two ids of 32 characters, or one such id,
/// a time and three names.
pub const TRACE_RECORD_BYTES_MIN: usize = 64;

/// Records in the body of one trace message: as many of the smallest as a body of [`BODY_BYTES_MAX`] has.
pub const TRACE_RECORDS_MAX: usize = BODY_BYTES_MAX / TRACE_RECORD_BYTES_MIN;

const _: () = assert!(HEADER_BYTES_MAX < FRAME_BYTES_MAX, "a frame holds its header");
const _: () = assert!(HEADER_BYTES_MAX >= PROPERTIES_BYTES_MAX * 6, "escaped properties fit a header");
