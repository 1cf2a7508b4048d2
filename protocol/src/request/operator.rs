//! Headers of what operators and their tools ask of a broker.

use super::headers;

headers! {
    /// Header of 17.
    CreateTopic {
        topic: String = "topic",
        default_topic: Option<String> = "defaultTopic",
        read_queues: i32 = "readQueueNums",
        write_queues: i32 = "writeQueueNums",
        perm: i32 = "perm",
        filter_type: Option<String> = "topicFilterType",
        sys_flag: Option<i32> = "topicSysFlag",
        order: Option<bool> = "order",
        attributes: Option<String> = "attributes",
    }

    /// Header of 202, 215, 300, 351 and others that name a topic alone.
    TopicOf {
        topic: String = "topic",
    }

    /// Header of 9002, a request of Strata's own.
    TierRoll {
        seal: Option<bool> = "seal",
    }

    /// Header of 9003, a request of Strata's own. With `dry_run` nothing is changed, and what would be deleted is told;
    /// objects have to be needed by nobody for `grace_seconds`.
    TierGc {
        dry_run: Option<bool> = "dryRun",
        grace_seconds: Option<i64> = "graceSeconds",
    }

    /// Header of 343, 352 and others that name a group alone.
    GroupOf {
        group: String = "group",
    }

    /// Header of 207.
    DeleteGroup {
        group: String = "groupName",
        clean_offset: Option<bool> = "cleanOffset",
    }

    /// Header of 21.
    AllTopics {
        sequence: Option<i32> = "topicSeq",
        data_version: Option<String> = "dataVersion",
        topics_max: Option<i32> = "maxTopicNum",
    }

    /// Header of 201.
    AllGroups {
        sequence: Option<i32> = "groupSeq",
        data_version: Option<String> = "dataVersion",
        groups_max: Option<i32> = "maxGroupNum",
    }

    /// Header of 208.
    ConsumeStats {
        group: String = "consumerGroup",
        topic: Option<String> = "topic",
        topic_list: Option<String> = "topicList",
    }

    /// Header of 303, 345 and 353.
    TopicAndGroup {
        topic: Option<String> = "topic",
        group: String = "group",
        readable: Option<bool> = "readable",
    }

    /// Header of 315.
    BrokerStats {
        name: String = "statsName",
        key: String = "statsKey",
    }
}
