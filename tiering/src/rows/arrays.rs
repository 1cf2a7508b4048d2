//! Columns of a batch as they are read, whatever form the reader gave them.
//!
//! Owns which arrow types are taken for texts and bytes: the plain ones, in which rows are built, and views, in which they
//! come back from Parquet.
#![allow(clippy::wildcard_enum_match_arm, reason = "array types that hold no texts are refused")]

use arrow_array::cast::AsArray;
use arrow_array::types::{ByteArrayType, ByteViewType};
use arrow_array::{
    Array, BinaryArray, BinaryViewArray, GenericByteArray, GenericByteViewArray, RecordBatch, StringArray,
    StringViewArray,
};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_schema::DataType;

use super::RowError;
use super::schema::names;

/// A column of texts or bytes.
#[derive(Debug, Clone)]
pub(super) enum Texts {
    Utf8(StringArray),
    Binary(BinaryArray),
    Utf8View(StringViewArray),
    BinaryView(BinaryViewArray),
}

impl Texts {
    pub(super) fn of(array: &dyn Array) -> Option<Self> {
        Some(match array.data_type() {
            DataType::Utf8 => Self::Utf8(array.as_string_opt()?.clone()),
            DataType::Binary => Self::Binary(array.as_binary_opt()?.clone()),
            DataType::Utf8View => Self::Utf8View(array.as_string_view_opt()?.clone()),
            DataType::BinaryView => Self::BinaryView(array.as_binary_view_opt()?.clone()),
            _ => return None,
        })
    }

    /// The bytes of a row; `None` if it is null or behind the end.
    #[inline]
    pub(super) fn value(&self, row: usize) -> Option<&[u8]> {
        match self {
            Self::Utf8(array) => plain(array, row),
            Self::Binary(array) => plain(array, row),
            Self::Utf8View(array) => viewed(array, row),
            Self::BinaryView(array) => viewed(array, row),
        }
    }
}

#[inline]
fn plain<T: ByteArrayType>(array: &GenericByteArray<T>, row: usize) -> Option<&[u8]> {
    (row < array.len() && array.is_valid(row)).then(|| array.value(row).as_ref())
}

#[inline]
fn viewed<T: ByteViewType>(array: &GenericByteViewArray<T>, row: usize) -> Option<&[u8]> {
    (row < array.len() && array.is_valid(row)).then(|| array.value(row).as_ref())
}

/// The column of search keys.
#[derive(Debug, Clone)]
pub(super) struct Lists {
    offsets: OffsetBuffer<i32>,
    nulls: Option<NullBuffer>,
    pub(super) texts: Texts,
}

impl Lists {
    /// The places of a row's texts; `None` if it is null or behind the end.
    #[inline]
    pub(super) fn range(&self, row: usize) -> Option<std::ops::Range<usize>> {
        if self.nulls.as_ref().is_some_and(|nulls| row < nulls.len() && nulls.is_null(row)) {
            return None;
        }
        range(&self.offsets, row)
    }
}

/// The column of the other properties.
#[derive(Debug, Clone)]
pub(super) struct Entries {
    offsets: OffsetBuffer<i32>,
    pub(super) names: Texts,
    pub(super) values: Texts,
}

impl Entries {
    /// The places of a row's entries.
    #[inline]
    pub(super) fn range(&self, row: usize) -> Option<std::ops::Range<usize>> {
        range(&self.offsets, row)
    }
}

#[inline]
fn range(offsets: &OffsetBuffer<i32>, row: usize) -> Option<std::ops::Range<usize>> {
    let &[from, to] = offsets.get(row..row + 2)? else { return None };
    Some(usize::try_from(from).ok()?..usize::try_from(to).ok()?)
}

/// Finds the columns of a batch by their names.
pub(super) struct Binder<'a>(pub(super) &'a RecordBatch);

impl Binder<'_> {
    /// A column in whatever form `as_form` takes.
    pub(super) fn bind<T>(&self, name: &str, as_form: impl Fn(&dyn Array) -> Option<T>) -> Result<T, RowError> {
        let column = self.0.column_by_name(name);
        column.and_then(|column| as_form(column)).ok_or_else(|| RowError::Column {
            column: name.to_owned(),
            found: column.map_or_else(|| "missing".to_owned(), |column| column.data_type().to_string()),
        })
    }

    pub(super) fn texts(&self, name: &str) -> Result<Texts, RowError> {
        self.bind(name, Texts::of)
    }

    pub(super) fn keys(&self) -> Result<Lists, RowError> {
        self.bind(names::KEYS, |array| {
            let list = array.as_list_opt::<i32>()?;
            let texts = Texts::of(list.values())?;
            Some(Lists { offsets: list.offsets().clone(), nulls: list.nulls().cloned(), texts })
        })
    }

    pub(super) fn entries(&self) -> Result<Entries, RowError> {
        self.bind(names::PROPERTIES, |array| {
            let map = array.as_map_opt()?;
            let (names, values) = (Texts::of(map.keys())?, Texts::of(map.values())?);
            Some(Entries { offsets: map.offsets().clone(), names, values })
        })
    }
}
