//! Damage to every kind of file of a closed store, judged against what was stored.
//!
//! Owns the damages, drawn from a seed, and the judgement: all damage is noticed, no wrong byte is given
//! out, nothing that was not hit is lost, and offsets go on where they were. `STRATA_DAMAGE_CASES` sets the
//! cases of each kind of file, `STRATA_DAMAGE_SEED` the seed.

#![allow(clippy::panic, clippy::print_stdout, reason = "a test says its seed, and stops at what it did not expect")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use strata_protocol::record::records;
use strata_store::inspect::{self, Action, Report, Verdict};
use strata_store::{Disk, KeyKind, OpenError, QueueRange, ReadStatus, RealDisk, Store, StoreOptions};

use crate::common::*;

/// Cases of each kind of file when nothing else is said.
const CASES_DEFAULT: u64 = 200;
/// Bytes of a segment of the template.
const SEGMENT: usize = 65_536;

/// A disk on which nothing waits: what a power cut would take is not asked here.
struct Hasty;

impl Disk for Hasty {
    fn write_at(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        RealDisk.write_at(file, bytes, at)
    }

    fn sync(&self, _file: &File) -> io::Result<()> {
        Ok(())
    }

    fn sync_folder(&self, _folder: &Path) -> io::Result<()> {
        Ok(())
    }

    fn allocate(&self, file: &File, bytes: u64) -> io::Result<()> {
        RealDisk.allocate(file, bytes)
    }

    fn used_ratio(&self, _path: &Path) -> io::Result<f64> {
        Ok(0.1)
    }
}

/// Numbers that follow from a seed (splitmix64).
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

/// One message as it was stored.
#[derive(Debug, Clone)]
struct Stored {
    offset: i64,
    /// Log offsets of its record.
    at: Range<i64>,
    key: String,
}

#[derive(Debug, Clone, Default)]
struct Queue {
    min: i64,
    next: i64,
    messages: Vec<Stored>,
}

type Queues = BTreeMap<(String, i32), Queue>;

/// The files of a store, by their path within it, and what it answers.
struct Template {
    files: BTreeMap<PathBuf, Vec<u8>>,
    queues: Queues,
    /// First log offset kept, and the one behind the last record.
    log: (i64, i64),
}

impl Template {
    /// The bytes of the log between two offsets, as they were stored.
    fn bytes(&self, at: &Range<i64>) -> &[u8] {
        let first = at.start / SEGMENT as i64 * SEGMENT as i64;
        let file = &self.files[&PathBuf::from(format!("commitlog/{first:020}"))];
        &file[(at.start - first) as usize..(at.end - first) as usize]
    }

    fn write(&self, root: &Path) {
        for folder in ["commitlog", "sidecar"] {
            std::fs::create_dir_all(root.join(folder)).unwrap();
        }
        for (path, bytes) in &self.files {
            std::fs::write(root.join(path), bytes).unwrap();
        }
    }

    /// The files of a folder whose names end so.
    fn named(&self, folder: &str, ending: &str) -> Vec<PathBuf> {
        let inside = |path: &&PathBuf| path.starts_with(folder) && path.to_string_lossy().ends_with(ending);
        self.files.keys().filter(inside).cloned().collect()
    }
}

fn fill(store: &Store, draw: &mut Draw, queues: &mut Queues, (topic, queue_id): (&str, i32)) {
    let bytes = if draw.below(4) == 0 { draw.below(3_000) } else { draw.below(400) };
    let body: Vec<u8> = (0..bytes).map(|_| draw.next() as u8).collect();
    let key = format!("{topic}-{queue_id}-{}", draw.next());
    let properties = format!("TAGS\u{1}t{}\u{2}KEYS\u{1}{key}\u{2}", draw.below(3));
    let appended = store.append(&with_properties(topic, queue_id, &body, properties.as_bytes())).unwrap();
    let queue = queues.entry((topic.to_owned(), queue_id)).or_default();
    assert_eq!(appended.queue_offset, queue.next);
    queue.next += 1;
    let (offset, at) = (appended.queue_offset, appended.physical_offset..appended.log_end);
    queue.messages.push(Stored { offset, at, key });
}

