//! SQL of a running site: what statements may not do to it, and the lives of messages whose clients tell nothing.
#![cfg(feature = "sql")]
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test's helpers start processes and fail by panicking"
)]

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use common::{Site, WAIT};
use serde_json::{Value, json};

/// Where a site answers SQL.
fn address(site: &Site) -> String {
    site.server.fact("SQL").trim_start_matches("http://").trim_end_matches("/api/v1/sql").to_owned()
}

/// Asks over HTTP and leaves the answer unread.
fn asked(site: &Site, statement: &str) -> TcpStream {
    let address = address(site);
    let mut stream = TcpStream::connect(&address).unwrap();
    stream.set_read_timeout(Some(3 * WAIT)).unwrap();
    let length = statement.len();
    write!(stream, "POST /api/v1/sql HTTP/1.1\r\nHost: {address}\r\nContent-Length: {length}\r\n\r\n{statement}")
        .unwrap();
    stream
}

/// The status of an answer and all that came of it, be it cut off or not.
fn answered(site: &Site, statement: &str) -> (u16, String) {
    let (mut stream, mut bytes) = (asked(site, statement), Vec::new());
    let _ = stream.read_to_end(&mut bytes);
    let text = String::from_utf8(bytes).unwrap();
    let status = text.split_whitespace().nth(1).unwrap_or("0").parse().unwrap();
    (status, text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
}

/// What a client of PostgreSQL is told that prepares a statement: the kinds of the messages behind its start.
fn prepared(site: &Site, statement: &str) -> String {
    let told = site.server.announced.lines().find_map(|line| line.split_once(" -p ")).unwrap().1;
    let port: u16 = told.split_whitespace().next().unwrap().parse().unwrap();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(3 * WAIT)).unwrap();
    let mut send = |kind: &[u8], body: &[u8]| {
        let length = u32::try_from(body.len() + 4).unwrap();
        stream.write_all(&[kind, &length.to_be_bytes(), body].concat()).unwrap();
    };
    send(b"", b"\x00\x03\x00\x00user\0anyone\0database\0strata\0\0");
    send(b"P", &[b"\0", statement.as_bytes(), b"\0\0\0"].concat());
    send(b"S", b"");
    send(b"X", b"");
    let mut told = String::new();
    let mut head = [0; 5];
    while stream.read_exact(&mut head).is_ok() {
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
        std::io::copy(&mut (&mut stream).take(u64::from(length) - 4), &mut std::io::sink()).unwrap();
        told.push(char::from(head[0]));
    }
    // The first one says that the session has begun.
    told.split_once('Z').unwrap().1.to_owned()
}

/// The rows of a statement that is answered whole.
fn rows(site: &Site, statement: &str) -> Vec<Value> {
    let lines = site.ok(&["sql", "--sql", &address(site), "--output", "json", statement]);
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A figure that has no labels of its own.
fn figure(site: &Site, name: &str) -> i64 {
    let pages = site.server.fact("pages");
    let (_, text) = common::page(pages.trim_start_matches("http://").trim_end_matches("/metrics"), "/metrics");
    let line = text.lines().find(|line| line.starts_with(&format!("{name}{{"))).unwrap();
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

/// What a look gives when it gives something.
fn eventually<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < WAIT, "what was waited for did not come");
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn deep_statements_are_refused_and_the_broker_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path());
    for (deep, tokens) in
        [("1+", 1), ("'a'||", 1), ("NOT ", 1), ("(", 1), ("queue_offset=0 OR ", 2), ("- ", 1), ("1 UNION SELECT ", 2)]
    {
        let text = format!("SELECT {}1 FROM messages", deep.repeat(4_000));
        let (status, told) = answered(&site, &text);
        assert!(status == 400 && told.contains("strata_error"), "{deep}: {status} {told}");
        assert!(prepared(&site, &text).starts_with('E'), "{deep}");
        // Up to the bound of 2,000 they are planned, however they nest, or refused for what they say.
        let text = format!("SELECT {}1 FROM messages", deep.repeat(1_990 / tokens));
        assert!(matches!(answered(&site, &text).0, 200 | 400), "{deep}");
        assert!(prepared(&site, &text).starts_with(['1', 'E']), "{deep}");
    }
    // For PostgreSQL a comment ends there.
    assert!(prepared(&site, &format!("SELECT --\r{}1", "1+".repeat(30_000))).starts_with('E'));
    let long = format!("SELECT '{}'", "x".repeat(100_000));
    let (status, told) = answered(&site, &long);
    assert!(status == 400 && told.contains("100009 bytes"), "{status} {told}");
    let (status, told) = answered(&site, "SELECT topics.topic, queues.topic FROM topics, queues");
    assert!(status == 400 && told.contains("two columns"), "{status} {told}");
    assert_eq!(rows(&site, "SELECT 1 AS one"), [serde_json::json!({ "one": 1 })]);
}

