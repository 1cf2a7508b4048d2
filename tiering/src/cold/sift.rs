//! What a reader wants of a queue's messages, as a question to records and, where that can be, to columns.
//!
//! Owns the questions only. Columns decide what is fetched; what is fetched is asked once more as a record, so that an
//! answer never depends on columns alone.

use arrow_array::{Array, MapArray};

/// Decides which messages a reader gets.
pub trait Sift: Send + Sync {
    /// Whether all are wanted.
    fn is_open(&self) -> bool {
        false
    }

    /// Whether the message is wanted.
    fn wants(&self, record: &[u8]) -> bool;

    /// The same question to columns, if it can be asked.
    fn columns(&self) -> Option<&dyn ColumnSift> {
        None
    }
}

/// A question to columns of properties. It may say yes where the record says no, and never the other way round.
pub trait ColumnSift: Send + Sync {
    /// A text that is the same for the same question and no other.
    fn identity(&self) -> &str;

    /// The properties that are looked at.
    fn names(&self) -> Vec<&str>;

    /// Whether a row of a range may be wanted, by what is known of each property in it.
    fn may_match(&self, statistics: &dyn Fn(&str) -> Bounds) -> bool;

    /// For each row whether it may be wanted.
    fn rows(&self, batch: &PropertyBatch<'_>) -> Vec<bool>;
}

/// What is known of a property in a range of rows; `None` is not known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Rows of the range.
    pub rows: Option<u64>,
    /// Rows without the property.
    pub nulls: Option<u64>,
    /// The least text, and whether some row has this very text.
    pub min: Option<(Vec<u8>, bool)>,
    /// The greatest text, likewise.
    pub max: Option<(Vec<u8>, bool)>,
}

impl Bounds {
    /// Whether some row may have this very text.
    #[must_use]
    pub fn may_hold(&self, text: &[u8]) -> bool {
        if self.rows.is_some() && self.rows == self.nulls {
            return false;
        }
        let is_above = self.min.as_ref().is_none_or(|(min, _)| text >= min.as_slice());
        // A text that was cut may go on behind its end.
        let is_below = self.max.as_ref().is_none_or(|(max, exact)| {
            text <= max.as_slice() || !exact && text.get(..max.len()).is_none_or(|head| head <= max.as_slice())
        });
        is_above && is_below
    }
}

/// Properties of some rows.
#[derive(Debug)]
pub struct PropertyBatch<'a> {
    /// Rows.
    pub rows: usize,
    /// Properties with a column.
    pub named: Vec<(&'a str, &'a dyn Array)>,
    /// The others, if one of them is looked at.
    pub rest: Option<&'a MapArray>,
}

/// Keeps everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct KeepAll;

impl Sift for KeepAll {
    fn is_open(&self) -> bool {
        true
    }

    fn wants(&self, _record: &[u8]) -> bool {
        true
    }
}
