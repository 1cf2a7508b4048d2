//! Blocks: the records of up to [`PAGE_ROWS_MAX`] neighbouring rows, made from pages once and kept for a while.
//!
//! Owns the layouts of objects and the blocks in memory, and how many are made at once. A block lies in one row group and
//! on the pages' own bounds, so that no page is decoded twice.

use std::ops::Range;
use std::sync::Arc;

use foyer::{Cache, CacheBuilder};
use tokio::sync::Semaphore;

use super::chunks::Join;
use super::flights::{Flights, boxed};
use super::{CacheOptions, ColdError, Records, Shared};
use crate::limits::{
    BLOCK_BATCH_ROWS, DECODES_AT_ONCE_MAX, FETCH_GAP_BYTES_MAX, GROUP_BYTES_MAX, PAGE_ROWS_MAX, SEGMENT_BYTES,
    YIELD_ROWS,
};
use crate::manifest::{ObjectEntry, Roll};
use crate::object::{Layout, ObjectError, Scan, Step};
use crate::rows::Rebuilder;

/// Which rows a block holds.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct BlockKey {
    /// The object.
    pub(super) name: Arc<str>,
    /// Row group.
    pub(super) group: usize,
    /// Rows of the group.
    pub(super) rows: Range<u64>,
}

/// An object that is read.
#[derive(Debug, Clone)]
pub(super) struct Object {
    pub(super) name: Arc<str>,
    pub(super) layout: Arc<Layout>,
    /// Its first row in the roll.
    pub(super) first_row: u64,
}

type Made<T> = Result<T, ColdError>;

/// What is kept of objects.
pub(super) struct Blocks {
    blocks: Cache<BlockKey, Records>,
    layouts: Cache<Arc<str>, Arc<Layout>>,
    making: Flights<BlockKey, Made<Records>>,
    reading: Flights<Arc<str>, Made<Arc<Layout>>>,
    /// Decoding takes cores from whoever produces.
    decodes: Semaphore,
}

impl Blocks {
    pub(super) fn new(options: &CacheOptions) -> Self {
        let blocks = CacheBuilder::new(options.memory_bytes / 2)
            .with_name("cold-blocks")
            .with_weighter(|_: &BlockKey, records: &Records| records.bytes.len() + records.ends.len() * 4);
        let layouts = CacheBuilder::new(options.memory_bytes / 8)
            .with_name("cold-layouts")
            .with_weighter(|_: &Arc<str>, layout: &Arc<Layout>| layout.bytes());
        Self {
            blocks: blocks.build(),
            layouts: layouts.build(),
            making: Flights::new(),
            reading: Flights::new(),
            decodes: Semaphore::new(DECODES_AT_ONCE_MAX),
        }
    }
}

/// The object that holds a row of a roll, and its first row in the roll.
pub(super) fn object_of(roll: &Roll, row: u64) -> Option<(usize, &ObjectEntry, u64)> {
    let mut first = 0;
    for (number, object) in roll.objects.iter().enumerate() {
        if row < first + object.rows {
            return Some((number, object, first));
        }
        first += object.rows;
    }
    None
}

impl Shared {
    /// The object that holds a row of a roll.
    pub(super) async fn object(self: &Arc<Self>, roll: &Roll, row: u64) -> Made<Option<Object>> {
        let Some((number, entry, first_row)) = object_of(roll, row) else { return Ok(None) };
        let name: Arc<str> = (&*entry.name).into();
        let layout = self.layout(roll, number, &name).await?;
        Ok(Some(Object { name, layout, first_row }))
    }

    async fn layout(self: &Arc<Self>, roll: &Roll, number: usize, name: &Arc<str>) -> Made<Arc<Layout>> {
        if let Some(found) = self.blocks.layouts.get(name) {
            return Ok(Arc::clone(found.value()));
        }
        let index = self.index(roll).await?;
        let index_name: Arc<str> = (&*roll.index.name).into();
        let (whole, front) = (roll.index.bytes, roll.front);
        let (shared, own, of) = (Arc::clone(self), Arc::clone(name), Arc::clone(name));
        let broken = move |reason| Err(ColdError::Broken { name: of, reason });
        let make = move || {
            boxed(async move {
                let part = index.tail(number).ok_or_else(|| {
                    ColdError::index(
                        &index_name,
                        crate::index::IndexError::Damaged { what: "the end of an object is missing" },
                    )
                })?;
                let bytes = shared.index_part((&index_name, whole, front), part.from..part.to).await?;
                let tail = part.piece(bytes).map_err(|error| ColdError::index(&index_name, error))?;
                let layout = Arc::new(Layout::read(&tail).map_err(|error| ColdError::object(&own, error))?);
                shared.blocks.layouts.insert(own, Arc::clone(&layout));
                Ok(layout)
            })
        };
        self.blocks.reading.join(Arc::clone(name), broken, make).await
    }

