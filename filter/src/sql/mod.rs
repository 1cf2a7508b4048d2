//! SQL filters: expressions over a message's properties, compiled once, evaluated on the bytes that lie in the log.
//!
//! Two dialects. [`Dialect::Sql92`] gives Apache RocketMQ's verdicts, quirks included; its rules are told where they
//! are built: tokens in `lexer`, grammar in `parser`, what is checked while parsing in `checks`, comparisons in
//! `value`, numbers as text in `java`. [`Dialect::Strict`] reads standard SQL; its table of meanings is in `strict`.
//!
//! Parsing keeps what is open in a vector and evaluation runs a flat list of steps, so nothing recurses on input. Both
//! are linear: in the text, and in the steps plus the properties.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "a grammar names the tokens that it takes and refuses the rest; types of values are paired likewise"
)]

mod checks;
mod compile;
mod explain;
mod java;
mod lexer;
mod parser;
mod program;
mod refusal;
mod slots;
mod strict;
mod tags;
mod tree;
mod value;

use std::fmt;

use smallvec::SmallVec;

pub use explain::{ExplainedNode, ExplainedValue, Explanation, explain, explain_values};
pub use refusal::{Cause, Refusal};
pub use value::EvalCause;

use crate::limits::EXPRESSION_BYTES_MAX;
use tree::{NodeId, Tree};

// What the columns are evaluated with too.
pub(crate) use program::{Program, Step};
pub(crate) use slots::Names;
pub(crate) use strict::{StrictStep, Test, same};
pub(crate) use tree::{Find, Order, Slot};
pub(crate) use value::{Truth, Value, compare_text};

/// How an expression is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// As Apache RocketMQ reads it, quirks included (`ExpressionType.SQL92`).
    Sql92,
    /// As standard SQL reads it.
    Strict,
}

impl Dialect {
    /// The expression type that clients send.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Sql92 => crate::SQL92,
            Self::Strict => crate::SQL92_STRICT,
        }
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())
    }
}

/// What an expression says of a message. Only `True` delivers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It matches.
    True,
    /// It does not match.
    False,
    /// Unknown, mostly because a property is missing.
    Null,
    /// The evaluation failed, which Apache RocketMQ's does by an exception.
    Error(EvalError),
}

/// Why an evaluation failed, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("at position {at}: {cause}")]
pub struct EvalError {
    /// The byte of the expression's text at which the comparison's operator stands.
    pub at: u32,
    /// What failed.
    pub cause: EvalCause,
}

/// A compiled expression. Equal texts of one dialect are equal values.
#[derive(Debug, Clone)]
pub struct Expression {
    dialect: Dialect,
    text: Box<str>,
    ignored_from: usize,
    tree: Tree,
    root: NodeId,
    names: Names,
    program: Program,
    /// Hash codes of tags, of which a message must have one.
    tags: Option<Box<[i32]>>,
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.dialect == other.dialect && self.text == other.text
    }
}

impl Eq for Expression {}

/// Names of properties whose values are kept on the stack; more are put on the heap, once for a message.
const VALUES_INLINE: usize = 4;
/// The next step before the heap.
const VALUES_INLINE_MANY: usize = 64;

impl Expression {
    /// Compiles `text`.
    ///
    /// # Errors
    /// What the dialect does not take, and what is above the bounds of [`crate::limits`].
    pub fn compile(dialect: Dialect, text: &str) -> Result<Self, Refusal> {
        if text.len() > EXPRESSION_BYTES_MAX {
            return Err(Refusal::new(dialect, "", 0, Cause::TooLong { bytes: text.len() }));
        }
        let parsed = match dialect {
            Dialect::Sql92 => parser::parse(text)?,
            Dialect::Strict => strict::parse(text)?,
        };
        let program = compile::compile(&parsed.tree, parsed.root);
        if program.waiting > program::WAITING_MAX {
            return Err(Refusal::new(dialect, text, 0, Cause::TooDeep));
        }
        Ok(Self {
            dialect,
            text: text.into(),
            ignored_from: parsed.ignored_from,
            names: Names::new(parsed.tree.names()),
            program,
            root: parsed.root,
            tags: tags::required(&parsed.tree, parsed.root),
            tree: parsed.tree,
        })
    }

    /// What the expression says of a message with these properties, which lie as in the log
    /// (`name 0x01 value 0x02 ...`). A property with an empty value does not exist there, as for RocketMQ's decoder.
    #[must_use]
    pub fn evaluate(&self, properties: &[u8]) -> Outcome {
        if self.properties().len() <= VALUES_INLINE {
            let mut values = [None; VALUES_INLINE];
            self.names.find(properties, &mut values);
            return self.evaluate_values(&values);
        }
        self.evaluate_many(properties)
    }

    /// [`Expression::evaluate`] with room for more values, which the common case need not clear.
    #[inline(never)]
    fn evaluate_many(&self, properties: &[u8]) -> Outcome {
        self.with_values(properties, |values| self.evaluate_values(values))
    }

    /// What the expression says of these values of its [`Expression::properties`], in their order. Here an empty value
    /// is one, as in Apache RocketMQ's evaluator; `None` is a missing property.
    #[must_use]
    #[inline]
    pub fn evaluate_values(&self, values: &[Option<&[u8]>]) -> Outcome {
        match self.program.run(values) {
            Ok(Truth::True) => Outcome::True,
            Ok(Truth::False) => Outcome::False,
            Ok(Truth::Null) => Outcome::Null,
            Err(error) => Outcome::Error(error),
        }
    }

    /// Calls `with` with the values that the properties have in the log.
    fn with_values<'a, T>(&self, properties: &'a [u8], with: impl FnOnce(&[Option<&'a [u8]>]) -> T) -> T {
        let mut values: SmallVec<[Option<&'a [u8]>; VALUES_INLINE_MANY]> = SmallVec::new();
        values.resize(self.properties().len(), None);
        self.names.find(properties, &mut values);
        with(&values)
    }

    /// May the expression be true of a message with this tags code? `false` is certain, and known without the message's
    /// properties: `TAGS = 'a' AND price > 10` is true of messages with one tag only.
    #[must_use]
    pub fn may_have_code(&self, tags_code: i64) -> bool {
        let Some(codes) = &self.tags else { return true };
        i32::try_from(tags_code).is_ok_and(|code| codes.binary_search(&code).is_ok())
    }

    /// The text as it was given.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The dialect in which it was read.
    #[must_use]
    pub const fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The text behind the expression, which Apache RocketMQ never reads but for its first token; empty if there is
    /// none. Whoever wrote it means something that the filter does not do.
    #[must_use]
    pub fn ignored(&self) -> &str {
        self.text.get(self.ignored_from..).unwrap_or_default().trim_end()
    }

    /// The names of the properties that it uses, each once.
    #[must_use]
    pub fn properties(&self) -> &[Box<str>] {
        self.tree.names()
    }

    /// The steps that a row runs.
    pub(crate) const fn program(&self) -> &Program {
        &self.program
    }

    const fn tree(&self) -> &Tree {
        &self.tree
    }

    const fn root(&self) -> NodeId {
        self.root
    }
}
