//! Configuration files, flags and their mistakes, as an operator meets them.
#![expect(clippy::unwrap_used, reason = "a test's helpers fail by panicking")]

mod common;

use common::{run, strata};
use serde_json::Value;

fn config(text: &str, args: &[&str]) -> (i32, String, String) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("broker.conf"), text).unwrap();
    run(strata(&[&["config", "-c", "broker.conf", "--output", "json"], args].concat()).current_dir(folder.path()))
}

fn rows(out: &str) -> Vec<(String, String, String)> {
    let rows: Vec<Value> = serde_json::from_str(out).unwrap();
    let text = |row: &Value, name: &str| row[name].as_str().unwrap().to_owned();
    rows.iter().map(|row| (text(row, "key"), text(row, "value"), text(row, "origin"))).collect()
}

fn row(out: &str, key: &str) -> (String, String) {
    let (_, value, origin) = rows(out).into_iter().find(|(found, _, _)| found == key).unwrap();
    (value, origin)
}

#[test]
fn values_hold_by_their_rank_and_tell_where_they_come_from() {
    let text = "brokerClusterName = C1\nfileReservedTime : 48\nlistenPort=20911\nstorePathRootDir=/a\\\n  /b\n";
    let (code, out, error) = config(text, &["--broker-port", "30911"]);
    assert_eq!((code, error.as_str()), (0, ""));
    let own = |value: &str, origin: &str| (value.to_owned(), origin.to_owned());
    assert_eq!(row(&out, "brokerClusterName"), own("C1", "broker.conf:1"));
    assert_eq!(row(&out, "fileReservedTime"), own("48", "broker.conf:2"));
    assert_eq!(row(&out, "listenPort"), own("30911", "--broker-port"));
    assert_eq!(row(&out, "storePathRootDir"), own("/a/b", "broker.conf:4"));
    assert_eq!(row(&out, "maxMessageSize"), own("4194304", "default"));
}

#[test]
fn the_environment_is_below_the_file() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("broker.conf"), "namesrvAddr=10.0.0.2:9876;10.0.0.3:9876\n").unwrap();
    let ask = |args: &[&str]| {
        let mut command = strata(&[&["config", "--output", "json"], args].concat());
        run(command.current_dir(folder.path()).env("NAMESRV_ADDR", "10.0.0.1:9876"))
    };
    let (_, out, _) = ask(&[]);
    assert_eq!(row(&out, "namesrvAddr"), ("10.0.0.1:9876".to_owned(), "$NAMESRV_ADDR".to_owned()));
    let (_, out, _) = ask(&["-c", "broker.conf"]);
    assert_eq!(row(&out, "namesrvAddr"), ("10.0.0.2:9876;10.0.0.3:9876".to_owned(), "broker.conf:1".to_owned()));
    let (_, out, _) = ask(&["-c", "broker.conf", "--namesrv", "h:1"]);
    assert_eq!(row(&out, "namesrvAddr"), ("h:1".to_owned(), "--namesrv".to_owned()));
}

#[test]
fn each_server_shows_what_it_would_start_with() {
    let folder = tempfile::tempdir().unwrap();
    let text = "storePathRootDir=/a\nnamesrvAddr=10.0.0.2:9876\nbindAddress=127.0.0.2\n";
    std::fs::write(folder.path().join("broker.conf"), text).unwrap();
    let ask = |args: &[&str]| {
        let mut command = strata(&[&["config"], args, &["--output", "json"]].concat());
        run(command.current_dir(folder.path()).env("NAMESRV_ADDR", "10.0.0.1:9876"))
    };
    let own = |value: &str, origin: &str| (value.to_owned(), origin.to_owned());
    let (code, out, error) = ask(&["start"]);
    assert_eq!((code, error.as_str()), (0, ""));
    assert_eq!(row(&out, "storePathRootDir"), own("data/broker", "default"));
    assert_eq!(row(&out, "namesrvAddr"), own("127.0.0.1:9876", "default"));
    assert_eq!(row(&out, "--data"), own("data/namesrv", "default"));
    let (_, out, error) = ask(&["start", "-c", "broker.conf", "--namesrv-port", "19876"]);
    assert!(error.contains("namesrvAddr has no effect"), "{error}");
    assert_eq!(row(&out, "storePathRootDir"), own("/a", "broker.conf:1"));
    assert_eq!(row(&out, "namesrvAddr"), own("127.0.0.2:19876", "--namesrv-port"));
    assert_eq!(row(&out, "metricsPromExporterHost"), own("127.0.0.2", "default"));
    let (_, out, _) = ask(&["start", "-c", "broker.conf", "--data", "/b"]);
    assert_eq!(row(&out, "storePathRootDir"), own("/b/broker", "--data"));
    assert_eq!(row(&out, "--data"), own("/b/namesrv", "--data"));
    let (_, out, _) = ask(&["broker", "-c", "broker.conf"]);
    assert_eq!(row(&out, "namesrvAddr"), own("10.0.0.2:9876", "broker.conf:2"));
    let (code, out, _) = ask(&["namesrv", "--port", "19876"]);
    assert_eq!((code, row(&out, "listenPort")), (0, own("19876", "--port")));
    assert_eq!(row(&out, "--data"), own("namesrv-data", "default"));
    for other in [["namesrv", "--broker-port", "1"], ["start", "--name", "b"], ["--broker-port", "1", "namesrv"]] {
        assert_eq!(ask(&other).0, 2, "{other:?} is a flag of another server");
    }
}

