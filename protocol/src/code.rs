//! The numbers of requests and responses (`RequestCode` and `ResponseCode` of Apache RocketMQ), and those of Strata's own
//! requests, in a range that RocketMQ does not use.

macro_rules! request_codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal,)*) => {
        /// Request codes by their names in RocketMQ.
        pub mod request {
            $($(#[$doc])* pub const $name: i32 = $code;)*
        }

        /// The name of a request code in RocketMQ; `None` for a code that is not known here.
        #[must_use]
        pub fn request_name(code: i32) -> Option<&'static str> {
            REQUEST_NAMES.iter().find(|(known, _)| *known == code).map(|(_, name)| *name)
        }

        const REQUEST_NAMES: &[(i32, &str)] = &[$(($code, stringify!($name)),)*];
    };
}

request_codes! {
    /// Send one message, long field names.
    SEND_MESSAGE = 10,
    /// Read messages of one queue.
    PULL_MESSAGE = 11,
    /// Find messages by key or unique key.
    QUERY_MESSAGE = 12,
    /// A group's stored offset of a queue.
    QUERY_CONSUMER_OFFSET = 14,
    /// Store a group's offset of a queue.
    UPDATE_CONSUMER_OFFSET = 15,
    /// Create or change a topic.
    UPDATE_AND_CREATE_TOPIC = 17,
    /// Create or change several topics.
    UPDATE_AND_CREATE_TOPIC_LIST = 18,
    /// All topics of a broker.
    GET_ALL_TOPIC_CONFIG = 21,
    /// Change a broker's settings.
    UPDATE_BROKER_CONFIG = 25,
    /// A broker's settings.
    GET_BROKER_CONFIG = 26,
    /// A broker's state.
    GET_BROKER_RUNTIME_INFO = 28,
    /// The offset at a time.
    SEARCH_OFFSET_BY_TIMESTAMP = 29,
    /// The next offset of a queue.
    GET_MAX_OFFSET = 30,
    /// The first offset of a queue.
    GET_MIN_OFFSET = 31,
    /// The store time of a queue's first message.
    GET_EARLIEST_MSG_STORETIME = 32,
    /// One message by its log position.
    VIEW_MESSAGE_BY_ID = 33,
    /// A client shows itself and its groups.
    HEART_BEAT = 34,
    /// A client leaves.
    UNREGISTER_CLIENT = 35,
    /// A consumer gives a message back for a later retry.
    CONSUMER_SEND_MSG_BACK = 36,
    /// Commit or roll back a transactional message.
    END_TRANSACTION = 37,
    /// The client ids of a group.
    GET_CONSUMER_LIST_BY_GROUP = 38,
    /// Broker asks a producer for a transaction's state.
    CHECK_TRANSACTION_STATE = 39,
    /// Broker tells consumers that their group changed.
    NOTIFY_CONSUMER_IDS_CHANGED = 40,
    /// Lock queues for an orderly consumer.
    LOCK_BATCH_MQ = 41,
    /// Unlock them.
    UNLOCK_BATCH_MQ = 42,
    /// All offsets of all groups.
    GET_ALL_CONSUMER_OFFSET = 43,
    /// Progress of the delay levels.
    GET_ALL_DELAY_OFFSET = 45,
    /// Check a subscription's expression.
    CHECK_CLIENT_CONFIG = 46,
    /// Put one value of the name server's configuration.
    PUT_KV_CONFIG = 100,
    /// Read one.
    GET_KV_CONFIG = 101,
    /// Delete one.
    DELETE_KV_CONFIG = 102,
    /// A broker registers with a name server.
    REGISTER_BROKER = 103,
    /// A broker leaves.
    UNREGISTER_BROKER = 104,
    /// Where a topic is.
    GET_ROUTEINFO_BY_TOPIC = 105,
    /// All brokers and clusters.
    GET_BROKER_CLUSTER_INFO = 106,
    /// Create or change a group.
    UPDATE_AND_CREATE_SUBSCRIPTIONGROUP = 200,
    /// All groups of a broker.
    GET_ALL_SUBSCRIPTIONGROUP_CONFIG = 201,
    /// Offsets of a topic's queues.
    GET_TOPIC_STATS_INFO = 202,
    /// A group's connections.
    GET_CONSUMER_CONNECTION_LIST = 203,
    /// A producer group's connections.
    GET_PRODUCER_CONNECTION_LIST = 204,
    /// Take the write permission of a broker away, in the name server.
    WIPE_WRITE_PERM_OF_BROKER = 205,
    /// All topics of a name server.
    GET_ALL_TOPIC_LIST_FROM_NAMESERVER = 206,
    /// Delete a group.
    DELETE_SUBSCRIPTIONGROUP = 207,
    /// A group's progress.
    GET_CONSUME_STATS = 208,
    /// Delete a topic in a broker.
    DELETE_TOPIC_IN_BROKER = 215,
    /// Delete a topic in a name server.
    DELETE_TOPIC_IN_NAMESRV = 216,
    /// Register a topic in a name server.
    REGISTER_TOPIC_IN_NAMESRV = 217,
    /// All values of a namespace.
    GET_KVLIST_BY_NAMESPACE = 219,
    /// Broker tells consumers to take other offsets.
    RESET_CONSUMER_CLIENT_OFFSET = 220,
    /// Broker asks a consumer for its offsets.
    GET_CONSUMER_STATUS_FROM_CLIENT = 221,
    /// Reset a group's offsets.
    INVOKE_BROKER_TO_RESET_OFFSET = 222,
    /// Ask online consumers for their offsets.
    INVOKE_BROKER_TO_GET_CONSUMER_STATUS = 223,
    /// Topics of a cluster.
    GET_TOPICS_BY_CLUSTER = 224,
    /// Create or change several groups.
    UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST = 225,
    /// Groups that read a topic.
    QUERY_TOPIC_CONSUME_BY_WHO = 300,
    /// First, last and consumed time of each queue.
    QUERY_CONSUME_TIME_SPAN = 303,
    /// System topics of a name server.
    GET_SYSTEM_TOPIC_LIST_FROM_NS = 304,
    /// System topics of a broker.
    GET_SYSTEM_TOPIC_LIST_FROM_BROKER = 305,
    /// Remove expired consume queue files.
    CLEAN_EXPIRED_CONSUMEQUEUE = 306,
    /// A consumer's inner state, asked through the broker.
    GET_CONSUMER_RUNNING_INFO = 307,
    /// Offsets after a correction.
    QUERY_CORRECTION_OFFSET = 308,
    /// Consume one message now, asked through the broker.
    CONSUME_MESSAGE_DIRECTLY = 309,
    /// Send one message, short field names.
    SEND_MESSAGE_V2 = 310,
    /// Unit topics.
    GET_UNIT_TOPIC_LIST = 311,
    /// Topics with a unit subscription.
    GET_HAS_UNIT_SUB_TOPIC_LIST = 312,
    /// Topics with a unit subscription that are no unit topics.
    GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST = 313,
    /// Copy a group's offsets.
    CLONE_GROUP_OFFSET = 314,
    /// One statistic of a broker.
    VIEW_BROKER_STATS_DATA = 315,
    /// Remove unused topics.
    CLEAN_UNUSED_TOPIC = 316,
    /// Progress of all groups.
    GET_BROKER_CONSUME_STATS = 317,
    /// Change a name server's settings.
    UPDATE_NAMESRV_CONFIG = 318,
    /// A name server's settings.
    GET_NAMESRV_CONFIG = 319,
    /// Send several messages at once.
    SEND_BATCH_MESSAGE = 320,
    /// Entries of a consume queue.
    QUERY_CONSUME_QUEUE = 321,
    /// Has a broker's data changed?
    QUERY_DATA_VERSION = 322,
    /// Check a half message once more.
    RESUME_CHECK_HALF_MESSAGE = 323,
    /// Answer a request message, long names.
    SEND_REPLY_MESSAGE = 324,
    /// Answer a request message, short names.
    SEND_REPLY_MESSAGE_V2 = 325,
    /// Broker hands a reply to the requester.
    PUSH_REPLY_MESSAGE_TO_CLIENT = 326,
    /// Give a broker its write permission back, in the name server.
    ADD_WRITE_PERM_OF_BROKER = 327,
    /// All producers.
    GET_ALL_PRODUCER_INFO = 328,
    /// Delete expired segments.
    DELETE_EXPIRED_COMMITLOG = 329,
    /// Topics of a group.
    QUERY_TOPICS_BY_CONSUMER = 343,
    /// A group's subscription of a topic.
    QUERY_SUBSCRIPTION_BY_CONSUMER = 345,
    /// One topic.
    GET_TOPIC_CONFIG = 351,
    /// One group.
    GET_SUBSCRIPTIONGROUP_CONFIG = 352,
    /// May a group read a topic?
    UPDATE_AND_GET_GROUP_FORBIDDEN = 353,
    /// Read messages of one queue, sent by lite pull consumers.
    LITE_PULL_MESSAGE = 361,
    /// Take a delayed message back.
    RECALL_MESSAGE = 370,
    /// Which queues a client gets.
    QUERY_ASSIGNMENT = 400,
    /// Pull or pop?
    SET_MESSAGE_REQUEST_MODE = 401,
    /// All of these.
    GET_ALL_MESSAGE_REQUEST_MODE = 402,
    /// Create a static topic.
    UPDATE_AND_CREATE_STATIC_TOPIC = 513,
    /// Brokers of one name.
    GET_BROKER_MEMBER_GROUP = 901,
    /// A broker is alive.
    BROKER_HEARTBEAT = 904,
    /// Replication state.
    GET_BROKER_HA_STATUS = 907,
    /// Strata's own: the state of a broker's cold tier.
    TIER_STATUS = 9001,
    /// Strata's own: roll into the cold tier now.
    TIER_ROLL = 9002,
    /// Strata's own: applies the cold tier's retention, merges small rolls, deletes what nobody needs.
    TIER_GC = 9003,
    /// Pop messages.
    POP_MESSAGE = 200050,
    /// Acknowledge a popped message.
    ACK_MESSAGE = 200051,
    /// Look at messages.
    PEEK_MESSAGE = 200052,
    /// Change when a popped message comes back.
    CHANGE_MESSAGE_INVISIBLETIME = 200053,
    /// Wait for messages.
    NOTIFICATION = 200054,
    /// Number of waiting pops.
    POLLING_INFO = 200055,
    /// Acknowledge several popped messages.
    BATCH_ACK_MESSAGE = 200151,
}

