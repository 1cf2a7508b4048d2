//! What each request to a name server asks, does and is answered; read [`Desk::answer`] as the contents.
//!
//! Owns the mapping from requests and refusals to answers. Rules about brokers and topics are the book's.

use std::borrow::Cow;

use std::path::PathBuf;
use std::sync::OnceLock;

use bytes::Bytes;
use parking_lot::Mutex;
use serde::Serialize;
use strata_protocol::body::{DataVersion, KvTable, RegisterBody, TopicList, TopicRoute};
use strata_protocol::code::{ResponseCode, request as code};
use strata_protocol::command::Command;
use strata_protocol::json;
use strata_protocol::reply::Reply;
use strata_protocol::request::{
    BadField, BrokerGroupOf, BrokerHeartbeat, BrokerNameOf, BrokerOf, ClusterOf, DeleteTopicInNamesrv, Header,
    KeyValue, NamespaceOf, RegisterBroker, TopicOf,
};
use strata_remoting::Pace;
use tokio::time::Instant;

use crate::book::{Book, Listed, Process, Registration};
use crate::kv::{self, Kv, KvError, ORDER_TOPICS};
use crate::limits::NAME_BYTES_MAX;
use crate::route::Form;
use crate::settings::{self, LiveSettings, SettingsError};

/// Where requests are answered. The one lock around the book is held for one request's work on it, never
/// for input or output; a route that did not change costs it one look-up.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) book: Mutex<Book>,
    pub(crate) kv: Kv,
    pub(crate) settings: LiveSettings,
    /// Where their files are.
    pub(crate) folder: Option<PathBuf>,
    /// The port that is served; not known before.
    pub(crate) port: OnceLock<u16>,
    /// The pace of lines that peers can cause.
    pub(crate) lines: Pace,
}

/// Whether a request waits for the disk and must not be answered on a connection's task.
pub(crate) fn is_durable(request: &Command) -> bool {
    matches!(request.code, code::PUT_KV_CONFIG | code::DELETE_KV_CONFIG | code::UPDATE_NAMESRV_CONFIG)
}

impl Desk {
    /// Answers one request that came over `connection`.
    pub(crate) fn answer(&self, request: &Command, connection: u64, now: Instant) -> Reply {
        let answered = match request.code {
            code::GET_ROUTEINFO_BY_TOPIC => self.route(request),
            code::REGISTER_BROKER => self.register(request, connection, now),
            code::UNREGISTER_BROKER => self.unregister(request),
            code::BROKER_HEARTBEAT => self.heartbeat(request, now),
            code::QUERY_DATA_VERSION => self.query_data_version(request, now),
            code::GET_BROKER_CLUSTER_INFO => {
                Ok(Reply::with_body(self.book.lock().cluster_info(Form::of(request, false))))
            }
            code::GET_BROKER_MEMBER_GROUP => self.member_group(request),
            code::GET_ALL_TOPIC_LIST_FROM_NAMESERVER => Ok(self.all_topics()),
            code::GET_TOPICS_BY_CLUSTER => {
                ClusterOf::decode(&request.fields).map(|of| self.list(Listed::OfCluster(&of.cluster)))
            }
            code::GET_SYSTEM_TOPIC_LIST_FROM_NS => Ok(document(&self.book.lock().system_topics())),
            code::GET_UNIT_TOPIC_LIST => Ok(self.list(Listed::Unit)),
            code::GET_HAS_UNIT_SUB_TOPIC_LIST => Ok(self.list(Listed::UnitSubscription)),
            code::GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST => Ok(self.list(Listed::UnitSubscriptionOnly)),
            code::WIPE_WRITE_PERM_OF_BROKER => self.permit_writes(request, false),
            code::ADD_WRITE_PERM_OF_BROKER => self.permit_writes(request, true),
            code::DELETE_TOPIC_IN_NAMESRV => self.delete_topic(request),
            code::REGISTER_TOPIC_IN_NAMESRV => self.register_topic(request),
            code::PUT_KV_CONFIG => self.put_kv(request),
            code::GET_KV_CONFIG => self.kv(request),
            code::DELETE_KV_CONFIG => self.remove_kv(request),
            code::GET_KVLIST_BY_NAMESPACE => self.kv_namespace(request),
            code::UPDATE_NAMESRV_CONFIG => Ok(self.update_settings(request)),
            code::GET_NAMESRV_CONFIG => Ok(self.configuration()),
            unknown => {
                let remark = format!(" request type {unknown} not supported");
                Ok(Reply::refusal(ResponseCode::RequestCodeNotSupported, remark))
            }
        };
        answered.unwrap_or_else(|bad| Reply::refusal(ResponseCode::InvalidParameter, bad.to_string()))
    }

