//! Each request's own fields, by type: what the header of a frame says.
//!
//! A header is a struct whose fields carry their wire names in their docs; one declaration gives its
//! decoding and encoding. Source: the `*RequestHeader` classes of Apache RocketMQ.

use std::str::FromStr;

use thiserror::Error;

use crate::fields::{Fields, text};

mod client;
mod message;
mod offset;
mod operator;
mod route;

pub use client::*;
pub use message::*;
pub use offset::*;
pub use operator::*;
pub use route::*;

/// A field is missing, or its value is not of its type. Answered with `INVALID_PARAMETER`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BadField {
    /// A required field is absent.
    #[error("the request's field {name} is missing")]
    Missing {
        /// Its wire name.
        name: &'static str,
    },
    /// The value does not fit the type.
    #[error("the request's field {name} is not {expected}")]
    Invalid {
        /// Its wire name.
        name: &'static str,
        /// What it should be.
        expected: &'static str,
    },
}

/// A header that can be read from fields and written to them.
pub trait Header: Sized {
    /// Reads the header.
    ///
    /// # Errors
    /// When a required field is absent or a value does not fit.
    fn decode(fields: &Fields) -> Result<Self, BadField>;

    /// Writes the header; an absent optional field writes nothing.
    fn encode(&self, fields: &mut Fields);
}

/// A type that a field's text can be.
pub trait Field: Sized {
    /// Reads the field.
    ///
    /// # Errors
    /// When it is absent and required, or does not fit.
    fn decode(fields: &Fields, name: &'static str) -> Result<Self, BadField>;

    /// Writes the field.
    fn encode(&self, name: &'static str, fields: &mut Fields);
}

impl Field for String {
    fn decode(fields: &Fields, name: &'static str) -> Result<Self, BadField> {
        fields.value(name).map(str::to_owned).ok_or(BadField::Missing { name })
    }

    fn encode(&self, name: &'static str, fields: &mut Fields) {
        fields.push(name, self);
    }
}

macro_rules! parsed_field {
    ($($type:ty = $expected:literal),*) => {$(
        impl Field for $type {
            fn decode(fields: &Fields, name: &'static str) -> Result<Self, BadField> {
                parse(fields.value_bytes(name), name, $expected)
            }

            fn encode(&self, name: &'static str, fields: &mut Fields) {
                fields.push(name, &self.to_string());
            }
        }
    )*};
}

parsed_field!(i32 = "a 32-bit number", i64 = "a 64-bit number");

impl Field for bool {
    fn decode(fields: &Fields, name: &'static str) -> Result<Self, BadField> {
        // Java's Boolean.parseBoolean: anything but "true" in any case is false.
        fields.value(name).map(|text| text.eq_ignore_ascii_case("true")).ok_or(BadField::Missing { name })
    }

    fn encode(&self, name: &'static str, fields: &mut Fields) {
        fields.push(name, if *self { "true" } else { "false" });
    }
}

impl<T: Field> Field for Option<T> {
    fn decode(fields: &Fields, name: &'static str) -> Result<Self, BadField> {
        match fields.value(name) {
            None | Some("") => Ok(None),
            Some(_) => T::decode(fields, name).map(Some),
        }
    }

    fn encode(&self, name: &'static str, fields: &mut Fields) {
        if let Some(value) = self {
            value.encode(name, fields);
        }
    }
}

/// Reads a number; blanks around it are taken, as RocketMQ's parties send them.
#[inline]
pub(crate) fn parse<T: FromStr + TryFrom<i64>>(
    value: Option<&[u8]>,
    name: &'static str,
    expected: &'static str,
) -> Result<T, BadField> {
    let digits = value.ok_or(BadField::Missing { name })?;
    let number = plain_number(digits).and_then(|number| T::try_from(number).ok());
    number.or_else(|| text(digits).trim().parse().ok()).ok_or(BadField::Invalid { name, expected })
}

/// A number that is written as its digits alone, as nearly all are.
#[inline]
fn plain_number(digits: &[u8]) -> Option<i64> {
    /// So many digits fit 64 bits whatever they are.
    const DIGITS_MAX: usize = 18;
    if digits.is_empty() || digits.len() > DIGITS_MAX {
        return None;
    }
    digits.iter().try_fold(0, |number, digit| digit.is_ascii_digit().then(|| number * 10 + i64::from(digit - b'0')))
}

/// Declares header structs: each field's type and wire name.
macro_rules! headers {
    ($($(#[$doc:meta])* $name:ident { $($field:ident : $type:ty = $wire:literal),* $(,)? })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Default)]
        pub struct $name {
            $(#[doc = concat!("`", $wire, "` on the wire.")] pub $field: $type,)*
        }

        impl $crate::request::Header for $name {
            fn decode(fields: &$crate::fields::Fields) -> Result<Self, $crate::request::BadField> {
                Ok(Self { $($field: <$type as $crate::request::Field>::decode(fields, $wire)?,)* })
            }

            fn encode(&self, fields: &mut $crate::fields::Fields) {
                $($crate::request::Field::encode(&self.$field, $wire, fields);)*
            }
        }
    )*};
}
pub(crate) use headers;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn optional_fields_may_be_absent_or_empty() {
        let fields: Fields =
            [("consumerGroup", "g"), ("topic", "t"), ("queueId", "3"), ("setZeroIfNotFound", "")].into_iter().collect();
        let header = QueryConsumerOffset::decode(&fields).unwrap();
        assert_eq!(header.set_zero_if_not_found, None);
        let mut written = Fields::new();
        header.encode(&mut written);
        assert_eq!(QueryConsumerOffset::decode(&written), Ok(header));
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        let fields: Fields = [("topic", "t"), ("queueId", "three")].into_iter().collect();
        let expected = BadField::Invalid { name: "queueId", expected: "a 32-bit number" };
        assert_eq!(QueueOf::decode(&fields), Err(expected));
        assert_eq!(QueueOf::decode(&Fields::new()), Err(BadField::Missing { name: "topic" }));
    }

    #[test]
    fn numbers_are_read_as_the_standard_library_reads_them() {
        let long = "0".repeat(30) + "7";
        let texts = [
            "0",
            "7",
            " 7 ",
            "+7",
            "-7",
            "2147483647",
            "2147483648",
            "-2147483648",
            "9223372036854775807",
            "9223372036854775808",
            "999999999999999999",
            "1000000000000000000",
            "",
            " ",
            "1e3",
            "0x1",
            "7a",
            "٧",
            &long,
        ];
        for text in texts {
            let bytes = Some(text.as_bytes());
            let bad = |_| BadField::Invalid { name: "n", expected: "e" };
            assert_eq!(parse::<i32>(bytes, "n", "e"), text.trim().parse::<i32>().map_err(bad), "{text:?}");
            assert_eq!(parse::<i64>(bytes, "n", "e"), text.trim().parse::<i64>().map_err(bad), "{text:?}");
        }
    }
}
