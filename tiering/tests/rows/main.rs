//! Rows, held against what they were made of: every record comes back byte for byte, through memory and through Parquet.
//!
//! Owns the properties that hold for any record the store can hold; what single values look like is in `columns`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    reason = "what fails here, or has a type that no row has, is a failed test"
)]

mod columns;
mod damage;
mod make;

use arrow_array::RecordBatch;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use proptest::prelude::*;
use strata_tiering::rows::{PropertyColumn, Rebuilder, RowBuilder, choose, read_schema};

use make::{Made, batch_strategy};

/// The columns of these properties, with ids as a manifest gives them.
fn property_columns(names: &[&str]) -> Vec<PropertyColumn> {
    names.iter().zip(1000..).map(|(name, id)| PropertyColumn { name: (*name).to_owned(), id }).collect()
}

/// The rows of records, as they are built.
fn rows_of(records: &[Vec<u8>], properties: &[PropertyColumn]) -> RecordBatch {
    let mut builder = RowBuilder::new(properties);
    for record in records {
        builder.push(record).unwrap();
    }
    assert_eq!(builder.len(), records.len());
    assert_eq!(builder.bytes(), records.iter().map(Vec::len).sum::<usize>());
    builder.finish().unwrap()
}

/// The batch written to a Parquet file in memory.
fn written(batch: &RecordBatch) -> Bytes {
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1).unwrap()))
        .set_data_page_row_count_limit(5)
        .set_write_batch_size(5);
    let options = ArrowWriterOptions::new().with_properties(properties.build()).with_skip_arrow_metadata(true);
    let mut file = Vec::new();
    let mut writer = ArrowWriter::try_new_with_options(&mut file, batch.schema(), options).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
    file.into()
}

/// The batches of a file, read with the schema of views.
fn read(file: Bytes, properties: &[PropertyColumn], rows: usize) -> Vec<RecordBatch> {
    let options = ArrowReaderOptions::new().with_schema(read_schema(properties));
    let reader = ParquetRecordBatchReaderBuilder::try_new_with_options(file, options).unwrap();
    reader.with_batch_size(rows).build().unwrap().map(Result::unwrap).collect()
}

/// Compares the records that batches give with those they were made of.
fn compare(batches: &[RecordBatch], records: &[Vec<u8>]) {
    let mut expected = records.iter();
    let mut out = b"before".to_vec();
    for batch in batches {
        let rows = Rebuilder::new(batch).unwrap();
        for row in 0..rows.len() {
            out.truncate(6);
            rows.rebuild(row, &mut out).unwrap();
            let expected = expected.next().unwrap();
            assert!(out.starts_with(b"before") && &out[6..] == expected, "row {row}: {out:x?}\n{expected:x?}");
        }
    }
    assert!(expected.next().is_none(), "a record is missing");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_record_comes_back(made in batch_strategy(), in_parquet in 0..3_u8) {
        let Made { records, columns } = made;
        let names: Vec<&str> = columns.iter().map(String::as_str).collect();
        let properties = property_columns(&names);
        let batch = rows_of(&records, &properties);
        compare(std::slice::from_ref(&batch), &records);
        columns::check(&batch, &records, &names);
        if in_parquet == 0 {
            let batches = read(written(&batch), &properties, 7);
            compare(&batches, &records);
        }
    }

    #[test]
    fn choosing_survives_anything(made in batch_strategy()) {
        let chosen = choose(made.records.iter().map(Vec::as_slice), &[("k1".to_owned(), 1000)].into());
        prop_assert!(chosen.len() <= 16);
        let names: Vec<&str> = chosen.iter().map(String::as_str).collect();
        let batch = rows_of(&made.records, &property_columns(&names));
        compare(&[batch], &made.records);
    }
}

#[test]
fn a_builder_is_used_again() {
    let properties = property_columns(&["k1"]);
    let mut builder = RowBuilder::new(&properties);
    for round in 0..3 {
        let records: Vec<_> = (0..20 + round).map(|number| make::ordinary(number, "k1", "v")).collect();
        for record in &records {
            builder.push(record).unwrap();
        }
        compare(&[builder.finish().unwrap()], &records);
        assert!(builder.is_empty() && builder.bytes() == 0);
    }
    assert_eq!(builder.finish().unwrap().num_rows(), 0);
}

#[test]
fn what_is_no_record_is_refused_and_leaves_nothing() {
    let mut builder = RowBuilder::new(&[]);
    let record = make::ordinary(1, "a", "b");
    assert!(builder.push(&record[..record.len() - 1]).is_err());
    assert!(builder.push(&[&record[..], b"x"].concat()).is_err());
    assert!(builder.push(b"").is_err());
    assert!(builder.is_empty() && builder.bytes() == 0);
    builder.push(&record).unwrap();
    compare(&[builder.finish().unwrap()], &[record]);
}

#[test]
fn what_is_frequent_gets_a_column() {
    let name_of = |number| match number % 16 {
        0..9 => "often",
        9..11 => "known",
        11..13 => "eighth",
        13 => "rare",
        14 => "Often",
        _ => "traceparent",
    };
    let records: Vec<_> = (0..64).map(|number| make::ordinary(number, name_of(number), "v")).collect();
    let choose = |known: &[&str]| {
        let known = known.iter().zip(1000..).map(|(name, id)| ((*name).to_owned(), id)).collect();
        choose(records.iter().map(Vec::as_slice), &known)
    };
    // Names that every record has come first, in the order of letters.
    assert_eq!(choose(&[]), ["CLUSTER", "WAIT", "often", "eighth", "known"]);
    assert_eq!(choose(&["known"]), ["CLUSTER", "WAIT", "often", "known", "eighth"]);
    let many: Vec<String> = (0..1_024).map(|number| format!("name{number}")).collect();
    let mut many: Vec<&str> = many.iter().map(String::as_str).collect();
    many[7] = "eighth";
    assert_eq!(choose(&many), ["eighth"]);
    for (name, value) in [("", "v"), ("empty", ""), (&*"x".repeat(65), "v"), ("a\nb", "v"), ("KEYS", "v")] {
        let records = [make::ordinary(1, name, value)];
        let chosen = strata_tiering::rows::choose(records.iter().map(Vec::as_slice), &[].into());
        assert_eq!(chosen, ["CLUSTER", "WAIT"], "{name:?}");
    }
    assert!(strata_tiering::rows::choose(std::iter::empty(), &[].into()).is_empty());
}
