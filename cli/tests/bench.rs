//! `strata bench` against a running broker, which must be found without fault, and against brokers that lie,
//! which must be caught.
#![expect(clippy::unwrap_used, reason = "a liar's thread fails by panicking")]

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use bytes::{Bytes, BytesMut};
use common::{Site, run, strata};
use serde_json::Value;
use strata_protocol::command::{Command, FLAG_RESPONSE};
use strata_protocol::frame::{self, Check};

/// Runs a measuring command with a JSON document; a failure still gives one.
fn bench(namesrv: &str, args: &[&str]) -> (i32, Value, String) {
    let args = [&["bench"], args, &["--output", "json"]].concat();
    let (code, out, error) = run(strata(&args).env("NAMESRV_ADDR", namesrv));
    let report = serde_json::from_str(&out).unwrap_or(Value::Null);
    (code, report, error)
}

#[test]
fn a_broker_is_measured_and_found_without_fault() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path());
    let id = site.server.id().to_string();
    let measured = |args: &[&str]| {
        let (code, report, error) = bench(&site.namesrv, args);
        assert_eq!((code, error.as_str()), (0, ""), "{args:?} {report}");
        assert_eq!(report["faults"]["count"], 0, "{report}");
        report
    };
    let shapes: [&[&str]; 5] = [
        &["--in-flight", "64"],
        &["--connections", "5", "--in-flight", "1", "--header", "rocketmq", "--size", "100,2000", "--properties", "3"],
        &["--code", "10", "--header", "rocketmq", "--size", "64-300", "--properties", "none"],
        &["--rate", "4000", "--connections", "2", "--properties", "keyed"],
        &["--topic", "many", "--topics", "12", "--queues", "2"],
    ];
    let mut cpu = 0.0;
    for shape in shapes {
        let report = measured(&[&["produce", "--messages", "2000", "--broker-pid", &id], shape].concat());
        assert_eq!(report["messages"], 2000, "{report}");
        assert_eq!(report["answers"]["Success (0)"], 2000, "{report}");
        // The system counts in steps of 10 ms, so that a short run may have none.
        cpu += report["figures"]["brokerCpuUs"]["median"].as_f64().unwrap();
        assert_eq!(report["latencyUs"]["send to acknowledgement"]["count"], 2000, "{report}");
    }
    assert!(cpu > 0.0, "none of the runs saw the broker's CPU time");
    let read = measured(&["consume", "--once", "--groups", "2", "--connections", "2", "--duration", "60"]);
    assert_eq!((&read["messages"], &read["counts"]["foreign"]), (&16_000.into(), &0.into()), "{read}");
    let many =
        measured(&["consume", "--topic", "many", "--topics", "12", "--messages", "4000", "--header", "rocketmq"]);
    assert!(many["messages"].as_u64().unwrap() >= 4_000 && many["counts"]["passes"].as_u64().unwrap() >= 12, "{many}");
    let both = measured(&["latency", "--rate", "500", "--messages", "400", "--topic", "late", "--queues", "2"]);
    assert_eq!((&both["messages"], &both["counts"]["delivered"]), (&400.into(), &400.into()), "{both}");
    assert_eq!(both["latencyUs"]["send to delivery"]["count"], 400, "{both}");
    let routes = measured(&["route", "--messages", "3000", "--topic", "many", "--topics", "12", "--server-pid", &id]);
    assert!(routes["counts"]["routes"].as_u64().unwrap() >= 3_000, "{routes}");
}

