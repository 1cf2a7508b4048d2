//! Topics, groups and messages of a running site, by commands alone.

mod common;

use common::{Site, run, strata};
use serde_json::json;

#[test]
fn a_topic_from_its_creation_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path());
    assert_eq!(site.json(&["topic", "list", "--output", "json"]), json!([]));
    assert_eq!(
        site.ok(&["topic", "create", "orders", "--queues", "2"]),
        "created topic orders with 2 queues on broker-a\n"
    );
    let (code, _, error) = site.run(&["topic", "create", "orders"]);
    assert_eq!(code, 5);
    assert!(error.contains("there is a topic orders on broker-a already; change it with: strata topic update orders"));
    site.ok(&["produce", "orders", "-m", "x"]);
    let description = site.json(&["topic", "describe", "orders", "--output", "json"]);
    assert_eq!(description["messages"], 1);
    let offsets: Vec<_> = description["queues"]
        .as_array()
        .unwrap()
        .iter()
        .map(|q| (q["queue"].as_str().unwrap(), q["maxOffset"].as_i64().unwrap()))
        .collect();
    assert_eq!(offsets, [("broker-a/0", 1), ("broker-a/1", 0)]);
    assert_eq!(description["brokers"][0]["perm"], "rw");
    site.ok(&["topic", "update", "orders", "--perm", "r", "--queues", "4"]);
    let rows = site.json(&["topic", "list", "--output", "json"]);
    assert_eq!(rows, json!([{"topic": "orders", "brokers": 1, "readQueues": 4, "writeQueues": 4, "perm": "r-"}]));
    assert_eq!(site.run(&["produce", "orders", "-m", "y"]).0, 5);
    assert_eq!(site.ok(&["consume", "orders"]), "x\n");
    assert_eq!(site.ok(&["topic", "delete", "orders"]), "deleted topic orders on broker-a\n");
    for args in [["topic", "describe", "orders"], ["topic", "delete", "orders"]] {
        let (code, _, error) = site.run(&args);
        assert_eq!((code, error.as_str()), (4, "error: there is no topic orders; list them with: strata topic list\n"));
    }
    let all = site.json(&["topic", "list", "--all", "--output", "json"]);
    assert!(all.as_array().unwrap().iter().any(|row| row["topic"] == "TBW102"), "{all}");
}

#[test]
fn messages_come_back_as_they_were_sent() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path());
    let sent = site.ok_with_input(
        &["produce", "orders", "--tag", "A", "--key", "k1", "--key", "k2", "--property", "color=grün"],
        "hello\n\nwörld\n",
    );
    assert!(sent.starts_with("sent 2 messages (11 bytes) to orders in "), "{sent}");
    let summary = site.json(&["produce", "orders", "-m", "third", "--tag", "B", "--output", "json"]);
    assert_eq!((&summary["messages"], &summary["bytes"]), (&json!(1), &json!(5)));
    assert_eq!(site.ok(&["consume", "orders"]), "hello\nwörld\nthird\n");
    assert_eq!(site.ok(&["consume", "orders", "-n", "2"]), "hello\nwörld\n");
    let numbers = (0..500).fold(String::new(), |all, number| format!("{all}{number}\n"));
    site.ok_with_input(&["produce", "numbers"], &numbers);
    assert_eq!(site.ok(&["consume", "numbers"]), numbers, "across queues, the order is that of the lines");
    assert_eq!(site.ok(&["consume", "orders", "--tag", "B || C"]), "third\n");
    let filtered = |expression: &str, more: &[&str]| {
        let asked = ["consume", "orders", "--filter", expression];
        site.ok(&[&asked[..], more].concat())
    };
    assert_eq!(filtered("color = 'grün' AND TAGS <> 'B'", &[]), "hello\nwörld\n");
    assert_eq!(filtered("TAGS IN ('B')", &["-n", "1"]), "third\n");
    assert_eq!(filtered("color LIKE 'gr%'", &[]), "", "RocketMQ reads a bare property there");
    assert_eq!(filtered("color LIKE 'gr%'", &["--dialect", "strict"]), "hello\nwörld\n");
    assert_eq!(site.ok(&["consume", "orders", "-o", "last"]), "");
    let messages = site.messages(&["orders"]);
    assert_eq!(messages.len(), 3);
    assert_eq!(messages[1]["body"], "wörld");
    assert_eq!(messages[1]["keys"], json!(["k1", "k2"]));
    assert_eq!((&messages[1]["tag"], &messages[1]["properties"]["color"]), (&json!("A"), &json!("grün")));
    assert_eq!(messages[2]["messageId"], summary["last"]["messageId"]);
    let queue = format!("{}/{}", messages[2]["broker"].as_str().unwrap(), messages[2]["queueId"]);
    assert_eq!((json!(queue), &messages[2]["offset"]), (summary["last"]["queue"].clone(), &summary["last"]["offset"]));
}

