//! The same SQL by engines of others over the objects that are listed: DuckDB in a folder, and Spark, as one process,
//! in a copy of it in S3. What they answer is what Strata answers, row by row, by the views of `deploy/sql/` as they
//! are.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use serde_json::Value;
use strata_protocol::batch::{InnerMessage, append};
use strata_protocol::code::{ResponseCode, request};
use strata_protocol::frame::HeaderCodec;
use strata_protocol::sysflag::COMPRESSED;
use strata_tests::history::Queue;
use strata_tests::site::Setup;
use strata_tests::talk::{Draft, Talk};
use tokio::time::{Instant, sleep};

use crate::s3::{BUCKET, S3, script};
use crate::statements::{COUNT, DIFFERENT, PLANS, SAME};
use crate::{Ground, retention, roll_and_trim, sql, start, strata};

/// When the first message was born, ms: a time that no test runs at.
const BORN_MS: i64 = 1_760_000_000_000;

/// Messages of the topics.
const ORDERS: usize = 2_400;
const PAYMENTS: usize = 600;
const PACKED: usize = 60;
const DELAYED: i64 = 10;
/// Of a topic that is deleted, and of one that expires.
const GONE: usize = 100;
const EXPIRED: usize = 80;
/// Of the topic that has the deleted one's name.
const ANEW: usize = 30;

/// Bytes and messages that move all others out of the log.
const FILLER_BYTES: usize = 40_000;
const FILLERS: usize = 250;

/// How long the delayed messages may take.
const DELIVERED_MAX: Duration = Duration::from_secs(30);

/// A message on its way.
struct Letter<'a> {
    topic: &'a str,
    queue_id: i32,
    properties: String,
    body: Vec<u8>,
    sys_flag: i32,
    nth: usize,
}

impl<'a> Letter<'a> {
    fn new(topic: &'a str, properties: impl Into<String>, body: impl Into<Vec<u8>>) -> Self {
        Self { topic, queue_id: 0, properties: properties.into(), body: body.into(), sys_flag: 0, nth: 0 }
    }

    async fn send(self, talk: &Talk) -> Result<()> {
        let (born, flag) = (BORN_MS + i64::try_from(self.nth)? * 997, self.nth % 3);
        let (born, flag) = (born.to_string(), flag.to_string());
        let (queue_id, sys_flag) = (self.queue_id.to_string(), self.sys_flag.to_string());
        let fields = [
            ("producerGroup", "engines"),
            ("topic", self.topic),
            ("defaultTopic", "TBW102"),
            ("defaultTopicQueueNums", "4"),
            ("queueId", &queue_id),
            ("sysFlag", &sys_flag),
            ("bornTimestamp", &born),
            ("flag", &flag),
            ("properties", &self.properties),
        ];
        let answer = talk.ask_raw(request::SEND_MESSAGE, &fields, self.body).await?;
        let (topic, nth) = (self.topic, self.nth);
        ensure!(ResponseCode::of(answer.code) == Some(ResponseCode::Success), "{topic} {nth}: {:?}", answer.remark);
        Ok(())
    }
}

/// A properties text; the values are as they are written here.
fn properties(pairs: &[(&str, &str)]) -> String {
    pairs.iter().map(|(name, value)| format!("{name}\u{1}{value}\u{2}")).collect()
}

/// What lies in three rolls at least, with other columns each: topics of all kinds, one that was deleted and begun
/// anew, and one that has expired.
async fn fill(setup: &Setup, talk: &Talk) -> Result<()> {
    let namesrv = format!("127.0.0.1:{}", setup.ports.namesrv);
    let roll = || strata(setup, None, &["tier", "roll", "--now", "--namesrv", &namesrv]);
    orders(talk).await?;
    alike(talk, "Gone", GONE, "of the first life").await?;
    alike(talk, "Brief", EXPIRED, "not for long").await?;
    roll()?;
    payments(talk).await?;
    packed(talk).await?;
    odd(talk).await?;
    whole(talk).await?;
    delayed(talk).await?;
    roll()?;
    strata(setup, None, &["topic", "delete", "Gone", "--namesrv", &namesrv])?;
    alike(talk, "Gone", ANEW, "of the second life").await?;
    for _ in 0..FILLERS {
        Letter::new("Filler", "", vec![b'f'; FILLER_BYTES]).send(talk).await?;
    }
    roll_and_trim(setup, None).await?;
    retention::keep(setup, "Brief", "1s")?;
    sleep(retention::PAST).await;
    retention::tidy(setup, None)?;
    Ok(())
}

