//! A group's expression as a question to cold messages: to records, and to columns where one expression decides alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use strata_filter::columns::{Bound, Columns, Statistics, evaluate, may_match};
use strata_filter::sql::{EvalError, Expression};
use strata_filter::{Filter, TagSet, Verdict};
use strata_protocol::properties::TAGS;
use strata_tiering::cold::{Bounds, ColumnSift, PropertyBatch, Sift};

use crate::sieve::Sifter;

/// Asks the messages of one cold read.
pub(super) struct ColdSieve<'a> {
    sifter: &'a Sifter,
    columns: Option<ByColumns>,
    failed: AtomicU64,
    failure: Mutex<Option<EvalError>>,
}

impl<'a> ColdSieve<'a> {
    pub(super) fn of(sifter: &'a Sifter) -> Self {
        let columns = sifter.alone().and_then(ByColumns::of);
        Self { sifter, columns, failed: AtomicU64::new(0), failure: Mutex::new(None) }
    }

    /// Messages on which the expression failed, and why, of the first of them.
    pub(super) fn failure(&self) -> Option<(u64, EvalError)> {
        self.failure.lock().map(|failure| (self.failed.load(Ordering::Relaxed), failure))
    }
}

impl Sift for ColdSieve<'_> {
    fn is_open(&self) -> bool {
        self.sifter.is_open()
    }

    fn wants(&self, record: &[u8]) -> bool {
        match self.sifter.verdict(record) {
            Verdict::Match => true,
            Verdict::NoMatch => false,
            Verdict::Failed(error) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                self.failure.lock().get_or_insert(error);
                false
            }
        }
    }

    fn columns(&self) -> Option<&dyn ColumnSift> {
        self.columns.as_ref().map(|columns| columns as &dyn ColumnSift)
    }
}

/// An expression that columns can answer.
struct ByColumns {
    identity: String,
    wanted: Wanted,
}

enum Wanted {
    Tags(TagSet),
    Sql(Arc<Expression>),
}

impl ByColumns {
    fn of(filter: &Filter) -> Option<Self> {
        let (identity, wanted) = match filter {
            Filter::All => return None,
            Filter::Tags(tags) => {
                (format!("tags {}", tags.iter().collect::<Vec<_>>().join("||")), Wanted::Tags(tags.clone()))
            }
            Filter::Sql(expression) => {
                (format!("{:?} {}", expression.dialect(), expression.text()), Wanted::Sql(Arc::clone(expression)))
            }
        };
        Some(Self { identity, wanted })
    }
}

impl ColumnSift for ByColumns {
    fn identity(&self) -> &str {
        &self.identity
    }

    fn names(&self) -> Vec<&str> {
        match &self.wanted {
            Wanted::Tags(_) => vec![TAGS],
            Wanted::Sql(expression) => expression.properties().iter().map(|name| &**name).collect(),
        }
    }

    fn may_match(&self, statistics: &dyn Fn(&str) -> Bounds) -> bool {
        match &self.wanted {
            Wanted::Tags(tags) => has_tag_within(tags, &statistics(TAGS)),
            Wanted::Sql(expression) => {
                let known: Vec<(&str, Bounds)> =
                    expression.properties().iter().map(|name| (&**name, statistics(name))).collect();
                may_match(expression, |name| {
                    known.iter().find(|(of, _)| *of == name).map_or_else(Statistics::default, told)
                })
            }
        }
    }

    fn rows(&self, batch: &PropertyBatch<'_>) -> Vec<bool> {
        // What cannot be asked is fetched and asked as a record.
        self.ask(batch).unwrap_or_else(|| vec![true; batch.rows])
    }
}

fn told<'a>((_, bounds): &'a (&str, Bounds)) -> Statistics<'a> {
    Statistics {
        rows: bounds.rows,
        nulls: bounds.nulls,
        min: bounds.min.as_ref().map(|(bytes, exact)| Bound { bytes, exact: *exact }),
        max: bounds.max.as_ref().map(|(bytes, exact)| Bound { bytes, exact: *exact }),
        may_contain: None,
    }
}

/// Whether one of the tags may lie between the least and the greatest of a range.
fn has_tag_within(tags: &TagSet, bounds: &Bounds) -> bool {
    tags.iter().any(|tag| bounds.may_hold(tag.as_bytes()))
}

impl ByColumns {
    fn ask(&self, batch: &PropertyBatch<'_>) -> Option<Vec<bool>> {
        match &self.wanted {
            Wanted::Tags(tags) => {
                let (_, column) = batch.named.iter().find(|(name, _)| *name == TAGS)?;
                let texts = column.as_any().downcast_ref::<arrow_array::StringViewArray>()?;
                Some(texts.iter().map(|tag| tag.is_some_and(|tag| tags.has(tag.as_bytes()))).collect())
            }
            Wanted::Sql(expression) => {
                let mut columns = Columns::new(batch.rows);
                for (name, array) in &batch.named {
                    columns = columns.with_property(name, *array).ok()?;
                }
                if let Some(rest) = batch.rest {
                    columns = columns.with_map(rest).ok()?;
                }
                let verdicts = evaluate(expression, &columns);
                // A row that fails is asked once more as a record, which counts it.
                if !verdicts.failures.is_empty() {
                    return None;
                }
                Some(verdicts.delivered.iter().map(|delivered| delivered == Some(true)).collect())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(min: &str, max: (&str, bool)) -> Bounds {
        Bounds { min: Some((min.into(), true)), max: Some((max.0.into(), max.1)), rows: Some(9), nulls: Some(0) }
    }

    #[test]
    fn a_range_is_passed_only_when_no_tag_can_lie_in_it() {
        let Ok(Filter::Tags(tags)) = Filter::compile(None, "B || D") else { panic!("tags") };
        assert!(has_tag_within(&tags, &bounds("A", ("C", true))));
        assert!(has_tag_within(&tags, &bounds("B", ("B", true))));
        assert!(!has_tag_within(&tags, &bounds("C", ("C", true))));
        assert!(!has_tag_within(&tags, &bounds("E", ("Z", true))));
        assert!(has_tag_within(&tags, &Bounds::default()));
        assert!(!has_tag_within(&tags, &Bounds { rows: Some(4), nulls: Some(4), ..Bounds::default() }));
        let Ok(Filter::Tags(tags)) = Filter::compile(None, "abcdef") else { panic!("tags") };
        assert!(has_tag_within(&tags, &bounds("a", ("abc", false))), "the greatest text was cut");
        assert!(!has_tag_within(&tags, &bounds("a", ("abc", true))));
    }
}
