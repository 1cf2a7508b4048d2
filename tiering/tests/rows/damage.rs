//! Changed bytes: whichever column they are in, no wrong record is given out.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{
    Array, ArrayRef, BinaryArray, Int32Array, Int64Array, ListArray, MapArray, RecordBatch, StringArray, StructArray,
    TimestampMicrosecondArray,
};
use arrow_schema::{DataType, TimeUnit};
use strata_tiering::rows::{Rebuilder, RowError, names};

use crate::{make, property_columns, rows_of};

/// The array with a bit changed in each value; bytes of texts are ASCII here and stay so.
fn changed(array: &dyn Array, bit: u32) -> ArrayRef {
    let flip = |value: &[u8]| {
        let mut value = value.to_vec();
        let at = bit as usize % value.len().max(1);
        value.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << (bit % 7));
        value
    };
    match array.data_type() {
        DataType::Int32 => {
            Arc::new(array.as_primitive::<Int32Type>().unary::<_, Int32Type>(|n| n ^ 1 << (bit % 32)) as Int32Array)
        }
        DataType::Int64 => {
            Arc::new(array.as_primitive::<Int64Type>().unary::<_, Int64Type>(|n| n ^ 1 << bit) as Int64Array)
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            let times = array.as_primitive::<TimestampMicrosecondType>();
            let times: TimestampMicrosecondArray = times.unary(|n| n ^ 1 << bit);
            Arc::new(times.with_timezone("UTC"))
        }
        DataType::Utf8 => {
            let texts = array.as_string::<i32>().iter();
            Arc::new(
                texts
                    .map(|text| text.map(|text| String::from_utf8(flip(text.as_bytes())).unwrap()))
                    .collect::<StringArray>(),
            )
        }
        DataType::Binary => {
            Arc::new(array.as_binary::<i32>().iter().map(|bytes| bytes.map(flip)).collect::<BinaryArray>())
        }
        DataType::List(field) => {
            let list = array.as_list::<i32>();
            let values = changed(list.values(), bit);
            Arc::new(ListArray::new(Arc::clone(field), list.offsets().clone(), values, list.nulls().cloned()))
        }
        DataType::Map(field, _) => {
            let map = array.as_map();
            // Names or values.
            let mut columns = map.entries().columns().to_vec();
            let which = bit as usize % 2;
            columns[which] = changed(&columns[which], bit);
            let entries = StructArray::new(map.entries().fields().clone(), columns, None);
            Arc::new(MapArray::new(Arc::clone(field), map.offsets().clone(), entries, None, false))
        }
        other => panic!("no column has type {other}"),
    }
}

#[test]
fn a_changed_byte_is_noticed_in_any_column() {
    let records: Vec<_> = (1..4).map(|number| make::ordinary(number, "color", "red")).collect();
    let batch = rows_of(&records, &property_columns(&["color"]));
    for (at, field) in batch.schema().fields().iter().enumerate().filter(|(_, field)| field.name() != names::RECORD) {
        for bit in 0..64 {
            let mut columns = batch.columns().to_vec();
            columns[at] = changed(&columns[at], bit);
            let rows = Rebuilder::new(&RecordBatch::try_new(batch.schema(), columns).unwrap()).unwrap();
            for row in 0..rows.len() {
                let mut out = b"kept".to_vec();
                let error = rows.rebuild(row, &mut out).expect_err(field.name());
                assert!(matches!(error, RowError::Checksum { .. } | RowError::Damaged { .. }), "{error}");
                assert_eq!(out, b"kept");
            }
        }
    }
}

#[test]
fn a_changed_byte_of_a_whole_record_is_noticed() {
    let record = make::ordinary(1, "color\x01", "red");
    let batch = rows_of(&[record], &[]);
    let at = batch.schema().index_of(names::RECORD).unwrap();
    for bit in 0..1_000 {
        let mut columns = batch.columns().to_vec();
        columns[at] = changed(&columns[at], bit);
        let rows = Rebuilder::new(&RecordBatch::try_new(batch.schema(), columns).unwrap()).unwrap();
        assert!(rows.has_record(0));
        assert!(matches!(rows.rebuild(0, &mut Vec::new()), Err(RowError::Checksum { row: 0, .. })));
    }
}

#[test]
fn missing_columns_and_rows_are_named() {
    let batch = rows_of(&[make::ordinary(1, "a", "b")], &[]);
    let rows = Rebuilder::new(&batch).unwrap();
    assert!(matches!(rows.rebuild(1, &mut Vec::new()), Err(RowError::Row { row: 1, rows: 1 })));
    assert_eq!((rows.queue_offset(1), rows.store_time_ms(1), rows.tags(1)), (None, None, None));
    let without = batch.project(&(1..batch.num_columns()).collect::<Vec<_>>()).unwrap();
    let error = Rebuilder::new(&without).unwrap_err().to_string();
    assert_eq!(error, "column topic of a batch of rows is missing");
}