async fn alike(talk: &Talk, topic: &str, count: usize, body: &str) -> Result<()> {
    for nth in 0..count {
        Letter::new(topic, properties(&[("UNIQ_KEY", &format!("{topic}-{nth}"))]), body).send(talk).await?;
    }
    Ok(())
}

async fn orders(talk: &Talk) -> Result<()> {
    for nth in 0..ORDERS {
        let id = format!("{nth:032X}");
        let (keys, tag) = (format!("order-{nth} customer-{}", nth % 40), format!("Tag{}", nth * nth % 7));
        let color = ["red", "blue", "teal"][nth % 3];
        let mut pairs = vec![("UNIQ_KEY", id.as_str()), ("KEYS", &keys), ("color", color), ("WAIT", "true")];
        if nth % 11 != 0 {
            pairs.push(("TAGS", &tag));
        }
        let body = format!("{{\"id\":{nth},\"total\":{},\"text\":\"{}\"}}", nth * 7 % 500, "x".repeat(nth * 13 % 400));
        let queue_id = i32::try_from(nth % 3)?;
        Letter { queue_id, nth, ..Letter::new("Orders", properties(&pairs), body) }.send(talk).await?;
    }
    Ok(())
}

/// Each of an order. `Color` is another property than `color`.
async fn payments(talk: &Talk) -> Result<()> {
    for nth in 0..PAYMENTS {
        let (id, order) = (format!("pay-{nth}"), format!("{:032X}", nth * 3));
        let amount = (nth * 10).to_string();
        let quoted = ("it's a \\", "name that takes quoting");
        let pairs = [("UNIQ_KEY", id.as_str()), ("order", &order), ("amount", &amount), ("Color", "RED"), quoted];
        Letter { nth, ..Letter::new("Payments", properties(&pairs), format!("paid {nth}")) }.send(talk).await?;
    }
    Ok(())
}

/// Bodies that clients compressed, by each of the ways that RocketMQ has.
async fn packed(talk: &Talk) -> Result<()> {
    for nth in 0..PACKED {
        let body = if nth % 10 == 9 { vec![0xFE; 500] } else { format!("packed body {nth}, ").repeat(30).into_bytes() };
        let (kind, body) = match nth % 4 {
            0 => (0, zlib(&body)?),
            1 => (0x300, zlib(&body)?),
            2 => (0x100, lz4(&body)?),
            _ => (0x200, zstd::encode_all(body.as_slice(), 3)?),
        };
        let text = properties(&[("UNIQ_KEY", &format!("packed-{nth}")), ("TAGS", "packed")]);
        Letter { sys_flag: COMPRESSED | kind, nth, ..Letter::new("Packed", text, body) }.send(talk).await?;
    }
    Ok(())
}

fn zlib(body: &[u8]) -> Result<Vec<u8>> {
    let mut out = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    out.write_all(body)?;
    Ok(out.finish()?)
}

fn lz4(body: &[u8]) -> Result<Vec<u8>> {
    let mut out = lz4_flex::frame::FrameEncoder::new(Vec::new());
    out.write_all(body)?;
    Ok(out.finish()?)
}

/// What is allowed and seldom, and a batch with an empty body.
async fn odd(talk: &Talk) -> Result<()> {
    let letters: [(&str, &[u8]); 9] = [
        ("UNIQ_KEY\u{1}odd-bytes\u{2}", b"\xff\xfe no text"),
        ("UNIQ_KEY\u{1}odd-zero\u{2}", b"text with \0 in it"),
        ("UNIQ_KEY\u{1}odd-mark\u{2}", "text with \u{fffd} in it".as_bytes()),
        ("UNIQ_KEY\u{1}odd-twice\u{2}x\u{1}one\u{2}x\u{1}two\u{2}", b"twice"),
        ("UNIQ_KEY\u{1}odd-emptied\u{2}x\u{1}one\u{2}x\u{1}\u{2}", b"the last one is empty"),
        ("UNIQ_KEY\u{1}odd-blanks\u{2}KEYS\u{1}  a   b \u{2}", b"blanks"),
        ("UNIQ_KEY\u{1}odd-empty\u{2}TAGS\u{1}\u{2}KEYS\u{1}\u{2}color\u{1}\u{2}", b"empty values"),
        (
            "UNIQ_KEY\u{1}odd-'quoted'\u{2}gr\u{f6}\u{df}e\u{1}\u{fc}ber \u{6570} \u{1f980}\u{2}",
            "\u{6570}\u{1f980}".as_bytes(),
        ),
        ("TAGS\u{1}without an id\u{2}", b"the broker gives one"),
    ];
    for (text, body) in letters {
        Letter::new("Odd", text, body).send(talk).await?;
    }
    batch(talk, "Odd", &[(b"UNIQ_KEY\x01batch-1\x02TAGS\x01b\x02", b"first"), (b"UNIQ_KEY\x01batch-2\x02", b"")]).await
}

