//! Statements one after another, typed or piped in.
//!
//! Owns the prompt, its history and completion, and the commands that begin with a backslash. Ctrl-C stops the statement
//! that runs; the broker stops it too, as its connection is gone.

use std::borrow::Cow;
use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::PathBuf;

use rustyline::completion::{Completer, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::Validator;
use rustyline::{Config, Editor, Helper};
use tokio::time::Instant;

use super::ask::Ask;
use super::{Form, write_answer};
use crate::exit::{Exit, OrFail, Outcome};
use crate::limits::{SQL_HISTORY_LINES_MAX, SQL_INPUT_BYTES_MAX};
use crate::output::line;

const HELP: &str = "\
Statements end with ; and may have several lines. Ctrl-C stops one that runs, Ctrl-D ends.
  \\d            tables
  \\d TABLE      columns of a table
  \\timing       tells how long statements take, or no more
  \\f FORM       form of answers: table, json or csv
  \\?            this
  \\q            ends";

const TABLES: &str = "SELECT table_name AS \"table\", table_type AS kind FROM information_schema.tables \
                      WHERE table_schema = 'public' ORDER BY table_name";

/// What is set while statements are asked.
struct Session<'a> {
    ask: &'a Ask<'a>,
    form: Form,
    timing: bool,
}

/// Whether to go on.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    More,
    End,
}

/// Asks statements until the input ends.
pub(super) async fn run(ask: &Ask<'_>, form: Form) -> Outcome {
    let mut session = Session { ask, form, timing: false };
    if std::io::stdin().is_terminal() { typed(&mut session).await } else { piped(&mut session).await }
}

/// Statements of standard input; the first that fails ends it.
async fn piped(session: &mut Session<'_>) -> Outcome {
    let mut text = String::new();
    for read in std::io::stdin().lock().lines() {
        let read = read.or_fail_with(Exit::Failed, "standard input cannot be read")?;
        if text.is_empty() && read.trim_start().starts_with('\\') {
            if session.command(read.trim()).await? == Next::End {
                return Ok(());
            }
            continue;
        }
        text.push_str(&read);
        text.push('\n');
        if text.len() > SQL_INPUT_BYTES_MAX {
            return Err(crate::exit::Failure::new(
                Exit::Usage,
                format!("a statement of more than {SQL_INPUT_BYTES_MAX} bytes; end statements with ;"),
            ));
        }
        while let Some(end) = end_of_statement(&text) {
            let rest = text.split_off(end + 1);
            session.statement(text.trim_end_matches(';')).await?;
            text = rest.trim_start().to_owned();
        }
    }
    session.statement(&text).await
}

/// Statements of a person; what fails is told, and the next is asked for.
async fn typed(session: &mut Session<'_>) -> Outcome {
    let config =
        Config::builder().max_history_size(SQL_HISTORY_LINES_MAX).or_fail(Exit::Failed)?.auto_add_history(false);
    let mut editor: Editor<Words, FileHistory> = Editor::with_config(config.build()).or_fail(Exit::Failed)?;
    editor.set_helper(Some(Words(words(session.ask).await)));
    let history = history_file();
    if let Some(path) = &history {
        // The first time there is none.
        let _ = editor.load_history(path);
    }
    line("SQL over messages, traces and the broker's state. \\d tells the tables, \\? the commands.")?;
    let mut text = String::new();
    loop {
        let prompt = if text.is_empty() { "strata> " } else { "     -> " };
        let (returned, read) = tokio::task::spawn_blocking(move || {
            let read = editor.readline(prompt);
            (editor, read)
        })
        .await
        .or_fail(Exit::Failed)?;
        editor = returned;
        match read {
            Ok(read) if text.is_empty() && read.trim_start().starts_with('\\') => {
                let _ = editor.add_history_entry(read.trim());
                if told(session.command(read.trim()).await) == Next::End {
                    break;
                }
            }
            Ok(read) => {
                text.push_str(&read);
                text.push('\n');
            }
            Err(ReadlineError::Interrupted) => text.clear(),
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(error).or_fail(Exit::Failed),
        }
        while let Some(end) = end_of_statement(&text) {
            let rest = text.split_off(end + 1);
            let _ = editor.add_history_entry(text.trim());
            told(session.statement(text.trim_end_matches(';')).await.map(|()| Next::More));
            text = rest.trim_start().to_owned();
        }
    }
    if let Some(path) = &history {
        let kept = path.parent().map_or(Ok(()), std::fs::create_dir_all).map_err(ReadlineError::from);
        if let Err(error) = kept.and_then(|()| editor.save_history(path)) {
            tracing::warn!(%error, path = %path.display(), "what was typed is not kept");
        }
    }
    Ok(())
}

