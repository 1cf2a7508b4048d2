//! `strata store`: checking and repairing the files of servers, as an operator meets it.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail by panicking")]

mod common;

use std::path::{Path, PathBuf};

use common::{Site, run, strata};
use serde_json::Value;

/// A data folder with a topic, a name server's setting and messages, its servers stopped.
fn filled() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path());
    site.ok(&["topic", "create", "orders", "--queues", "1"]);
    site.ok(&["topic", "create", "mail", "--queues", "1"]);
    let lines: String = (0..20).map(|n| format!("message {n}\n")).collect();
    site.ok_with_input(&["produce", "orders"], &lines);
    assert!(site.server.stop("TERM").success());
    folder
}

fn ask(folder: &Path, args: &[&str]) -> (i32, String, String) {
    run(strata(&[&["store"], args].concat()).current_dir(folder))
}

fn json(folder: &Path, args: &[&str]) -> (i32, Value) {
    let (code, out, error) = ask(folder, &[args, &["--output", "json"]].concat());
    (code, serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{error}")))
}

/// Every file's bytes and time of change. The lock names whoever looked last.
fn everything(folder: &Path) -> Vec<(PathBuf, Vec<u8>, std::time::SystemTime)> {
    let mut out = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            out.extend(everything(&path));
        } else if !path.ends_with("strata.lock") {
            out.push((path.clone(), std::fs::read(&path).unwrap(), path.metadata().unwrap().modified().unwrap()));
        }
    }
    out.sort();
    out
}

fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_check_changes_nothing_and_a_clean_folder_is_clean() {
    let folder = filled();
    let before = everything(folder.path());
    let (code, found) = json(folder.path(), &["check"]);
    assert_eq!((code, found["verdict"].as_str()), (0, Some("clean")), "{found:#}");
    assert_eq!(found["configuration"][0]["state"], "good", "{found:#}");
    let (code, out, error) = ask(folder.path(), &["check", "data"]);
    assert_eq!((code, error.as_str()), (0, ""));
    assert!(out.contains("active") && out.contains("nothing to repair"), "{out}");
    let (code, _, error) = ask(folder.path(), &["repair", "--data", "data"]);
    assert_eq!((code, error.as_str()), (0, ""));
    assert!(before == everything(folder.path()), "a file changed");
    let (code, _, error) = ask(folder.path(), &["check", "nowhere"]);
    assert_eq!(code, 6);
    assert!(error.contains("nowhere is no data folder"), "{error}");
}

#[test]
fn lost_messages_are_named_and_stay_told() {
    let folder = filled();
    let log = folder.path().join("data/broker/commitlog/00000000000000000000");
    let at = std::fs::read(&log).unwrap().windows(9).position(|window| window == b"message 7").unwrap();
    flip(&log, at + 3);
    let (code, found) = json(folder.path(), &["check"]);
    assert_eq!((code, found["verdict"].as_str()), (8, Some("lost")), "{found:#}");
    let lost = &found["stores"][0]["segments"][0]["damage"][0]["lost"];
    assert_eq!((lost[0]["topic"].as_str(), lost.as_array().map(Vec::len)), (Some("orders"), Some(1)), "{found:#}");
    let (code, _) = json(folder.path(), &["repair"]);
    assert_eq!(code, 8);
    let (_, again) = json(folder.path(), &["check"]);
    assert_eq!(&again["stores"][0]["segments"][0]["damage"][0]["lost"], lost);
}

#[test]
fn a_configuration_file_comes_back_from_its_previous_generation() {
    let folder = filled();
    let topics = folder.path().join("data/broker/config/topics.json");
    let at = std::fs::read(&topics).unwrap().windows(6).position(|window| window == b"orders").unwrap();
    flip(&topics, at + 1);
    let damaged = std::fs::read(&topics).unwrap();
    let (code, found) = json(folder.path(), &["repair", "--dry-run"]);
    assert_eq!((code, found["verdict"].as_str()), (8, Some("derived")), "{found:#}");
    assert!(found["plan"][0].as_str().unwrap().contains("topics.json.bak"), "{found:#}");
    assert!(std::fs::read(&topics).unwrap() == damaged, "a dry run changed the file");
    let (code, done) = json(folder.path(), &["repair"]);
    assert_eq!((code, done["verdict"].as_str()), (0, Some("clean")), "{done:#}");
    let (code, _) = json(folder.path(), &["check"]);
    assert_eq!(code, 0);
}

#[test]
fn a_folder_in_use_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path());
    for command in ["check", "repair"] {
        let (code, out, error) = ask(folder.path(), &[command]);
        assert_eq!((code, out.as_str()), (6, ""), "{command}");
        assert!(error.contains("in use by another process"), "{error}");
    }
    drop(site);
}
