//! A disk that refuses writes under a running server: what it says, what it still does, and how it ends.
#![expect(clippy::disallowed_methods, reason = "a deadline of a test is real time")]
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod common;

use std::time::{Duration, Instant};

use common::{Running, WAIT, page, program, run, strata};
use rustix::process::{Pid, Resource, Rlimit, prlimit};

/// Lets every write to a file of the process fail from now on, or work again.
fn limit_files(server: &Running, bytes: Option<u64>) {
    let id = Pid::from_raw(i32::try_from(server.id()).unwrap()).unwrap();
    prlimit(Some(id), Resource::Fsize, Rlimit { current: bytes, maximum: None }).unwrap();
}

/// Where standard error goes: to a file, which the limit hits too, or through a pipe to somebody else.
const LOGS: [(&str, &str); 2] = [("", "2> told"), ("rm -f pipe && mkfifo pipe && { cat pipe > told & } &&", "2> pipe")];

#[test]
fn a_failed_write_is_told_by_metric_log_and_exit_code_and_nothing_acknowledged_is_lost() {
    LOGS.into_iter().for_each(fails_and_starts_again);
}

fn fails_and_starts_again(log: (&str, &str)) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    std::fs::write(path.join("broker.conf"), "mappedFileSizeCommitLog=4194304\nflushDiskType=SYNC_FLUSH\n").unwrap();
    let ports = ["--namesrv-port", "0", "--broker-port", "0", "--metrics-port", "0"];
    let args = [&["start", "--data", "data", "-c", "broker.conf", "--listen", "127.0.0.1"][..], &ports].concat();
    let start = || {
        // Through a shell that ignores the signal which the kernel sends beside the error.
        let mut command = program("sh");
        let binary = strata(&[]).get_program().to_owned();
        let script = format!("{} trap '' XFSZ && exec \"$@\" {}", log.0, log.1);
        command.arg("-c").arg(script).arg("sh").arg(binary).args(&args);
        Running::start_as(path, command)
    };
    let server = start();
    let ask = |server: &Running, args: &[&str]| run(strata(args).env("NAMESRV_ADDR", server.fact("name server")));
    let send = |server: &Running, body: &str| ask(server, &["produce", "orders", "--message", body]);
    let read = |server: &Running| ask(server, &["consume", "orders", "--number", "1"]);
    assert_eq!(ask(&server, &["topic", "create", "orders", "--queues", "1"]).0, 0);
    assert_eq!(send(&server, "kept").0, 0);
    let pages = server.fact("pages").trim_start_matches("http://").trim_end_matches("/metrics").to_owned();
    let figures = page(&pages, "/metrics").1;
    assert!(figures.contains("strata_store_latched{") && !figures.contains("strata_store_latched_info"), "{figures}");

    limit_files(&server, Some(0));
    assert_ne!(send(&server, "lost").0, 0, "a message that is not on disk was acknowledged");
    limit_files(&server, None);
    let (code, _, error) = send(&server, "late");
    assert!(code != 0 && error.contains("takes no writes since an earlier failure"), "{log:?}: {code}: {error}");
    let figures = page(&pages, "/metrics").1;
    let line = |name: &str| figures.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
    assert!(line("strata_store_latched{").ends_with(" 1"), "{figures}");
    let why = line("strata_store_latched_info{");
    assert!(why.contains("cannot write") && why.contains("File too large"), "{why}");
    let (code, out, _) = read(&server);
    assert!(code == 0 && out.contains("kept"), "reads go on: {code}: {out}");
    assert_eq!(server.stop("TERM").code(), Some(7));
    let deadline = Instant::now() + WAIT;
    let told = loop {
        let told = std::fs::read_to_string(path.join("told")).unwrap();
        // Whoever reads the pipe may be a moment behind.
        if told.contains("error:") || Instant::now() > deadline {
            break told;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    assert!(log == LOGS[0] || told.contains("takes no more writes"), "{told}");
    let last = told.lines().filter(|line| line.contains("error:")).collect::<Vec<_>>();
    assert!(last.len() == 1 && last[0].contains("File too large") && last[0].contains("start again"), "{told}");

    let server = start();
    let (code, out, _) = read(&server);
    assert!(code == 0 && out.contains("kept"), "{code}: {out}");
    assert_eq!(send(&server, "new").0, 0);
    assert_eq!(server.stop("TERM").code(), Some(0));
}
