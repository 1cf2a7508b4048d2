//! `strata replay` against a running site, by commands alone.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test's helpers start processes and fail by panicking"
)]

mod common;

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::{Duration, Instant};

use common::{Site, WAIT, page, run, strata};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// Bodies of a topic by queue, each in its order.
fn bodies(site: &Site, topic: &str) -> BTreeMap<i64, Vec<String>> {
    let mut queues: BTreeMap<i64, Vec<String>> = BTreeMap::new();
    for message in site.messages(&[topic]) {
        queues
            .entry(message["queueId"].as_i64().unwrap())
            .or_default()
            .push(message["body"].as_str().unwrap().to_owned());
    }
    queues
}

fn replay(site: &Site, args: &[&str]) -> Value {
    site.json(&[&["replay", "--output", "json"], args].concat())
}

fn properties(message: &Value) -> BTreeMap<String, String> {
    let own = |name: &str| matches!(name, "CLUSTER" | "MSG_REGION" | "TRACE_ON" | "WAIT");
    let all = message["properties"].as_object().unwrap().iter();
    all.filter(|(name, _)| !own(name)).map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect()
}

fn lines(count: usize) -> String {
    (0..count).fold(String::new(), |all, number| format!("{all}{number}\n"))
}

#[test]
fn messages_come_again_as_they_were_in_another_topic() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path());
    site.ok_with_input(&["produce", "orders", "--tag", "A", "--key", "k1", "--property", "color=grün"], &lines(50));
    site.ok_with_input(&["produce", "orders", "--tag", "B", "--property", "color=rot"], &lines(30));
    let args = ["--topic", "orders", "--to-topic", "again", "--where", "color = 'grün'"];
    let counted = replay(&site, &[&args[..], &["--dry-run"]].concat());
    assert_eq!(
        (&counted["state"], &counted["messages"], &counted["resumed"]),
        (&json!("counted"), &json!(50), &json!(false))
    );
    assert_eq!(site.run(&["topic", "describe", "again"]).0, 4, "a dry run creates nothing");
    let sent = replay(&site, &args);
    assert_eq!(sent["state"], "finished");
    for figure in ["messages", "bytes", "firstStoredMs", "lastStoredMs"] {
        assert_eq!(sent[figure], counted[figure], "{figure}");
    }
    let of_tag = |topic: &str| site.messages(&[topic, "--tag", "A"]);
    let (old, new) = (of_tag("orders"), of_tag("again"));
    assert_eq!(new.len(), 50);
    let by_place = |messages: &[Value]| {
        let mut queues: BTreeMap<i64, Vec<Value>> = BTreeMap::new();
        for message in messages {
            queues.entry(message["queueId"].as_i64().unwrap()).or_default().push(message.clone());
        }
        queues.into_values().flatten().collect::<Vec<_>>()
    };
    for (old, new) in by_place(&old).iter().zip(by_place(&new)) {
        for part in ["queueId", "body", "tag", "keys", "born", "messageId"] {
            assert_eq!(old[part], new[part], "{part}");
        }
        let mut kept = properties(&new);
        assert!(kept.remove("STRATA_REPLAY").unwrap().starts_with("orders-"));
        let origin = kept.remove("STRATA_ORIGIN").unwrap();
        let place = format!(
            "orders broker-a {} {} {} ",
            old["queueId"],
            old["offset"],
            old["offsetMessageId"].as_str().unwrap()
        );
        assert!(origin.starts_with(&place), "{origin} is not {place}");
        assert_eq!(kept, properties(old));
    }
    let pages = site.server.fact("pages").trim_start_matches("http://").trim_end_matches("/metrics").to_owned();
    let (code, figures) = page(&pages, "/metrics");
    assert!(code == 200 && !figures.contains("REPLAY"), "the progress of a run is no group's lag: {figures}");
    let again = replay(&site, &args);
    assert_eq!((&again["state"], &again["messages"]), (&json!("finishedBefore"), &json!(0)));
    let text = site.ok(&[&["replay"], &args[..]].concat());
    assert!(text.contains("was finished before, and nothing was sent; --restart begins anew"), "{text}");
    assert_eq!(replay(&site, &[&args[..], &["--restart"]].concat())["messages"], 50);
    assert_eq!(site.messages(&["again"]).len(), 100);
}

