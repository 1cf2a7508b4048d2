//! Starts that cannot succeed, and starts on damaged folders that can.
//!
//! Owns what an operator reads then: one sentence with what to do, and an exit code that is not 0.

use std::net::TcpListener;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use strata_protocol::frame::HeaderCodec;
use strata_tests::check::{keys, sameness};
use strata_tests::draw::Draw;
use strata_tests::dump::Dump;
use strata_tests::history::Queue;
use strata_tests::site::{Ended, Ports, Setup, Site, run_to_end};
use strata_tests::talk::{Draft, Talk};
use strata_tests::violation::Violation;

/// Bits of a sidecar that are tried.
const FLIPS: u32 = 40;

/// Where the starts happen.
pub(crate) struct Yard {
    binary: PathBuf,
    folder: PathBuf,
    draw: Draw,
    count: u32,
}

impl Yard {
    pub(crate) fn new(binary: &Path, folder: &Path, seed: u64) -> Self {
        Self { binary: binary.to_path_buf(), folder: folder.to_path_buf(), draw: Draw::new(seed).fork(3), count: 0 }
    }

    /// A server that was never started.
    pub(crate) fn setup(&mut self) -> Result<Setup> {
        self.count += 1;
        let data = self.folder.join(format!("yard-{}", self.count));
        let ports = Ports::free(&mut self.draw)?;
        let settings = vec![String::from("mappedFileSizeCommitLog=65536"), String::from("maxMessageSize=16384")];
        Ok(Setup { binary: self.binary.clone(), log: data.with_extension("log"), data, ports, settings })
    }

    /// A folder with messages in several segments and progress of a group, closed in good order.
    async fn used(&mut self) -> Result<Setup> {
        let setup = self.setup()?;
        let site = Site::start(&setup).await?;
        let talk = Talk::connect(setup.ports.broker, HeaderCodec::Json).await?;
        for nth in 0..100 {
            let queue = Queue::new("kept", nth % 2);
            let properties = format!("KEYS\u{1}k-{}\u{2}UNIQ_KEY\u{1}unique-{nth}\u{2}", nth % 7);
            let answer = talk.send(&Draft::new(&queue, &properties, vec![b'x'; 3_000])).await?;
            ensure!(answer.code == 0, "{answer:?}");
        }
        talk.heartbeat("keeper", "keepers", "kept").await?;
        talk.commit("keepers", &Queue::new("kept", 0), 7).await?;
        ensure!(site.stop().await?.success(), "the first server did not end well");
        Ok(setup)
    }

    /// Starts once more, commits and ends, so that every table has a previous generation.
    async fn use_again(&self, setup: &Setup) -> Result<()> {
        let site = Site::start(setup).await?;
        let talk = Talk::connect(setup.ports.broker, HeaderCodec::Json).await?;
        talk.commit("keepers", &Queue::new("kept", 0), 9).await?;
        ensure!(site.stop().await?.success(), "the second server did not end well");
        Ok(())
    }
}

fn queues() -> [Queue; 2] {
    [Queue::new("kept", 0), Queue::new("kept", 1)]
}

/// Starts and reads everything; gives the log's new lines as well.
async fn look(setup: &Setup) -> Result<(Dump, Option<i64>, String)> {
    let before = std::fs::read_to_string(&setup.log).unwrap_or_default().len();
    let site = Site::start(setup).await?;
    let talk = Talk::connect(setup.ports.broker, HeaderCodec::Json).await?;
    let dump = Dump::read(&talk, &queues()).await?;
    let progress = talk.progress("keepers", &Queue::new("kept", 0)).await?;
    ensure!(site.stop().await?.success(), "the server did not end well");
    let log = std::fs::read_to_string(&setup.log).context("no log")?;
    Ok((dump, progress, log[before..].to_owned()))
}

/// One sentence that holds `words`, and a code that is not 0.
fn is_clear(ended: &Ended, words: &[&str]) -> Result<()> {
    let errors: Vec<&str> = ended.stderr.lines().filter(|line| line.starts_with("error:")).collect();
    let [sentence] = &errors[..] else {
        bail!("not one sentence but {}: {}{}", errors.len(), ended.stdout, ended.stderr)
    };
    ensure!(ended.code.is_some_and(|code| code != 0), "the exit code is {:?}", ended.code);
    ensure!(
        !ended.stderr.contains("panicked") && !ended.stderr.contains("RUST_BACKTRACE"),
        "it panicked: {}",
        ended.stderr
    );
    ensure!(!ended.stdout.contains("ready"), "it said that it was ready");
    for word in words {
        ensure!(sentence.contains(word), "{word:?} is missing: {sentence}");
    }
    Ok(())
}

