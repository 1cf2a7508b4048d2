//! The broker's settings in the tier: a copy of its configuration files, so that a broker can be made from the bucket
//! alone.
//!
//! Owns the form of that object. What the files say is the tables' own, but for the progress of delayed messages: that is
//! told as far as their copies are in the tier.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use strata_protocol::checked::{check_json, json_with_checksum};
use strata_tiering::manifest::{CommitError, Edit, ObjectRef};

use super::Open;
use crate::{config_files, schedule};

/// The name under which its checksum is told.
const NAME: &str = "state";

/// The files of one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    version: u64,
    /// Names and texts.
    files: BTreeMap<String, String>,
}

/// What was stored last.
#[derive(Debug, Default)]
pub(super) struct Kept {
    crc: Option<u32>,
    /// Objects of this writer so far.
    count: u64,
}

/// Why the settings were not stored.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeepError {
    #[error(transparent)]
    Bucket(#[from] strata_tiering::bucket::BucketError),
    #[error(transparent)]
    Commit(#[from] CommitError),
    #[error("reading them was broken off: {reason}")]
    Broken { reason: String },
}

/// The files of a data folder as one object: of one that is damaged the generation before it, which the broker itself
/// would take; those that there are none of are left out.
fn state_of(data: &Path) -> Bytes {
    let folder = data.join(config_files::FOLDER);
    let whole = |name: &str, file: String| {
        let text = std::fs::read_to_string(folder.join(file)).ok()?;
        check_json(name, text.as_bytes()).ok()?;
        let rolled = (name == schedule::FILE).then(|| schedule::as_rolled(text.as_bytes())).flatten();
        let rolled = rolled.and_then(|text| String::from_utf8(text).ok());
        Some((name.to_owned(), rolled.unwrap_or(text)))
    };
    let read = |name: &str| whole(name, name.to_owned()).or_else(|| whole(name, format!("{name}.bak")));
    let state = State { version: 1, files: config_files::names().filter_map(read).collect() };
    json_with_checksum(NAME, serde_json::to_vec(&state).unwrap_or_default()).into()
}

/// Stores the settings in the tier if they changed.
pub(super) async fn keep(open: &Open, data: &Path, kept: &mut Kept) -> Result<(), KeepError> {
    let folder = data.to_owned();
    let read = tokio::task::spawn_blocking(move || state_of(&folder)).await;
    let bytes = read.map_err(|error| KeepError::Broken { reason: error.to_string() })?;
    let crc = crc32c::crc32c(&bytes);
    if kept.crc == Some(crc) {
        return Ok(());
    }
    let tier = &open.tier;
    let name = format!("state/{}-{}", tier.epoch(), kept.count);
    kept.count += 1;
    tier.bucket().put_large(&format!("{}/{name}", tier.home()), std::slice::from_ref(&bytes)).await?;
    let object = ObjectRef { name: name.into(), bytes: bytes.len() as u64, crc32c: crc };
    tier.commit(Edit::State { object }).await?;
    kept.crc = Some(crc);
    Ok(())
}

/// Why settings of a tier cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The object is not one of settings.
    #[error("the settings in the tier are damaged: {what}")]
    Damaged {
        /// What does not fit.
        what: String,
    },
    /// They cannot be written.
    #[error("write {}: {source}", path.display())]
    Io {
        /// The file.
        path: std::path::PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

/// Writes the configuration files that a tier's object of settings holds into a data folder, which has none yet.
///
/// # Errors
/// See [`StateError`].
pub fn write_config(data: &Path, object: &[u8]) -> Result<usize, StateError> {
    let damaged = |what: String| StateError::Damaged { what };
    check_json(NAME, object).map_err(|error| damaged(error.to_string()))?;
    let state: State = serde_json::from_slice(object).map_err(|error| damaged(error.to_string()))?;
    if state.version != 1 {
        return Err(damaged(format!("version {} is not known; use a newer strata", state.version)));
    }
    let folder = data.join(config_files::FOLDER);
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| StateError::Io { path, source }
    };
    std::fs::create_dir_all(&folder).map_err(io(&folder))?;
    let known: Vec<&str> = config_files::names().collect();
    let mut written = 0;
    for (name, text) in &state.files {
        // A name from a bucket is no path: only those that brokers write are taken.
        if known.contains(&name.as_str()) {
            let path = folder.join(name);
            std::fs::write(&path, text).map_err(io(&path))?;
            std::fs::File::open(&path).and_then(|file| file.sync_all()).map_err(io(&path))?;
            written += 1;
        }
    }
    std::fs::File::open(&folder).and_then(|file| file.sync_all()).map_err(io(&folder))?;
    Ok(written)
}
