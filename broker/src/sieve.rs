//! What a pull lets through: the question that each message of a queue is asked.
//!
//! Owns which expression applies to a message, and the time that asking may take.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use strata_filter::sql::EvalError;
use strata_filter::{Filter, Verdict};
use strata_protocol::properties;
use strata_protocol::record::properties_of;
use strata_store::{Clock, Keep};

/// The expressions that apply to one queue for one group.
#[derive(Debug, Clone)]
pub(crate) struct Sifter {
    own: Arc<Filter>,
    /// In the group's retry topic: expressions over properties, by the topic that a message came from first. What
    /// the group did not want the first time it does not want again, also if it changed its mind meanwhile.
    of_origin: Option<Arc<HashMap<String, Arc<Filter>>>>,
}

impl From<Arc<Filter>> for Sifter {
    fn from(own: Arc<Filter>) -> Self {
        Self { own, of_origin: None }
    }
}

impl Sifter {
    /// The sifter of a retry topic.
    pub(crate) fn of_retries(own: Arc<Filter>, of_origin: HashMap<String, Arc<Filter>>) -> Self {
        Self { own, of_origin: Some(Arc::new(of_origin)).filter(|origins| !origins.is_empty()) }
    }

    /// Whether everything is let through.
    pub(crate) fn is_open(&self) -> bool {
        matches!(*self.own, Filter::All) && self.of_origin.is_none()
    }

    /// The expression that decides alone; `None` where that depends on the message.
    pub(crate) fn alone(&self) -> Option<&Filter> {
        self.of_origin.is_none().then_some(&*self.own)
    }

    /// May a message with this tags code be let through? `false` is certain.
    pub(crate) fn matches_code(&self, tags_code: i64) -> bool {
        self.own.matches_code(tags_code)
    }

    /// Whether each message must be looked into.
    fn reads_records(&self) -> bool {
        matches!(*self.own, Filter::Sql(_)) || self.of_origin.is_some()
    }

    pub(crate) fn verdict(&self, record: &[u8]) -> Verdict {
        if matches!(*self.own, Filter::All) && self.of_origin.is_none() {
            return Verdict::Match;
        }
        let Some(text) = properties_of(record) else { return Verdict::NoMatch };
        let Some(origins) = &self.of_origin else { return self.own.verdict_of(text) };
        let origin = properties::find_str(text, properties::RETRY_TOPIC);
        match (self.own.verdict_of(text), origin.and_then(|origin| origins.get(origin))) {
            (Verdict::Match, Some(filter)) => filter.verdict_of(text),
            (verdict, _) => verdict,
        }
    }
}

/// The time that a read may take.
#[derive(Clone, Copy)]
pub(crate) struct Until<'a> {
    pub clock: &'a dyn Clock,
    pub end: Duration,
}

impl Until<'_> {
    fn is_past(&self) -> bool {
        self.clock.monotonic() >= self.end
    }
}

/// Asks the messages of one read.
pub(crate) struct Sieve<'a> {
    pub sifter: &'a Sifter,
    pub until: Until<'a>,
    /// Messages on which the expression failed.
    pub failed: u64,
    /// Why, of the first of them.
    pub failure: Option<EvalError>,
}

impl Keep for Sieve<'_> {
    fn by_tag(&mut self, tags_code: i64) -> bool {
        self.sifter.matches_code(tags_code)
    }

    fn by_record(&mut self, record: &[u8]) -> bool {
        match self.sifter.verdict(record) {
            Verdict::Match => true,
            Verdict::NoMatch => false,
            Verdict::Failed(error) => {
                self.failed += 1;
                self.failure.get_or_insert(error);
                false
            }
        }
    }

    fn reads_records(&self) -> bool {
        self.sifter.reads_records()
    }

    fn is_over(&mut self) -> bool {
        self.until.is_past()
    }
}

/// Counts what would be let through, and lets nothing through.
pub(crate) struct Count<'a> {
    pub sifter: &'a Sifter,
    pub until: Until<'a>,
    pub matches: u64,
}

impl Keep for Count<'_> {
    fn by_tag(&mut self, tags_code: i64) -> bool {
        self.sifter.matches_code(tags_code)
    }

    fn by_record(&mut self, record: &[u8]) -> bool {
        self.matches += u64::from(matches!(self.sifter.verdict(record), Verdict::Match));
        false
    }

    fn reads_records(&self) -> bool {
        self.sifter.reads_records()
    }

    fn is_over(&mut self) -> bool {
        self.until.is_past()
    }
}
