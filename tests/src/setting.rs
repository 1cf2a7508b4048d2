//! What the caller of a test decides through the environment.
//!
//! Owns reading of the environment for the tests. Each variable is named where it is used.

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, Result};

/// The text of variable `name`; `None` when it is not set or empty.
#[must_use]
pub fn text(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "a test has no other way to be told how long it runs")]
    let value = std::env::var(name);
    value.ok().filter(|value| !value.is_empty())
}

/// The number in variable `name`, or `default` when it is not set.
///
/// # Errors
/// The variable holds something else.
pub fn number<T>(name: &str, default: T) -> Result<T>
where
    T: FromStr,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    match text(name) {
        Some(value) => value.parse().with_context(|| format!("{name}={value} is no number")),
        None => Ok(default),
    }
}

/// The folder of this package. Cargo tells it when it runs a test; what it told when the test was built may be another
/// checkout that shares the target folder.
#[must_use]
pub fn package() -> PathBuf {
    text("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from)
}
