//! `strata tier verify` on a tier in a folder, as an operator meets it.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail by panicking")]

mod common;

use std::path::{Path, PathBuf};

use common::{Site, run, strata};
use serde_json::Value;

const MESSAGES: u64 = 200;

/// A folder with a tier of some messages in `data/cold`, its servers stopped.
fn rolled() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path());
    site.ok(&["topic", "create", "orders", "--queues", "2"]);
    let lines: String = (0..MESSAGES).map(|n| format!("message {n}\n")).collect();
    site.ok_with_input(&["produce", "orders"], &lines);
    let done = site.json(&["tier", "roll", "--now", "--output", "json"]);
    assert_eq!(done[0]["failure"], Value::Null, "{done:#}");
    assert!(site.server.stop("TERM").success());
    folder
}

fn verify(folder: &Path, args: &[&str]) -> (i32, String, String) {
    run(strata(&[&["tier", "verify"], args].concat()).current_dir(folder))
}

fn json(folder: &Path, args: &[&str]) -> (i32, Value) {
    let (code, out, error) = verify(folder, &[args, &["--output", "json"]].concat());
    (code, serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{error}")))
}

/// The one object of messages, and its name as the bucket has it.
fn object(folder: &Path) -> (PathBuf, String) {
    let (_, out, error) = run(strata(&["tier", "ls", "--output", "json"]).current_dir(folder));
    let listing: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{error}"));
    let name = listing["rolls"][0]["names"][0].as_str().unwrap().to_owned();
    (folder.join("data/cold").join(&name), name)
}

#[test]
fn a_whole_tier_is_whole() {
    let folder = rolled();
    let (code, found) = json(folder.path(), &[]);
    assert_eq!((code, found["messages"].as_u64()), (0, Some(MESSAGES)), "{found:#}");
    assert_eq!((&found["lostOffsets"], &found["gaps"]), (&Value::from(0), &Value::from(0)), "{found:#}");
    // An object of messages, its index, and the broker's settings.
    assert_eq!((found["objects"].as_u64(), &found["findings"]), (Some(3), &serde_json::json!([])), "{found:#}");
    let (code, sizes) = json(folder.path(), &["--listed"]);
    assert_eq!((code, &sizes["messages"], &sizes["bytes"]), (0, &Value::Null, &found["bytes"]), "{sizes:#}");
    let (code, out, error) = verify(folder.path(), &["--url", "data/cold"]);
    assert_eq!((code, error.as_str()), (0, ""));
    assert!(out.contains("200 messages came back whole\nnothing is damaged or missing"), "{out}");
    let (code, _, error) = verify(folder.path(), &["--broker", "other"]);
    assert_eq!(code, 4);
    assert!(error.contains("there is no tier of broker other"), "{error}");
}

#[test]
fn a_flipped_bit_is_found_and_named() {
    let folder = rolled();
    let (path, name) = object(folder.path());
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let (code, found) = json(folder.path(), &[]);
    assert_eq!((code, found["findings"][0]["object"].as_str()), (8, Some(name.as_str())), "{found:#}");
    let (code, out, error) = verify(folder.path(), &[]);
    assert_eq!(code, 8);
    assert!(out.contains(&name), "{out}");
    assert!(error.contains("1 objects are damaged or missing. Put them back from a copy"), "{error}");
    let (code, _, _) = verify(folder.path(), &["--listed"]);
    assert_eq!(code, 0, "sizes do not show it");
    bytes[middle] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(verify(folder.path(), &[]).0, 0, "it was put back");
}

#[test]
fn missing_and_cut_objects_are_found() {
    let folder = rolled();
    let (path, name) = object(folder.path());
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    let what = format!("it has {} bytes instead of {}", bytes.len() - 1, bytes.len());
    let finding = |what: &str| Value::from(vec![serde_json::json!({ "object": name, "what": what })]);
    for depth in [&["--listed"][..], &[]] {
        let (code, found) = json(folder.path(), depth);
        assert_eq!((code, &found["findings"]), (8, &finding(&what)), "{found:#}");
    }
    std::fs::remove_file(&path).unwrap();
    for depth in [&["--listed"][..], &[]] {
        let (code, found) = json(folder.path(), depth);
        assert_eq!((code, &found["findings"]), (8, &finding("it is missing")), "{found:#}");
        assert_eq!(found["goneMeanwhile"], 0, "{found:#}");
    }
}
