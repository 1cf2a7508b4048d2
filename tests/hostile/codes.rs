//! Requests that nobody serves, or nobody yet: each is refused with code 3 and its name.
//!
//! Owns the list of later requests. When one is served, its line here goes.

use anyhow::{Context, Result, ensure};
use strata_protocol::frame::HeaderCodec;
use strata_tests::talk::Talk;

use crate::stage::{CANARY, Stage};
use strata_tests::wire::{Wire, request as request_bytes};

/// Requests of RocketMQ that come later, and a word that the refusal must hold.
const LATER: [(i32, &str); 26] = [
    (200_050, "POP_MESSAGE"),
    (200_051, "ACK_MESSAGE"),
    (200_052, "PEEK_MESSAGE"),
    (200_053, "CHANGE_MESSAGE_INVISIBLETIME"),
    (200_054, "NOTIFICATION"),
    (200_055, "POLLING_INFO"),
    (200_151, "BATCH_ACK_MESSAGE"),
    (37, "END_TRANSACTION"),
    (323, "RESUME_CHECK_HALF_MESSAGE"),
    (324, "SEND_REPLY_MESSAGE"),
    (325, "SEND_REPLY_MESSAGE_V2"),
    (370, "RECALL_MESSAGE"),
    (400, "QUERY_ASSIGNMENT"),
    (401, "SET_MESSAGE_REQUEST_MODE"),
    (402, "GET_ALL_MESSAGE_REQUEST_MODE"),
    (513, "UPDATE_AND_CREATE_STATIC_TOPIC"),
    (907, "GET_BROKER_HA_STATUS"),
    // Known to nobody here; the number is the name.
    (3_001, "3001"),
    (3_006, "3006"),
    (50, "50"),
    (902, "902"),
    (1_001, "1001"),
    (2_001, "2001"),
    (5_001, "5001"),
    (200_070, "200070"),
    (200_079, "200079"),
];

/// Numbers that no RocketMQ gives a meaning to.
const UNKNOWN: [i32; 8] = [0, 1, 9, 99, 6_543, -1, i32::MAX, i32::MIN];

pub(crate) async fn unknown_codes(stage: &Stage) -> Result<()> {
    let namesrv = Talk::connect(stage.ports.namesrv, HeaderCodec::Json).await?;
    for talk in [&stage.talk, &namesrv] {
        for code in UNKNOWN {
            let answer = talk.ask_raw(code, &[("x", CANARY)], CANARY).await.with_context(|| format!("code {code}"))?;
            let expected = format!(" request type {code} not supported");
            ensure!(
                (answer.code, answer.remark.as_deref()) == (3, Some(expected.as_str())),
                "{code} was answered with {} ({:?})",
                answer.code,
                answer.remark
            );
        }
    }
    // What is a broker's is nothing to a name server, and the other way round.
    for code in [10, 11, 34, 310] {
        let answer = namesrv.ask_raw(code, &[], CANARY).await?;
        ensure!(answer.code == 3, "the name server answered {code} with {}", answer.code);
    }
    for code in [103, 105, 106] {
        let answer = stage.talk.ask_raw(code, &[], CANARY).await?;
        ensure!(answer.code == 3, "the broker answered {code} with {}", answer.code);
    }
    Ok(())
}

pub(crate) async fn later_codes(stage: &Stage) -> Result<()> {
    let fields = [
        ("consumerGroup", "g"),
        ("topic", "good"),
        ("queueId", "0"),
        ("maxMsgNums", "1"),
        ("offset", "0"),
        ("extraInfo", "x"),
        ("group", "g"),
        ("producerGroup", "p"),
        ("tranStateTableOffset", "0"),
        ("commitLogOffset", "0"),
        ("commitOrRollback", "8"),
        ("msgId", "x"),
    ];
    for (code, word) in LATER {
        let answer = stage.talk.ask_raw(code, &fields, CANARY).await.with_context(|| word.to_owned())?;
        let named =
            answer.remark.as_ref().is_some_and(|remark| remark.contains(word) && remark.contains(&code.to_string()));
        ensure!(answer.code == 3 && named, "{word} ({code}) was answered with {} ({:?})", answer.code, answer.remark);
    }
    // One-way, as clients send it: silence, and the connection goes on.
    let mut wire = Wire::dial(stage.ports.broker).await?;
    let header = br#"{"code":37,"flag":2,"language":"JAVA","opaque":5,"version":1,"extFields":{}}"#;
    wire.send(&strata_tests::wire::frame(0, header, b"")).await;
    wire.send(&request_bytes(30, &[("topic", "good"), ("queueId", "0")], b"")).await;
    let answer = wire.answer().await?;
    ensure!((answer.opaque, answer.code) == (7, 0), "{answer:?}");
    Ok(())
}

/// The binary header has 16 bits for a code, so that the later ones arrive as other numbers.
pub(crate) async fn later_codes_in_binary(stage: &Stage) -> Result<()> {
    let talk = Talk::connect(stage.ports.broker, HeaderCodec::Binary).await?;
    for (code, _) in LATER {
        let answer = talk.ask_raw(code, &[("topic", "good")], "").await?;
        ensure!(
            answer.code == 3 && answer.remark.is_some(),
            "{code} was answered with {} ({:?})",
            answer.code,
            answer.remark
        );
    }
    Ok(())
}