macro_rules! response_codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal,)*) => {
        /// What became of a request.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ResponseCode { $($(#[$doc])* $name,)* }

        impl ResponseCode {
            /// The number on the wire.
            #[must_use]
            pub fn wire(self) -> i32 { match self { $(Self::$name => $code,)* } }

            /// The code of a number, for clients; `None` when RocketMQ's servers (5.3) answer nothing of that number.
            #[must_use]
            pub fn of(code: i32) -> Option<Self> { match code { $($code => Some(Self::$name),)* _ => None } }
        }
    };
}

response_codes! {
    /// Done.
    Success = 0,
    /// Failed for a reason that the remark gives.
    SystemError = 1,
    /// Too busy now.
    SystemBusy = 2,
    /// Not served.
    RequestCodeNotSupported = 3,
    /// The transaction failed.
    TransactionFailed = 4,
    /// Stored, but the flush was not confirmed in time.
    FlushDiskTimeout = 10,
    /// Stored, but there is no slave.
    SlaveNotAvailable = 11,
    /// Stored, but the slave did not confirm in time.
    FlushSlaveTimeout = 12,
    /// The message is not legal.
    MessageIllegal = 13,
    /// The broker takes no writes now.
    ServiceNotAvailable = 14,
    /// The client's version is too old.
    VersionNotSupported = 15,
    /// Forbidden.
    NoPermission = 16,
    /// No such topic.
    TopicNotExist = 17,
    /// There is such a topic.
    TopicExistAlready = 18,
    /// Nothing to read now.
    PullNotFound = 19,
    /// Nothing matched; ask again at once.
    PullRetryImmediately = 20,
    /// The offset is out of range; take the one in the answer.
    PullOffsetMoved = 21,
    /// Not found.
    QueryNotFound = 22,
    /// The subscription's expression is wrong.
    SubscriptionParseFailed = 23,
    /// The group does not subscribe the topic.
    SubscriptionNotExist = 24,
    /// The subscription here is older.
    SubscriptionNotLatest = 25,
    /// No such group.
    SubscriptionGroupNotExist = 26,
    /// No filter data.
    FilterDataNotExist = 27,
    /// The filter data here is older.
    FilterDataNotLatest = 28,
    /// A field is missing or wrong.
    InvalidParameter = 29,
    /// A producer says that its transaction is to be committed.
    TransactionShouldCommit = 200,
    /// It is to be rolled back.
    TransactionShouldRollback = 201,
    /// The producer does not know yet.
    TransactionStateUnknow = 202,
    /// The transaction is of another group.
    TransactionStateGroupWrong = 203,
    /// No such buyer.
    NoBuyerId = 204,
    /// Another unit.
    NotInCurrentUnit = 205,
    /// No consumer of the group is online.
    ConsumerNotOnline = 206,
    /// A client did not answer in time.
    ConsumeMsgTimeout = 207,
    /// No such message.
    NoMessage = 208,
    /// Too many wait already.
    PollingFull = 209,
    /// Nothing came in time.
    PollingTimeout = 210,
    /// No such broker.
    BrokerNotExist = 211,
    /// The broker still builds its indexes.
    BrokerDispatchNotComplete = 212,
    /// The group broadcasts, so the request means nothing.
    BroadcastConsumption = 213,
    /// Too many requests of this kind.
    FlowControl = 215,
    /// Another broker leads the queue.
    NotLeaderForQueue = 501,
    /// The operation is not legal.
    IllegalOperation = 604,
    /// The server shuts down; reconnect.
    GoAway = 1500,
    /// The master's epoch is old.
    ControllerFencedMasterEpoch = 2000,
    /// The epoch of the replicas in sync is old.
    ControllerFencedSyncStateSetEpoch = 2001,
    /// It is not the master.
    ControllerInvalidMaster = 2002,
    /// They are not the replicas.
    ControllerInvalidReplicas = 2003,
    /// There is no master now.
    ControllerMasterNotAvailable = 2004,
    /// The controller cannot act on it.
    ControllerInvalidRequest = 2005,
    /// The broker is silent.
    ControllerBrokerNotAlive = 2006,
    /// Another controller leads.
    ControllerNotLeader = 2007,
    /// The controller does not know the broker.
    ControllerBrokerMetadataNotExist = 2008,
    /// The broker's metadata cannot be removed.
    ControllerInvalidCleanBrokerMetadata = 2009,
    /// The broker must register first.
    ControllerBrokerNeedToBeRegistered = 2010,
    /// There is a master.
    ControllerMasterStillExist = 2011,
    /// No master was elected.
    ControllerElectMasterFailed = 2012,
    /// The replicas in sync were not changed.
    ControllerAlterSyncStateSetFailed = 2013,
    /// The broker id is taken.
    ControllerBrokerIdInvalid = 2014,
    /// The controllers' log failed.
    ControllerJraftInternalError = 2015,
    /// The broker never showed itself.
    ControllerBrokerLiveInfoNotExists = 2016,
    /// No such user.
    UserNotExist = 3001,
    /// No such policy.
    PolicyNotExist = 3002,
}