async fn fails(yard: &Yard, setup: &Setup, words: &[&str]) -> Result<()> {
    is_clear(&run_to_end(setup.command()?, &yard.folder).await?, words)
}

pub(crate) async fn folder_in_use(yard: &mut Yard) -> Result<()> {
    let first = yard.setup()?;
    let second = Setup { ports: Ports::free(&mut yard.draw)?, ..first.clone() };
    let mut site = Site::start(&first).await?;
    let id = site.id().to_string();
    let second = Setup { log: second.log.with_extension("second"), ..second };
    fails(yard, &second, &["in use", &id, &*first.data.to_string_lossy()]).await?;
    ensure!(site.runs(), "the first server ended");
    let talk = Talk::connect(first.ports.broker, HeaderCodec::Json).await?;
    let answer = talk.send(&Draft::new(&Queue::new("kept", 0), "", "still here")).await?;
    ensure!(answer.code == 0, "the first server is hurt: {answer:?}");
    site.kill()
}

pub(crate) async fn unusable_folders(yard: &mut Yard) -> Result<()> {
    let setup = yard.setup()?;
    let file = yard.folder.join("a-file");
    std::fs::write(&file, "x")?;
    for data in [file.clone(), file.join("below"), PathBuf::from("/proc/strata-cannot-be-here")] {
        let words = data.to_string_lossy().into_owned();
        fails(yard, &Setup { data, ..setup.clone() }, &[&words]).await.with_context(|| words.clone())?;
    }
    ensure!(std::fs::read_to_string(&file)? == "x", "the file in the way was changed");
    let locked = yard.folder.join("locked");
    std::fs::create_dir(&locked)?;
    let mut rights = std::fs::metadata(&locked)?.permissions();
    rights.set_readonly(true);
    std::fs::set_permissions(&locked, rights)?;
    // Root may write everywhere; then there is nothing to see.
    if std::fs::write(locked.join("probe"), "").is_err() {
        fails(yard, &Setup { data: locked.clone(), ..setup }, &[&*locked.to_string_lossy()]).await?;
    }
    Ok(())
}

pub(crate) async fn ports_in_use(yard: &mut Yard) -> Result<()> {
    let setup = yard.setup()?;
    let Ports { namesrv, broker, metrics, sql, postgres } = setup.ports;
    for port in [namesrv, broker, broker - 2, metrics, sql, postgres] {
        let held = TcpListener::bind(("0.0.0.0", port))?;
        fails(yard, &setup, &[&port.to_string(), "in use"]).await.with_context(|| format!("port {port}"))?;
        drop(held);
    }
    ensure!(!setup.data.join("broker").join("commitlog").exists(), "a log was made although no port was free");
    let site = Site::start(&setup).await?;
    ensure!(site.stop().await?.success(), "the server did not end well");
    Ok(())
}

pub(crate) async fn wrong_settings(yard: &mut Yard) -> Result<()> {
    let setup = yard.setup()?;
    let cases = [
        ("flushDiskType=MAYBE", "flushDiskType"),
        ("mappedFileSizeCommitLog=12", "mappedFileSizeCommitLog"),
        ("mappedFileSizeCommitLog=big", "mappedFileSizeCommitLog"),
        ("maxMessageSize=-1", "maxMessageSize"),
        ("brokerRole=SLAVE", "brokerRole"),
        ("brokerId=-1", "brokerId"),
        ("fileReservedTime=0", "fileReservedTime"),
        ("messageDelayLevel=1s 2x", "messageDelayLevel"),
        ("autoCreateTopicEnable=perhaps", "autoCreateTopicEnable"),
        ("brokerIP1=not-an-address", "brokerIP1"),
        ("aclEnable=true", "aclEnable"),
        ("brokerName=a b/c", "brokerName"),
    ];
    for (line, word) in cases {
        let settings = vec![line.to_owned()];
        fails(yard, &Setup { settings, ..setup.clone() }, &[word]).await.with_context(|| line.to_owned())?;
    }
    ensure!(!setup.data.exists(), "a folder was made for a configuration that cannot be");
    // The file is missing, or no flag is meant.
    let mut missing = setup.command()?;
    missing.arg("-c").arg("/nonexistent/broker.conf");
    let ended = run_to_end(missing, &yard.folder).await?;
    ensure!(ended.code.is_some_and(|code| code != 0) && ended.stderr.contains("error"), "{ended:?}");
    for flag in [&["--broker-port", "99999"][..], &["--broker-port", "x"], &["--nonsense"], &["--listen", "nowhere"]] {
        let mut start = setup.command()?;
        start.args(flag);
        let ended = run_to_end(start, &yard.folder).await?;
        ensure!(ended.code == Some(2) && ended.stderr.contains(flag[0]), "{flag:?}: {ended:?}");
    }
    // A key that nobody knows is a warning with the nearest known name.
    let settings = vec![String::from("flushDiskTyp=SYNC_FLUSH"), String::from("mappedFileSizeCommitLog=65536")];
    let odd = Setup { settings, ..setup };
    ensure!(Site::start(&odd).await?.stop().await?.success(), "the server did not end well");
    let log = std::fs::read_to_string(&odd.log)?;
    ensure!(log.contains("flushDiskTyp") && log.contains("flushDiskType?"), "no hint: {log}");
    Ok(())
}

