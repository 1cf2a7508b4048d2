//! What a condition passes over unread never changes an answer: generated statements, as they are and with the condition
//! asked of each row.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use strata_protocol::frame::HeaderCodec;
use strata_tests::draw::Draw;
use strata_tests::setting;
use strata_tests::site::Setup;
use strata_tests::talk::Talk;

use crate::sql::sql;
use crate::traffic::{MESSAGES_OF_SEGMENT, Truth};
use crate::{Ground, roll_and_trim, start};

/// Statements that are compared; `STRATA_STATEMENTS` asks for more.
const STATEMENTS: u64 = 150;
/// How deep conditions are nested.
const DEPTH_MAX: u32 = 3;

/// What conditions are about.
struct World {
    messages: u64,
    log: (i64, i64),
    /// Microseconds.
    times: (i64, i64),
}

pub(crate) async fn changes_nothing(ground: &mut Ground) -> Result<String> {
    let url = format!("file://{}", ground.folder.join("pushdown-cold").display());
    let setup = ground.setup("pushdown", &url)?;
    let site = start(&setup, None).await?;
    let talk = Talk::connect(setup.ports.broker, HeaderCodec::Json).await?;
    let mut truth = Truth::default();
    truth.send(&talk, 3 * MESSAGES_OF_SEGMENT).await?;
    roll_and_trim(&setup, None).await?;
    truth.send(&talk, 2 * MESSAGES_OF_SEGMENT).await?;
    let world = world(&setup, 5 * MESSAGES_OF_SEGMENT as u64)?;
    let statements = setting::number("STRATA_STATEMENTS", STATEMENTS)?;
    let (mut found, mut none, mut pruned) = (0, 0, 0);
    for _ in 0..statements {
        let condition = condition(&mut ground.draw, &world, DEPTH_MAX);
        let figures = "count(*) AS n, sum(queue_offset) AS s, min(log_offset) AS a, max(log_offset) AS b, \
                       sum(log_offset % 1009) AS c, count(DISTINCT msg_id) AS d";
        let as_it_is = sql(&setup, &format!("SELECT {figures} FROM messages WHERE {condition}"))?;
        // A condition over what is left of a bound is not asked of the table.
        let columns = "topic, queue_id, queue_offset, log_offset, store_time, msg_id, keys, tags, properties, reconsume_times, tier";
        let of_each =
            format!("SELECT {figures} FROM (SELECT {columns} FROM messages LIMIT 1000000000) WHERE {condition}");
        let of_each = sql(&setup, &of_each)?;
        ensure!(as_it_is == of_each, "WHERE {condition}\ngives {as_it_is}and of each row {of_each}");
        let plan = sql(&setup, &format!("EXPLAIN SELECT {figures} FROM messages WHERE {condition}"))?;
        pruned += usize::from(!plan.contains("rolls_pruned=0") || !plan.contains("row_groups_pruned=0"));
        if as_it_is.starts_with("{\"n\":0,") { none += 1 } else { found += 1 }
    }
    ensure!(
        statements < STATEMENTS || (found > 20 && none > 5 && pruned > 20),
        "{found} found, {none} nothing, {pruned} pruned"
    );
    ensure!(site.stop().await?.success(), "the broker did not end well");
    Ok(format!(
        "{statements} statements, {found} found something, {none} nothing, {pruned} passed over rolls or row groups"
    ))
}

fn world(setup: &Setup, messages: u64) -> Result<World> {
    let text = sql(
        setup,
        "SELECT min(log_offset) AS a, max(log_offset) AS b, min(arrow_cast(store_time, 'Int64')) AS c, \
         max(arrow_cast(store_time, 'Int64')) AS d FROM messages WHERE topic IN ('Orders', 'Audit', 'Quiet')",
    )?;
    let row: Value = serde_json::from_str(&text)?;
    let number = |name: &str| row.get(name).and_then(Value::as_i64).with_context(|| format!("no {name} in {text}"));
    Ok(World { messages, log: (number("a")?, number("b")?), times: (number("c")?, number("d")?) })
}

