//! Texts of a property as arrow arrays hold them, read 64 rows at a time.
//!
//! Owns which array types are taken, and that a null and an empty text are one thing: a missing property, since no
//! stored message has an empty one.

use std::borrow::Cow;

use arrow_array::cast::AsArray;
use arrow_array::types::{ByteArrayType, ByteViewType, Int32Type};
use arrow_array::{
    Array, BinaryArray, BinaryViewArray, GenericByteArray, GenericByteViewArray, LargeBinaryArray, LargeStringArray,
    StringArray, StringViewArray,
};
use arrow_buffer::{ArrowNativeType, NullBuffer};
use arrow_schema::DataType;

use super::ColumnError;

/// Rows that are evaluated together: the bits of a word.
pub(super) const BLOCK: usize = u64::BITS as usize;

/// Bytes of a text that are compared at once.
const WORD: usize = size_of::<u64>();
/// Bytes of a text that a view itself holds, behind those of its length.
const VIEW_INLINE: usize = size_of::<u128>() - LENGTH;
const LENGTH: usize = size_of::<u32>();

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

/// Texts at rows that the array has.
trait Bytes<'a>: Copy {
    fn bytes(self, row: usize) -> &'a [u8];

    fn is_empty(self, row: usize) -> bool;

    /// Those of `rows`, bits from row `from`, that have this text, which is not empty. Short texts are compared without
    /// a branch that the processor must guess.
    fn equal(self, from: usize, rows: u64, text: &[u8]) -> u64;
}

impl<'a, T: ByteArrayType> Bytes<'a> for &'a GenericByteArray<T> {
    #[inline]
    fn bytes(self, row: usize) -> &'a [u8] {
        self.value(row).as_ref()
    }

    #[inline]
    fn is_empty(self, row: usize) -> bool {
        let offsets = self.value_offsets();
        offsets[row] == offsets[row + 1]
    }

    #[inline]
    fn equal(self, from: usize, rows: u64, text: &[u8]) -> u64 {
        if text.len() > WORD {
            return select(rows, |bit| self.bytes(from + bit) == text);
        }
        let mut wanted = [0; WORD];
        wanted[..text.len()].copy_from_slice(text);
        let (wanted, mask) = (u64::from_le_bytes(wanted), u64::MAX >> (8 * (WORD - text.len())));
        let (offsets, data) = (&self.value_offsets()[from..], self.value_data());
        select(rows, |bit| {
            let (begin, end) = (offsets[bit].as_usize(), offsets[bit + 1].as_usize());
            // Near the end of the data a word would reach behind it.
            let Some(word) = data.get(begin..).and_then(<[u8]>::first_chunk::<WORD>) else {
                return self.bytes(from + bit) == text;
            };
            (end - begin == text.len()) & ((u64::from_le_bytes(*word) ^ wanted) & mask == 0)
        })
    }
}

impl<'a, T: ByteViewType> Bytes<'a> for &'a GenericByteViewArray<T> {
    #[inline]
    fn bytes(self, row: usize) -> &'a [u8] {
        self.value(row).as_ref()
    }

    #[inline]
    fn is_empty(self, row: usize) -> bool {
        self.views()[row] as u32 == 0
    }

    #[inline]
    fn equal(self, from: usize, rows: u64, text: &[u8]) -> u64 {
        if text.len() > VIEW_INLINE {
            return select(rows, |bit| self.bytes(from + bit) == text);
        }
        // Such a text is in its view, behind its length and before zeros.
        let mut wanted = [0; size_of::<u128>()];
        wanted[..LENGTH].copy_from_slice(&(text.len() as u32).to_le_bytes());
        wanted[LENGTH..LENGTH + text.len()].copy_from_slice(text);
        let (wanted, views) = (u128::from_le_bytes(wanted), &self.views()[from..]);
        select(rows, |bit| views[bit] == wanted)
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
    keys: Option<Cow<'a, [i32]>>,
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
        let Some(keys) = keys_of(array) else {
            return if values.is_empty() {
                Ok(Self { texts, keys: Some(vec![0; rows].into()), present: vec![0; valid.len()] })
            } else {
                Err(unreadable())
            };
        };
        let has_value = words(values.nulls(), values.len());
        let has_text = with_array!(texts, array => present(array, &has_value));
        let no_gap = has_text == words(None, values.len());
        let present = blocks(&valid, |from, rows| match no_gap {
            true => rows,
            false => select(rows, |bit| has_bit(&has_text, keys[from + bit] as usize)),
        });
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
            Some(keys) => self.texts.get(keys[row] as usize),
        })
    }

    /// The place of each row's text among its distinct texts, and their number; `None` if this is no dictionary.
    pub(super) fn dictionary(&self) -> Option<(&[i32], usize)> {
        let texts = self.texts;
        self.keys.as_deref().map(|keys| (keys, with_array!(texts, array => array.len())))
    }

    /// A distinct text of the dictionary.
    pub(super) fn distinct(&self, key: usize) -> &'a [u8] {
        self.texts.get(key)
    }

    /// Those of `rows`, which are bits from row `from` and are present, that have this text.
    pub(super) fn equal(&self, from: usize, rows: u64, text: &[u8]) -> u64 {
        match &self.keys {
            _ if text.is_empty() => 0,
            None => with_array!(self.texts, array => array.equal(from, rows, text)),
            Some(keys) => select(rows, |bit| self.texts.get(keys[from + bit] as usize) == text),
        }
    }

    /// Calls `with` with the text of each of `rows`, which are bits from row `from`, and are present.
    #[inline]
    pub(super) fn each(&self, from: usize, rows: u64, mut with: impl FnMut(usize, &'a [u8])) {
        match &self.keys {
            None => {
                with_array!(self.texts, array => each_bit(rows, #[inline] |bit| with(bit, array.bytes(from + bit))));
            }
            Some(keys) => each_bit(rows, |bit| with(bit, self.texts.get(keys[from + bit] as usize))),
        }
    }
}

/// The places of the rows' texts in a dictionary, any number where a row is null. `None` if it has no texts or more
/// than places can be told.
fn keys_of(array: &dyn Array) -> Option<Cow<'_, [i32]>> {
    if let Some(dictionary) = array.as_dictionary_opt::<Int32Type>() {
        return (!dictionary.values().is_empty()).then(|| Cow::Borrowed(&dictionary.keys().values()[..]));
    }
    let dictionary = array.as_any_dictionary_opt()?;
    if dictionary.values().is_empty() || i32::try_from(dictionary.values().len()).is_err() {
        return None;
    }
    Some(dictionary.normalized_keys().into_iter().map(|key| key as i32).collect())
}

/// The rows that are valid and not empty.
fn present<'a>(array: impl Bytes<'a>, valid: &[u64]) -> Vec<u64> {
    blocks(valid, |from, rows| select(rows, |bit| !array.is_empty(from + bit)))
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
