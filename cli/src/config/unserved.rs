//! Keys of RocketMQ that do not act here: which are harmless, which are told, which stop the start.
//!
//! A key stops the start when going on would break a promise that its value makes: safety (access control,
//! encryption, replication), or data in another place than the operator believes.

/// What becomes of a key that does not act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Fine,
    Warned(&'static str),
    Refused(&'static str),
}

/// Which keys and values a rule is about.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Keys {
    /// One key.
    One(&'static str),
    /// All keys that begin so.
    Prefix(&'static str),
}

/// A rule about keys that do not act.
#[derive(Debug)]
pub(crate) struct Unserved {
    keys: Keys,
    /// The values that ask for nothing that is missing.
    fine: &'static [&'static str],
    otherwise: Verdict,
}

impl Unserved {
    const fn warned(keys: Keys, fine: &'static [&'static str], reason: &'static str) -> Self {
        Self { keys, fine, otherwise: Verdict::Warned(reason) }
    }

    const fn refused(keys: Keys, fine: &'static [&'static str], reason: &'static str) -> Self {
        Self { keys, fine, otherwise: Verdict::Refused(reason) }
    }

    /// Whether it is about one key alone.
    pub(crate) const fn is_of_one_key(&self) -> bool {
        matches!(self.keys, One(_))
    }

    /// What the rule says of an entry; `None` when it is not about it.
    pub(crate) fn verdict(&self, key: &str, value: &str) -> Option<Verdict> {
        let about = match self.keys {
            One(name) => name == key,
            Prefix(prefix) => key.starts_with(prefix),
        };
        let fine = self.fine.iter().any(|fine| fine.eq_ignore_ascii_case(value));
        about.then_some(if fine { Verdict::Fine } else { self.otherwise })
    }
}

use Keys::{One, Prefix};

const OFF: &[&str] = &["false", ""];
const ANY_FILE: &str = "the log has no such files; queues and keys are indexed in the segments";
const NO_ACCESS_CONTROL: &str = "access control is not served yet, and starting without it would leave the broker open";
const NO_TLS: &str = "encrypted connections are not served yet";
const NO_REPLICA: &str = "replication is not served yet";
const NO_TIERING: &str = "the cold tier has keys of its own, the first is tieredStoreUrl; see docs/cold-tier.md";
const NO_TIMER: &str = "timer messages are not served yet; the delay levels are";
const NO_TRANSACTION: &str = "transactional messages are not served yet";
const POOLS: &str = "there are no thread pools to size";