    fn route(&self, request: &Command) -> Result<Reply, BadField> {
        // The hottest request reads its two fields where they lie.
        let topic = request.fields.value("topic").ok_or(BadField::Missing { name: "topic" })?;
        let strict =
            request.fields.value("acceptStandardJsonOnly").is_some_and(|text| text.eq_ignore_ascii_case("true"));
        let form = Form::of(request, strict);
        let order = if self.settings.now().order_topics { self.kv.value(ORDER_TOPICS, topic) } else { None };
        let found = self.book.lock().route(topic, form, order.as_deref());
        Ok(found.map(Reply::with_body).unwrap_or_else(|| no_route(topic)))
    }

    fn register(&self, request: &Command, connection: u64, now: Instant) -> Result<Reply, BadField> {
        let header = RegisterBroker::decode(&request.fields)?;
        let crc = crc32fast::hash(&request.body) & 0x7FFF_FFFF;
        let announced = header.body_crc32.unwrap_or(0);
        if announced != 0 && u32::try_from(announced) != Ok(crc) {
            return Ok(Reply::refusal(ResponseCode::SystemError, "crc32 not match"));
        }
        let body = match RegisterBody::decode(&request.body, header.compressed.unwrap_or(false)) {
            Ok(body) => body,
            Err(error) => return Ok(Reply::refusal(ResponseCode::SystemError, error.to_string())),
        };
        let settings = self.settings.now();
        let (name, id, address) = (header.broker_name.clone(), header.broker_id, header.broker_address.clone());
        let table = body.topic_config_serialize_wrapper;
        let registration = Registration { header, table, connection, removes: settings.registration_removes };
        let registered = self.book.lock().register(registration, now);
        let registered = match registered {
            Ok(registered) => registered,
            Err(refused) => {
                if let Some(withheld) = self.lines.admit() {
                    // Names that were refused for what they are would fill the log as they came.
                    let (broker, address) = (shown(&name), shown(&address));
                    tracing::warn!(%broker, id, %address, withheld, "{refused}");
                }
                return Ok(Reply::refusal(ResponseCode::SystemError, refused.to_string()));
            }
        };
        if registered.topics_left_out > 0
            && let Some(withheld) = self.lines.admit()
        {
            let topics = registered.topics_left_out;
            tracing::warn!(broker = name, topics, withheld, "registered topics have names that routes cannot carry");
        }
        let orders = if settings.order_topics_to_brokers { self.kv.namespace(ORDER_TOPICS) } else { None };
        let mut reply = document(&KvTable { table: orders.unwrap_or_default() });
        if let Some((master, ha_address)) = registered.master {
            reply = reply.text("haServerAddr", ha_address).text("masterAddr", master);
        }
        Ok(reply)
    }

    fn unregister(&self, request: &Command) -> Result<Reply, BadField> {
        let header = BrokerOf::decode(&request.fields)?;
        if self.book.lock().unregister(process(&header), header.broker_id) && self.lines.admit().is_some() {
            tracing::info!(broker = header.broker_name, id = header.broker_id, "the broker left");
        }
        Ok(Reply::success())
    }

    fn heartbeat(&self, request: &Command, now: Instant) -> Result<Reply, BadField> {
        let header = BrokerHeartbeat::decode(&request.fields)?;
        let process = Process { cluster: &header.cluster, name: &header.broker_name, address: &header.broker_address };
        self.book.lock().heard(process, header.heartbeat_timeout_ms, now);
        Ok(Reply::success())
    }

    fn query_data_version(&self, request: &Command, now: Instant) -> Result<Reply, BadField> {
        let header = BrokerOf::decode(&request.fields)?;
        let Ok(asked) = json::from_slice::<DataVersion>(&request.body) else {
            return Ok(Reply::refusal(ResponseCode::InvalidParameter, "the body is no data version"));
        };
        let mut book = self.book.lock();
        let known = book.data_version(process(&header));
        let changed = known != Some(asked);
        if !changed {
            book.heard(process(&header), None, now);
        }
        drop(book);
        let reply = known.map_or_else(Reply::success, |known| document(&known));
        Ok(reply.flag("changed", changed))
    }

    /// The settings by Apache's names: the switches, and where things are.
    fn configuration(&self) -> Reply {
        let mut text = self.settings.now().text();
        if let Some(port) = self.port.get() {
            text.push_str(&format!("listenPort={port}\n"));
        }
        for (key, file) in [("kvConfigPath", kv::FILE), ("configStorePath", settings::FILE)] {
            if let Some(folder) = &self.folder {
                text.push_str(&format!("{key}={}\n", folder.join(file).display()));
            }
        }
        Reply::with_body(text)
    }

    fn member_group(&self, request: &Command) -> Result<Reply, BadField> {
        let header = BrokerGroupOf::decode(&request.fields)?;
        let form = Form::of(request, false);
        Ok(Reply::with_body(self.book.lock().member_group(&header.cluster, &header.broker_name, form)))
    }

    fn all_topics(&self) -> Reply {
        if self.settings.now().all_topics_listed {
            return self.list(Listed::All);
        }
        Reply::refusal(ResponseCode::SystemError, "the list of all topics is switched off (enableAllTopicList)")
    }

