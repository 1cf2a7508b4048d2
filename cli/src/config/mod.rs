//! A server's configuration: defaults, then a file, then the environment, then flags; each value knows where
//! it came from.
//!
//! Owns the layers, the warnings about keys that do nothing here, and the listing of what holds. Which keys
//! there are, and what they mean, is in `broker`, `namesrv` and `connections`.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Serialize;
use thiserror::Error;

pub(crate) mod broker;
pub(crate) mod cold;
pub(crate) mod connections;
pub(crate) mod namesrv;
mod nearest;
mod properties;
pub(crate) mod sql;
mod unserved;
mod values;

use crate::limits::CONFIG_BYTES_MAX;
use unserved::{Unserved, Verdict};
use values::without_secrets;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    Default,
    File { path: PathBuf, line: usize },
    Environment(&'static str),
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Environment(name) => write!(f, "${name}"),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

/// A key that acts: how its text changes the draft, and how the draft shows it.
pub(crate) struct Key<D: 'static> {
    /// RocketMQ's name, where it has one.
    pub(crate) name: &'static str,
    /// A few words for the listing.
    pub(crate) meaning: &'static str,
    /// Takes the value, or says what is allowed.
    pub(crate) apply: fn(&mut D, &str) -> Result<(), String>,
    /// The value that holds.
    pub(crate) show: fn(&D) -> String,
}

/// What a kind of server can be told.
pub(crate) trait Role: Default + 'static {
    /// The keys that act.
    const KEYS: &'static [Key<Self>];
    /// Those of RocketMQ that do not act, or not fully, and what becomes of them.
    const UNSERVED: &'static [Unserved];
    /// All names that RocketMQ knows for this kind of server, one a line.
    const NAMES: &'static str;
}

/// Why a configuration is not usable.
#[derive(Debug, Error)]
pub(crate) enum ConfigError {
    #[error("the configuration file {} cannot be read: {cause}", path.display())]
    Unreadable { path: PathBuf, cause: std::io::Error },
    #[error("the configuration file {} has more than {CONFIG_BYTES_MAX} bytes", path.display())]
    TooLong { path: PathBuf },
    #[error("{origin}: {key}={value} is not allowed: {allowed}")]
    Value { origin: Origin, key: String, value: String, allowed: String },
    #[error("{origin}: {key}={value} cannot be served: {reason}")]
    Unserved { origin: Origin, key: String, value: String, reason: &'static str },
}

/// One line of the listing.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) key: &'static str,
    pub(crate) value: String,
    pub(crate) origin: String,
    pub(crate) meaning: &'static str,
}

/// The values that hold, and where each came from.
pub(crate) struct Effective<D> {
    pub(crate) draft: D,
    origins: BTreeMap<&'static str, Origin>,
    /// What the operator should know; one sentence each.
    pub(crate) warnings: Vec<String>,
}

impl<D: Role> Default for Effective<D> {
    fn default() -> Self {
        Self { draft: D::default(), origins: BTreeMap::new(), warnings: Vec::new() }
    }
}

impl<D: Role> Effective<D> {
    /// Takes every entry of a properties file.
    pub(crate) fn read_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let unreadable = |cause| ConfigError::Unreadable { path: path.to_path_buf(), cause };
        let file = std::fs::File::open(path).map_err(unreadable)?;
        let mut bytes = Vec::new();
        let read = file.take(CONFIG_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        if read as u64 > CONFIG_BYTES_MAX {
            return Err(ConfigError::TooLong { path: path.to_path_buf() });
        }
        for entry in properties::parse(&bytes) {
            let origin = Origin::File { path: path.to_path_buf(), line: entry.line };
            self.take(&entry.key, &entry.value, origin)?;
        }
        Ok(())
    }

    /// Takes a value that was given as a flag or variable, when it was given.
    pub(crate) fn take_given(
        &mut self,
        key: &str,
        value: Option<impl fmt::Display>,
        origin: Origin,
    ) -> Result<(), ConfigError> {
        value.map_or(Ok(()), |value| self.take(key, &value.to_string(), origin))
    }

    /// Takes one value.
    pub(crate) fn take(&mut self, key: &str, value: &str, origin: Origin) -> Result<(), ConfigError> {
        let value = value.trim();
        let known = D::KEYS.iter().find(|known| known.name == key);
        if let Some(known) = known {
            if let Err(allowed) = (known.apply)(&mut self.draft, value) {
                let value = without_secrets(key, value).into_owned();
                return Err(ConfigError::Value { origin, key: key.to_owned(), value, allowed });
            }
            self.origins.insert(known.name, origin.clone());
        }
        // A rule about all keys that begin alike is not about those that act.
        let mut rules = D::UNSERVED.iter().filter(|rule| known.is_none() || rule.is_of_one_key());
        match rules.find_map(|unserved| unserved.verdict(key, value)) {
            Some(Verdict::Refused(reason)) => {
                let value = without_secrets(key, value).into_owned();
                return Err(ConfigError::Unserved { origin, key: key.to_owned(), value, reason });
            }
            Some(Verdict::Warned(reason)) => {
                let value = without_secrets(key, value);
                self.warnings.push(format!("{origin}: {key}={value} has no effect: {reason}"))
            }
            Some(Verdict::Fine) => {}
            None => self.warn_of_unknown(key, &origin),
        }
        Ok(())
    }

    fn warn_of_unknown(&mut self, key: &str, origin: &Origin) {
        if D::KEYS.iter().any(|known| known.name == key) {
            return;
        }
        if D::NAMES.lines().any(|name| name == key) {
            self.warnings.push(format!("{origin}: {key} is a key of RocketMQ that has no effect here"));
            return;
        }
        let names = D::KEYS.iter().map(|known| known.name).chain(D::NAMES.lines());
        let hint = nearest::nearest(key, names).map(|name| format!("; did you mean {name}?")).unwrap_or_default();
        self.warnings.push(format!("{origin}: {key} is no known key{hint}"));
    }

    /// Puts a value in place that the command itself decides, whatever was taken before.
    pub(crate) fn settle(&mut self, key: &'static str, origin: Origin, change: impl FnOnce(&mut D)) {
        change(&mut self.draft);
        self.origins.insert(key, origin);
    }

    /// Where a key's value came from.
    pub(crate) fn origin(&self, key: &str) -> Origin {
        self.origins.get(key).cloned().unwrap_or(Origin::Default)
    }

    /// Every key that acts, in the order of the table.
    pub(crate) fn rows(&self) -> Vec<Row> {
        let row = |key: &'static Key<D>| Row {
            key: key.name,
            value: (key.show)(&self.draft),
            origin: self.origin(key.name).to_string(),
            meaning: key.meaning,
        };
        D::KEYS.iter().map(row).collect()
    }

    /// Tells the warnings, once each.
    pub(crate) fn warn(&self) {
        for warning in &self.warnings {
            tracing::warn!("{warning}");
        }
    }
}