/// A store with a floor, sealed segments, a full one, an active one, an idle queue, and a topic that was
/// deleted and began anew.
fn build(sealed: bool) -> Template {
    let folder = tempfile::tempdir().unwrap();
    let mut kept = options(folder.path());
    kept.retention.log_bytes_max = Some(3 * SEGMENT as u64 + 1);
    let (store, _) = Store::open_on(kept, TestClock::at(1_000_000), Arc::new(Hasty)).unwrap();
    let mut draw = Draw(7);
    let mut queues = Queues::new();
    fill(&store, &mut draw, &mut queues, ("Idle", 0));
    for round in 0..5 {
        while store.log_range().1 < (round + 1) * SEGMENT as i64 - 4_096 {
            let queue = [("Orders", 0), ("Orders", 1), ("Orders", 5), ("Mail", 0), ("Gone", 0)][draw.below(5)];
            fill(&store, &mut draw, &mut queues, queue);
        }
        if round == 2 {
            store.forget_topic("Gone").unwrap();
            queues.remove(&("Gone".to_owned(), 0));
        }
        if round == 3 {
            fill(&store, &mut draw, &mut queues, ("Late", 3));
        }
        if round < 4 && (sealed || round < 3) {
            store.seal_active().unwrap();
        }
    }
    if !sealed {
        // The last message goes into the next segment; the one before stays full and is not sealed.
        while store.log_range().1 < 5 * SEGMENT as i64 {
            fill(&store, &mut draw, &mut queues, ("Orders", 1));
        }
        fill(&store, &mut draw, &mut queues, ("New", 0));
    }
    store.sweep(&|_| None, i64::MAX).unwrap();
    let log = store.log_range();
    assert!(log.0 > 0, "retention has left its floor");
    for queue in queues.values_mut() {
        queue.messages.retain(|message| message.at.start >= log.0);
        queue.min = queue.messages.first().map_or(queue.next, |first| first.offset);
    }
    store.flush_now().unwrap();
    if sealed {
        store.close().unwrap();
    } else {
        std::fs::write(folder.path().join("checkpoint"), b"").unwrap();
        std::fs::remove_file(folder.path().join("checkpoint")).unwrap();
    }
    let mut files = BTreeMap::new();
    for part in ["", "commitlog", "sidecar"] {
        for entry in std::fs::read_dir(folder.path().join(part)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() && !path.ends_with("strata.lock") {
                let name = path.strip_prefix(folder.path()).unwrap().to_owned();
                files.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    Template { files, queues, log }
}

/// The store as its broker closed it, or as a kill left it.
fn template(closed: bool) -> &'static Template {
    static TEMPLATES: [OnceLock<Template>; 2] = [OnceLock::new(), OnceLock::new()];
    TEMPLATES[usize::from(closed)].get_or_init(|| build(closed))
}

/// What is done to a file.
#[derive(Debug, Clone, Copy)]
enum Damage {
    Flip,
    Byte,
    Truncate,
    Zero,
    Swap,
    Misdirect,
}

const DAMAGES: [Damage; 6] =
    [Damage::Flip, Damage::Byte, Damage::Truncate, Damage::Zero, Damage::Swap, Damage::Misdirect];

/// Damages `bytes`, mostly within the first `used`. `stray` is another file's block that may end up here.
fn hurt(draw: &mut Draw, bytes: &mut Vec<u8>, used: usize, stray: &[u8]) -> Damage {
    let damage = DAMAGES[draw.below(DAMAGES.len())];
    let used = if draw.below(10) == 0 { bytes.len() } else { used.min(bytes.len()) };
    let at = draw.below(used);
    let block = if draw.below(2) == 0 { 512 } else { 4_096 };
    let blocks = used.div_ceil(block);
    let range = |index: usize, length: usize| index * block..(index * block + block).min(length);
    match damage {
        Damage::Flip => bytes[at] ^= 1 << draw.below(8),
        Damage::Byte => bytes[at] = draw.next() as u8,
        Damage::Truncate => bytes.truncate(at),
        Damage::Zero => {
            let range = range(draw.below(blocks), bytes.len());
            bytes[range].fill(0);
        }
        Damage::Swap => {
            let (a, b) = (range(draw.below(blocks), bytes.len()), range(draw.below(blocks), bytes.len()));
            let (first, second) = (bytes[a.clone()].to_vec(), bytes[b.clone()].to_vec());
            let length = first.len().min(second.len());
            bytes[a.start..a.start + length].copy_from_slice(&second[..length]);
            bytes[b.start..b.start + length].copy_from_slice(&first[..length]);
        }
        Damage::Misdirect => {
            let to = range(draw.below(blocks), bytes.len());
            let from = draw.below(stray.len().div_ceil(block)) * block;
            let length = to.len().min(stray.len() - from);
            bytes[to.start..to.start + length].copy_from_slice(&stray[from..from + length]);
        }
    }
    damage
}

/// Positions at which two versions of a file differ; what is cut off counts as zeros.
fn differences(before: &[u8], after: &[u8]) -> BTreeSet<usize> {
    let at = |bytes: &[u8], at: usize| bytes.get(at).copied().unwrap_or(0);
    (0..before.len().max(after.len())).filter(|n| at(before, *n) != at(after, *n)).collect()
}

/// A kind of file, and how its damage is judged.
struct Kind {
    name: &'static str,
    closed: bool,
    files: Vec<PathBuf>,
}

/// How cases ended, by damage.
type Counts = BTreeMap<String, u64>;

fn environment(name: &str) -> Option<u64> {
    #[allow(clippy::disallowed_methods, reason = "a long run is asked for by the environment")]
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// Runs the cases of one kind of file. `judge` opens the damaged store and says how it ended.
fn run(kind: &Kind, judge: impl Fn(&Case<'_>) -> &'static str) {
    let seed = environment("STRATA_DAMAGE_SEED").unwrap_or(1);
    let cases = environment("STRATA_DAMAGE_CASES").unwrap_or(CASES_DEFAULT);
    let template = template(kind.closed);
    let all: Vec<_> = template.files.values().filter(|bytes| !bytes.is_empty()).collect();
    let mut counts = Counts::new();
    assert!(!kind.files.is_empty(), "the template has no {}", kind.name);
    let (mut number, mut judged) = (0, 0);
    while judged < cases {
        number += 1;
        let mut draw = Draw(seed ^ (number << 20) ^ u64::from(crc32c::crc32c(kind.name.as_bytes())) << 32);
        let path = &kind.files[draw.below(kind.files.len())];
        let before = &template.files[path];
        let stray = if draw.below(2) == 0 { before } else { all[draw.below(all.len())] };
        let mut after = before.clone();
        let used = before.iter().rposition(|byte| *byte != 0).map_or(1, |last| last + 1);
        let damage = hurt(&mut draw, &mut after, used, stray);
        if after == *before {
            // Equal blocks were swapped, or zeros made zero: no case.
            continue;
        }
        judged += 1;
        let folder = tempfile::tempdir().unwrap();
        template.write(folder.path());
        std::fs::write(folder.path().join(path), &after).unwrap();
        let changed = differences(before, &after);
        let what = format!("{} {damage:?} {}, seed {seed}, case {number}", kind.name, path.display());
        let case = Case { template, root: folder.path(), path, changed, what };
        let report = case.check();
        let repaired = number % 3 == 0 && case.repair(&report);
        let outcome = judge(&case);
        case.judge_report(&report, outcome, repaired);
        *counts.entry(format!("{damage:?}: {outcome}")).or_default() += 1;
    }
    println!("{} seed {seed}, {cases} cases: {counts:?}", kind.name);
}

/// Every file below a folder: its bytes and when it was changed. The lock belongs to whoever looks.
fn everything(root: &Path) -> BTreeMap<PathBuf, (Vec<u8>, SystemTime)> {
    let mut out = BTreeMap::new();
    for folder in [root.to_owned(), root.join("commitlog"), root.join("sidecar")] {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let changed = path.metadata().unwrap().modified().unwrap();
            let bytes = if path.is_file() { std::fs::read(&path).unwrap() } else { Vec::new() };
            out.insert(path, (bytes, changed));
        }
    }
    out
}

/// Each message that a report says is lost.
fn messages(report: &Report) -> BTreeSet<(String, i32, i64)> {
    let damage = report.segments.iter().flat_map(|segment| &segment.damage);
    let lost = damage.flat_map(|damage| &damage.lost);
    lost.flat_map(|lost| (lost.from..lost.to).map(|offset| (lost.topic.clone(), lost.queue_id, offset))).collect()
}

/// One damaged store.
struct Case<'a> {
    template: &'a Template,
    root: &'a Path,
    path: &'a Path,
    /// Positions of the file that changed.
    changed: BTreeSet<usize>,
    what: String,
}

impl Case<'_> {
    fn options(&self) -> StoreOptions {
        options(self.root)
    }

    fn open(&self) -> Result<Arc<Store>, OpenError> {
        Store::open_on(self.options(), TestClock::at(2_000_000), Arc::new(Hasty)).map(|(store, _)| store)
    }

    /// Checks the store, which must change nothing.
    fn check(&self) -> Report {
        let before = everything(self.root);
        let report = inspect::check(self.root, &mut |_, _| ()).unwrap_or_else(|error| panic!("{}: {error}", self.what));
        assert!(before == everything(self.root), "{}: a check changed a file", self.what);
        report
    }

    /// Repairs the store; `false` when that must be done by hand.
    fn repair(&self, report: &Report) -> bool {
        let plan = report.plan();
        let by_hand = plan.iter().any(|action| matches!(action, Action::ByHand { .. }));
        match inspect::repair_on(self.root, TestClock::at(2_000_000), Arc::new(Hasty), &mut |_, _| ()) {
            Ok(repaired) => {
                assert!(!by_hand && repaired.done == plan, "{}: {plan:?}", self.what);
                assert_eq!(repaired.after.plan(), [], "{}", self.what);
                let expected = if messages(report).is_empty() { Verdict::Clean } else { Verdict::Lost };
                let after = repaired.after.verdict();
                assert!(after <= report.verdict() && (after == expected || after == Verdict::Lost), "{}", self.what);
                assert_eq!(messages(&repaired.after), messages(report), "{}", self.what);
                true
            }
            Err(error) => {
                let named = error.to_string().contains(&self.root.join(self.path).display().to_string());
                assert!(by_hand && named, "{}: {error}", self.what);
                false
            }
        }
    }

    /// The report from before the opening says what was lost, and no more.
    fn judge_report(&self, report: &Report, outcome: &str, repaired: bool) {
        let verdict = report.verdict();
        let mut lost = BTreeSet::new();
        for ((topic, queue_id), queue) in &self.template.queues {
            let hit = queue.messages.iter().filter(|message| self.is_hit(message));
            lost.extend(hit.map(|message| (topic.clone(), *queue_id, message.offset)));
        }
        assert_eq!(messages(report), lost, "{}: {report:#?}", self.what);
        match outcome {
            "told" => assert_eq!(verdict, Verdict::Lost, "{}", self.what),
            "refused" => assert!(verdict == Verdict::Lost && !repaired, "{}", self.what),
            "made again" => assert!(verdict < Verdict::Lost, "{}: {report:#?}", self.what),
            _ => {}
        }
    }

    /// Opens a store that must open.
    fn opened(&self) -> Arc<Store> {
        self.open().unwrap_or_else(|error| panic!("{}: {error}", self.what))
    }

    /// Whether the damage lies in a record.
    fn is_hit(&self, message: &Stored) -> bool {
        let Some(first) = self.path.strip_prefix("commitlog").ok().and_then(|name| name.to_str()?.parse::<i64>().ok())
        else {
            return false;
        };
        let position = |offset: i64| usize::try_from(offset - first);
        match (position(message.at.start), position(message.at.end)) {
            (Ok(from), Ok(to)) if from < SEGMENT => self.changed.range(from..to).next().is_some(),
            _ => false,
        }
    }

    /// Checks everything a reader can get; `false` when messages are lost.
    fn read_all(&self, store: &Store, appended: usize) -> bool {
        let mut whole = true;
        for ((topic, queue_id), queue) in &self.template.queues {
            let max = queue.next + appended as i64;
            let range = QueueRange { min: queue.min, max };
            assert_eq!(store.queue_range(topic, *queue_id), Some(range), "{}: {topic} {queue_id}", self.what);
            let (found, lost) = self.walk(store, topic, *queue_id, range);
            for message in &queue.messages {
                let hit = self.is_hit(message);
                whole &= !hit;
                let offset = message.offset;
                assert_eq!(lost.contains(&offset), hit, "{}: {topic} {queue_id} {offset}", self.what);
                let expected = (!hit).then(|| self.template.bytes(&message.at));
                let given = found.get(&offset).map(Vec::as_slice);
                assert!(given == expected, "{}: {topic} {queue_id} {offset}", self.what);
                let direct = store.record_at(message.at.start);
                assert!(direct.as_deref() == expected, "{}: {topic} {queue_id} at {}", self.what, message.at.start);
                let by_key = store.query_by_key(topic, &message.key, 0, i64::MAX, 10, KeyKind::Key);
                let by_key: Vec<_> = by_key.iter().map(|bytes| &bytes[..]).collect();
                assert!(by_key == Vec::from_iter(expected), "{}: key {}", self.what, message.key);
            }
            let known = queue.messages.len() + appended;
            assert_eq!(found.len() + lost.len(), known, "{}: {topic} {queue_id}", self.what);
        }
        whole
    }

    /// Reads a queue to its end: records by offset, and the offsets that are told as damaged.
    fn walk(
        &self,
        store: &Store,
        topic: &str,
        queue_id: i32,
        range: QueueRange,
    ) -> (BTreeMap<i64, Vec<u8>>, BTreeSet<i64>) {
        let (mut found, mut lost) = (BTreeMap::new(), BTreeSet::new());
        let mut offset = range.min;
        while offset < range.max {
            let read = read(store, topic, queue_id, offset);
            for slice in &read.slices {
                for record in records(slice) {
                    let record = record.unwrap();
                    found.insert(record.queue_offset(), record.bytes().to_vec());
                }
            }
            if matches!(read.status, ReadStatus::Damaged { .. }) {
                lost.extend(offset..read.next_offset);
            }
            assert!(read.next_offset > offset, "{}: {:?}", self.what, read.status);
            offset = read.next_offset;
        }
        (found, lost)
    }

    /// The store answers right, takes new messages at the right offsets, and still does when opened again.
    fn judge_answers(&self) -> bool {
        let store = self.opened();
        let whole = self.read_all(&store, 0);
        for (appended, sealed) in [(1, false), (2, true)] {
            for ((topic, queue_id), queue) in &self.template.queues {
                let offset = append(&store, topic, *queue_id, b"later").queue_offset;
                assert_eq!(offset, queue.next + appended - 1, "{}: {topic} {queue_id}", self.what);
            }
            if sealed {
                store.seal_active().unwrap();
            }
            assert!(store.log_range().1 > self.template.log.1, "{}", self.what);
            self.read_all(&store, appended as usize);
        }
        store.close().unwrap();
        drop(store);
        self.read_all(&self.opened(), 2);
        whole
    }

    /// A file with facts of its own is refused by name, or the change means nothing.
    fn judge_refusal(&self) -> &'static str {
        match self.open() {
            Err(error) => {
                let named = error.to_string().contains(&self.root.join(self.path).display().to_string());
                assert!(named, "{}: {error}", self.what);
                "refused"
            }
            Ok(store) => {
                self.read_all(&store, 0);
                store.close().unwrap();
                drop(store);
                assert!(self.judge_answers(), "{}", self.what);
                "harmless"
            }
        }
    }
}

