//! Expressions of subscriptions, compiled once: equal ones share one value.
//!
//! Owns the table of them and the choice of a group's SQL92 dialect. What an expression means is the filter's.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use strata_filter::{Filter, FilterError, SQL92, SQL92_STRICT, TAG};
use strata_protocol::body::{GroupConfig, SubscriptionData};
use thiserror::Error;

use crate::attributes::FILTER_DIALECT;
use crate::limits::{FILTERS_RECENT_BYTES_MAX, FILTERS_RECENT_MAX, FILTERS_REFUSED_MAX};
use crate::options::FilterSettings;

/// Why a subscription has no filter.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum NoFilter {
    /// Boxed, because every handler's result has room for it.
    #[error(transparent)]
    Refused(Box<FilterError>),
    /// In the words of a RocketMQ broker whose filter is switched off.
    #[error("The broker does not support consumer to filter message by {kind}: enablePropertyFilter is false")]
    Off { kind: String },
    #[error(
        "The broker does not support consumer to filter message by a class (classFilterMode), which RocketMQ removed as \
         well; use TAG or SQL92"
    )]
    ByClass,
}

impl NoFilter {
    /// Whether no expression of the kind would be served.
    pub(crate) fn is_of_kind(&self) -> bool {
        !matches!(self, Self::Refused(error) if !matches!(**error, FilterError::Unsupported { .. }))
    }
}

/// An expression, as a subscription has it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    /// `TAG`, `SQL92` or `SQL92_STRICT`; `None` and the empty text mean tags.
    pub kind: Option<&'a str>,
    pub text: &'a str,
    /// The old class filter is asked for, whatever the rest says.
    pub by_class: bool,
}

impl<'a> From<&'a SubscriptionData> for Wanted<'a> {
    fn from(data: &'a SubscriptionData) -> Self {
        Self { kind: data.expression_type.as_deref(), text: &data.sub_string, by_class: data.class_filter_mode }
    }
}

impl Wanted<'_> {
    /// Whether it is an expression over properties.
    pub(crate) fn is_sql(&self) -> bool {
        !self.by_class && matches!(self.kind, Some(SQL92 | SQL92_STRICT))
    }
}

/// All compiled expressions.
pub(crate) struct Filters {
    settings: FilterSettings,
    all: Arc<Filter>,
    /// Held for a look-up or an insertion, not while an expression is compiled.
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// By kind and text; held by the subscriptions and pulls that use them.
    live: HashMap<String, Weak<Filter>>,
    /// Entries of `live` beyond which those are looked for that nobody holds any more.
    crowded: usize,
    /// The last ones, held so that a client that names its expression in each pull does not have it compiled each
    /// time.
    recent: VecDeque<(Arc<Filter>, usize)>,
    recent_bytes: usize,
    /// What does not compile need not be tried again either.
    refused: HashMap<String, NoFilter>,
}

impl Filters {
    pub(crate) fn new(settings: FilterSettings) -> Self {
        Self { settings, all: Arc::new(Filter::All), known: Mutex::default() }
    }

    /// Whether messages that come again are held against the expression of the topic they came from.
    pub(crate) fn reaches_retries(&self) -> bool {
        self.settings.retries
    }

    /// The value of an expression, for a group.
    ///
    /// # Errors
    /// It does not compile, or its kind is not served.
    pub(crate) fn compile(&self, group: &GroupConfig, wanted: Wanted<'_>) -> Result<Arc<Filter>, NoFilter> {
        let kind = wanted.kind.filter(|kind| !kind.is_empty()).unwrap_or(TAG);
        if wanted.by_class {
            return Err(NoFilter::ByClass);
        }
        if kind == TAG && matches!(wanted.text, "" | "*") {
            return Ok(Arc::clone(&self.all));
        }
        if wanted.is_sql() && !self.settings.sql {
            return Err(NoFilter::Off { kind: kind.to_owned() });
        }
        let kind = if kind == SQL92 && is_strict(group) { SQL92_STRICT } else { kind };
        let key = format!("{kind} {}", wanted.text);
        if let Some(known) = self.known.lock().find(&key) {
            return known;
        }
        let compiled =
            Filter::compile(Some(kind), wanted.text).map(Arc::new).map_err(|error| NoFilter::Refused(Box::new(error)));
        self.known.lock().insert(key, compiled)
    }
}

/// Whether the operator chose the strict dialect for the group's SQL92 expressions.
fn is_strict(group: &GroupConfig) -> bool {
    group.attributes.get(FILTER_DIALECT).is_some_and(|dialect| dialect == SQL92_STRICT)
}

impl Known {
    fn find(&self, key: &str) -> Option<Result<Arc<Filter>, NoFilter>> {
        let live = self.live.get(key).and_then(Weak::upgrade).map(Ok);
        live.or_else(|| self.refused.get(key).cloned().map(Err))
    }

