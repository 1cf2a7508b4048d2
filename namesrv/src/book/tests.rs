//! The book's rules, with time in the test's hands.

use strata_protocol::body::{QueueData, TopicConfig, TopicTable};
use strata_protocol::request::RegisterBroker;
use tokio::time::advance;

use super::registration::{Refused, Registered};
use super::*;

const CLUSTER: &str = "DefaultCluster";

fn table(version: i64, topics: &[&str]) -> TopicTable {
    TopicTable {
        topic_config_table: topics.iter().map(|name| ((*name).to_owned(), TopicConfig::new(*name, 4))).collect(),
        data_version: DataVersion { state_version: 0, timestamp: 1, counter: version },
    }
}

fn registration(name: &str, id: i64, table: TopicTable) -> Registration {
    let header = RegisterBroker {
        broker_name: name.into(),
        broker_address: format!("10.0.0.{}:10911", id + 1),
        cluster: CLUSTER.into(),
        ha_address: Some(format!("10.0.0.{}:10912", id + 1)),
        broker_id: id,
        ..RegisterBroker::default()
    };
    Registration { header, table, connection: 100 + u64::try_from(id).unwrap(), removes: false }
}

fn master(book: &mut Book, version: i64, topics: &[&str]) -> Result<Registered, Refused> {
    book.register(registration("a", 0, table(version, topics)), Instant::now())
}

fn process(address: &str) -> Process<'_> {
    Process { cluster: CLUSTER, name: "a", address }
}

fn names(book: &Book, listed: Listed<'_>) -> Vec<String> {
    let mut names: Vec<String> = book.topic_names(listed).iter().map(ToString::to_string).collect();
    names.sort_unstable();
    names
}

fn topics(book: &Book) -> Vec<String> {
    names(book, Listed::All)
}

fn perm_of(book: &Book, topic: &str) -> i32 {
    book.topics.queues(topic, "a").unwrap().perm
}

#[tokio::test(start_paused = true)]
async fn a_silent_broker_is_gone_after_its_time_and_not_before() {
    let mut book = Book::default();
    master(&mut book, 1, &["t", "u"]).unwrap();
    advance(Duration::from_secs(120)).await;
    assert_eq!(book.expire(Instant::now()), Vec::<String>::new());
    assert!(book.heard(process("10.0.0.1:10911"), None, Instant::now()));
    advance(Duration::from_secs(120)).await;
    assert_eq!(book.expire(Instant::now()), Vec::<String>::new());
    advance(Duration::from_millis(1)).await;
    assert_eq!(book.expire(Instant::now()), ["a[0] 10.0.0.1:10911"]);
    assert_eq!(book.route("t", Form::Strict, None), None);
    assert_eq!(topics(&book), Vec::<String>::new());
    assert!(!book.heard(process("10.0.0.1:10911"), None, Instant::now()), "a forgotten broker must register");
}

#[tokio::test(start_paused = true)]
async fn a_broker_may_ask_for_another_silence() {
    let mut book = Book::default();
    let mut wish = registration("a", 0, table(1, &["t", "u"]));
    wish.header.heartbeat_timeout_ms = Some(10_000);
    book.register(wish, Instant::now()).unwrap();
    advance(Duration::from_millis(10_001)).await;
    assert!(book.heard(process("10.0.0.1:10911"), Some(20_000), Instant::now()));
    advance(Duration::from_millis(20_000)).await;
    assert!(book.expire(Instant::now()).is_empty());
    advance(Duration::from_millis(1)).await;
    assert_eq!(book.expire(Instant::now()).len(), 1);
    assert_eq!(registration::silence(Some(i64::MAX)), Some(crate::limits::BROKER_SILENCE_MAX));
    assert_eq!(registration::silence(Some(-1)), None);
}

