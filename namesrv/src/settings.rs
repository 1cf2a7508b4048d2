//! What operators may change while the name server runs (`UPDATE_NAMESRV_CONFIG`), by Apache's names.
//!
//! Owns the four switches, their properties text and its file. A change is durable before it is answered,
//! and wins over the configuration file at the next start, because it is the newer word. The file has those
//! switches alone that were changed, so that the others follow the configuration.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use parking_lot::Mutex;
use strata_protocol::checked::{check_properties, properties_with_checksum};
use thiserror::Error;

use crate::durable::{Accepted, ConfigFile, Durable, FileError};
use crate::limits::SETTINGS_BYTES_MAX;

/// The file of changed switches in the data folder.
pub(crate) const FILE: &str = "namesrv.properties";

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
        *switch = boolean(key, value)?;
        Ok(())
    }

    /// These settings with some switches changed.
    fn with(mut self, changed: &Changed) -> Self {
        for (key, value) in changed {
            if let Some(switch) = self.switch(key) {
                *switch = *value;
            }
        }
        self
    }

    /// The properties text of all switches.
    #[must_use]
    pub fn text(mut self) -> String {
        text(Self::KEYS.map(|key| (key, self.switch(key).is_some_and(|value| *value))))
    }
}

fn boolean(key: &str, value: &str) -> Result<bool, SettingsError> {
    match value {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(SettingsError::NotBoolean { key: key.to_owned(), value: value.to_owned() }),
    }
}

/// Switches that were changed at run time, by name.
type Changed = BTreeMap<&'static str, bool>;

fn text(switches: impl IntoIterator<Item = (&'static str, bool)>) -> String {
    let mut out = String::new();
    for (key, value) in switches {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{key}={value}");
    }
    out
}

fn read_changes(bytes: &[u8]) -> Result<Changed, SettingsError> {
    let text = std::str::from_utf8(bytes).ok().filter(|text| text.len() <= SETTINGS_BYTES_MAX);
    let mut changed = Changed::new();
    for line in text.ok_or(SettingsError::NotText)?.lines().map(str::trim) {
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        let (key, value) = line.split_once('=').ok_or_else(|| SettingsError::NotAPair { line: line.to_owned() })?;
        let (key, value) = (key.trim(), value.trim());
        let known = Settings::KEYS.into_iter().find(|known| *known == key);
        let known = known.ok_or_else(|| SettingsError::NotAllowed { key: key.to_owned() })?;
        changed.insert(known, boolean(key, value)?);
    }
    Ok(changed)
}

/// Reads the file's text and holds it against its checksum.
fn accept(bytes: &[u8]) -> Accepted<Changed> {
    let proof = check_properties(FILE, bytes).map_err(|error| error.to_string())?;
    let changed = read_changes(bytes).map_err(|error| error.to_string())?;
    Ok((changed, proof))
}

fn file_text(changed: &Changed) -> String {
    properties_with_checksum(FILE, &text(changed.clone()))
}

/// How the file of changed switches in `folder` is. Nothing is written.
pub(crate) fn look(folder: &Path) -> Result<ConfigFile, FileError> {
    Durable::at(folder, FILE).look(accept)
}

/// Writes the file of changed switches again from its previous generation.
pub(crate) fn restore(folder: &Path) -> Result<(), FileError> {
    let disk = Durable::at(folder, FILE);
    disk.read(accept)?.map_or(Ok(()), |changed| disk.write(file_text(&changed).as_bytes()))
}

/// The switches that hold now.
///
/// A change holds `stored` from reading the switches to publishing them; `now` is locked for a copy alone.
#[derive(Debug)]
pub(crate) struct LiveSettings {
    stored: Mutex<Stored>,
    now: Mutex<Settings>,
}

/// What was changed at run time, and where it is kept.
#[derive(Debug)]
struct Stored {
    disk: Option<Durable>,
    changed: Changed,
}

impl LiveSettings {
    pub(crate) fn open(folder: Option<&Path>, configured: Settings) -> Result<Self, FileError> {
        let disk = folder.map(|folder| Durable::open(folder, FILE)).transpose()?;
        let mut changed = Changed::new();
        if let Some(disk) = &disk {
            changed = disk.read(accept)?.unwrap_or_default();
            for (key, value) in &changed {
                if configured.with(&Changed::from([(*key, *value)])) != configured {
                    let file = disk.path();
                    tracing::warn!(
                        "{key}={value} was set at run time and wins over the configuration; remove it from {} to undo that",
                        file.display()
                    );
                }
            }
        }
        let now = Mutex::new(configured.with(&changed));
        Ok(Self { stored: Mutex::new(Stored { disk, changed }), now })
    }

    pub(crate) fn now(&self) -> Settings {
        *self.now.lock()
    }

    /// Applies a properties text, all of it or nothing. Blocks for the disk.
    pub(crate) fn update(&self, text: &[u8]) -> Result<(), SettingsError> {
        let mut stored = self.stored.lock();
        let new = read_changes(text)?;
        let mut changed = stored.changed.clone();
        changed.extend(&new);
        if let Some(disk) = &stored.disk {
            disk.write(file_text(&changed).as_bytes())?;
        }
        stored.changed = changed;
        let now = self.now().with(&new);
        *self.now.lock() = now;
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

    #[test]
    fn switches_that_were_not_changed_follow_the_configuration() {
        let folder = tempfile::tempdir().unwrap();
        let live = LiveSettings::open(Some(folder.path()), Settings::default()).unwrap();
        live.update(b"enableAllTopicList=false").unwrap();
        live.update(b"orderMessageEnable=true").unwrap();
        let file = std::fs::read_to_string(folder.path().join("namesrv.properties")).unwrap();
        assert!(file.ends_with("\nenableAllTopicList=false\norderMessageEnable=true\n"), "{file}");
        let configured = Settings { registration_removes: true, order_topics_to_brokers: false, ..Settings::default() };
        let again = LiveSettings::open(Some(folder.path()), configured).unwrap();
        assert_eq!(again.now(), Settings { all_topics_listed: false, order_topics: true, ..configured });
    }

    #[test]
    fn no_damage_gives_other_switches() {
        let folder = tempfile::tempdir().unwrap();
        let live = LiveSettings::open(Some(folder.path()), Settings::default()).unwrap();
        live.update(b"enableAllTopicList=false").unwrap();
        live.update(b"orderMessageEnable=true\nenableAllTopicList=true").unwrap();
        let file = folder.path().join(FILE);
        let good = std::fs::read(&file).unwrap();
        let mut cases = 0;
        for at in 0..good.len() {
            for other in (0..=255).map(|byte| [&good[..at], &[byte], &good[at + 1..]].concat()) {
                let changed = accept(&other).map(|(changed, _)| changed);
                assert!(other == good || changed.is_err(), "{}", String::from_utf8_lossy(&other));
                cases += 1;
            }
            assert!(accept(&good[..at]).is_err(), "cut to {at}");
        }
        assert!(cases > 10_000, "{cases} cases");
        std::fs::write(&file, [&good[..good.len() - 3], b"\n"].concat()).unwrap();
        assert!(look(folder.path()).unwrap().is_restorable());
        restore(folder.path()).unwrap();
        let again = LiveSettings::open(Some(folder.path()), Settings::default()).unwrap().now();
        assert_eq!(again, Settings { all_topics_listed: false, ..Settings::default() });
    }
}
