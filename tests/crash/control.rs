//! The control: losses that are planted must be found, each of them and nothing else.
//!
//! Owns the planting, on copies of an audited folder and on copies of the logs. An auditor that misses one
//! of these has proved nothing with its other runs.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use strata_tests::check::{self, Report};
use strata_tests::draw::Draw;
use strata_tests::dump::{Dump, Stored};
use strata_tests::epoch::{Audited, copy_folder, dump_of};
use strata_tests::history::{Kind, Outcome, Place, Sent, Ticket};
use strata_tests::site::{Setup, Site};
use strata_tests::violation::Violation;

/// Where the body of a record with IPv4 hosts begins.
const BODY_AT: i64 = 88;

/// Plants each kind of loss and looks whether it is found.
pub(crate) async fn run(audited: &Audited, draw: &mut Draw, say: &mut impl FnMut(&str)) -> Result<()> {
    forged_acknowledgement(audited).context("control: an acknowledgement that was never given")?;
    dropped_delivery(audited).context("control: a delivery that was left out")?;
    say("  control    a forged acknowledgement and a dropped delivery were found");
    let places = candidates(audited);
    let (first, last) = (places.first().context("no candidates")?, places.last().context("no candidates")?);
    for (name, (sent, stored)) in [("first", first), ("last", last)] {
        let found = flipped_byte(audited, (sent.ticket, stored), draw).await;
        let words = found.with_context(|| format!("control: a flipped byte in the {name} message of the log"))?;
        say(&format!("  control    a flipped byte in the {name} message of the log was found: {words}"));
    }
    let cut = cut_tail(audited, &places, draw).await.context("control: a log without its tail")?;
    say(&format!("  control    a cut tail was found: {cut} messages"));
    Ok(())
}

/// Acknowledged plain messages with their records, in the order of the log.
fn candidates(audited: &Audited) -> Vec<(&Sent, &Stored)> {
    let mut all: Vec<(&Sent, &Stored)> = Vec::new();
    for sent in audited.history.sends.iter().filter(|sent| sent.kind == Kind::Plain && sent.body.bytes >= 16) {
        // What was given back lives on in a copy, which a flipped byte would not reach.
        let given_back = audited.history.sent_back.iter().any(|back| back.ticket == sent.ticket);
        let Outcome::Stored(place) = &sent.outcome else { continue };
        let held = audited.dump.queues.get(&place.queue);
        if let Some(stored) = held.and_then(|held| held.at(place.offset)).filter(|_| !given_back) {
            all.push((sent, stored));
        }
    }
    all.sort_by_key(|(_, stored)| stored.position);
    all
}

fn judge(audited: &Audited, dump: &Dump) -> Report {
    check::check(&audited.history, dump, &audited.terms)
}

/// The messages that violations name; none may be about anything else.
fn named(report: &Report) -> Result<BTreeSet<Ticket>> {
    let mut named = BTreeSet::new();
    for violation in &report.violations {
        named.insert(violation.ticket().with_context(|| format!("unexpected: {violation}"))?);
    }
    Ok(named)
}

/// The producer believes in a message that the broker never took.
fn forged_acknowledgement(audited: &Audited) -> Result<()> {
    let mut history = audited.history.clone();
    let (queue, held) = audited.dump.queues.iter().find(|(queue, _)| &*queue.topic == "small").context("no queue")?;
    let model = history.sends.iter().find(|sent| sent.queue == *queue).context("no message")?.clone();
    let ticket = Ticket { producer: 77, number: 1 };
    let outcome = Outcome::Stored(Place { queue: queue.clone(), offset: held.max });
    history.sends.push(Sent { ticket, outcome, ..model });
    let report = check::check(&history, &audited.dump, &audited.terms);
    let is_it = matches!(&report.violations[..], [Violation::Lost { ticket: lost, .. }] if *lost == ticket);
    ensure!(is_it, "found instead: {report}");
    Ok(())
}

/// The consumers never saw one message.
fn dropped_delivery(audited: &Audited) -> Result<()> {
    let mut history = audited.history.clone();
    // Of a queue that the group has to have read to its end: one of retries is none.
    let is_read =
        |group: &str, topic: &str| audited.terms.readers.iter().any(|(of, read)| **of == *group && **read == *topic);
    let session = history
        .sessions
        .iter()
        .find(|session| session.deliveries.len() > 3 && is_read(&session.group, &session.queue.topic));
    let session = session.context("no deliveries")?;
    let (queue, group) = (session.queue.clone(), Arc::clone(&session.group));
    let offset = session.deliveries.get(1).context("no deliveries")?.offset;
    for session in history.sessions.iter_mut().filter(|session| session.queue == queue && session.group == group) {
        session.deliveries.retain(|delivery| delivery.offset != offset);
    }
    let report = check::check(&history, &audited.dump, &audited.terms);
    let undelivered = report.violations.iter().filter(|violation| {
        matches!(violation, Violation::Undelivered { place, .. } if place.queue == queue && place.offset == offset)
    });
    let jumps = report.violations.iter().filter(
        |violation| matches!(violation, Violation::Jump { queue: at, wanted, .. } if *at == queue && *wanted == offset),
    );
    let (undelivered, jumps) = (undelivered.count(), jumps.count());
    ensure!(
        undelivered == 1 && jumps >= 1 && report.violations.len() == undelivered + jumps,
        "found instead: {report}"
    );
    Ok(())
}

