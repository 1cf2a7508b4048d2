//! A name server as brokers, clients and tools meet it: over sockets, with the bytes they send.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail by panicking")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use strata_namesrv::{Namesrv, NamesrvOptions};
use strata_protocol::body::{RegisterBody, TopicConfig};
use strata_protocol::code::request as code;
use strata_protocol::command::Command;
use strata_remoting::{Client, Server, ServerOptions};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

const WAIT: Duration = Duration::from_secs(5);

struct Running {
    address: String,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<()>,
}

impl Running {
    async fn start(options: NamesrvOptions) -> Self {
        let namesrv: Arc<Namesrv> = Namesrv::open(options).unwrap();
        let server = Server::bind("127.0.0.1:0".parse().unwrap(), ServerOptions::default()).await.unwrap();
        let address = server.local_addr().to_string();
        let (stop, stopped) = oneshot::channel::<()>();
        let ended = tokio::spawn(namesrv.serve(server, async {
            let _ = stopped.await;
        }));
        Self { address, stop, ended }
    }

    async fn client(&self) -> Client {
        Client::connect(&self.address, WAIT).await.unwrap()
    }

    async fn stop(self) {
        drop(self.stop);
        tokio::time::timeout(Duration::from_secs(10), self.ended).await.expect("serve returns").unwrap();
    }
}

fn request(code: i32, fields: &[(&str, &str)]) -> Command {
    let mut request = Command::request(code);
    request.fields = fields.iter().copied().collect();
    request
}

async fn ask(client: &Client, code: i32, fields: &[(&str, &str)]) -> Command {
    client.call(request(code, fields), WAIT).await.unwrap()
}

fn document(answer: &Command) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
}

fn body(topics: &[&str]) -> RegisterBody {
    let mut body = RegisterBody::default();
    let table = &mut body.topic_config_serialize_wrapper;
    table.data_version.counter = 1;
    for topic in topics {
        table.topic_config_table.insert((*topic).to_owned(), TopicConfig::new(*topic, 4));
    }
    body
}

const BROKER: [(&str, &str); 4] = [
    ("brokerName", "broker-a"),
    ("brokerAddr", "127.0.0.1:10911"),
    ("clusterName", "DefaultCluster"),
    ("brokerId", "0"),
];

fn registration(body: Bytes, extra: &[(&str, &str)]) -> Command {
    let mut register = request(code::REGISTER_BROKER, &BROKER);
    register.fields.push("haServerAddr", "127.0.0.1:10912");
    for (name, value) in extra {
        register.fields.push(name, value);
    }
    register.body = body;
    register
}

async fn register(client: &Client, topics: &[&str]) {
    let answer = client.call(registration(body(topics).encode().into(), &[]), WAIT).await.unwrap();
    assert_eq!((answer.code, answer.remark.as_deref()), (0, None));
}

