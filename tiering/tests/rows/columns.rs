//! What the columns hold: the golden schema, and that filters find in them what they find in the record.

use arrow_array::cast::AsArray;
use arrow_array::{Array, RecordBatch};
use arrow_schema::{DataType, Field};
use strata_protocol::properties::{IndexTerms, Properties, find_str};
use strata_protocol::record::RecordView;
use strata_tiering::rows::{COLUMNS, Rebuilder, column, field_id, names, read_schema, schema};

use crate::{make, property_columns, read, rows_of, written};

fn text<'a>(batch: &'a RecordBatch, name: &str, row: usize) -> Option<&'a str> {
    let column = batch.column_by_name(name).unwrap().as_string::<i32>();
    column.is_valid(row).then(|| column.value(row))
}

/// The entries of a row's map.
fn rest(batch: &RecordBatch, row: usize) -> Vec<(String, String)> {
    let entries = batch.column_by_name(names::PROPERTIES).unwrap().as_map().value(row);
    let (names, values) = (entries.column(0).as_string::<i32>(), entries.column(1).as_string::<i32>());
    (0..entries.len()).map(|at| (names.value(at).to_owned(), values.value(at).to_owned())).collect()
}

fn keys(batch: &RecordBatch, row: usize) -> Vec<String> {
    let lists = batch.column_by_name(names::KEYS).unwrap().as_list::<i32>();
    if lists.is_null(row) {
        return vec![];
    }
    let list = lists.value(row);
    let keys: Vec<_> = list.as_string::<i32>().iter().map(|key| key.unwrap().to_owned()).collect();
    assert!(!keys.is_empty(), "no keys are null, not an empty list");
    keys
}

/// Compares what filters and searches ask the columns with what the records say.
pub(crate) fn check(batch: &RecordBatch, records: &[Vec<u8>], properties: &[&str]) {
    let rows = Rebuilder::new(batch).unwrap();
    for (row, record) in records.iter().enumerate() {
        let view = RecordView::parse(record).unwrap();
        let stored = view.properties();
        let terms = IndexTerms::of(stored);
        assert_eq!(rows.queue_offset(row), Some(view.queue_offset()));
        assert_eq!(rows.store_time_ms(row), Some(view.store_timestamp()));
        assert_eq!(rows.tags(row), terms.tags.map(str::as_bytes));
        // What is searched for is in its columns also where filters look into the record.
        assert_eq!(text(batch, names::MSG_ID, row), terms.unique_key);
        assert_eq!(text(batch, names::TAGS, row), terms.tags);
        assert_eq!(keys(batch, row), terms.each_key().collect::<Vec<_>>());
        for name in properties {
            assert_eq!(text(batch, &format!("p_{name}"), row), find_str(stored, name), "{name}");
        }
        if rows.has_record(row) {
            continue;
        }
        let entries = rest(batch, row);
        for (name, _) in Properties::of(stored) {
            let name = std::str::from_utf8(name).unwrap();
            let in_map = entries.iter().rev().find(|(known, value)| known == name && !value.is_empty());
            let in_map = in_map.map(|(_, value)| value.as_str());
            let found = find_str(stored, name);
            match name {
                "UNIQ_KEY" | "TAGS" => assert_eq!(in_map, None),
                "KEYS" => assert!(in_map.is_none() || in_map == found && in_map != Some(&keys(batch, row).join(" "))),
                _ if properties.contains(&name) => assert_eq!(in_map, None),
                _ => assert_eq!(in_map, found, "{name}"),
            }
        }
    }
}

