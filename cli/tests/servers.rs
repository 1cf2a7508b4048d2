//! The servers from start to end: ready lines, pages, signals, and what keeps them from starting.

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use common::{Running, Site, WAIT, page, program, run, strata};
use strata_protocol::code::request;
use strata_protocol::command::Command;
use strata_remoting::Client;

#[test]
fn a_name_server_alone_answers_and_ends_at_sigint() {
    let folder = tempfile::tempdir().unwrap();
    let pages = ["--nsaddr-port", "0", "--nsaddr", "10.0.0.1:9876;10.0.0.2:9876"];
    let args = [&["namesrv", "--port", "0", "--listen", "127.0.0.1"][..], &pages].concat();
    let server = Running::start(folder.path(), &args);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let answer = runtime.block_on(async {
        let client = Client::connect(&server.fact("name server"), WAIT).await.unwrap();
        let mut ask = Command::request(request::GET_ROUTEINFO_BY_TOPIC);
        ask.fields.push("topic", "orders");
        client.call(ask, WAIT).await.unwrap()
    });
    assert_eq!(answer.code, 17);
    assert_eq!(answer.remark.as_deref(), Some("No topic route info in name server for the topic: orders"));
    let address = server.fact("pages").trim_start_matches("http://").trim_end_matches("/rocketmq/nsaddr").to_owned();
    assert_eq!(page(&address, "/rocketmq/nsaddr"), (200, "10.0.0.1:9876;10.0.0.2:9876".to_owned()));
    assert_eq!(page(&address, "/healthz"), (200, "ok\n".to_owned()));
    assert_eq!(page(&address, "/metrics").0, 404);
    assert_eq!(server.stop("INT").code(), Some(0));
}

#[test]
fn brokers_of_their_own_register_and_leave() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let namesrv = Running::start(path, &["namesrv", "--port", "0", "--listen", "127.0.0.1"]);
    let address = namesrv.fact("name server");
    std::fs::write(path.join("broker.conf"), "mappedFileSizeCommitLog=4194304\n").unwrap();
    let broker = |name: &str| {
        let own = ["--name", name, "--data", name, "--namesrv", address.as_str(), "--broker-port", "0"];
        let args =
            [&["broker", "-c", "broker.conf", "--listen", "127.0.0.1", "--metrics-port", "0"][..], &own].concat();
        Running::start(path, &args)
    };
    let (a, b) = (broker("broker-a"), broker("broker-b"));
    let ask = |args: &[&str]| run(strata(args).env("NAMESRV_ADDR", &address));
    let (code, out, error) = ask(&["topic", "create", "orders", "--queues", "2"]);
    assert_eq!((code, error.as_str()), (0, ""));
    assert_eq!(out, "created topic orders with 2 queues on broker-a, broker-b\n");
    let (_, out, _) = ask(&["topic", "list", "--output", "json"]);
    let rows: serde_json::Value = serde_json::from_str(&out).unwrap();
    let expected =
        serde_json::json!([{"topic": "orders", "brokers": 2, "readQueues": 4, "writeQueues": 4, "perm": "rw"}]);
    assert_eq!(rows, expected);
    let pages = a.fact("pages").trim_start_matches("http://").trim_end_matches("/metrics").to_owned();
    let (code, figures) = page(&pages, "/metrics");
    assert!(code == 200 && figures.contains("rocketmq_topic_number"), "{figures}");
    assert_eq!(page(&pages, "/readyz"), (200, "ok\n".to_owned()));
    assert_eq!(page(&pages, "/rocketmq/nsaddr"), (200, address.clone()));
    assert_eq!(b.stop("TERM").code(), Some(0));
    let (_, out, _) = ask(&["topic", "describe", "orders", "--output", "json"]);
    let description: serde_json::Value = serde_json::from_str(&out).unwrap();
    let left: Vec<&str> =
        description["brokers"].as_array().unwrap().iter().map(|b| b["broker"].as_str().unwrap()).collect();
    assert_eq!(left, ["broker-a"], "a broker that was stopped has unregistered");
    assert_eq!(a.stop("TERM").code(), Some(0));
    assert_eq!(namesrv.stop("TERM").code(), Some(0));
}

#[test]
fn messages_and_topics_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path());
    site.ok(&["topic", "create", "orders", "--queues", "3", "--attribute", "message.type=NORMAL"]);
    site.ok_with_input(&["produce", "orders", "--tag", "A"], "one\ntwo\nthree\n");
    assert_eq!(site.server.stop("TERM").code(), Some(0));
    let site = Site::start(folder.path());
    assert_eq!(site.ok(&["consume", "orders"]).lines().count(), 3);
    let description = site.json(&["topic", "describe", "orders", "--output", "json"]);
    assert_eq!(description["attributes"], serde_json::json!({"message.type": "NORMAL"}));
    assert_eq!(description["queues"].as_array().unwrap().len(), 3);
    assert_eq!(description["messages"], 3);
    assert_eq!(site.server.stop("TERM").code(), Some(0));
}

#[test]
fn a_port_in_use_is_said_and_costs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let free = |flag: &str| if flag == "--metrics-port" { vec![] } else { vec!["--metrics-port", "0"] };
    for flag in ["--namesrv-port", "--broker-port", "--metrics-port"] {
        let mut args = vec!["start", "--listen", "127.0.0.1", flag, &port];
        args.extend(free(flag));
        if flag != "--namesrv-port" {
            args.extend(["--namesrv-port", "0"]);
        }
        if flag != "--broker-port" {
            args.extend(["--broker-port", "0"]);
        }
        let (code, out, error) = run(strata(&args).current_dir(folder.path()));
        assert_eq!((code, out.as_str()), (6, ""), "{flag}: {error}");
        assert!(
            error.starts_with(&format!("error: cannot listen on 127.0.0.1:{port}: the port is in use; ")),
            "{error}"
        );
        assert!(!folder.path().join("data/broker").exists(), "no store was opened");
    }
}

