//! Reads one queue by pulls, from where it begins to where it ends.
//!
//! Owns a queue's position and the meaning of each answer to a pull. The subscription goes with every pull,
//! so no heartbeat is needed and no group's running consumers are disturbed.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use strata_filter::TAG;
use strata_filter::sql::Expression;
use strata_protocol::body::perm;
use strata_protocol::code::{ResponseCode, request};
use strata_protocol::command::Command;
use strata_protocol::record::records;
use strata_protocol::request::{Pull, QueryConsumerOffset, QueueOf, SearchOffset, pull_flag};
use strata_remoting::Client;

use super::TOOLS_GROUP;
use super::message::Message;
use crate::cluster::{Cluster, Master, command, masters_of, success};
use crate::exit::{Exit, Failure, OrFail, Outcome};
use crate::filter::DialectName;
use crate::limits::{PULL_BYTES, PULL_MESSAGES};
use crate::time::{Position, now_ms};

/// Which messages of the queues are wanted.
#[derive(Debug, Clone)]
pub(crate) struct Selection {
    /// The type of the expression.
    pub(crate) kind: &'static str,
    /// Tags with `||` between, `*` for all; or SQL.
    pub(crate) text: String,
}

impl Selection {
    /// What flags ask for: an expression, or tags, or everything. An expression that does not compile is told here,
    /// before a broker is asked.
    pub(crate) fn of(expression: Option<&str>, dialect: DialectName, tags: Option<&str>) -> Outcome<Self> {
        let Some(text) = expression else { return Ok(Self { kind: TAG, text: tags.unwrap_or("*").to_owned() }) };
        Expression::compile(dialect.dialect(), text).or_fail(Exit::Usage)?;
        Ok(Self { kind: dialect.dialect().kind(), text: text.to_owned() })
    }

    /// Whether everything is wanted.
    pub(crate) fn is_all(&self) -> bool {
        self.kind == TAG && self.text.trim() == "*"
    }

    /// The tags that a message must have one of; `None` when tags do not decide.
    fn tags(&self) -> Option<BTreeSet<&str>> {
        let decide = self.kind == TAG && self.text.trim() != "*";
        decide.then(|| self.text.split("||").map(str::trim).filter(|tag| !tag.is_empty()).collect())
    }
}

/// Tags as they are typed. Brokers read an expression without a tag as all tags, which is not what an empty variable of
/// a script means.
pub(crate) fn parse_tags(text: &str) -> Result<String, String> {
    if text.split("||").all(|tag| tag.trim().is_empty()) {
        return Err(String::from("a tag, tags with || between, or * for all"));
    }
    Ok(text.to_owned())
}

/// What is to be read.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) topic: String,
    pub(crate) group: String,
    pub(crate) selection: Selection,
    pub(crate) from: Option<Position>,
    pub(crate) until: Option<Position>,
    /// Begin at the group's stored offset, if it has one.
    pub(crate) stored: bool,
    pub(crate) follow: bool,
    /// When the command began, ms since 1970.
    pub(crate) begun_ms: i64,
}

impl Wanted {
    /// Whether progress is stored: then brokers must know the group even if nothing is read.
    fn has_progress(&self) -> bool {
        self.group != TOOLS_GROUP
    }
}

/// One queue and how far it is read.
pub(crate) struct QueueReader {
    wanted: Wanted,
    master: Master,
    client: Client,
    queue_id: i32,
    next: i64,
    /// First offset that is not read; a follower has none unless it was told.
    end: Option<i64>,
    pub(crate) buffer: VecDeque<Message>,
    done: bool,
    /// The last pull found the queue's present end.
    waiting: bool,
    /// Offsets before the end that are not kept any more.
    lost: u64,
    patience: Duration,
}

