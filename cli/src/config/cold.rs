//! The keys of the cold tier. RocketMQ's names for its own begin alike (`tieredStore…`); these are Strata's.

use std::path::Path;

use strata_broker::limits::GRACE_SECONDS_MIN;
use strata_broker::{ColdSettings, keep_text, parse_keep};
use strata_tiering::bucket::Location;
use strata_tiering::cold::CacheOptions;
use strata_tiering::expire::Keep;
use strata_tiering::pace::Budget;

use super::Key;
use super::broker::BrokerDraft;
use super::values::{number, truth};
use crate::limits::{
    COLD_CACHE_DISK_MIBS_MAX, COLD_CACHE_DISK_MIBS_MIN, COLD_CACHE_MEMORY_MIBS, COLD_SEAL_SECONDS_MAX,
};

/// The folder in the broker's data folder that keeps what was read of the tier.
const CACHE_FOLDER: &str = "cold-cache";

/// The cold tier's configuration while it is put together.
#[derive(Debug)]
pub(crate) struct ColdDraft {
    /// Empty for no tier.
    url: String,
    single_writer: bool,
    seal_after_s: u64,
    cpu_percent: u32,
    /// 0 for no bound.
    bytes_per_second: u64,
    keep: Keep,
    grace_s: u64,
    memory_mib: usize,
    /// 0 for no cache on the disk.
    disk_mib: usize,
}

impl Default for ColdDraft {
    fn default() -> Self {
        let ColdSettings { single_writer, seal_after_s, budget, keep, grace_s, cache } = ColdSettings::default();
        Self {
            url: String::new(),
            single_writer,
            seal_after_s,
            cpu_percent: budget.cpu_percent,
            bytes_per_second: budget.bytes_per_second.unwrap_or(0),
            keep,
            grace_s,
            memory_mib: cache.memory_bytes >> 20,
            disk_mib: 1_024,
        }
    }
}

impl ColdDraft {
    /// Where the tier is, if there is one.
    pub(crate) fn location(&self) -> Option<Location> {
        // Nothing else than what parses was taken.
        Location::parse(&self.url).ok()
    }

    /// What the broker is told of it.
    pub(super) fn settings(&self, data: &Path) -> Option<ColdSettings> {
        let bytes = |mib: usize| mib.saturating_mul(1 << 20);
        self.location().map(|_| ColdSettings {
            single_writer: self.single_writer,
            seal_after_s: self.seal_after_s,
            budget: Budget {
                cpu_percent: self.cpu_percent,
                bytes_per_second: Some(self.bytes_per_second).filter(|bytes| *bytes > 0),
            },
            keep: self.keep,
            grace_s: self.grace_s,
            cache: CacheOptions {
                memory_bytes: bytes(self.memory_mib),
                disk: (self.disk_mib > 0).then(|| (data.join(CACHE_FOLDER), bytes(self.disk_mib))),
            },
        })
    }

    /// Puts a folder in place as the store.
    pub(crate) fn use_folder(&mut self, folder: &Path) -> Result<(), String> {
        self.url = url_of_folder(folder)?;
        Ok(())
    }
}

/// A URL, a folder, or nothing (also `none`), as a URL that a tier can be at; empty for nothing.
pub(crate) fn url_of(text: &str) -> Result<String, String> {
    if text.is_empty() || text == "none" {
        return Ok(String::new());
    }
    let url = if text.contains("://") { text.to_owned() } else { url_of_folder(Path::new(text))? };
    let allowed = "none, a folder, file:///folder, s3://bucket/prefix, gs://bucket/prefix or az://container/prefix";
    if url.starts_with("memory:") {
        return Err(format!("{allowed}; memory:// would forget all that was rolled there"));
    }
    Location::parse(&url).map_err(|error| format!("{allowed}; {error}"))?;
    Ok(url)
}

fn url_of_folder(folder: &Path) -> Result<String, String> {
    let absolute =
        std::path::absolute(folder).map_err(|error| format!("a folder that exists or can be made: {error}"))?;
    let url = url::Url::from_file_path(&absolute).map_err(|()| String::from("the path of a folder"))?;
    Ok(url.into())
}

pub(super) const fn url() -> Key<BrokerDraft> {
    Key {
        name: "tieredStoreUrl",
        meaning: "where sealed segments go before they are deleted: s3, gs, az or file URL; empty for nowhere",
        apply: |d, v| url_of(v).map(|url| d.cold.url = url),
        show: |d| d.cold.url.clone(),
    }
}

pub(super) const fn single_writer() -> Key<BrokerDraft> {
    Key {
        name: "tieredSingleWriter",
        meaning: "the operator vouches that no other broker of this name writes there; for stores without atomic puts",
        apply: |d, v| truth(&mut d.cold.single_writer, v),
        show: |d| d.cold.single_writer.to_string(),
    }
}

pub(super) const fn seal_seconds() -> Key<BrokerDraft> {
    Key {
        name: "tieredSealSeconds",
        meaning: "age of a segment's first message at which it is sealed for the tier although it is not full",
        apply: |d, v| number(&mut d.cold.seal_after_s, v, 1..=COLD_SEAL_SECONDS_MAX),
        show: |d| d.cold.seal_after_s.to_string(),
    }
}

pub(super) const fn cpu_percent() -> Key<BrokerDraft> {
    Key {
        name: "tieredCpuPercent",
        meaning: "hundredths of one core that rolling may take",
        apply: |d, v| number(&mut d.cold.cpu_percent, v, 1..=100),
        show: |d| d.cold.cpu_percent.to_string(),
    }
}

