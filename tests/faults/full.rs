//! A disk that is full: by the broker's own messages, by somebody else's file, and at the start.
//!
//! Owns the filling. What must hold: no crash, sends refused with `SERVICE_NOT_AVAILABLE`, pulls and commits go on,
//! settings stay whole, sends are taken again within 5 s of space coming back, nothing acknowledged is lost.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use strata_protocol::code::{ResponseCode, request};
use strata_tests::dump::Dump;
use strata_tests::epoch::{Flush, no_panic};
use strata_tests::history::{Queue, Sent};
use strata_tests::site::{Setup, Site, run_to_end};
use strata_tests::traffic::sender::Sender;
use strata_tests::volume::Kind;
use tokio::time::{Instant, sleep, timeout};

use crate::ground::{Crowd, Excuse, Ground, judge, queues, settings_are_whole, talk_to};

/// Bytes of the disk: hardly more than the smallest XFS.
const DISK_BYTES: u64 = 320 << 20;

/// Bytes that the disk has left for the broker's own traffic to fill.
const OWN_BYTES: u64 = 64 << 20;

/// Messages that are stored before somebody else fills the disk: about 40 MiB.
const BEFORE: u64 = 1_300;

/// Bytes of a body.
const BODY_BYTES: u64 = 32 * 1024;

/// How long the broker may take to fill what it has, and to notice that the disk is full.
const FULL_MAX: Duration = Duration::from_secs(20);

/// How long the disk stays full: longer than a look at it, and than a write of progress.
const FULL_FOR: Duration = Duration::from_secs(6);

/// How long the broker may take to notice that there is space again.
const AGAIN_MAX: Duration = Duration::from_secs(5);

/// Small segments; messages are not deleted before the disk is as full as can be set.
const SETTINGS: [&str; 2] = ["mappedFileSizeCommitLog=4194304", "diskMaxUsedSpaceRatio=95"];

/// Longer than the time between two of the server's looks at its disk.
const LOOK: Duration = Duration::from_millis(2_500);

const GROUP: &str = "readers";
const TOPIC: &str = "full";

/// Somebody else's file.
struct Hog(PathBuf);

impl Hog {
    fn new(folder: &Path) -> Self {
        Self(folder.join("somebody-elses"))
    }

    /// Grows it until `left` bytes are free; every last block when that is 0.
    fn grow(&self, left: u64) -> Result<()> {
        let mut file = File::options().create(true).append(true).open(&self.0).context("no file to fill the disk")?;
        let block = vec![0x55; 1 << 20];
        let mut bytes = block.len();
        while bytes >= 512 {
            let stat = rustix::fs::statvfs(&self.0)?;
            if left > 0 && stat.f_bavail * stat.f_frsize <= left {
                return Ok(());
            }
            match file.write_all(&block[..bytes]).and_then(|()| file.sync_data()) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::StorageFull => bytes /= 2,
                Err(error) => return Err(error).context("cannot fill the disk"),
            }
        }
        Ok(())
    }

    fn remove(&self) -> Result<()> {
        fs::remove_file(&self.0).context("cannot free the disk")
    }
}

pub(crate) async fn own_traffic(ground: &mut Ground, flush: Flush) -> Result<String> {
    fill(ground, (Kind::Ext4, flush), true).await
}

pub(crate) async fn others_files(ground: &mut Ground, flush: Flush) -> Result<String> {
    fill(ground, (Kind::Ext4, flush), false).await
}

pub(crate) async fn xfs(ground: &mut Ground, flush: Flush) -> Result<String> {
    fill(ground, (Kind::Xfs, flush), false).await
}

pub(crate) async fn memory(ground: &mut Ground, flush: Flush) -> Result<String> {
    fill(ground, (Kind::Memory, flush), false).await
}