/// Tables with a previous generation come back from it; without one the broker does not start on nothing.
pub(crate) async fn damaged_tables(yard: &mut Yard) -> Result<()> {
    for bytes in [&b""[..], b"{", b"\0\0\0\0\0\0\0\0", b"[1,2]"] {
        let setup = yard.used().await?;
        yard.use_again(&setup).await?;
        let config = setup.data.join("broker").join("config");
        let (table, backup) = (config.join("consumerOffset.json"), config.join("consumerOffset.json.bak"));
        std::fs::write(&table, bytes)?;
        let (dump, progress, log) = look(&setup).await?;
        ensure!(progress == Some(7), "the previous generation says 7, found is {progress:?}");
        ensure!(log.contains("WARN") && log.contains("consumerOffset.json"), "no warning: {log}");
        ensure!(dump.messages() == 100, "{} messages", dump.messages());
        std::fs::write(&table, bytes)?;
        std::fs::write(&backup, bytes)?;
        fails(yard, &setup, &["consumerOffset.json"]).await.with_context(|| format!("both damaged as {bytes:?}"))?;
        ensure!(std::fs::read(&table)? == bytes, "the damaged table was overwritten");
        // Moved away, as the sentence says.
        std::fs::remove_file(&table)?;
        std::fs::remove_file(&backup)?;
        let (dump, progress, _) = look(&setup).await?;
        ensure!((dump.messages(), progress) == (100, None), "{} messages, progress {progress:?}", dump.messages());
    }
    let setup = yard.used().await?;
    let config = setup.data.join("broker").join("config");
    for name in ["topics.json", "subscriptionGroup.json"] {
        let saved = std::fs::read(config.join(name)).with_context(|| name.to_owned())?;
        std::fs::write(config.join(name), "{")?;
        let _ = std::fs::remove_file(config.join(format!("{name}.bak")));
        fails(yard, &setup, &[name]).await?;
        std::fs::write(config.join(name), saved)?;
    }
    let (dump, _, _) = look(&setup).await?;
    ensure!(dump.messages() == 100, "{} messages", dump.messages());
    Ok(())
}

/// The sidecars of sealed segments, the oldest first.
fn sidecars(setup: &Setup) -> Result<Vec<PathBuf>> {
    let mut found: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(setup.data.join("broker").join("sidecar"))? {
        found.push(entry?.path());
    }
    found.retain(|path| path.extension().is_some_and(|extension| extension == "index"));
    found.sort();
    ensure!(found.len() >= 3, "only {} sealed segments", found.len());
    Ok(found)
}

/// Starts, reads everything by offset and by key, and gives what differs from `whole`, and the log.
async fn differences(setup: &Setup, whole: &Dump) -> Result<(Vec<Violation>, String)> {
    let before = std::fs::read_to_string(&setup.log).unwrap_or_default().len();
    let site = Site::start(setup).await?;
    let talk = Talk::connect(setup.ports.broker, HeaderCodec::Json).await?;
    let dump = Dump::read(&talk, &queues()).await?;
    let mut found = sameness::compare(whole, &dump, |_| false);
    for (term, records) in keys::expected(whole) {
        found.extend(keys::compare(&term, &records, &talk.by_key(&term.0, &term.1, term.2).await?));
    }
    ensure!(site.stop().await?.success(), "the server did not end well");
    let log = std::fs::read_to_string(&setup.log).context("no log")?;
    Ok((found, log[before..].to_owned()))
}

