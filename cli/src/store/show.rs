//! What a check or a repair found, as a table and as a JSON document.
//!
//! Owns both forms. What is damage is decided where the files are read.

use std::fmt::Write as _;
use std::path::PathBuf;

use serde::Serialize;
use strata_protocol::checked::{Proof, Standing};
use strata_store::inspect::{FileReport, LostMessages, Report, SegmentReport, Verdict};

use crate::output::{number, table, text as words};

/// All that was found.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Document {
    pub(super) verdict: &'static str,
    /// Whether `plan` was carried out; only of repairs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) repaired: Option<bool>,
    pub(super) stores: Vec<StoreShown>,
    pub(super) configuration: Vec<Config>,
    /// What a repair does, or did, with configuration files.
    pub(super) plan: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StoreShown {
    folder: PathBuf,
    verdict: &'static str,
    log_from: i64,
    log_to: i64,
    segments: Vec<Segment>,
    /// Parts of the log without a segment file.
    missing: Vec<Range>,
    files: Vec<File>,
    notes: Vec<String>,
    /// What a repair does, or did.
    pub(super) plan: Vec<String>,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct Range {
    from: i64,
    to: i64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Segment {
    path: PathBuf,
    from: i64,
    to: i64,
    file_bytes: u64,
    state: String,
    records: u64,
    sidecar: String,
    checksums: String,
    /// A tail that was being written at the end: the next start cuts it.
    torn_tail: Option<Range>,
    damage: Vec<Damage>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Damage {
    from: i64,
    to: i64,
    reason: String,
    lost: Vec<Lost>,
}

/// Messages of a queue, by their offsets: `from` to the one before `to`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Lost {
    topic: String,
    queue_id: i32,
    from: i64,
    to: i64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct File {
    path: PathBuf,
    state: String,
    /// Whether nothing else says what it says.
    holds_facts: bool,
}

/// A configuration file and its previous generation.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Config {
    path: PathBuf,
    state: String,
    previous_path: PathBuf,
    previous: String,
    #[serde(skip)]
    verdict: Verdict,
}

impl Config {
    pub(super) fn of((path, file): (PathBuf, Standing), (previous_path, previous): (PathBuf, Standing)) -> Self {
        let verdict = match (&file, &previous) {
            (Standing::Good(_), _) | (Standing::Absent, Standing::Absent) => Verdict::Clean,
            (_, Standing::Good(_)) => Verdict::Derived,
            _ => Verdict::Lost,
        };
        Self { path, state: standing(&file), previous_path, previous: standing(&previous), verdict }
    }

    /// Whether the file was ever written.
    pub(super) fn exists(&self) -> bool {
        self.state != ABSENT || self.previous != ABSENT
    }

    /// What a repair does with it.
    pub(super) fn plan(&self) -> Option<String> {
        let (path, previous) = (self.path.display(), self.previous_path.display());
        match self.verdict {
            Verdict::Clean => None,
            Verdict::Derived => Some(format!("restore {path} from {previous}; the last change to it is lost")),
            Verdict::Lost => {
                Some(format!("cannot be repaired: {path} and {previous}; restore one of them from a backup"))
            }
        }
    }
}

/// How a file is shown that is not there.
const ABSENT: &str = "-";

fn standing(standing: &Standing) -> String {
    match standing {
        Standing::Absent => ABSENT.to_owned(),
        Standing::Good(Proof::Checksum) => "good".to_owned(),
        Standing::Good(Proof::None) => "without checksum".to_owned(),
        Standing::Damaged { what } => format!("damaged ({what})"),
    }
}

const fn name_of(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Clean => "clean",
        Verdict::Derived => "derived",
        Verdict::Lost => "lost",
    }
}

impl StoreShown {
    pub(super) fn of(report: &Report) -> Self {
        let (log_from, log_to) = report.log_range();
        Self {
            folder: report.root.clone(),
            verdict: name_of(report.verdict()),
            log_from,
            log_to,
            segments: report.segments.iter().map(segment).collect(),
            missing: report.gaps.iter().map(|gap| Range { from: gap.from, to: gap.to }).collect(),
            files: report.files.iter().map(file).collect(),
            notes: report.notes.clone(),
            plan: report.plan().iter().map(ToString::to_string).collect(),
        }
    }
}

fn segment(report: &SegmentReport) -> Segment {
    let damage = report.damage.iter().map(|damage| Damage {
        from: damage.from,
        to: damage.to,
        reason: damage.reason.clone(),
        lost: damage.lost.iter().map(lost).collect(),
    });
    Segment {
        path: report.path.clone(),
        from: report.first,
        to: report.end,
        file_bytes: report.file_bytes,
        state: report.state.to_string(),
        records: report.records,
        sidecar: report.sidecar.to_string(),
        checksums: report.sums.to_string(),
        torn_tail: report.torn.map(|(from, to)| Range { from, to }),
        damage: damage.collect(),
    }
}

fn lost(messages: &LostMessages) -> Lost {
    let LostMessages { topic, queue_id, from, to } = messages;
    Lost { topic: topic.clone(), queue_id: *queue_id, from: *from, to: *to }
}

fn file(report: &FileReport) -> File {
    File { path: report.path.clone(), state: report.state.to_string(), holds_facts: report.is_fact }
}

impl Document {
    /// The same with what follows from its parts.
    pub(super) fn finished(mut self) -> Self {
        if self.repaired.is_none() {
            self.plan = self.configuration.iter().filter_map(Config::plan).collect();
        }
        self.verdict = name_of(self.worst());
        self
    }

    fn worst(&self) -> Verdict {
        let all = [Verdict::Lost, Verdict::Derived];
        let is = |verdict: Verdict| {
            self.stores.iter().any(|store| store.verdict == name_of(verdict))
                || self.configuration.iter().any(|config| config.verdict == verdict)
        };
        all.into_iter().find(|verdict| is(*verdict)).unwrap_or(Verdict::Clean)
    }

    /// One sentence for those who must know that something is damaged; `None` when nothing is.
    pub(super) fn damage(&self) -> Option<&'static str> {
        match (self.worst(), self.repaired) {
            (Verdict::Clean, _) => None,
            (Verdict::Derived, _) => Some(
                "files are damaged that can be made again; no message is lost: strata store repair, or a start, mends them",
            ),
            (Verdict::Lost, None) => Some(
                "something is damaged that nothing else holds; strata store repair --dry-run says what can be done",
            ),
            (Verdict::Lost, Some(_)) => {
                Some("what could be repaired is; the damage listed above stays and is told to those who read it")
            }
        }
    }
}