async fn fill(ground: &mut Ground, (kind, flush): (Kind, Flush), by_itself: bool) -> Result<String> {
    let setting = flush.setting();
    let (volume, setup) = ground.on_volume(kind, DISK_BYTES, &[SETTINGS[0], SETTINGS[1], &setting])?;
    let hog = Hog::new(&volume.path());
    let mut site = Site::start(&setup).await?;
    let crowd = Crowd::begin(&setup, TOPIC, (ground.seed, 1), BODY_BYTES).await?;
    if by_itself {
        hog.grow(OWN_BYTES)?;
    } else {
        crowd.until(FULL_MAX, "messages are stored", |crowd| crowd.stored() > BEFORE).await?;
        // Once more a moment later: the broker may have freed something meanwhile.
        hog.grow(0)?;
        sleep(Duration::from_millis(200)).await;
        hog.grow(0)?;
    }
    crowd.until(FULL_MAX, "sends are refused", |crowd| crowd.refused() > 0).await?;
    let full = Instant::now();
    let mut probe = Sender::new(talk_to(&setup).await?, Queue::new(TOPIC, 0), ground.seed, 90);
    while_full(&setup, &mut probe).await?;
    sleep(FULL_FOR.saturating_sub(full.elapsed())).await;
    ensure!(site.runs(), "strata ended by itself while the disk was full");
    settings_are_whole(&setup.data)?;
    let refused = crowd.refused();

    hog.remove()?;
    let again = taken_again(&mut probe).await?;
    let before = crowd.stored();
    crowd.until(AGAIN_MAX, "the crowd's messages are stored again", |crowd| crowd.stored() > before + 50).await?;
    let mut sends = crowd.end().await?;
    sends.extend(probe.log);
    let committed = commit_all(&setup).await?;
    let status = site.stop().await?;
    ensure!(status.success(), "strata was told to stop and ended with {status}");
    let (stored, trimmed) = audit(&setup, sends, committed).await?;
    Ok(format!("{refused} sends refused, taken again after {} ms, {stored} messages, {trimmed}", again.as_millis()))
}

/// What must go on while no message is taken.
async fn while_full(setup: &Setup, probe: &mut Sender) -> Result<()> {
    let talk = talk_to(setup).await?;
    let answer = probe.send(BODY_BYTES).await?;
    ensure!(
        ResponseCode::of(answer.code) == Some(ResponseCode::ServiceNotAvailable) && answer.remark.contains("disk"),
        "a send to a full disk was answered with {}: {}",
        answer.code,
        answer.remark
    );
    // A group that is new, too.
    talk.heartbeat("reader", GROUP, TOPIC).await?;
    let queue = Queue::new(TOPIC, 1);
    let dump = Dump::read(&talk, [&queue]).await?;
    let held = dump.queues.get(&queue).context("no queue")?;
    ensure!(held.unreadable.is_empty() && !held.stored.is_empty(), "cannot be pulled: {:?}", held.unreadable);
    talk.commit(GROUP, &queue, held.min + 1).await?;
    let progress = talk.progress(GROUP, &queue).await?;
    ensure!(progress == Some(held.min + 1), "progress is {progress:?} after a commit of {}", held.min + 1);
    // It cannot be kept, so it may be refused; it may not hang.
    let fields = [
        ("topic", "made-while-full"),
        ("defaultTopic", "TBW102"),
        ("readQueueNums", "4"),
        ("writeQueueNums", "4"),
        ("perm", "6"),
        ("topicFilterType", "SINGLE_TAG"),
        ("topicSysFlag", "0"),
        ("order", "false"),
    ];
    talk.ask_raw(request::UPDATE_AND_CREATE_TOPIC, &fields, "").await?;
    Ok(())
}

/// Sends until a message is taken; gives how long that took.
async fn taken_again(probe: &mut Sender) -> Result<Duration> {
    let freed = Instant::now();
    loop {
        let answer = probe.send(BODY_BYTES).await?;
        if answer.code == 0 {
            return Ok(freed.elapsed());
        }
        ensure!(
            freed.elapsed() < AGAIN_MAX,
            "{AGAIN_MAX:?} after space came back a send is answered with {}: {}",
            answer.code,
            answer.remark
        );
        sleep(Duration::from_millis(50)).await;
    }
}

