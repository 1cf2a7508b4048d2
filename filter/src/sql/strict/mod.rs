//! The strict dialect (`SQL92_STRICT`): what users of SQL think they write.
//!
//! A property is text; what it is compared with says how it is read.
//!
//! | written | means |
//! |---|---|
//! | property against number | the property as a number; unknown if it is missing or no number. Numbers have a sign, digits, a fraction, an exponent and blanks around them; integers of 64 bits are exact, all else is a double, and both compare by value |
//! | property against text | by characters, in the order of code points; unknown if missing |
//! | property against property | as numbers if both are numbers, else as texts; unknown if one is missing |
//! | property as a condition, or against a truth value | true for `true`, false for `false` in any case; else unknown |
//! | `=` `<>` `!=` `<` `<=` `>` `>=` `BETWEEN` | as above; `BETWEEN` is `>=` the first and `<=` the second; texts too |
//! | `IN` | equal to one of the literals, numbers and texts as above; unknown if none is equal and one is unknown |
//! | `LIKE 'a%_' ESCAPE 'c'` | `%` any text, `_` one character; without ESCAPE nothing is escaped; unknown if missing |
//! | `CONTAINS` `STARTSWITH` `ENDSWITH` | the literal within the property; unknown if missing |
//! | `IS [NOT] NULL` | missing, or unknown, or not |
//! | `IS [NOT] TRUE`, `FALSE`, `UNKNOWN` | never unknown |
//! | `NOT`, `AND`, `OR` | three-valued; NOT binds weaker than comparisons, AND weaker than NOT, OR weakest |
//! | `"my.prop"` | the property of that name; `""` in it is a quote |
//!
//! Nothing fails while it is evaluated. Everything else of SQL is refused by name: arithmetic, functions, the literal
//! NULL, chains of comparisons, subqueries. The whole text must be one expression.

mod like;
mod number;
mod parser;
mod tokens;

use std::cmp::Ordering;

use memchr::memmem::Finder;

use super::tree::{self, Find, NodeId, Order, Slot};
use super::value::{self, Truth, Value};
use like::Pattern;
use number::Number;

pub(super) use parser::parse;

/// A comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Test {
    Equal,
    NotEqual,
    Order(Order),
}

impl Test {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "<>",
            Self::Order(order) => order.name(),
        }
    }

    #[inline]
    pub(crate) const fn holds(self, ordering: Ordering) -> bool {
        match self {
            Self::Equal => ordering.is_eq(),
            Self::NotEqual => ordering.is_ne(),
            Self::Order(order) => value::holds(order, ordering),
        }
    }

    /// The test of swapped sides.
    pub(super) const fn mirrored(self) -> Self {
        match self {
            Self::Order(order) => Self::Order(order.mirrored()),
            same => same,
        }
    }
}

/// The nodes that only this dialect has.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum StrictKind {
    /// A property as a truth value.
    Truth(NodeId),
    Compare {
        test: Test,
        left: NodeId,
        right: NodeId,
    },
    /// Equality of truth values.
    Same {
        left: NodeId,
        right: NodeId,
        negated: bool,
    },
    Between {
        value: NodeId,
        low: NodeId,
        high: NodeId,
        negated: bool,
    },
    /// The lists are sorted and without repetitions.
    OneOf {
        operand: NodeId,
        numbers: Box<[Number]>,
        texts: Box<[Box<str>]>,
        negated: bool,
    },
    Like {
        operand: NodeId,
        pattern: Box<Pattern>,
        negated: bool,
    },
    Find {
        find: Find,
        operand: NodeId,
        text: Box<str>,
        negated: bool,
    },
    Is {
        operand: NodeId,
        truth: Truth,
        negated: bool,
    },
}

