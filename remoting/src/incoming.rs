//! What one connection has read, and its part of the memory that all connections read into.
//!
//! Owns the connection's inbox together with its share of the read buffers and its claim for a large frame.

use std::sync::Arc;

use bytes::BytesMut;

use crate::budget::Share;
use crate::connection::Connection;
use crate::inbox::Inbox;
use crate::large_frames::{LargeFrame, LargeFrames};
use crate::roster::Roster;

#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) inbox: Inbox,
    share: Share,
    large_frames: Arc<LargeFrames>,
    /// The frame under way, once it is a large one.
    large_frame: Option<LargeFrame>,
}

impl Incoming {
    pub(crate) fn new(inbox: Inbox, roster: &Roster) -> Self {
        let (share, large_frames) = (Share::of(&roster.figures.read_buffers), Arc::clone(&roster.large_frames));
        Self { inbox, share, large_frames, large_frame: None }
    }

    /// Whether there is memory for the next read of `connection`. Only large frames ask for much.
    pub(crate) fn may_grow(&mut self, connection: &Arc<Connection>) -> bool {
        let Some(bytes) = self.inbox.large_growth() else { return true };
        let begin = || LargeFrame::begin(&self.large_frames, connection);
        self.large_frame.get_or_insert_with(begin).may_grow(bytes, self.share.budget())
    }

    /// Where the next read goes.
    pub(crate) fn room(&mut self) -> &mut BytesMut {
        self.inbox.room(self.share.budget().is_short())
    }

    /// Learns from a read that brought `bytes`.
    pub(crate) fn read(&mut self, bytes: usize) {
        self.inbox.read(bytes);
        self.share.update(self.inbox.footprint());
    }

    /// Gives back what the frames that are handled do not need any more; `frames` of them are.
    pub(crate) fn settle(&mut self, frames: u64) {
        // The next large frame begins later than the one that has ended.
        if frames > 0 || !self.inbox.is_large() {
            self.large_frame = None;
        }
        self.inbox.shrink();
        self.share.update(self.inbox.footprint());
    }

    /// Gives all memory back if no bytes wait in it.
    pub(crate) fn release(&mut self) {
        self.inbox.release();
        self.share.update(self.inbox.footprint());
    }

    /// Forgets what has arrived and gives its memory back.
    pub(crate) fn discard(&mut self) {
        self.inbox.discard();
        self.share.update(0);
        self.large_frame = None;
    }
}
