//! Waits for messages on all queues at once.
//!
//! Owns one task a queue, whose pulls the broker holds until messages come, and the looks at the route that
//! find queues which come into being meanwhile. A lost connection is made again.

use std::collections::BTreeSet;

use tokio::sync::mpsc;
use tokio::time::{Instant, interval_at, sleep};

use crate::args::ClusterArgs;
use crate::cluster::Cluster;
use crate::exit::{Exit, Outcome};
use crate::limits::{FOLLOW_HOLD, FOLLOW_RETRY, FOLLOWED_MESSAGES_MAX, NEW_QUEUES_MAX, ROUTE_INTERVAL};
use crate::reading::message::Message;
use crate::reading::reader::{self, QueueReader, Wanted};
use crate::time::Position;

/// What comes to a follower.
pub(super) enum Event {
    /// A message, with the number of its reader.
    Message(usize, Box<Message>),
    /// A queue that was not there before; it is read when it is given back to [`Followed::add`].
    Queue(Box<QueueReader>),
}

/// The queues that are followed.
pub(super) struct Followed {
    /// Without a strong sender of its own: the messages end when every queue is at its end.
    sender: mpsc::WeakSender<Outcome<(usize, Message)>>,
    messages: mpsc::Receiver<Outcome<(usize, Message)>>,
    queues: mpsc::Receiver<QueueReader>,
}

/// Follows `readers`, whose numbers are their places, and looks for more queues of what is wanted.
pub(super) fn follow(readers: Vec<QueueReader>, args: ClusterArgs, wanted: Wanted) -> Followed {
    let (sender, messages) = mpsc::channel(FOLLOWED_MESSAGES_MAX);
    let (finder, queues) = mpsc::channel(NEW_QUEUES_MAX);
    let known = readers.iter().map(QueueReader::name).collect();
    if let Some(wanted) = wanted.of_new_queues() {
        tokio::spawn(look(args, wanted, known, finder));
    }
    let followed = Followed { sender: sender.downgrade(), messages, queues };
    for (at, reader) in readers.into_iter().enumerate() {
        tokio::spawn(tail(at, reader, sender.clone()));
    }
    followed
}

impl Followed {
    /// The next event; `None` when every queue is at its end. Nothing is lost when the future is dropped.
    pub(super) async fn next(&mut self) -> Outcome<Option<Event>> {
        tokio::select! {
            message = self.messages.recv() => {
                Ok(message.transpose()?.map(|(at, message)| Event::Message(at, Box::new(message))))
            }
            Some(reader) = self.queues.recv() => Ok(Some(Event::Queue(Box::new(reader)))),
        }
    }

    /// Reads a new queue under a number.
    pub(super) fn add(&self, at: usize, reader: QueueReader) {
        if let Some(sender) = self.sender.upgrade() {
            tokio::spawn(tail(at, reader, sender));
        }
    }
}

/// Looks at the route every now and then, as RocketMQ's clients do, until nobody wants to know any more.
async fn look(args: ClusterArgs, wanted: Wanted, mut known: BTreeSet<(String, i32)>, found: mpsc::Sender<QueueReader>) {
    let mut looks = interval_at(Instant::now() + ROUTE_INTERVAL, ROUTE_INTERVAL);
    loop {
        looks.tick().await;
        let opened = async {
            let mut cluster = Cluster::connect(&args).await?;
            reader::open_all(&mut cluster, &wanted, &known).await
        };
        let readers = match opened.await {
            Ok(readers) => readers,
            Err(failure) => {
                tracing::warn!("new queues cannot be looked for: {failure}; trying again");
                continue;
            }
        };
        for reader in readers {
            let (broker, queue_id) = reader.name();
            tracing::info!("{broker}/{queue_id} is new");
            known.insert((broker, queue_id));
            if found.send(reader).await.is_err() {
                return;
            }
        }
    }
}

impl Wanted {
    /// How queues are read that come into being while others are followed; `None` when all of them lie behind
    /// the end.
    fn of_new_queues(mut self) -> Option<Self> {
        if matches!(self.until, Some(Position::First | Position::Last)) {
            return None;
        }
        // What such a queue holds already came after the reading began.
        if self.from == Some(Position::Last) {
            self.from = Some(Position::Time(self.begun_ms));
        }
        Some(self)
    }
}

async fn tail(at: usize, mut reader: QueueReader, sender: mpsc::Sender<Outcome<(usize, Message)>>) {
    loop {
        while let Some(message) = reader.buffer.pop_front() {
            if sender.send(Ok((at, message))).await.is_err() {
                return;
            }
        }
        if reader.is_done() {
            return;
        }
        let Err(failure) = reader.pull(Some(FOLLOW_HOLD)).await else { continue };
        if failure.exit != Exit::Unreachable {
            // Nobody is left to tell when the channel is closed.
            let _ = sender.send(Err(failure)).await;
            return;
        }
        tracing::warn!("{failure}; trying again");
        sleep(FOLLOW_RETRY).await;
        if let Err(failure) = reader.reconnect().await {
            tracing::debug!("{failure}");
        }
    }
}