/// Tells a failure, after which the next statement is asked for.
fn told(outcome: Outcome<Next>) -> Next {
    outcome.unwrap_or_else(|failure| {
        // With standard error closed there is nobody to tell.
        let _ = writeln!(std::io::stderr(), "error: {failure}");
        Next::More
    })
}

impl Session<'_> {
    async fn statement(&self, text: &str) -> Outcome {
        if is_nothing(text) {
            return Ok(());
        }
        let begun = Instant::now();
        let answered = async { write_answer(&mut self.ask.run(text.to_owned()).await?, self.form).await };
        tokio::select! {
            done = answered => done?,
            interrupted = tokio::signal::ctrl_c() => {
                interrupted.or_fail(Exit::Failed)?;
                let _ = writeln!(std::io::stderr(), "stopped");
            }
        }
        if self.timing {
            let _ = writeln!(std::io::stderr(), "{} ms", begun.elapsed().as_millis());
        }
        Ok(())
    }

    async fn command(&mut self, text: &str) -> Outcome<Next> {
        let (name, argument) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let argument = argument.trim().trim_end_matches(';');
        match name {
            "\\q" => return Ok(Next::End),
            "\\d" | "\\dt" if argument.is_empty() => self.statement(TABLES).await?,
            "\\d" => self.statement(&columns_of(argument)).await?,
            "\\timing" => {
                self.timing = !self.timing;
                line(if self.timing { "timing is on" } else { "timing is off" })?;
            }
            "\\f" => match <Form as clap::ValueEnum>::from_str(argument, true) {
                Ok(form @ (Form::Table | Form::Json | Form::Csv)) => self.form = form,
                Ok(Form::Parquet) | Err(_) => line("forms are table, json and csv")?,
            },
            "\\?" | "\\h" => line(HELP)?,
            _ => line(format!("{name} is no command; \\? tells them"))?,
        }
        Ok(Next::More)
    }
}

fn columns_of(table: &str) -> String {
    format!(
        "SELECT column_name AS \"column\", data_type AS type, is_nullable AS nullable FROM information_schema.columns \
         WHERE table_schema = 'public' AND table_name = '{}' ORDER BY ordinal_position",
        table.replace('\'', "''")
    )
}

/// Bytes of the comment that a text begins with, which may have others in it; `None` where it begins with none, or does
/// not end.
fn comment_bytes(text: &str) -> Option<usize> {
    let (bytes, mut at, mut depth) = (text.as_bytes(), 0, 0_usize);
    loop {
        match (bytes.get(at)?, bytes.get(at + 1)) {
            (b'/', Some(b'*')) => (at, depth) = (at + 2, depth + 1),
            (b'*', Some(b'/')) if depth > 0 => (at, depth) = (at + 2, depth - 1),
            _ if depth == 0 => return None,
            _ => at += 1,
        }
        if depth == 0 {
            return Some(at);
        }
    }
}

/// Whether there are but blanks and comments.
fn is_nothing(text: &str) -> bool {
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let behind = match rest.strip_prefix("--") {
            Some(comment) => Some(comment.split_once('\n').map_or("", |(_, behind)| behind)),
            None => comment_bytes(rest).and_then(|bytes| rest.get(bytes..)),
        };
        let Some(behind) = behind else { return false };
        rest = behind.trim_start();
    }
    true
}

/// The `;` that ends the first statement of a text: none in quotes or comments.
fn end_of_statement(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let skip_past =
            |from: usize, end: &str| text.get(from..).and_then(|rest| rest.find(end)).map(|found| from + found);
        match (byte, bytes.get(at + 1)) {
            (b';', _) => return Some(at),
            // A quote that is doubled closes a text and opens the next one.
            (b'\'', _) => at = skip_past(at + 1, "'")?,
            (b'"', _) => at = skip_past(at + 1, "\"")?,
            (b'-', Some(b'-')) => at = skip_past(at + 2, "\n")?,
            (b'/', Some(b'*')) => at += comment_bytes(text.get(at..)?)? - 1,
            _ => {}
        }
        at += 1;
    }
    None
}

