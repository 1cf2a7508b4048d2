//! Why an SQL expression does not compile: where, and what is wrong there.
//!
//! Owns the words that users read in the remark of a refused subscription.

use std::fmt;

use thiserror::Error;

use super::Dialect;
use crate::limits::{
    EXPRESSION_BYTES_MAX, SQL_ELEMENTS_MAX, SQL_LEVELS_MAX, SQL_NODES_MAX, SQL_QUOTE_CHARS_MAX,
    SQL_STRICT_ELEMENTS_MAX, SQL_STRICT_LEVELS_MAX, SQL_STRICT_NODES_MAX,
};

/// An expression that does not compile. Its text is the remark for users.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The byte of the expression's text at which the cause was found, counted from 0.
    pub at: usize,
    /// The line of that byte, counted from 1.
    pub line: usize,
    /// The character of that line, counted from 1.
    pub column: usize,
    /// The dialect that refuses.
    pub dialect: Dialect,
    /// What is wrong.
    pub cause: Cause,
}

/// What is wrong with an expression.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Cause {
    /// There is no expression.
    #[error("the expression is empty")]
    Empty,
    /// The text is too long.
    #[error("the expression has {bytes} bytes, the limit is {EXPRESSION_BYTES_MAX}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// Too many parentheses or unary operators are open.
    #[error("more than {SQL_LEVELS_MAX} parentheses and unary operators are nested")]
    TooDeep,
    /// The tree is too large.
    #[error("the expression has more than {SQL_NODES_MAX} operators and operands")]
    TooManyNodes,
    /// An IN list is too long.
    #[error("the list has more than {SQL_ELEMENTS_MAX} elements")]
    ListTooLong,
    /// A character with which nothing begins.
    #[error("the character {character:?} cannot stand here{}", hint(*character))]
    Character {
        /// The character.
        character: char,
    },
    /// A string literal without its closing quote.
    #[error("the string that begins here has no closing quote")]
    OpenString,
    /// A comment without its end.
    #[error("the comment that begins here has no end")]
    OpenComment,
    /// One thing was expected and another found.
    #[error("{expected} is expected, found {found}")]
    Expected {
        /// What the grammar allows here.
        expected: &'static str,
        /// What stands here, quoted.
        found: String,
    },
    /// An integer beyond 64 bits.
    #[error("the integer {literal} is above 9223372036854775807")]
    IntegerRange {
        /// The literal, quoted.
        literal: String,
    },
    /// A floating point literal that a double cannot hold, or holds as zero.
    #[error("the number {literal} is zero or infinite as a double, which this dialect does not take; write 0 for zero")]
    DoubleRange {
        /// The literal, quoted.
        literal: String,
    },
    /// A condition is needed and something else stands there.
    #[error("{operand} is not a condition: only a comparison, TRUE, FALSE, NULL or a property can stand here")]
    NotCondition {
        /// The operand, quoted.
        operand: String,
    },
    /// An operand that the operator does not take.
    #[error("{operand} cannot be compared by {operator}: {reason}")]
    NotComparable {
        /// The operand, quoted.
        operand: String,
        /// The operator.
        operator: &'static str,
        /// What it takes.
        reason: &'static str,
    },
    /// IN without a property on its left.
    #[error("IN takes a property on its left, found {operand}")]
    InWithoutProperty {
        /// The operand, quoted.
        operand: String,
    },
    /// BETWEEN whose constants hold nothing between them.
    #[error("BETWEEN {low} AND {high} holds nothing: the first bound must not be above the second")]
    EmptyRange {
        /// The lower bound, quoted.
        low: String,
        /// The upper bound, quoted.
        high: String,
    },
    /// Too many parentheses and NOT are open, in the strict dialect.
    #[error("more than {SQL_STRICT_LEVELS_MAX} parentheses and NOT are nested")]
    StrictDepth,
    /// The tree is too large for the strict dialect.
    #[error("the expression has more than {SQL_STRICT_NODES_MAX} operators and operands")]
    StrictNodes,
    /// An IN list is too long for the strict dialect.
    #[error("the list has more than {SQL_STRICT_ELEMENTS_MAX} elements")]
    StrictList,
    /// The text cannot be cut into tokens.
    #[error("{reason}")]
    NotToken {
        /// What is wrong.
        reason: String,
    },
    /// A number that no double holds.
    #[error("the number {literal} is too large")]
    TooLargeNumber {
        /// The literal, quoted.
        literal: String,
    },
    /// The pattern of LIKE, or its escape character.
    #[error("the pattern of LIKE is wrong: {reason}")]
    BadPattern {
        /// What is wrong.
        reason: &'static str,
    },
    /// Something that the dialect does not have.
    #[error("{what} is not served by this dialect{}", .instead.map(|text| format!("; {text}")).unwrap_or_default())]
    NotServed {
        /// Its name.
        what: String,
        /// What to write.
        instead: Option<&'static str>,
    },
}

/// What to write where a character came from another language.
const fn hint(character: char) -> &'static str {
    match character {
        '!' => "; write <> for \"not equal\"",
        '"' => "; strings stand in single quotes",
        '.' => "; names hold letters, digits, _ and $",
        '*' | '/' | '%' => "; there is no arithmetic",
        _ => "",
    }
}

impl Refusal {
    /// A refusal of `text` at byte `at`.
    pub(crate) fn new(dialect: Dialect, text: &str, at: usize, cause: Cause) -> Self {
        let mut at = at.min(text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        let before = &text[..at];
        let line_start = before.rfind('\n').map_or(0, |end| end + 1);
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        Self { at, line, column: before[line_start..].chars().count() + 1, dialect, cause }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, line, column, dialect, cause } = self;
        write!(f, "{dialect} expression refused at position {at} (line {line}, column {column}): {cause}")
    }
}

impl std::error::Error for Refusal {}

/// A part of the text as a message shows it: in backquotes, shortened, control characters as escapes.
pub(crate) fn quoted(part: &str) -> String {
    let mut shown = String::from("`");
    for character in part.chars().take(SQL_QUOTE_CHARS_MAX) {
        if character.is_control() {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown.push_str(if part.chars().nth(SQL_QUOTE_CHARS_MAX).is_some() { "...`" } else { "`" });
    shown
}
