//! What happens to a store before the power goes: scripts, each run with both ways of flushing.

use super::image::Crash;
use super::rig::Rig;

/// A script and its name.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) run: fn(&mut Rig),
    /// Something else than crashes damages the files.
    pub(crate) meddles: bool,
    /// The store's own threads make calls too, so that no two runs make the same calls in the same order.
    pub(crate) threads: bool,
}

const fn scenario(name: &'static str, run: fn(&mut Rig)) -> Scenario {
    Scenario { name, run, meddles: false, threads: false }
}

const fn meddling(name: &'static str, run: fn(&mut Rig)) -> Scenario {
    Scenario { name, run, meddles: true, threads: false }
}

/// All scripts.
pub(crate) const SCENARIOS: &[Scenario] = &[
    scenario("single", single),
    scenario("batch", batch),
    scenario("queues", queues),
    scenario("halves", halves),
    scenario("large", large),
    scenario("roll", roll),
    scenario("seal", seal),
    scenario("seal-early", seal_early),
    scenario("begin", begin),
    scenario("exact-fit", exact_fit),
    scenario("retention", retention),
    scenario("retention-of-all", retention_of_all),
    scenario("deletion", deletion),
    scenario("deletion-and-retention", deletion_and_retention),
    scenario("clean-reopen", clean_reopen),
    scenario("kill-reopen", kill_reopen),
    scenario("kill-at-roll", kill_at_roll),
    Scenario { name: "own-threads", run: own_threads, meddles: false, threads: true },
    scenario("torn-tail", torn_tail),
    scenario("cut-twice", cut_twice),
    meddling("damage", damage),
    meddling("short-file", short_file),
    meddling("lost-sidecar", lost_sidecar),
    meddling("lost-checksums", lost_checksums),
    meddling("lost-checkpoint", lost_checkpoint),
];

/// Sends a few small messages to one queue and makes them durable.
fn some(rig: &mut Rig, topic: &'static str, count: usize) {
    for nth in 0..count {
        rig.send(topic, 0, (60 + nth * 7, 0));
    }
    rig.flush();
}

fn single(rig: &mut Rig) {
    rig.open();
    for nth in 0..6 {
        rig.send("T", 0, (40 + nth * 100, nth * 90));
        if nth % 2 == 1 {
            rig.flush();
        }
    }
    rig.close();
}

fn batch(rig: &mut Rig) {
    rig.open();
    for nth in 0..3 {
        let all: Vec<_> = (0..4 + nth).map(|at| ("T", 0, (100 + at * 150, at * 60))).collect();
        rig.send_all(&all, 0);
        if nth != 1 {
            rig.flush();
        }
    }
    rig.send("T", 1, (30, 0));
}

fn queues(rig: &mut Rig) {
    rig.open();
    for nth in 0..12 {
        let topic = ["A", "B", "C"][nth % 3];
        rig.send(topic, (nth / 3) as i32 % 2, (200 + nth * 30, 0));
        if nth % 5 == 4 {
            rig.flush();
        }
    }
    rig.flush();
    rig.send_all(&[("A", 0, (50, 0)), ("B", 1, (50, 0)), ("D", 0, (50, 0))], 0);
}

fn halves(rig: &mut Rig) {
    rig.open();
    for _ in 0..3 {
        rig.send_half("T", 0, (300, 0));
        rig.send("T", 0, (120, 700));
        rig.flush();
    }
    rig.roll("T", 0);
    rig.seal_pending();
    rig.send_half("T", 1, (90, 0));
    rig.flush();
}

fn large(rig: &mut Rig) {
    rig.open();
    rig.send("T", 0, (50_000, 2_000));
    rig.send("T", 0, (12_000, 1_200));
    rig.flush();
    rig.send("T", 0, (60_000, 3_000));
    rig.send("T", 0, (9, 0));
    rig.flush();
}

fn roll(rig: &mut Rig) {
    rig.open();
    some(rig, "T", 2);
    rig.roll("T", 0);
    some(rig, "T", 1);
    rig.roll("U", 3);
    rig.send("T", 0, (700, 600));
    rig.close();
}

