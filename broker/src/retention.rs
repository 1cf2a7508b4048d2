//! How long messages are kept: the texts that operators write, and whose rule holds for a topic in the log and in the
//! cold tier.
//!
//! Owns the rules. When they are applied is the store's and the roller's business.

use std::fmt::Write;

use strata_protocol::name::{HALF_TOPIC, OP_HALF_TOPIC, SCHEDULE_TOPIC};
use strata_store::KeepHot;
use strata_tiering::expire::Keep;
use thiserror::Error;

use crate::attributes::{RESERVE_TIME, RETENTION_COLD, RETENTION_HOT};
use crate::delay::delay_ms;
use crate::hall::Hall;

/// What stands for no bound at all.
const FOREVER: &str = "forever";

/// Units of bytes.
const SIZES: [(&str, u64); 5] =
    [("PiB", 1 << 50), ("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

/// Units of times, ms.
const TIMES: [(&str, u64); 4] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)];

/// How long the broker's own messages are kept in the tier beyond the longest delay: they are of use until they are
/// delivered, and no consumer reads them.
const OWN_KEEP_MS: u64 = 7 * 86_400_000;

/// Why a text says no retention.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("\"{text}\" is no retention; write forever, a time such as 30d, bytes such as 500GiB, or both as 30d/500GiB")]
pub struct BadKeep {
    /// The text.
    pub text: String,
}

/// Reads how long messages are kept: a time (`s`, `m`, `h` or `d`), bytes (`KiB` to `PiB`), both with a slash between
/// them, or `forever`.
///
/// # Errors
/// [`BadKeep`] for everything else, and for 0.
pub fn parse_keep(text: &str) -> Result<Keep, BadKeep> {
    let bad = || BadKeep { text: text.to_owned() };
    let mut keep = Keep::default();
    if text == FOREVER {
        return Ok(keep);
    }
    for part in text.split('/') {
        let bytes = SIZES.iter().find_map(|(unit, factor)| Some((part.strip_suffix(unit)?, factor)));
        let bound = match bytes {
            Some((number, factor)) => {
                let number: u64 = number.parse().map_err(|_| bad())?;
                (&mut keep.bytes, number.checked_mul(*factor))
            }
            None => (&mut keep.time_ms, delay_ms(part).ok().and_then(|ms| u64::try_from(ms).ok())),
        };
        let (slot, Some(value)) = bound else { return Err(bad()) };
        if value == 0 || slot.replace(value).is_some() {
            return Err(bad());
        }
    }
    Ok(keep)
}

/// The text that [`parse_keep`] reads.
#[must_use]
pub fn keep_text(keep: Keep) -> String {
    let in_units = |value: u64, units: &[(&str, u64)]| {
        let unit = units.iter().find(|(_, factor)| value.is_multiple_of(*factor));
        unit.map_or_else(|| value.to_string(), |(unit, factor)| format!("{}{unit}", value / factor))
    };
    let mut text = keep.time_ms.map_or_else(String::new, |ms| in_units(ms, &TIMES));
    if let Some(bytes) = keep.bytes {
        // A string takes everything.
        let _ = write!(text, "{}{}", if text.is_empty() { "" } else { "/" }, in_units(bytes, &SIZES));
    }
    if text.is_empty() { FOREVER.to_owned() } else { text }
}

/// The rules of all topics together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ColdRules {
    /// The shortest time, ms.
    pub shortest_ms: Option<u64>,
    /// Whether the bytes of any topic are bounded.
    pub has_bytes: bool,
}

impl ColdRules {
    /// Whether anything goes ever.
    pub(crate) const fn are_any(self) -> bool {
        self.shortest_ms.is_some() || self.has_bytes
    }
}

impl Hall {
    /// How long a topic's messages stay in the log, where it differs from the broker's setting: its attribute
    /// `retention.hot`. Without a cold tier also `reserve.time`, RocketMQ's, in hours.
    pub(crate) fn keep_hot(&self, topic: &str) -> Option<KeepHot> {
        let told = self.told_keep(topic, RETENTION_HOT);
        let told = told.or_else(|| if self.cold.is_none() { self.reserved(topic) } else { None });
        told.map(|Keep { time_ms, bytes }| KeepHot { time_ms, bytes })
    }

    /// How long a topic's messages stay in the cold tier, where it differs from the broker's setting: its attribute
    /// `retention.cold`, else `reserve.time`, which is that of RocketMQ's tiered store.
    pub(crate) fn keep_cold(&self, topic: &str) -> Option<Keep> {
        let own = || {
            let is_own = matches!(topic, SCHEDULE_TOPIC | HALF_TOPIC | OP_HALF_TOPIC);
            let longest = u64::try_from(self.delays.longest_ms()).unwrap_or(0);
            is_own.then(|| Keep { time_ms: Some(OWN_KEEP_MS.saturating_add(longest)), bytes: None })
        };
        self.asked_cold(topic).or_else(own)
    }

    /// What operators asked for in the cold tier, `default` being the rule of other topics.
    pub(crate) fn cold_rules(&self, default: Keep) -> ColdRules {
        let topics = self.tables.topics.all();
        let mut rules = ColdRules::default();
        for Keep { time_ms, bytes } in topics.keys().filter_map(|topic| self.asked_cold(topic)).chain([default]) {
            rules.shortest_ms = rules.shortest_ms.into_iter().chain(time_ms).min();
            rules.has_bytes |= bytes.is_some();
        }
        rules
    }

    fn asked_cold(&self, topic: &str) -> Option<Keep> {
        self.told_keep(topic, RETENTION_COLD).or_else(|| self.reserved(topic))
    }

    /// What an attribute says. It was checked when it was set; one from elsewhere that says nothing counts as unset.
    fn told_keep(&self, topic: &str, attribute: &str) -> Option<Keep> {
        let topic = self.tables.topics.find(topic)?;
        parse_keep(topic.config.attributes.get(attribute)?).ok()
    }

    fn reserved(&self, topic: &str) -> Option<Keep> {
        let topic = self.tables.topics.find(topic)?;
        // RocketMQ takes its own setting where this is not above 0 (`getFileReservedHours`).
        let hours: u64 = topic.config.attributes.get(RESERVE_TIME)?.parse().ok().filter(|hours| *hours > 0)?;
        Some(Keep { time_ms: Some(hours.checked_mul(3_600_000)?), bytes: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retention_is_read_and_written() {
        let keep = |time_ms, bytes| Keep { time_ms, bytes };
        for (text, expected) in [
            ("forever", keep(None, None)),
            ("90s", keep(Some(90_000), None)),
            ("30d", keep(Some(30 * 86_400_000), None)),
            ("500GiB", keep(None, Some(500 << 30))),
            ("36h/2TiB", keep(Some(36 * 3_600_000), Some(2 << 40))),
        ] {
            assert_eq!(parse_keep(text).unwrap(), expected, "{text}");
            assert_eq!(keep_text(expected), text);
        }
        assert_eq!(keep_text(parse_keep("2KiB/120s").unwrap()), "2m/2KiB");
        for wrong in
            ["", "30", "0d", "-1d", "1d/2d", "1GiB/1GiB", "forever/1d", "1GB", "0MiB", "1d/", "99999999PiB", "é"]
        {
            assert!(parse_keep(wrong).is_err(), "{wrong}");
        }
    }
}
