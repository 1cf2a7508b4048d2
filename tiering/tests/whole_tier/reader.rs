//! Readers: what they are given is what the model says, or an error.

use std::sync::Arc;

use arc_swap::ArcSwap;
use arrow_array::StringViewArray;
use strata_protocol::properties;
use strata_protocol::record::{properties_of, records};
use strata_tiering::bucket::Bucket;
use strata_tiering::cold::{Ask, Bounds, CacheOptions, Cold, ColdRead, ColdStatus, ColumnSift, PropertyBatch, Sift};
use strata_tiering::manifest::Manifest;

use crate::model::{Expected, Model, QUEUES, TOPICS};

pub(crate) const CACHE: CacheOptions = CacheOptions { memory_bytes: 4 * 1024 * 1024, disk: None };

/// Messages with a tag, or all.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tagged {
    pub(crate) tag: Option<&'static str>,
    /// Whether columns are asked first.
    pub(crate) by_columns: bool,
}

pub(crate) const ALL: Tagged = Tagged { tag: None, by_columns: false };

impl Sift for Tagged {
    fn is_open(&self) -> bool {
        self.tag.is_none()
    }

    fn wants(&self, record: &[u8]) -> bool {
        self.tag.is_none_or(|tag| properties::find(properties_of(record).unwrap(), "TAGS") == Some(tag.as_bytes()))
    }

    fn columns(&self) -> Option<&dyn ColumnSift> {
        (self.tag.is_some() && self.by_columns).then_some(self as &dyn ColumnSift)
    }
}

impl ColumnSift for Tagged {
    fn identity(&self) -> &str {
        self.tag.unwrap()
    }

    fn names(&self) -> Vec<&str> {
        vec!["TAGS"]
    }

    fn may_match(&self, statistics: &dyn Fn(&str) -> Bounds) -> bool {
        let Bounds { rows, nulls, .. } = statistics("TAGS");
        rows.is_none() || rows != nulls
    }

    fn rows(&self, batch: &PropertyBatch<'_>) -> Vec<bool> {
        let (_, column) = batch.named.iter().find(|(name, _)| *name == "TAGS").unwrap();
        let texts = column.as_any().downcast_ref::<StringViewArray>().unwrap();
        texts.iter().map(|text| text == self.tag).collect()
    }
}

/// A reader of a manifest that it is given.
pub(crate) struct Reader {
    pub(crate) cold: Cold,
    shown: Arc<ArcSwap<Manifest>>,
}

impl Reader {
    pub(crate) async fn open(bucket: Bucket, home: &str) -> Self {
        let shown = Arc::new(ArcSwap::from_pointee(Manifest::default()));
        let cold = Cold::open(bucket, home, Arc::clone(&shown), &CACHE).await.unwrap();
        Self { cold, shown }
    }

    pub(crate) fn show(&self, manifest: &Arc<Manifest>) {
        self.shown.store(Arc::clone(manifest));
    }

    pub(crate) fn shown(&self) -> Arc<Manifest> {
        self.shown.load_full()
    }

    /// Every queue, from its first offset to its last.
    pub(crate) async fn check_all(&self, model: &Model) -> Result<(), String> {
        let manifest = self.shown();
        for topic in TOPICS {
            for queue_id in 0..QUEUES {
                let expected = model.expected(&manifest, topic, queue_id);
                let end = expected.as_ref().map(|(begin, slots)| (*begin, begin + slots.len() as i64));
                let range = self.cold.range(topic, queue_id).await.map_err(|error| error.to_string())?;
                if range != end {
                    return Err(format!("{topic} {queue_id} is from {range:?}, expected is {end:?}"));
                }
                let mut offset = 0;
                loop {
                    let ask = Ask { topic, queue_id, offset, messages_max: 9, bytes_max: 5_000 };
                    let read = self.cold.read(&ask, &ALL).await.map_err(|error| error.to_string())?;
                    check(&ask, &ALL, &read, &expected)?;
                    if read.status == ColdStatus::PastEnd {
                        break;
                    }
                    offset = read.next_offset;
                }
            }
        }
        Ok(())
    }
}

/// Holds one answer against the model.
pub(crate) fn check(ask: &Ask<'_>, sift: &Tagged, read: &ColdRead, expected: &Expected<'_>) -> Result<(), String> {
    let (from, next) = (ask.offset, read.next_offset);
    let at = format!("{} {} at {from}: {:?} to {next}", ask.topic, ask.queue_id, read.status);
    let Some((begin, slots)) = expected else {
        return if read.status == ColdStatus::PastEnd { Ok(()) } else { Err(format!("{at}, nothing is there")) };
    };
    let end = begin + slots.len() as i64;
    if read.status == ColdStatus::PastEnd {
        return if from >= end { Ok(()) } else { Err(format!("{at}, the queue ends at {end}")) };
    }
    if next <= from || next > end {
        return Err(format!("{at}, the queue is from {begin} to {end}"));
    }
    let slot = |offset: i64| usize::try_from(offset - begin).ok().and_then(|nth| slots[nth]);
    let passed: Vec<Option<&[u8]>> = (from..next).map(slot).collect();
    let bytes = read.slices.concat();
    let found: Vec<&[u8]> = records(&bytes).map(|record| record.unwrap().bytes()).collect();
    match read.status {
        ColdStatus::BeforeBegin | ColdStatus::Lost => {
            let is_right = passed.iter().all(Option::is_none) && found.is_empty();
            if is_right { Ok(()) } else { Err(format!("{at}, passes messages")) }
        }
        ColdStatus::Found | ColdStatus::NoMatch => {
            if passed.iter().any(Option::is_none) {
                return Err(format!("{at}, passes lost ones in silence"));
            }
            let wanted: Vec<&[u8]> = passed.into_iter().flatten().filter(|record| sift.wants(record)).collect();
            if wanted == found {
                return Ok(());
            }
            Err(format!("{at}, {sift:?}: {} messages, expected are {}", found.len(), wanted.len()))
        }
        ColdStatus::PastEnd => Ok(()),
    }
}
