//! What can be typed for `strata replay`, and its help.

use std::num::NonZeroU64;
use std::str::FromStr;

use clap::Args;
use strata_protocol::name;

use crate::args::{ClusterArgs, OutputArgs};
use crate::exit::{Exit, Failure, OrFail, Outcome};
use crate::filter::DialectName;
use crate::limits::{REPLAY_BYTES_RATE_MAX, REPLAY_NAME_CHARS_MAX};
use crate::reading::reader::{Selection, parse_tags};
use crate::time::{NoPosition, Position};

pub(super) const HELP: &str = "\
Examples:
  strata replay --topic orders --from @-2h --to-group billing --dry-run
  strata replay --topic orders --from 2026-11-01T08:00Z --to 2026-11-01T09:30Z \\
      --where \"region = 'eu' AND amount > 10\" --to-topic orders-again
  strata replay --topic orders --from 2026-11-01 --to 2026-11-02 --to-group billing --rate 500
  strata replay --topic %DLQ%billing --to-group billing       dead letters, once more

Times:
  @-1h30m                so long ago (ms s m h d w)
  2026-11-01T08:00:00Z   a time (RFC 3339; without a zone, or as a date, in UTC)
  1793491200000          a time in milliseconds since 1970
In each queue the first message is the first that was stored at --from or later, and the last is
the one before the first that was stored at --to or later: what was stored exactly at --from comes,
what was stored exactly at --to does not. Where a queue ends is looked up once, when a run begins:
what is stored later is not replayed.

A run has a name, and the brokers keep how far it came: the same command goes on where it was
stopped or killed, from any machine. It looks at what has arrived first, so that nothing is sent
twice; do not start one run twice at once. A run that is finished says so and sends nothing;
--restart begins anew, another --name is another run.

--to-topic sends to another topic, of which every group gets the messages. Messages of one queue go
to one queue, in their order. --to-group sends to the group's retry topic: no other group gets them,
and the group's progress stays. Its consumers get them as messages that come again, of their first
topic, in no order; orderly, broadcasting and pull consumers cannot have them so. Body, tags, keys,
properties and message id stay as they are; docs/replay.md tells which properties are added.";

/// A time as it is typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(super) typed: String,
    pub(super) position: Position,
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let marked = if text.starts_with('@') { text.to_owned() } else { format!("@{text}") };
        let position = marked.parse().map_err(|_: NoPosition| {
            let allowed = "@-1h30m (ms s m h d w), 2026-11-01T00:00:00Z, 2026-11-01 (UTC), or milliseconds since 1970";
            format!("{text:?} is no time; allowed are {allowed}")
        })?;
        Ok(Self { typed: text.to_owned(), position })
    }
}

/// Flags of `strata replay`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct ReplayArgs {
    #[command(flatten)]
    pub(super) select: SelectArgs,
    #[command(flatten)]
    pub(super) aim: AimArgs,
    #[command(flatten)]
    pub(super) run: RunArgs,
    #[command(flatten)]
    pub(super) pace: PaceArgs,
    /// Sends nothing, and tells how many messages and bytes it would be
    #[arg(long, conflicts_with = "restart")]
    pub(super) dry_run: bool,
    /// Passes over messages that the target refuses, such as those that are too large there, instead of stopping
    #[arg(long)]
    pub(super) skip_refused: bool,
    #[command(flatten)]
    pub(super) cluster: ClusterArgs,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

/// Which messages.
#[derive(Debug, Args)]
pub(crate) struct SelectArgs {
    /// The topic whose messages are replayed
    #[arg(long)]
    pub(super) topic: String,
    /// Only messages stored at this time or later [default: all that are kept]
    #[arg(long, value_name = "TIME")]
    pub(super) from: Option<Moment>,
    /// Only messages stored before this time [default: now]
    #[arg(long, value_name = "TIME")]
    pub(super) to: Option<Moment>,
    /// Only messages whose properties this SQL expression is true of; `strata filter explain` tells how it is read
    #[arg(long = "where", visible_alias = "filter", value_name = "EXPR", conflicts_with = "tag")]
    pub(super) expression: Option<String>,
    /// How the expression is read
    #[arg(long, value_enum, default_value_t = DialectName::Sql92, requires = "expression")]
    pub(super) dialect: DialectName,
    /// Only messages with this tag; 'A || B' is either
    #[arg(long, visible_alias = "tags", value_name = "TAGS", value_parser = parse_tags)]
    pub(super) tag: Option<String>,
}

/// Where they go.
#[derive(Debug, Args)]
pub(crate) struct AimArgs {
    /// Sends them to this topic; a missing one is created if the brokers allow it
    #[arg(long, value_name = "TOPIC", required_unless_present = "to_group", conflicts_with = "to_group")]
    pub(super) to_topic: Option<String>,
    /// Gives them to this consumer group and to no other
    #[arg(long, value_name = "GROUP")]
    pub(super) to_group: Option<String>,
    /// Also into the topic that they come from, all of them
    #[arg(long, requires = "to_topic")]
    pub(super) force: bool,
}