#[test]
fn one_group_gets_them_and_its_progress_stays() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path());
    site.ok_with_input(&["produce", "orders", "--tag", "A"], &lines(20));
    site.ok(&["group", "create", "billing"]);
    site.ok(&["consume", "orders", "-g", "billing", "-n", "5"]);
    let progress = || site.json(&["group", "describe", "billing", "--output", "json"])["queues"].clone();
    let before = progress();
    let (code, out, told) = site.run(&["replay", "--topic", "orders", "--to-group", "billing", "--output", "json"]);
    assert_eq!(code, 0, "{told}");
    assert!(told.contains("nobody of group billing is connected"), "{told}");
    let sent: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&sent["messages"], &sent["target"]), (&json!(20), &json!("group billing")));
    let messages = site.messages(&["%RETRY%billing"]);
    assert_eq!(messages.len(), 20);
    for message in &messages {
        let properties = properties(message);
        assert_eq!((properties["RETRY_TOPIC"].as_str(), &message["reconsumeTimes"]), ("orders", &json!(0)));
        assert_eq!(properties["ORIGIN_MESSAGE_ID"], properties["STRATA_ORIGIN"].split(' ').nth(4).unwrap());
    }
    let after = progress();
    let of_topic = |queues: &Value| {
        queues.as_array().unwrap().iter().filter(|queue| queue["topic"] == "orders").cloned().collect::<Vec<_>>()
    };
    assert_eq!(of_topic(&after), of_topic(&before));
    assert_eq!(site.messages(&["orders"]).len(), 20, "no other group gets anything");
    // Once more from the retry topic, as from dead letters: the first topic is remembered.
    site.ok(&["replay", "--topic", "%RETRY%billing", "--to-topic", "seen"]);
    let seen = site.messages(&["seen"]);
    assert_eq!(seen.len(), 20);
    assert!(seen.iter().all(|message| !properties(message).contains_key("RETRY_TOPIC")));
}

/// Waits until so many messages are in the target.
fn arrive(site: &Site, messages: u64) {
    let deadline = Instant::now() + WAIT;
    loop {
        let (code, out, _) = site.run(&["topic", "describe", "again", "--output", "json"]);
        let there = || serde_json::from_str::<Value>(&out).unwrap()["messages"].as_u64().unwrap();
        if code == 0 && there() >= messages {
            return;
        }
        assert!(Instant::now() < deadline, "{messages} messages do not arrive");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_stopped_run_goes_on_and_sends_nothing_twice() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path());
    site.ok(&["topic", "create", "orders", "--queues", "3"]);
    site.ok_with_input(&["produce", "orders"], &lines(600));
    let args = ["replay", "--topic", "orders", "--to-topic", "again", "--name", "stopped", "--output", "json"];
    for (nth, signal) in [Signal::INT, Signal::KILL, Signal::INT].into_iter().enumerate() {
        let mut command = strata(&[&args[..], &["--rate", "100"]].concat());
        command.env("NAMESRV_ADDR", &site.namesrv).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        arrive(&site, 100 * (nth as u64 + 1));
        kill_process(Pid::from_child(&child), signal).unwrap();
        let output = child.wait_with_output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        if signal == Signal::INT {
            assert_eq!(output.status.code(), Some(1), "{told}");
            assert!(told.contains("the same command goes on from there (run stopped)"), "{told}");
            let report: Value = serde_json::from_slice(&output.stdout).unwrap();
            assert_eq!(report["state"], "stopped");
            assert!(report["messages"].as_u64().unwrap() > 20, "{report}");
        }
    }
    let last = site.json(&args);
    assert_eq!((&last["state"], &last["resumed"]), (&json!("finished"), &json!(true)));
    assert!(last["messages"].as_u64().unwrap() < 600, "{last}");
    assert_eq!(bodies(&site, "again"), bodies(&site, "orders"), "each once, in the order of its queue");
}

