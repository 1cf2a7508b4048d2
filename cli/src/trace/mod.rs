//! `strata trace`: the life of a message, from its producer to each group that had it.
//!
//! Owns what is asked of the broker's SQL for it. What the rows mean is `life`'s, how they are drawn `draw`'s.

use std::fmt::Write as _;

use clap::Args;
use serde::de::DeserializeOwned;
use strata_protocol::trace::queue_key;

use crate::args::OutputArgs;
use crate::exit::{Exit, Failure, OrFail, Outcome};
use crate::limits::{TRACE_WINDOW_MINUTES, TRACED_MESSAGES_MAX};
use crate::output::show;
use crate::sql::ask::Ask;

mod draw;
mod life;

use life::{Life, Progress, Stored, Told};

/// Flags of `strata trace`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  strata trace 7F000001000118B4AAC200000000001A
  strata trace order-4711
  strata trace order-4711 --output json

What clients tell is there when they have trace enabled (enableMsgTrace in Java). The broker's own records tell who sent a
message, to which clients it was delivered, when groups went past it, and who sent it back; each second's are there a
second later. The same in SQL: the tables messages, traces, spans and lag, see strata sql.")]
pub(crate) struct TraceArgs {
    /// A message id as producers are told it, or a key of messages
    #[arg(value_name = "ID|KEY")]
    what: String,
    /// Host and port of the broker's SQL, which it tells when it starts
    #[arg(long, value_name = "H:P", default_value = "127.0.0.1:5558")]
    sql: String,
    #[command(flatten)]
    output: OutputArgs,
}

/// Runs the command.
pub(crate) async fn run(args: TraceArgs) -> Outcome {
    let ask = Ask::new(&args.sql);
    let mut stored = stored(&ask, &format!("msg_id = {}", quoted(&args.what))).await?;
    if stored.is_empty() {
        stored = by_key(&ask, &args.what).await?;
    }
    let ids = ids(&stored);
    if ids.is_empty() {
        let text = format!("no message has the id or the key {:?}; what has expired cannot be traced", args.what);
        return Err(Failure::new(Exit::NotFound, text));
    }
    let mut lives = Vec::new();
    for id in &ids {
        let of_id: Vec<Stored> = stored.iter().filter(|row| row.msg_id.as_deref() == Some(id)).cloned().collect();
        let told = told(&ask, id, &of_id).await?;
        let progress = progress(&ask, &of_id).await?;
        lives.push(Life::of(id, of_id, told, progress));
    }
    show(&args.output, &lives, |lives| lives.iter().map(draw::life).collect::<Vec<_>>().join("\n\n"))
}

/// The ids of messages, as they come.
fn ids(stored: &[Stored]) -> Vec<String> {
    let mut ids: Vec<String> = Vec::new();
    for id in stored.iter().filter_map(|row| row.msg_id.as_ref()) {
        if !ids.contains(id) {
            ids.push(id.clone());
        }
    }
    ids
}

/// Messages with a key, under all topics in which their ids are.
async fn by_key(ask: &Ask<'_>, key: &str) -> Outcome<Vec<Stored>> {
    // Clients give their messages of traces the ids and keys of those they trace.
    let with_key = format!("array_has(keys, {}) AND NOT starts_with(upper(topic), 'RMQ_SYS_')", quoted(key));
    let found = ids(&stored(ask, &with_key).await?);
    if found.len() > TRACED_MESSAGES_MAX {
        let mut text = format!("{} messages have the key {key:?}; ask for one of them by its id:", found.len());
        for id in found.iter().take(TRACED_MESSAGES_MAX) {
            // Writing to a String cannot fail.
            let _ = write!(text, "\n  {id}");
        }
        return Err(Failure::new(Exit::Usage, text));
    }
    if found.is_empty() {
        return Ok(Vec::new());
    }
    let list = found.iter().map(|id| quoted(id)).collect::<Vec<_>>().join(", ");
    stored(ask, &format!("msg_id IN ({list})")).await
}

