//! Records of every kind that the store can hold, and the bytes that they are.
//!
//! Owns an encoder of its own: it writes what the broker's refuses, such as checksums and magics that do not follow.

use proptest::collection::vec;
use proptest::prelude::*;

/// The parts of a record, each as it is written.
#[derive(Debug, Clone)]
pub(crate) struct Raw {
    pub(crate) topic: String,
    pub(crate) wide_length: bool,
    pub(crate) queue_id: i32,
    pub(crate) flag: i32,
    pub(crate) sys_flag: i32,
    pub(crate) longs: [i64; 5],
    pub(crate) hosts: [[u8; 18]; 2],
    pub(crate) reconsume_times: i32,
    pub(crate) crc_change: u32,
    pub(crate) body: Vec<u8>,
    pub(crate) properties: Vec<u8>,
}

impl Raw {
    /// The record's bytes.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let [queue_offset, physical_offset, born, stored, prepared] = self.longs;
        let wide = self.wide_length || self.topic.len() > 255;
        let mut out = vec![0; 4];
        out.extend(if wide { 0xDAA3_20AB_u32 } else { 0xDAA3_20A7 }.to_be_bytes());
        let crc = crc32fast::hash(&self.body) & 0x7FFF_FFFF;
        out.extend((crc ^ self.crc_change).to_be_bytes());
        out.extend(self.queue_id.to_be_bytes());
        out.extend(self.flag.to_be_bytes());
        out.extend(queue_offset.to_be_bytes());
        out.extend(physical_offset.to_be_bytes());
        out.extend(self.sys_flag.to_be_bytes());
        out.extend(born.to_be_bytes());
        self.put_host(0, 0x10, &mut out);
        out.extend(stored.to_be_bytes());
        self.put_host(1, 0x20, &mut out);
        out.extend(self.reconsume_times.to_be_bytes());
        out.extend(prepared.to_be_bytes());
        out.extend(u32::try_from(self.body.len()).unwrap().to_be_bytes());
        out.extend(&self.body);
        let length = u16::try_from(self.topic.len()).unwrap().to_be_bytes();
        out.extend(if wide { &length } else { &length[1..] });
        out.extend(self.topic.as_bytes());
        out.extend(u16::try_from(self.properties.len()).unwrap().to_be_bytes());
        out.extend(&self.properties);
        let total = u32::try_from(out.len()).unwrap();
        out[..4].copy_from_slice(&total.to_be_bytes());
        out
    }

    fn put_host(&self, which: usize, wide: i32, out: &mut Vec<u8>) {
        let [high, low, address @ ..] = self.hosts[which];
        out.extend(if self.sys_flag & wide == 0 { &address[..4] } else { &address });
        out.extend([0, 0, high, low]);
    }
}

/// A record as ordinary clients send it, with one more property.
pub(crate) fn ordinary(number: u32, name: &str, value: &str) -> Vec<u8> {
    let properties = format!(
        "KEYS\x01order-{number}\x02UNIQ_KEY\x010A0102031B2C18B4AAC2{number:012X}\x02CLUSTER\x01DefaultCluster\x02\
         {name}\x01{value}\x02WAIT\x01true\x02TAGS\x01TagA\x02"
    );
    let number = i64::from(number);
    Raw {
        topic: "TopicTest".to_owned(),
        wide_length: false,
        queue_id: 3,
        flag: 0,
        sys_flag: 0,
        longs: [number, 1_000 * number, 1_700_000_000_000 + number, 1_700_000_000_003 + number, 0],
        hosts: [[1; 18], [2; 18]],
        reconsume_times: 0,
        crc_change: 0,
        body: format!("body of {number}").into_bytes(),
        properties: properties.into_bytes(),
    }
    .bytes()
}

/// Records, and the names of the properties that have columns.
#[derive(Debug, Clone)]
pub(crate) struct Made {
    pub(crate) records: Vec<Vec<u8>>,
    pub(crate) columns: Vec<String>,
}

/// Names that meet each other, those with columns among them.
const NAMES: &[&str] = &["UNIQ_KEY", "KEYS", "TAGS", "k1", "k2", "k3", "größe", "CLUSTER", "x", "K1", "p_k1"];

