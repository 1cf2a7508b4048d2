//! The columns of a row, their order, types and Parquet ids.
//!
//! Owns the arrow form of the table in `FORMAT.md`: as rows are built ([`schema`]), and as they are read ([`read_schema`]).

use std::collections::HashMap;
use std::sync::Arc;

use arrow_schema::{DataType, Field, FieldRef, Fields, Schema, SchemaRef, TimeUnit};
use serde::{Deserialize, Serialize};

/// The key under which the Parquet writer finds a field's id.
const FIELD_ID_KEY: &str = "PARQUET:field_id";

/// What the columns of properties begin with, so that no property's name is another column's.
pub const PROPERTY_PREFIX: &str = "p_";

/// The names of the columns, which Parquet keeps and readers look for.
pub mod names {
    #![allow(missing_docs, reason = "each is the column that FORMAT.md describes under this name")]

    pub const TOPIC: &str = "topic";
    pub const QUEUE_ID: &str = "queue_id";
    pub const QUEUE_OFFSET: &str = "queue_offset";
    pub const PHYSICAL_OFFSET: &str = "physical_offset";
    pub const STORE_TIME: &str = "store_time";
    pub const BORN_TIME: &str = "born_time";
    pub const MSG_ID: &str = "msg_id";
    pub const KEYS: &str = "keys";
    pub const TAGS: &str = "tags";
    pub const FLAG: &str = "flag";
    pub const SYS_FLAG: &str = "sys_flag";
    pub const RECONSUME_TIMES: &str = "reconsume_times";
    pub const RECORD_CRC: &str = "record_crc";
    pub const BORN_HOST: &str = "born_host";
    pub const STORE_HOST: &str = "store_host";
    pub const PREPARED: &str = "prepared_transaction_offset";
    pub const PROPERTY_NAMES: &str = "property_names";
    pub const PROPERTIES: &str = "properties";
    pub const RECORD: &str = "record";
    pub const BODY: &str = "body";
}

/// The columns that every roll has, in their order. Those of properties stand before `properties`, in the order given.
pub const COLUMNS: [&str; 20] = [
    names::TOPIC,
    names::QUEUE_ID,
    names::QUEUE_OFFSET,
    names::PHYSICAL_OFFSET,
    names::STORE_TIME,
    names::BORN_TIME,
    names::MSG_ID,
    names::KEYS,
    names::TAGS,
    names::FLAG,
    names::SYS_FLAG,
    names::RECONSUME_TIMES,
    names::RECORD_CRC,
    names::BORN_HOST,
    names::STORE_HOST,
    names::PREPARED,
    names::PROPERTY_NAMES,
    names::PROPERTIES,
    names::RECORD,
    names::BODY,
];

/// A property that has a column of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PropertyColumn {
    /// The property's name; the column's is behind [`PROPERTY_PREFIX`].
    pub name: String,
    /// The column's Parquet id, from 1000 on.
    pub id: i32,
}

/// The position of a column that every roll has, in rows with so many columns of properties.
#[must_use]
pub fn column(name: &str, properties: usize) -> Option<usize> {
    let at = COLUMNS.iter().position(|known| *known == name)?;
    let is_behind = COLUMNS.iter().position(|known| *known == names::PROPERTIES).is_some_and(|first| at >= first);
    Some(if is_behind { at + properties } else { at })
}

/// The Parquet id of a field, if it has one.
#[must_use]
pub fn field_id(field: &Field) -> Option<i32> {
    field.metadata().get(FIELD_ID_KEY)?.parse().ok()
}

/// The schema of rows as they are built.
#[must_use]
pub fn schema(properties: &[PropertyColumn]) -> SchemaRef {
    with_texts(properties, &DataType::Utf8, &DataType::Binary)
}

/// The schema to read rows with: texts and bytes are views into the pages, so that no body is copied.
#[must_use]
pub fn read_schema(properties: &[PropertyColumn]) -> SchemaRef {
    with_texts(properties, &DataType::Utf8View, &DataType::BinaryView)
}

fn with_texts(properties: &[PropertyColumn], text: &DataType, bytes: &DataType) -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    // The names of nested fields are those of Parquet's own specification.
    let key_list = DataType::List(required("element", 21, text));
    let mut fields = vec![
        required(names::TOPIC, 1, text),
        required(names::QUEUE_ID, 2, &DataType::Int32),
        required(names::QUEUE_OFFSET, 3, &DataType::Int64),
        required(names::PHYSICAL_OFFSET, 4, &DataType::Int64),
        required(names::STORE_TIME, 5, &time),
        optional(names::BORN_TIME, 6, &time),
        optional(names::MSG_ID, 7, text),
        optional(names::KEYS, 8, &key_list),
        optional(names::TAGS, 9, text),
        required(names::FLAG, 13, &DataType::Int32),
        required(names::SYS_FLAG, 14, &DataType::Int32),
        required(names::RECONSUME_TIMES, 15, &DataType::Int32),
        required(names::RECORD_CRC, 16, &DataType::Int32),
        required(names::BORN_HOST, 17, bytes),
        required(names::STORE_HOST, 18, bytes),
        required(names::PREPARED, 19, &DataType::Int64),
        required(names::PROPERTY_NAMES, 12, bytes),
    ];
    for property in properties {
        fields.push(optional(&format!("{PROPERTY_PREFIX}{}", property.name), property.id, text));
    }
    let entries = Fields::from(vec![required("key", 22, text), required("value", 23, text)]);
    let entries = Arc::new(Field::new("key_value", DataType::Struct(entries), false));
    fields.push(required(names::PROPERTIES, 10, &DataType::Map(entries, false)));
    fields.push(optional(names::RECORD, 20, bytes));
    fields.push(required(names::BODY, 11, bytes));
    Arc::new(Schema::new(fields))
}

fn required(name: &str, id: i32, kind: &DataType) -> FieldRef {
    field(name, id, kind, false)
}

fn optional(name: &str, id: i32, kind: &DataType) -> FieldRef {
    field(name, id, kind, true)
}

fn field(name: &str, id: i32, kind: &DataType, nullable: bool) -> FieldRef {
    let metadata = HashMap::from([(FIELD_ID_KEY.to_owned(), id.to_string())]);
    Arc::new(Field::new(name, kind.clone(), nullable).with_metadata(metadata))
}
