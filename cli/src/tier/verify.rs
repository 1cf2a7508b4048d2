//! `strata tier verify`: whether everything that a tier lists is in the bucket as it was put there.
//!
//! Owns what of the findings counts: a broker may run, swap objects and let them expire meanwhile, so that an object which
//! is listed no more may be missing.

use std::collections::{BTreeSet, HashSet};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use strata_tiering::bucket::Bucket;
use strata_tiering::verify::{Depth, Progress, Report, VerifyError, verify};

use super::VerifyArgs;
use super::place::{Place, of_bucket};
use crate::exit::{Exit, Failure, Outcome};
use crate::output::{show, table, text};

/// What was found.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Verified {
    broker: String,
    url: String,
    /// Objects that were looked at, indexes and the broker's settings included, and their bytes.
    objects: u64,
    bytes: u64,
    /// Messages that came back whole and where they should be; nobody knows with --listed, nor of the next two.
    messages: Option<u64>,
    /// Offsets that are told as lost, and those that no roll has.
    lost_offsets: Option<u64>,
    gaps: Option<u64>,
    /// Objects that a broker swapped or let expire while they were read. What replaced them was not read.
    gone_meanwhile: usize,
    findings: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    /// Its name in the bucket.
    object: String,
    what: String,
}

/// Runs the command.
pub(super) async fn run(args: VerifyArgs) -> Outcome {
    let place = Place::of(args.place).await?;
    let depth = if args.listed { Depth::Listed } else { Depth::Full };
    let bar = bar(depth, &place.broker);
    let examined = examine(&place, depth, |progress| {
        let (done, all) = match depth {
            Depth::Full => (progress.bytes, progress.bytes_total),
            Depth::Listed => (progress.objects, progress.objects_total),
        };
        bar.set_length(all);
        bar.set_position(done);
    });
    let examined = examined.await;
    bar.finish_and_clear();
    let verified = verified(&place, depth, examined?);
    show(&args.output, &verified, verified_text)?;
    judge(&verified)
}