    fn list(&self, listed: Listed<'_>) -> Reply {
        let mut names = self.book.lock().topic_names(listed);
        names.sort_unstable();
        let topic_list = names.iter().map(ToString::to_string).collect();
        document(&TopicList { topic_list, broker_addr: None })
    }

    fn permit_writes(&self, request: &Command, permit: bool) -> Result<Reply, BadField> {
        let header = BrokerNameOf::decode(&request.fields)?;
        let topics = self.book.lock().permit_writes(&header.broker_name, permit);
        if topics > 0 && self.lines.admit().is_some() {
            tracing::info!(broker = header.broker_name, topics, permit, "write permissions changed");
        }
        let field = if permit { "addTopicCount" } else { "wipeTopicCount" };
        Ok(Reply::success().int(field, i64::try_from(topics).unwrap_or(i64::MAX)))
    }

    fn delete_topic(&self, request: &Command) -> Result<Reply, BadField> {
        let header = DeleteTopicInNamesrv::decode(&request.fields)?;
        self.book.lock().delete_topic(&header.topic, header.cluster.as_deref());
        Ok(Reply::success())
    }

    fn register_topic(&self, request: &Command) -> Result<Reply, BadField> {
        let header = TopicOf::decode(&request.fields)?;
        let route: TopicRoute = match json::from_slice(&request.body) {
            Ok(route) => route,
            Err(error) => return Ok(Reply::refusal(ResponseCode::SystemError, error.to_string())),
        };
        Ok(match self.book.lock().register_topic(&header.topic, route.queue_datas) {
            Ok(()) => Reply::success(),
            Err(error) => Reply::refusal(ResponseCode::SystemError, error.to_string()),
        })
    }

    fn put_kv(&self, request: &Command) -> Result<Reply, BadField> {
        let header = KeyValue::decode(&request.fields)?;
        let value = header.value.ok_or(BadField::Missing { name: "value" })?;
        Ok(changed_kv(self.kv.put(&header.namespace, &header.key, &value)))
    }

    fn remove_kv(&self, request: &Command) -> Result<Reply, BadField> {
        let header = KeyValue::decode(&request.fields)?;
        Ok(changed_kv(self.kv.remove(&header.namespace, &header.key)))
    }

    fn kv(&self, request: &Command) -> Result<Reply, BadField> {
        let header = KeyValue::decode(&request.fields)?;
        let KeyValue { namespace, key, .. } = header;
        Ok(match self.kv.value(&namespace, &key) {
            Some(value) => Reply::success().text("value", value),
            None => {
                let remark = format!("No config item, Namespace: {namespace} Key: {key}");
                Reply::refusal(ResponseCode::QueryNotFound, remark)
            }
        })
    }

    fn kv_namespace(&self, request: &Command) -> Result<Reply, BadField> {
        let header = NamespaceOf::decode(&request.fields)?;
        Ok(match self.kv.namespace(&header.namespace) {
            Some(table) => document(&KvTable { table }),
            None => {
                let remark = format!("No config item, Namespace: {}", header.namespace);
                Reply::refusal(ResponseCode::QueryNotFound, remark)
            }
        })
    }

    fn update_settings(&self, request: &Command) -> Reply {
        match self.settings.update(&request.body) {
            Ok(()) => Reply::success(),
            Err(error @ SettingsError::NotAllowed { .. }) => {
                Reply::refusal(ResponseCode::NoPermission, error.to_string())
            }
            Err(error @ SettingsError::Disk(_)) => {
                tracing::error!("{error}");
                Reply::refusal(ResponseCode::SystemError, error.to_string())
            }
            Err(
                error @ (SettingsError::NotBoolean { .. } | SettingsError::NotAPair { .. } | SettingsError::NotText),
            ) => Reply::refusal(ResponseCode::InvalidParameter, error.to_string()),
        }
    }
}

fn process(header: &BrokerOf) -> Process<'_> {
    Process { cluster: &header.cluster, name: &header.broker_name, address: &header.broker_address }
}

/// A name for the log: as it is when it is short and plain, else its length.
fn shown(name: &str) -> Cow<'_, str> {
    let is_plain = name.len() <= NAME_BYTES_MAX && !name.contains(char::is_control);
    if is_plain { Cow::Borrowed(name) } else { Cow::Owned(format!("({} bytes)", name.len())) }
}

/// Clients look for the remark's beginning.
fn no_route(topic: &str) -> Reply {
    let remark = format!("No topic route info in name server for the topic: {topic}");
    Reply::refusal(ResponseCode::TopicNotExist, remark)
}

fn changed_kv(result: Result<(), KvError>) -> Reply {
    let Err(error) = result else { return Reply::success() };
    if matches!(error, KvError::Disk(_)) {
        tracing::error!("{error}");
    }
    Reply::refusal(ResponseCode::SystemError, error.to_string())
}

fn document<T: Serialize>(body: &T) -> Reply {
    // Plain data with text keys: serde_json cannot fail on it.
    Reply::with_body(Bytes::from(serde_json::to_vec(body).unwrap_or_default()))
}
