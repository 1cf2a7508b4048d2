//! A run's identity: its name, and the names under which brokers keep how far it came.
//!
//! The brokers keep four offsets for each queue, as offsets of consumer groups that nobody is in. Their names are of
//! the system, so that they are neither groups that are listed nor lag that somebody is woken for.

use super::flags::{Aim, ReplayArgs};
use crate::limits::{REPLAY_NAME_CHARS_MAX, REPLAY_TOPIC_CHARS_MAX};
use crate::reading::reader::Selection;

/// What the names of all entries begin with.
const PREFIX: &str = "CID_RMQ_SYS_STRATA_REPLAY_";

/// What brokers keep of a run, for each queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    /// Where it began; written when all else is, so that a run without it has not begun.
    Begin,
    /// Everything before is sent.
    Next,
    /// The first offset that is not replayed.
    End,
}

impl Entry {
    pub(super) const ALL: [Self; 3] = [Self::Begin, Self::Next, Self::End];

    const fn word(self) -> &'static str {
        match self {
            Self::Begin => "BEGIN",
            Self::Next => "NEXT",
            Self::End => "END",
        }
    }
}

/// Which run it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Run {
    /// As it is typed or shown.
    pub(super) name: String,
    /// Digits of what it replays and where to: a run of the same name with other flags is another one.
    digest: String,
}

impl Run {
    /// The run that flags mean.
    pub(super) fn of(args: &ReplayArgs, selection: &Selection, aim: &Aim) -> Self {
        let typed =
            |moment: &Option<super::flags::Moment>| moment.as_ref().map_or("", |moment| &moment.typed).to_owned();
        let (kind, target) = match aim {
            Aim::Topic(topic) => ("topic", topic),
            Aim::Group(group) => ("group", group),
        };
        let (from, to) = (typed(&args.select.from), typed(&args.select.to));
        let topic = args.select.topic.as_str();
        let parts = [topic, &from, &to, selection.kind, &selection.text, kind, target];
        let digest = format!("{:08x}", crc32c::crc32c(parts.join("\0").as_bytes()));
        let name = args.run.name.clone().unwrap_or_else(|| made_up(topic, &digest));
        Self { name, digest }
    }

    /// The group under whose name an entry is kept.
    pub(super) fn group(&self, entry: Entry) -> String {
        format!("{PREFIX}{}_{}_{}", entry.word(), self.name, self.digest)
    }

    /// The group under whose name the target's queue remembers where messages of a source's queue go on.
    pub(super) fn arrivals_group(&self, (broker, queue_id): (&str, i32)) -> String {
        format!("{PREFIX}AT_{}_{}_{broker}_{queue_id}", self.name, self.digest)
    }

    /// Whether a group belongs to a run of this name with other flags.
    pub(super) fn is_namesake(&self, group: &str) -> bool {
        let mark = format!("{PREFIX}{}_{}_", Entry::Begin.word(), self.name);
        let digest = group.strip_prefix(&mark).unwrap_or_default();
        digest.len() == self.digest.len()
            && digest != self.digest
            && digest.bytes().all(|byte| byte.is_ascii_hexdigit())
    }

    /// What tells the messages of this run from all others, as the value of a property.
    pub(super) fn mark(&self) -> String {
        // A name that was made up ends with the digits.
        if self.name.ends_with(&self.digest) { self.name.clone() } else { format!("{}_{}", self.name, self.digest) }
    }
}

/// A name for a run that was given none: the topic as far as names allow it, and the digest.
fn made_up(topic: &str, digest: &str) -> String {
    let plain = topic.chars().map(|letter| if letter.is_ascii_alphanumeric() || letter == '-' { letter } else { '_' });
    let topic: String = plain.take(REPLAY_TOPIC_CHARS_MAX).collect();
    format!("{topic}-{digest}")
}

const _: () =
    assert!(REPLAY_TOPIC_CHARS_MAX + "-01234567".len() <= REPLAY_NAME_CHARS_MAX, "a name that is made up may be typed");

#[cfg(test)]
mod tests {
    use super::*;

    fn run(name: &str, digest: &str) -> Run {
        Run { name: name.into(), digest: digest.into() }
    }

    #[test]
    fn entries_have_names_of_the_system() {
        let run = run("again", "0a1b2c3d");
        for entry in Entry::ALL {
            assert!(strata_protocol::name::is_system_group(&run.group(entry)), "{entry:?}");
        }
        assert!(strata_protocol::name::is_system_group(&run.arrivals_group(("broker-a", 3))));
        assert_eq!(run.group(Entry::Next), "CID_RMQ_SYS_STRATA_REPLAY_NEXT_again_0a1b2c3d");
    }

    #[test]
    fn a_namesake_has_the_name_and_other_flags() {
        let (own, other) = (run("again", "0a1b2c3d"), run("again", "0a1b2c3e"));
        assert!(own.is_namesake(&other.group(Entry::Begin)));
        assert!(!own.is_namesake(&own.group(Entry::Begin)));
        assert!(!own.is_namesake(&run("again_deadbeef", "0a1b2c3e").group(Entry::Begin)));
        assert!(!own.is_namesake("again"));
    }

    #[test]
    fn names_are_made_of_the_topic() {
        assert_eq!(made_up("%DLQ%billing", "0a1b2c3d"), "_DLQ_billing-0a1b2c3d");
        assert_eq!(run("orders-0a1b2c3d", "0a1b2c3d").mark(), "orders-0a1b2c3d");
        assert_eq!(run("again", "0a1b2c3d").mark(), "again_0a1b2c3d");
        assert!(made_up(&"x".repeat(200), "0a1b2c3d").len() <= REPLAY_NAME_CHARS_MAX);
    }
}