#[test]
fn what_fails_late_says_so_in_its_last_line() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path());
    site.ok(&["topic", "create", "numbers", "--queues", "1"]);
    site.ok(&["produce", "numbers", "--count", "60000", "--size", "16"]);
    let (status, told) =
        answered(&site, "SELECT 1 / (queue_offset - queue_offset) FROM messages WHERE topic = 'numbers'");
    assert!(status == 500 && told.contains("strata_error"), "{status} {told}");
    // Several batches are under way beside each other: the one that fails is far behind the first.
    let late = "SELECT queue_offset, 1 / (queue_offset - 59000) AS x FROM messages WHERE topic = 'numbers'";
    let (status, told) = answered(&site, late);
    assert_eq!(status, 200);
    assert!(told.contains("{\"queue_offset\":0,"), "rows come first");
    // Behind it is the end of a chunk of the answer, and no end of the answer.
    let last = told.trim_end().lines().last().unwrap();
    assert!(!told.ends_with("0\r\n\r\n") && last.contains("strata_error") && last.contains("ivide by zero"), "{last}");
}

#[test]
fn bodies_that_are_json_are_read_by_their_members() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path());
    let bodies = [
        r#"{"amount": 12.5, "customer": {"city": "Lima", "tags": ["a", "b"]}, "paid": true, "n": 7}"#,
        r#"{"amount": "12.5", "customer": "Lima"}"#,
        "no JSON",
    ];
    for body in bodies {
        site.ok(&["produce", "orders", "-m", body]);
    }
    let of_each = "SELECT body_text->'customer'->>'city' AS city, body_text->'customer'->'tags' AS tags, \
                   body_text->'customer'->'tags'->>1 AS tag, body_text->>'amount' AS amount, \
                   json_get_float(body_text, 'amount') AS number, (body_text->>'n')::int * 2 AS n, \
                   json_get_bool(body_text, 'paid') AS paid, body_text->'customer' AS customer, \
                   json_length(body_text, 'customer', 'tags') AS tags_length \
                   FROM messages WHERE topic = 'orders' ORDER BY log_offset";
    let found = rows(&site, of_each);
    let nothing = json!(null);
    let object = r#"{"city": "Lima", "tags": ["a", "b"]}"#;
    assert_eq!(
        found,
        [
            json!({"city": "Lima", "tags": r#"["a", "b"]"#, "tag": "b", "amount": "12.5", "number": 12.5, "n": 14,
                   "paid": true, "customer": object, "tags_length": 2}),
            json!({"city": nothing, "tags": nothing, "tag": nothing, "amount": "12.5", "number": 12.5, "n": nothing,
                   "paid": nothing, "customer": "\"Lima\"", "tags_length": nothing}),
            json!({"city": nothing, "tags": nothing, "tag": nothing, "amount": nothing, "number": nothing, "n": nothing,
                   "paid": nothing, "customer": nothing, "tags_length": nothing}),
        ]
    );
    let lima = "SELECT count(*) AS n FROM messages WHERE topic = 'orders' AND body_text->'customer'->>'city' = 'Lima'";
    assert_eq!(rows(&site, lima), [json!({ "n": 1 })]);
    let refused = answered(&site, "SELECT json_get(body_text, 'amount') FROM messages");
    assert_eq!(refused.0, 400, "it would be of another type in each row: {refused:?}");
}

