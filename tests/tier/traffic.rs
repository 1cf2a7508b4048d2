//! What is sent, and what is read back of it.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use strata_protocol::code::{ResponseCode, request};
use strata_protocol::record::records;
use strata_protocol::request::{Pull, pull_flag};
use strata_tests::history::Queue;
use strata_tests::talk::{Draft, Talk, number};

/// Topics, and queues of each.
pub(crate) const TOPICS: [(&str, i32); 3] = [("Orders", 3), ("Audit", 1), ("Quiet", 2)];

/// Bytes of a body.
const BODY_BYTES: usize = 1_024;

/// Messages that fill a segment, and a few more: a record has about 250 bytes beside its body.
pub(crate) const MESSAGES_OF_SEGMENT: usize = 1_700;

/// A message as it was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) offset: i64,
    pub(crate) tag: String,
    pub(crate) color: &'static str,
    pub(crate) key: String,
    pub(crate) body: Vec<u8>,
    /// Offset in the log.
    pub(crate) place: i64,
}

/// Everything that was acknowledged, by queue.
#[derive(Debug, Clone, Default)]
pub(crate) struct Truth {
    pub(crate) queues: BTreeMap<(String, i32), Vec<Sent>>,
    count: usize,
}

impl Truth {
    /// Sends messages to all queues in turns.
    pub(crate) async fn send(&mut self, talk: &Talk, messages: usize) -> Result<()> {
        for _ in 0..messages {
            let nth = self.count;
            self.count += 1;
            let (topic, queues) = TOPICS[if nth.is_multiple_of(50) { 2 } else { nth % 2 }];
            let queue = Queue::new(topic, i32::try_from(nth / 2)? % queues);
            let (tag, key) = (format!("Tag{}", nth % 5), format!("order-{nth}"));
            let color = if nth % 200 == 7 { "teal" } else { ["red", "blue"][nth / 3 % 2] };
            let properties = format!(
                "UNIQ_KEY\u{1}{nth:032X}\u{2}KEYS\u{1}{key} pair-{}\u{2}TAGS\u{1}{tag}\u{2}color\u{1}{color}\u{2}WAIT\u{1}true\u{2}",
                nth / 2
            );
            let mut body = format!("message {nth} of {topic} ").into_bytes();
            while body.len() < BODY_BYTES {
                body.push(u8::try_from((nth * 31 + body.len() * 7) % 251)?);
            }
            let answer = talk.send(&Draft::new(&queue, &properties, body.clone())).await?;
            ensure!(ResponseCode::of(answer.code) == Some(ResponseCode::Success), "send {nth}: {}", answer.remark);
            let (queue_id, offset) = answer.place.context("a send without its place")?;
            let place = i64::from_str_radix(answer.ids.get(16..32).context("no offset id")?, 16)?;
            let sent = Sent { offset, tag, color, key, body, place };
            self.queues.entry((topic.to_owned(), queue_id)).or_default().push(sent);
        }
        Ok(())
    }

    /// Reads every queue from its begin, and holds it against what was sent.
    pub(crate) async fn check(&self, talk: &Talk, filter: &Filter) -> Result<usize> {
        let mut all = 0;
        for ((topic, queue_id), sent) in &self.queues {
            let wanted: Vec<_> =
                sent.iter().filter(|sent| (filter.wants)(sent)).map(|sent| (sent.offset, &sent.body)).collect();
            let end = sent.last().map_or(0, |sent| sent.offset + 1);
            let found = read(talk, (topic, *queue_id), (0, end), filter).await?;
            ensure!(
                found.iter().map(|(offset, body)| (*offset, body)).eq(wanted.iter().copied()),
                "queue {queue_id} of {topic} by {}: {} messages came, {} were sent",
                filter.expression,
                found.len(),
                wanted.len()
            );
            all += found.len();
        }
        Ok(all)
    }

    /// What a reader of objects should see: messages and a digest for each topic.
    pub(crate) fn lines(&self, topic: &str) -> Vec<Vec<u8>> {
        let queues = self.queues.iter().filter(|((name, _), _)| name == topic);
        let line = |queue: i32, sent: &Sent| {
            let mut line = format!("{queue} {} {} ", sent.offset, sent.tag).into_bytes();
            line.extend_from_slice(&sent.body);
            line
        };
        queues.flat_map(|((_, queue), sent)| sent.iter().map(move |sent| line(*queue, sent))).collect()
    }
}

/// What a reader asks for, and what that means.
pub(crate) struct Filter {
    pub(crate) kind: &'static str,
    pub(crate) expression: &'static str,
    pub(crate) wants: fn(&Sent) -> bool,
}

/// Everything, a tag of five, and one message of two hundred by a property.
pub(crate) const FILTERS: [Filter; 3] = [
    Filter { kind: "TAG", expression: "*", wants: |_| true },
    Filter { kind: "TAG", expression: "Tag3 || TagX", wants: |sent| sent.tag == "Tag3" },
    Filter { kind: "SQL92", expression: "color = 'teal' AND TAGS IS NOT NULL", wants: |sent| sent.color == "teal" },
];

/// Reads a queue between two offsets.
async fn read(
    talk: &Talk,
    (topic, queue_id): (&str, i32),
    (begin, end): (i64, i64),
    filter: &Filter,
) -> Result<Vec<(i64, Vec<u8>)>> {
    let (mut out, mut offset) = (Vec::new(), begin);
    while offset < end {
        let header = Pull {
            group: format!("replay-{}", filter.kind),
            topic: topic.to_owned(),
            queue_id,
            queue_offset: offset,
            messages_max: 32,
            sys_flag: pull_flag::SUBSCRIPTION,
            commit_offset: 0,
            suspend_timeout_ms: 0,
            subscription: Some(filter.expression.to_owned()),
            sub_version: 0,
            expression_type: Some(filter.kind.to_owned()),
            bytes_max: None,
        };
        let answer = talk.ask(request::PULL_MESSAGE, &header, Bytes::new()).await?;
        let next = number(&answer, "nextBeginOffset").context("a pull without a next offset")?;
        ensure!(
            number(&answer, "minOffset") == Some(0),
            "{topic} {queue_id} begins at {:?}",
            number(&answer, "minOffset")
        );
        match ResponseCode::of(answer.code) {
            Some(ResponseCode::Success) => {
                for record in records(&answer.body) {
                    let record = record.context("a pull's record")?;
                    out.push((record.queue_offset(), record.body().to_vec()));
                }
            }
            Some(ResponseCode::PullRetryImmediately) => {}
            _ => bail!("a pull of {topic} {queue_id} at {offset}: {} {:?}", answer.code, answer.remark),
        }
        ensure!(next > offset, "a pull of {topic} {queue_id} at {offset} goes on at {next}");
        offset = next;
    }
    Ok(out)
}