fn seal(rig: &mut Rig) {
    rig.open();
    some(rig, "T", 2);
    rig.roll("T", 0);
    rig.seal_pending();
    some(rig, "U", 2);
    rig.seal_active();
    rig.send("T", 0, (300, 0));
    rig.flush();
    rig.seal_active();
}

/// Segments that hold next to nothing, with and without a flush before, and one after a kill.
fn seal_early(rig: &mut Rig) {
    rig.open();
    some(rig, "T", 1);
    rig.seal_active();
    rig.send("T", 0, (900, 600));
    rig.send_half("T", 0, (300, 0));
    rig.seal_active();
    rig.seal_active();
    some(rig, "U", 1);
    rig.kill();
    rig.open();
    rig.send("T", 0, (5_000, 0));
    rig.seal_active();
    rig.close();
    rig.open();
    some(rig, "T", 1);
}

/// A log that goes on where another one ended.
fn begin(rig: &mut Rig) {
    rig.begin(5 * super::rig::SEGMENT_BYTES as i64, &[("T", 0, 70), ("U", 0, 1)]);
    rig.open();
    some(rig, "T", 1);
    rig.kill();
    rig.open();
    some(rig, "U", 1);
    rig.seal_active();
    some(rig, "T", 1);
}

/// Messages that leave no byte, or just a blank's eight, at the end of a segment.
fn exact_fit(rig: &mut Rig) {
    rig.open();
    rig.send("T", 0, (20_000, 0));
    rig.send("T", 0, (20_000, 0));
    // A record of this topic and key takes 91 bytes, 12 of host and properties, beside its body.
    for spare in [8, 9, 0] {
        let end = rig.store.as_ref().map_or(0, |store| store.log_range().1);
        let left = super::rig::SEGMENT_BYTES as i64 - end % super::rig::SEGMENT_BYTES as i64;
        rig.send("T", 0, ((left - 113 - spare).max(9) as usize, 0));
        rig.flush();
        rig.send("T", 0, (40, 0));
    }
    rig.flush();
    rig.seal_pending();
}

fn retention(rig: &mut Rig) {
    rig.open();
    some(rig, "Old", 2);
    rig.seal_active();
    some(rig, "T", 2);
    rig.seal_active();
    some(rig, "T", 1);
    rig.sweep();
    rig.send("Old", 0, (100, 0));
    rig.flush();
    rig.sweep();
    rig.close();
    rig.open();
    rig.send("Old", 0, (100, 0));
    rig.flush();
}

/// Nothing is left that knows the queues but what retention noted of them.
fn retention_of_all(rig: &mut Rig) {
    rig.open();
    some(rig, "T", 2);
    rig.seal_active();
    rig.sweep();
    some(rig, "T", 1);
    rig.seal_active();
    rig.sweep();
    rig.kill();
    rig.open();
    some(rig, "T", 1);
}

fn deletion(rig: &mut Rig) {
    rig.open();
    some(rig, "T", 3);
    some(rig, "Stays", 1);
    rig.forget("T");
    some(rig, "T", 2);
    rig.seal_active();
    rig.forget("T");
    rig.send("T", 1, (80, 0));
    some(rig, "Stays", 1);
    rig.kill();
    rig.open();
    rig.send("T", 1, (80, 0));
    rig.flush();
}

fn deletion_and_retention(rig: &mut Rig) {
    rig.open();
    some(rig, "T", 2);
    rig.forget("T");
    some(rig, "Stays", 1);
    rig.seal_active();
    some(rig, "T", 1);
    rig.sweep();
    rig.forget("Stays");
    rig.seal_active();
    rig.sweep();
    some(rig, "Stays", 1);
}

fn clean_reopen(rig: &mut Rig) {
    for _ in 0..3 {
        rig.open();
        some(rig, "T", 2);
        rig.send("T", 0, (90, 900));
        rig.close();
    }
    rig.open();
    rig.roll("T", 0);
    rig.close();
    rig.open();
    rig.send("T", 0, (90, 0));
}

