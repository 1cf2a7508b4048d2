//! What has arrived already: the messages of a run in the queue that they go to.
//!
//! A run that was killed may have sent more than it could tell. Its messages carry where they came from, and the run
//! keeps where in the target's queue the ones behind its progress begin: reading from there finds every one of them.

use std::time::Duration;

use strata_filter::SQL92;
use strata_remoting::Client;

use super::outgoing::{ORIGIN, REPLAY, offset_of_origin};
use crate::cluster::Master;
use crate::exit::Outcome;
use crate::reading::TOOLS_GROUP;
use crate::reading::reader::{QueueReader, Selection, Wanted};

/// Where to look.
pub(super) struct Look<'a> {
    pub(super) client: Client,
    /// The queue that messages go to.
    pub(super) topic: &'a str,
    pub(super) queue: (&'a Master, i32),
    /// Its offsets from which on, and up to which, they may be.
    pub(super) span: (i64, i64),
    pub(super) patience: Duration,
}

/// What was found of a queue's messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Arrived {
    /// Messages at or behind the progress that is known.
    pub(super) messages: u64,
    /// Behind the last of them, in the source's queue.
    pub(super) next: Option<i64>,
}

impl Look<'_> {
    /// Finds what has arrived of the messages of a queue (topic, broker and id) from offset `next` on.
    pub(super) async fn find(self, mark: &str, source: (&str, &str, i32), next: i64) -> Outcome<Arrived> {
        let wanted = Wanted {
            topic: self.topic.to_owned(),
            group: TOOLS_GROUP.to_owned(),
            selection: Selection { kind: SQL92, text: format!("{REPLAY} = '{mark}'") },
            from: None,
            until: None,
            stored: false,
            follow: false,
            begun_ms: 0,
        };
        let (begin, end) = self.span;
        let mut reader = QueueReader::new(self.client, &wanted, self.queue, (begin, Some(end)), self.patience);
        let mut arrived = Arrived::default();
        loop {
            while let Some(message) = reader.buffer.pop_front() {
                let origin = message.property(ORIGIN).and_then(|origin| offset_of_origin(origin, source));
                arrived.take(origin.filter(|offset| *offset >= next));
            }
            if reader.is_done() {
                return Ok(arrived);
            }
            reader.pull(None).await?;
        }
    }
}

impl Arrived {
    fn take(&mut self, offset: Option<i64>) {
        if let Some(offset) = offset {
            self.messages += 1;
            self.next = self.next.max(Some(offset + 1));
        }
    }
}
