//! `strata filter eval`: many expressions on many messages, a JSON line each.
//!
//! Owns the reading of lines, the memory of expressions that were compiled, and what is told of lines that are none.
//! What expressions mean is the filter's matter.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::io::{self, Read, Write};

use clap::Args;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, Visitor};
use strata_filter::sql::{Dialect, Expression, Outcome as Verdict};
use strata_protocol::properties::{NAME_VALUE_SEPARATOR, PROPERTY_SEPARATOR};

use super::DialectName;
use crate::exit::{Exit, Failure, Outcome};
use crate::limits::{
    FILTER_CACHED_BYTES_MAX, FILTER_FAULTS_LISTED_FAULTS_MAX, FILTER_LINE_BYTES_MAX, FILTER_READ_BYTES,
};

pub(super) const HELP: &str = r#"Examples:
  echo '{"expr": "a > 3", "properties": {"a": "5"}}' | strata filter eval
  strata filter eval --dialect strict < lines.json | sort | uniq -c

A line of input has two members: expr, a text, and properties, an object of texts; others are
passed over. For each line one line is printed, in the same order:
  true      the message is delivered
  false     it is not: the expression is false or unknown, or fails on this message
  refused   the expression does not compile; strata filter explain says why
  error     the line is no such JSON; standard error says which and why

Properties are what a broker reads back: one with an empty value does not exist, and of two with
one name the last counts.

Exit codes: 0 each line was answered, 1 some line is no such JSON."#;

#[derive(Debug, Args)]
pub(crate) struct EvalArgs {
    /// What expressions mean: that of the expression type SQL92, or of SQL92_STRICT
    #[arg(long, value_enum, default_value_t = DialectName::Sql92)]
    dialect: DialectName,
}

/// Runs the command.
pub(super) fn run(args: &EvalArgs) -> Outcome {
    let mut lines = Lines::new(args.dialect.dialect());
    let done = lines.answer_all(&mut io::stdin().lock(), &mut io::stdout().lock(), &mut io::stderr());
    match done {
        Ok(()) => lines.verdict(),
        // A reader that has gone (`strata .. | head`) ends the command without noise.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Failure::new(Exit::Failed, format!("lines cannot be read or answered: {error}"))),
    }
}

/// Lines on their way.
struct Lines {
    compiled: Compiled,
    /// The properties of the line at hand in their stored form.
    stored: Vec<u8>,
    /// Lines so far.
    count: u64,
    faults: u64,
    first_fault: u64,
}

impl Lines {
    fn new(dialect: Dialect) -> Self {
        Self { compiled: Compiled::new(dialect), stored: Vec::new(), count: 0, faults: 0, first_fault: 0 }
    }

    /// Answers until the input ends. What was read is answered before more is waited for, so that a program can ask
    /// line by line too.
    fn answer_all(&mut self, input: &mut dyn Read, out: &mut dyn Write, complaints: &mut dyn Write) -> io::Result<()> {
        let mut read = Vec::new();
        let mut answers = Vec::new();
        // A line that is too long is thrown away up to its end.
        let mut too_long = false;
        loop {
            let kept = read.len();
            read.resize(kept + FILTER_READ_BYTES, 0);
            let more = read_some(input, &mut read[kept..])?;
            read.truncate(kept + more);
            let whole =
                if more == 0 { read.len() } else { last_line_feed(&read[kept..]).map_or(0, |at| kept + at + 1) };
            for line in read[..whole].split_inclusive(|byte| *byte == b'\n') {
                let line = line.strip_suffix(b"\n").unwrap_or(line);
                self.answer(if std::mem::take(&mut too_long) { None } else { Some(line) }, &mut answers, complaints)?;
            }
            read.drain(..whole);
            if too_long || read.len() > FILTER_LINE_BYTES_MAX {
                too_long = true;
                read.clear();
            }
            if more == 0 && too_long {
                self.answer(None, &mut answers, complaints)?;
            }
            out.write_all(&answers)?;
            out.flush()?;
            answers.clear();
            if more == 0 {
                return Ok(());
            }
        }
    }