/// The rules for a broker; the first that is about a key decides.
pub(crate) const BROKER: &[Unserved] = &[
    Unserved::refused(
        One("brokerRole"),
        &["ASYNC_MASTER"],
        "replication is not served yet; an ASYNC_MASTER of its own is",
    ),
    Unserved::warned(One("haListenPort"), &[], NO_REPLICA),
    Unserved::warned(One("brokerIP2"), &[], NO_REPLICA),
    Unserved::warned(One("slaveReadEnable"), OFF, NO_REPLICA),
    Unserved::warned(Prefix("haS"), &[], NO_REPLICA),
    Unserved::refused(One("enableControllerMode"), OFF, "controllers are not served yet"),
    Unserved::warned(One("controllerAddr"), &[""], "controllers are not served yet"),
    Unserved::refused(One("enableDLegerCommitLog"), OFF, "DLedger is not served; start a broker of its own"),
    Unserved::refused(One("storePathDLedgerCommitLog"), &[""], "DLedger is not served"),
    Unserved::refused(One("authenticationEnabled"), OFF, NO_ACCESS_CONTROL),
    Unserved::refused(One("authorizationEnabled"), OFF, NO_ACCESS_CONTROL),
    Unserved::refused(One("aclEnable"), OFF, NO_ACCESS_CONTROL),
    Unserved::refused(One("tls.server.mode"), &["disabled", "permissive"], NO_TLS),
    Unserved::warned(Prefix("tls"), &[], NO_TLS),
    Unserved::refused(One("storePathCommitLog"), &[""], "the log lies in the folder of storePathRootDir; set that one"),
    Unserved::warned(One("messageStorePlugIn"), &[""], NO_TIERING),
    Unserved::warned(One("tieredStorageLevel"), &["DISABLE"], NO_TIERING),
    Unserved::warned(Prefix("tiered"), &[], NO_TIERING),
    Unserved::warned(Prefix("objectStore"), &[], NO_TIERING),
    Unserved::warned(Prefix("readAheadCache"), &[], NO_TIERING),
    Unserved::warned(One("timerWheelEnable"), OFF, NO_TIMER),
    Unserved::warned(Prefix("timer"), &[], NO_TIMER),
    Unserved::warned(Prefix("transaction"), &[], NO_TRANSACTION),
    Unserved::warned(One("enableCalcFilterBitMap"), OFF, "filters are decided when messages are read"),
    Unserved::warned(One("deleteWhen"), &[], "expired segments go when they expire, at any hour"),
    Unserved::warned(One("mappedFileSizeConsumeQueue"), &[], ANY_FILE),
    Unserved::warned(One("messageIndexEnable"), &["true"], "messages are always indexed by their keys"),
    Unserved::warned(One("maxHashSlotNum"), &[], ANY_FILE),
    Unserved::warned(One("maxIndexNum"), &[], ANY_FILE),
    Unserved::warned(
        One("flushCommitLogLeastPages"),
        &[],
        "a flush is due after its interval or 16 MiB, whichever is first",
    ),
    Unserved::warned(One("flushCommitLogThoroughInterval"), &[], "every flush is thorough"),
    Unserved::warned(
        One("maxTransferBytesOnMessageInDisk"),
        &[],
        "messages of all ages have the limits of those in memory",
    ),
    Unserved::warned(
        One("maxTransferCountOnMessageInDisk"),
        &[],
        "messages of all ages have the limits of those in memory",
    ),
    Unserved::warned(One("maxTopicLength"), &["127"], "topic names have at most 127 characters"),
    Unserved::warned(One("msgTraceTopicName"), &["RMQ_SYS_TRACE_TOPIC"], "traces go to RMQ_SYS_TRACE_TOPIC"),
    Unserved::warned(Prefix("metricsGrpc"), &[""], "figures are given out on the metrics port alone"),
    Unserved::warned(One("metricsLabel"), &[""], "the figures have no labels of their own choice yet"),
    Unserved::warned(One("metricsInDelta"), OFF, "the figures are sums, as Prometheus wants them"),
    Unserved::warned(One("serverWorkerThreads"), &[], POOLS),
    Unserved::warned(One("sendMessageThreadPoolNums"), &[], POOLS),
    Unserved::warned(One("pullMessageThreadPoolNums"), &[], POOLS),
];

/// The rules for a name server.
pub(crate) const NAMESRV: &[Unserved] = &[
    Unserved::refused(One("tls.server.mode"), &["disabled", "permissive"], NO_TLS),
    Unserved::warned(Prefix("tls"), &[], NO_TLS),
    Unserved::refused(One("enableControllerInNamesrv"), OFF, "controllers are not served yet"),
    Unserved::warned(One("kvConfigPath"), &[], "the key-value configuration lies in the data folder"),
    Unserved::warned(One("configStorePath"), &[], "changed settings lie in the data folder"),
    Unserved::warned(One("supportActingMaster"), OFF, NO_REPLICA),
    Unserved::warned(One("notifyMinBrokerIdChanged"), OFF, NO_REPLICA),
    Unserved::warned(One("scanNotActiveBrokerInterval"), &["5000"], "silent brokers are looked for every 5 s"),
    Unserved::warned(Prefix("defaultThreadPool"), &[], POOLS),
    Unserved::warned(Prefix("clientRequestThreadPool"), &[], POOLS),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(key: &str, value: &str) -> Option<Verdict> {
        BROKER.iter().find_map(|rule| rule.verdict(key, value))
    }

    #[test]
    fn a_value_that_asks_for_nothing_missing_is_fine() {
        assert_eq!(verdict("aclEnable", "false"), Some(Verdict::Fine));
        assert_eq!(verdict("aclEnable", "true"), Some(Verdict::Refused(NO_ACCESS_CONTROL)));
        assert!(matches!(verdict("brokerRole", "SLAVE"), Some(Verdict::Refused(_))));
        assert_eq!(verdict("brokerRole", "ASYNC_MASTER"), Some(Verdict::Fine));
        assert_eq!(verdict("tieredStoreFilePath", "x"), Some(Verdict::Warned(NO_TIERING)));
        assert_eq!(verdict("brokerName", "x"), None);
    }
}