#[tokio::test(start_paused = true)]
async fn additions_merge_and_need_a_base() {
    let mut book = Book::default();
    let refused = master(&mut book, 1, &["only"]).unwrap_err();
    assert_eq!(refused, Refused::NoBase { name: "a".into(), id: 0 });
    assert!(book.brokers.is_empty(), "a refused registration leaves nothing");
    master(&mut book, 1, &["t", "u"]).unwrap();
    master(&mut book, 2, &["v"]).unwrap();
    assert_eq!(topics(&book), ["t", "u", "v"]);
    assert_eq!(book.data_version(process("10.0.0.1:10911")).unwrap().counter, 2);
    let mut all = registration("a", 0, table(3, &["u", "v"]));
    all.removes = true;
    book.register(all, Instant::now()).unwrap();
    assert_eq!(topics(&book), ["u", "v"]);
}

#[tokio::test(start_paused = true)]
async fn a_route_is_encoded_once_per_version() {
    let mut book = Book::default();
    master(&mut book, 1, &["t", "u"]).unwrap();
    let first = book.route("t", Form::Strict, None).unwrap();
    assert_eq!(
        first,
        concat!(
            r#"{"brokerDatas":[{"brokerAddrs":{"0":"10.0.0.1:10911"},"brokerName":"a","cluster":"DefaultCluster","enableActingMaster":false}],"#,
            r#""filterServerTable":{},"queueDatas":[{"brokerName":"a","perm":6,"readQueueNums":4,"topicSysFlag":0,"writeQueueNums":4}]}"#,
        )
    );
    master(&mut book, 1, &["t", "u"]).unwrap();
    assert_eq!(book.route("t", Form::Strict, None).unwrap().as_ptr(), first.as_ptr(), "nothing changed");
    assert!(book.route("t", Form::Legacy, None).unwrap().starts_with(br#"{"brokerDatas":[{"brokerAddrs":{0:"#));
    assert!(
        book.route("t", Form::Strict, Some("a:4")).unwrap().windows(24).any(|w| w == br#","orderTopicConf":"a:4","#)
    );
    book.register(registration("a", 1, table(1, &["t", "u"])), Instant::now()).unwrap();
    let second = book.route("t", Form::Strict, None).unwrap();
    let text = String::from_utf8(second.to_vec()).unwrap();
    assert!(text.contains(r#"{"0":"10.0.0.1:10911","1":"10.0.0.2:10911"}"#), "{text}");
    let mut wider = table(2, &["t", "u"]);
    wider.topic_config_table.get_mut("t").unwrap().read_queue_nums = 9;
    book.register(registration("a", 0, wider), Instant::now()).unwrap();
    let text = String::from_utf8(book.route("t", Form::Strict, None).unwrap().to_vec()).unwrap();
    assert!(text.contains(r#""readQueueNums":9"#), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_closed_connection_takes_its_broker_at_once_but_not_one_that_came_back() {
    let mut book = Book::default();
    master(&mut book, 1, &["t", "u"]).unwrap();
    let mut again = registration("a", 0, table(1, &["t", "u"]));
    again.connection = 555;
    book.register(again, Instant::now()).unwrap();
    assert_eq!(book.disconnected(100), 0);
    assert!(book.route("t", Form::Strict, None).is_some());
    assert_eq!(book.disconnected(555), 1);
    assert_eq!(book.route("t", Form::Strict, None), None);
}

#[tokio::test(start_paused = true)]
async fn slaves_learn_their_master_and_outlive_it() {
    let mut book = Book::default();
    master(&mut book, 1, &["t", "u"]).unwrap();
    let told = book.register(registration("a", 1, table(1, &["ignored", "x"])), Instant::now()).unwrap();
    assert_eq!(told.master, Some(("10.0.0.1:10911".into(), "10.0.0.1:10912".into())));
    assert_eq!(topics(&book), ["t", "u"], "a slave's topics do not count");
    assert!(!book.unregister(process("10.0.0.9:1"), 0), "another address is another broker");
    assert!(book.unregister(process("10.0.0.1:10911"), 0));
    let text = String::from_utf8(book.route("t", Form::Strict, None).unwrap().to_vec()).unwrap();
    assert!(text.contains(r#""brokerAddrs":{"1":"10.0.0.2:10911"}"#), "{text}");
    assert_eq!(perm_of(&book, "t"), 6);
    let mut promoted = registration("a", 0, table(2, &["t", "u"]));
    promoted.header.broker_address = "10.0.0.2:10911".into();
    book.register(promoted, Instant::now()).unwrap();
    assert_eq!(book.brokers["a"].addresses().into_iter().collect::<Vec<_>>(), [(0, "10.0.0.2:10911".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn an_older_reign_does_not_push_a_newer_one_out() {
    let mut book = Book::default();
    let mut newer = table(1, &["t", "u"]);
    newer.data_version.state_version = 5;
    book.register(registration("a", 0, newer), Instant::now()).unwrap();
    let mut older = registration("a", 0, table(9, &["t", "u"]));
    older.header.broker_address = "10.0.0.7:10911".into();
    let refused = book.register(older, Instant::now()).unwrap_err();
    assert_eq!(refused, Refused::Outdated { name: "a".into(), id: 0, address: "10.0.0.1:10911".into() });
}

#[tokio::test(start_paused = true)]
async fn write_permission_stays_away_until_the_brokers_topics_change() {
    let mut book = Book::default();
    master(&mut book, 1, &["t", "u"]).unwrap();
    assert_eq!(book.permit_writes("a", false), 2);
    assert_eq!(book.permit_writes("nobody", false), 0);
    master(&mut book, 1, &["t", "u"]).unwrap();
    assert_eq!((perm_of(&book, "t"), perm_of(&book, "u")), (4, 4));
    assert!(book.route("t", Form::Strict, None).unwrap().windows(8).any(|w| w == br#""perm":4"#));
    assert_eq!(book.permit_writes("a", true), 2);
    assert_eq!(perm_of(&book, "t"), 6);
    book.permit_writes("a", false);
    master(&mut book, 2, &["t", "u"]).unwrap();
    assert_eq!(perm_of(&book, "t"), 6);
}

#[tokio::test(start_paused = true)]
async fn names_that_would_break_a_route_are_refused() {
    let mut book = Book::default();
    for address in ["", "10.0.0.1:1,2", "a b:1", "\"x\":1"] {
        let mut bad = registration("a", 0, table(1, &["t", "u"]));
        bad.header.broker_address = address.into();
        assert_eq!(book.register(bad, Instant::now()), Err(Refused::BadName { field: "address" }), "{address}");
    }
    let mut negative = registration("a", 0, TopicTable::default());
    negative.header.broker_id = -1;
    assert_eq!(book.register(negative, Instant::now()), Err(Refused::BadId { id: -1 }));
    assert!(book.brokers.is_empty());
}

#[tokio::test(start_paused = true)]
async fn lists_follow_clusters_and_unit_bits() {
    let mut book = Book::default();
    let mut flags = table(1, &["plain", "unit", "sub", "both"]);
    for (topic, flag) in [("unit", 1), ("sub", 2), ("both", 3)] {
        flags.topic_config_table.get_mut(topic).unwrap().topic_sys_flag = flag;
    }
    book.register(registration("a", 0, flags), Instant::now()).unwrap();
    let mut other = registration("b", 0, table(1, &["plain", "else"]));
    other.header.cluster = "Other".into();
    book.register(other, Instant::now()).unwrap();
    let list = |listed| names(&book, listed);
    assert_eq!(list(Listed::All), ["both", "else", "plain", "sub", "unit"]);
    assert_eq!(list(Listed::OfCluster("Other")), ["else", "plain"]);
    assert_eq!(list(Listed::Unit), ["both", "unit"]);
    assert_eq!(list(Listed::UnitSubscription), ["both", "sub"]);
    assert_eq!(list(Listed::UnitSubscriptionOnly), ["sub"]);
    let system = book.system_topics();
    assert_eq!(system.topic_list, ["DefaultCluster", "Other", "a", "b"]);
    assert_eq!(system.broker_addr.as_deref(), Some("10.0.0.1:10911"));
    assert_eq!(
        book.cluster_info(Form::Legacy),
        concat!(
            r#"{"brokerAddrTable":{"a":{"brokerAddrs":{0:"10.0.0.1:10911"},"brokerName":"a","cluster":"DefaultCluster","enableActingMaster":false},"#,
            r#""b":{"brokerAddrs":{0:"10.0.0.1:10911"},"brokerName":"b","cluster":"Other","enableActingMaster":false}},"#,
            r#""clusterAddrTable":{"DefaultCluster":["a"],"Other":["b"]}}"#,
        )
    );
    assert_eq!(
        book.member_group("Other", "b", Form::Strict),
        r#"{"brokerMemberGroup":{"brokerAddrs":{"0":"10.0.0.1:10911"},"brokerName":"b","cluster":"Other"}}"#
    );
    book.delete_topic("plain", Some("Other"));
    assert_eq!(
        book.topics.topic("plain").unwrap().queues().iter().map(|queues| &queues.broker_name).collect::<Vec<_>>(),
        ["a"]
    );
    book.delete_topic("plain", None);
    assert!(book.topics.topic("plain").is_none());
}

fn queues(broker: &str, count: i32) -> QueueData {
    QueueData {
        broker_name: broker.into(),
        read_queue_nums: count,
        write_queue_nums: count,
        perm: 6,
        topic_sys_flag: 0,
    }
}

#[tokio::test(start_paused = true)]
async fn a_topic_registered_alone_holds_until_its_broker_registers_another_version() {
    let mut book = Book::default();
    master(&mut book, 1, &["t", "u"]).unwrap();
    book.register(registration("b", 0, table(1, &["late", "x"])), Instant::now()).unwrap();
    let of = |book: &Book, broker| book.topics.queues("late", broker).map(|queues| queues.read_queue_nums);
    assert!(book.route("late", Form::Strict, None).is_some());
    book.register_topic("late", vec![queues("a", 8)]).unwrap();
    assert_eq!((of(&book, "a"), of(&book, "b")), (Some(8), Some(4)));
    let route = String::from_utf8(book.route("late", Form::Strict, None).unwrap().to_vec()).unwrap();
    assert!(route.contains(r#""readQueueNums":8"#) && route.contains(r#""readQueueNums":4"#), "{route}");
    assert_eq!(book.data_version(process("10.0.0.1:10911")).unwrap().counter, 1, "the broker still has to register");

    master(&mut book, 1, &["t", "u"]).unwrap();
    master(&mut book, 1, &["t", "u", "late"]).unwrap();
    assert_eq!(of(&book, "a"), Some(8), "nothing newer was registered");
    master(&mut book, 2, &["t", "u", "late"]).unwrap();
    assert_eq!((of(&book, "a"), of(&book, "b")), (Some(4), Some(4)));
    book.register_topic("later", vec![queues("a", 1)]).unwrap();
    let mut all = registration("a", 0, table(3, &["t", "u"]));
    all.removes = true;
    book.register(all, Instant::now()).unwrap();
    assert_eq!(topics(&book), ["late", "t", "u", "x"], "the broker's own queues are those that it mentions");
    assert_eq!((of(&book, "a"), of(&book, "b")), (None, Some(4)));
}

#[tokio::test(start_paused = true)]
async fn a_topic_registered_alone_obeys_the_same_bounds() {
    let mut book = Book::default();
    master(&mut book, 1, &["t", "u"]).unwrap();
    let error = topics::Unregistrable::UnknownBroker { name: "zz".into() };
    assert_eq!(book.register_topic("late", vec![queues("a", 1), queues("zz", 1)]), Err(error));
    assert!(book.topics.topic("late").is_none(), "all of it or nothing");
    for name in ["", "a b", "a,b", "a\"b", &"x".repeat(crate::limits::TOPIC_BYTES_MAX + 1)] {
        assert_eq!(book.register_topic(name, vec![queues("a", 1)]), Err(topics::Unregistrable::BadName), "{name}");
    }
    let longest = format!("%RETRY%{}", "g".repeat(255));
    book.register_topic(&longest, vec![queues("a", 1)]).unwrap();
    let left_out = master(&mut book, 2, &["t", "a b", &longest, &(longest.clone() + "g")]).unwrap().topics_left_out;
    assert_eq!((left_out, topics(&book).len()), (2, 3));
}
