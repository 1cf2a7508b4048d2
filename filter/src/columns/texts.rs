//! Texts of a property as arrow arrays hold them, read 64 rows at a time.
//!
//! Owns which array types are taken, and that a null and an empty text are one thing: a missing property, since no
//! stored message has an empty one.

use arrow_array::cast::AsArray;
use arrow_array::types::{BinaryViewType, ByteArrayType, ByteViewType, StringViewType};
use arrow_array::{
    Array, BinaryArray, BinaryViewArray, GenericByteArray, GenericByteViewArray, LargeBinaryArray, LargeStringArray,
    StringArray, StringViewArray,
};
use arrow_buffer::NullBuffer;
use arrow_schema::DataType;

use super::ColumnError;

/// Rows that are evaluated together: the bits of a word.
pub(super) const BLOCK: usize = u64::BITS as usize;

/// An array of texts, whatever its layout.
#[derive(Debug, Clone, Copy)]
enum Texts<'a> {
    Utf8(&'a StringArray),
    LargeUtf8(&'a LargeStringArray),
    Binary(&'a BinaryArray),
    LargeBinary(&'a LargeBinaryArray),
    Utf8View(&'a StringViewArray),
    BinaryView(&'a BinaryViewArray),
}

/// Calls `$body` with the array itself, so that loops know its layout.
macro_rules! with_array {
    ($texts:expr, $array:ident => $body:expr) => {
        match $texts {
            Texts::Utf8($array) => $body,
            Texts::LargeUtf8($array) => $body,
            Texts::Binary($array) => $body,
            Texts::LargeBinary($array) => $body,
            Texts::Utf8View($array) => $body,
            Texts::BinaryView($array) => $body,
        }
    };
}

/// A text's bytes at a row that the array has.
trait Bytes<'a>: Copy {
    fn bytes(self, row: usize) -> &'a [u8];
}

impl<'a, T: ByteArrayType> Bytes<'a> for &'a GenericByteArray<T> {
    #[inline]
    fn bytes(self, row: usize) -> &'a [u8] {
        self.value(row).as_ref()
    }
}

impl<'a> Bytes<'a> for &'a GenericByteViewArray<StringViewType> {
    #[inline]
    fn bytes(self, row: usize) -> &'a [u8] {
        self.value(row).as_bytes()
    }
}

impl<'a> Bytes<'a> for &'a GenericByteViewArray<BinaryViewType> {
    #[inline]
    fn bytes(self, row: usize) -> &'a [u8] {
        self.value(row)
    }
}

impl<'a> Texts<'a> {
    fn of(array: &'a dyn Array) -> Option<Self> {
        Some(match array.data_type() {
            DataType::Utf8 => Self::Utf8(array.as_string_opt()?),
            DataType::LargeUtf8 => Self::LargeUtf8(array.as_string_opt()?),
            DataType::Binary => Self::Binary(array.as_binary_opt()?),
            DataType::LargeBinary => Self::LargeBinary(array.as_binary_opt()?),
            DataType::Utf8View => Self::Utf8View(view(array)?),
            DataType::BinaryView => Self::BinaryView(view(array)?),
            _ => return None,
        })
    }

    fn get(&self, row: usize) -> &'a [u8] {
        with_array!(self, array => array.bytes(row))
    }
}

fn view<T: ByteViewType>(array: &dyn Array) -> Option<&GenericByteViewArray<T>> {
    array.as_byte_view_opt()
}

/// The texts of one property, or of one part of a map.
#[derive(Debug, Clone)]
pub(super) struct Column<'a> {
    texts: Texts<'a>,
    /// Where a row's text stands among the texts, if they are a dictionary.
    keys: Option<Vec<usize>>,
    /// A bit for each row that has a text.
    present: Vec<u64>,
}

