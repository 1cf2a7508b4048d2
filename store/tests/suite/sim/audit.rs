//! Opening what a crash left, and holding every answer against the ledger.
//!
//! Owns what must be true after any crash. It opens with the real disk, only without flushing: no second
//! power cut follows.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use strata_protocol::record::{RecordView, records};
use strata_store::{DamagedRange, Disk, KeepAll, KeyKind, ReadStatus, RealDisk, Recovery, Store, StoreOptions};

use super::draw::Draw;
use super::ledger::{Messages, Moment, Verdict, key};
use super::rig::{place_of, sim_clock};
use crate::common::{EVERYTHING, message};

/// The real disk without flushes, and with a switch that ends it as a kill would.
#[derive(Default)]
struct QuickDisk {
    dead: AtomicBool,
}

impl QuickDisk {
    fn alive(&self) -> io::Result<()> {
        if self.dead.load(Ordering::SeqCst) { Err(io::Error::other("the process was killed")) } else { Ok(()) }
    }
}

impl Disk for QuickDisk {
    fn write_at(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        self.alive().and_then(|()| RealDisk.write_at(file, bytes, at))
    }

    fn sync(&self, _file: &File) -> io::Result<()> {
        self.alive()
    }

    fn allocate(&self, file: &File, bytes: u64) -> io::Result<()> {
        self.alive()?;
        if file.metadata()?.len() < bytes { file.set_len(bytes) } else { Ok(()) }
    }

    fn used_ratio(&self, _path: &Path) -> io::Result<f64> {
        Ok(0.1)
    }

    fn sync_folder(&self, _folder: &Path) -> io::Result<()> {
        self.alive()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.alive().and_then(|()| RealDisk.rename(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.alive().and_then(|()| RealDisk.remove(path))
    }

    fn free(&self, file: &File, at: u64, bytes: u64) -> io::Result<()> {
        self.alive().and_then(|()| RealDisk.free(file, at, bytes))
    }
}

/// What is at an offset of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Item {
    Message(usize),
    /// What the audit itself sent.
    Probe,
    Damaged,
}

/// The body of a message that the audit sends, and a topic of its own.
const PROBE: (&str, &[u8]) = ("Probe", b"probe");

/// Every answer of a store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Answers {
    /// First and next offset of each queue, and what is between.
    queues: BTreeMap<(&'static str, i32), (i64, i64, Vec<Item>)>,
    /// Messages that their key finds.
    keyed: Vec<usize>,
    /// Halves that their log offset finds.
    halves: Vec<usize>,
    /// The log's end.
    end: i64,
}

impl Answers {
    /// Forgets messages that are read now and were told to be damaged `before`. Harm that was seen in memory and went with
    /// the crash, before it reached the disk, is remembered by derived files alone.
    fn forget_mended(&mut self, before: &Self) {
        for (queue, (_, _, items)) in &mut self.queues {
            let Some((_, _, told)) = before.queues.get(queue) else { continue };
            for (item, told) in items.iter_mut().zip(told) {
                if *told == Item::Damaged {
                    *item = Item::Damaged;
                }
            }
        }
    }
}

/// One crash to be judged.
pub(crate) struct Case<'a> {
    pub(crate) messages: &'a Messages,
    pub(crate) moment: &'a Moment,
    /// The crash kept everything.
    pub(crate) all: bool,
    pub(crate) sync: bool,
    /// Something else than a crash damaged the files.
    pub(crate) meddled: bool,
    pub(crate) seed: u64,
}

type Checked<T = ()> = Result<T, String>;

/// Judges the store below `base` and leaves it changed.
pub(crate) fn audit(case: &Case<'_>, options: &StoreOptions) -> Checked {
    let mut draw = Draw::new(case.seed);
    let (mut store, mut recovery) = start(options)?;
    let answers = case.read(&store.0)?;
    case.judge(&answers)?;
    case.judge_damage(&recovery)?;
    if draw.chance(25) {
        // Nothing was written since: a second recovery must say the same.
        let (end, _) = finish(store, true).map(|()| (answers.end, ()))?;
        (store, recovery) = start(options)?;
        let again = case.read(&store.0)?;
        same("a second recovery", &answers, &again)?;
        if let Some(cut) = recovery.cut {
            return Err(format!("a second recovery cut {cut:?} of a log that ended at {end}"));
        }
    }
    let probed = case.probe(&store.0, &answers, draw.chance(30))?;
    finish(store, false)?;
    if draw.chance(50) {
        return Ok(());
    }
    delete_derived(options, draw.below(6))?;
    let (store, _) = start(options)?;
    let mut again = case.read(&store.0)?;
    if case.is_harmed() {
        again.forget_mended(&probed);
    }
    same("closing and opening, without derived files", &probed, &again)?;
    finish(store, false)
}