    /// Answers one line; `None` is one that is too long.
    fn answer(&mut self, line: Option<&[u8]>, answers: &mut Vec<u8>, complaints: &mut dyn Write) -> io::Result<()> {
        self.count += 1;
        let answer = match line.filter(|line| line.len() <= FILTER_LINE_BYTES_MAX) {
            Some(line) => self.judge(line),
            None => Err(format!("it has more than {FILTER_LINE_BYTES_MAX} bytes")),
        };
        match answer {
            Ok(answer) => answers.extend_from_slice(answer.as_bytes()),
            Err(fault) => {
                self.faults += 1;
                answers.extend_from_slice(b"error");
                if self.faults == 1 {
                    self.first_fault = self.count;
                }
                if self.faults <= FILTER_FAULTS_LISTED_FAULTS_MAX {
                    writeln!(complaints, "line {}: {fault}", self.count)?;
                }
            }
        }
        answers.push(b'\n');
        Ok(())
    }

    fn judge(&mut self, line: &[u8]) -> Result<&'static str, String> {
        self.stored.clear();
        let mut json = serde_json::Deserializer::from_slice(line);
        let expression = Line { stored: &mut self.stored }.deserialize(&mut json).map_err(|fault| plain(&fault))?;
        json.end().map_err(|fault| plain(&fault))?;
        Ok(match self.compiled.of(&expression) {
            None => "refused",
            Some(compiled) => match compiled.evaluate(&self.stored) {
                Verdict::True => "true",
                Verdict::False | Verdict::Null | Verdict::Error(_) => "false",
            },
        })
    }

    /// How the command ends.
    fn verdict(&self) -> Outcome {
        let Self { count, faults, first_fault, .. } = self;
        if *faults == 0 {
            return Ok(());
        }
        let lines = if *count == 1 { "line is" } else { "lines are" };
        let what = "no object with a text expr and an object properties of texts";
        Err(Failure::new(Exit::Failed, format!("{faults} of {count} {lines} {what}; the first is line {first_fault}")))
    }
}

/// Reads once, again when a signal came between.
fn read_some(input: &mut dyn Read, into: &mut [u8]) -> io::Result<usize> {
    loop {
        match input.read(into) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}

/// The position of the last line feed.
fn last_line_feed(bytes: &[u8]) -> Option<usize> {
    bytes.iter().rposition(|byte| *byte == b'\n')
}

/// A fault of JSON without the line that its reader counts, which is always the first.
fn plain(fault: &serde_json::Error) -> String {
    let text = fault.to_string();
    let what = text.split(" at line ").next().unwrap_or_default();
    format!("{what}, at column {}", fault.column())
}

/// Expressions that were compiled, or refused, so far.
struct Compiled {
    dialect: Dialect,
    known: HashMap<Box<str>, Option<Expression>>,
    /// Bytes that they take, roughly.
    bytes: usize,
}

impl Compiled {
    fn new(dialect: Dialect) -> Self {
        Self { dialect, known: HashMap::new(), bytes: 0 }
    }

    /// The compiled expression; `None` when it is refused.
    fn of(&mut self, text: &str) -> Option<&Expression> {
        /// Bytes of an expression besides its text; its nodes take some times the text.
        const ENTRY_BYTES: usize = 512;
        if !self.known.contains_key(text) {
            if self.bytes > FILTER_CACHED_BYTES_MAX {
                self.known.clear();
                self.bytes = 0;
            }
            self.bytes += ENTRY_BYTES + text.len() * 8;
            self.known.insert(text.into(), Expression::compile(self.dialect, text).ok());
        }
        self.known.get(text)?.as_ref()
    }
}

/// Reads a line's object: gives its expression and writes its properties down as they are stored.
struct Line<'a> {
    stored: &'a mut Vec<u8>,
}

/// A text of JSON, copied only when it holds escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> DeserializeSeed<'de> for Line<'_> {
    type Value = Cow<'de, str>;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Line<'_> {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with expr and properties")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut expression = None;
        let mut has_properties = false;
        while let Some(Text(name)) = map.next_key()? {
            match &*name {
                "expr" if expression.is_some() => return Err(A::Error::duplicate_field("expr")),
                "expr" => {
                    let Text(text) = map.next_value()?;
                    expression = Some(text);
                }
                "properties" if has_properties => return Err(A::Error::duplicate_field("properties")),
                "properties" => {
                    map.next_value_seed(Properties { stored: self.stored })?;
                    has_properties = true;
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        if !has_properties {
            return Err(A::Error::missing_field("properties"));
        }
        expression.ok_or_else(|| A::Error::missing_field("expr"))
    }
}

/// Writes an object of texts down as stored properties.
struct Properties<'a> {
    stored: &'a mut Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for Properties<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Properties<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("properties, an object of texts")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while map.next_key_seed(Piece { stored: self.stored })?.is_some() {
            self.stored.push(NAME_VALUE_SEPARATOR);
            map.next_value_seed(Piece { stored: self.stored })?;
            self.stored.push(PROPERTY_SEPARATOR);
        }
        Ok(())
    }
}

