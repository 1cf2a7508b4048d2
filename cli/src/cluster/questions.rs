//! Tables with queues as keys, as brokers answer them.

use serde::de::DeserializeOwned;
use strata_protocol::body::{MessageQueue, queue_key};
use strata_protocol::command::Command;
use strata_protocol::json;

use crate::exit::{Exit, Failure, OrFail, Outcome};

/// The member `offsetTable` of an answer: a map whose keys are queues, in the order of the queues.
pub(crate) fn queue_table<T: DeserializeOwned>(answer: &Command) -> Outcome<Vec<(MessageQueue, T)>> {
    let unreadable = "the broker's answer cannot be read";
    let document = json::parse_unbounded(&answer.body).or_fail_with(Exit::Failed, unreadable)?;
    let Some(table) = document.get("offsetTable").and_then(|table| table.as_object()) else {
        return Err(Failure::new(Exit::Failed, format!("{unreadable}: it has no offsetTable")));
    };
    let mut queues = Vec::with_capacity(table.len());
    for (key, value) in table {
        let queue = queue_key(key).or_fail_with(Exit::Failed, unreadable)?;
        let value = serde_json::from_value(value.clone()).or_fail_with(Exit::Failed, unreadable)?;
        queues.push((queue, value));
    }
    queues.sort_by(|(left, _), (right, _)| left.cmp(right));
    Ok(queues)
}

/// A queue as it is shown: `broker/3`.
pub(crate) fn queue_of(queue: &MessageQueue) -> String {
    queue_name(&queue.broker_name, queue.queue_id)
}

/// A queue as it is shown: `broker/3`.
pub(crate) fn queue_name(broker: &str, queue_id: i32) -> String {
    format!("{broker}/{queue_id}")
}

#[cfg(test)]
mod tests {
    use strata_protocol::body::{TopicOffset, object_map};

    use super::*;

    #[test]
    fn a_table_with_queues_as_keys_is_read_in_order() {
        let queue = |id| MessageQueue { topic: "t".into(), broker_name: "b".into(), queue_id: id };
        let offset = |max| TopicOffset { min_offset: 0, max_offset: max, last_update_timestamp: 0 };
        let map = object_map([(queue(10), offset(1)), (queue(2), offset(5))]);
        let mut answer = Command::request(0);
        answer.body = format!("{{\"offsetTable\":{map},\"topicPutTps\":0.0}}").into();
        let read: Vec<(MessageQueue, TopicOffset)> = queue_table(&answer).unwrap();
        assert_eq!(read, [(queue(2), offset(5)), (queue(10), offset(1))]);
        assert_eq!(queue_of(&queue(2)), "b/2");
        answer.body = "{}".into();
        assert_eq!(queue_table::<TopicOffset>(&answer).unwrap_err().exit, Exit::Failed);
    }
}