    /// Keeps a value; gives the one that somebody else brought meanwhile, so that there is only one.
    fn insert(&mut self, key: String, value: Result<Arc<Filter>, NoFilter>) -> Result<Arc<Filter>, NoFilter> {
        if let Some(known) = self.find(&key) {
            return known;
        }
        match &value {
            Err(error) => {
                if self.refused.len() >= FILTERS_REFUSED_MAX {
                    self.refused.clear();
                }
                self.refused.insert(key, error.clone());
            }
            Ok(filter) => {
                self.remember(Arc::clone(filter), key.len());
                self.live.insert(key, Arc::downgrade(filter));
                if self.live.len() > self.crowded {
                    self.live.retain(|_, filter| filter.strong_count() > 0);
                    self.crowded = 2 * self.live.len() + FILTERS_RECENT_MAX;
                }
            }
        }
        value
    }

    fn remember(&mut self, filter: Arc<Filter>, bytes: usize) {
        self.recent.push_back((filter, bytes));
        self.recent_bytes += bytes;
        while self.recent.len() > FILTERS_RECENT_MAX || self.recent_bytes > FILTERS_RECENT_BYTES_MAX {
            let Some((_, bytes)) = self.recent.pop_front() else { return };
            self.recent_bytes -= bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted<'a>(kind: &'a str, text: &'a str) -> Wanted<'a> {
        Wanted { kind: Some(kind), text, by_class: false }
    }

    fn filters() -> Filters {
        Filters::new(FilterSettings::default())
    }

    #[test]
    fn equal_expressions_are_one_value() {
        let (filters, group) = (filters(), GroupConfig::new("g"));
        let compile = |kind, text| filters.compile(&group, wanted(kind, text)).unwrap();
        for (kind, text) in [(TAG, "a || b"), (SQL92, "a = 1"), (TAG, "*"), (SQL92_STRICT, "a = 1")] {
            assert!(Arc::ptr_eq(&compile(kind, text), &compile(kind, text)), "{kind} {text}");
        }
        assert!(!Arc::ptr_eq(&compile(SQL92, "a = 1"), &compile(SQL92_STRICT, "a = 1")));
        assert!(!Arc::ptr_eq(&compile(SQL92, "a = 1"), &compile(SQL92, "a = 2")));
        let refused = filters.compile(&group, wanted(SQL92, "a ="));
        assert!(refused.is_err());
        assert_eq!(filters.compile(&group, wanted(SQL92, "a =")), refused);
    }

    #[test]
    fn the_table_is_bounded_and_keeps_what_is_used() {
        let (filters, group) = (filters(), GroupConfig::new("g"));
        let used = filters.compile(&group, wanted(SQL92, "used = 1")).unwrap();
        for number in 0..5 * FILTERS_RECENT_MAX {
            filters.compile(&group, wanted(TAG, &format!("t{number}"))).unwrap();
            let _ = filters.compile(&group, wanted(SQL92, &format!("a{number} ="))).unwrap_err();
        }
        let known = filters.known.lock();
        assert!(known.live.len() <= 3 * FILTERS_RECENT_MAX + 2, "{}", known.live.len());
        assert!(known.recent.len() <= FILTERS_RECENT_MAX && known.refused.len() <= FILTERS_REFUSED_MAX);
        drop(known);
        assert!(Arc::ptr_eq(&used, &filters.compile(&group, wanted(SQL92, "used = 1")).unwrap()));
        let long = "x".repeat(strata_filter::limits::EXPRESSION_BYTES_MAX - 8);
        for number in 0..2 * FILTERS_RECENT_BYTES_MAX / long.len() {
            filters.compile(&group, wanted(TAG, &format!("{number}{long}"))).unwrap();
        }
        assert!(filters.known.lock().recent_bytes <= FILTERS_RECENT_BYTES_MAX);
    }

    #[test]
    fn the_operator_chooses_the_dialect_and_switches_sql_off() {
        let mut group = GroupConfig::new("g");
        let filters = filters();
        let text = "a LIKE 'x%'";
        let lenient = filters.compile(&group, wanted(SQL92, text)).unwrap();
        group.attributes.insert(FILTER_DIALECT.into(), SQL92_STRICT.into());
        let strict = filters.compile(&group, wanted(SQL92, text)).unwrap();
        assert_ne!(lenient, strict);
        assert!(Arc::ptr_eq(&strict, &filters.compile(&group, wanted(SQL92_STRICT, text)).unwrap()));
        let off = Filters::new(FilterSettings { sql: false, ..FilterSettings::default() });
        for kind in [SQL92, SQL92_STRICT] {
            let refused = off.compile(&group, wanted(kind, text)).unwrap_err();
            assert!(refused.to_string().contains("does not support consumer to filter message by SQL92"), "{refused}");
        }
        assert!(off.compile(&group, wanted(TAG, "a")).is_ok());
    }

    #[test]
    fn a_class_filter_is_refused_by_name() {
        let by_class = Wanted { by_class: true, ..wanted(TAG, "*") };
        let refused = filters().compile(&GroupConfig::new("g"), by_class).unwrap_err();
        assert!(refused.to_string().contains("classFilterMode"), "{refused}");
    }
}
