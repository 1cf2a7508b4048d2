//! Sealing: from a full segment with an index in memory to a segment with a sidecar.
//!
//! Owns writing sidecars, opening them, and building them again when they are missing or damaged.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::catalog::Catalog;
use crate::disk::Disk;
use crate::error::UpkeepError;
use crate::head::Frozen;
use crate::limits::REBUILD_RETRY_MS;
use crate::mapping::Mapping;
use crate::reindex::{Lost, Reindex, catalog_after};
use crate::scan::Scan;
use crate::sealed::{Parts, Sealed};
use crate::segment::{Segment, block_sums, to_length, to_offset};
use crate::sidecar::{self, QueueRow, Sidecar, Source};
use crate::store::{Shared, Store};
use crate::sums::Sums;

impl Store {
    /// Seals all full segments. The store's own thread does this too, unless upkeep is off.
    ///
    /// # Errors
    /// A flush or a sidecar failed; it is tried again by the next call.
    pub fn seal_pending(&self) -> Result<(), UpkeepError> {
        self.shared.seal_pending()
    }
}

impl Shared {
    pub(crate) fn seal_pending(&self) -> Result<(), UpkeepError> {
        let _turn = self.keeping.sealing.lock();
        self.refuse_closed()?;
        self.seal_all()
    }

    /// Seals all full segments of a store that closes.
    pub(crate) fn seal_last(&self) -> Result<(), UpkeepError> {
        let _turn = self.keeping.sealing.lock();
        self.seal_all()
    }

    /// One at a time and oldest first, so that the list of sealed segments stays in order.
    pub(crate) fn seal_all(&self) -> Result<(), UpkeepError> {
        while let Some((frozen, rows)) = self.oldest_frozen() {
            if self.flush.durable() < frozen.segment.first + to_offset(frozen.tail) {
                self.flush_once()?;
            }
            self.seal(&frozen, rows)?;
        }
        Ok(())
    }

    /// The oldest full segment and the queues that were known when it was filled.
    fn oldest_frozen(&self) -> Option<(Arc<Frozen>, Vec<QueueRow>)> {
        let head = self.head.lock();
        let frozen = Arc::clone(head.frozen.first()?);
        let rows = head.catalog.iter().filter_map(|(number, queue)| {
            // Queues that came later, and numbers that were free then, are not in the list.
            let next = *frozen.next.get(number as usize).filter(|next| **next >= 0)?;
            let topic = queue.topic.clone()?;
            Some(QueueRow { topic, queue_id: queue.queue_id, number, next })
        });
        let rows = rows.collect();
        Some((frozen, rows))
    }

    fn seal(&self, frozen: &Frozen, rows: Vec<QueueRow>) -> Result<(), UpkeepError> {
        let segment = &frozen.segment;
        let path = self.paths.sidecar(segment.first);
        let (first, end, tail) = (segment.first, segment.end(), frozen.tail);
        // Before the sidecar, so that a segment that has one has given its space back.
        segment.free_behind(&*self.disk, tail);
        let blocks = segment.blocks.lock().up_to(&segment.mapping, tail);
        let source = Source { first, end, tail, blocks: &blocks, index: &frozen.index, rows };
        sidecar::write(&*self.disk, &path, source).map_err(UpkeepError::io("write", &path))?;
        let sidecar = Sidecar::open(&path).map_err(unreadable)?;
        let parts = Arc::new(Parts::new(first, Arc::clone(&segment.mapping), sidecar));
        let sealed = Sealed {
            first,
            end,
            used: AtomicU64::new(tail as u64),
            path: segment.path.clone(),
            sidecar_path: path,
            parts: parking_lot::Mutex::new(Some(parts)),
            refused: parking_lot::Mutex::new(None),
            said: AtomicBool::new(false),
        };
        {
            let mut head = self.head.lock();
            head.frozen.remove(0);
            Arc::make_mut(&mut head.sealed).push(Arc::new(sealed));
            if head.frozen.is_empty() {
                head.catalog.reuse();
            }
        }
        // The sidecar vouches for the records now.
        let sums = self.paths.sums(first);
        crate::disk::remove_optional(&*self.disk, &sums).map_err(UpkeepError::io("remove", &sums))
    }

    /// The opened files of a sealed segment; a missing or damaged sidecar is built again.
    pub(crate) fn parts(&self, sealed: &Arc<Sealed>) -> Result<Arc<Parts>, UpkeepError> {
        let mut slot = sealed.parts.lock();
        if let Some(parts) = &*slot {
            return Ok(Arc::clone(parts));
        }
        let sidecar = match open_sidecar(sealed) {
            Ok(sidecar) => sidecar,
            Err(error) => {
                if !sealed.said.load(Ordering::Relaxed) {
                    tracing::warn!(%error, "building the sidecar again from its segment");
                }
                self.rebuild(sealed)?;
                open_sidecar(sealed).map_err(unreadable)?
            }
        };
        sealed.note_used(sidecar.facts());
        let mapping = map_segment(&*self.disk, sealed)?;
        let parts = Arc::new(Parts::new(sealed.first, mapping, sidecar));
        *slot = Some(Arc::clone(&parts));
        sealed.said.store(false, Ordering::Relaxed);
        Ok(parts)
    }