fn segment_kind(name: &'static str, closed: bool, pick: impl Fn(&[PathBuf]) -> Vec<PathBuf>) -> Kind {
    Kind { name, closed, files: pick(&template(closed).named("commitlog", "")) }
}

fn judge_log(case: &Case<'_>) -> &'static str {
    if case.judge_answers() { "harmless" } else { "told" }
}

fn judge_derived(case: &Case<'_>) -> &'static str {
    assert!(case.judge_answers(), "{}", case.what);
    "made again"
}

#[test]
fn of_the_active_segment() {
    let kind = segment_kind("active segment", true, |all| all[all.len() - 1..].to_vec());
    run(&kind, judge_log);
}

#[test]
fn of_sealed_segments() {
    let kind = segment_kind("sealed segment", true, |all| all[..all.len() - 1].to_vec());
    run(&kind, judge_log);
}

#[test]
fn of_full_segments_that_a_kill_left_unsealed() {
    let kind = segment_kind("full segment", false, |all| all[all.len() - 2..].to_vec());
    run(&kind, judge_log);
}

#[test]
fn of_sidecars() {
    run(&Kind { name: "sidecar", closed: true, files: template(true).named("sidecar", ".index") }, judge_derived);
}

#[test]
fn of_checksum_frames() {
    let kind = |closed, name| Kind { name, closed, files: template(closed).named("sidecar", ".sums") };
    run(&kind(true, "checksum frames"), judge_derived);
    run(&kind(false, "checksum frames after a kill"), judge_derived);
}

#[test]
fn of_the_floor() {
    let files = vec![PathBuf::from("sidecar/floor")];
    run(&Kind { name: "floor", closed: true, files }, |case| case.judge_refusal());
}

#[test]
fn of_tombstones() {
    let files = vec![PathBuf::from("tombstones")];
    run(&Kind { name: "tombstones", closed: true, files }, |case| case.judge_refusal());
}

#[test]
fn of_the_format() {
    let files = vec![PathBuf::from("strata.format")];
    run(&Kind { name: "format", closed: true, files }, |case| case.judge_refusal());
}

#[test]
fn of_the_checkpoint() {
    run(&Kind { name: "checkpoint", closed: true, files: vec![PathBuf::from("checkpoint")] }, judge_derived);
}
