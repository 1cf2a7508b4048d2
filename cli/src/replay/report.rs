//! What a replay did, or would do, as a table and as JSON.

use serde::Serialize;

use super::course::{Lane, Tally};
use super::flags::Aim;
use super::run::Run;
use super::tier::TierReads;
use crate::cluster::queue_name;
use crate::output::{number, table, text};
use crate::time::show_ms;

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum State {
    /// Nothing was sent; it was only counted.
    Counted,
    /// All is sent.
    Finished,
    /// All had been sent before this command.
    FinishedBefore,
    /// It was told to stop.
    Stopped,
}

/// The result.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    run: String,
    state: State,
    topic: String,
    target: String,
    /// It had begun before this command.
    resumed: bool,
    #[serde(flatten)]
    sum: Sum,
    elapsed_ms: u128,
    /// What the brokers read of their tiers meanwhile, for all readers; none has one when it is missing.
    tier: Option<TierReads>,
    queues: Vec<QueueRow>,
}

/// What is counted, of one queue or of all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Sum {
    messages: u64,
    bytes: u64,
    first_stored_ms: Option<i64>,
    last_stored_ms: Option<i64>,
    /// Messages that were there when this command began, behind the progress that was known.
    found_sent: u64,
    /// Messages that were refused and passed over.
    refused: u64,
    /// Offsets whose messages are not kept any more.
    lost: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct QueueRow {
    queue: String,
    /// Its messages go to this queue of the target.
    to: Option<String>,
    /// Everything before is done with; all is at the end.
    next: i64,
    end: i64,
    #[serde(flatten)]
    sum: Sum,
}

/// What a report is about.
pub(super) struct About<'a> {
    pub(super) run: &'a Run,
    pub(super) state: State,
    pub(super) topic: &'a str,
    pub(super) aim: &'a Aim,
    pub(super) resumed: bool,
    pub(super) elapsed_ms: u128,
    pub(super) tier: Option<TierReads>,
}

impl Sum {
    fn of(lane: &Lane) -> Self {
        let Tally { messages, bytes, first_ms, last_ms, refused } = lane.tally;
        let (found_sent, lost) = (lane.arrived, lane.reader.lost());
        Self { messages, bytes, first_stored_ms: first_ms, last_stored_ms: last_ms, found_sent, refused, lost }
    }

    fn and(self, other: Self) -> Self {
        let first = self.first_stored_ms.into_iter().chain(other.first_stored_ms).min();
        Self {
            messages: self.messages + other.messages,
            bytes: self.bytes + other.bytes,
            first_stored_ms: first,
            last_stored_ms: self.last_stored_ms.max(other.last_stored_ms),
            found_sent: self.found_sent + other.found_sent,
            refused: self.refused + other.refused,
            lost: self.lost + other.lost,
        }
    }
}

impl Report {
    pub(super) fn of(about: About<'_>, lanes: &[Lane]) -> Self {
        let queues: Vec<QueueRow> = lanes.iter().map(QueueRow::of).collect();
        Self {
            run: about.run.name.clone(),
            state: about.state,
            topic: about.topic.to_owned(),
            target: match about.aim {
                Aim::Topic(topic) => format!("topic {topic}"),
                Aim::Group(group) => format!("group {group}"),
            },
            resumed: about.resumed,
            sum: queues.iter().map(|row| row.sum).fold(Sum::default(), Sum::and),
            elapsed_ms: about.elapsed_ms,
            tier: about.tier,
            queues,
        }
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let Self { run, topic, target, sum, elapsed_ms, .. } = self;
        let Sum { messages, bytes, .. } = sum;
        let plural = if *messages == 1 { "" } else { "s" };
        let amount = format!("{messages} message{plural} ({bytes} bytes) of {topic}");
        let mut lines = vec![match self.state {
            State::Counted => format!("{amount} would be sent to {target}"),
            State::Finished => format!("sent {amount} to {target} in {elapsed_ms} ms"),
            State::FinishedBefore => {
                format!("run {run} was finished before, and nothing was sent; --restart begins anew")
            }
            State::Stopped => format!("sent {amount} to {target} in {elapsed_ms} ms, and stopped"),
        }];
        let mut line = |name: &str, value: String| lines.push(format!("{name:8} {value}"));
        line("run", if self.resumed { format!("{run}, which had begun before") } else { run.clone() });
        if let Some((first, last)) = sum.first_stored_ms.zip(sum.last_stored_ms) {
            line("stored", format!("{} to {}", show_ms(first), show_ms(last)));
        }
        if sum.found_sent > 0 {
            line("found", format!("{} that had been sent before, and were not sent again", sum.found_sent));
        }
        if sum.refused > 0 {
            line("refused", format!("{} that were passed over", sum.refused));
        }
        if sum.lost > 0 {
            line("lost", format!("{} offsets that are not kept any more", sum.lost));
        }
        line("tier", self.tier.map_or_else(|| String::from("n/a, no broker has one"), tier_text));
        let rows = self.queues.iter().map(QueueRow::cells);
        let columns = [
            text("QUEUE"),
            text("TO"),
            number("NEXT"),
            number("END"),
            number("MESSAGES"),
            number("BYTES"),
            text("FIRST STORED"),
            text("LAST STORED"),
        ];
        format!("{}\n\n{}", lines.join("\n"), table(&columns, rows))
    }
}

fn tier_text(TierReads { pulls, requests, bytes }: TierReads) -> String {
    format!("{pulls} pulls answered, {requests} reads of objects, {bytes} bytes; all readers of the brokers together")
}

impl QueueRow {
    fn of(lane: &Lane) -> Self {
        let (broker, queue_id) = lane.reader.name();
        Self {
            queue: queue_name(&broker, queue_id),
            to: lane.place.as_ref().map(|place| queue_name(&place.master.name, place.queue_id)),
            next: lane.next,
            end: lane.end,
            sum: Sum::of(lane),
        }
    }

    fn cells(&self) -> [String; 8] {
        let Sum { messages, bytes, first_stored_ms, last_stored_ms, .. } = self.sum;
        let time = |ms: Option<i64>| show_ms(ms.unwrap_or(0));
        [
            self.queue.clone(),
            self.to.clone().unwrap_or_else(|| String::from("-")),
            self.next.to_string(),
            self.end.to_string(),
            messages.to_string(),
            bytes.to_string(),
            time(first_stored_ms),
            time(last_stored_ms),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_of_all_queues() {
        let some = Sum { messages: 2, bytes: 10, first_stored_ms: Some(5), last_stored_ms: Some(9), ..Sum::default() };
        let other = Sum { messages: 1, first_stored_ms: Some(3), last_stored_ms: Some(4), lost: 7, ..Sum::default() };
        let none = Sum::default();
        let sum = [none, some, other, none].into_iter().fold(none, Sum::and);
        assert_eq!((sum.messages, sum.bytes, sum.lost), (3, 10, 7));
        assert_eq!((sum.first_stored_ms, sum.last_stored_ms), (Some(3), Some(9)));
    }
}
