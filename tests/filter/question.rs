//! One question of the comparison: an expression, and properties on which it is evaluated.
//!
//! Owns what a question and a verdict are. Who makes questions and who answers them is in the other files.

use std::fmt;

use crate::rules::RuleSet;

/// What became of an expression on one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Verdict {
    /// It does not compile.
    Refused,
    /// Delivered.
    True,
    /// Not delivered.
    False,
    /// Not delivered: unknown.
    Null,
    /// Not delivered: evaluation failed.
    Error,
    /// The evaluator panicked or contradicts its own explanation; never Apache's verdict.
    Broken,
}

impl Verdict {
    /// What Apache can answer, in the order of the coverage table.
    pub(crate) const ALL: [Self; 5] = [Self::Refused, Self::True, Self::False, Self::Null, Self::Error];

    /// Its place in [`Verdict::ALL`].
    pub(crate) const fn column(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Refused => "refused",
            Self::True => "TRUE",
            Self::False => "FALSE",
            Self::Null => "NULL",
            Self::Error => "ERROR",
            Self::Broken => "BROKEN",
        };
        f.pad(name)
    }
}

/// Properties as they lie in a stored message, and what is odd about them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stored {
    pub(crate) text: Vec<u8>,
    pub(crate) rules: RuleSet,
}

impl Stored {
    /// One property, or none when there is no value.
    pub(crate) fn one(name: &str, value: Option<&str>) -> Self {
        Self::of(&[(name, value)])
    }

    /// Properties as a producer writes them; those without a value are left out.
    pub(crate) fn of(entries: &[(&str, Option<&str>)]) -> Self {
        let mut text = Vec::new();
        for (name, value) in entries {
            if let Some(value) = value {
                text.extend_from_slice(name.as_bytes());
                text.push(1);
                text.extend_from_slice(value.as_bytes());
                text.push(2);
            }
        }
        Self { text, rules: RuleSet::default() }
    }
}

/// An expression and the properties on which it is evaluated.
#[derive(Debug, Clone, Default)]
pub(crate) struct Question {
    pub(crate) expression: String,
    pub(crate) properties: Vec<Stored>,
    /// What of the grammar the expression uses.
    pub(crate) rules: RuleSet,
}

impl Question {
    /// A question that says nothing of grammar.
    pub(crate) fn plain(expression: impl Into<String>, properties: Vec<Stored>) -> Self {
        Self { expression: expression.into(), properties, rules: RuleSet::default() }
    }
}

/// Where two verdicts differ.
#[derive(Debug, Clone)]
pub(crate) struct Difference {
    pub(crate) expression: String,
    pub(crate) properties: Vec<u8>,
    pub(crate) apache: Verdict,
    pub(crate) strata: Verdict,
}