fn kill_reopen(rig: &mut Rig) {
    for nth in 0..3 {
        rig.open();
        some(rig, "T", 1);
        rig.send("T", 0, (1_000 + nth * 300, 0));
        rig.send("U", 0, (100, 1_000));
        rig.kill();
    }
    rig.open();
    rig.send("T", 0, (100, 0));
    rig.flush();
}

fn kill_at_roll(rig: &mut Rig) {
    rig.open();
    rig.roll("T", 0);
    rig.kill();
    rig.open();
    rig.seal_active();
    rig.kill();
    rig.open();
    rig.roll("T", 0);
    rig.send("T", 0, (100, 0));
    rig.kill();
    rig.open();
    rig.send("T", 0, (100, 0));
    rig.flush();
}

/// Segments are made ahead and sealed behind by the store itself.
fn own_threads(rig: &mut Rig) {
    rig.options.upkeep = true;
    rig.open();
    for _ in 0..2 {
        rig.roll("T", 0);
        rig.wait_for_seals();
        some(rig, "T", 1);
    }
    rig.kill();
    rig.open();
    some(rig, "T", 1);
    rig.close();
}

/// What lies behind the last record is no record, and recovery has to cut it for good.
fn torn_tail(rig: &mut Rig) {
    rig.open();
    some(rig, "T", 2);
    rig.send("T", 0, (1_200, 1_500));
    for seed in 1..10 {
        // Properties with sectors of their own: a stale one behind a new head would go unseen.
        rig.send("T", 0, (300, 1_900));
        rig.write_unflushed();
        rig.cut_power(Crash::Random(seed));
        rig.open();
    }
    rig.send("T", 0, (300, 1_900));
    rig.flush();
}

/// Power cuts with hardly anything between them, also before anything was flushed.
fn cut_twice(rig: &mut Rig) {
    rig.open();
    rig.cut_power(Crash::Nothing);
    rig.open();
    rig.send("T", 0, (600, 600));
    rig.cut_power(Crash::All);
    rig.open();
    rig.send("T", 0, (600, 600));
    rig.flush();
    rig.send("T", 0, (600, 600));
    rig.cut_power(Crash::Random(3));
    rig.open();
    some(rig, "T", 1);
}

fn damage(rig: &mut Rig) {
    rig.open();
    some(rig, "T", 4);
    rig.kill();
    rig.harm(1);
    rig.open();
    some(rig, "T", 2);
    rig.seal_active();
    some(rig, "T", 1);
    rig.close();
    rig.harm(3);
    rig.open();
    some(rig, "T", 1);
}

/// A copy that lost the zeros at the end of the active segment.
fn short_file(rig: &mut Rig) {
    rig.open();
    some(rig, "T", 2);
    rig.seal_active();
    some(rig, "T", 2);
    rig.kill();
    rig.meddle(|root| {
        let Some(path) = crate::common::files(&root.join("commitlog"), "").pop() else { return };
        std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len(4_096).unwrap();
    });
    rig.open();
    some(rig, "T", 2);
    rig.close();
}

fn remove(rig: &mut Rig, ending: &'static str) {
    rig.meddle(|root| {
        for folder in [root.to_path_buf(), root.join("sidecar")] {
            crate::common::files(&folder, ending).iter().for_each(|path| std::fs::remove_file(path).unwrap());
        }
    });
}

fn lost_sidecar(rig: &mut Rig) {
    rig.open();
    some(rig, "T", 2);
    rig.seal_active();
    some(rig, "U", 2);
    rig.seal_active();
    some(rig, "T", 1);
    rig.close();
    remove(rig, ".index");
    rig.open();
    some(rig, "T", 1);
    rig.seal_active();
    rig.close();
}

fn lost_checksums(rig: &mut Rig) {
    rig.open();
    some(rig, "T", 3);
    rig.send("T", 0, (200, 800));
    rig.kill();
    remove(rig, ".sums");
    rig.open();
    some(rig, "T", 2);
}

fn lost_checkpoint(rig: &mut Rig) {
    rig.open();
    some(rig, "T", 1);
    rig.seal_active();
    rig.sweep();
    some(rig, "T", 1);
    rig.close();
    remove(rig, "checkpoint");
    rig.open();
    rig.sweep();
    some(rig, "T", 1);
}
