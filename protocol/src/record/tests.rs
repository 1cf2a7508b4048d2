//! Golden bytes and round trips of records.

use super::*;
use proptest::prelude::*;

fn sample() -> Record<'static> {
    Record {
        topic: "T",
        queue_id: 3,
        flag: 9,
        sys_flag: 0x10,
        born_timestamp: 0x0102,
        born_host: "1.2.3.4:5".parse().unwrap(),
        reconsume_times: 2,
        prepared_transaction_offset: 0x77,
        body: b"hello",
        properties: b"a\x01b\x02",
        placed: Placement {
            queue_offset: 11,
            physical_offset: 4_096,
            store_timestamp: 0x0304,
            store_host: "[::2]:10911".parse().unwrap(),
        },
    }
}

#[test]
fn golden_bytes() {
    let mut bytes = Vec::new();
    let size = encode_record(&mut bytes, &sample()).unwrap();
    let mut expected: Vec<u8> = Vec::new();
    expected.extend([0, 0, 0, 113, 0xDA, 0xA3, 0x20, 0xA7]);
    expected.extend(0x3610_A686_u32.to_be_bytes()); // CRC-32 of "hello"
    expected.extend([0, 0, 0, 3, 0, 0, 0, 9]);
    expected.extend([0, 0, 0, 0, 0, 0, 0, 11]);
    expected.extend([0, 0, 0, 0, 0, 0, 0x10, 0]);
    expected.extend([0, 0, 0, 0x20]); // the flag follows the hosts
    expected.extend([0, 0, 0, 0, 0, 0, 1, 2]);
    expected.extend([1, 2, 3, 4, 0, 0, 0, 5]);
    expected.extend([0, 0, 0, 0, 0, 0, 3, 4]);
    expected.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0x2A, 0x9F]);
    expected.extend([0, 0, 0, 2]);
    expected.extend([0, 0, 0, 0, 0, 0, 0, 0x77]);
    expected.extend(b"\0\0\0\x05hello");
    expected.extend(b"\x01T");
    expected.extend(b"\0\x04a\x01b\x02");
    assert_eq!(size, expected.len());
    assert_eq!(bytes, expected);
    let view = RecordView::parse(&bytes).unwrap();
    assert_eq!(view.record(), Record { sys_flag: 0x20, ..sample() });
    view.check_body().unwrap();
}

#[test]
fn the_smallest_record_has_91_bytes_and_a_topic() {
    let host = "127.0.0.1:1".parse().unwrap();
    let mut record = sample();
    record.born_host = host;
    record.placed.store_host = host;
    record.body = b"";
    record.properties = b"";
    let mut bytes = Vec::new();
    assert_eq!(encode_record(&mut bytes, &record), Ok(RECORD_BYTES_MIN + 1));
    assert_eq!(RecordView::parse(&bytes).unwrap().body_crc(), 0);
    assert_eq!(store_timestamp_at(0), 56);
    assert_eq!(store_timestamp_at(0x10), 68);
}

#[test]
fn long_topics_use_v2() {
    let host = "127.0.0.1:1".parse().unwrap();
    for (length, magic) in [(127, Magic::V1), (128, Magic::V2), (300, Magic::V2)] {
        let topic = "t".repeat(length);
        let mut record = Record { topic: &topic, born_host: host, ..sample() };
        record.placed.store_host = host;
        let mut bytes = Vec::new();
        encode_record(&mut bytes, &record).unwrap();
        let view = RecordView::parse(&bytes).unwrap();
        assert_eq!((view.magic(), view.topic()), (magic, topic.as_str()));
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let long = vec![b'x'; 32_768];
    let record = Record { properties: &long, ..sample() };
    assert_eq!(
        encoded_bytes(&record),
        Err(RecordError::TooLarge { field: "properties text", bytes: 32_768, max: 32_767 })
    );
    assert_eq!(encoded_bytes(&Record { topic: "", ..sample() }), Err(RecordError::Topic));
}

#[test]
fn errors_name_the_part() {
    let mut bytes = Vec::new();
    encode_record(&mut bytes, &sample()).unwrap();
    let whole = bytes.len();
    let parse = |bytes: &[u8]| RecordView::parse(bytes).map(|_| ()).unwrap_err();
    assert_eq!(parse(&bytes[..7]), RecordError::Short { wanted: 8, found: 7 });
    assert_eq!(parse(&bytes[..whole - 1]), RecordError::Short { wanted: whole, found: whole - 1 });
    let mut other = bytes.clone();
    other[7] ^= 1;
    assert_eq!(parse(&other), RecordError::Magic { code: 0xDAA3_20A6 });
    let mut other = bytes.clone();
    other[3] -= 1;
    assert_eq!(parse(&other), RecordError::Sizes { field: "properties", total: 112 });
    let mut other = bytes.clone();
    other[52] = 1; // upper half of the born port
    assert_eq!(parse(&other), RecordError::Port { field: "born host", port: 0x0100_0005 });
    let mut other = bytes.clone();
    *other.iter_mut().rev().nth(11).unwrap() ^= 1; // a byte of the body
    let view = RecordView::parse(&other).unwrap();
    assert!(matches!(view.check_body(), Err(RecordError::BodyCrc { stored: 0x3610_A686, .. })));
    let mut blank = vec![0; 20];
    write_blank(&mut blank);
    assert_eq!(parse(&blank), RecordError::Magic { code: 0xCBD4_3194 });
    assert_eq!(blank[..8], [0, 0, 0, 20, 0xCB, 0xD4, 0x31, 0x94]);
}

#[test]
fn a_prepared_record_is_placed_later() {
    let mut prepared = Prepared::new(sample()).unwrap();
    let placed = Placement { queue_offset: 5, physical_offset: 6, ..sample().placed };
    prepared.place(placed);
    let mut bytes = vec![0; prepared.bytes()];
    prepared.write(&mut bytes);
    assert_eq!(RecordView::parse(&bytes).unwrap().record().placed, placed);
    let mut with_bits = sample();
    with_bits.sys_flag = 0x20;
    let mut direct = Vec::new();
    encode_record(&mut direct, &Record { placed, ..with_bits }).unwrap();
    assert_eq!(bytes, direct);
}

fn host() -> impl Strategy<Value = SocketAddr> {
    prop_oneof![
        (any::<[u8; 4]>(), any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip.into(), port)),
        (any::<[u8; 16]>(), any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip.into(), port)),
    ]
}

