//! Many queues as one sequence, by the time messages were stored.

use std::collections::VecDeque;

use crate::exit::Outcome;
use crate::reading::message::Message;
use crate::reading::reader::QueueReader;

/// Readers whose messages come out merged. Messages of one queue keep their order.
pub(super) struct Merged {
    readers: Vec<QueueReader>,
}

impl Merged {
    pub(super) fn of(readers: Vec<QueueReader>) -> Self {
        Self { readers }
    }

    /// The next message and the number of its reader; `None` when all queues are at their ends.
    pub(super) async fn next(&mut self) -> Outcome<Option<(usize, Message)>> {
        // A queue without a message in hand might have the oldest: it must be asked first.
        for reader in &mut self.readers {
            while reader.buffer.is_empty() && !reader.is_done() && !reader.is_waiting() {
                reader.pull(None).await?;
            }
        }
        let oldest = oldest(self.readers.iter().map(|reader| &reader.buffer));
        Ok(oldest.and_then(|at| self.readers[at].buffer.pop_front().map(|message| (at, message))))
    }

    pub(super) fn readers(&self) -> &[QueueReader] {
        &self.readers
    }

    pub(super) fn into_readers(self) -> Vec<QueueReader> {
        self.readers
    }
}

/// The queue whose first message was stored first. Within a millisecond the broker's log decides.
fn oldest<'a>(buffers: impl Iterator<Item = &'a VecDeque<Message>>) -> Option<usize> {
    let rank = |head: &'a Message| (head.stored_ms, head.broker.as_str(), head.physical_offset);
    let heads = buffers.enumerate().filter_map(|(at, buffer)| buffer.front().map(|head| (rank(head), at)));
    heads.min().map(|(_, at)| at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reading::message::tests::message;

    #[test]
    fn the_oldest_head_comes_first() {
        let queue = |times: &[i64]| times.iter().map(|ms| message(0, *ms, *ms, b"")).collect::<VecDeque<_>>();
        let mut queues = [queue(&[5, 9]), queue(&[]), queue(&[3, 5])];
        let mut order = Vec::new();
        while let Some(at) = oldest(queues.iter()) {
            order.push((at, queues[at].pop_front().unwrap().stored_ms));
        }
        assert_eq!(order, [(2, 3), (0, 5), (2, 5), (0, 9)]);
    }
}
