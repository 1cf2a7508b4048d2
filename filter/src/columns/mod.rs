//! The same expressions over columns: a batch of messages whose often-used properties are arrow arrays, and whose other
//! properties are a map or the text in which they lie in the log.
//!
//! [`evaluate`] delivers exactly the rows that [`Expression::evaluate`] delivers when it is given the same properties
//! as they lie in the log, in both dialects: a null, an empty text and a missing entry are all a missing property; what
//! fails is not delivered; what a row does not reach, because an operand before it decided, is not evaluated for it and
//! cannot fail. It runs the steps that a row runs, each on 64 rows at once: `run` says how, `texts` which arrays are
//! read, `rest` how properties without a column are found.
//!
//! [`may_match`] answers from the statistics of a range alone whether a row of it can match; `prune` says how sharply.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "steps that jump or join truths are named, all others test; array types that hold no texts are refused"
)]

mod prune;
mod rest;
mod run;
mod texts;

use arrow_array::{Array, BooleanArray, MapArray};
use thiserror::Error;

pub use prune::{Bound, MayContain, Statistics, may_match};

use crate::sql::{EvalError, Expression};
use rest::Rest;
use texts::Column;

/// Why columns cannot be evaluated.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ColumnError {
    /// An array holds no texts.
    #[error(
        "the column {column} is {found}; properties are read from Utf8, Binary, their large and view forms, \
         and dictionaries of them"
    )]
    Type {
        /// Its name.
        column: String,
        /// The arrow type that it has.
        found: String,
    },
    /// An array has another number of rows than the batch.
    #[error("the column {column} has {rows} rows, the batch has {expected}")]
    Rows {
        /// Its name.
        column: String,
        /// Its rows.
        rows: usize,
        /// Those of the batch.
        expected: usize,
    },
}

/// The properties of a batch of messages, one a row.
#[derive(Debug, Clone)]
pub struct Columns<'a> {
    rows: usize,
    named: Vec<(&'a str, Column<'a>)>,
    rest: Rest<'a>,
}

impl<'a> Columns<'a> {
    /// A batch of `rows` messages without any property.
    #[must_use]
    pub const fn new(rows: usize) -> Self {
        Self { rows, named: Vec::new(), rest: Rest::None }
    }

    /// Adds the column of the property `name`, which is then looked for nowhere else. Of two columns of one name the
    /// first one counts.
    ///
    /// # Errors
    /// An array of another length than the batch, or of a type that holds no texts.
    pub fn with_property(mut self, name: &'a str, array: &'a dyn Array) -> Result<Self, ColumnError> {
        let column = self.checked(name, array)?;
        self.named.push((name, column));
        Ok(self)
    }

    /// Takes the other properties from a map of texts; of equal names the last one that has a value counts.
    ///
    /// # Errors
    /// A map of another length than the batch, or one that holds something else than texts.
    pub fn with_map(mut self, map: &'a MapArray) -> Result<Self, ColumnError> {
        self.check_rows("of the map", map.len())?;
        self.rest = Rest::map(map)?;
        Ok(self)
    }

    /// Takes the other properties from their text, as it lies in the log (`name 0x01 value 0x02 ...`).
    ///
    /// # Errors
    /// An array of another length than the batch, or of a type that holds no texts.
    pub fn with_stored(mut self, array: &'a dyn Array) -> Result<Self, ColumnError> {
        self.rest = Rest::Stored(self.checked("of the stored properties", array)?);
        Ok(self)
    }

    fn checked(&self, name: &str, array: &'a dyn Array) -> Result<Column<'a>, ColumnError> {
        self.check_rows(name, array.len())?;
        Column::new(name, array)
    }

    fn check_rows(&self, name: &str, rows: usize) -> Result<(), ColumnError> {
        if rows == self.rows {
            return Ok(());
        }
        Err(ColumnError::Rows { column: name.to_owned(), rows, expected: self.rows })
    }

    fn column(&self, name: &str) -> Option<&Column<'a>> {
        self.named.iter().find(|(known, _)| *known == name).map(|(_, column)| column)
    }
}

/// What an expression says of the rows of a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdicts {
    /// For each row whether it is delivered; never null.
    pub delivered: BooleanArray,
    /// Each failure and the number of rows that it kept from being delivered, in the order of the expression. A row
    /// fails at most once. Empty in the strict dialect, where nothing fails.
    pub failures: Vec<(EvalError, usize)>,
}

/// Evaluates an expression on each row.
#[must_use]
pub fn evaluate(expression: &Expression, columns: &Columns<'_>) -> Verdicts {
    run::run(expression, columns)
}