#[test]
fn records_of_ordinary_clients_need_no_whole() {
    let texts: &[&[u8]] = &[
        b"KEYS\x01k-1 k-2\x02UNIQ_KEY\x017F0000011B2C18B4AAC20001\x02CLUSTER\x01DefaultCluster\x02WAIT\x01true\x02\
          MSG_REGION\x01DefaultRegion\x02TRACE_ON\x01true\x02TAGS\x01TagA\x02",
        b"UNIQ_KEY\x017F0000011B2C18B4AAC20001\x02WAIT\x01true\x02color\x01red\x02size\x01\x02",
        b"TAGS\x01TagA\x02color\x01red\x02UNIQ_KEY\x01C0A80101000018B4AAC2\x02WAIT\x01false",
        b"",
        b"REAL_TOPIC\x01t\x02REAL_QID\x010\x02DELAY\x013\x02UNIQ_KEY\x01U\x02",
        "name\x01Grüße\x02TAGS\x01ä || b\x02".as_bytes(),
    ];
    let records: Vec<_> = texts.iter().map(|text| with_properties(text)).collect();
    let batch = rows_of(&records, &property_columns(&["color", "TRACE_ON"]));
    let rows = Rebuilder::new(&batch).unwrap();
    assert!((0..rows.len()).all(|row| !rows.has_record(row)));
    assert!(batch.column_by_name(names::RECORD).unwrap().null_count() == rows.len());
    check(&batch, &records, &["color", "TRACE_ON"]);
    assert_eq!(text(&batch, "p_color", 1), Some("red"));
    assert_eq!(rest(&batch, 1), [("WAIT".to_owned(), "true".to_owned()), ("size".to_owned(), String::new())]);
}

#[test]
fn odd_records_are_whole_and_still_found() {
    let texts: &[(&[u8], bool)] = &[
        (b"TAGS\x01a\x02TAGS\x01b\x02", true),
        (b"KEYS\x01 a  b \x02", false),
        (b"KEYS\x01a\x02KEYS\x01b c\x02x\x01\xff\x02", true),
        (b"color\x01red\x02color\x01\x02", true),
        (b"other\x01red\x02other\x01blue\x02", false),
        (b"color\x01red\x01x\x02", true),
        (b"junk\x02color\x01red\x02", true),
    ];
    let records: Vec<_> = texts.iter().map(|(text, _)| with_properties(text)).collect();
    let batch = rows_of(&records, &property_columns(&["color"]));
    let rows = Rebuilder::new(&batch).unwrap();
    for (row, (_, whole)) in texts.iter().enumerate() {
        assert_eq!(rows.has_record(row), *whole, "row {row}");
    }
    check(&batch, &records, &["color"]);
    assert_eq!(keys(&batch, 1), ["a", "b"]);
    assert_eq!(keys(&batch, 2), ["b", "c"]);
}

fn with_properties(text: &[u8]) -> Vec<u8> {
    let mut record = make::ordinary(1, "a", "b");
    let end = record.len() - RecordView::parse(&record).unwrap().properties().len();
    record.truncate(end - 2);
    record.extend(u16::try_from(text.len()).unwrap().to_be_bytes());
    record.extend(text);
    let total = u32::try_from(record.len()).unwrap();
    record[..4].copy_from_slice(&total.to_be_bytes());
    record
}

fn describe(field: &Field, depth: usize, out: &mut String) {
    let children: Vec<&Field> = match field.data_type() {
        DataType::List(element) => vec![element],
        DataType::Map(entries, _) => vec![entries],
        DataType::Struct(fields) => fields.iter().map(AsRef::as_ref).collect(),
        _ => vec![],
    };
    let kind = match field.data_type() {
        DataType::List(_) => "List".to_owned(),
        DataType::Map(..) => "Map".to_owned(),
        DataType::Struct(_) => "Struct".to_owned(),
        other => other.to_string(),
    };
    let id = field_id(field).map_or("-".to_owned(), |id| id.to_string());
    let nullable = if field.is_nullable() { " null" } else { "" };
    out.push_str(&format!("{}{id} {} {kind}{nullable}\n", "  ".repeat(depth), field.name()));
    children.into_iter().for_each(|child| describe(child, depth + 1, out));
}