#[test]
fn a_rate_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path());
    site.ok_with_input(&["produce", "orders"], &lines(60));
    let began = Instant::now();
    site.ok(&["replay", "--topic", "orders", "--to-topic", "again", "--rate", "50"]);
    assert!((Duration::from_millis(1_150)..WAIT).contains(&began.elapsed()), "{:?}", began.elapsed());
}

#[test]
fn what_the_target_refuses_stops_or_is_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path());
    site.ok(&["topic", "create", "orders", "--queues", "1"]);
    site.ok(&["produce", "orders", "-m", "first"]);
    site.ok(&["produce", "orders", "-m", "second", "--property", &format!("long={}", "x".repeat(32_600))]);
    site.ok(&["produce", "orders", "-m", "third"]);
    let args = ["replay", "--topic", "orders", "--to-topic", "again"];
    let (code, _, told) = site.run(&args);
    assert_eq!(code, 5, "{told}");
    assert!(told.contains("the message from orders broker-a/0 offset 1 is refused"), "{told}");
    assert!(told.contains("1 messages were sent, 2 offsets are left"), "{told}");
    let (code, out, told) = site.run(&[&args[..], &["--skip-refused", "--output", "json"]].concat());
    assert_eq!(code, 0, "{told}");
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&report["messages"], &report["refused"], &report["resumed"]), (&json!(1), &json!(1), &json!(true)));
    assert_eq!(bodies(&site, "again"), BTreeMap::from([(0, vec![String::from("first"), String::from("third")])]));
}

#[test]
fn mistakes_are_told_before_anything_is_sent() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path());
    site.ok(&["produce", "orders", "-m", "x"]);
    let cases: [(&[&str], i32, &str); 8] = [
        (&["--topic", "none", "--to-topic", "again"], 4, "there is no topic none"),
        (&["--topic", "orders", "--to-group", "none"], 4, "there is no group none"),
        (&["--topic", "orders", "--to-topic", "orders"], 2, "--to-group"),
        (&["--topic", "orders", "--to-topic", "%RETRY%g"], 2, "--to-group g"),
        (&["--topic", "orders", "--to-topic", "again", "--where", "a = = 1"], 2, "refused at position 4"),
        (&["--topic", "orders", "--to-topic", "again", "--from", "2026-11-02", "--to", "2026-11-01"], 2, "not behind"),
        (&["--topic", "orders", "--to-topic", "again", "--from", "yesterday"], 2, "no time"),
        (&["--topic", "orders"], 2, "--to-topic"),
    ];
    for (args, exit, told) in cases {
        let (code, _, error) = run(strata(&[&["replay"], args].concat()).env("NAMESRV_ADDR", &site.namesrv));
        assert_eq!(code, exit, "{args:?}: {error}");
        assert!(error.contains(told), "{args:?}: {error}");
    }
    let named = ["replay", "--topic", "orders", "--name", "same", "--to-topic"];
    site.ok(&[&named[..], &["again"]].concat());
    let (code, _, error) = site.run(&[&named[..], &["elsewhere"]].concat());
    assert_eq!(code, 2, "{error}");
    assert!(error.contains("a run same of orders began with other flags"), "{error}");
    site.ok(&["group", "create", "ordered", "--orderly"]);
    let (code, _, error) = site.run(&["replay", "--topic", "orders", "--to-group", "ordered"]);
    assert_eq!(code, 5, "{error}");
    assert!(error.contains("consumes in order"), "{error}");
}
