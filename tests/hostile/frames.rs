//! Bytes that are no frames, frames that are no requests, and peers that never finish.
//!
//! Owns the cases below the level of requests.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use strata_protocol::code::request;
use strata_protocol::limits::FRAME_BYTES_MAX;
use strata_tests::draw::Draw;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout};

use crate::stage::{CANARY, Stage};
use strata_tests::wire::{Heard, Wire, frame, request as request_bytes};

/// A header that the codec of clients would write for a request that needs no fields.
const LIST_TOPICS: &[u8] = br#"{"code":21,"flag":0,"language":"JAVA","opaque":7,"version":479,"extFields":{}}"#;

/// Memory of its own that a server may have under half frames: the bound of its read buffers, and room.
const HALF_FRAMES_KIB_MAX: u64 = 700 * 1024;

/// Sends bytes after which the connection must end.
async fn ends(port: u16, name: &str, bytes: &[u8]) -> Result<()> {
    let mut wire = Wire::dial(port).await?;
    wire.send(bytes).await;
    wire.closed().await.with_context(|| name.to_owned())
}

/// Length prefixes and header words that contradict themselves, on all three ports.
pub(crate) async fn impossible_lengths(stage: &Stage) -> Result<()> {
    let too_long = u32::try_from(FRAME_BYTES_MAX + 1)?.to_be_bytes();
    let cases: [(&str, &[u8]); 9] = [
        ("length 0", &[0, 0, 0, 0]),
        ("length 3", &[0, 0, 0, 3, 0, 0, 0, 0]),
        ("length -1", &[0xff, 0xff, 0xff, 0xff]),
        ("length -2^31", &[0x80, 0, 0, 0, 0, 0, 0, 0]),
        ("length 2^31-1", &[0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0]),
        ("length over the limit", &too_long),
        ("header beyond its frame", &[0, 0, 0, 8, 0, 0, 0, 5, b'{', b'}', b' ', b' ']),
        ("header of 16 MiB in a small frame", &[0, 0, 0, 8, 0, 0xff, 0xff, 0xff, 0, 0, 0, 0]),
        ("codec 2", &[0, 0, 0, 8, 2, 0, 0, 4, b'{', b'}', b' ', b' ']),
    ];
    for port in [stage.ports.broker, stage.ports.broker - 2, stage.ports.namesrv] {
        for (name, bytes) in cases {
            ends(port, name, bytes).await?;
        }
    }
    Ok(())
}