impl StrictKind {
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Truth(_) => "condition",
            Self::Compare { test, .. } => test.name(),
            Self::Same { negated: false, .. } => "=",
            Self::Same { negated: true, .. } => "<>",
            Self::Between { negated: false, .. } => "BETWEEN",
            Self::Between { negated: true, .. } => "NOT BETWEEN",
            Self::OneOf { negated: false, .. } => "IN",
            Self::OneOf { negated: true, .. } => "NOT IN",
            Self::Like { negated: false, .. } => "LIKE",
            Self::Like { negated: true, .. } => "NOT LIKE",
            Self::Find { find, negated, .. } => find.name(*negated),
            Self::Is { negated: false, .. } => "IS",
            Self::Is { negated: true, .. } => "IS NOT",
        }
    }

    /// The operands in their order.
    pub(super) fn operands(&self) -> impl Iterator<Item = NodeId> {
        let all = match self {
            Self::Truth(operand)
            | Self::OneOf { operand, .. }
            | Self::Like { operand, .. }
            | Self::Find { operand, .. }
            | Self::Is { operand, .. } => [Some(*operand), None, None],
            Self::Compare { left, right, .. } | Self::Same { left, right, .. } => [Some(*left), Some(*right), None],
            Self::Between { value, low, high, .. } => [Some(*value), Some(*low), Some(*high)],
        };
        all.into_iter().flatten()
    }

    /// The value of this node, from those of the nodes before it.
    pub(super) fn truth<'a>(&self, tree: &tree::Tree, value_of: impl Fn(NodeId) -> Value<'a>) -> Truth {
        let pair = |test, left: NodeId, right: NodeId| {
            let properties = [left, right].iter().all(|id| matches!(tree.kind(*id), tree::Kind::Property(_)));
            compare(test, value_of(left), value_of(right), properties)
        };
        match self {
            Self::Truth(operand) => truth_of(value_of(*operand)),
            Self::Compare { test, left, right } => pair(*test, *left, *right),
            Self::Same { left, right, negated } => {
                same(truth_of(value_of(*left)), truth_of(value_of(*right))).negated_if(*negated)
            }
            Self::Between { value, low, high, negated } => {
                let above = pair(Test::Order(Order::GreaterEqual), *value, *low);
                let below = pair(Test::Order(Order::LessEqual), *value, *high);
                above.min(below).negated_if(*negated)
            }
            Self::OneOf { operand, numbers, texts, negated } => {
                with_text(value_of(*operand), |text| one_of(text, numbers, texts).negated_if(*negated))
            }
            Self::Like { operand, pattern, negated } => {
                with_text(value_of(*operand), |text| Truth::from(pattern.matches(text) != *negated))
            }
            Self::Find { find, operand, text, negated } => with_text(value_of(*operand), |value| {
                let finder = Finder::new(text.as_bytes());
                Truth::from(super::program::finds(*find, &finder, value, true) != *negated)
            }),
            Self::Is { operand, truth, negated } => Truth::from((truth_of(value_of(*operand)) == *truth) != *negated),
        }
    }
}

fn with_text<'a>(value: Value<'a>, test: impl FnOnce(&'a [u8]) -> Truth) -> Truth {
    if let Value::Text(text) = value { test(text) } else { Truth::Null }
}

/// A property as a condition.
pub(super) fn boolean(text: &[u8]) -> Truth {
    if text.eq_ignore_ascii_case(b"true") {
        Truth::True
    } else if text.eq_ignore_ascii_case(b"false") {
        Truth::False
    } else {
        Truth::Null
    }
}

fn truth_of(value: Value<'_>) -> Truth {
    match value {
        Value::Bool(value) => value.into(),
        Value::Text(text) => boolean(text),
        Value::Null | Value::Int(_) | Value::Long(_) | Value::Double(_) => Truth::Null,
    }
}

/// Equality of truth values: unknown if one is.
pub(crate) fn same(left: Truth, right: Truth) -> Truth {
    if left == Truth::Null || right == Truth::Null { Truth::Null } else { Truth::from(left == right) }
}

fn number_of(value: Value<'_>) -> Option<Number> {
    match value {
        Value::Int(value) => Some(Number::Int(value.into())),
        Value::Long(value) => Some(Number::Int(value)),
        Value::Double(value) => Some(Number::Double(value)),
        Value::Null | Value::Bool(_) | Value::Text(_) => None,
    }
}

