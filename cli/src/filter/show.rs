//! An explained expression, as a table and as a JSON document.
//!
//! Owns both forms. What expressions mean is the filter's matter.

use std::fmt::Write as _;

use serde::Serialize;
use strata_filter::sql::{Explanation, Expression, Outcome, Refusal};
use strata_protocol::properties::Properties;

use super::DialectName;
use crate::output::{table, text as words};

/// What one dialect says.
#[derive(Debug)]
pub(super) struct Judged {
    dialect: DialectName,
    /// Why it does not compile.
    pub(super) refused: Option<Refusal>,
    /// Its verdict on the message, if there is one.
    outcome: Option<Outcome>,
}

impl Judged {
    pub(super) fn of(dialect: DialectName, compiled: &Result<Expression, Refusal>, stored: Option<&[u8]>) -> Self {
        match compiled {
            Ok(compiled) => Self { dialect, refused: None, outcome: stored.map(|stored| compiled.evaluate(stored)) },
            Err(refused) => Self { dialect, refused: Some(refused.clone()), outcome: None },
        }
    }

    /// Whether the dialects disagree on what they take, or on this message.
    pub(super) fn differs(&self, other: &Self) -> bool {
        self.refused.is_some() != other.refused.is_some()
            || self.outcome.map(verdict_of) != other.outcome.map(verdict_of) && self.refused.is_none()
    }
}

const fn verdict_of(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::True => "TRUE",
        Outcome::False => "FALSE",
        Outcome::Null => "NULL",
        Outcome::Error(_) => "ERROR",
    }
}

/// All that is told.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Document<'a> {
    expression: &'a str,
    dialect: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<Refused>,
    /// Text that is not part of the expression; empty when all is.
    ignored: &'a str,
    /// The expression's parts, each before its own parts.
    parts: Vec<Part<'a>>,
    /// Where the message is.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
    /// The properties that the expression names, with their values in the message.
    #[serde(skip_serializing_if = "Option::is_none")]
    properties: Option<Vec<Property<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<Verdict>,
    /// What the other dialect says, where it says something else.
    #[serde(skip_serializing_if = "Option::is_none")]
    other: Option<Other>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Refused {
    /// Byte of the expression, from 0.
    position: usize,
    /// Both from 1.
    line: usize,
    column: usize,
    reason: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Part<'a> {
    /// 0 is the whole.
    depth: usize,
    kind: &'static str,
    text: &'a str,
    /// Without a message, nothing has a value.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    /// Whether the evaluation came to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    reached: Option<bool>,
}