/// Messages whose records are kept whole.
async fn whole(talk: &Talk) -> Result<()> {
    let texts = [
        "UNIQ_KEY\u{1}whole-1\u{2}TAGS\u{1}first\u{2}TAGS\u{1}second\u{2}y\u{1}z\u{2}",
        "UNIQ_KEY\u{1}whole-2\u{2}amount\u{1}1\u{2}amount\u{1}2\u{2}KEYS\u{1}k l\u{2}",
        "UNIQ_KEY\u{1}whole-3\u{2}y\u{1}z\u{2}no separator\u{2}\u{1}no name\u{2}",
        "UNIQ_KEY\u{1}whole-4\u{2}y\u{1}two\u{1}separators\u{2}",
    ];
    for text in texts {
        Letter::new("Whole", text, "kept whole").send(talk).await?;
    }
    batch(talk, "Whole", &[(b"UNIQ_KEY\x01whole-bad\x02bad\x01\xff\xfe\x02good\x01g\x02empty\x01\x02", b"no text")])
        .await
}

async fn batch(talk: &Talk, topic: &str, messages: &[(&[u8], &[u8])]) -> Result<()> {
    let mut all = Vec::new();
    for (properties, body) in messages {
        append(&mut all, &InnerMessage { flag: 5, body, properties })?;
    }
    let queue = Queue::new(topic, 0);
    let draft = Draft { batch: true, ..Draft::new(&queue, "", Bytes::from(all)) };
    let answer = talk.send(&draft).await?;
    ensure!(ResponseCode::of(answer.code) == Some(ResponseCode::Success), "a batch: {}", answer.remark);
    Ok(())
}

async fn delayed(talk: &Talk) -> Result<()> {
    for nth in 0..DELAYED {
        let text = properties(&[("UNIQ_KEY", &format!("later-{nth}")), ("DELAY", "1")]);
        Letter::new("Later", text, "a second later").send(talk).await?;
    }
    let (queue, deadline) = (Queue::new("Later", 0), Instant::now() + DELIVERED_MAX);
    while talk.range(&queue).await?.1 < DELAYED {
        ensure!(Instant::now() < deadline, "delayed messages did not come in {DELIVERED_MAX:?}");
        sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// What an engine answers to statements, as `tests/tier/engines.py` prints it: the rows of each. The listing may be one
/// of S3.
fn asked_of(engine: &str, listing: &Path, s3: Option<&S3>, statements: &[&str]) -> Result<Vec<Vec<Value>>> {
    let file = listing.with_extension(format!("{engine}.statements.json"));
    std::fs::write(&file, serde_json::to_vec(statements)?)?;
    let mut command = script("engines.py")?;
    command.arg(engine).arg(listing).arg(&file).current_dir(listing.parent().context("no folder")?);
    command.env("TZ", "UTC").env("PYTHONDONTWRITEBYTECODE", "1").envs(s3.into_iter().flat_map(S3::environment));
    let output = command.output().with_context(|| format!("cannot run {engine}"))?;
    ensure!(output.status.success(), "{engine}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).with_context(|| format!("the answer of {engine} is no JSON"))
}

fn asked_of_strata(setup: &Setup, statement: &str) -> Result<Vec<Value>> {
    let lines = sql::sql(setup, statement)?;
    lines.lines().map(|line| serde_json::from_str(line).context("a row is no JSON")).collect()
}

/// Whether two values say the same: 1 is 1.0, and the order of a map's entries does not count.
fn is_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            one == other || one.as_f64().zip(other.as_f64()).is_some_and(|(one, other)| one.total_cmp(&other).is_eq())
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| is_same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(name, value)| other.get(name).is_some_and(|other| is_same(value, other)))
        }
        _ => one == other,
    }
}