/// Everything for people.
pub(super) fn text(document: &Document) -> String {
    let mut out = String::new();
    for store in &document.stores {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{}: log offsets {} to {}", store.folder.display(), store.log_from, store.log_to);
        let _ = writeln!(out, "\n{}", segments_text(store));
        let damage = damage_text(store);
        if !damage.is_empty() {
            let _ = writeln!(out, "\n{damage}");
        }
        let rows = store.files.iter().map(|file| [file.path.display().to_string(), file.state.clone()]);
        let _ = writeln!(out, "\n{}", table(&[words("FILE"), words("STATE")], rows));
        for note in &store.notes {
            let _ = writeln!(out, "note: {note}");
        }
    }
    if !document.configuration.is_empty() {
        let columns = [words("CONFIGURATION"), words("STATE"), words("PREVIOUS")];
        let row = |config: &Config| [config.path.display().to_string(), config.state.clone(), config.previous.clone()];
        let _ = writeln!(out, "\n{}", table(&columns, document.configuration.iter().map(row)));
    }
    let head = if document.repaired.is_some() { "done" } else { "a repair would" };
    let plan: Vec<&String> = document.stores.iter().flat_map(|store| &store.plan).chain(&document.plan).collect();
    if plan.is_empty() {
        let _ = write!(out, "\nnothing to repair");
    } else {
        let _ = write!(out, "\n{head}:");
        for action in plan {
            let _ = write!(out, "\n  {action}");
        }
    }
    out
}

fn segments_text(store: &StoreShown) -> String {
    let columns = [
        number("FROM"),
        number("TO"),
        words("STATE"),
        number("RECORDS"),
        words("SIDECAR"),
        words("CHECKSUMS"),
        number("DAMAGED"),
    ];
    let row = |segment: &Segment| {
        [
            segment.from.to_string(),
            segment.to.to_string(),
            segment.state.clone(),
            segment.records.to_string(),
            segment.sidecar.clone(),
            segment.checksums.clone(),
            segment.damage.len().to_string(),
        ]
    };
    table(&columns, store.segments.iter().map(row))
}

/// What is lost; nothing when nothing is.
fn damage_text(store: &StoreShown) -> String {
    let gaps = store.missing.iter().map(|gap| {
        let why = "the segment files of this part of the log are missing".to_owned();
        [gap.from.to_string(), gap.to.to_string(), why, "unknown".to_owned()]
    });
    let damage = store.segments.iter().flat_map(|segment| &segment.damage).map(|damage| {
        let lost = damage.lost.iter().map(|lost| match lost.to - lost.from {
            1 => format!("{} {}: {}", lost.topic, lost.queue_id, lost.from),
            _ => format!("{} {}: {} to {}", lost.topic, lost.queue_id, lost.from, lost.to - 1),
        });
        let lost = lost.collect::<Vec<_>>().join("; ");
        [damage.from.to_string(), damage.to.to_string(), damage.reason.clone(), lost]
    });
    let rows: Vec<_> = gaps.chain(damage).collect();
    if rows.is_empty() {
        return String::new();
    }
    table(&[number("FROM"), number("TO"), words("DAMAGE"), words("TOPIC, QUEUE, OFFSETS LOST")], rows)
}