#[test]
fn the_number_of_connections_is_a_choice() {
    let (code, out, error) = config("serverMaxConnections=50000\nserverMaxConnectionsPerAddress = 5000\n", &[]);
    assert_eq!((code, error.as_str()), (0, ""));
    assert_eq!(row(&out, "serverMaxConnections").0, "50000");
    assert_eq!(row(&out, "serverMaxConnectionsPerAddress").0, "5000");
    let sentence =
        "error: broker.conf:1: serverMaxConnections=0 is not allowed: a whole number from 1 to 1048576\n".to_owned();
    assert_eq!(config("serverMaxConnections=0", &[]), (2, String::new(), sentence));
}

#[test]
fn unknown_keys_warn_once_with_the_nearest_name() {
    let (code, _, error) = config("brokerNmae = x\ndeleteWhen=04\n", &[]);
    assert_eq!(code, 0);
    let warnings: Vec<&str> = error.lines().collect();
    assert_eq!(warnings.len(), 2, "{error}");
    assert!(warnings[0].ends_with("broker.conf:1: brokerNmae is no known key; did you mean brokerName?"), "{error}");
    assert!(warnings[1].contains("broker.conf:2: deleteWhen=04 has no effect: "), "{error}");
}

#[test]
fn bad_values_are_one_sentence_and_exit_code_2() {
    let cases = [
        (
            "\nlistenPort = 70000",
            "error: broker.conf:2: listenPort=70000 is not allowed: a whole number from 0 to 65535\n",
        ),
        (
            "autoCreateTopicEnable=yes",
            "error: broker.conf:1: autoCreateTopicEnable=yes is not allowed: true or false\n",
        ),
        ("flushDiskType=SOON", "error: broker.conf:1: flushDiskType=SOON is not allowed: ASYNC_FLUSH or SYNC_FLUSH\n"),
    ];
    for (text, sentence) in cases {
        assert_eq!(config(text, &[]), (2, String::new(), sentence.to_owned()));
    }
}

#[test]
fn promises_that_cannot_be_kept_stop_the_start() {
    for text in [
        "brokerRole=SLAVE",
        "brokerRole=SYNC_MASTER",
        "aclEnable=true",
        "enableControllerMode=true",
        "tls.server.mode=enforcing",
    ] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("broker.conf"), text).unwrap();
        let (code, out, error) = run(strata(&["start", "-c", "broker.conf"]).current_dir(folder.path()));
        assert_eq!((code, out.as_str()), (2, ""));
        assert!(error.starts_with(&format!("error: broker.conf:1: {text} cannot be served: ")), "{error}");
        assert!(!folder.path().join("data").exists(), "nothing was started");
    }
}

#[test]
fn a_missing_file_and_wrong_flags_are_usage_errors() {
    let (code, _, error) = run(&mut strata(&["config", "-c", "no/such/file"]));
    assert_eq!(code, 2);
    assert!(error.starts_with("error: the configuration file no/such/file cannot be read: "), "{error}");
    assert_eq!(run(&mut strata(&["consume", "t", "-o", "yesterday"])).0, 2);
    assert_eq!(run(&mut strata(&["produce", "t", "-m", "x", "--count", "3"])).0, 2);
    assert_eq!(run(&mut strata(&["topic", "create", "bad name"])).0, 2);
}

#[test]
fn every_command_has_help_with_examples() {
    let commands: [&[&str]; 18] = [
        &[],
        &["start"],
        &["namesrv"],
        &["broker"],
        &["produce"],
        &["consume"],
        &["config"],
        &["config", "start"],
        &["config", "namesrv"],
        &["topic", "list"],
        &["topic", "create"],
        &["topic", "update"],
        &["topic", "describe"],
        &["topic", "delete"],
        &["group", "list"],
        &["group", "create"],
        &["group", "update"],
        &["group", "describe"],
    ];
    for command in commands {
        let (code, out, _) = run(&mut strata(&[command, &["--help"]].concat()));
        assert_eq!(code, 0);
        assert!(out.contains("Example"), "{command:?}: {out}");
    }
    let (_, out, _) = run(&mut strata(&["--help"]));
    assert!(out.contains("3  a name server or broker cannot be reached"));
}