pub(super) const fn bytes_per_second() -> Key<BrokerDraft> {
    Key {
        name: "tieredBytesPerSecond",
        meaning: "bytes a second that rolling may send; 0 for no such bound",
        apply: |d, v| number(&mut d.cold.bytes_per_second, v, 0..=i64::MAX as u64),
        show: |d| d.cold.bytes_per_second.to_string(),
    }
}

pub(super) const fn retention() -> Key<BrokerDraft> {
    Key {
        name: "retention.cold",
        meaning: "how long the tier keeps messages of topics without that attribute: forever, 365d, 1TiB, 365d/1TiB",
        apply: |d, v| {
            d.cold.keep =
                parse_keep(v).map_err(|_| String::from("forever, or a time, bytes, or both, as 30d/500GiB"))?;
            Ok(())
        },
        show: |d| keep_text(d.cold.keep),
    }
}

pub(super) const fn grace_seconds() -> Key<BrokerDraft> {
    Key {
        name: "tieredGraceSeconds",
        meaning: "how long an object stays in the tier that nobody needs any more",
        apply: |d, v| number(&mut d.cold.grace_s, v, GRACE_SECONDS_MIN..=COLD_SEAL_SECONDS_MAX),
        show: |d| d.cold.grace_s.to_string(),
    }
}

pub(super) const fn cache_memory() -> Key<BrokerDraft> {
    Key {
        name: "tieredCacheMemoryMiB",
        meaning: "MiB of memory for what was read of the tier",
        apply: |d, v| number(&mut d.cold.memory_mib, v, COLD_CACHE_MEMORY_MIBS),
        show: |d| d.cold.memory_mib.to_string(),
    }
}

pub(super) const fn cache_disk() -> Key<BrokerDraft> {
    Key {
        name: "tieredCacheDiskMiB",
        meaning: "MiB of the data folder's cold-cache/ for the same; 0 for none",
        apply: |d, v| match v {
            "0" => number(&mut d.cold.disk_mib, v, 0..=0),
            _ => number(&mut d.cold.disk_mib, v, COLD_CACHE_DISK_MIBS_MIN..=COLD_CACHE_DISK_MIBS_MAX)
                .map_err(|allowed| format!("0, or {allowed}")),
        },
        show: |d| d.cold.disk_mib.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Effective, Origin};
    use super::*;

    fn with(pairs: &[(&str, &str)]) -> Result<Effective<BrokerDraft>, String> {
        let mut effective = Effective::<BrokerDraft>::default();
        for (key, value) in pairs {
            effective.take(key, value, Origin::Flag("--test")).map_err(|error| error.to_string())?;
        }
        Ok(effective)
    }

    #[test]
    fn a_url_makes_a_tier_with_its_budgets_and_caches() {
        assert!(with(&[]).unwrap().draft.options().cold.is_none(), "no tier unless asked for");
        let effective = with(&[
            ("tieredStoreUrl", "s3://bucket/prefix"),
            ("tieredSealSeconds", "60"),
            ("tieredCpuPercent", "100"),
            ("tieredBytesPerSecond", "0"),
            ("tieredCacheMemoryMiB", "64"),
            ("retention.cold", "365d/1TiB"),
            ("tieredGraceSeconds", "3600"),
            ("storePathRootDir", "/d"),
        ]);
        let effective = effective.unwrap();
        assert!(effective.warnings.is_empty(), "{:?}", effective.warnings);
        let cold = effective.draft.options().cold.unwrap();
        assert_eq!((cold.seal_after_s, cold.single_writer), (60, false));
        assert_eq!(cold.budget, Budget { cpu_percent: 100, bytes_per_second: None });
        assert_eq!(cold.keep, Keep { time_ms: Some(365 * 86_400_000), bytes: Some(1 << 40) });
        assert_eq!(cold.grace_s, 3_600);
        let cache = CacheOptions { memory_bytes: 64 << 20, disk: Some((Path::new("/d/cold-cache").into(), 1 << 30)) };
        assert_eq!(cold.cache, cache);
        let none = with(&[("tieredStoreUrl", "/x"), ("tieredCacheDiskMiB", "0")]).unwrap();
        assert_eq!(none.draft.options().cold.unwrap().cache.disk, None);
        assert!(with(&[("tieredStoreUrl", "/x"), ("tieredStoreUrl", "none")]).unwrap().draft.options().cold.is_none());
    }

    #[test]
    fn folders_become_urls_and_come_back() {
        assert_eq!(url_of("/a b/c%d").unwrap(), "file:///a%20b/c%25d");
        let location = Location::parse(&url_of("/a b/c%d").unwrap()).unwrap();
        assert_eq!(location.to_string(), "file:///a b/c%d");
        let own = std::path::absolute("tier").unwrap();
        assert_eq!(url_of("tier").unwrap(), format!("file://{}", own.display()));
    }

    #[test]
    fn what_is_no_place_is_refused_without_its_secrets() {
        for url in ["s3://KEY:SECRET@bucket/p", "az://c/p?sig=SECRET", "memory://", "ftp://SECRET@h/x", "file://host/x"]
        {
            let told = with(&[("tieredStoreUrl", url)]).err().unwrap();
            assert!(told.starts_with("--test: tieredStoreUrl="), "{told}");
            assert!(!told.contains("SECRET") && !told.contains("KEY"), "{told}");
        }
        assert!(with(&[("tieredCacheDiskMiB", "3")]).err().unwrap().contains("0, or a whole number from 256"));
    }
}