fn name() -> impl Strategy<Value = String> {
    prop_oneof![8 => prop::sample::select(NAMES).prop_map(str::to_owned), 1 => "[a-zé]{1,70}", 1 => "\\PC{1,3}"]
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-z0-9]{1,12}",
        2 => prop::sample::select(vec!["", " ", "a b", "a  b", " a", "a ", "a b c", "true"]).prop_map(str::to_owned),
        1 => "[^\\x01\\x02]{0,20}",
    ]
}

/// The text of a map, as clients write it.
fn map() -> impl Strategy<Value = Vec<u8>> {
    (vec((name(), value()), 0..10), any::<bool>()).prop_map(|(mut entries, ends)| {
        entries.sort();
        entries.dedup_by(|a, b| a.0 == b.0);
        let mut text: Vec<u8> =
            entries.iter().flat_map(|(name, value)| format!("{name}\x01{value}\x02").into_bytes()).collect();
        if !ends {
            text.pop();
        }
        text
    })
}

/// Names, values and separators in any order, now and then with bytes that are no text.
fn soup() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => Just(vec![1]),
        4 => Just(vec![2]),
        4 => name().prop_map(String::into_bytes),
        3 => value().prop_map(String::into_bytes),
        1 => vec(any::<u8>(), 0..4),
    ];
    vec(piece, 0..16).prop_map(|pieces| pieces.concat())
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    let entries = vec((name(), value()), 0..6)
        .prop_map(|all| all.iter().flat_map(|(name, value)| format!("{name}\x01{value}\x02").into_bytes()).collect());
    prop_oneof![6 => map(), 2 => entries, 3 => soup()]
}

fn time() -> impl Strategy<Value = i64> {
    prop_oneof![6 => 1_600_000_000_000..1_900_000_000_000_i64, 1 => any::<i64>(), 1 => Just(-1), 1 => Just(i64::MAX)]
}

fn number() -> impl Strategy<Value = i64> {
    prop_oneof![3 => 0..100_000_i64, 1 => any::<i64>()]
}

fn topic() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => "[A-Za-z%]{1,40}",
        1 => "[a-z]{100,255}",
        1 => "[é]{60,70}",
        1 => "\\PC{1,10}",
    ]
}

/// Bytes of a body: a repeated text, or what compression leaves.
fn body() -> impl Strategy<Value = Vec<u8>> {
    (0..4_097_usize, any::<u64>()).prop_map(|(bytes, seed)| {
        if seed % 2 == 0 {
            return vec![b'x'; bytes];
        }
        let mut state = seed;
        std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state.to_be_bytes()[0]
        })
        .take(bytes)
        .collect()
    })
}

fn raw() -> impl Strategy<Value = Raw> {
    let is_rare = || prop::bool::weighted(0.06);
    let numbers = (any::<i32>(), any::<i32>(), any::<i32>(), any::<i32>());
    let longs = (number(), number(), time(), time(), number());
    let hosts = (any::<[u8; 18]>(), any::<[u8; 18]>());
    ((topic(), is_rare()), numbers, longs, hosts, (is_rare(), any::<u32>()), body(), text()).prop_map(
        |((topic, odd_magic), numbers, longs, hosts, (odd_crc, crc), body, properties)| Raw {
            wide_length: (topic.len() > 127) != odd_magic,
            topic,
            queue_id: numbers.0,
            flag: numbers.1,
            sys_flag: numbers.2,
            longs: longs.into(),
            hosts: hosts.into(),
            reconsume_times: numbers.3,
            crc_change: if odd_crc { crc } else { 0 },
            body,
            properties,
        },
    )
}

/// Batches of records, some twice, so that templates are met again.
pub(crate) fn batch_strategy() -> impl Strategy<Value = Made> {
    let columns = prop::sample::subsequence(vec!["k1", "k2", "k3", "größe", "CLUSTER", "x"], 0..=6);
    (vec(raw(), 0..10), vec(any::<prop::sample::Index>(), 0..6), columns).prop_map(|(raws, again, columns)| {
        let mut records: Vec<_> = raws.iter().map(Raw::bytes).collect();
        if !records.is_empty() {
            let more: Vec<_> = again.iter().map(|at| at.get(&records).clone()).collect();
            records.extend(more);
        }
        Made { records, columns: columns.into_iter().map(str::to_owned).collect() }
    })
}
