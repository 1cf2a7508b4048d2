//! The configuration files of a broker's data folder, for those who check or repair it while no broker runs.
//!
//! Owns the list of them. How such a file is read and written is `durable`'s.

use std::path::Path;

use strata_protocol::body::{GroupTable, OffsetTable, TopicTable};

use crate::durable::{ConfigFile, DurableError, DurableFile};
use crate::{groups, offsets, schedule, topics};

/// The folder of configuration files in a data folder.
pub(crate) const FOLDER: &str = "config";

/// What can be done with a file, whatever it holds.
struct Handled {
    name: &'static str,
    look: fn(&DurableFile) -> Result<ConfigFile, DurableError>,
    restore: fn(&DurableFile) -> Result<(), DurableError>,
}

const FILES: [Handled; 4] = [
    Handled { name: topics::FILE, look: DurableFile::look::<TopicTable>, restore: DurableFile::restore::<TopicTable> },
    Handled { name: groups::FILE, look: DurableFile::look::<GroupTable>, restore: DurableFile::restore::<GroupTable> },
    Handled {
        name: offsets::FILE,
        look: DurableFile::look::<OffsetTable>,
        restore: DurableFile::restore::<OffsetTable>,
    },
    Handled {
        name: schedule::FILE,
        look: DurableFile::look::<schedule::DelayOffsets>,
        restore: DurableFile::restore::<schedule::DelayOffsets>,
    },
];

/// Their names.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    FILES.iter().map(|file| file.name)
}

/// How each configuration file of a broker's data folder is. Nothing is written.
///
/// # Errors
/// A file exists and cannot be read.
pub fn check_config(data: &Path) -> Result<Vec<ConfigFile>, DurableError> {
    let folder = data.join(FOLDER);
    FILES.iter().map(|file| (file.look)(&DurableFile::new(&folder, file.name))).collect()
}

/// Writes each file again that cannot be used while its previous generation can. No broker may run on the
/// folder.
///
/// # Errors
/// The system refuses; files before it stay restored.
pub fn restore_config(data: &Path) -> Result<(), DurableError> {
    let folder = data.join(FOLDER);
    FILES.iter().try_for_each(|file| (file.restore)(&DurableFile::new(&folder, file.name)))
}
