//! Apache RocketMQ's release, for what is compared with it and for its Java clients.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};

use crate::setting::package;
use crate::site::command;

/// Fetches Apache's jars from Maven Central unless they are there; gives their folder.
///
/// # Errors
/// They cannot be fetched.
pub fn jars() -> Result<PathBuf> {
    let script = package().join("apache/apache");
    let fetched = command(&script).arg("get").stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let fetched = fetched.with_context(|| format!("cannot run {}", script.display()))?;
    ensure!(fetched.status.success(), "{} get: {}", script.display(), fetched.status);
    let folder = String::from_utf8(fetched.stdout).context("the folder of the jars")?;
    Ok(Path::new(folder.trim()).join("lib"))
}