/// Where what was typed is kept: `$XDG_STATE_HOME/strata/sql_history`.
fn history_file() -> Option<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = folder("XDG_STATE_HOME").or_else(|| folder("HOME").map(|home| home.join(".local/state")))?;
    Some(state.join("strata/sql_history"))
}

/// The words that are completed: SQL's most usual ones, tables and columns. Without a broker only the first.
async fn words(ask: &Ask<'_>) -> Vec<String> {
    const USUAL: [&str; 25] = [
        "SELECT",
        "FROM",
        "WHERE",
        "GROUP BY",
        "ORDER BY",
        "LIMIT",
        "AND",
        "OR",
        "NOT",
        "IN",
        "LIKE",
        "BETWEEN",
        "IS NULL",
        "COUNT(*)",
        "MIN(",
        "MAX(",
        "SUM(",
        "AVG(",
        "JOIN",
        "LEFT JOIN",
        "DISTINCT",
        "EXPLAIN",
        "INTERVAL",
        "array_has(keys, ",
        "json_as_text(body_text, ",
    ];
    let mut words: Vec<String> = USUAL.iter().map(|word| (*word).to_owned()).collect();
    let known = "SELECT DISTINCT table_name AS word FROM information_schema.columns WHERE table_schema = 'public' UNION \
                 SELECT DISTINCT column_name FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1";
    if let Ok(mut rows) = ask.run(known.to_owned()).await {
        while let Ok(Some(row)) = rows.next().await {
            words.extend(row.get("word").and_then(|word| word.as_str()).map(str::to_owned));
        }
    }
    words
}

struct Words(Vec<String>);

impl Completer for Words {
    type Candidate = Pair;

    fn complete(&self, line: &str, at: usize, _: &rustyline::Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let typed = line.get(..at).unwrap_or(line);
        let begin = typed.rfind(|c: char| !c.is_alphanumeric() && c != '_').map_or(0, |found| found + 1);
        let word = typed.get(begin..).unwrap_or_default().to_lowercase();
        let fits = |known: &&String| !word.is_empty() && known.to_lowercase().starts_with(&word);
        let pair = |known: &String| Pair { display: known.clone(), replacement: known.clone() };
        Ok((begin, self.0.iter().filter(fits).map(pair).collect()))
    }
}

impl Hinter for Words {
    type Hint = String;
}

impl Highlighter for Words {
    fn highlight_hint<'h>(&self, hint: &'h str) -> Cow<'h, str> {
        Cow::Borrowed(hint)
    }
}

impl Validator for Words {}

impl Helper for Words {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_end_outside_of_quotes_and_comments() {
        assert_eq!(end_of_statement("SELECT 1; SELECT 2;"), Some(8));
        assert_eq!(end_of_statement("SELECT ';' ;"), Some(11));
        assert_eq!(end_of_statement("SELECT 'it''s;' ;"), Some(16));
        assert_eq!(end_of_statement("SELECT \"a;b\" -- ;\n;"), Some(18));
        assert_eq!(end_of_statement("SELECT /* ; */ 1;"), Some(16));
        assert_eq!(end_of_statement("SELECT /* /* ; */ ; */ 1;"), Some(24));
        for open in ["SELECT 1", "SELECT ';", "SELECT /* ;", "-- ;", ""] {
            assert_eq!(end_of_statement(open), None, "{open}");
        }
    }

    #[test]
    fn blanks_and_comments_are_no_statement() {
        for nothing in ["", " \n", "-- the end", "/* a */ -- b\n /* c\n */ ", "/* a /* b */ c */"] {
            assert!(is_nothing(nothing), "{nothing}");
        }
        for something in ["SELECT 1 -- the end", "-- a\n1", "/* open", "/* a /* b */", "'--'"] {
            assert!(!is_nothing(something), "{something}");
        }
    }

    #[test]
    fn words_are_completed_where_they_are_typed() {
        let words = Words(vec!["SELECT".to_owned(), "messages".to_owned(), "msg_id".to_owned()]);
        let history = FileHistory::new();
        let found = words.complete("SELECT m", 8, &rustyline::Context::new(&history)).unwrap();
        let names: Vec<_> = found.1.iter().map(|pair| pair.replacement.as_str()).collect();
        assert_eq!((found.0, names), (7, vec!["messages", "msg_id"]));
        assert!(words.complete("SELECT ", 7, &rustyline::Context::new(&history)).unwrap().1.is_empty());
    }
}