type Running = (Arc<Store>, Arc<QuickDisk>);

fn start(options: &StoreOptions) -> Checked<(Running, Recovery)> {
    let disk = Arc::new(QuickDisk::default());
    let opened = Store::open_on(options.clone(), sim_clock(), Arc::clone(&disk) as _);
    let (store, recovery) = opened.map_err(|error| format!("it does not open: {error}"))?;
    Ok(((store, disk), recovery))
}

fn finish((store, disk): Running, killed: bool) -> Checked {
    if killed {
        disk.dead.store(true, Ordering::SeqCst);
        drop(store);
        return Ok(());
    }
    store.close().map_err(|error| format!("it does not close: {error}"))
}

fn same(what: &str, before: &Answers, after: &Answers) -> Checked {
    if before == after {
        return Ok(());
    }
    Err(format!("{what} changed answers from\n{before:?}\nto\n{after:?}"))
}

/// Deletes derived files: one kind, all, or none.
fn delete_derived(options: &StoreOptions, which: usize) -> Checked {
    let side = options.root.join("sidecar");
    let kinds: &[&str] =
        [&[".sums"][..], &[".index"], &["checkpoint"], &[".sums", ".index", "checkpoint"], &[], &[]][which];
    let mut paths = vec![options.root.join("checkpoint")];
    let entries = std::fs::read_dir(side).map_err(|error| error.to_string())?;
    paths.extend(entries.filter_map(Result::ok).map(|entry| entry.path()));
    for path in paths {
        let name = path.to_string_lossy();
        if kinds.iter().any(|kind| name.ends_with(kind)) && path.exists() {
            std::fs::remove_file(&path).map_err(|error| error.to_string())?;
        }
    }
    Ok(())
}