/// One byte of one body is another on the disk.
async fn flipped_byte(audited: &Audited, (ticket, stored): (Ticket, &Stored), draw: &mut Draw) -> Result<String> {
    let setup = copy_of(audited, "flipped", draw)?;
    let (file, at) = file_at(&setup.data, stored.position + BODY_AT + 7)?;
    let file =
        OpenOptions::new().read(true).write(true).open(&file).with_context(|| format!("no {}", file.display()))?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at)?;
    file.write_all_at(&[byte[0] ^ 0x20], at)?;
    let dump = look(&setup, audited).await?;
    let report = judge(audited, &dump);
    ensure!(named(&report)? == BTreeSet::from([ticket]), "{ticket} was hit; found: {report}");
    let words = report.violations.iter().find_map(|violation| {
        if let Violation::Lost { instead: words, .. } | Violation::Altered { what: words, .. } = violation {
            return Some(words.clone());
        }
        None
    });
    words.with_context(|| format!("{ticket} is neither lost nor altered: {report}"))
}

/// The log ends before the last of its messages.
async fn cut_tail(audited: &Audited, places: &[(&Sent, &Stored)], draw: &mut Draw) -> Result<usize> {
    let setup = copy_of(audited, "cut", draw)?;
    let (_, from) = places.iter().rev().nth(4).or(places.first()).context("no candidates")?;
    let everything = audited.dump.queues.values().flat_map(|held| &held.stored);
    let gone: BTreeSet<Ticket> =
        everything.filter(|stored| stored.position >= from.position).filter_map(|stored| stored.ticket).collect();
    let (path, at) = file_at(&setup.data, from.position)?;
    let folder = path.parent().context("no folder")?.to_path_buf();
    let file = OpenOptions::new().write(true).open(&path).with_context(|| format!("no {}", path.display()))?;
    let length = file.metadata()?.len();
    file.write_all_at(&vec![0; usize::try_from(length - at)?], at)?;
    // Later segments go with it, and what was derived from any of them.
    for entry in std::fs::read_dir(&folder)? {
        let later = entry?.path();
        if later.file_name() > path.file_name() {
            std::fs::remove_file(&later)?;
        }
    }
    let sidecars = folder.with_file_name("sidecar");
    if sidecars.is_dir() {
        std::fs::remove_dir_all(&sidecars)?;
    }
    let dump = look(&setup, audited).await?;
    let report = judge(audited, &dump);
    let missing: BTreeSet<Ticket> = report.violations.iter().filter_map(Violation::ticket).collect();
    let lost = report.violations.iter().filter(|violation| matches!(violation, Violation::Lost { .. })).count();
    ensure!(missing == gone && lost >= 1, "{gone:?} were cut; found: {report}");
    Ok(gone.len())
}

/// A copy of the folder that a server can use.
fn copy_of(audited: &Audited, name: &str, draw: &mut Draw) -> Result<Setup> {
    let data = audited.setup.data.with_file_name(format!("{name}-{}", draw.number()));
    copy_folder(&audited.setup.data, &data)?;
    let ports = strata_tests::site::Ports::free(draw)?;
    Ok(Setup { log: data.with_extension("log"), data, ports, ..audited.setup.clone() })
}

/// Starts a server on a copy and reads what it has.
async fn look(setup: &Setup, audited: &Audited) -> Result<Dump> {
    let site = Site::start(setup).await?;
    let queues: Vec<_> = audited.dump.queues.keys().cloned().collect();
    let dump = dump_of(setup.ports, &queues).await?;
    site.kill()?;
    std::fs::remove_dir_all(&setup.data).context("cannot remove the copy")?;
    Ok(dump)
}

/// The segment file that holds a position of the log, and where in it.
fn file_at(data: &Path, position: i64) -> Result<(PathBuf, u64)> {
    let position = u64::try_from(position).context("a position below 0")?;
    let folder = data.join("broker").join("commitlog");
    let mut best: Option<(u64, PathBuf)> = None;
    for entry in std::fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        let Some(begin) = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok()) else {
            continue;
        };
        if begin <= position && best.as_ref().is_none_or(|(known, _)| *known < begin) {
            best = Some((begin, path));
        }
    }
    let (begin, path) = best.context("no segment holds the position")?;
    Ok((path, position - begin))
}
