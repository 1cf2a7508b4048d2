//! The attributes that topics and groups may have, and what is served of them: a topic's by RocketMQ's names (its
//! `TopicAttributes`) and three of its own, a group's one of its own.

use std::collections::BTreeMap;

use strata_filter::{SQL92, SQL92_STRICT};

use crate::refusal::Refusal;
use crate::retention::parse_keep;
use crate::trail::Sampling;

/// Attributes by name.
pub(crate) type Attributes = BTreeMap<String, String>;

/// Hours that a topic's messages are kept; see [`Hall::keep_cold`](crate::hall::Hall::keep_cold).
pub(crate) const RESERVE_TIME: &str = "reserve.time";

/// How long a topic's messages stay in the log, as [`parse_keep`] reads it.
pub(crate) const RETENTION_HOT: &str = "retention.hot";

/// How long a topic's messages stay in the cold tier, as [`parse_keep`] reads it.
pub(crate) const RETENTION_COLD: &str = "retention.cold";

/// Of which messages of a topic the broker keeps trace records, as [`Sampling::parse`] reads it.
pub(crate) const TRACE_RECORDS: &str = "trace.records";

/// Which dialect a group's expressions of the type `SQL92` are read in: `SQL92`, RocketMQ's own, or `SQL92_STRICT`.
pub(crate) const FILTER_DIALECT: &str = "filter.dialect";

/// The attributes of a group that had `known`, when `told` comes for it. RocketMQ's tools write a name to be set as
/// `+name` and one to be removed as `-name`; a tool that sends back what it read writes neither. What is not told stays.
pub(crate) fn of_group(known: &Attributes, told: &Attributes) -> Result<Attributes, Refusal> {
    let mut attributes = known.clone();
    for (key, value) in told {
        let (name, is_removed) = match key.strip_prefix('-') {
            Some(name) => (name, true),
            None => (key.strip_prefix('+').unwrap_or(key), false),
        };
        if !is_removed && known.get(name) == Some(value) {
            // Also one of RocketMQ's that does not act here and came with its settings.
            continue;
        }
        if name != FILTER_DIALECT {
            return Err(Refusal::UnknownAttribute { key: name.to_owned() });
        }
        if is_removed {
            attributes.remove(name);
        } else if matches!(value.as_str(), SQL92 | SQL92_STRICT) {
            attributes.insert(name.to_owned(), value.clone());
        } else {
            return Err(Refusal::AttributeValue { key: name.to_owned(), value: value.clone() });
        }
    }
    Ok(attributes)
}

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

/// Checks a change: the key must be a known one, and its new value one that is served.
fn check(key: &str, value: Option<&str>) -> Result<(), Refusal> {
    let one_of = |values: &'static [&'static str]| value.is_none_or(|value| values.contains(&value));
    let is_served = match key {
        "message.type" => one_of(&["UNSPECIFIED", "NORMAL", "FIFO", "DELAY", "TRANSACTION", "MIXED"]),
        // Queues of batches and compaction are kinds of store that this one is not.
        "queue.type" => one_of(&["SimpleCQ"]),
        "cleanup.policy" => one_of(&["DELETE"]),
        RESERVE_TIME => value.is_none_or(|value| value == "-1" || value.parse::<u32>().is_ok()),
        RETENTION_HOT | RETENTION_COLD => value.is_none_or(|value| parse_keep(value).is_ok()),
        TRACE_RECORDS => value.is_none_or(|value| Sampling::parse(value).is_some()),
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
    fn a_group_keeps_its_attributes_until_told_otherwise() {
        let attributes = |pairs: &[(&str, &str)]| -> Attributes {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        let strict = attributes(&[(FILTER_DIALECT, SQL92_STRICT)]);
        let told = |known: &Attributes, pairs| of_group(known, &attributes(pairs));
        assert_eq!(told(&Attributes::new(), &[("+filter.dialect", SQL92_STRICT)]).unwrap(), strict);
        assert_eq!(told(&strict, &[]).unwrap(), strict);
        assert_eq!(told(&strict, &[("filter.dialect", SQL92)]).unwrap(), attributes(&[(FILTER_DIALECT, SQL92)]));
        assert_eq!(told(&strict, &[("-filter.dialect", "")]).unwrap(), Attributes::new());
        assert!(matches!(told(&strict, &[("+filter.dialect", "MySQL")]), Err(Refusal::AttributeValue { .. })));
        assert!(matches!(told(&strict, &[("+priority.factor", "1")]), Err(Refusal::UnknownAttribute { .. })));
        let foreign = attributes(&[("priority.factor", "1")]);
        assert_eq!(told(&foreign, &[("priority.factor", "1")]).unwrap(), foreign);
    }

    #[test]
    fn only_attributes_that_act_are_taken() {
        for (key, value) in
            [("message.type", "FIFO"), ("reserve.time", "24"), ("reserve.time", "-1"), ("trace.records", "64")]
        {
            assert!(check(key, Some(value)).is_ok() && check(key, None).is_ok(), "{key}={value}");
        }
        for (key, value) in [
            ("message.type", "NONE"),
            ("reserve.time", "soon"),
            ("cleanup.policy", "COMPACTION"),
            (TRACE_RECORDS, "some"),
        ] {
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