/// Headers that cannot be read, in both codecs.
pub(crate) async fn unreadable_headers(stage: &Stage) -> Result<()> {
    let deep =
        [br#"{"code":10,"opaque":1,"x":"#.to_vec(), vec![b'['; 1_000], vec![b']'; 1_000], b"}".to_vec()].concat();
    let fields: Vec<String> = (0..300).map(|nth| format!(r#""f{nth}":"1""#)).collect();
    let many = format!(r#"{{"code":21,"opaque":1,"extFields":{{{}}}}}"#, fields.join(","));
    let long_name = format!(r#"{{"code":21,"opaque":1,"extFields":{{"{}":"1"}}}}"#, "n".repeat(300));
    let huge = format!(r#"{{"code":21,"opaque":1,"remark":"{}"}}"#, "r".repeat(300 * 1024));
    let unclosed = [LIST_TOPICS, b"{"].concat();
    let cases: [(&str, u8, &[u8]); 14] = [
        ("an empty header", 0, b""),
        ("a half object", 0, b"{"),
        ("an array", 0, b"[]"),
        ("a number", 0, b"17"),
        ("no opaque", 0, br#"{"code":21}"#),
        ("a code that is no number", 0, br#"{"code":"x","opaque":1}"#),
        ("bytes that are no text", 0, b"\xff\xfe\xfd"),
        ("something behind the object", 0, &unclosed),
        ("nesting", 0, &deep),
        ("300 fields", 0, many.as_bytes()),
        ("a field name of 300 bytes", 0, long_name.as_bytes()),
        ("a header of 300 KiB", 0, huge.as_bytes()),
        ("a short binary header", 1, &[0; 20]),
        (
            "a remark beyond its header",
            1,
            &[0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0],
        ),
    ];
    for (name, codec, header) in cases {
        ends(stage.ports.broker, name, &frame(codec, header, CANARY.as_bytes())).await?;
        ends(stage.ports.namesrv, name, &frame(codec, header, CANARY.as_bytes())).await?;
    }
    Ok(())
}

/// Peers that speak something else.
pub(crate) async fn other_protocols(stage: &Stage) -> Result<()> {
    let cases: [(&str, &[u8]); 5] = [
        ("TLS", b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03"),
        ("HTTP", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
        ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        ("SSH", b"SSH-2.0-OpenSSH_9.6\r\n"),
        ("a line", b"hello\n\n\n\n\n\n"),
    ];
    for (name, bytes) in cases {
        ends(stage.ports.broker, name, bytes).await?;
        ends(stage.ports.namesrv, name, bytes).await?;
    }
    Ok(())
}

/// A good frame that ends at any byte is no request.
pub(crate) async fn truncated_frames(stage: &Stage) -> Result<()> {
    let good = request_bytes(request::GET_MAX_OFFSET, &[("topic", "good"), ("queueId", "0")], b"");
    for length in 0..good.len() {
        let mut wire = Wire::dial(stage.ports.broker).await?;
        wire.send(&good[..length]).await;
        wire.end().await;
        match wire.hear().await? {
            Heard::Closed => {}
            Heard::Frame(answer) => bail!("{length} of {} bytes were answered with {}", good.len(), answer.code),
        }
    }
    let mut wire = Wire::dial(stage.ports.broker).await?;
    for byte in &good {
        wire.send(&[*byte]).await;
    }
    ensure!(wire.answer().await?.code == 0, "the whole frame, byte by byte, is a request");
    Ok(())
}

/// Answers that nobody asked for, and one-way requests that cannot be served, are passed over in silence.
pub(crate) async fn strays_are_passed_over(stage: &Stage) -> Result<()> {
    let mut wire = Wire::dial(stage.ports.broker).await?;
    let header =
        |code: i32, flag: i32| format!(r#"{{"code":{code},"flag":{flag},"language":"X","opaque":99,"version":1}}"#);
    wire.send(&frame(0, header(0, 1).as_bytes(), b"")).await;
    wire.send(&frame(0, header(10, 3).as_bytes(), b"")).await;
    wire.send(&frame(0, header(987_654, 2).as_bytes(), b"")).await;
    wire.send(&frame(0, header(10, 2).as_bytes(), CANARY.as_bytes())).await;
    wire.send(&request_bytes(request::GET_MAX_OFFSET, &[("topic", "good"), ("queueId", "0")], b"")).await;
    let answer = wire.answer().await?;
    ensure!((answer.opaque, answer.code) == (7, 0), "the first answer is {answer:?}");
    Ok(())
}

/// Good requests with bits changed at random: each is answered, closed or waited for; the server lives.
pub(crate) async fn mutated_frames(stage: &Stage) -> Result<()> {
    let fields = [
        ("a", "p"),
        ("b", "mutated"),
        ("c", "TBW102"),
        ("d", "4"),
        ("e", "0"),
        ("f", "0"),
        ("g", "1"),
        ("h", "0"),
        ("i", "TAGS\u{1}x\u{2}"),
    ];
    let good = [
        request_bytes(request::SEND_MESSAGE_V2, &fields, CANARY.as_bytes()),
        request_bytes(
            request::HEART_BEAT,
            &[],
            br#"{"clientID":"m","producerDataSet":[{"groupName":"g"}],"consumerDataSet":[]}"#,
        ),
        request_bytes(request::GET_MIN_OFFSET, &[("topic", "good"), ("queueId", "0")], b""),
    ];
    let mut draw = Draw::new(stage.seed);
    let (mut answered, mut closed, mut waited) = (0, 0, 0);
    for nth in 0..900 {
        let mut bytes = good[nth % good.len()].clone();
        // The length stays, mostly, so that what is inside gets read.
        let from = if draw.chance(90) { 4 } else { 0 };
        for _ in 0..draw.between(1, 4) {
            let at = usize::try_from(draw.between(from, bytes.len() as u64 - 1))?;
            bytes[at] ^= 1 << draw.below(8);
        }
        let mut wire = Wire::dial(stage.ports.broker).await?;
        wire.send(&bytes).await;
        wire.end().await;
        match wire.hear().await {
            Ok(Heard::Closed) => closed += 1,
            Ok(Heard::Frame(_)) => answered += 1,
            Err(_) => waited += 1,
        }
    }
    ensure!(waited == 0, "{waited} mutated frames kept their connection although its peer had ended");
    ensure!(answered > 50 && closed > 50, "{answered} answered, {closed} closed: the mutations reach nothing");
    Ok(())
}

/// 200 connections that send noise at the same time.
pub(crate) async fn a_crowd_with_garbage(stage: &Stage) -> Result<()> {
    let mut crowd = JoinSet::new();
    for nth in 0..200 {
        let (port, mut draw) = (stage.ports.broker, Draw::new(stage.seed).fork(nth));
        crowd.spawn(async move {
            let mut wire = Wire::dial(port).await?;
            for _ in 0..20 {
                let mut noise = vec![0; usize::try_from(draw.between(1, 20_000))?];
                draw.fill(&mut noise);
                // A length that may be, so that the noise is read and not only its first word.
                if draw.chance(30) {
                    noise.splice(..0, [0, 0, 64, 0, 0, 0, 4, 0]);
                }
                if !wire.send(&noise).await {
                    break;
                }
            }
            wire.end().await;
            wire.closed().await
        });
    }
    while let Some(one) = crowd.join_next().await {
        one.context("a peer panicked")??;
    }
    Ok(())
}

/// Frames of 15 MiB that never end, more of them than the server may hold; and once more, because what the
/// first ones took must not be lost.
pub(crate) async fn half_frames_fill_no_memory(stage: &Stage) -> Result<()> {
    for round in 0..2 {
        half_frames(stage).await.with_context(|| format!("round {round}"))?;
    }
    Ok(())
}

async fn half_frames(stage: &Stage) -> Result<()> {
    let frames = 64;
    let mut held = Vec::new();
    let body = vec![b'x'; 1024 * 1024];
    for _ in 0..frames {
        let mut wire = Wire::dial(stage.ports.broker).await?;
        let whole = 15 * 1024 * 1024 + 4 + LIST_TOPICS.len();
        let mut head = frame(0, LIST_TOPICS, b"");
        head[..4].copy_from_slice(&u32::try_from(whole)?.to_be_bytes());
        let mut alive = wire.send(&head).await;
        for _ in 0..14 {
            alive = alive && timeout(Duration::from_secs(5), wire.send(&body)).await.unwrap_or(false);
        }
        held.push(wire);
    }
    // All of them together would be 896 MiB; the server gives 512 to all connections.
    let mut refused = 0;
    let deadline = Instant::now() + Duration::from_secs(10);
    while refused < frames / 4 && Instant::now() < deadline {
        refused = 0;
        for wire in &mut held {
            refused += usize::from(wire.has_ended().await);
        }
    }
    let peak = stage.peak_kib();
    ensure!(peak < HALF_FRAMES_KIB_MAX, "{frames} half frames of 14 MiB take {} MiB", peak / 1024);
    ensure!(refused > 0, "all {frames} half frames of 14 MiB were kept");
    Ok(())
}

/// Slow senders, begun early and looked at when the other cases are over.
pub(crate) struct Slow {
    dripping: JoinHandle<Result<Duration>>,
    silent: JoinHandle<Result<Duration>>,
}

impl Slow {
    /// 40 connections that send a byte now and then, and one that sends none.
    pub(crate) fn begin(stage: &Stage) -> Self {
        let port = stage.ports.broker;
        let dripping = tokio::spawn(async move {
            let mut wires = Vec::new();
            for _ in 0..40 {
                wires.push(Wire::dial(port).await?);
            }
            let began = Instant::now();
            let good = request_bytes(request::GET_MAX_OFFSET, &[("topic", "good"), ("queueId", "0")], &[b'x'; 1_000]);
            for byte in good {
                let mut open = 0;
                for wire in &mut wires {
                    open += usize::from(wire.send(&[byte]).await);
                }
                if open == 0 {
                    return Ok(began.elapsed());
                }
                sleep(Duration::from_millis(200)).await;
            }
            bail!("a frame may take longer than {:?}", began.elapsed())
        });
        let silent = tokio::spawn(async move {
            let began = Instant::now();
            let mut wire = Wire::dial(port).await?;
            loop {
                match wire.hear().await {
                    Ok(Heard::Closed) => return Ok(began.elapsed()),
                    Ok(Heard::Frame(answer)) => bail!("silence was answered: {answer:?}"),
                    Err(_) if began.elapsed() > Duration::from_secs(40) => bail!("a silent connection is kept"),
                    Err(_) => {}
                }
            }
        });
        Self { dripping, silent }
    }

    /// They were closed when their time was over, not before.
    pub(crate) async fn end(self) -> Result<String> {
        let dripping = self.dripping.await.context("the dripping peers panicked")??;
        let silent = self.silent.await.context("the silent peer panicked")??;
        ensure!(
            (Duration::from_secs(25)..Duration::from_secs(45)).contains(&dripping),
            "half frames ended after {dripping:?}"
        );
        ensure!((Duration::from_secs(8)..Duration::from_secs(25)).contains(&silent), "silence ended after {silent:?}");
        Ok(format!("half frames ended after {dripping:?}, silence after {silent:?}"))
    }
}