    /// Builds a sidecar from its segment and from what was known when the segment began.
    fn rebuild(&self, sealed: &Arc<Sealed>) -> Result<(), UpkeepError> {
        self.refuse_closed()?;
        self.refuse_retry(sealed)?;
        let (all, tombstones) = {
            let head = self.head.lock();
            (Arc::clone(&head.sealed), Arc::clone(&head.tombstones))
        };
        let at = all.partition_point(|other| other.first < sealed.first);
        let floor = open_floor(&self.paths.floor()).map_err(unreadable)?;
        let floor = floor.filter(|floor| floor.facts().end <= sealed.first);
        let mut catalog = match (at.checked_sub(1).and_then(|at| all.get(at)), &floor) {
            // Older segments only, so this ends.
            (Some(before), _) => catalog_after(&self.parts(before)?.sidecar, &tombstones),
            (None, Some(floor)) => catalog_after(floor, &tombstones),
            (None, None) => Catalog::default(),
        };
        let mut lost = Lost::after(floor.map_or(0, |floor| floor.facts().end));
        all[..at].iter().for_each(|older| lost.pass(older.first, older.end, &older.sidecar_path));
        let mapping = map_segment(&*self.disk, sealed)?;
        let bytes = mapping.slice(0, mapping.len()).unwrap_or_default();
        let sums = Sums::load(&self.paths.sums(sealed.first), sealed.first);
        let data = [(0, bytes.len())];
        let scan = Scan { bytes, first: sealed.first, sums: &sums, data: &data };
        let missing = lost.before(sealed.first);
        let (index, scanned) = Reindex::run(&scan, true, (&mut catalog, &tombstones), missing, &mut |_| ());
        let index = index.index;
        let source = Source {
            first: sealed.first,
            end: sealed.end,
            tail: scanned.tail,
            blocks: &block_sums(&bytes[..scanned.tail]),
            index: &index,
            rows: rows_of(&catalog),
        };
        let path = &sealed.sidecar_path;
        // Who closes the store waits for this; who comes after it changes nothing in the folder any more.
        let _turn = self.keeping.sealing.lock();
        self.refuse_closed()?;
        let written = sidecar::write(&*self.disk, path, source);
        let refused = written.as_ref().err().map(|error| (self.clock.monotonic(), error.to_string()));
        *sealed.refused.lock() = refused;
        written.map_err(UpkeepError::io("write", path))
    }

    /// Refuses to build a sidecar that could not be written a moment ago.
    fn refuse_retry(&self, sealed: &Sealed) -> Result<(), UpkeepError> {
        let refused = sealed.refused.lock();
        let Some((then, why)) = &*refused else { return Ok(()) };
        if self.clock.monotonic().saturating_sub(*then) >= Duration::from_millis(REBUILD_RETRY_MS) {
            return Ok(());
        }
        let source = std::io::Error::other(why.clone());
        Err(UpkeepError::Io { action: "write", path: sealed.sidecar_path.clone(), source })
    }
}

/// Every queue of a catalog as a sidecar lists it.
pub(crate) fn rows_of(catalog: &Catalog) -> Vec<QueueRow> {
    let rows = catalog.iter().filter_map(|(number, queue)| {
        let topic = queue.topic.clone()?;
        Some(QueueRow { topic, queue_id: queue.queue_id, number, next: queue.next })
    });
    rows.collect()
}

/// Opens and checks a sidecar, all of it: later reads trust it.
pub(crate) fn open_sidecar(sealed: &Sealed) -> Result<Sidecar, sidecar::SidecarError> {
    let path = &sealed.sidecar_path;
    let sidecar = Sidecar::open(path)?;
    let (first, end) = (sidecar.facts().first, sidecar.facts().end);
    if (first, end) != (sealed.first, sealed.end) {
        return Err(sidecar::SidecarError::Range { path: path.clone(), first, end });
    }
    sidecar.verify(path)?;
    Ok(sidecar)
}

/// Opens and checks what retention left of queues; `None` when it deleted nothing yet.
pub(crate) fn open_floor(path: &Path) -> Result<Option<Sidecar>, sidecar::SidecarError> {
    match Sidecar::open(path) {
        Ok(floor) => floor.verify(path).map(|()| Some(floor)),
        Err(sidecar::SidecarError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn map_segment(disk: &dyn Disk, sealed: &Sealed) -> Result<Arc<Mapping>, UpkeepError> {
    let (bytes, path) = (to_length(sealed.end - sealed.first), &sealed.path);
    let segment = Segment::open(disk, path, sealed.first, (bytes, bytes)).map_err(UpkeepError::io("open", path))?;
    Ok(segment.mapping)
}

pub(crate) fn unreadable(error: sidecar::SidecarError) -> UpkeepError {
    use sidecar::SidecarError::{Header, Io, Range, Section};
    let path = match &error {
        Io { path, .. } | Header { path } | Section { path, .. } | Range { path, .. } => path.clone(),
    };
    UpkeepError::Io { action: "use", path, source: std::io::Error::other(error) }
}