impl Case<'_> {
    /// Reads every queue, key and half.
    fn read(&self, store: &Store) -> Checked<Answers> {
        let mut answers = Answers { end: store.log_range().1, ..Answers::default() };
        for queue in self.queues() {
            if let Some(found) = self.read_queue(store, queue)? {
                answers.queues.insert(queue, found);
            }
        }
        for (number, message) in self.messages.0.iter().enumerate() {
            let known = &self.moment.known[number];
            if message.half {
                let record = known.place.and_then(|place| store.record_at(place.from));
                let record = record.as_ref().and_then(|bytes| RecordView::parse(bytes).ok());
                if record.is_some_and(|record| self.name(message.topic, &record) == Some(number)) {
                    answers.halves.push(number);
                }
            } else if known.sending && !self.is_harmed() {
                let found = store.query_by_key(message.topic, &key(number), 0, i64::MAX, 9, KeyKind::Key);
                if !found.is_empty() {
                    answers.keyed.push(number);
                }
            }
        }
        Ok(answers)
    }

    /// Whether a sealed segment may be damaged. A search by key gives nothing of a damaged block, also not
    /// its good records, which are read by queue.
    fn is_harmed(&self) -> bool {
        self.moment.known.iter().any(|known| known.harmed)
    }

    fn name(&self, topic: &str, record: &RecordView<'_>) -> Option<usize> {
        self.messages.of((topic, record.body(), record.properties()))
    }

    fn read_queue(&self, store: &Store, (topic, queue): (&'static str, i32)) -> Checked<Option<(i64, i64, Vec<Item>)>> {
        let Some(range) = store.queue_range(topic, queue) else { return Ok(None) };
        let mut items = Vec::new();
        let mut at = range.min;
        while at < range.max {
            let read = store.read(topic, queue, at, &EVERYTHING, &mut KeepAll);
            match read.status {
                ReadStatus::Found => {}
                ReadStatus::Damaged { .. } => {
                    items.extend((at..read.next_offset).map(|_| Item::Damaged));
                }
                other => return Err(format!("{topic}/{queue} at {at} of {range:?}: {other:?}")),
            }
            for record in read.slices.iter().flat_map(|slice| records(slice)) {
                let record = record.map_err(|error| format!("{topic}/{queue} at {at}: {error}"))?;
                let place = place_of(&record);
                if place.offset != range.min + items.len() as i64 {
                    return Err(format!("{topic}/{queue} at {at}: a record of offset {}", place.offset));
                }
                if record.body() == PROBE.1 {
                    items.push(Item::Probe);
                    continue;
                }
                let number = self.name(topic, &record);
                let number = number.ok_or_else(|| format!("{topic}/{queue} at {at}: nobody sent that: {record:?}"))?;
                let known = self.moment.known[number].place;
                if known.is_some_and(|known| known != place) {
                    return Err(format!(
                        "{topic}/{queue} at {at}: message {number}, put at {known:?}, is at {place:?}"
                    ));
                }
                items.push(Item::Message(number));
            }
            if read.next_offset <= at {
                return Err(format!("{topic}/{queue} does not go on at {at}"));
            }
            at = read.next_offset;
        }
        if items.len() as i64 != range.max - range.min {
            return Err(format!("{topic}/{queue} has {} answers for {range:?}", items.len()));
        }
        Ok(Some((range.min, range.max, items)))
    }

    /// Holds what is there against what must and must not be.
    fn judge(&self, answers: &Answers) -> Checked {
        let mut there = vec![0; self.messages.0.len()];
        for (_, _, items) in answers.queues.values() {
            for item in items {
                if let Item::Message(number) = item {
                    there[*number] += 1;
                }
            }
        }
        answers.halves.iter().for_each(|number| there[*number] += 1);
        for (number, message) in self.messages.0.iter().enumerate() {
            let verdict = self.moment.verdict(number, message, (self.all, self.sync));
            let known = &self.moment.known[number];
            let is_keyed = answers.keyed.contains(&number);
            let what = || format!("message {number} in {}/{} ({known:?})", message.topic, message.queue);
            match (there[number], verdict) {
                (0, Verdict::Must) => return Err(format!("{} is lost", what())),
                (1.., Verdict::MustNot) if !message.half => return Err(format!("{} came back", what())),
                (2.., _) => return Err(format!("{} is there {} times", what(), there[number])),
                _ => {}
            }
            if !message.half && !self.is_harmed() && is_keyed != (there[number] > 0) {
                return Err(format!("{}: by queue {}, by key {is_keyed}", what(), there[number] > 0));
            }
        }
        for (topic, queue) in self.queues() {
            let next = answers.queues.get(&(topic, queue)).map_or(0, |(_, max, _)| *max);
            let promised = self.moment.promised_next(self.messages, (topic, queue), self.sync);
            if next < promised {
                return Err(format!("{topic}/{queue} goes on at {next}, offsets below {promised} were given out"));
            }
        }
        Ok(())
    }

    fn queues(&self) -> Vec<(&'static str, i32)> {
        let mut queues: Vec<_> = self.messages.0.iter().map(|message| (message.topic, message.queue)).collect();
        queues.push((PROBE.0, 0));
        queues.sort_unstable();
        queues.dedup();
        queues
    }

    /// A crash alone damages nothing that was promised, and nothing at all when it kept everything.
    fn judge_damage(&self, recovery: &Recovery) -> Checked {
        if self.meddled {
            return Ok(());
        }
        if self.all
            && !self.moment.unopened
            && (recovery.cut.is_some() || !recovery.damaged.is_empty() || recovery.conflicts > 0)
        {
            return Err(format!("a kill alone left {recovery:?}"));
        }
        let promised = self.moment.known.iter().filter(|known| known.durable && !known.void);
        for place in promised.filter_map(|known| known.place) {
            let hit = |range: &&DamagedRange| range.from < place.to && place.from < range.to;
            if let Some(range) = recovery.damaged.iter().find(hit) {
                return Err(format!("{range:?} is said to be damaged, {place:?} was promised"));
            }
        }
        Ok(())
    }

    /// Sends one more message to every queue and to a new one.
    fn probe(&self, store: &Store, before: &Answers, seal: bool) -> Checked<Answers> {
        let mut expected = before.clone();
        for (topic, queue) in self.queues() {
            let appended = store.append(&message(topic, queue, PROBE.1));
            let appended = appended.map_err(|error| format!("a probe is refused: {error}"))?;
            let known = expected.queues.entry((topic, queue)).or_default();
            if appended.queue_offset != known.1 {
                return Err(format!("{topic}/{queue}: a probe got {}, {} was next", appended.queue_offset, known.1));
            }
            if appended.physical_offset < expected.end {
                return Err(format!("a probe is at {}, the log ended at {}", appended.physical_offset, expected.end));
            }
            known.1 += 1;
            known.2.push(Item::Probe);
            expected.end = appended.log_end;
        }
        store.flush_now().map_err(|error| error.to_string())?;
        if seal {
            store.seal_active().map_err(|error| error.to_string())?;
            expected.end = store.log_range().1;
        }
        same("sending more", &expected, &self.read(store)?)?;
        Ok(expected)
    }
}
