//! Headers of what brokers, clients and tools ask of a name server.

use super::headers;

headers! {
    /// Header of 105.
    Route {
        topic: String = "topic",
        strict_json: Option<bool> = "acceptStandardJsonOnly",
    }

    /// Header of 103.
    RegisterBroker {
        broker_name: String = "brokerName",
        broker_address: String = "brokerAddr",
        cluster: String = "clusterName",
        ha_address: Option<String> = "haServerAddr",
        broker_id: i64 = "brokerId",
        heartbeat_timeout_ms: Option<i64> = "heartbeatTimeoutMillis",
        acting_master: Option<bool> = "enableActingMaster",
        compressed: Option<bool> = "compressed",
        body_crc32: Option<i32> = "bodyCrc32",
        zone: Option<String> = "__ZONE_NAME",
    }

    /// Header of 104 and 322.
    BrokerOf {
        broker_name: String = "brokerName",
        broker_address: String = "brokerAddr",
        cluster: String = "clusterName",
        broker_id: i64 = "brokerId",
    }

    /// Header of 904.
    BrokerHeartbeat {
        cluster: String = "clusterName",
        broker_address: String = "brokerAddr",
        broker_name: String = "brokerName",
        broker_id: Option<i64> = "brokerId",
        heartbeat_timeout_ms: Option<i64> = "heartbeatTimeoutMills",
    }

    /// Header of 100; 101 and 102 leave the value out.
    KeyValue {
        namespace: String = "namespace",
        key: String = "key",
        value: Option<String> = "value",
    }

    /// Header of 219.
    NamespaceOf {
        namespace: String = "namespace",
    }

    /// Header of 224.
    ClusterOf {
        cluster: String = "cluster",
    }

    /// Header of 205 and 327.
    BrokerNameOf {
        broker_name: String = "brokerName",
    }

    /// Header of 901.
    BrokerGroupOf {
        cluster: String = "clusterName",
        broker_name: String = "brokerName",
    }

    /// Header of 216.
    DeleteTopicInNamesrv {
        topic: String = "topic",
        cluster: Option<String> = "clusterName",
    }
}