#[test]
fn what_is_missing_or_wrong_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path());
    let (code, _, error) = bench(&site.namesrv, &["consume", "--topic", "nothing"]);
    assert_eq!((code, error.as_str()), (4, "error: there is no topic nothing; fill it with: strata bench produce\n"));
    site.ok(&["topic", "create", "narrow", "--queues", "2"]);
    let (code, _, error) = bench(&site.namesrv, &["produce", "--topic", "narrow"]);
    assert_eq!(code, 2);
    assert!(error.contains("the topic narrow has 2 queues; give --queues 2, or another --topic"), "{error}");
    let (code, _, error) = bench(&site.namesrv, &["route", "--messages", "10", "--topic", "nothing"]);
    assert_eq!(code, 1);
    assert!(error.contains("the broker is at fault: topic number 0: TopicNotExist (17)"), "{error}");
    let args = ["produce", "--topic", "narrow", "--queues", "2", "--messages", "3", "--size", "5000000"];
    let (code, report, error) = bench(&site.namesrv, &args);
    assert_eq!(code, 5, "{error}");
    assert!(error.contains("the broker answered 3 sends with MessageIllegal (13)"), "{error}");
    assert_eq!(report["latencyUs"]["send to refusal"]["count"], 3, "{report}");
    let (code, _, error) = run(&mut strata(&["bench", "produce", "--broker", "127.0.0.1:1"]));
    assert_eq!(code, 3, "{error}");
}

/// Answers requests on one thread a connection: all topics exist, are empty, and have one queue. `place` turns
/// the number of a send into the offset that it is told; no answer without one.
fn liar(place: fn(i64) -> Option<i64>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        let mut under_way = Vec::new();
        for socket in listener.incoming().map_while(Result::ok) {
            under_way.push(std::thread::spawn(move || converse(socket, place)));
        }
    });
    address
}

fn converse(mut socket: TcpStream, place: fn(i64) -> Option<i64>) {
    let (mut arrived, mut piece, mut sends) = (BytesMut::new(), [0; 65_536], 0);
    while let Ok(bytes @ 1..) = socket.read(&mut piece) {
        arrived.extend_from_slice(&piece[..bytes]);
        let mut out = BytesMut::new();
        while let Ok(Check::Complete { bytes }) = frame::check(&arrived) {
            let request = Command::decode(arrived.split_to(bytes).freeze()).unwrap();
            let mut answer = Command { opaque: request.opaque, flag: FLAG_RESPONSE, ..Command::request(0) };
            match request.code {
                310 => {
                    let Some(offset) = place(sends) else {
                        sends += 1;
                        continue;
                    };
                    answer.fields.push("msgId", "7F00000100002A9F0000000000000000");
                    answer.fields.push("queueId", "0");
                    answer.fields.push("queueOffset", &offset.to_string());
                    sends += 1;
                }
                351 => {
                    let config = r#"{"topicName":"t","readQueueNums":1,"writeQueueNums":1,"perm":6}"#;
                    answer.body = Bytes::from_static(config.as_bytes());
                }
                // The bench asks this before it sends, on another connection, and again afterwards.
                _ => answer.fields.push("offset", "0"),
            }
            answer.encode(&mut out);
        }
        if socket.write_all(&out).is_err() {
            break;
        }
    }
}

#[test]
fn a_broker_that_lies_is_caught() {
    let caught = |in_flight: &str, place: fn(i64) -> Option<i64>, words: &str| {
        let address = liar(place);
        let args = ["produce", "--broker", &address, "--queues", "1", "--messages", "20", "--in-flight", in_flight];
        let (code, report, error) = bench("", &args);
        assert_eq!(code, 1, "{words}: {error}");
        assert!(error.contains("the broker is at fault"), "{error}");
        let first = report["faults"]["first"].to_string();
        assert!(first.contains(words), "{first} for {words}");
    };
    caught("1", |send| Some(if send >= 10 { send + 1 } else { send }), "offset 11 leaves a gap");
    caught("4", |send| Some(if send == 7 { 6 } else { send }), "offset 6 was given before");
    caught("4", |send| Some(if send >= 10 { send + 1 } else { send }), "offset 10 was never given");
    caught("1", |send| Some([1, 0].get(send as usize).copied().unwrap_or(send)), "leaves a gap");
    // Nothing is wrong with the offsets; but none of the messages is there afterwards.
    caught("4", Some, "it ends at 0, but acknowledged was up to 20");
}
