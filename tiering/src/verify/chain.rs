//! Two neighbouring rolls: each queue goes on in the second one where it ended in the first.

use std::cmp::Ordering;

use super::index::FINDINGS_MAX;
use crate::index::Index;
use crate::manifest::{Manifest, Roll};

/// What is wrong between two rolls, and how many offsets were gone before they were rolled.
pub(super) fn compare(
    manifest: &Manifest,
    (last, known): (&Roll, &Index),
    (roll, index): (&Roll, &Index),
) -> (Vec<String>, u64) {
    let (mut findings, mut gaps) = (Vec::new(), 0);
    let mut find = |what: String| {
        if findings.len() < FINDINGS_MAX {
            findings.push(what);
        }
    };
    let mut there = index.queues().peekable();
    for (topic, queue_id, before) in known.queues() {
        while let Some((name, id, span)) = there.next_if(|(name, id, _)| (*name, *id) < (topic, queue_id)) {
            find_late(&mut find, (name, id), span.base, manifest.floor_of(name) >= last.to);
        }
        let span = there.next_if(|(name, id, _)| (*name, *id) == (topic, queue_id)).map(|(_, _, span)| span);
        if manifest.floor_of(topic) >= last.to {
            // Nothing of it is there before this roll: whatever it begins with is its begin.
            continue;
        }
        let Some(span) = span else {
            find(format!("queue {queue_id} of topic {topic} is not in it, though nothing says that it was dropped"));
            continue;
        };
        match span.base.cmp(&before.next) {
            Ordering::Equal => {}
            // A part of the log that was gone before it was rolled is a roll without messages.
            Ordering::Greater if roll.objects.is_empty() => gaps += span.base.abs_diff(before.next),
            Ordering::Greater | Ordering::Less => find(format!(
                "queue {queue_id} of topic {topic} begins at {}, it ended at {} in the roll before",
                span.base, before.next
            )),
        }
    }
    for (topic, queue_id, span) in there {
        find_late(&mut find, (topic, queue_id), span.base, manifest.floor_of(topic) >= last.to);
    }
    (findings, gaps)
}

/// A queue that the roll before does not know begins at 0, unless nothing that it had there would be shown.
fn find_late(find: &mut impl FnMut(String), (topic, queue_id): (&str, i32), base: i64, is_gone: bool) {
    if base != 0 && !is_gone {
        find(format!("queue {queue_id} of topic {topic} begins at {base}, the roll before does not know it"));
    }
}