impl<'a> Column<'a> {
    /// Takes an array of texts or bytes, or a dictionary of them.
    pub(super) fn new(name: &str, array: &'a dyn Array) -> Result<Self, ColumnError> {
        let unreadable = || ColumnError::Type { column: name.to_owned(), found: array.data_type().to_string() };
        let rows = array.len();
        let valid = words(array.nulls(), rows);
        let Some(dictionary) = array.as_any_dictionary_opt() else {
            let texts = Texts::of(array).ok_or_else(unreadable)?;
            let present = with_array!(texts, array => present(array, &valid));
            return Ok(Self { texts, keys: None, present });
        };
        let values = dictionary.values();
        let texts = Texts::of(values).ok_or_else(unreadable)?;
        if values.is_empty() {
            return Ok(Self { texts, keys: Some(vec![0; rows]), present: vec![0; valid.len()] });
        }
        let valid_values = words(values.nulls(), values.len());
        let valued = with_array!(texts, array => present(array, &valid_values));
        let keys = dictionary.normalized_keys();
        let has_value = |from: usize, bit: usize| keys.get(from + bit).is_some_and(|key| has_bit(&valued, *key));
        let present = blocks(&valid, |from, rows| select(rows, |bit| has_value(from, bit)));
        Ok(Self { texts, keys: Some(keys), present })
    }

    /// Which of the rows from `from`, the first one of a block, have a text.
    #[inline]
    pub(super) fn present(&self, from: usize) -> u64 {
        self.present.get(from / BLOCK).copied().unwrap_or(0)
    }

    /// The text of a row; `None` if it is null, empty or behind the end.
    pub(super) fn get(&self, row: usize) -> Option<&'a [u8]> {
        has_bit(&self.present, row).then(|| match &self.keys {
            None => self.texts.get(row),
            Some(keys) => self.texts.get(keys[row]),
        })
    }

    /// The place of each row's text among its distinct texts, and their number; `None` if this is no dictionary.
    pub(super) fn dictionary(&self) -> Option<(&[usize], usize)> {
        let texts = self.texts;
        self.keys.as_deref().map(|keys| (keys, with_array!(texts, array => array.len())))
    }

    /// A distinct text of the dictionary.
    pub(super) fn distinct(&self, key: usize) -> &'a [u8] {
        self.texts.get(key)
    }

    /// Calls `with` with the text of each of `rows`, which are bits from row `from`, and are present.
    #[inline]
    pub(super) fn each(&self, from: usize, rows: u64, mut with: impl FnMut(usize, &'a [u8])) {
        match &self.keys {
            None => {
                with_array!(self.texts, array => each_bit(rows, #[inline] |bit| with(bit, array.bytes(from + bit))));
            }
            Some(keys) => each_bit(rows, |bit| with(bit, self.texts.get(keys[from + bit]))),
        }
    }
}

/// The rows that are valid and not empty.
fn present<'a>(array: impl Bytes<'a>, valid: &[u64]) -> Vec<u64> {
    blocks(valid, |from, rows| select(rows, |bit| !array.bytes(from + bit).is_empty()))
}

fn blocks(valid: &[u64], mut block: impl FnMut(usize, u64) -> u64) -> Vec<u64> {
    valid.iter().enumerate().map(|(nth, rows)| block(nth * BLOCK, *rows)).collect()
}

/// A bit for each row that is not null; none behind the last row.
fn words(nulls: Option<&NullBuffer>, rows: usize) -> Vec<u64> {
    let mut words = match nulls {
        None => vec![u64::MAX; rows.div_ceil(BLOCK)],
        Some(nulls) => nulls.inner().bit_chunks().iter_padded().take(rows.div_ceil(BLOCK)).collect(),
    };
    if let (Some(last), true) = (words.last_mut(), !rows.is_multiple_of(BLOCK)) {
        *last &= (1 << (rows % BLOCK)) - 1;
    }
    words
}

fn has_bit(words: &[u64], at: usize) -> bool {
    words.get(at / BLOCK).is_some_and(|word| word >> (at % BLOCK) & 1 == 1)
}

/// Calls `with` with the place of each bit of `rows`.
#[inline]
pub(super) fn each_bit(mut rows: u64, mut with: impl FnMut(usize)) {
    if rows == u64::MAX {
        return (0..BLOCK).for_each(with);
    }
    while rows != 0 {
        with(rows.trailing_zeros() as usize);
        rows &= rows - 1;
    }
}

/// Those of `rows` that pass a test.
#[inline]
pub(super) fn select(rows: u64, mut test: impl FnMut(usize) -> bool) -> u64 {
    let mut selected = 0;
    each_bit(rows, |bit| selected |= u64::from(test(bit)) << bit);
    selected
}
