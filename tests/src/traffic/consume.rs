//! The consumers: each reads one queue from its stored progress on, commits as clients do, and logs all.
//!
//! Owns the reading of one queue. Which queues a group reads is decided in `run`.

use std::sync::Arc;

use crate::clock::now_ms;
use crate::draw::Draw;
use crate::dump::Stored;
use crate::history::{Commit, Found, History, Queue, SentBack, Session, Trouble};
use crate::talk::{Ask, Pulled, Talk, TalkError};
use anyhow::{Result, bail};
use strata_protocol::code::ResponseCode;
use strata_protocol::record::records;
use strata_remoting::CallError;

use super::produce::LEVEL_1_MS;

/// How long a broker may hold a pull that finds nothing, ms.
const HOLD_MS: i64 = 400;

/// How a reading ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    /// With the connection.
    Killed,
    /// At the queue's end.
    End,
}

/// A reading of one queue.
pub(crate) struct Reader {
    pub(crate) talk: Talk,
    pub(crate) group: Arc<str>,
    pub(crate) queue: Queue,
    pub(crate) run: u32,
    pub(crate) draw: Draw,
    pub(crate) until: Until,
    /// Of 100 messages, how many are given back for a retry.
    pub(crate) back_percent: u64,
}

/// Nothing more can be asked, because the server is gone.
struct Gone;

impl Reader {
    /// Reads; gives the log of it.
    pub(crate) async fn run(mut self) -> Result<History> {
        let mut log = History::default();
        match self.read(&mut log).await {
            Ok(()) | Err(ReadError::Gone(Gone)) if self.until == Until::Killed => Ok(log),
            Ok(()) => Ok(log),
            Err(ReadError::Gone(Gone)) => bail!("the server went away while group {} read {}", self.group, self.queue),
            Err(ReadError::Other(error)) => Err(error),
        }
    }

    async fn read(&mut self, log: &mut History) -> Result<(), ReadError> {
        let mut offset = self.begin(log).await?;
        let at = log.sessions.len();
        let (group, queue) = (Arc::clone(&self.group), self.queue.clone());
        log.sessions.push(Session {
            group,
            queue,
            run: self.run,
            begin: offset,
            deliveries: Vec::new(),
            trouble: None,
        });
        let mut ride: Option<usize> = None;
        loop {
            let asked = ride.take();
            let pulled =
                self.pull(offset, asked.and_then(|nth| log.commits.get(nth)).map(|commit| commit.offset)).await?;
            if let Some(commit) = asked.and_then(|nth| log.commits.get_mut(nth)) {
                commit.confirmed_ms = Some(now_ms());
            }
            let code = ResponseCode::of(pulled.code);
            if code == Some(ResponseCode::PullNotFound) {
                if self.until == Until::End && offset >= pulled.max {
                    return self.commit(offset, log).await;
                }
                continue;
            }
            let Some(session) = log.sessions.get_mut(at) else { return Ok(()) };
            let trouble = match take(&pulled, &mut offset, session) {
                Ok(()) => self.give_back(&pulled, log).await?,
                Err(trouble) => Some(trouble),
            };
            if trouble.is_some() {
                if let Some(session) = log.sessions.get_mut(at) {
                    session.trouble = trouble;
                }
                return Ok(());
            }
            match self.draw.below(10) {
                0..6 => self.commit(offset, log).await?,
                6..9 => ride = Some(self.note_commit(offset, log)),
                _ => {}
            }
        }
    }

    /// Looks the stored progress up.
    async fn begin(&self, log: &mut History) -> Result<i64, ReadError> {
        let offset = self.talk.progress(&self.group, &self.queue).await?;
        let (begin, end) = self.talk.range(&self.queue).await?;
        let (group, queue) = (Arc::clone(&self.group), self.queue.clone());
        log.found.push(Found { group, queue, run: self.run, offset, end });
        Ok(offset.unwrap_or(begin))
    }

    async fn pull(&mut self, offset: i64, commit: Option<i64>) -> Result<Pulled, ReadError> {
        let most = i32::try_from(self.draw.between(1, 64)).unwrap_or(1);
        let hold_ms = if self.until == Until::End { 0 } else { HOLD_MS };
        let ask = Ask { group: &self.group, queue: &self.queue, offset, most, hold_ms, commit };
        Ok(self.talk.pull(&ask).await.map_err(TalkError::from)?)
    }

    /// Notes a commit that is about to be asked for.
    fn note_commit(&self, offset: i64, log: &mut History) -> usize {
        let (group, queue) = (Arc::clone(&self.group), self.queue.clone());
        log.commits.push(Commit { group, queue, run: self.run, offset, confirmed_ms: None });
        log.commits.len() - 1
    }

    async fn commit(&self, offset: i64, log: &mut History) -> Result<(), ReadError> {
        let nth = self.note_commit(offset, log);
        self.talk.commit(&self.group, &self.queue, offset).await?;
        if let Some(commit) = log.commits.get_mut(nth) {
            commit.confirmed_ms = Some(now_ms());
        }
        Ok(())
    }

    /// Gives some messages back, as a consumer does that failed with them. Gives what was refused, if anything was:
    /// only a disk that is gone excuses that, and only the epoch knows whether it was.
    async fn give_back(&mut self, pulled: &Pulled, log: &mut History) -> Result<Option<Trouble>, ReadError> {
        for record in records(&pulled.records).map_while(Result::ok) {
            let stored = Stored::of(&record);
            let Some(ticket) = stored.ticket.filter(|_| self.draw.chance(self.back_percent)) else { continue };
            let nth = log.sent_back.len();
            let group = Arc::clone(&self.group);
            log.sent_back.push(SentBack { group, ticket, delay_ms: LEVEL_1_MS, confirmed: false });
            match self.talk.send_back(&self.group, stored.position, 1).await {
                Err(refusal @ TalkError::Refused { .. }) => {
                    return Ok(Some(Trouble { what: refusal.to_string(), refused: true, at_ms: now_ms() }));
                }
                answered => answered?,
            }
            if let Some(back) = log.sent_back.get_mut(nth) {
                back.confirmed = true;
            }
        }
        Ok(None)
    }
}

/// Notes what a pull gave, and where to go on.
fn take(pulled: &Pulled, offset: &mut i64, session: &mut Session) -> Result<(), Trouble> {
    let words = || format!("a pull at {offset} was answered with {}: {}", pulled.code, pulled.remark);
    let trouble = |what, refused| Trouble { what, refused, at_ms: now_ms() };
    if ResponseCode::of(pulled.code) != Some(ResponseCode::Success) {
        return Err(trouble(words(), true));
    }
    let mut end = *offset;
    for record in records(&pulled.records) {
        let stored = record.map(|record| Stored::of(&record));
        let stored = stored.map_err(|error| trouble(format!("{}: {error}", words()), false))?;
        end = stored.offset + 1;
        session.deliveries.push(stored.delivery());
    }
    if pulled.next != end || end == *offset {
        let what = format!("a pull at {offset} gave messages up to {end} and sends on to {}", pulled.next);
        return Err(trouble(what, false));
    }
    *offset = end;
    Ok(())
}

/// Why a reading ends early.
enum ReadError {
    Gone(Gone),
    Other(anyhow::Error),
}

impl From<TalkError> for ReadError {
    fn from(error: TalkError) -> Self {
        match error {
            TalkError::Call(CallError::Closed { .. }) | TalkError::Connect(_) => Self::Gone(Gone),
            other @ (TalkError::Call(_) | TalkError::Refused { .. } | TalkError::Bare { .. }) => {
                Self::Other(other.into())
            }
        }
    }
}