/// Which run it is.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Name of the run [default: made from the topic and the other flags]
    #[arg(long, value_parser = parse_name)]
    pub(super) name: Option<String>,
    /// Forgets how far a run of this name came, and begins anew
    #[arg(long)]
    pub(super) restart: bool,
}

/// How fast.
#[derive(Debug, Args)]
pub(crate) struct PaceArgs {
    /// Messages a second at most
    #[arg(long, value_name = "N")]
    pub(super) rate: Option<NonZeroU64>,
    /// Bytes of bodies a second at most
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..=REPLAY_BYTES_RATE_MAX))]
    pub(super) rate_bytes: Option<u64>,
}

fn parse_name(text: &str) -> Result<String, String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if text.is_empty() || text.len() > REPLAY_NAME_CHARS_MAX || !text.bytes().all(is_plain) {
        return Err(format!("a name has 1 to {REPLAY_NAME_CHARS_MAX} letters, digits, - and _"));
    }
    Ok(text.to_owned())
}

/// Whom the messages are for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Aim {
    /// Everybody who reads a topic.
    Topic(String),
    /// One consumer group.
    Group(String),
}

impl ReplayArgs {
    /// Whom the messages are for, if they may go there.
    pub(super) fn aim(&self, selection: &Selection) -> Outcome<Aim> {
        if let Some(group) = &self.aim.to_group {
            name::check_group(group).or_fail(Exit::Usage)?;
            return Ok(Aim::Group(group.clone()));
        }
        let topic = self.aim.to_topic.as_deref().unwrap_or_default();
        name::check_topic(topic).or_fail(Exit::Usage)?;
        let refused = |message| Err(Failure::new(Exit::Usage, message));
        if let Some(group) = topic.strip_prefix(name::RETRY_PREFIX) {
            return refused(format!("{topic} is the retry topic of a group; give --to-group {group}"));
        }
        if name::is_system_topic(topic) || name::is_send_forbidden(topic) {
            return refused(format!("{topic} is a topic of the system; give one of your own"));
        }
        if topic == self.select.topic && selection.is_all() && !self.aim.force {
            return refused(format!(
                "{topic} would get all of these messages again, and so would each of its groups; \
                 give --to-group to give them to one group, --where or --tag to choose among them, or --force \
                 (it ends: what it sends itself is not replayed)"
            ));
        }
        Ok(Aim::Topic(topic.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(arguments: &[&str]) -> ReplayArgs {
        use clap::Parser;

        #[derive(Parser)]
        struct Line {
            #[command(flatten)]
            args: ReplayArgs,
        }
        Line::try_parse_from([&["replay", "--topic", "orders"], arguments].concat()).map(|line| line.args).unwrap()
    }

    fn aim(arguments: &[&str]) -> Result<Aim, String> {
        let args = args(arguments);
        let selection =
            Selection::of(args.select.expression.as_deref(), args.select.dialect, args.select.tag.as_deref());
        args.aim(&selection.unwrap()).map_err(|failure| failure.to_string())
    }

    #[test]
    fn times_are_taken_with_and_without_their_mark() {
        let read = |text: &str| text.parse::<Moment>().map(|moment| moment.position);
        assert_eq!(read("2026-11-01"), Ok(Position::Time(1_793_491_200_000)));
        assert_eq!(read("@2026-11-01"), read("2026-11-01"));
        assert_eq!(read("1793491200000"), read("2026-11-01"));
        assert_eq!(read("@-1h"), Ok(Position::Ago(3_600_000)));
        assert_eq!(read("-1h"), read("@-1h"));
        for wrong in ["", "first", "last", "yesterday", "42x"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_own_topic_is_a_target_only_when_that_is_meant() {
        assert_eq!(aim(&["--to-group", "g"]), Ok(Aim::Group("g".into())));
        assert_eq!(aim(&["--to-topic", "again"]), Ok(Aim::Topic("again".into())));
        let own = ["--to-topic", "orders"];
        assert!(aim(&own).unwrap_err().contains("--to-group"));
        assert!(aim(&[&own[..], &["--tag", "*"]].concat()).is_err(), "all tags are everything");
        for meant in [["--tag", "A"].as_slice(), &["--where", "a = 1"], &["--force"]] {
            assert_eq!(aim(&[&own[..], meant].concat()), Ok(Aim::Topic("orders".into())), "{meant:?}");
        }
        assert!(aim(&["--to-topic", "%RETRY%g"]).unwrap_err().contains("--to-group g"));
        assert!(aim(&["--to-topic", "SCHEDULE_TOPIC_XXXX"]).unwrap_err().contains("of the system"));
        assert!(aim(&["--to-topic", "a b"]).unwrap_err().contains("illegal"));
    }

    #[test]
    fn names_are_plain() {
        assert!(parse_name("after-the-outage_2").is_ok());
        for wrong in ["", "a b", "%x", "a'b", &"x".repeat(REPLAY_NAME_CHARS_MAX + 1)] {
            assert!(parse_name(wrong).is_err(), "{wrong}");
        }
    }
}