#[test]
fn a_statement_of_many_tables_does_not_wait_for_itself() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path());
    site.ok(&["produce", "many", "--count", "60000", "--size", "16"]);
    // Each table is read in two parts, of many batches; all of them begin before the first one is read to its end.
    let joins: String =
        (1..9).map(|nth| format!(" JOIN messages m{nth} ON m0.log_offset = m{nth}.log_offset")).collect();
    let found = rows(&site, &format!("SELECT count(*) AS n FROM messages m0{joins} WHERE m0.topic = 'many'"));
    assert_eq!(found, [json!({ "n": 60_000 })]);
}

#[test]
fn who_takes_no_rows_does_not_keep_others_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path());
    site.ok(&["produce", "large", "--count", "40000", "--size", "1000"]);
    let held: Vec<_> = (0..4).map(|_| asked(&site, "SELECT body FROM messages WHERE topic = 'large'")).collect();
    eventually(|| (figure(&site, "strata_query_running") == 4).then_some(()));
    let begun = Instant::now();
    assert_eq!(answered(&site, "SELECT 1 AS one").0, 200);
    let took = begun.elapsed();
    assert!(took > Duration::from_secs(20), "nothing was held up, {took:?}: the test looks at nothing");
    // Their connections are cut, so that others can connect.
    eventually(|| (figure(&site, "strata_query_running") == 0).then_some(()));
    drop(held);
}

#[test]
fn the_life_of_a_message_is_known_where_clients_tell_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path());
    let sql = address(&site);
    for (topic, records) in [("orders", "full"), ("quiet", "off"), ("sampled", "10")] {
        site.ok(&["topic", "create", topic, "--queues", "1", "--attribute", &format!("trace.records={records}")]);
        site.ok(&["produce", topic, "--count", "40", "--size", "20"]);
        site.ok(&["produce", topic, "-m", "hello", "--key", &format!("key-of-{topic}")]);
        assert_eq!(site.messages(&[topic, "-g", "audit"]).len(), 41);
    }
    let life = eventually(|| {
        let lives = site.json(&["trace", "key-of-orders", "--sql", &sql, "--output", "json"]);
        let hops = lives[0]["hops"].as_array()?.clone();
        hops.iter().any(|hop| hop["hop"] == "acknowledge").then_some(hops)
    });
    let hop = |name: &str| life.iter().find(|hop| hop["hop"] == name).unwrap_or_else(|| panic!("no {name}: {life:?}"));
    assert_eq!((&hop("deliver")["who"], &hop("acknowledge")["who"]), (&Value::from("audit"), &Value::from("audit")));
    assert_eq!(
        life.iter().filter(|hop| hop["hop"] == "receive").count(),
        1,
        "of the connection that sent it: {life:?}"
    );
    let spans = rows(
        &site,
        "SELECT s.hop, count(*) AS n FROM spans s JOIN messages m ON s.msg_id = m.msg_id WHERE m.topic = 'orders' \
         AND array_has(m.keys, 'key-of-orders') GROUP BY s.hop ORDER BY s.hop",
    );
    let hops: Vec<_> = spans.iter().map(|row| (row["hop"].as_str().unwrap(), row["n"].as_i64().unwrap())).collect();
    assert_eq!(hops, [("ack", 1), ("deliver", 1), ("receive", 1), ("store", 1)]);
    let kinds = rows(&site, "SELECT topic, kind, sum(messages) AS n FROM traces GROUP BY 1, 2 ORDER BY 1, 2");
    let sum = |topic: &str, kind: &str| {
        kinds.iter().find(|row| row["topic"] == topic && row["kind"] == kind).map(|row| row["n"].as_i64().unwrap())
    };
    for kind in ["BrokerStore", "BrokerDeliver", "BrokerAck"] {
        assert_eq!((sum("orders", kind), sum("quiet", kind)), (Some(41), None), "{kind}: {kinds:?}");
    }
    // Of sends one by one each has an offset of its own; the pull had them all.
    assert!(sum("sampled", "BrokerDeliver").is_some(), "{kinds:?}");
    assert!(sum("sampled", "BrokerStore").unwrap() < 41, "{kinds:?}");
    assert!(figure(&site, "strata_trace_records_total") > 0);
}