#[tokio::test]
async fn a_broker_registers_in_both_forms_and_leaves() {
    let namesrv = Running::start(NamesrvOptions::default()).await;
    let client = namesrv.client().await;
    let missing = ask(&client, code::GET_ROUTEINFO_BY_TOPIC, &[("topic", "orders")]).await;
    assert_eq!(missing.code, 17);
    assert_eq!(missing.remark.as_deref(), Some("No topic route info in name server for the topic: orders"));

    let plain: Bytes = body(&["orders", "TBW102"]).encode().into();
    let wrong = client.call(registration(plain.clone(), &[("bodyCrc32", "12345")]), WAIT).await.unwrap();
    assert_eq!((wrong.code, wrong.remark.as_deref()), (1, Some("crc32 not match")));
    let crc = (crc32fast::hash(&plain) & 0x7FFF_FFFF).to_string();
    let right = client.call(registration(plain, &[("bodyCrc32", &crc)]), WAIT).await.unwrap();
    assert_eq!((right.code, document(&right)), (0, json!({"table": {}})));

    let route = ask(&client, code::GET_ROUTEINFO_BY_TOPIC, &[("topic", "orders")]).await;
    let brokers = json!([{"brokerAddrs": {"0": "127.0.0.1:10911"}, "brokerName": "broker-a", "cluster": "DefaultCluster", "enableActingMaster": false}]);
    let queues =
        json!([{"brokerName": "broker-a", "perm": 6, "readQueueNums": 4, "topicSysFlag": 0, "writeQueueNums": 4}]);
    assert_eq!(document(&route), json!({"brokerDatas": brokers, "filterServerTable": {}, "queueDatas": queues}));
    let mut old = request(code::GET_ROUTEINFO_BY_TOPIC, &[("topic", "orders")]);
    old.version = 317;
    let legacy = client.call(old, WAIT).await.unwrap();
    assert!(legacy.body.starts_with(br#"{"brokerDatas":[{"brokerAddrs":{0:"127.0.0.1:10911"},"#), "{:?}", legacy.body);

    let packed = body(&["orders", "payments"]).encode_compressed().unwrap();
    let answer = client.call(registration(packed.into(), &[("compressed", "true")]), WAIT).await.unwrap();
    assert_eq!(answer.code, 0);
    let all = ask(&client, code::GET_ALL_TOPIC_LIST_FROM_NAMESERVER, &[]).await;
    assert_eq!(document(&all)["topicList"], json!(["TBW102", "orders", "payments"]));

    assert_eq!(ask(&client, code::UNREGISTER_BROKER, &BROKER).await.code, 0);
    assert_eq!(ask(&client, code::GET_ROUTEINFO_BY_TOPIC, &[("topic", "orders")]).await.code, 17);
    namesrv.stop().await;
}

#[tokio::test]
async fn a_broker_whose_connection_closes_is_gone() {
    let namesrv = Running::start(NamesrvOptions::default()).await;
    let (broker, tool) = (namesrv.client().await, namesrv.client().await);
    register(&broker, &["orders", "x"]).await;
    assert_eq!(ask(&tool, code::GET_ROUTEINFO_BY_TOPIC, &[("topic", "orders")]).await.code, 0);
    broker.close();
    let deadline = tokio::time::Instant::now() + WAIT;
    while ask(&tool, code::GET_ROUTEINFO_BY_TOPIC, &[("topic", "orders")]).await.code != 17 {
        assert!(tokio::time::Instant::now() < deadline, "the broker is still served");
    }
    assert_eq!(document(&ask(&tool, code::GET_BROKER_CLUSTER_INFO, &[]).await)["brokerAddrTable"], json!({}));
    namesrv.stop().await;
}

#[tokio::test]
async fn data_versions_tell_whether_to_register() {
    let namesrv = Running::start(NamesrvOptions::default()).await;
    let client = namesrv.client().await;
    let ask_version = |counter: i64| {
        let mut query = request(code::QUERY_DATA_VERSION, &BROKER);
        query.body = json!({"stateVersion": 0, "timestamp": 0, "counter": counter}).to_string().into();
        query
    };
    let unknown = client.call(ask_version(1), WAIT).await.unwrap();
    assert_eq!((unknown.fields.value("changed"), unknown.body.len()), (Some("true"), 0));
    register(&client, &["orders", "x"]).await;
    let same = client.call(ask_version(1), WAIT).await.unwrap();
    assert_eq!(same.fields.value("changed"), Some("false"));
    assert_eq!(document(&same), json!({"stateVersion": 0, "timestamp": 0, "counter": 1}));
    let newer = client.call(ask_version(2), WAIT).await.unwrap();
    assert_eq!(newer.fields.value("changed"), Some("true"));
    namesrv.stop().await;
}

#[tokio::test]
async fn values_of_operators_outlive_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let options = NamesrvOptions { data: Some(folder.path().join("namesrv")), ..NamesrvOptions::default() };
    let key = [("namespace", "ORDER_TOPIC_CONFIG"), ("key", "orders")];
    let namesrv = Running::start(options.clone()).await;
    let client = namesrv.client().await;
    let absent = ask(&client, code::GET_KV_CONFIG, &key).await;
    assert_eq!(absent.code, 22);
    let put = [key[0], key[1], ("value", "broker-a:4")];
    assert_eq!(ask(&client, code::PUT_KV_CONFIG, &put).await.code, 0);
    let mut change = request(code::UPDATE_NAMESRV_CONFIG, &[]);
    change.body = Bytes::from_static(b"orderMessageEnable=true\nenableAllTopicList=false");
    assert_eq!(client.call(change, WAIT).await.unwrap().code, 0);
    let mut forbidden = request(code::UPDATE_NAMESRV_CONFIG, &[]);
    forbidden.body = Bytes::from_static(b"kvConfigPath=/tmp/x");
    let refused = client.call(forbidden, WAIT).await.unwrap();
    assert_eq!(refused.code, 16);
    assert!(refused.remark.unwrap().starts_with("kvConfigPath cannot be changed"));
    namesrv.stop().await;

    let namesrv = Running::start(options).await;
    let client = namesrv.client().await;
    assert_eq!(ask(&client, code::GET_KV_CONFIG, &key).await.fields.value("value"), Some("broker-a:4"));
    let list = ask(&client, code::GET_KVLIST_BY_NAMESPACE, &[key[0]]).await;
    assert_eq!(document(&list), json!({"table": {"orders": "broker-a:4"}}));
    let told = client.call(registration(body(&["orders", "x"]).encode().into(), &[]), WAIT).await.unwrap();
    assert_eq!(document(&told), json!({"table": {"orders": "broker-a:4"}}));
    let route = ask(&client, code::GET_ROUTEINFO_BY_TOPIC, &[("topic", "orders")]).await;
    assert_eq!(document(&route)["orderTopicConf"], json!("broker-a:4"));
    let switched_off = ask(&client, code::GET_ALL_TOPIC_LIST_FROM_NAMESERVER, &[]).await;
    assert_eq!(switched_off.code, 1);
    let settings = ask(&client, code::GET_NAMESRV_CONFIG, &[]).await;
    assert!(settings.body.starts_with(b"orderMessageEnable=true\n"));
    assert_eq!(ask(&client, code::DELETE_KV_CONFIG, &key).await.code, 0);
    assert_eq!(ask(&client, code::GET_KVLIST_BY_NAMESPACE, &[key[0]]).await.code, 22);
    namesrv.stop().await;
}

#[tokio::test]
async fn what_is_not_served_or_not_whole_is_said() {
    let namesrv = Running::start(NamesrvOptions::default()).await;
    let client = namesrv.client().await;
    let unknown = ask(&client, 4711, &[]).await;
    assert_eq!((unknown.code, unknown.remark.as_deref()), (3, Some(" request type 4711 not supported")));
    let half = ask(&client, code::GET_ROUTEINFO_BY_TOPIC, &[]).await;
    assert_eq!((half.code, half.remark.as_deref()), (29, Some("the request's field topic is missing")));
    let mut odd = registration(Bytes::from_static(b"{\"topicConfig"), &[]);
    odd.fields.push("compressed", "false");
    assert_eq!(client.call(odd, WAIT).await.unwrap().code, 1);
    let bomb = registration(Bytes::from_static(b"no zlib"), &[("compressed", "true")]);
    assert_eq!(client.call(bomb, WAIT).await.unwrap().code, 1);
    namesrv.stop().await;
}

#[tokio::test]
async fn write_permissions_topics_and_members_by_request() {
    let namesrv = Running::start(NamesrvOptions::default()).await;
    let client = namesrv.client().await;
    register(&client, &["orders", "x"]).await;
    let wiped = ask(&client, code::WIPE_WRITE_PERM_OF_BROKER, &[("brokerName", "broker-a")]).await;
    assert_eq!(wiped.fields.value("wipeTopicCount"), Some("2"));
    let route = ask(&client, code::GET_ROUTEINFO_BY_TOPIC, &[("topic", "orders")]).await;
    assert_eq!(document(&route)["queueDatas"][0]["perm"], json!(4));
    let added = ask(&client, code::ADD_WRITE_PERM_OF_BROKER, &[("brokerName", "broker-a")]).await;
    assert_eq!(added.fields.value("addTopicCount"), Some("2"));
    assert_eq!(ask(&client, code::DELETE_TOPIC_IN_NAMESRV, &[("topic", "x")]).await.code, 0);
    let of_cluster = ask(&client, code::GET_TOPICS_BY_CLUSTER, &[("cluster", "DefaultCluster")]).await;
    assert_eq!(document(&of_cluster)["topicList"], json!(["orders"]));
    let mut add = request(code::REGISTER_TOPIC_IN_NAMESRV, &[("topic", "late")]);
    add.body = Bytes::from_static(
        br#"{"queueDatas":[{"brokerName":"broker-a","readQueueNums":2,"writeQueueNums":2,"perm":6}]}"#,
    );
    assert_eq!(client.call(add, WAIT).await.unwrap().code, 0);
    let late = ask(&client, code::GET_ROUTEINFO_BY_TOPIC, &[("topic", "late")]).await;
    assert_eq!(document(&late)["queueDatas"][0]["readQueueNums"], json!(2));
    let group = [("clusterName", "DefaultCluster"), ("brokerName", "broker-a")];
    let members = document(&ask(&client, code::GET_BROKER_MEMBER_GROUP, &group).await);
    assert_eq!(members["brokerMemberGroup"]["brokerAddrs"], json!({"0": "127.0.0.1:10911"}));
    let system = document(&ask(&client, code::GET_SYSTEM_TOPIC_LIST_FROM_NS, &[]).await);
    assert_eq!(system, json!({"topicList": ["DefaultCluster", "broker-a"], "brokerAddr": "127.0.0.1:10911"}));
    namesrv.stop().await;
}

#[tokio::test]
async fn the_http_text_lists_all_addresses() {
    let addresses = vec!["10.0.0.1:9876".to_owned(), "10.0.0.2:9876".to_owned()];
    let namesrv = Namesrv::open(NamesrvOptions { addresses, ..NamesrvOptions::default() }).unwrap();
    assert_eq!(namesrv.http_nsaddr(), "10.0.0.1:9876;10.0.0.2:9876");
}
