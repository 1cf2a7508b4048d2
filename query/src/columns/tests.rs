//! A message has the same values out of both tiers, however odd its record is.

use datafusion::arrow::compute::cast;
use proptest::prelude::*;
use strata_protocol::record::{Placement, Record, encode_record};
use strata_tiering::rows::{PropertyColumn, RowBuilder, read_schema};

use super::*;

/// Texts of properties, odd ones among them: without an end, names twice, empty values, no separators, no UTF-8.
fn properties() -> impl Strategy<Value = Vec<u8>> {
    let name = prop_oneof![
        Just(&b"UNIQ_KEY"[..]),
        Just(&b"KEYS"[..]),
        Just(&b"TAGS"[..]),
        Just(&b"color"[..]),
        Just(&b"size"[..]),
        Just(&b"\xff"[..]),
        Just(&b""[..]),
    ];
    let value = prop_oneof![
        "[a-c ]{0,6}".prop_map(String::into_bytes),
        Just(b"a\x01b".to_vec()),
        Just(vec![0xfe]),
        Just(Vec::new()),
    ];
    let entry = (name, value, any::<bool>()).prop_map(|(name, value, is_whole)| {
        let mut out = name.to_vec();
        if is_whole {
            out.push(1);
            out.extend(value);
        }
        out
    });
    (prop::collection::vec(entry, 0..6), any::<bool>()).prop_map(|(entries, is_closed)| {
        let mut out = entries.join(&2);
        if is_closed {
            out.push(2);
        }
        out
    })
}

fn record() -> impl Strategy<Value = Vec<u8>> {
    let times = (prop_oneof![0..i64::MAX / 2_000, Just(i64::MAX), Just(-5)], 0..i64::MAX / 2_000);
    let body = prop_oneof![prop::collection::vec(any::<u8>(), 0..20), Just(b"plain text".to_vec())];
    (properties(), body, times, any::<bool>(), 0..5_i32).prop_map(|(properties, body, (born, stored), is_v6, queue)| {
        let address = if is_v6 { "[2001:db8::1]:7" } else { "10.0.0.1:40000" };
        let placed = Placement {
            queue_offset: 7,
            physical_offset: 1_000,
            store_timestamp: stored,
            store_host: "127.0.0.1:10911".parse().unwrap(),
        };
        let record = Record {
            topic: "orders",
            queue_id: queue,
            flag: -1,
            sys_flag: 0,
            born_timestamp: born,
            born_host: address.parse().unwrap(),
            reconsume_times: 2,
            prepared_transaction_offset: 0,
            body: &body,
            properties: &properties,
            placed,
        };
        let mut bytes = Vec::new();
        encode_record(&mut bytes, &record).unwrap();
        bytes
    })
}

/// Records as the tier gives them back.
fn rolled(records: &[Vec<u8>]) -> RecordBatch {
    let columns = [PropertyColumn { name: "color".into(), id: 1_000 }];
    let mut rows = RowBuilder::new(&columns);
    records.iter().for_each(|record| rows.push(record).unwrap());
    let batch = rows.finish().unwrap();
    let schema = read_schema(&columns);
    let arrays = schema.fields().iter().zip(batch.columns());
    let arrays = arrays.map(|(field, array)| cast(array, field.data_type()).unwrap()).collect();
    RecordBatch::try_new(schema, arrays).unwrap()
}

/// A message as JSON, without where it is.
fn lines(batches: &[RecordBatch]) -> Vec<String> {
    let mut out = Vec::new();
    for batch in batches {
        let mut writer = datafusion::arrow::json::WriterBuilder::new()
            .with_explicit_nulls(true)
            .build::<_, datafusion::arrow::json::writer::LineDelimited>(Vec::new());
        writer.write(batch).unwrap();
        writer.finish().unwrap();
        let text = String::from_utf8(writer.into_inner()).unwrap();
        out.extend(text.lines().map(str::to_owned));
    }
    out.sort_unstable();
    out
}

proptest! {
    #[test]
    fn a_message_is_the_same_in_both_tiers(records in prop::collection::vec(record(), 1..20)) {
        let all: Vec<usize> = (0..COLUMNS.len() - 1).collect();
        let chosen = Chosen::of(Some(&all));
        let mut hot = Rows::new(&chosen, Where::Hot);
        for record in &records {
            hot.add(&RecordView::parse(record).unwrap()).unwrap();
        }
        let hot = lines(&[hot.finish().unwrap()]);
        let cold = lines(&chosen.of_rows(&rolled(&records)).unwrap());
        prop_assert_eq!(hot, cold);
    }
}

#[test]
fn packed_bodies_are_given_as_they_were() {
    use std::io::Write as _;
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    zlib.write_all(b"the body").unwrap();
    let packed = zlib.finish().unwrap();
    assert_eq!(unpacked(&packed, 1).unwrap(), &b"the body"[..]);
    assert!(unpacked(b"no zlib", 1).is_err());
    assert_eq!(unpacked(b"as it is", 0).unwrap(), &b"as it is"[..]);
}