/// Opens every queue of the topic that may be read and is not in `known`. A topic without such a queue is a
/// failure when nothing is known yet.
pub(crate) async fn open_all(
    cluster: &mut Cluster,
    wanted: &Wanted,
    known: &BTreeSet<(String, i32)>,
) -> Outcome<Vec<QueueReader>> {
    let mut readers: Vec<QueueReader> = Vec::new();
    for (master, queues) in masters_of(cluster.route(&wanted.topic).await?) {
        if queues.perm & perm::READ == 0 {
            continue;
        }
        let opened = readers.len();
        let is_new = |queue_id: &i32| !known.contains(&(master.name.clone(), *queue_id));
        for queue_id in (0..queues.read_queue_nums).filter(is_new) {
            readers.push(QueueReader::open(cluster, wanted, &master, queue_id).await?);
        }
        let here = &readers[opened..];
        if let Some(reader) = here.first().filter(|_| wanted.has_progress() && here.iter().all(QueueReader::is_done)) {
            reader.introduce().await?;
        }
    }
    if readers.is_empty() && known.is_empty() {
        let message =
            format!("no queue of {} may be read: it is write only, or its brokers have no master", wanted.topic);
        return Err(Failure::new(Exit::Refused, message));
    }
    Ok(readers)
}

impl QueueReader {
    async fn open(cluster: &mut Cluster, wanted: &Wanted, master: &Master, queue_id: i32) -> Outcome<Self> {
        let topic = &wanted.topic;
        let last = offset_at(cluster, master, (topic, queue_id), Position::Last).await?;
        let queue = (topic.as_str(), queue_id);
        let stored = if wanted.stored { stored_offset(cluster, master, &wanted.group, queue).await? } else { None };
        let next = match stored {
            Some(stored) => stored,
            None => offset_at(cluster, master, (topic, queue_id), wanted.from.unwrap_or(Position::First)).await?,
        };
        // Without an end of its own, a reader that does not follow ends where the queue ends now.
        let end = match wanted.until {
            Some(Position::Offset(end)) => Some(end),
            Some(Position::Last) => Some(last),
            // Looked up, because a message there whose tag does not match is not seen in any pull.
            Some(until @ Position::Time(ms)) if ms <= now_ms() => {
                Some(offset_at(cluster, master, (topic, queue_id), until).await?)
            }
            Some(Position::First | Position::Time(_) | Position::Ago(_)) | None => None,
        };
        let end = if wanted.follow { end } else { Some(end.unwrap_or(last).min(last)) };
        let patience = cluster.patience();
        let mut reader = Self::new(cluster.broker(master).await?, wanted, (master, queue_id), (next, end), patience);
        reader.done |= wanted.until == Some(Position::First);
        Ok(reader)
    }

    /// Reads from one offset up to another, the latter not included; without one, as far as `wanted` says.
    pub(crate) fn new(
        client: Client,
        wanted: &Wanted,
        (master, queue_id): (&Master, i32),
        (next, end): (i64, Option<i64>),
        patience: Duration,
    ) -> Self {
        Self {
            wanted: wanted.clone(),
            master: master.clone(),
            client,
            queue_id,
            next,
            end,
            buffer: VecDeque::new(),
            done: end.is_some_and(|end| next >= end),
            waiting: false,
            lost: 0,
            patience,
        }
    }

    /// The next offset that would be pulled.
    pub(crate) fn next_offset(&self) -> i64 {
        self.next
    }

    pub(crate) fn queue(&self) -> (&Master, i32) {
        (&self.master, self.queue_id)
    }

    /// The broker's name and the queue's id, which stay when an address changes.
    pub(crate) fn name(&self) -> (String, i32) {
        (self.master.name.clone(), self.queue_id)
    }

    pub(crate) fn is_done(&self) -> bool {
        self.done
    }

