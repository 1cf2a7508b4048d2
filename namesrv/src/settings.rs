//! What operators may change while the name server runs (`UPDATE_NAMESRV_CONFIG`), by Apache's names.
//!
//! Owns the four switches, their properties text and its file. A change is durable before it is answered,
//! and wins over the configuration file at the next start, because it is the newer word.

use std::fmt::Write as _;
use std::path::Path;

use parking_lot::Mutex;
use thiserror::Error;

use crate::durable::{Durable, FileError};
use crate::limits::SETTINGS_BYTES_MAX;

/// The switches, with Apache's defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "four independent switches, named by operators one by one")]
pub struct Settings {
    /// `orderMessageEnable`: routes carry the value of the namespace of ordered topics.
    pub order_topics: bool,
    /// `returnOrderTopicConfigToBroker`: brokers are told that namespace when they register.
    pub order_topics_to_brokers: bool,
    /// `enableAllTopicList`: the list of all topics is given out.
    pub all_topics_listed: bool,
    /// `deleteTopicWithBrokerRegistration`: a full registration removes what it does not mention.
    pub registration_removes: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            order_topics: false,
            order_topics_to_brokers: true,
            all_topics_listed: true,
            registration_removes: false,
        }
    }
}

/// Why settings were not changed.
#[derive(Debug, Error)]
pub enum SettingsError {
    /// The key is none of those that may change.
    #[error("{key} cannot be changed here; what can: {}", Settings::KEYS.join(", "))]
    NotAllowed {
        /// The key.
        key: String,
    },
    /// The value is neither `true` nor `false`.
    #[error("{key}={value}: allowed are true and false")]
    NotBoolean {
        /// The key.
        key: String,
        /// Its value.
        value: String,
    },
    /// A line has no value.
    #[error("{line:?} is not key=value")]
    NotAPair {
        /// The line.
        line: String,
    },
    /// The text is longer than all settings together.
    #[error("settings of more than {SETTINGS_BYTES_MAX} bytes, or not UTF-8")]
    NotText,
    /// The change cannot be stored.
    #[error("the settings cannot be stored: {0}")]
    Disk(#[from] FileError),
}

impl Settings {
    /// The names of the switches, in the order of their text.
    pub const KEYS: [&'static str; 4] = [
        "orderMessageEnable",
        "returnOrderTopicConfigToBroker",
        "enableAllTopicList",
        "deleteTopicWithBrokerRegistration",
    ];

    fn switch(&mut self, key: &str) -> Option<&mut bool> {
        match key {
            "orderMessageEnable" => Some(&mut self.order_topics),
            "returnOrderTopicConfigToBroker" => Some(&mut self.order_topics_to_brokers),
            "enableAllTopicList" => Some(&mut self.all_topics_listed),
            "deleteTopicWithBrokerRegistration" => Some(&mut self.registration_removes),
            _ => None,
        }
    }

    /// Changes one switch by its name.
    ///
    /// # Errors
    /// When there is no such switch or the value is neither `true` nor `false`.
    pub fn apply(&mut self, key: &str, value: &str) -> Result<(), SettingsError> {
        let Some(switch) = self.switch(key) else { return Err(SettingsError::NotAllowed { key: key.to_owned() }) };
        *switch = match value {
            "true" => true,
            "false" => false,
            _ => return Err(SettingsError::NotBoolean { key: key.to_owned(), value: value.to_owned() }),
        };
        Ok(())
    }

    fn apply_text(&mut self, bytes: &[u8]) -> Result<(), SettingsError> {
        let text = std::str::from_utf8(bytes).ok().filter(|text| text.len() <= SETTINGS_BYTES_MAX);
        for line in text.ok_or(SettingsError::NotText)?.lines().map(str::trim) {
            if line.is_empty() || line.starts_with(['#', '!']) {
                continue;
            }
            let pair = line.split_once('=').ok_or_else(|| SettingsError::NotAPair { line: line.to_owned() })?;
            self.apply(pair.0.trim(), pair.1.trim())?;
        }
        Ok(())
    }

    /// The properties text of all switches.
    #[must_use]
    pub fn text(mut self) -> String {
        let mut out = String::new();
        for key in Self::KEYS {
            let value = self.switch(key).is_some_and(|value| *value);
            let _ = writeln!(out, "{key}={value}");
        }
        out
    }
}

/// The switches that hold now.
///
/// A change holds `disk` from reading the switches to publishing them; `now` is locked for a copy alone.
#[derive(Debug)]
pub(crate) struct LiveSettings {
    disk: Mutex<Option<Durable>>,
    now: Mutex<Settings>,
}

impl LiveSettings {
    pub(crate) fn open(folder: Option<&Path>, configured: Settings) -> Result<Self, FileError> {
        let disk = folder.map(|folder| Durable::open(folder, "namesrv.properties")).transpose()?;
        let read = |bytes: &[u8]| {
            let mut settings = configured;
            settings.apply_text(bytes).ok().map(|()| settings)
        };
        let stored = match &disk {
            Some(disk) => disk.read(read)?,
            None => None,
        };
        Ok(Self { disk: Mutex::new(disk), now: Mutex::new(stored.unwrap_or(configured)) })
    }

    pub(crate) fn now(&self) -> Settings {
        *self.now.lock()
    }

    /// Applies a properties text, all of it or nothing. Blocks for the disk.
    pub(crate) fn update(&self, text: &[u8]) -> Result<(), SettingsError> {
        let disk = self.disk.lock();
        let mut changed = self.now();
        changed.apply_text(text)?;
        if let Some(disk) = &*disk {
            disk.write(changed.text().as_bytes())?;
        }
        *self.now.lock() = changed;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_whole_and_survives_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let live = LiveSettings::open(Some(folder.path()), Settings::default()).unwrap();
        let error = live.update(b"enableAllTopicList=false\nkvConfigPath=/etc/passwd").unwrap_err();
        assert!(matches!(&error, SettingsError::NotAllowed { key } if key == "kvConfigPath"), "{error}");
        assert_eq!(live.now(), Settings::default(), "nothing of a refused text is applied");
        assert!(matches!(live.update(b"orderMessageEnable=yes"), Err(SettingsError::NotBoolean { .. })));
        live.update(b"# words\n enableAllTopicList = false\norderMessageEnable=true\n").unwrap();
        let again = LiveSettings::open(Some(folder.path()), Settings::default()).unwrap();
        let expected = Settings { all_topics_listed: false, order_topics: true, ..Settings::default() };
        assert_eq!(again.now(), expected);
        assert_eq!(
            expected.text(),
            "orderMessageEnable=true\nreturnOrderTopicConfigToBroker=true\nenableAllTopicList=false\ndeleteTopicWithBrokerRegistration=false\n"
        );
    }
}