const GOLDEN: &str = "\
1 topic Utf8
2 queue_id Int32
3 queue_offset Int64
4 physical_offset Int64
5 store_time Timestamp(µs, \"UTC\")
6 born_time Timestamp(µs, \"UTC\") null
7 msg_id Utf8 null
8 keys List null
  21 element Utf8
9 tags Utf8 null
13 flag Int32
14 sys_flag Int32
15 reconsume_times Int32
16 record_crc Int32
17 born_host Binary
18 store_host Binary
19 prepared_transaction_offset Int64
12 property_names Binary
1000 p_color Utf8 null
1001 p_size Utf8 null
10 properties Map
  - key_value Struct
    22 key Utf8
    23 value Utf8
20 record Binary null
11 body Binary
";

#[test]
fn the_schema_is_golden() {
    let properties = property_columns(&["color", "size"]);
    let built = schema(&properties);
    let mut text = String::new();
    built.fields().iter().for_each(|field| describe(field, 0, &mut text));
    assert_eq!(text, GOLDEN);
    let mut views = String::new();
    read_schema(&properties).fields().iter().for_each(|field| describe(field, 0, &mut views));
    assert_eq!(views, GOLDEN.replace("Utf8", "Utf8View").replace("Binary", "BinaryView"));
    for name in COLUMNS {
        assert_eq!(built.index_of(name).unwrap(), column(name, 2).unwrap(), "{name}");
    }
    assert_eq!(column("p_color", 2), None);
}

#[test]
fn the_parquet_schema_is_golden() {
    let properties = property_columns(&["color"]);
    let batch = rows_of(&[make::ordinary(1, "color", "red")], &properties);
    let file = written(&batch);
    let reader = parquet::file::serialized_reader::SerializedFileReader::new(file.clone()).unwrap();
    let metadata = parquet::file::reader::FileReader::metadata(&reader).file_metadata();
    assert!(metadata.key_value_metadata().is_none_or(|all| all.iter().all(|pair| pair.key != "ARROW:schema")));
    let mut text = Vec::new();
    parquet::schema::printer::print_schema(&mut text, metadata.schema());
    assert_eq!(String::from_utf8(text).unwrap(), PARQUET_GOLDEN);
    let batches = read(file, &properties, 10);
    assert_eq!(batches[0].schema_ref(), &read_schema(&properties));
}

const PARQUET_GOLDEN: &str = "\
message arrow_schema {
  REQUIRED BYTE_ARRAY topic [1] (STRING);
  REQUIRED INT32 queue_id [2];
  REQUIRED INT64 queue_offset [3];
  REQUIRED INT64 physical_offset [4];
  REQUIRED INT64 store_time [5] (TIMESTAMP(MICROS,true));
  OPTIONAL INT64 born_time [6] (TIMESTAMP(MICROS,true));
  OPTIONAL BYTE_ARRAY msg_id [7] (STRING);
  OPTIONAL group keys [8] (LIST) {
    REPEATED group list {
      REQUIRED BYTE_ARRAY element [21] (STRING);
    }
  }
  OPTIONAL BYTE_ARRAY tags [9] (STRING);
  REQUIRED INT32 flag [13];
  REQUIRED INT32 sys_flag [14];
  REQUIRED INT32 reconsume_times [15];
  REQUIRED INT32 record_crc [16];
  REQUIRED BYTE_ARRAY born_host [17];
  REQUIRED BYTE_ARRAY store_host [18];
  REQUIRED INT64 prepared_transaction_offset [19];
  REQUIRED BYTE_ARRAY property_names [12];
  OPTIONAL BYTE_ARRAY p_color [1000] (STRING);
  REQUIRED group properties [10] (MAP) {
    REPEATED group key_value {
      REQUIRED BYTE_ARRAY key [22] (STRING);
      REQUIRED BYTE_ARRAY value [23] (STRING);
    }
  }
  OPTIONAL BYTE_ARRAY record [20];
  REQUIRED BYTE_ARRAY body [11];
}
";
