//! Headers about clients and their groups.

use super::headers;

headers! {
    /// Header of 35.
    UnregisterClient {
        client_id: String = "clientID",
        producer_group: Option<String> = "producerGroup",
        consumer_group: Option<String> = "consumerGroup",
    }

    /// Header of 38, 40, 203 and, as an admin request, of others that name a consumer group alone.
    ConsumerGroupOf {
        group: String = "consumerGroup",
    }

    /// Header of 204.
    ProducerGroupOf {
        group: String = "producerGroup",
    }

    /// Header of 307.
    ConsumerRunningInfo {
        group: String = "consumerGroup",
        client_id: String = "clientId",
        jstack: Option<bool> = "jstackEnable",
    }

    /// Header of 309.
    ConsumeDirectly {
        group: String = "consumerGroup",
        client_id: Option<String> = "clientId",
        message_id: Option<String> = "msgId",
        broker_name: Option<String> = "brokerName",
        topic: Option<String> = "topic",
    }

    /// Header of 221 and 223.
    ConsumerStatus {
        topic: String = "topic",
        group: String = "group",
        client_address: Option<String> = "clientAddr",
    }
}
