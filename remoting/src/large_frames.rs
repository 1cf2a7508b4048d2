//! Large frames that are on their way, in the order in which they began.
//!
//! Owns the rule of who must go when the read buffers have no memory left: those whose large frame began
//! first. The frame of a healthy peer is whole within a second or two; what has been under way for longest is
//! what will most likely never end, and its peer must not take the place of those that send.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::budget::Budget;
use crate::connection::Connection;

/// All large frames of one server. The lock is held when a large frame begins, ends, or needs a larger buffer,
/// which is a few times for each.
#[derive(Debug, Default)]
pub(crate) struct LargeFrames {
    begun: Mutex<Begun>,
}

#[derive(Debug, Default)]
struct Begun {
    next: u64,
    frames: BTreeMap<u64, Held>,
}

/// The buffer that one large frame has.
#[derive(Debug)]
struct Held {
    connection: Weak<Connection>,
    bytes: usize,
    /// Its connection was told to end, and gives the memory back when it is next looked at.
    is_told: bool,
}

/// One large frame; dropping it says that it is whole or given up.
#[derive(Debug)]
pub(crate) struct LargeFrame {
    all: Arc<LargeFrames>,
    number: u64,
}

impl LargeFrame {
    pub(crate) fn begin(all: &Arc<LargeFrames>, connection: &Arc<Connection>) -> Self {
        let mut begun = all.begun.lock();
        let number = begun.next;
        begun.next += 1;
        begun.frames.insert(number, Held { connection: Arc::downgrade(connection), bytes: 0, is_told: false });
        Self { all: Arc::clone(all), number }
    }

    /// Whether the frame's buffer may grow to `bytes`. When memory is short, frames that began earlier are
    /// ended in its favour; when there is none, it may not.
    pub(crate) fn may_grow(&self, bytes: usize, memory: &Budget) -> bool {
        let (leaving, may_grow) = {
            let mut begun = self.all.begun.lock();
            let Some(own) = begun.frames.get_mut(&self.number).filter(|own| !own.is_told) else { return false };
            own.bytes = bytes;
            let mut excess = memory.excess();
            if excess == 0 {
                return true;
            }
            let told: usize = begun.frames.values().filter(|held| held.is_told).map(|held| held.bytes).sum();
            excess = excess.saturating_sub(told);
            let (mut leaving, mut may_grow) = (Vec::new(), excess == 0);
            for held in begun.frames.range_mut(..self.number).map(|(_, held)| held).filter(|held| !held.is_told) {
                if excess == 0 {
                    break;
                }
                held.is_told = true;
                excess = excess.saturating_sub(held.bytes);
                leaving.extend(held.connection.upgrade());
                may_grow = true;
            }
            (leaving, may_grow)
        };
        for connection in leaving {
            connection.evict();
        }
        may_grow
    }
}

impl Drop for LargeFrame {
    fn drop(&mut self) {
        self.all.begun.lock().frames.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Share;
    use crate::connection::Ends;
    use crate::figures::Figures;

    fn connection() -> Arc<Connection> {
        let peer = "127.0.0.1:1".parse().unwrap();
        let figures = Figures::new(usize::MAX, usize::MAX);
        Arc::new(Connection::new(1, Ends { peer, local: peer, fast_port: false }, &figures))
    }

    #[test]
    fn the_oldest_frames_go_first_and_only_as_many_as_it_takes() {
        let (all, memory) = (Arc::default(), Arc::new(Budget::new(100)));
        let connections: Vec<_> = (0..4).map(|_| connection()).collect();
        let frames: Vec<_> = connections.iter().map(|connection| LargeFrame::begin(&all, connection)).collect();
        let open = || connections.iter().map(|connection| connection.is_open()).collect::<Vec<_>>();
        let mut used = Share::of(&memory);
        assert!(frames[..3].iter().all(|frame| frame.may_grow(40, &memory)));
        used.update(120);
        assert!(frames[3].may_grow(10, &memory));
        assert_eq!(open(), [false, true, true, true]);
        // What was told to go counts as gone.
        assert!(frames[3].may_grow(20, &memory));
        assert_eq!(open(), [false, true, true, true]);
        assert!(!frames[0].may_grow(80, &memory), "it was told to go");
        used.update(160);
        assert!(frames[2].may_grow(80, &memory));
        assert_eq!(open(), [false, false, true, true]);
        used.update(300);
        assert!(!frames[2].may_grow(90, &memory), "nobody is left that began earlier");
        assert_eq!(open(), [false, false, true, true]);
        drop(frames);
        assert!(all.begun.lock().frames.is_empty());
    }
}
