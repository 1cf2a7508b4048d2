//! Taking over what an earlier process appended and did not flush.
//!
//! Owns the copy from the hot file into the segments, before anything else is decided about them. It writes
//! only records that are what their checksum says, one after another from the durable offset on.

use crate::disk::Disk;
use crate::error::OpenError;
use crate::hot::HotImage;
use crate::segment::to_offset;
use crate::store::Paths;

use super::layout::Found;

/// Copies what the hot file holds behind the durable offset into the segments and flushes them. Returns how
/// many records that were.
///
/// All of it is written, also what the segments show already: after a flush that failed, nobody knows
/// whether what can be read is on disk.
pub(super) fn take_over(disk: &dyn Disk, paths: &Paths, found: &[Found]) -> Result<u64, OpenError> {
    let hot = paths.hot();
    let unreadable = || OpenError::io("read", &hot);
    let Some(image) = HotImage::load(&hot).map_err(unreadable())? else { return Ok(0) };
    let mut at = image.durable();
    let mut restored = 0;
    for segment in found {
        // The log goes on here, or it goes on elsewhere and what lies between is not to be had.
        if !(segment.first..segment.end()).contains(&at) {
            continue;
        }
        let path = &segment.path;
        let mut file = None;
        while let Some(record) = image.record(at, segment.end()).map_err(unreadable())? {
            let file = match &mut file {
                Some(file) => file,
                none => none.insert(disk.open(path).map_err(OpenError::io("open", path))?),
            };
            let position = (at - segment.first).cast_unsigned();
            disk.write_at(file, &record.bytes, position).map_err(OpenError::io("write", path))?;
            restored += 1;
            at = if record.blank { segment.end() } else { at + to_offset(record.bytes.len()) };
        }
        if let Some(file) = file {
            disk.sync(&file).map_err(OpenError::io("flush", path))?;
        }
    }
    Ok(restored)
}