/// Commits each queue's end.
async fn commit_all(setup: &Setup) -> Result<Vec<(Queue, i64)>> {
    let talk = talk_to(setup).await?;
    let mut committed = Vec::new();
    for queue in queues(TOPIC) {
        let (_, end) = talk.range(&queue).await?;
        talk.commit(GROUP, &queue, end).await?;
        committed.push((queue, end));
    }
    Ok(committed)
}

/// Starts the server once more and looks whether everything is there; gives the number of messages and whether
/// the oldest went for their space.
async fn audit(setup: &Setup, sends: Vec<Sent>, committed: Vec<(Queue, i64)>) -> Result<(usize, &'static str)> {
    let site = Site::start(setup).await?;
    let talk = talk_to(setup).await?;
    for (queue, end) in committed {
        let found = talk.progress(GROUP, &queue).await?;
        ensure!(found == Some(end), "{end} was committed in {queue} before a clean stop, {found:?} is there after it");
    }
    let dump = Dump::read(&talk, &queues(TOPIC)).await?;
    site.kill()?;
    settings_are_whole(&setup.data)?;
    no_panic(&setup.log)?;
    let log = fs::read_to_string(&setup.log).context("cannot read the log")?;
    ensure!(!log.contains("takes no more writes"), "a full disk latched the store");
    let (excuse, words) = if log.contains("deleting a segment for its space") {
        (Excuse::Trimmed, "the oldest were deleted for their space")
    } else {
        (Excuse::None, "none deleted")
    };
    Ok((judge(sends, &dump, excuse)?.counts.stored, words))
}

/// Killed on a full disk and started there: it serves what it has, or says why not and what to do.
pub(crate) async fn start(ground: &mut Ground, flush: Flush) -> Result<String> {
    let setting = flush.setting();
    let (volume, setup) = ground.on_volume(Kind::Ext4, DISK_BYTES, &[SETTINGS[0], SETTINGS[1], &setting])?;
    let hog = Hog::new(&volume.path());
    let site = Site::start(&setup).await?;
    let crowd = Crowd::begin(&setup, TOPIC, (ground.seed, 1), BODY_BYTES).await?;
    crowd.until(FULL_MAX, "messages are stored", |crowd| crowd.stored() > BEFORE).await?;
    hog.grow(0)?;
    crowd.until(FULL_MAX, "sends are refused", |crowd| crowd.refused() > 0).await?;
    let mut sends = crowd.end().await?;
    site.kill()?;
    hog.grow(0)?;
    let began = Site::start(&setup).await;
    let how = match began {
        Ok(mut site) => {
            // What the start gave back is taken as well, and that is noticed at the next look.
            hog.grow(0)?;
            sleep(LOOK).await;
            let mut probe = Sender::new(talk_to(&setup).await?, Queue::new(TOPIC, 0), ground.seed, 90);
            while_full(&setup, &mut probe).await?;
            ensure!(site.runs(), "strata ended by itself");
            hog.remove()?;
            let again = taken_again(&mut probe).await?;
            sends.extend(probe.log);
            site.kill()?;
            format!("it started and took messages {} ms after space came back", again.as_millis())
        }
        Err(_) => {
            let ended = run_to_end(setup.command()?, &ground.folder).await?;
            ensure!(ended.code == Some(6), "it ended with {:?}: {}", ended.code, ended.stderr);
            let words = ended.stderr.lines().rfind(|line| line.starts_with("error:")).unwrap_or_default().to_owned();
            ensure!(words.contains("No space left"), "it does not say that the disk is full: {}", ended.stderr);
            hog.remove()?;
            format!("it did not start: {words}")
        }
    };
    let (stored, trimmed) =
        timeout(FULL_MAX, audit(&setup, sends, Vec::new())).await.context("it does not start")??;
    if stored == 0 {
        bail!("nothing is left");
    }
    Ok(format!("{how}; {stored} messages, {trimmed}"))
}