fn condition(draw: &mut Draw, world: &World, depth: u32) -> String {
    if depth > 0 && draw.chance(45) {
        let (left, right) = (condition(draw, world, depth - 1), condition(draw, world, depth - 1));
        return match draw.below(4) {
            0 => format!("({left}) OR ({right})"),
            1 => format!("NOT ({left})"),
            _ => format!("({left}) AND ({right})"),
        };
    }
    let op = *draw.pick(&["=", "<", "<=", ">", ">=", "<>"]).unwrap_or(&"=");
    match draw.below(14) {
        0 => format!("topic {op} '{}'", topic(draw)),
        1 => format!("topic {}IN ('{}', '{}')", not(draw), topic(draw), topic(draw)),
        2 => format!("starts_with(topic, '{}')", draw.pick(&["O", "Qui", "A", "", "x", "Orders"]).unwrap_or(&"")),
        3 => format!("topic {}LIKE '{}'", not(draw), draw.pick(&["O%", "%s", "Audit", "_uiet"]).unwrap_or(&"%")),
        4 => format!("queue_id {op} {}", draw.pick(&["0", "1", "2", "3", "-1", "1.5", "1::bigint"]).unwrap_or(&"0")),
        5 => offset(draw, op, world),
        6 => format!("log_offset {op} {}", place(draw, world)),
        7 => format!("log_offset {}BETWEEN {} AND {}", not(draw), place(draw, world), place(draw, world)),
        8 => time(draw, op, world),
        9 => format!("msg_id = '{:032X}'", draw.below(world.messages + 100)),
        10 => {
            let ids: Vec<String> = (0..5).map(|_| format!("'{:032X}'", draw.below(world.messages + 100))).collect();
            format!("msg_id {}IN ({})", not(draw), ids.join(", "))
        }
        11 => keys(draw, world),
        12 => format!("tags {op} 'Tag{}'", draw.below(6)),
        _ => draw
            .pick(&[
                "tier = 'hot'",
                "tier = 'cold'",
                "properties['color'] = 'teal'",
                "properties['color'] IN ('teal', 'green')",
                "properties['color'] <> 'red'",
                "properties['TAGS'] = 'Tag3'",
                "properties['KEYS'] = 'order-7 pair-3'",
                "properties['nothing'] = ''",
                "properties['nothing'] = 'x'",
                "'blue' = properties['color']",
                "reconsume_times = 0",
                "keys IS NULL",
            ])
            .unwrap_or(&"true")
            .to_string(),
    }
}

/// Messages have a key of their own and one that two of them have.
fn keys(draw: &mut Draw, world: &World) -> String {
    let nth = draw.below(world.messages + 100);
    match draw.below(4) {
        0 => format!("array_has(keys, 'order-{nth}')"),
        1 => format!("array_has(keys, 'pair-{}')", nth / 2),
        2 => format!("array_has(keys, 'order-{nth}') AND array_has(keys, 'pair-{}')", nth / 2),
        _ => format!("array_has(keys, 'order-{nth}') AND array_has(keys, 'pair-{}')", nth / 2 + 1),
    }
}

fn not(draw: &mut Draw) -> &'static str {
    if draw.chance(25) { "NOT " } else { "" }
}

fn topic(draw: &mut Draw) -> &'static str {
    draw.pick(&["Orders", "Audit", "Quiet", "nothing", ""]).copied().unwrap_or("Orders")
}

fn offset(draw: &mut Draw, op: &str, world: &World) -> String {
    let number = draw.below(world.messages);
    match draw.below(4) {
        0 => format!("{number} {op} queue_offset"),
        1 => format!("queue_offset {op} {number}.5"),
        2 => format!("queue_offset {}BETWEEN {} AND {number}", not(draw), draw.below(world.messages)),
        _ => format!("queue_offset {op} {number}"),
    }
}

fn place(draw: &mut Draw, world: &World) -> i64 {
    let (low, high) = world.log;
    low - 1_000 + i64::try_from(draw.below((high - low + 2_000).unsigned_abs())).unwrap_or(0)
}

/// A moment in some of the forms that people write.
fn time(draw: &mut Draw, op: &str, world: &World) -> String {
    let (low, high) = world.times;
    let micros = low - 1_000 + i64::try_from(draw.below((high - low + 2_000).unsigned_abs())).unwrap_or(0);
    let cast = format!("arrow_cast({micros}, 'Timestamp(Microsecond, Some(\"UTC\"))')");
    match draw.below(4) {
        0 => format!("{cast} {op} store_time"),
        1 => format!("store_time {op} to_timestamp_millis({})", micros / 1_000),
        2 => format!("store_time {op} to_timestamp_seconds({})", micros / 1_000_000),
        _ => format!("store_time {op} {cast}"),
    }
}