fn compare(engine: &str, statement: &str, strata: &[Value], theirs: &[Value]) -> Result<()> {
    for (nth, (ours, theirs)) in strata.iter().zip(theirs).enumerate() {
        ensure!(is_same(ours, theirs), "{statement}\nrow {nth} of Strata is {ours}\nand of {engine} {theirs}");
    }
    let (rows, other) = (strata.len(), theirs.len());
    ensure!(rows == other, "{statement}\nhas {rows} rows of Strata and {other} of {engine}");
    Ok(())
}

/// The number in the only row of a statement that counts.
fn counted(rows: &[Value]) -> Result<u64> {
    rows.first().and_then(|row| row.get("n")).and_then(Value::as_u64).with_context(|| format!("no count: {rows:?}"))
}

/// Lists a tier into a file.
fn list(setup: &Setup, s3: Option<&S3>, url: &str, file: &Path) -> Result<Value> {
    let text = strata(setup, s3, &["tier", "ls", "--url", url, "--output", "json"])?;
    std::fs::write(file, &text)?;
    serde_json::from_str(&text).context("the listing is no JSON")
}

/// Holds that there is something to hide: rows of a topic that was deleted, and of one that expired, in objects that
/// count.
fn hides(listing: &Value, seen: u64) -> Result<u64> {
    let floors = listing.get("floors").and_then(Value::as_array).context("the listing tells no floors")?;
    let topics: Vec<&str> = floors.iter().filter_map(|floor| floor.get("topic")?.as_str()).collect();
    ensure!(topics == ["Brief", "Gone"], "floors of {topics:?}");
    let rows = listing.get("messages").and_then(Value::as_u64).unwrap_or(0);
    let hidden = (GONE + EXPIRED) as u64;
    ensure!(rows == seen + hidden, "the objects have {rows} rows, {seen} are seen, {hidden} are gone");
    Ok(hidden)
}

pub(crate) async fn engines(ground: &mut Ground) -> Result<String> {
    let cold = ground.folder.join("engines-cold");
    let url = format!("file://{}", cold.display());
    let mut setup = ground.setup("engines", &url)?;
    // Its own records would be messages that nobody sent here.
    setup.settings.push(String::from("traceRecords=off"));
    let site = start(&setup, None).await?;
    let talk = Talk::connect(setup.ports.broker, HeaderCodec::Json).await?;
    fill(&setup, &talk).await?;
    let (file, file_s3) = (setup.log.with_file_name("listing.json"), setup.log.with_file_name("listing-s3.json"));
    let listing = list(&setup, None, &url, &file)?;
    let s3 = S3::start(&ground.folder.join("engines-s3.log")).await?;
    copy(&cold, &s3)?;
    list(&setup, Some(&s3), &format!("s3://{BUCKET}/copied"), &file_s3)?;

    let ours = SAME.iter().map(|statement| asked_of_strata(&setup, statement)).collect::<Result<Vec<_>>>()?;
    for (statement, rows) in SAME.iter().zip(&ours) {
        ensure!(!rows.is_empty(), "{statement} gives nothing");
    }
    let hidden = hides(&listing, counted(&asked_of_strata(&setup, COUNT)?)?)?;
    let duckdb = judge("duckdb", &setup, (&file, None), &ours)?;
    packed_alone(&file)?;
    let spark = judge("spark", &setup, (&file_s3, Some(&s3)), &ours)?;
    cut(&setup, &listing)?;
    seam(&setup, &url, &listing).await?;
    ensure!(site.stop().await?.success(), "the broker did not end well");
    let (statements, rows) = (SAME.len(), ours.iter().map(Vec::len).sum::<usize>());
    let took = format!("DuckDB {duckdb:.1} s, Spark {spark:.1} s");
    Ok(format!("{statements} statements, {rows} rows, the same three times; {hidden} messages hidden; {took}"))
}

