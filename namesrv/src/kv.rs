//! The key-value configuration of operators: durable before it is answered, read without waiting for disk.
//!
//! Owns the table and its file (`kvConfig.json`, the form of Apache's `KVConfigManager`). What the
//! namespaces mean is decided elsewhere; only [`ORDER_TOPICS`] means anything to the name server.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use strata_protocol::checked::{check_json, json_with_checksum};
use strata_protocol::json;
use thiserror::Error;

use crate::durable::{Accepted, ConfigFile, Durable, FileError};
use crate::limits::KV_BYTES_MAX;

/// Namespace whose values say on which brokers a globally ordered topic has its queues.
pub(crate) const ORDER_TOPICS: &str = "ORDER_TOPIC_CONFIG";

/// The table's file in the data folder.
pub(crate) const FILE: &str = "kvConfig.json";

type Namespaces = BTreeMap<String, BTreeMap<String, String>>;

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Document {
    config_table: Namespaces,
}

/// Why a change was not made.
#[derive(Debug, Error)]
pub(crate) enum KvError {
    #[error("the namespace or the key is empty")]
    Blank,
    #[error("the key-value configuration would exceed {KV_BYTES_MAX} bytes")]
    Full,
    #[error("the key-value configuration cannot be stored: {0}")]
    Disk(#[from] FileError),
}

/// Namespaces of keys and values.
///
/// A change holds `disk` from reading the table to publishing the new one, so changes follow each other;
/// `table` is locked for a pointer's copy alone, so readers on connections never wait for the disk.
#[derive(Debug)]
pub(crate) struct Kv {
    disk: Mutex<Option<Durable>>,
    table: Mutex<Arc<Namespaces>>,
}

impl Kv {
    /// Reads the table from `folder`; without a folder it lives in memory alone.
    pub(crate) fn open(folder: Option<&Path>) -> Result<Self, FileError> {
        let disk = folder.map(|folder| Durable::open(folder, FILE)).transpose()?;
        let stored = match &disk {
            Some(disk) => disk.read(accept)?,
            None => None,
        };
        let table = stored.unwrap_or_default().config_table;
        Ok(Self { disk: Mutex::new(disk), table: Mutex::new(Arc::new(table)) })
    }

    fn current(&self) -> Arc<Namespaces> {
        Arc::clone(&self.table.lock())
    }

    pub(crate) fn value(&self, namespace: &str, key: &str) -> Option<String> {
        self.current().get(namespace)?.get(key).cloned()
    }

    pub(crate) fn namespace(&self, namespace: &str) -> Option<BTreeMap<String, String>> {
        self.current().get(namespace).cloned()
    }

    /// Puts one value. Blocks for the disk.
    pub(crate) fn put(&self, namespace: &str, key: &str, value: &str) -> Result<(), KvError> {
        if namespace.trim().is_empty() || key.trim().is_empty() {
            return Err(KvError::Blank);
        }
        self.change(|table| {
            table.entry(namespace.to_owned()).or_default().insert(key.to_owned(), value.to_owned());
        })
    }

    /// Removes one value; an absent one is no error. Blocks for the disk.
    pub(crate) fn remove(&self, namespace: &str, key: &str) -> Result<(), KvError> {
        self.change(|table| {
            if let Some(keys) = table.get_mut(namespace) {
                keys.remove(key);
                if keys.is_empty() {
                    table.remove(namespace);
                }
            }
        })
    }

    fn change(&self, edit: impl FnOnce(&mut Namespaces)) -> Result<(), KvError> {
        let disk = self.disk.lock();
        let mut table = Namespaces::clone(&self.current());
        edit(&mut table);
        if size(&table) > KV_BYTES_MAX {
            return Err(KvError::Full);
        }
        let document = Document { config_table: table };
        if let Some(disk) = &*disk {
            disk.write(&text(&document))?;
        }
        *self.table.lock() = Arc::new(document.config_table);
        Ok(())
    }
}

/// Reads the file's text and holds it against its checksum.
fn accept(bytes: &[u8]) -> Accepted<Document> {
    let proof = check_json(FILE, bytes).map_err(|error| error.to_string())?;
    let document = json::from_unbounded(bytes).map_err(|error| error.to_string())?;
    Ok((document, proof))
}

fn text(document: &Document) -> Vec<u8> {
    // Text maps: serde_json cannot fail on them.
    json_with_checksum(FILE, serde_json::to_vec_pretty(document).unwrap_or_default())
}

/// How the table's file in `folder` is. Nothing is written.
pub(crate) fn look(folder: &Path) -> Result<ConfigFile, FileError> {
    Durable::at(folder, FILE).look(accept)
}

/// Writes the table's file again from its previous generation.
pub(crate) fn restore(folder: &Path) -> Result<(), FileError> {
    let disk = Durable::at(folder, FILE);
    disk.read(accept)?.map_or(Ok(()), |document| disk.write(&text(&document)))
}

fn size(table: &Namespaces) -> usize {
    let of = |keys: &BTreeMap<String, String>| keys.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>();
    table.iter().map(|(name, keys)| name.len() + of(keys)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_survive_a_restart_and_a_torn_file() {
        let folder = tempfile::tempdir().unwrap();
        let kv = Kv::open(Some(folder.path())).unwrap();
        kv.put("ns", "a", "1").unwrap();
        kv.put("ns", "b", "ü;:2").unwrap();
        kv.remove("ns", "a").unwrap();
        let kv = Kv::open(Some(folder.path())).unwrap();
        assert_eq!(kv.value("ns", "b").as_deref(), Some("ü;:2"));
        assert_eq!(kv.value("ns", "a"), None);
        let file = folder.path().join("kvConfig.json");
        std::fs::write(&file, b"{\"configTable\":{\"ns\"").unwrap();
        let kv = Kv::open(Some(folder.path())).unwrap();
        assert_eq!(kv.value("ns", "a").as_deref(), Some("1"), "the generation before the last change");
    }

    #[test]
    fn a_namespace_without_values_is_gone_and_nothing_grows_without_bound() {
        let kv = Kv::open(None).unwrap();
        kv.put("ns", "a", "1").unwrap();
        kv.remove("ns", "a").unwrap();
        assert_eq!(kv.namespace("ns"), None);
        assert!(matches!(kv.put("ns", " ", "1"), Err(KvError::Blank)));
        assert!(matches!(kv.put("ns", "a", &"x".repeat(KV_BYTES_MAX)), Err(KvError::Full)));
        assert_eq!(kv.value("ns", "a"), None);
    }

    #[test]
    fn a_changed_value_is_damage_and_a_file_without_checksum_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let kv = Kv::open(Some(folder.path())).unwrap();
        kv.put("ns", "a", "17").unwrap();
        kv.put("ns", "a", "18").unwrap();
        let file = folder.path().join(FILE);
        let good = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, good.replace("18", "98")).unwrap();
        assert_eq!(Kv::open(Some(folder.path())).unwrap().value("ns", "a").as_deref(), Some("17"));
        restore(folder.path()).unwrap();
        assert_eq!(Kv::open(Some(folder.path())).unwrap().value("ns", "a").as_deref(), Some("17"));
        std::fs::write(&file, r#"{"configTable":{"ns":{"a":"98"}}}"#).unwrap();
        assert_eq!(Kv::open(Some(folder.path())).unwrap().value("ns", "a").as_deref(), Some("98"));
    }
}