#[test]
fn a_reading_begins_and_ends_where_it_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path());
    site.ok(&["topic", "create", "orders", "--queues", "1"]);
    site.ok(&["produce", "orders", "--in-flight", "1", "-m", "0", "-m", "1", "-m", "2", "-m", "3"]);
    assert_eq!(site.ok(&["consume", "orders", "-o", "2"]), "2\n3\n");
    assert_eq!(site.ok(&["consume", "orders", "-o", "1", "--until", "3"]), "1\n2\n");
    let stored =
        site.messages(&["orders"]).iter().map(|m| m["stored"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    let after = |text: &str| text.parse::<jiff::Timestamp>().unwrap().as_millisecond() + 1;
    let (first, behind) = (format!("@{}", stored[0]), format!("@{}", after(&stored[3])));
    assert_eq!(site.ok(&["consume", "orders", "-o", &first]), "0\n1\n2\n3\n");
    assert_eq!(site.ok(&["consume", "orders", "-o", &behind]), "");
    assert_eq!(site.ok(&["consume", "orders", "--until", &first]), "");
    assert_eq!(site.ok(&["consume", "orders", "--until", &behind]), "0\n1\n2\n3\n");
    assert_eq!(site.ok(&["consume", "orders", "-o", "@-1h", "-n", "1"]), "0\n");
    assert_eq!(site.ok(&["consume", "orders", "-o", "first", "--until", "@-1h"]), "");
}

#[test]
fn many_messages_of_many_queues_are_all_read_in_stored_order() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path());
    site.ok(&["produce", "many", "--count", "5000", "--size", "300"]);
    let messages = site.messages(&["many"]);
    assert_eq!(messages.len(), 5000);
    let stored: Vec<&str> = messages.iter().map(|m| m["stored"].as_str().unwrap()).collect();
    assert!(stored.is_sorted(), "not by store time");
    let places: std::collections::BTreeSet<String> =
        messages.iter().map(|m| format!("{}@{}", m["queueId"], m["offset"])).collect();
    assert_eq!(places.len(), 5000, "a message came twice");
    assert!(messages.iter().all(|m| m["body"].as_str().unwrap().len() == 300));
}

#[test]
fn a_follower_gets_what_comes() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path());
    site.ok(&["topic", "create", "orders", "--queues", "2"]);
    site.ok(&["produce", "orders", "-m", "before"]);
    // It reads the one that is there, and waits for two more: the second command runs while it waits.
    let followed = std::thread::scope(|scope| {
        let follower = scope.spawn(|| site.ok(&["consume", "orders", "-f", "-n", "3", "-g", "audit"]));
        site.ok(&["produce", "orders", "-m", "new"]);
        site.ok(&["produce", "orders", "-m", "newer"]);
        follower.join().unwrap()
    });
    let mut lines: Vec<&str> = followed.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["before", "new", "newer"]);
    assert_eq!(site.ok(&["consume", "orders", "-g", "audit"]), "", "its progress was stored");
}

#[test]
fn a_group_keeps_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path());
    assert_eq!(site.ok(&["group", "create", "billing", "--retry-max", "3"]), "created group billing on broker-a\n");
    site.ok(&["topic", "create", "orders", "--queues", "1"]);
    site.ok(&["produce", "orders", "--in-flight", "1", "-m", "a", "-m", "b", "-m", "c"]);
    assert_eq!(site.ok(&["consume", "orders", "-g", "billing", "-n", "2"]), "a\nb\n");
    let description = site.json(&["group", "describe", "billing", "--output", "json"]);
    assert_eq!((&description["lag"], &description["retryMax"]), (&json!(1), &json!(3)));
    let queue = &description["queues"][0];
    assert_eq!(
        (&queue["queue"], &queue["storedOffset"], &queue["maxOffset"]),
        (&json!("broker-a/0"), &json!(2), &json!(3))
    );
    assert_eq!(site.ok(&["consume", "orders", "-g", "billing"]), "c\n");
    assert_eq!(site.ok(&["consume", "orders", "-g", "billing", "-o", "first", "-n", "1"]), "a\n");
    let rows = site.json(&["group", "list", "--output", "json"]);
    assert!(rows.as_array().unwrap().iter().any(|row| row["group"] == "billing" && row["members"] == 0), "{rows}");
    assert_eq!(site.ok(&["group", "delete", "billing"]), "deleted group billing on broker-a\n");
    let (code, _, error) = site.run(&["group", "describe", "billing"]);
    assert_eq!((code, error.as_str()), (4, "error: there is no group billing; list them with: strata group list\n"));
}