/// Writes a name or a value down.
struct Piece<'a> {
    stored: &'a mut Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for Piece<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Piece<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        self.stored.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives answers a few bytes at a time, as a pipe does.
    struct Slow<'a>(&'a [u8], usize);

    impl Read for Slow<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let length = self.1.min(self.0.len()).min(into.len());
            into[..length].copy_from_slice(&self.0[..length]);
            self.0 = &self.0[length..];
            Ok(length)
        }
    }

    /// Answers, complaints, and the exit code.
    fn answered(input: &str, piece: usize) -> (String, String, Option<Exit>) {
        let (mut out, mut complaints) = (Vec::new(), Vec::new());
        let mut lines = Lines::new(Dialect::Sql92);
        lines.answer_all(&mut Slow(input.as_bytes(), piece), &mut out, &mut complaints).unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (text(out), text(complaints), lines.verdict().err().map(|failure| failure.exit))
    }

    #[test]
    fn each_line_has_its_answer() {
        let input = concat!(
            r#"{"expr": "a > 3", "properties": {"a": "5"}}"#,
            "\n",
            r#"{"properties": {"a": "x"}, "expr": "a > 3", "note": [1, {"expr": 2}]}"#,
            "\n",
            r#"{"expr": "a >", "properties": {}}"#,
            "\r\n",
            r#"{"expr": "a = '\u00e9\"'", "properties": {"b": "", "a": "\u00e9\""}}"#,
        );
        for piece in [1, 7, 1 << 20] {
            assert_eq!(answered(input, piece), ("true\nfalse\nrefused\ntrue\n".into(), String::new(), None), "{piece}");
        }
        assert_eq!(answered("", 1), (String::new(), String::new(), None));
    }

    #[test]
    fn properties_are_those_of_a_stored_message() {
        let input = concat!(
            r#"{"expr": "a IS NULL", "properties": {"a": ""}}"#,
            "\n",
            r#"{"expr": "a = '2'", "properties": {"a": "1", "a": "2"}}"#,
            "\n",
            r#"{"expr": "a = 'x'", "properties": {"a": "x\u0002b\u0001y"}}"#,
        );
        assert_eq!(answered(input, 64).0, "true\ntrue\ntrue\n");
    }

    #[test]
    fn a_line_that_is_no_question_is_an_error_with_its_number() {
        let input = concat!(
            "{\"expr\": \"a = 1\", \"properties\": {}}\n",
            "\n",
            "{\"expr\": \"a = 1\"}\n",
            "{\"expr\": \"a = 1\", \"properties\": {\"a\": 1}}\n",
            "{\"expr\": \"a = 1\", \"properties\": {}} x\n",
            "[]\n",
            "{\"expr\": \"a = 1\", \"expr\": \"b\", \"properties\": {}}\n",
            "{\"expr\": \"1 = 1\", \"properties\": {}}\n",
        );
        let (out, complaints, exit) = answered(input, 5);
        assert_eq!(out, "false\nerror\nerror\nerror\nerror\nerror\nerror\ntrue\n");
        assert_eq!(exit, Some(Exit::Failed));
        let lines: Vec<&str> = complaints.lines().collect();
        assert_eq!(lines.len(), 6, "{complaints}");
        assert!(lines[1].starts_with("line 3: missing field `properties`, at column "), "{complaints}");
        assert!(lines[2].contains("line 4: invalid type: integer `1`, expected a text"), "{complaints}");
    }

    #[test]
    fn a_line_without_end_is_thrown_away() {
        let question = r#"{"expr": "1 = 1", "properties": {}}"#;
        let long = format!(
            "{question}\n{}\n{question}\n{}",
            "x".repeat(3 * FILTER_LINE_BYTES_MAX),
            "y".repeat(2 * FILTER_LINE_BYTES_MAX)
        );
        let (out, complaints, _) = answered(&long, 1 << 16);
        assert_eq!(out, "true\nerror\ntrue\nerror\n");
        assert!(complaints.starts_with("line 2: it has more than"), "{complaints}");
    }

    #[test]
    fn the_memory_of_expressions_is_bounded() {
        let mut compiled = Compiled::new(Dialect::Sql92);
        for number in 0..40_000 {
            assert!(compiled.of(&format!("a = {number}")).is_some());
        }
        assert!(compiled.bytes <= FILTER_CACHED_BYTES_MAX + 1_024 && compiled.known.len() < 40_000);
        assert!(compiled.of("a =").is_none());
    }
}