/// What is derived from the log is made again, with the same answers and a line in the log.
pub(crate) async fn missing_sidecars(yard: &mut Yard) -> Result<()> {
    let setup = yard.used().await?;
    let (whole, _, _) = look(&setup).await?;
    ensure!(whole.messages() == 100, "{} messages", whole.messages());
    let sidecars = sidecars(&setup)?;
    let good = std::fs::read(&sidecars[0])?;
    let half = good[..good.len() / 2].to_vec();
    for (name, bytes) in
        [("gone", None), ("empty", Some(Vec::new())), ("cut", Some(half)), ("zeroed", Some(vec![0; good.len()]))]
    {
        match bytes {
            Some(bytes) => std::fs::write(&sidecars[0], bytes)?,
            None => std::fs::remove_file(&sidecars[0])?,
        }
        let (found, log) = differences(&setup, &whole).await.with_context(|| name.to_owned())?;
        ensure!(found.is_empty(), "{name}: {found:?}");
        ensure!(log.contains("rebuilt_sidecars=1") || log.contains("WARN"), "{name}: no word about it: {log}");
        ensure!(std::fs::read(&sidecars[0])? == good, "{name}: the sidecar was not made again");
    }
    for path in &sidecars {
        std::fs::remove_file(path)?;
    }
    let (found, _) = differences(&setup, &whole).await?;
    ensure!(found.is_empty(), "without any sidecar the answers differ: {found:?}");
    Ok(())
}

/// One bit anywhere in a sidecar changes no answer.
pub(crate) async fn flipped_sidecars(yard: &mut Yard) -> Result<()> {
    let setup = yard.used().await?;
    let (whole, _, _) = look(&setup).await?;
    let sidecars = sidecars(&setup)?;
    let good = std::fs::read(&sidecars[0])?;
    let mut wrong = Vec::new();
    for nth in 0..FLIPS {
        // The header once in a while, the sections mostly.
        let at = if nth % 5 == 0 { yard.draw.below(512) } else { yard.draw.between(512, good.len() as u64 - 1) };
        let at = usize::try_from(at)?;
        let mut flipped = good.clone();
        flipped[at] ^= 1 << yard.draw.below(8);
        std::fs::write(&sidecars[0], flipped)?;
        match differences(&setup, &whole).await {
            Ok((found, _)) if found.is_empty() => {}
            Ok((found, log)) => {
                let told = log.contains("sidecar");
                wrong.push(format!(
                    "byte {at} of {}: {} differences (told: {told}), first: {}",
                    good.len(),
                    found.len(),
                    found[0]
                ));
            }
            Err(error) => wrong.push(format!("byte {at}: {error:#}")),
        }
        std::fs::write(&sidecars[0], &good)?;
    }
    ensure!(wrong.is_empty(), "{} of {FLIPS} flipped bits change answers:\n    {}", wrong.len(), wrong.join("\n    "));
    Ok(())
}

/// Files that hold facts of their own, and a folder of another version.
pub(crate) async fn damaged_store_files(yard: &mut Yard) -> Result<()> {
    let setup = yard.used().await?;
    let broker = setup.data.join("broker");
    let (whole, _, _) = look(&setup).await?;
    std::fs::write(broker.join("checkpoint"), "nonsense")?;
    let (dump, _, _) = look(&setup).await.context("a damaged checkpoint")?;
    ensure!(sameness::compare(&whole, &dump, |_| false).is_empty(), "a damaged checkpoint changes answers");
    std::fs::write(broker.join("tombstones"), "nonsense")?;
    fails(yard, &setup, &["tombstones"]).await?;
    std::fs::remove_file(broker.join("tombstones"))?;
    let format = broker.join("strata.format");
    let known = std::fs::read(&format)?;
    std::fs::write(&format, "strata-store 99\n")?;
    fails(yard, &setup, &["strata-store 99"]).await?;
    std::fs::write(&format, known)?;
    Ok(())
}

/// A file that does not belong into the log is named, not the good one beside it.
pub(crate) async fn stray_segment(yard: &mut Yard) -> Result<()> {
    let setup = yard.used().await?;
    let broker = setup.data.join("broker");
    let (whole, _, _) = look(&setup).await?;
    let stray = broker.join("commitlog").join("00000000000000000017");
    std::fs::write(&stray, vec![0; 65_536])?;
    fails(yard, &setup, &["00000000000000000017"]).await?;
    std::fs::remove_file(&stray)?;
    let (dump, _, _) = look(&setup).await?;
    ensure!(sameness::compare(&whole, &dump, |_| false).is_empty(), "the answers differ after all of it");
    Ok(())
}
