//! Values and truth, and how Apache RocketMQ compares values of every pair of types.

use std::cmp::Ordering;

use thiserror::Error;

use super::java;
use super::tree;

/// Three-valued truth, in an order in which AND is the lower and OR the higher of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Truth {
    /// Certainly not.
    False,
    /// Unknown.
    Null,
    /// Certainly.
    True,
}

impl Truth {
    /// NOT, which leaves the unknown unknown.
    #[must_use]
    pub(crate) const fn negated(self) -> Self {
        match self {
            Self::False => Self::True,
            Self::Null => Self::Null,
            Self::True => Self::False,
        }
    }

    pub(crate) const fn negated_if(self, negated: bool) -> Self {
        if negated { self.negated() } else { self }
    }
}

impl From<bool> for Truth {
    fn from(value: bool) -> Self {
        if value { Self::True } else { Self::False }
    }
}

/// What makes Apache's evaluator throw, so that the message is not delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
pub enum EvalCause {
    /// A text was compared with an integer literal of 32 bits.
    #[error("a value that is compared with an integer is no integer from -2147483648 to 2147483647")]
    NotInt,
    /// A text was compared with an integer literal of 64 bits.
    #[error("a value that is compared with an integer is no integer of 64 bits")]
    NotLong,
    /// A text was compared with a floating point literal.
    #[error("a value that is compared with a floating point number is no number")]
    NotDouble,
    /// Two texts were compared by order.
    #[error("two properties are compared by order and one is no number")]
    NotOrdered,
    /// A truth value was compared with a text on its right.
    #[error("a truth value stands on the left of a comparison with text")]
    BooleanBeforeText,
}

impl EvalCause {
    /// A short name that does not change, for the label of a metric.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotInt => "not_int",
            Self::NotLong => "not_long",
            Self::NotDouble => "not_double",
            Self::NotOrdered => "not_ordered",
            Self::BooleanBeforeText => "boolean_before_text",
        }
    }
}

/// A value while an expression is evaluated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Value<'a> {
    Null,
    Bool(bool),
    Int(i32),
    Long(i64),
    Double(f64),
    Text(&'a [u8]),
}

impl From<Truth> for Value<'_> {
    fn from(truth: Truth) -> Self {
        match truth {
            Truth::False => Self::Bool(false),
            Truth::Null => Self::Null,
            Truth::True => Self::Bool(true),
        }
    }
}

impl Value<'_> {
    /// A unary minus: what is no number becomes null.
    pub(super) fn minus(self) -> Self {
        match self {
            Self::Int(value) => Self::Int(value.wrapping_neg()),
            Self::Long(value) => Self::Long(value.wrapping_neg()),
            Self::Double(value) => Self::Double(-value),
            Self::Null | Self::Bool(_) | Self::Text(_) => Self::Null,
        }
    }
}

/// `left = right`, whose result depends on which of them is null.
pub(super) fn equal(left: Value<'_>, right: Value<'_>) -> Result<Truth, EvalCause> {
    match (left, right) {
        (Value::Null, Value::Null) => Ok(Truth::True),
        (Value::Null, _) => Ok(Truth::Null),
        (_, Value::Null) => Ok(Truth::False),
        (Value::Text(left), Value::Text(right)) => Ok(java::same(left, right).into()),
        _ => compare(left, right).map(|ordering| Truth::from(ordering == Ordering::Equal)),
    }
}

/// `left < right` and its like.
pub(super) fn ordered(order: tree::Order, left: Value<'_>, right: Value<'_>) -> Result<Truth, EvalCause> {
    if matches!(left, Value::Null) || matches!(right, Value::Null) {
        return Ok(Truth::Null);
    }
    let ordering = match (left, right) {
        (Value::Text(left), Value::Text(right)) => {
            let double = |text| java::parse_double(text).ok_or(EvalCause::NotOrdered);
            java::compare_doubles(double(left)?, double(right)?)
        }
        _ => compare(left, right)?,
    };
    Ok(holds(order, ordering).into())
}

/// Whether `order` holds of two values that compare like this.
#[inline]
pub(super) const fn holds(order: tree::Order, ordering: Ordering) -> bool {
    match order {
        tree::Order::Less => ordering.is_lt(),
        tree::Order::LessEqual => ordering.is_le(),
        tree::Order::Greater => ordering.is_gt(),
        tree::Order::GreaterEqual => ordering.is_ge(),
    }
}

/// Compares two values that are not null and not both texts. The type of the other side decides how a text is read;
/// where types have nothing in common the left one counts as less.
fn compare(left: Value<'_>, right: Value<'_>) -> Result<Ordering, EvalCause> {
    use Value::{Bool, Double, Int, Long, Text};
    Ok(match (left, right) {
        (Bool(_), Text(_)) => return Err(EvalCause::BooleanBeforeText),
        (Bool(left), Bool(right)) => left.cmp(&right),
        (Text(left), Bool(right)) => java::parse_boolean(left).cmp(&right),
        (Text(text), number) => compare_text(text, number)?,
        (number, Text(text)) => compare_text(text, number)?.reverse(),
        (Int(left), Int(right)) => left.cmp(&right),
        (Int(left), Long(right)) => i64::from(left).cmp(&right),
        (Long(left), Int(right)) => left.cmp(&i64::from(right)),
        (Long(left), Long(right)) => left.cmp(&right),
        (Int(left), Double(right)) => java::compare_doubles(f64::from(left), right),
        (Double(left), Int(right)) => java::compare_doubles(left, f64::from(right)),
        (Long(left), Double(right)) => java::compare_doubles(left as f64, right),
        (Double(left), Long(right)) => java::compare_doubles(left, right as f64),
        (Double(left), Double(right)) => java::compare_doubles(left, right),
        (Bool(_), _) | (_, Bool(_)) | (Value::Null, _) | (_, Value::Null) => Ordering::Less,
    })
}

/// Compares a text with a number of which it takes the type.
#[inline]
pub(crate) fn compare_text(text: &[u8], number: Value<'_>) -> Result<Ordering, EvalCause> {
    match number {
        Value::Int(number) => java::parse_int(text).map(|value| value.cmp(&number)).ok_or(EvalCause::NotInt),
        Value::Long(number) => java::parse_long(text).map(|value| value.cmp(&number)).ok_or(EvalCause::NotLong),
        Value::Double(number) => {
            let value = java::parse_double(text).ok_or(EvalCause::NotDouble)?;
            Ok(java::compare_doubles(value, number))
        }
        Value::Null | Value::Bool(_) | Value::Text(_) => Ok(Ordering::Less),
    }
}