    /// Whether the last pull found nothing more for now.
    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting
    }

    /// Offsets that were passed over because they are not kept any more.
    pub(crate) fn lost(&self) -> u64 {
        self.lost
    }

    /// Messages between here and the end, as far as it is known.
    pub(crate) fn ahead(&self) -> u64 {
        self.end.map_or(0, |end| u64::try_from(end - self.next).unwrap_or(0))
    }

    /// Makes a new connection after the old one was lost.
    pub(crate) async fn reconnect(&mut self) -> Outcome {
        let connected = Client::connect(&self.master.address, self.patience).await;
        self.client = connected.or_fail_with(Exit::Unreachable, format!("broker {}", self.master.name))?;
        Ok(())
    }

    /// Lets the broker know the group, as any pull does: it is created there, or refused. Nothing is taken.
    async fn introduce(&self) -> Outcome {
        let answer = self.ask(None, 1).await?;
        match ResponseCode::of(answer.code) {
            Some(
                ResponseCode::Success
                | ResponseCode::PullRetryImmediately
                | ResponseCode::PullNotFound
                | ResponseCode::PullOffsetMoved,
            ) => Ok(()),
            Some(_) | None => success(answer, &self.who()).map(|_| ()),
        }
    }

    fn who(&self) -> String {
        format!("broker {}", self.master.name)
    }

    async fn ask(&self, hold: Option<Duration>, messages_max: i32) -> Outcome<Command> {
        let held = hold.unwrap_or_default();
        let header = Pull {
            group: self.wanted.group.clone(),
            topic: self.wanted.topic.clone(),
            queue_id: self.queue_id,
            queue_offset: self.next,
            messages_max,
            sys_flag: pull_flag::SUBSCRIPTION | if hold.is_some() { pull_flag::SUSPEND } else { 0 },
            commit_offset: 0,
            suspend_timeout_ms: i64::try_from(held.as_millis()).unwrap_or(0),
            subscription: Some(self.wanted.selection.text.clone()),
            sub_version: now_ms(),
            expression_type: Some(self.wanted.selection.kind.to_owned()),
            bytes_max: Some(PULL_BYTES),
        };
        let asked = self.client.call(command(request::PULL_MESSAGE, &header), self.patience + held).await;
        asked.or_fail_with(Exit::Unreachable, self.who())
    }

    /// Pulls once. `hold` lets the broker wait for messages. Nothing is left to read when the reader is done
    /// and its buffer empty.
    pub(crate) async fn pull(&mut self, hold: Option<Duration>) -> Outcome {
        self.waiting = false;
        let answer = self.ask(hold, PULL_MESSAGES).await?;
        let begin = answer.fields.value("nextBeginOffset").and_then(|text| text.parse::<i64>().ok());
        match ResponseCode::of(answer.code) {
            Some(ResponseCode::Success) => {
                let unread = self.take(&answer)?;
                self.advance(begin)?;
                self.next = self.next.min(unread.unwrap_or(self.next));
            }
            Some(ResponseCode::PullRetryImmediately) if hold.is_some() => {
                self.next = begin.unwrap_or(self.next).max(self.next)
            }
            Some(ResponseCode::PullRetryImmediately) => self.advance(begin)?,
            Some(ResponseCode::PullNotFound) => self.found_nothing(),
            Some(ResponseCode::PullOffsetMoved) => self.moved(begin),
            Some(_) | None => {
                success(answer, &self.who())?;
            }
        }
        // What a broker passed over behind the end was not looked at here: it is not done with.
        self.next = self.next.min(self.end.unwrap_or(self.next));
        self.done |= self.end.is_some_and(|end| self.next >= end);
        Ok(())
    }

    /// A broker that answers messages must also move on, or a reader would ask for the same for ever.
    fn advance(&mut self, begin: Option<i64>) -> Outcome {
        match begin {
            Some(begin) if begin > self.next => {
                self.next = begin;
                Ok(())
            }
            Some(_) | None => {
                let message = format!("broker {} does not move on from offset {}", self.master.name, self.next);
                Err(Failure::new(Exit::Failed, message))
            }
        }
    }

    /// The end of the queue, for now.
    fn found_nothing(&mut self) {
        let is_over = matches!(self.wanted.until, Some(Position::Time(until)) if until <= now_ms());
        self.done |= !self.wanted.follow || is_over;
        self.waiting = true;
    }

    /// The offset is not kept any more, or does not exist yet.
    fn moved(&mut self, begin: Option<i64>) {
        let Some(begin) = begin.filter(|begin| *begin != self.next) else {
            self.found_nothing();
            return;
        };
        if begin > self.next {
            let (broker, queue, from) = (&self.master.name, self.queue_id, self.next);
            tracing::warn!("offsets {from} to {} of {broker}/{queue} are not kept any more", begin - 1);
            self.lost += u64::try_from(self.end.unwrap_or(begin).min(begin) - from).unwrap_or(0);
        } else {
            // Beyond the end: a reader that does not follow has read all there is.
            self.found_nothing();
        }
        self.next = begin;
    }

    /// Keeps what is to be read. Gives the offset of the message that ended the reading, if one did.
    fn take(&mut self, answer: &Command) -> Outcome<Option<i64>> {
        let tags = self.wanted.selection.tags();
        for record in records(&answer.body) {
            let record =
                record.or_fail_with(Exit::Failed, format!("broker {} answered a damaged message", self.master.name))?;
            let message = Message::of(&record, &self.master.name);
            if message.queue_offset < self.next {
                continue;
            }
            if self.end.is_some_and(|end| message.queue_offset >= end) {
                return Ok(Some(message.queue_offset));
            }
            if matches!(self.wanted.until, Some(Position::Time(until)) if message.stored_ms >= until) {
                self.done = true;
                return Ok(Some(message.queue_offset));
            }
            // Brokers compare hash codes of tags; two tags can share one.
            let tag = message.property("TAGS").unwrap_or_default();
            let is_early = matches!(self.wanted.from, Some(Position::Time(from)) if message.stored_ms < from);
            if is_early || tags.as_ref().is_some_and(|tags| !tags.contains(tag)) {
                continue;
            }
            self.buffer.push_back(message);
        }
        Ok(None)
    }
}