#[derive(Debug, Serialize)]
struct Property<'a> {
    name: &'a str,
    value: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Verdict {
    outcome: &'static str,
    delivered: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Other {
    dialect: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<Refused>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<Verdict>,
}

impl From<&Refusal> for Refused {
    fn from(refusal: &Refusal) -> Self {
        let Refusal { at, line, column, cause, .. } = refusal;
        Self { position: *at, line: *line, column: *column, reason: cause.to_string() }
    }
}

impl From<Outcome> for Verdict {
    fn from(outcome: Outcome) -> Self {
        let error = match outcome {
            Outcome::Error(error) => Some(error.to_string()),
            Outcome::True | Outcome::False | Outcome::Null => None,
        };
        Self { outcome: verdict_of(outcome), delivered: outcome == Outcome::True, error }
    }
}

impl Verdict {
    fn sentence(&self) -> String {
        let Self { outcome, delivered, error } = self;
        let delivered = if *delivered { "the message is delivered" } else { "the message is not delivered" };
        match error {
            Some(error) => format!("{outcome}: {delivered}; the evaluation failed {error}"),
            None => format!("{outcome}: {delivered}"),
        }
    }
}

impl<'a> Document<'a> {
    /// What is told of the expression alone.
    pub(super) fn new(expression: &'a str, judged: &Judged, explained: Option<&Explanation<'a>>) -> Self {
        let has_message = judged.outcome.is_some();
        let parts = explained.iter().flat_map(|explained| &explained.nodes).map(|node| Part {
            depth: node.depth,
            kind: node.name,
            text: node.text,
            value: has_message.then(|| node.value.to_string()),
            reached: has_message.then_some(node.reached),
        });
        Self {
            expression,
            dialect: judged.dialect.dialect().kind(),
            refused: judged.refused.as_ref().map(Into::into),
            ignored: explained.map_or("", |explained| explained.ignored),
            parts: parts.collect(),
            message: None,
            properties: None,
            verdict: judged.outcome.map(Into::into),
            other: None,
        }
    }

    /// Adds what the message has of the properties that the expression names, as a broker reads them.
    pub(super) fn on(&mut self, place: Option<&'a str>, stored: &[u8], compiled: Option<&'a Expression>) {
        self.message = place;
        let value = |name: &str| {
            let found = Properties::of(stored).filter(|(found, value)| *found == name.as_bytes() && !value.is_empty());
            found.last().map(|(_, value)| String::from_utf8_lossy(value).into_owned())
        };
        let named = compiled.iter().flat_map(|compiled| compiled.properties());
        self.properties = Some(named.map(|name| Property { name, value: value(name) }).collect());
    }

    /// Adds what the other dialect says.
    pub(super) fn differs(&mut self, other: &Judged) {
        self.other = Some(Other {
            dialect: other.dialect.dialect().kind(),
            refused: other.refused.as_ref().map(Into::into),
            verdict: other.outcome.map(Into::into),
        });
    }
}

/// Everything for people.
pub(super) fn text(document: &Document<'_>) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{}", document.expression);
    if let Some(refused) = &document.refused {
        let _ = writeln!(
            out,
            "{}{} refuses it: {}",
            marker(document.expression, refused),
            document.dialect,
            refused.sentence()
        );
    }
    if !document.ignored.is_empty() {
        let _ = writeln!(out, "ignored, since it is not part of the expression: {}", document.ignored);
    }
    if let Some(place) = document.message {
        let _ = writeln!(out, "message: {place}");
    }
    if !document.parts.is_empty() {
        let _ = writeln!(out, "\n{}", parts(document));
    }
    let missing = document.properties.iter().flatten().filter(|property| property.value.is_none());
    let missing: Vec<&str> = missing.map(|property| property.name).collect();
    if !missing.is_empty() {
        let _ = writeln!(out, "\nnot among the message's properties: {}", missing.join(", "));
    }
    match &document.verdict {
        Some(verdict) => {
            let _ = writeln!(out, "\n{}: {}", document.dialect, verdict.sentence());
        }
        None if document.refused.is_none() => {
            let _ = writeln!(
                out,
                "\nGive a message with --properties K=V ... or --message ID to see values and the verdict."
            );
        }
        None => {}
    }
    if let Some(other) = &document.other {
        let says = match (&other.refused, &other.verdict) {
            (Some(refused), _) => format!("refuses it: {}", refused.sentence()),
            (None, Some(verdict)) => verdict.sentence(),
            (None, None) => String::from("takes it"),
        };
        let _ = writeln!(out, "but {}: {says}", other.dialect);
    }
    out.trim_end().to_owned()
}

impl Refused {
    fn sentence(&self) -> String {
        let Self { position, line, column, reason } = self;
        format!("at position {position} (line {line}, column {column}): {reason}")
    }
}

/// A mark under the place of a refusal; nothing where it would not stand there.
fn marker(expression: &str, refused: &Refused) -> String {
    /// Characters of an expression that a terminal shows in one line.
    const SHOWN_CHARS_MAX: usize = 100;
    let plain = expression.len() <= SHOWN_CHARS_MAX && expression.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if plain { format!("{}^\n", " ".repeat(refused.position)) } else { String::new() }
}

/// The parts with their values, each below what it belongs to.
fn parts(document: &Document<'_>) -> String {
    /// Levels that are shown by blanks; what lies deeper is shown as deep as that.
    const INDENTED_LEVELS_MAX: usize = 20;
    let rows = document.parts.iter().map(|part| {
        let indent = "  ".repeat(part.depth.min(INDENTED_LEVELS_MAX));
        let shown: String = part.text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let value = match (&part.value, part.reached) {
            (Some(_), Some(false)) => String::from("(not evaluated)"),
            (Some(value), _) => value.clone(),
            (None, _) => String::new(),
        };
        [format!("{indent}{shown}"), part.kind.to_owned(), value]
    });
    table(&[words("PART"), words("KIND"), words("VALUE")], rows)
}

#[cfg(test)]
mod tests {
    use strata_filter::sql::{Dialect, explain};

    use super::*;

    /// What is shown of an expression in Apache's dialect, beside what a judge of the other dialect would say.
    fn told(expression: &str, stored: Option<&[u8]>, other: Option<&Judged>) -> (String, serde_json::Value) {
        let compile = || Expression::compile(Dialect::Sql92, expression);
        let judged = Judged::of(DialectName::Sql92, &compile(), stored);
        let compiled = compile().ok();
        let explained = compiled.as_ref().map(|compiled| explain(compiled, stored.unwrap_or_default()));
        let mut document = Document::new(expression, &judged, explained.as_ref());
        if let Some(stored) = stored {
            document.on(None, stored, compiled.as_ref());
        }
        if let Some(other) = other.filter(|other| judged.differs(other)) {
            document.differs(other);
        }
        (text(&document), serde_json::to_value(&document).unwrap())
    }

    #[test]
    fn parts_have_their_values() {
        let (shown, json) = told("a > 3 AND b = 'x' junk ; here", Some(b"a\x015\x02b\x01\x02"), None);
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines[0], "a > 3 AND b = 'x' junk ; here");
        assert_eq!(lines[1], "ignored, since it is not part of the expression: junk ; here");
        assert!(shown.contains("\n  a > 3            "), "{shown}");
        assert!(shown.contains("\nnot among the message's properties: b\n"), "{shown}");
        assert!(shown.ends_with("\nSQL92: NULL: the message is not delivered"), "{shown}");
        assert_eq!(json["ignored"], "junk ; here");
        assert_eq!(json["properties"][0], serde_json::json!({"name": "a", "value": "5"}));
        assert_eq!(json["properties"][1], serde_json::json!({"name": "b", "value": null}));
        assert_eq!(json["verdict"], serde_json::json!({"outcome": "NULL", "delivered": false}));
        let whole = &json["parts"][0];
        assert_eq!((&whole["text"], &whole["value"]), (&"a > 3 AND b = 'x'".into(), &"NULL".into()), "{json:#}");
    }

    #[test]
    fn what_stands_behind_a_decision_is_not_evaluated() {
        let (shown, json) = told("b = 1 OR a > 3", Some(b"a\x01x\x02b\x011\x02"), None);
        assert!(
            shown.contains("(not evaluated)") && shown.ends_with("SQL92: TRUE: the message is delivered"),
            "{shown}"
        );
        assert_eq!(json["verdict"]["delivered"], true);
        let (shown, json) = told("a > 3 OR b = 1", Some(b"a\x01x\x02b\x011\x02"), None);
        assert!(shown.contains("SQL92: ERROR: the message is not delivered; the evaluation failed"), "{shown}");
        assert!(json["verdict"]["error"].is_string(), "{json:#}");
    }

    #[test]
    fn a_refusal_is_marked_and_the_other_dialect_has_its_say() {
        let (shown, json) = told("a != 1", Some(b"a\x012\x02"), None);
        assert!(shown.starts_with("a != 1\n  ^\nSQL92 refuses it: at position 2 (line 1, column 3): "), "{shown}");
        assert_eq!(json["refused"]["position"], 2);
        let takes = Judged { dialect: DialectName::Strict, refused: None, outcome: Some(Outcome::True) };
        let (shown, json) = told("a != 1", Some(b"a\x012\x02"), Some(&takes));
        assert!(shown.ends_with("\nbut SQL92_STRICT: TRUE: the message is delivered"), "{shown}");
        assert_eq!(json["other"]["dialect"], "SQL92_STRICT");
        let (_, json) = told("a = 2", Some(b"a\x012\x02"), Some(&takes));
        assert!(json.get("other").is_none(), "{json:#}");
    }

    #[test]
    fn without_a_message_there_are_no_values() {
        let (shown, json) = told("a = 1", None, None);
        assert!(shown.contains("Give a message with --properties"), "{shown}");
        assert!(json["parts"][0].get("value").is_none() && json.get("verdict").is_none(), "{json:#}");
    }
}