/// Messages for which a condition holds.
async fn stored(ask: &Ask<'_>, condition: &str) -> Outcome<Vec<Stored>> {
    rows(
        ask,
        format!(
            "SELECT topic, queue_id, queue_offset, log_offset, arrow_cast(store_time, 'Int64') AS store_micros, \
             arrow_cast(born_time, 'Int64') AS born_micros, msg_id, array_to_string(keys, ' ') AS keys, tags, \
             born_host, store_host, reconsume_times, properties['DELAY'] AS delay_level, tier \
             FROM messages WHERE {condition} ORDER BY store_time, log_offset"
        ),
    )
    .await
}

/// What clients and the broker told of a message. Records of batches name their messages in one key, so that only
/// looking at all of the time around finds them.
async fn told(ask: &Ask<'_>, id: &str, stored: &[Stored]) -> Outcome<Vec<Told>> {
    let columns = "kind, arrow_cast(time, 'Int64') AS micros, arrow_cast(store_time, 'Int64') AS store_micros, \
                   topic, client_group, is_success, cost_ms, message_type, client_host, client_id, request_id, \
                   retry_times, context, transaction_state, delay_level, queue_offset, last_queue_offset, messages";
    let id = quoted(id);
    let by_key = format!("SELECT {columns} FROM traces WHERE array_has(trace_keys, {id}) AND msg_id = {id}");
    let mut told: Vec<Told> = rows(ask, by_key).await?;
    let time = stored.iter().map(|row| row.store_micros).min();
    if let Some(micros) = time.filter(|_| !told.iter().any(|told| told.kind == "Pub")) {
        let around = format!(
            "SELECT {columns} FROM traces WHERE msg_id = {id} AND kind = 'Pub' AND store_time BETWEEN \
             arrow_cast({micros}, 'Timestamp(Microsecond, Some(\"UTC\"))') - INTERVAL '{TRACE_WINDOW_MINUTES} minutes' AND \
             arrow_cast({micros}, 'Timestamp(Microsecond, Some(\"UTC\"))') + INTERVAL '{TRACE_WINDOW_MINUTES} minutes'"
        );
        told.extend(rows::<Told>(ask, around).await?);
    }
    for row in stored {
        told.extend(rows::<Told>(ask, of_ranges(columns, row)).await?);
    }
    Ok(told)
}

/// What the broker told of a range of the queue that a message lies in. Producers take turns in a queue: which of them sent
/// the message is known by the address it came from.
fn of_ranges(columns: &str, row: &Stored) -> String {
    let (topic, queue, offset, micros) = (quoted(&row.topic), row.queue_id, row.queue_offset, row.store_micros);
    let key = quoted(&queue_key(&row.topic, row.queue_id));
    let born = quoted(&row.way.born_host);
    format!(
        "SELECT {columns} FROM traces WHERE array_has(trace_keys, {key}) AND topic = {topic} AND queue_id = {queue} AND \
         queue_offset <= {offset} AND coalesce(last_queue_offset, queue_offset) >= {offset} AND msg_id IS NULL AND \
         (kind IN ('BrokerDeliver', 'BrokerAck') OR kind = 'BrokerStore' AND client_host = {born}) AND \
         store_time >= arrow_cast({micros}, 'Timestamp(Microsecond, Some(\"UTC\"))')"
    )
}

/// How far groups are in the queues in which a message is.
async fn progress(ask: &Ask<'_>, stored: &[Stored]) -> Outcome<Vec<Progress>> {
    let mut out = Vec::new();
    for row in stored {
        let statement = format!(
            "SELECT consumer_group, topic, queue_id, committed_offset, {} AS queue_offset FROM lag WHERE topic = {} AND queue_id = {}",
            row.queue_offset,
            quoted(&row.topic),
            row.queue_id
        );
        out.extend(rows::<Progress>(ask, statement).await?);
    }
    Ok(out)
}

async fn rows<R: DeserializeOwned>(ask: &Ask<'_>, statement: String) -> Outcome<Vec<R>> {
    let mut answer = ask.run(statement).await?;
    let mut out = Vec::new();
    while let Some(line) = answer.next_line().await? {
        out.push(serde_json::from_str(&line).or_fail_with(Exit::Failed, "a row is not as it was asked for")?);
    }
    Ok(out)
}

/// A text as SQL has it.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_cannot_leave_their_quotes() {
        assert_eq!(quoted("a'; DROP"), "'a''; DROP'");
    }
}
