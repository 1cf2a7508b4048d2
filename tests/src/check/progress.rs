//! I6: a group's progress after a kill is one that the kill may leave.
//!
//! Progress is stored some seconds behind the commits. A kill may therefore bring any value back that held
//! in that window; it may not bring an older one, and none that was never committed.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Report;
use crate::history::{Commit, Found, History, Queue};
use crate::limits::COMMIT_WINDOW_MS;
use crate::violation::Violation;

type Key = (Arc<str>, Queue);

pub(super) fn check(history: &History, report: &mut Report) {
    let mut commits: BTreeMap<Key, Vec<&Commit>> = BTreeMap::new();
    for commit in &history.commits {
        commits.entry((Arc::clone(&commit.group), commit.queue.clone())).or_default().push(commit);
    }
    let mut found: BTreeMap<Key, Vec<&Found>> = BTreeMap::new();
    for one in &history.found {
        found.entry((Arc::clone(&one.group), one.queue.clone())).or_default().push(one);
    }
    for (key, founds) in &found {
        let empty = Vec::new();
        of_queue(founds, commits.get(key).unwrap_or(&empty), history, report);
    }
}

/// Follows one group in one queue through the runs.
fn of_queue(founds: &[&Found], commits: &[&Commit], history: &History, report: &mut Report) {
    let mut possible: Vec<Option<i64>> = vec![None];
    let mut newest: Option<i64> = None;
    let mut run = 0;
    for found in founds {
        while run < found.run {
            let killed_ms = history.runs.get(run as usize).map_or(i64::MAX, |run| run.killed_ms);
            for commit in commits.iter().filter(|commit| commit.run == run) {
                let outlived = commit.confirmed_ms.is_some_and(|at| at + COMMIT_WINDOW_MS <= killed_ms);
                if outlived {
                    possible.clear();
                }
                possible.push(Some(commit.offset));
                newest = Some(commit.offset);
            }
            run += 1;
        }
        report.counts.progress_found += 1;
        report.counts.progress_back += usize::from(newest.is_some() && found.offset != newest);
        judge(found, &possible, report);
        // Whatever it was, it is what the next kill starts from.
        possible = vec![found.offset];
        newest = found.offset;
    }
}

fn judge(found: &Found, possible: &[Option<i64>], report: &mut Report) {
    let mut wrong = |what: String| {
        let (group, queue) = (Arc::clone(&found.group), found.queue.clone());
        report.violations.push(Violation::Progress { group, queue, run: found.run, what });
    };
    if found.offset.is_some_and(|offset| offset > found.end) {
        wrong(format!("it is {:?}, beyond the queue's end {}", found.offset, found.end));
    }
    if possible.contains(&found.offset) {
        return;
    }
    let show = |offset: &Option<i64>| offset.map_or(String::from("none"), |offset| offset.to_string());
    let highest = possible.iter().max().copied().flatten();
    let kind = if found.offset > highest { "was never committed" } else { "is older than the window" };
    let listed: Vec<String> = possible.iter().rev().take(8).map(show).collect();
    wrong(format!("{} {kind}; newest first it may be {}", show(&found.offset), listed.join(", ")));
}
