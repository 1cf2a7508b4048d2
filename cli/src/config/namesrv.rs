//! The keys of a name server's configuration, by RocketMQ's names.

use std::net::{IpAddr, Ipv4Addr};

use strata_namesrv::Settings;

use super::connections::{self, Connections, HasConnections};
use super::unserved::{self, Unserved};
use super::values::{number, parsed};
use super::{Key, Role};

/// A name server's configuration while it is put together.
#[derive(Debug)]
pub(crate) struct NamesrvDraft {
    pub(crate) listen: IpAddr,
    pub(crate) port: u16,
    pub(crate) settings: Settings,
    connections: Connections,
}

impl Default for NamesrvDraft {
    fn default() -> Self {
        Self {
            listen: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            port: 9_876,
            settings: Settings::default(),
            connections: Connections::default(),
        }
    }
}

impl HasConnections for NamesrvDraft {
    fn connections(&self) -> &Connections {
        &self.connections
    }

    fn connections_mut(&mut self) -> &mut Connections {
        &mut self.connections
    }
}

fn switch(draft: &mut NamesrvDraft, key: &str, value: &str) -> Result<(), String> {
    draft.settings.apply(key, value).map_err(|_| String::from("true or false"))
}

impl Role for NamesrvDraft {
    const UNSERVED: &'static [Unserved] = unserved::NAMESRV;
    const NAMES: &'static str = include_str!("names_namesrv.txt");
    const KEYS: &'static [Key<Self>] = &[
        Key {
            name: "bindAddress",
            meaning: "the address it listens on",
            apply: |d, v| parsed(&mut d.listen, v, "an IP address"),
            show: |d| d.listen.to_string(),
        },
        Key {
            name: "listenPort",
            meaning: "its port; 0 takes a free one",
            apply: |d, v| number(&mut d.port, v, 0..=u16::MAX),
            show: |d| d.port.to_string(),
        },
        connections::all(),
        connections::of_one_address(),
        Key {
            name: "orderMessageEnable",
            meaning: "routes carry the configuration of ordered topics",
            apply: |d, v| switch(d, "orderMessageEnable", v),
            show: |d| d.settings.order_topics.to_string(),
        },
        Key {
            name: "returnOrderTopicConfigToBroker",
            meaning: "brokers are told that configuration when they register",
            apply: |d, v| switch(d, "returnOrderTopicConfigToBroker", v),
            show: |d| d.settings.order_topics_to_brokers.to_string(),
        },
        Key {
            name: "enableAllTopicList",
            meaning: "the list of all topics is given out",
            apply: |d, v| switch(d, "enableAllTopicList", v),
            show: |d| d.settings.all_topics_listed.to_string(),
        },
        Key {
            name: "deleteTopicWithBrokerRegistration",
            meaning: "a full registration removes what it does not mention",
            apply: |d, v| switch(d, "deleteTopicWithBrokerRegistration", v),
            show: |d| d.settings.registration_removes.to_string(),
        },
    ];
}

#[cfg(test)]
mod tests {
    use super::super::{Effective, Origin};
    use super::*;

    #[test]
    fn switches_and_ports_act() {
        let mut effective = Effective::<NamesrvDraft>::default();
        for (key, value) in [("listenPort", "0"), ("orderMessageEnable", "true"), ("enableAllTopicList", "false")] {
            effective.take(key, value, Origin::Flag("--test")).unwrap();
        }
        let Settings { order_topics, all_topics_listed, order_topics_to_brokers, .. } = effective.draft.settings;
        assert_eq!(
            (effective.draft.port, order_topics, all_topics_listed, order_topics_to_brokers),
            (0, true, false, true)
        );
        assert!(effective.take("orderMessageEnable", "1", Origin::Flag("--test")).is_err());
        let origins: Vec<_> = effective.rows().into_iter().map(|row| (row.key, row.origin)).take(2).collect();
        assert_eq!(origins, [("bindAddress", "default".to_owned()), ("listenPort", "--test".to_owned())]);
    }
}
