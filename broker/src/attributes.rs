//! The attributes that a topic may have, by RocketMQ's names (its `TopicAttributes`), and what is served of them.

use std::collections::BTreeMap;

use crate::refusal::Refusal;

/// Attributes by name.
pub(crate) type Attributes = BTreeMap<String, String>;

/// Hours that a topic's messages are kept; see [`Hall::retention_ms`](crate::hall::Hall::retention_ms).
pub(crate) const RESERVE_TIME: &str = "reserve.time";

/// Applies one change, `+name=value` or `-name`.
pub(crate) fn change(attributes: &mut Attributes, change: &str) -> Result<(), Refusal> {
    if let Some((key, value)) = change.strip_prefix('+').and_then(|pair| pair.split_once('=')) {
        check(key, Some(value))?;
        attributes.insert(key.to_owned(), value.to_owned());
    } else if let Some(key) = change.strip_prefix('-') {
        check(key, None)?;
        attributes.remove(key);
    } else {
        return Err(Refusal::Attribute { change: change.to_owned() });
    }
    Ok(())
}

/// Checks a change: the key must be one of RocketMQ's, and its new value one that is served.
fn check(key: &str, value: Option<&str>) -> Result<(), Refusal> {
    let one_of = |values: &'static [&'static str]| value.is_none_or(|value| values.contains(&value));
    let is_served = match key {
        "message.type" => one_of(&["UNSPECIFIED", "NORMAL", "FIFO", "DELAY", "TRANSACTION", "MIXED"]),
        // Queues of batches and compaction are kinds of store that this one is not.
        "queue.type" => one_of(&["SimpleCQ"]),
        "cleanup.policy" => one_of(&["DELETE"]),
        RESERVE_TIME => value.is_none_or(|value| value == "-1" || value.parse::<u32>().is_ok()),
        _ => return Err(Refusal::UnknownAttribute { key: key.to_owned() }),
    };
    if is_served {
        return Ok(());
    }
    Err(Refusal::AttributeValue { key: key.to_owned(), value: value.unwrap_or_default().to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_attributes_that_act_are_taken() {
        for (key, value) in [("message.type", "FIFO"), ("reserve.time", "24"), ("reserve.time", "-1")] {
            assert!(check(key, Some(value)).is_ok() && check(key, None).is_ok(), "{key}={value}");
        }
        for (key, value) in [("message.type", "NONE"), ("reserve.time", "soon"), ("cleanup.policy", "COMPACTION")] {
            assert!(matches!(check(key, Some(value)), Err(Refusal::AttributeValue { .. })), "{key}={value}");
        }
        assert!(matches!(check("no.such", None), Err(Refusal::UnknownAttribute { .. })));
        let mut attributes = Attributes::new();
        change(&mut attributes, "+message.type=FIFO").unwrap();
        assert!(matches!(change(&mut attributes, "message.type=FIFO"), Err(Refusal::Attribute { .. })));
        assert_eq!(attributes.len(), 1);
        change(&mut attributes, "-message.type").unwrap();
        assert!(attributes.is_empty());
    }
}