fn bar(depth: Depth, broker: &str) -> ProgressBar {
    let (what, template) = match depth {
        Depth::Full => ("reading", "{msg} {bar:30} {bytes}/{total_bytes} {bytes_per_sec}, {eta}"),
        Depth::Listed => ("asking for", "{msg} {bar:30} {human_pos}/{human_len} objects, {per_sec}, {eta}"),
    };
    let bar = ProgressBar::new(0).with_message(format!("{what} {broker}"));
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

/// Verifies, and drops the findings of objects that are listed no more. Gives how many objects those were.
async fn examine(place: &Place, depth: Depth, progress: impl FnMut(&Progress)) -> Outcome<(Report, usize)> {
    let verified = verify(&place.bucket, &place.home, &place.manifest, depth, progress).await;
    let mut report = verified.map_err(|error| of_verify(&place.bucket, error))?;
    if report.findings.is_empty() {
        return Ok((report, 0));
    }
    let manifest = place.manifest_now().await?;
    let listed: HashSet<&str> = manifest.object_names().collect();
    let (count, gone): (Vec<_>, Vec<_>) =
        report.findings.into_iter().partition(|finding| listed.contains(&*finding.object));
    report.findings = count;
    Ok((report, gone.iter().map(|finding| &finding.object).collect::<BTreeSet<_>>().len()))
}

fn of_verify(bucket: &Bucket, error: VerifyError) -> Failure {
    match error {
        VerifyError::Bucket(error) => of_bucket(bucket, &error),
        VerifyError::Broken { .. } => Failure::new(Exit::Failed, format!("{bucket}: {error}")),
    }
}

fn verified(place: &Place, depth: Depth, (report, gone_meanwhile): (Report, usize)) -> Verified {
    let is_read = |value: u64| (depth == Depth::Full).then_some(value);
    let row = |object: &str, what| Row { object: format!("{}/{object}", place.home), what };
    Verified {
        broker: place.broker.clone(),
        url: place.bucket.to_string(),
        objects: report.progress.objects,
        bytes: report.progress.bytes,
        messages: is_read(report.rows),
        lost_offsets: is_read(report.lost),
        gaps: is_read(report.gaps),
        gone_meanwhile,
        findings: report.findings.into_iter().map(|finding| row(&finding.object, finding.what)).collect(),
    }
}

fn verified_text(verified: &Verified) -> String {
    let Verified { broker, url, objects, bytes, messages, gone_meanwhile, findings, .. } = verified;
    let whole = match messages {
        Some(messages) => format!("{messages} messages came back whole"),
        None => String::from("asked for their sizes, not read"),
    };
    let mut text_of = format!("broker {broker} in {url}: {objects} objects, {bytes} bytes, {whole}");
    let mut note = |count: u64, what: &str| {
        if count > 0 {
            text_of.push_str(&format!("\nnote: {count} {what}"));
        }
    };
    let lost = "offsets are listed as lost: their messages were damaged before they were rolled";
    note(verified.lost_offsets.unwrap_or(0), lost);
    note(verified.gaps.unwrap_or(0), "offsets are in no roll: that part of the log was gone before it was rolled");
    let gone = "objects were swapped or expired meanwhile; what replaced them was not looked at: verify again";
    note(*gone_meanwhile as u64, gone);
    if findings.is_empty() {
        return format!("{text_of}\nnothing is damaged or missing");
    }
    let rows = findings.iter().map(|row| [row.object.clone(), row.what.clone()]);
    format!("{text_of}\n\n{}", table(&[text("OBJECT"), text("WHAT IS WRONG")], rows))
}

/// Findings are a failure.
fn judge(verified: &Verified) -> Outcome {
    let objects = verified.findings.iter().map(|row| &row.object).collect::<BTreeSet<_>>().len();
    if objects == 0 {
        return Ok(());
    }
    let message = format!(
        "{}: {objects} objects are damaged or missing. Put them back from a copy (a version that the store keeps, a \
         replica, a backup) and verify again; until then their messages are read from the log only, where it has them \
         still, and everything else as before",
        verified.url
    );
    Err(Failure::new(Exit::Damaged, message))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use bytes::Bytes;
    use strata_tiering::bucket::Puts;
    use strata_tiering::manifest::{Edit, Ledger, ObjectRef, Writer};

    use super::super::place::{location_of, open_bucket};
    use super::*;

    const HOME: &str = "broker-a";

    /// A tier of settings alone, and its writer.
    async fn tier(folder: &Path) -> (Place, Ledger) {
        let location = location_of(&folder.display().to_string(), "--url").unwrap();
        let bucket = open_bucket(&location).await.unwrap();
        let mut ledger = Ledger::open(bucket, HOME).await.unwrap();
        ledger.claim(Puts::Atomic, Writer::Fenced).await.unwrap();
        let place = Place::open(&location, HOME.to_owned()).await.unwrap();
        (place, ledger)
    }

    /// Puts settings where those before were, which nobody lists from then on.
    async fn replace(place: &Place, ledger: &mut Ledger, name: &str, text: &'static str) {
        let bytes = Bytes::from_static(text.as_bytes());
        place.bucket.put(&format!("{}/{name}", place.home), bytes.clone()).await.unwrap();
        let object = ObjectRef { name: name.into(), bytes: bytes.len() as u64, crc32c: crc32c::crc32c(&bytes) };
        ledger.commit(Edit::State { object }).await.unwrap();
    }

    #[tokio::test]
    async fn what_was_swapped_meanwhile_is_no_finding_and_what_is_listed_still_is() {
        let folder = tempfile::tempdir().unwrap();
        let (mut place, mut ledger) = tier(folder.path()).await;
        replace(&place, &mut ledger, "state/1-0", "one").await;
        place.manifest = place.manifest_now().await.unwrap();
        replace(&place, &mut ledger, "state/1-1", "two").await;
        place.bucket.delete(&format!("{}/state/1-0", place.home)).await.unwrap();
        for depth in [Depth::Listed, Depth::Full] {
            let (report, gone) = examine(&place, depth, |_| {}).await.unwrap();
            assert_eq!((report.findings.as_slice(), gone), (&[][..], 1), "{depth:?}");
        }
        place.manifest = place.manifest_now().await.unwrap();
        let (report, gone) = examine(&place, Depth::Full, |_| {}).await.unwrap();
        assert_eq!((report.findings.len(), gone), (0, 0));
        place.bucket.delete(&format!("{}/state/1-1", place.home)).await.unwrap();
        for depth in [Depth::Listed, Depth::Full] {
            let (report, gone) = examine(&place, depth, |_| {}).await.unwrap();
            assert_eq!((report.findings[0].what.as_str(), gone), ("it is missing", 0), "{depth:?}");
        }
    }

    fn sample(findings: Vec<Row>) -> Verified {
        Verified {
            broker: String::from("b"),
            url: String::from("file:///t"),
            objects: 3,
            bytes: 70,
            messages: Some(5),
            lost_offsets: Some(2),
            gaps: Some(0),
            gone_meanwhile: 1,
            findings,
        }
    }

    #[test]
    fn a_verification_is_told_in_lines() {
        let text = verified_text(&sample(Vec::new()));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "broker b in file:///t: 3 objects, 70 bytes, 5 messages came back whole");
        assert!(lines[1].starts_with("note: 2 offsets are listed as lost"), "{text}");
        assert!(lines[2].starts_with("note: 1 objects were swapped"), "{text}");
        assert_eq!(lines[3..], ["nothing is damaged or missing"]);
        let sizes = Verified { messages: None, ..sample(Vec::new()) };
        assert!(verified_text(&sizes).contains("asked for their sizes, not read"));
    }

    #[test]
    fn findings_are_a_failure_that_counts_objects() {
        assert!(judge(&sample(Vec::new())).is_ok());
        let row = |what: &str| Row { object: String::from("b/roll/x"), what: what.to_owned() };
        let damaged = sample(vec![row("it is wrong"), row("it is late")]);
        let failure = judge(&damaged).unwrap_err();
        assert_eq!(failure.exit, Exit::Damaged);
        assert!(failure.to_string().starts_with("file:///t: 1 objects are damaged or missing. Put them back"));
        let text = verified_text(&damaged);
        assert!(text.ends_with("OBJECT    WHAT IS WRONG\nb/roll/x  it is wrong\nb/roll/x  it is late"), "{text}");
    }
}