#[test]
fn folders_that_cannot_be_used_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path());
    let ports = ["--broker-port", "0", "--metrics-port", "0", "--namesrv", "127.0.0.1:1"];
    let broker =
        |data: &str| run(strata(&[&["broker", "--data", data], &ports[..]].concat()).current_dir(folder.path()));
    let (code, _, error) = broker("data/broker");
    assert_eq!(code, 6);
    assert!(error.contains("error: the store folder data/broker is in use by another process"), "{error}");
    std::fs::write(folder.path().join("file"), "x").unwrap();
    let (code, _, error) = broker("file");
    assert_eq!(code, 6);
    assert!(error.contains("file") && error.lines().last().unwrap().starts_with("error: "), "{error}");
    assert_eq!(site.server.stop("TERM").code(), Some(0));
}

#[test]
fn a_flag_wins_over_the_file_for_the_data_folder() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    std::fs::write(path.join("broker.conf"), "storePathRootDir=of-the-file\nmappedFileSizeCommitLog=4194304\n")
        .unwrap();
    let ports = ["--listen", "127.0.0.1", "--namesrv-port", "0", "--broker-port", "0", "--metrics-port", "0"];
    let start = |own: &[&str]| {
        let server = Running::start(path, &[&["start", "-c", "broker.conf"], &ports[..], own].concat());
        let data = server.fact("data");
        assert_eq!(server.stop("TERM").code(), Some(0));
        data
    };
    assert_eq!(start(&["--data", "of-the-flag"]), "of-the-flag/broker");
    assert!(path.join("of-the-flag/broker/commitlog").exists() && path.join("of-the-flag/namesrv").exists());
    assert!(!path.join("of-the-file").exists());
    assert_eq!(start(&[]), "of-the-file");
}

#[test]
fn a_start_that_takes_long_is_alive_and_not_ready() {
    let folder = tempfile::tempdir().unwrap();
    // A store that takes requests and never answers.
    let store = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let ports = ["--namesrv-port", "0", "--broker-port", "0", "--sql-port", "0", "--postgres-port", "0"];
    let pages = ["--metrics-port", &port, "--cold", "s3://bucket/prefix", "--listen", "127.0.0.1"];
    let mut command = strata(&[&["start", "--data", "data"][..], &ports, &pages].concat());
    command.env("AWS_ENDPOINT", format!("http://{}", store.local_addr().unwrap())).env("AWS_ALLOW_HTTP", "true");
    command.env("AWS_ACCESS_KEY_ID", "a").env("AWS_SECRET_ACCESS_KEY", "b");
    let (mut running, lines) = Running::begin(folder.path(), command);
    // Once the store is asked, what comes next is its answer.
    let (asked, _) = store.accept().unwrap();
    let pages = format!("127.0.0.1:{port}");
    assert_eq!(page(&pages, "/healthz").0, 200);
    for starting in ["/readyz", "/metrics", "/rocketmq/nsaddr"] {
        assert_eq!(page(&pages, starting), (503, "starting or stopping\n".to_owned()), "{starting}");
    }
    running.wait_for("ready", &lines);
    assert_eq!(page(&pages, "/readyz").0, 200);
    drop(asked);
}

#[test]
fn half_a_request_of_a_page_holds_nothing_up() {
    let folder = tempfile::tempdir().unwrap();
    let server = Running::start(
        folder.path(),
        &["namesrv", "--port", "0", "--listen", "127.0.0.1", "--nsaddr-port", "0", "--data", "n"],
    );
    let address = server.fact("pages").trim_start_matches("http://").trim_end_matches("/rocketmq/nsaddr").to_owned();
    let half = || {
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.set_read_timeout(Some(WAIT)).unwrap();
        stream.write_all(b"GET /hea").unwrap();
        stream
    };
    // More than are served at once: those in the way are cut, and then the pages answer again.
    let mut halves: Vec<TcpStream> = (0..70).map(|_| half()).collect();
    assert_eq!(page(&address, "/healthz"), (200, "ok\n".to_owned()));
    assert_eq!(halves[0].read(&mut [0; 64]).unwrap(), 0, "a connection that says nothing ends");
    let kept = half();
    let status = server.stop("TERM");
    assert_eq!(status.code(), Some(0), "half a request does not keep the process");
    drop(kept);
}

#[test]
fn the_limit_of_descriptors_is_raised_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let limited = |limits: &str| {
        // Through a shell, because limits are inherited.
        let mut command = program("sh");
        let binary = strata(&[]).get_program().to_owned();
        command.arg("-c").arg(format!("{limits} && exec \"$@\"")).arg("sh").arg(binary);
        command.args(["namesrv", "--port", "0", "--listen", "127.0.0.1", "--data", "n"]);
        command
    };
    let told = folder.path().join("told");
    let mut command = limited("ulimit -S -n 256 && ulimit -H -n 4096");
    command.stderr(std::fs::File::create(&told).unwrap());
    let server = Running::start_as(folder.path(), command);
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.id())).unwrap();
    let files: Vec<&str> =
        limits.lines().find(|line| line.starts_with("Max open files")).unwrap().split_whitespace().collect();
    assert_eq!(files[3..5], ["4096", "4096"], "{limits}");
    assert_eq!(server.stop("TERM").code(), Some(0));
    let told = std::fs::read_to_string(told).unwrap();
    assert!(told.contains("only 4096 file descriptors are allowed, so that each port takes at most 2048"), "{told}");
}