/// Copies a tier's folder into the bucket.
fn copy(cold: &Path, s3: &S3) -> Result<()> {
    let mut command = script("to_bucket.py")?;
    let output = command.arg(cold).args([BUCKET, "copied"]).envs(s3.environment()).output().context("cannot copy")?;
    ensure!(output.status.success(), "copying: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Asks an engine everything, and holds its answers against Strata's. Gives the seconds it took.
fn judge(engine: &str, setup: &Setup, (listing, s3): (&Path, Option<&S3>), ours: &[Vec<Value>]) -> Result<f32> {
    let began = Instant::now();
    let statements: Vec<&str> = SAME.iter().chain(DIFFERENT.iter().map(|(statement, ..)| statement)).copied().collect();
    let (_, plan, pushed, unread) = PLANS.iter().find(|(name, ..)| *name == engine).context("no plan is asked for")?;
    let statements: Vec<&str> = statements.into_iter().chain([*plan]).collect();
    let answers = asked_of(engine, listing, s3, &statements)?;
    let took = began.elapsed().as_secs_f32();
    ensure!(answers.len() == statements.len(), "{engine} answers {} statements", answers.len());
    let plan = answers.last().and_then(|rows| rows.first()).context("no plan")?.to_string();
    for part in *pushed {
        ensure!(plan.contains(part), "{engine} does not look for {part} in what objects say of themselves: {plan}");
    }
    ensure!(!plan.contains(unread), "{engine} reads {unread}: {plan}");
    for ((statement, ours), theirs) in SAME.iter().zip(ours).zip(&answers) {
        compare(engine, statement, ours, theirs)?;
    }
    for ((statement, of_strata, of_others), theirs) in DIFFERENT.iter().zip(answers.iter().skip(SAME.len())) {
        let (ours, theirs) = (counted(&asked_of_strata(setup, statement)?)?, counted(theirs)?);
        ensure!((ours, theirs) == (*of_strata, *of_others), "{statement}: {ours} of Strata, {theirs} of {engine}");
    }
    Ok(took)
}

/// Without Python a statement that needs no compressed body is answered, and one that does is not answered wrongly.
fn packed_alone(listing: &Path) -> Result<()> {
    asked_of("duckdb-plain", listing, None, &["SELECT body_text FROM messages WHERE topic = 'Payments'"])?;
    for column in ["body", "body_text"] {
        let statement = format!("SELECT {column} FROM messages WHERE topic = 'Packed'");
        let refused =
            asked_of("duckdb-plain", listing, None, &[&statement]).err().context("a packed body is answered")?;
        ensure!(format!("{refused:#}").contains("compressed"), "a packed body is answered with {refused:#}");
    }
    Ok(())
}

/// A listing may be cut to some of its rolls, by their times.
fn cut(setup: &Setup, listing: &Value) -> Result<()> {
    let mut listing = listing.clone();
    let rolls = listing.get_mut("rolls").and_then(Value::as_array_mut).context("no rolls")?;
    ensure!(rolls.len() > 1, "there is one roll");
    rolls.truncate(1);
    let last = rolls.first().and_then(|roll| roll.get("lastStoredMs")?.as_i64()).context("a roll without its time")?;
    let file = setup.log.with_file_name("listing-cut.json");
    std::fs::write(&file, serde_json::to_vec(&listing)?)?;
    let theirs = asked_of("duckdb", &file, None, &[COUNT])?;
    let theirs = counted(theirs.first().context("no answer")?)?;
    let micros = last * 1_000;
    let ours = format!("{COUNT} WHERE store_time <= to_timestamp_micros({micros})");
    let ours = counted(&asked_of_strata(setup, &ours)?)?;
    ensure!(ours == theirs && ours > 0, "of the first roll DuckDB sees {theirs} messages, Strata {ours}");
    Ok(())
}

/// What was sent behind the listing is asked of the broker, from where the listing ends; listed anew it is seen.
async fn seam(setup: &Setup, url: &str, listing: &Value) -> Result<()> {
    let to = listing.get("to").and_then(Value::as_u64).context("the listing has no end")?;
    // Anew: a connection that says nothing for ten seconds is closed.
    payments(&Talk::connect(setup.ports.broker, HeaderCodec::Json).await?).await?;
    let behind = counted(&asked_of_strata(setup, &format!("{COUNT} WHERE log_offset >= {to}"))?)?;
    let all = counted(&asked_of_strata(setup, COUNT)?)?;
    let first = setup.log.with_file_name("listing.json");
    let before = asked_of("duckdb", &first, None, &[COUNT])?;
    let before = counted(before.first().context("no answer")?)?;
    ensure!(
        behind == PAYMENTS as u64 && before + behind == all,
        "{before} before the seam, {behind} behind, {all} in all"
    );
    let namesrv = format!("127.0.0.1:{}", setup.ports.namesrv);
    strata(setup, None, &["tier", "roll", "--now", "--namesrv", &namesrv])?;
    let second = setup.log.with_file_name("listing-2.json");
    list(setup, None, url, &second)?;
    let after = asked_of("duckdb", &second, None, &[COUNT])?;
    let after = counted(after.first().context("no answer")?)?;
    ensure!(after == all, "{after} of {all} messages are seen when it was listed anew");
    Ok(())
}
