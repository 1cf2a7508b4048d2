//! `strata sql`: a statement over the messages of a broker, hot and cold.
//!
//! Owns asking and the forms of the answer. What a statement sees is the query room's.

use std::io::{IsTerminal as _, Write as _};

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use crate::exit::{Exit, Failure, Outcome};
use crate::output::{line, write_out};

pub(crate) mod ask;
mod repl;

use ask::{Ask, Rows};

const PARQUET: &str = "application/vnd.apache.parquet";

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// Columns under their names
    Table,
    /// An object a line
    Json,
    /// Comma-separated values with a head line
    Csv,
    /// A Parquet file
    Parquet,
}

/// Flags of `strata sql`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  strata sql 'SELECT topic, count(*) FROM messages GROUP BY topic'
  strata sql \"SELECT store_time, msg_id, body_text FROM messages WHERE topic = 'orders' AND array_has(keys, 'order-1')\"
  strata sql --output csv 'SELECT queue_id, max(queue_offset) FROM messages GROUP BY queue_id' > queues.csv
  strata sql 'EXPLAIN SELECT count(*) FROM messages'
  strata sql --output parquet 'SELECT * FROM messages' > messages.parquet
  strata sql                                     (asks for statements; \\d tells the tables)
  strata sql < statements.sql

Statements only read. Messages of the log and of the cold tier are one table, each message once. Ctrl-C stops a statement.
psql and other clients of PostgreSQL ask the same on the port beside, which the broker tells when it starts.")]
pub(crate) struct SqlArgs {
    /// The statement; without one statements are read from the terminal or from standard input
    #[arg(value_name = "SQL")]
    statement: Option<String>,
    /// Host and port of the broker's SQL, which it tells when it starts
    #[arg(long, value_name = "H:P", default_value = "127.0.0.1:5558")]
    sql: String,
    /// Form of the answer
    #[arg(short = 'f', long, value_enum, default_value_t = Form::Table)]
    output: Form,
}

/// Runs the command.
pub(crate) async fn run(args: SqlArgs) -> Outcome {
    let ask = Ask::new(&args.sql);
    match (args.statement, args.output) {
        (None, Form::Parquet) => Err(Failure::new(Exit::Usage, "a Parquet file is of one statement; give it as SQL")),
        (None, form) => repl::run(&ask, form).await,
        (Some(statement), Form::Parquet) => file(&mut ask.run_as(statement, PARQUET).await?).await,
        (Some(statement), form) => write_answer(&mut ask.run(statement).await?, form).await,
    }
}

/// Writes an answer in a form that is text.
async fn write_answer(rows: &mut Rows, form: Form) -> Outcome {
    match form {
        Form::Table => table(rows).await,
        Form::Json => {
            while let Some(row) = rows.next_line().await? {
                line(row)?;
            }
            Ok(())
        }
        Form::Csv => csv(rows).await,
        Form::Parquet => file(rows).await,
    }
}

/// Writes what comes as it is, and tells how much it is.
async fn file(rows: &mut Rows) -> Outcome {
    if std::io::stdout().is_terminal() {
        return Err(Failure::new(
            Exit::Usage,
            "a Parquet file is no text for a terminal; write it with > FILE.parquet",
        ));
    }
    let bar = ProgressBar::new_spinner();
    bar.set_style(
        ProgressStyle::with_template("{bytes} ({bytes_per_sec})").unwrap_or_else(|_| ProgressStyle::default_spinner()),
    );
    while let Some(bytes) = rows.next_bytes().await? {
        write_out(|out| out.write_all(&bytes))?;
        bar.inc(bytes.len() as u64);
    }
    bar.finish_and_clear();
    Ok(())
}

async fn table(rows: &mut Rows) -> Outcome {
    let columns = rows.columns.clone();
    let mut all = Vec::new();
    while let Some(row) = rows.next().await? {
        all.push(columns.iter().map(|(name, _)| shown(row.get(name))).collect::<Vec<_>>());
    }
    let mut drawn = comfy_table::Table::new();
    drawn.load_preset(comfy_table::presets::NOTHING);
    drawn.set_header(columns.iter().map(|(name, _)| name));
    let count = all.len();
    all.into_iter().for_each(|row| _ = drawn.add_row(row));
    for (at, (_, kind)) in columns.iter().enumerate() {
        if let Some(column) = drawn.column_mut(at) {
            column.set_padding((0, 2));
            if is_number(kind) {
                column.set_cell_alignment(comfy_table::CellAlignment::Right);
            }
        }
    }
    for text in drawn.lines() {
        line(text.trim_end())?;
    }
    // People see how many there are; programs that read standard output do not.
    let _ = writeln!(std::io::stderr(), "{count} {}", if count == 1 { "row" } else { "rows" });
    Ok(())
}

async fn csv(rows: &mut Rows) -> Outcome {
    let columns = rows.columns.clone();
    let quoted = |text: String| {
        let needs = text.contains([',', '"', '\n', '\r']);
        if needs { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
    };
    let joined = |fields: Vec<String>| fields.into_iter().map(quoted).collect::<Vec<_>>().join(",");
    line(joined(columns.iter().map(|(name, _)| name.clone()).collect()))?;
    while let Some(row) = rows.next().await? {
        let fields = columns.iter().map(|(name, _)| match row.get(name) {
            None | Some(Value::Null) => String::new(),
            value => shown(value),
        });
        line(joined(fields.collect()))?;
    }
    Ok(())
}

fn is_number(kind: &str) -> bool {
    kind.starts_with("Int") || kind.starts_with("UInt") || kind.starts_with("Float") || kind.starts_with("Decimal")
}

fn shown(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "NULL".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}
