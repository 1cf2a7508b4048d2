//! Members as clients write them: numbers in quotes, enums by their position, nulls.
//!
//! fastjson takes all of these for what is meant, so brokers must. The C++ client sends enums as numbers
//! and versions as text, the Go client sends hash codes as text.

use serde::de::{Deserialize, Deserializer, Error};
use serde_json::Value;

fn number<E: Error>(value: &Value) -> Result<i64, E> {
    let number = match value {
        Value::Null => Some(0),
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.trim().parse().ok(),
        Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    number.ok_or_else(|| E::custom(format!("expected a whole number, found {value}")))
}

/// A whole number of 64 bits.
pub(super) fn int64<'de, D: Deserializer<'de>>(source: D) -> Result<i64, D::Error> {
    number(&Value::deserialize(source)?)
}

/// A whole number of 32 bits.
pub(super) fn int32<'de, D: Deserializer<'de>>(source: D) -> Result<i32, D::Error> {
    i32::try_from(int64(source)?).map_err(Error::custom)
}

/// Whole numbers of 32 bits; `null` is none.
pub(super) fn int32s<'de, D: Deserializer<'de>>(source: D) -> Result<Vec<i32>, D::Error> {
    let items = Option::<Vec<Value>>::deserialize(source)?.unwrap_or_default();
    items.iter().map(|item| i32::try_from(number::<D::Error>(item)?).map_err(Error::custom)).collect()
}

/// Texts; `null` is none.
pub(super) fn texts<'de, D: Deserializer<'de>>(source: D) -> Result<Vec<String>, D::Error> {
    Ok(Option::deserialize(source)?.unwrap_or_default())
}

/// An enum by its name or by its position in `names`.
fn named<'de, D: Deserializer<'de>>(source: D, names: &[&str]) -> Result<String, D::Error> {
    match Value::deserialize(source)? {
        Value::Null => Ok(String::new()),
        Value::String(name) => Ok(name),
        value @ (Value::Number(_) | Value::Bool(_) | Value::Array(_) | Value::Object(_)) => {
            let position = number::<D::Error>(&value)?;
            let name = usize::try_from(position).ok().and_then(|position| names.get(position));
            name.map(|name| (*name).to_owned()).ok_or_else(|| Error::custom(format!("no such constant: {position}")))
        }
    }
}

/// `ConsumeType`.
pub(super) fn consume_type<'de, D: Deserializer<'de>>(source: D) -> Result<String, D::Error> {
    named(source, &["CONSUME_ACTIVELY", "CONSUME_PASSIVELY", "CONSUME_POP"])
}

/// `MessageModel`.
pub(super) fn message_model<'de, D: Deserializer<'de>>(source: D) -> Result<String, D::Error> {
    named(source, &["BROADCASTING", "CLUSTERING"])
}

/// `ConsumeFromWhere`.
pub(super) fn consume_from_where<'de, D: Deserializer<'de>>(source: D) -> Result<String, D::Error> {
    const NAMES: [&str; 6] = [
        "CONSUME_FROM_LAST_OFFSET",
        "CONSUME_FROM_LAST_OFFSET_AND_FROM_MIN_WHEN_BOOT_FIRST",
        "CONSUME_FROM_MIN_OFFSET",
        "CONSUME_FROM_MAX_OFFSET",
        "CONSUME_FROM_FIRST_OFFSET",
        "CONSUME_FROM_TIMESTAMP",
    ];
    named(source, &NAMES)
}

#[cfg(test)]
mod tests {
    use crate::body::Heartbeat;
    use crate::json;

    #[test]
    fn heartbeats_of_the_c_plus_plus_and_go_clients_are_read() {
        let text = br#"{"clientID":"c@1","consumerDataSet":[{"consumeFromWhere":4,"consumeType":1,"groupName":"g","messageModel":1,
            "subscriptionDataSet":[{"codeSet":[0,"65"],"subString":"A || C","subVersion":"1795262475489","tagsSet":null,"topic":"t"}]}],
            "producerDataSet":null}"#;
        let beat: Heartbeat = json::from_slice(text).unwrap();
        let group = &beat.consumer_data_set[0];
        assert_eq!((group.consume_type.as_str(), group.message_model.as_str()), ("CONSUME_PASSIVELY", "CLUSTERING"));
        assert_eq!(group.consume_from_where, "CONSUME_FROM_FIRST_OFFSET");
        let subscription = &group.subscription_data_set[0];
        assert_eq!((subscription.sub_version, subscription.code_set.as_slice()), (1_795_262_475_489, &[0, 65][..]));
        assert!(beat.producer_data_set.is_empty());
        assert!(json::from_slice::<Heartbeat>(br#"{"consumerDataSet":[{"messageModel":7}]}"#).is_err());
    }
}