    /// The block that holds a row of a group, out of those between `within`.
    pub(super) fn block_key(object: &Object, group: usize, row: u64, within: &Range<u64>) -> BlockKey {
        let page = PAGE_ROWS_MAX as u64;
        let from = row / page * page;
        let rows = from.max(within.start)..(from + page).min(within.end);
        BlockKey { name: Arc::clone(&object.name), group, rows }
    }

    /// A block if it is in memory.
    pub(super) fn block_in_memory(&self, key: &BlockKey) -> Option<Records> {
        self.blocks.blocks.get(key).map(|found| found.value().clone())
    }

    /// A block, made if it is not in memory.
    pub(super) async fn block(self: &Arc<Self>, object: &Object, key: &BlockKey, fetch: Fetch) -> Made<Records> {
        if let Some(found) = self.block_in_memory(key) {
            return Ok(found);
        }
        let (shared, object, own, of) = (Arc::clone(self), object.clone(), key.clone(), Arc::clone(&object.name));
        let broken = move |reason| Err(ColdError::Broken { name: of, reason });
        self.blocks.making.join(key.clone(), broken, move || boxed(make(shared, object, own, fetch))).await
    }

    /// Begins to fetch the segment behind the one that holds a block's last page of bodies.
    pub(super) fn fetch_ahead(self: &Arc<Self>, object: &Object, group: usize, behind: u64) {
        let segments = object.layout.segments(group, SEGMENT_BYTES);
        let Some(next) = segments.into_iter().find(|segment| segment.start >= behind) else { return };
        let (shared, name) = (Arc::clone(self), Arc::clone(&object.name));
        tokio::spawn(async move {
            if let Err(error) = shared.chunks.read(&name, next).await {
                // Whoever needs it asks again and is told.
                tracing::debug!(%error, "fetching ahead");
            }
        });
    }
}

/// What is fetched for a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fetch {
    /// Its pages.
    Pages,
    /// The segments that they lie in, and the next one: the reader goes on.
    Segments,
}

/// Makes a block and keeps it.
async fn make(shared: Arc<Shared>, object: Object, key: BlockKey, fetch: Fetch) -> Made<Records> {
    let failed = |error: ObjectError| ColdError::object(&object.name, error);
    let rows = std::slice::from_ref(&key.rows);
    let scan = Scan::in_batches(&object.layout, (key.group, rows), None, BLOCK_BATCH_ROWS);
    let mut scan = scan.map_err(failed)?;
    if let Step::Need(ranges) = scan.step().map_err(failed)? {
        let parts = match fetch {
            Fetch::Pages => shared.chunks.read_all(&object.name, &ranges, Join::Near(FETCH_GAP_BYTES_MAX)).await?,
            Fetch::Segments => {
                let segments = object.layout.segments(key.group, SEGMENT_BYTES);
                let parts = shared.chunks.read_segments(&object.name, &ranges, &segments).await?;
                let behind = ranges.iter().map(|range| range.end).max().unwrap_or(u64::MAX);
                shared.fetch_ahead(&object, key.group, behind);
                parts
            }
        };
        scan.give(ranges, parts).map_err(failed)?;
    }
    let turn = shared.blocks.decodes.acquire().await;
    let expected = usize::try_from(key.rows.end - key.rows.start).unwrap_or(0);
    let made = tokio::task::spawn_blocking(move || records(scan, expected)).await;
    drop(turn);
    let broken =
        |error: tokio::task::JoinError| ColdError::Broken { name: Arc::clone(&object.name), reason: error.to_string() };
    let records = made.map_err(broken)?.map_err(failed)?;
    if records.len() as u64 != key.rows.end - key.rows.start {
        return Err(failed(ObjectError::Damaged { what: format!("row group {} gave other rows", key.group) }));
    }
    shared.blocks.blocks.insert(key, records.clone());
    Ok(records)
}

/// The records of a scan whose bytes were given, about so many.
fn records(mut scan: Scan, expected: usize) -> Result<Records, ObjectError> {
    let (mut bytes, mut ends) = (Vec::new(), Vec::with_capacity(expected.min(PAGE_ROWS_MAX)));
    loop {
        match scan.step()? {
            Step::Rows(batch) => {
                let rebuilder = Rebuilder::new(&batch)?;
                for row in 0..batch.num_rows() {
                    if row.is_multiple_of(YIELD_ROWS) {
                        // Whoever wants the core has it now, and does not wait until this thread's slice of
                        // milliseconds ends.
                        std::thread::yield_now();
                    }
                    rebuilder.rebuild(row, &mut bytes)?;
                    ends.push(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
                }
                // The first rows tell how long the others are: growing by doubling would copy all of them, and keep room
                // that nobody counts.
                let each = bytes.len() / ends.len().max(1);
                let more = (each + each / 16).saturating_mul(expected.saturating_sub(ends.len()));
                bytes.reserve_exact(more.min(GROUP_BYTES_MAX));
            }
            Step::Need(_) => return Err(ObjectError::Damaged { what: "pages lie where none are told".into() }),
            Step::End => {
                bytes.shrink_to_fit();
                return Ok(Records { bytes: bytes.into(), ends: ends.into() });
            }
        }
    }
}