/// Compares two values that are no truth values.
fn compare(test: Test, left: Value<'_>, right: Value<'_>, properties: bool) -> Truth {
    match (left, right) {
        (Value::Null, _) | (_, Value::Null) => Truth::Null,
        (Value::Text(left), Value::Text(right)) if properties => compare_properties(test, left, right),
        (Value::Text(left), Value::Text(right)) => Truth::from(test.holds(left.cmp(right))),
        (Value::Text(text), number) => {
            number_of(number).map_or(Truth::Null, |number| compare_number(test, text, number))
        }
        (number, Value::Text(text)) => {
            number_of(number).map_or(Truth::Null, |number| compare_number(test.mirrored(), text, number))
        }
        (left, right) => {
            let ordering = number_of(left).zip(number_of(right)).map(|(left, right)| left.cmp(&right));
            ordering.map_or(Truth::Null, |ordering| Truth::from(test.holds(ordering)))
        }
    }
}

/// A property against a number.
#[inline]
fn compare_number(test: Test, text: &[u8], number: Number) -> Truth {
    Number::parse(text).map_or(Truth::Null, |value| Truth::from(test.holds(value.cmp(&number))))
}

fn compare_properties(test: Test, left: &[u8], right: &[u8]) -> Truth {
    let numbers = Number::parse(left).and_then(|left| Some(left.cmp(&Number::parse(right)?)));
    Truth::from(test.holds(numbers.unwrap_or_else(|| left.cmp(right))))
}

fn one_of(text: &[u8], numbers: &[Number], texts: &[Box<str>]) -> Truth {
    if super::program::is_in(texts, text, true) {
        return Truth::True;
    }
    if numbers.is_empty() {
        return Truth::False;
    }
    Number::parse(text).map_or(Truth::Null, |number| Truth::from(numbers.binary_search(&number).is_ok()))
}

/// A step that only this dialect has: it tests properties and never fails.
#[derive(Debug, Clone)]
pub(crate) enum StrictStep {
    Truth { slot: Slot },
    Number { slot: Slot, test: Test, number: Number },
    Text { slot: Slot, test: Test, text: Box<[u8]> },
    Properties { left: Slot, right: Slot, test: Test },
    OneOf { slot: Slot, numbers: Box<[Number]>, texts: Box<[Box<str>]>, negated: bool },
    Like { slot: Slot, pattern: Box<Pattern>, negated: bool },
    Find { slot: Slot, find: Find, finder: Box<Finder<'static>>, negated: bool },
}

impl StrictStep {
    /// The properties that it tests: one or two.
    pub(super) const fn slots(&self) -> [Option<Slot>; 2] {
        match self {
            Self::Truth { slot }
            | Self::Number { slot, .. }
            | Self::Text { slot, .. }
            | Self::OneOf { slot, .. }
            | Self::Like { slot, .. }
            | Self::Find { slot, .. } => [Some(*slot), None],
            Self::Properties { left, right, .. } => [Some(*left), Some(*right)],
        }
    }

    /// The text that its property must have, or must not, if that is all that it tests.
    pub(super) fn equality(&self) -> Option<(&[u8], bool)> {
        match self {
            Self::Text { test: Test::Equal, text, .. } => Some((text, false)),
            Self::Text { test: Test::NotEqual, text, .. } => Some((text, true)),
            _ => None,
        }
    }

    /// Tests the value that `value_of` has for its property; unknown if it is missing.
    #[inline]
    pub(crate) fn run<'a>(&self, value_of: impl Fn(Slot) -> Option<&'a [u8]>) -> Truth {
        let test = |slot: &Slot, test: &dyn Fn(&[u8]) -> Truth| value_of(*slot).map_or(Truth::Null, test);
        match self {
            Self::Truth { slot } => test(slot, &boolean),
            Self::Number { slot, test, number } => {
                value_of(*slot).map_or(Truth::Null, |text| compare_number(*test, text, *number))
            }
            Self::Text { slot, test, text } => {
                value_of(*slot).map_or(Truth::Null, |value| Truth::from(test.holds(value.cmp(text))))
            }
            Self::Properties { left, right, test } => value_of(*left)
                .zip(value_of(*right))
                .map_or(Truth::Null, |(left, right)| compare_properties(*test, left, right)),
            Self::OneOf { slot, numbers, texts, negated } => {
                test(slot, &|text| one_of(text, numbers, texts).negated_if(*negated))
            }
            Self::Like { slot, pattern, negated } => test(slot, &|text| Truth::from(pattern.matches(text) != *negated)),
            Self::Find { slot, find, finder, negated } => {
                test(slot, &|text| Truth::from(super::program::finds(*find, finder, text, true) != *negated))
            }
        }
    }
}