/// The offset that a position means in a queue.
pub(crate) async fn offset_at(
    cluster: &mut Cluster,
    master: &Master,
    (topic, queue_id): (&str, i32),
    at: Position,
) -> Outcome<i64> {
    let queue = || QueueOf { topic: topic.to_owned(), queue_id };
    let request = match at {
        Position::Offset(offset) => return Ok(offset),
        Position::First => command(request::GET_MIN_OFFSET, &queue()),
        Position::Last | Position::Ago(_) => command(request::GET_MAX_OFFSET, &queue()),
        Position::Time(timestamp) => {
            let header = SearchOffset { topic: topic.to_owned(), queue_id, timestamp, boundary: None };
            command(request::SEARCH_OFFSET_BY_TIMESTAMP, &header)
        }
    };
    let answer = cluster.ask(master, request).await?;
    offset_of(&answer, master)
}

/// The offset of a queue that a group has stored, if it has.
pub(crate) async fn stored_offset(
    cluster: &mut Cluster,
    master: &Master,
    group: &str,
    (topic, queue_id): (&str, i32),
) -> Outcome<Option<i64>> {
    let header = QueryConsumerOffset {
        group: group.to_owned(),
        topic: topic.to_owned(),
        queue_id,
        set_zero_if_not_found: Some(false),
    };
    let answer = cluster.ask_any(master, command(request::QUERY_CONSUMER_OFFSET, &header)).await?;
    if answer.code == ResponseCode::QueryNotFound.wire() {
        return Ok(None);
    }
    offset_of(&success(answer, &format!("broker {}", master.name))?, master).map(Some)
}

fn offset_of(answer: &Command, master: &Master) -> Outcome<i64> {
    let offset = answer.fields.value("offset").and_then(|text| text.parse().ok());
    offset.ok_or_else(|| Failure::new(Exit::Failed, format!("broker {} answered without an offset", master.name)))
}