prop_compose! {
    fn parts()(
        topic in "[a-zé]{1,90}",
        numbers in any::<(i32, i32, i32, i64, i32, i64)>(),
        born_host in host(),
        body in proptest::collection::vec(any::<u8>(), 0..200),
        properties in proptest::collection::vec(any::<u8>(), 0..60),
        placed in (any::<(i64, i64, i64)>(), host()),
    ) -> (String, (i32, i32, i32, i64, i32, i64), SocketAddr, Vec<u8>, Vec<u8>, Placement) {
        let ((queue_offset, physical_offset, store_timestamp), store_host) = placed;
        let placed = Placement { queue_offset, physical_offset, store_timestamp, store_host };
        (topic, numbers, born_host, body, properties, placed)
    }
}

proptest! {
    #[test]
    fn round_trip((topic, numbers, born_host, body, properties, placed) in parts()) {
        let (queue_id, flag, sys_flag, born_timestamp, reconsume_times, prepared) = numbers;
        let record = Record {
            topic: &topic, queue_id, flag, sys_flag, born_timestamp, born_host, reconsume_times,
            prepared_transaction_offset: prepared, body: &body, properties: &properties, placed,
        };
        let mut bytes = vec![0xEE];
        let size = encode_record(&mut bytes, &record).unwrap();
        prop_assert_eq!(size + 1, bytes.len());
        bytes.extend([1, 2, 3]); // what follows a record does not matter
        let view = RecordView::parse(&bytes[1..]).unwrap();
        let read = view.record();
        let address_bits = BORN_HOST_V6 | STORE_HOST_V6;
        prop_assert_eq!(read.sys_flag & !address_bits, sys_flag & !address_bits);
        prop_assert_eq!(Record { sys_flag, ..read }, record);
        prop_assert!(view.check_body().is_ok());
        let mut again = Vec::new();
        encode_record(&mut again, &read).unwrap();
        prop_assert_eq!(&again[..], view.bytes());
        prop_assert_eq!(properties_of(view.bytes()), Some(view.properties()));
    }

    #[test]
    fn any_change_is_survived(
        (topic, _, born_host, body, properties, placed) in parts(),
        at in any::<prop::sample::Index>(),
        value: u8,
        cut in any::<prop::sample::Index>(),
    ) {
        let record = Record {
            topic: &topic, born_host, body: &body, properties: &properties, placed, ..sample()
        };
        let mut bytes = Vec::new();
        encode_record(&mut bytes, &record).unwrap();
        let at = at.index(bytes.len());
        bytes[at] = value;
        for end in [bytes.len(), cut.index(bytes.len())] {
            if let Ok(view) = RecordView::parse(&bytes[..end]) {
                prop_assert!(view.bytes().len() <= end);
                let _ = (view.record(), view.check_body());
                prop_assert_eq!(properties_of(view.bytes()), Some(view.properties()));
            } else {
                // Whatever it finds, it finds within the bytes.
                prop_assert!(properties_of(&bytes[..end]).is_none_or(|found| found.len() < end));
            }
        }
    }

    #[test]
    fn records_walk_what_was_joined(bodies in proptest::collection::vec("[a-z]{0,20}", 0..5), junk: bool) {
        let mut bytes = Vec::new();
        for body in &bodies {
            encode_record(&mut bytes, &Record { body: body.as_bytes(), ..sample() }).unwrap();
        }
        if junk {
            bytes.push(0);
        }
        let read: Vec<_> = records(&bytes).collect();
        let good: Vec<_> = read.iter().flatten().map(|view| view.body().to_vec()).collect();
        prop_assert_eq!(good, bodies.iter().map(|b| b.clone().into_bytes()).collect::<Vec<_>>());
        prop_assert_eq!(read.len(), bodies.len() + usize::from(junk));
    }
}