/// How a condition of this dialect is compiled.
pub(super) enum Lowered {
    /// It needs no message.
    Truth(Truth),
    Step(StrictStep),
    /// Both comparisons of BETWEEN.
    Both([(Test, NodeId, NodeId); 2], bool),
    /// Two conditions that are compared.
    Same(NodeId, NodeId, bool),
    /// A test of a condition's truth.
    Is(NodeId, Truth, bool),
}

/// Chooses the steps of a node.
pub(super) fn lower(tree: &tree::Tree, kind: &StrictKind) -> Lowered {
    // A condition on literals alone has its value now.
    let constant = |id: NodeId| match tree.kind(id) {
        tree::Kind::Text(text) => Value::Text(text.as_bytes()),
        tree::Kind::Long(value) => Value::Long(*value),
        tree::Kind::Double(value) => Value::Double(*value),
        _ => Value::Null,
    };
    let slot_of = |id: &NodeId| if let tree::Kind::Property(slot) = tree.kind(*id) { Some(*slot) } else { None };
    let with_slot = |operand: &NodeId, step: &dyn Fn(Slot) -> StrictStep| {
        slot_of(operand).map_or_else(|| Lowered::Truth(kind.truth(tree, constant)), |slot| Lowered::Step(step(slot)))
    };
    match kind {
        StrictKind::Truth(operand) => with_slot(operand, &|slot| StrictStep::Truth { slot }),
        StrictKind::Compare { test, left, right } => match (slot_of(left), slot_of(right)) {
            (Some(left), Some(right)) => Lowered::Step(StrictStep::Properties { left, right, test: *test }),
            (Some(slot), None) => slot_test(slot, *test, constant(*right)),
            (None, Some(slot)) => slot_test(slot, test.mirrored(), constant(*left)),
            (None, None) => Lowered::Truth(kind.truth(tree, constant)),
        },
        StrictKind::Same { left, right, negated } => Lowered::Same(*left, *right, *negated),
        StrictKind::Between { value, low, high, negated } => {
            let above = (Test::Order(Order::GreaterEqual), *value, *low);
            Lowered::Both([above, (Test::Order(Order::LessEqual), *value, *high)], *negated)
        }
        StrictKind::OneOf { operand, numbers, texts, negated } => with_slot(operand, &|slot| {
            let (numbers, texts, negated) = (numbers.clone(), texts.clone(), *negated);
            StrictStep::OneOf { slot, numbers, texts, negated }
        }),
        StrictKind::Like { operand, pattern, negated } => {
            with_slot(operand, &|slot| StrictStep::Like { slot, pattern: pattern.clone(), negated: *negated })
        }
        StrictKind::Find { find, operand, text, negated } => with_slot(operand, &|slot| {
            let finder = Box::new(Finder::new(text.as_bytes()).into_owned());
            StrictStep::Find { slot, find: *find, finder, negated: *negated }
        }),
        StrictKind::Is { operand, truth, negated } => Lowered::Is(*operand, *truth, *negated),
    }
}

fn slot_test(slot: Slot, test: Test, literal: Value<'_>) -> Lowered {
    match (literal, number_of(literal)) {
        (_, Some(number)) => Lowered::Step(StrictStep::Number { slot, test, number }),
        (Value::Text(text), _) => Lowered::Step(StrictStep::Text { slot, test, text: text.into() }),
        _ => Lowered::Truth(Truth::Null),
    }
}
