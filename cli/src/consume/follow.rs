//! Waits for messages on all queues at once.
//!
//! Owns one task a queue, whose pulls the broker holds until messages come. A lost connection is made again.

use tokio::sync::mpsc;
use tokio::time::sleep;

use super::message::Message;
use super::reader::QueueReader;
use crate::exit::{Exit, Outcome};
use crate::limits::{FOLLOW_HOLD, FOLLOW_RETRY, FOLLOWED_MESSAGES_MAX};

/// Messages with the number of their reader, as they come. The channel ends when every queue is at its end.
pub(super) fn follow(readers: Vec<QueueReader>) -> mpsc::Receiver<Outcome<(usize, Message)>> {
    let (sender, coming) = mpsc::channel(FOLLOWED_MESSAGES_MAX);
    for (at, reader) in readers.into_iter().enumerate() {
        tokio::spawn(tail(at, reader, sender.clone()));
    }
    coming
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
