//! Headers about positions in queues.

use super::headers;

headers! {
    /// Header of 14.
    QueryConsumerOffset {
        group: String = "consumerGroup",
        topic: String = "topic",
        queue_id: i32 = "queueId",
        set_zero_if_not_found: Option<bool> = "setZeroIfNotFound",
    }

    /// Header of 15.
    UpdateConsumerOffset {
        group: String = "consumerGroup",
        topic: String = "topic",
        queue_id: i32 = "queueId",
        commit_offset: i64 = "commitOffset",
    }

    /// Header of 29. `boundaryType` is `LOWER` (default) or `UPPER`.
    SearchOffset {
        topic: String = "topic",
        queue_id: i32 = "queueId",
        timestamp: i64 = "timestamp",
        boundary: Option<String> = "boundaryType",
    }

    /// Header of 30, 31 and 32.
    QueueOf {
        topic: String = "topic",
        queue_id: i32 = "queueId",
    }

    /// Header of 222.
    ResetOffset {
        group: String = "group",
        topic: String = "topic",
        queue_id: Option<i32> = "queueId",
        offset: Option<i64> = "offset",
        timestamp: i64 = "timestamp",
        is_force: Option<bool> = "isForce",
    }

    /// Header of 314.
    CloneGroupOffset {
        source_group: String = "srcGroup",
        target_group: String = "destGroup",
        topic: Option<String> = "topic",
        offline: Option<bool> = "offline",
    }
}