#[test]
fn progress_ends_where_a_reading_was_told_to_end() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path());
    site.ok(&["topic", "create", "orders", "--queues", "1"]);
    site.ok_with_input(&["produce", "orders", "--in-flight", "1", "--tag", "A"], "0\n1\n2\n3\n4\n");
    // The next begin in a millisecond of their own.
    std::thread::sleep(std::time::Duration::from_millis(5));
    site.ok_with_input(&["produce", "orders", "--in-flight", "1", "--tag", "B"], "5\n6\n7\n8\n9\n");
    let second_half = format!("@{}", site.messages(&["orders", "-o", "5", "-n", "1"])[0]["stored"].as_str().unwrap());
    let read = |group: &str, args: &[&str]| site.ok(&[&["consume", "orders", "-g", group], args].concat());
    assert_eq!(read("by-offset", &["--until", "3"]), "0\n1\n2\n");
    assert_eq!(read("by-offset", &["-n", "2"]), "3\n4\n");
    assert_eq!(read("by-offset", &[]), "5\n6\n7\n8\n9\n");
    assert_eq!(read("by-time", &["--until", &second_half]), "0\n1\n2\n3\n4\n");
    assert_eq!(read("by-time", &[]), "5\n6\n7\n8\n9\n");
    // A broker's answer passes over what does not match, also behind the end.
    assert_eq!(read("by-tag", &["--tag", "A", "--until", &second_half]), "0\n1\n2\n3\n4\n");
    assert_eq!(read("by-tag", &["--tag", "A", "--until", "7"]), "");
    assert_eq!(read("by-tag", &[]), "7\n8\n9\n");
    for tag in ["", " ", "||"] {
        let (code, out, error) = site.run(&["consume", "orders", "-g", "by-nothing", "--tag", tag]);
        assert_eq!((code, out.as_str()), (2, ""), "{error}");
    }
    assert_eq!(read("by-nothing", &["--tag", "*", "-n", "1"]), "0\n");
}

#[test]
fn a_new_group_has_a_place_although_nothing_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path());
    site.ok(&["topic", "create", "orders", "--queues", "2"]);
    assert_eq!(site.ok(&["consume", "orders", "-g", "early"]), "");
    site.ok(&["produce", "orders", "-m", "a", "-m", "b"]);
    assert_eq!(site.ok(&["consume", "orders", "-g", "late", "-o", "last"]), "");
    site.ok(&["produce", "orders", "-m", "c"]);
    assert_eq!(site.ok(&["consume", "orders", "-g", "late"]), "c\n");
    assert_eq!(site.ok(&["consume", "orders", "-g", "early"]).lines().count(), 3);
}

#[test]
fn a_follower_finds_queues_that_are_added() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path());
    site.ok(&["topic", "create", "orders", "--queues", "1"]);
    site.ok(&["produce", "orders", "-m", "first"]);
    let followed = std::thread::scope(|scope| {
        let follower = scope.spawn(|| site.ok(&["consume", "orders", "-f", "-n", "3", "-g", "audit"]));
        // It reads on while the topic grows; the new queue's message comes before it is known.
        site.ok(&["topic", "update", "orders", "--queues", "2"]);
        let sent = site.ok_with_input(&["produce", "orders", "--in-flight", "1"], "second\nthird\n");
        assert!(sent.starts_with("sent 2 messages"), "{sent}");
        follower.join().unwrap()
    });
    let mut lines: Vec<&str> = followed.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["first", "second", "third"]);
    assert_eq!(site.ok(&["consume", "orders", "-g", "audit"]), "", "the progress of both queues was stored");
}

#[test]
fn a_group_that_exists_is_changed_on_purpose_alone() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path());
    site.ok(&["group", "create", "billing", "--retry-max", "3"]);
    let (code, _, error) = site.run(&["group", "create", "billing"]);
    assert_eq!(code, 5);
    let advice = "there is a group billing on broker-a already; change it with: strata group update billing";
    assert!(error.contains(advice), "{error}");
    let retries = || site.json(&["group", "describe", "billing", "--output", "json"])["retryMax"].clone();
    assert_eq!(retries(), json!(3));
    site.ok(&["group", "update", "billing", "--orderly", "true"]);
    assert_eq!(retries(), json!(3), "what is not given stays");
    assert_eq!(site.ok(&["group", "update", "billing", "--retry-max", "5"]), "changed group billing on broker-a\n");
    assert_eq!(retries(), json!(5));
    let (code, _, error) = site.run(&["group", "update", "nobody"]);
    assert_eq!((code, error.as_str()), (4, "error: there is no group nobody; list them with: strata group list\n"));
}

#[test]
fn what_cannot_be_reached_is_said() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    for args in [&["topic", "list"][..], &["consume", "t"], &["produce", "t", "-m", "x"], &["group", "list"]] {
        let (code, out, error) = run(strata(args).env("NAMESRV_ADDR", &gone));
        assert_eq!((code, out.as_str()), (3, ""));
        assert!(
            error.starts_with(&format!("error: no name server can be reached: cannot connect to {gone}: ")),
            "{error}"
        );
        assert!(error.contains("strata start"), "{error}");
    }
}
