//! The compiled form of an expression: a flat list of steps with jumps forward, and how it runs.
//!
//! A step tests properties and leaves a truth, or joins truths. Nothing recurses, every step runs at most once a
//! message, and nothing is allocated; truths that wait for their other side stand in an array on the stack.

use memchr::memmem::Finder;

use super::EvalError;
use super::java;
use super::strict::{self, StrictStep, Test};
use super::tree::{Find, Order, Slot};
use super::value::{self, EvalCause, Truth, Value};

/// The values of the properties that an expression uses, in the order of its names; `None` is a missing one.
pub(crate) type Values<'a> = [Option<&'a [u8]>];

/// A literal, as steps hold it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Constant {
    Null,
    Bool(bool),
    Int(i32),
    Long(i64),
    Double(f64),
    Text(Box<[u8]>),
}

impl Constant {
    pub(super) fn value(&self) -> Value<'_> {
        match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(*value),
            Self::Int(value) => Value::Int(*value),
            Self::Long(value) => Value::Long(*value),
            Self::Double(value) => Value::Double(*value),
            Self::Text(text) => Value::Text(text),
        }
    }
}

/// Where a comparison finds a side of itself.
#[derive(Debug, Clone)]
pub(crate) enum Operand {
    Slot(Slot),
    Constant(Constant),
    /// The truth that the step before left.
    Truth,
    /// The truth that waits for this step.
    Waiting,
}

/// One step.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// A truth that needs no message.
    Truth(Truth),
    /// A property equals a text whose bytes decide.
    IsText {
        slot: Slot,
        negated: bool,
        missing: Truth,
        text: Box<[u8]>,
    },
    /// A property compared with a number that stands on the right.
    Number {
        slot: Slot,
        test: Test,
        missing: Truth,
        at: u32,
        number: Value<'static>,
    },
    /// A property is missing.
    IsMissing {
        slot: Slot,
        negated: bool,
    },
    /// A property as a condition: false, or unknown if it is missing.
    Condition {
        slot: Slot,
    },
    /// A property is one of a sorted list of texts.
    In {
        slot: Slot,
        negated: bool,
        decides: bool,
        list: Box<[Box<str>]>,
    },
    /// A property holds a text that is not empty.
    Find {
        slot: Slot,
        find: Find,
        negated: bool,
        decides: bool,
        finder: Box<Finder<'static>>,
    },
    /// A test of the strict dialect.
    Strict(Box<StrictStep>),
    /// The step before left this truth.
    Is {
        truth: Truth,
        negated: bool,
    },
    /// The truth that waits is the one that the step before left; unknown if one is.
    Same {
        negated: bool,
    },
    /// Equality of any two.
    Equal {
        left: Operand,
        right: Operand,
        negated: bool,
        at: u32,
    },
    /// Order of any two.
    Order {
        left: Operand,
        right: Operand,
        order: Order,
        at: u32,
    },
    Not,
    /// Ends AND at false; otherwise lets the truth wait.
    AndThen {
        to: u32,
    },
    And,
    /// Ends OR at true; otherwise lets the truth wait.
    OrElse {
        to: u32,
    },
    Or,
    /// Lets a truth wait.
    Wait,
    /// Leaves unknown and jumps if a property is missing.
    UnlessMissing {
        slot: Slot,
        to: u32,
    },
}

/// A compiled expression.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    pub steps: Vec<Step>,
    /// How many truths wait at most.
    pub waiting: usize,
}

/// Truths that wait in nearly all expressions; the array is cleared for each message.
const WAITING_FEW: usize = 8;
/// Each level of nesting lets at most an OR, an AND and an equality wait.
pub(super) const WAITING_MAX: usize = 3 * (crate::limits::SQL_LEVELS_MAX + 1);

impl Program {
    /// Runs the steps on the values of one message.
    #[inline]
    pub(super) fn run(&self, values: &Values<'_>) -> Result<Truth, EvalError> {
        if self.waiting <= WAITING_FEW { self.run_with::<WAITING_FEW>(values) } else { self.run_deep(values) }
    }

    #[cold]
    fn run_deep(&self, values: &Values<'_>) -> Result<Truth, EvalError> {
        self.run_with::<WAITING_MAX>(values)
    }

    #[inline]
    fn run_with<const WAITING: usize>(&self, values: &Values<'_>) -> Result<Truth, EvalError> {
        let mut waiting = Waiting { truths: [Truth::Null; WAITING], count: 0 };
        run_steps(&self.steps, values, Truth::Null, &mut waiting)
    }
}

/// Runs steps; `truth` is what the step before them left.
#[inline]
fn run_steps<const WAITING: usize>(
    steps: &[Step],
    values: &Values<'_>,
    mut truth: Truth,
    waiting: &mut Waiting<WAITING>,
) -> Result<Truth, EvalError> {
    let mut next = 0;
    while let Some(step) = steps.get(next) {
        next += 1;
        match step {
            Step::IsText { slot, negated, missing, text } => {
                truth = value_of(values, *slot).map_or(*missing, |value| Truth::from((value == &**text) != *negated));
            }
            Step::Number { slot, test, missing, at, number } => {
                truth = match value_of(values, *slot) {
                    None => *missing,
                    Some(text) => number_test(*test, text, *number).map_err(|cause| EvalError { at: *at, cause })?,
                };
            }
            Step::AndThen { to } if truth == Truth::False => next = *to as usize,
            Step::OrElse { to } if truth == Truth::True => next = *to as usize,
            Step::AndThen { .. } | Step::OrElse { .. } | Step::Wait => waiting.push(truth),
            Step::And => truth = truth.min(waiting.pop()),
            Step::Or => truth = truth.max(waiting.pop()),
            Step::Not => truth = truth.negated(),
            Step::Is { truth: wanted, negated } => truth = Truth::from((truth == *wanted) != *negated),
            Step::Same { negated } => truth = strict::same(waiting.pop(), truth).negated_if(*negated),
            Step::UnlessMissing { slot, to } => {
                if value_of(values, *slot).is_none() {
                    (truth, next) = (Truth::Null, *to as usize);
                }
            }
            Step::Equal { left, right, negated, at } => {
                // The truth that waits was pushed by the left side; the order in which sides are read is free.
                let right = side(right, values, truth, waiting);
                let left = side(left, values, truth, waiting);
                truth = value::equal(left, right).map_err(|cause| EvalError { at: *at, cause })?;
                truth = truth.negated_if(*negated);
            }
            test => truth = run_test(test, values)?,
        }
    }
    Ok(truth)
}

impl Step {
    /// Runs this step alone, which jumps nowhere, after one that left `truth`, while `waiting` waits.
    #[inline]
    pub(crate) fn run_alone(&self, values: &Values<'_>, truth: Truth, waiting: Truth) -> Result<Truth, EvalError> {
        run_steps(std::slice::from_ref(self), values, truth, &mut Waiting { truths: [waiting], count: 1 })
    }

    /// The text that its property must have, or must not, if that is all that it tests of one that is there.
    pub(crate) fn equality(&self) -> Option<(&[u8], bool)> {
        match self {
            Self::IsText { text, negated, .. } => Some((text, *negated)),
            Self::Strict(step) => step.equality(),
            _ => None,
        }
    }

    /// Whether it takes the truth that waits.
    pub(crate) const fn takes_waiting(&self) -> bool {
        matches!(self, Self::Equal { left: Operand::Waiting, .. })
    }

    /// Whether it looks at truths that steps before it left.
    pub(crate) const fn takes_truths(&self) -> bool {
        matches!(
            self,
            Self::Equal { left: Operand::Truth | Operand::Waiting, .. } | Self::Equal { right: Operand::Truth, .. }
        )
    }

    /// The properties that it looks at: none, one or two.
    pub(crate) const fn slots(&self) -> [Option<Slot>; 2] {
        match self {
            Self::IsText { slot, .. }
            | Self::Number { slot, .. }
            | Self::IsMissing { slot, .. }
            | Self::Condition { slot }
            | Self::In { slot, .. }
            | Self::Find { slot, .. }
            | Self::UnlessMissing { slot, .. } => [Some(*slot), None],
            Self::Strict(step) => step.slots(),
            Self::Equal { left, right, .. } | Self::Order { left, right, .. } => [left.slot(), right.slot()],
            Self::Truth(_)
            | Self::Is { .. }
            | Self::Same { .. }
            | Self::Not
            | Self::AndThen { .. }
            | Self::And
            | Self::OrElse { .. }
            | Self::Or
            | Self::Wait => [None, None],
        }
    }
}

impl Operand {
    const fn slot(&self) -> Option<Slot> {
        match self {
            Self::Slot(slot) => Some(*slot),
            Self::Constant(_) | Self::Truth | Self::Waiting => None,
        }
    }
}

/// Truths that wait for the other side of their operator.
struct Waiting<const N: usize> {
    truths: [Truth; N],
    count: usize,
}

impl<const N: usize> Waiting<N> {
    #[inline]
    fn push(&mut self, truth: Truth) {
        if let Some(free) = self.truths.get_mut(self.count) {
            *free = truth;
        }
        self.count += 1;
    }

    #[inline]
    fn pop(&mut self) -> Truth {
        self.count -= 1;
        self.truths.get(self.count).copied().unwrap_or(Truth::Null)
    }
}

#[inline]
fn value_of<'a>(values: &Values<'a>, slot: Slot) -> Option<&'a [u8]> {
    values.get(usize::from(slot)).copied().flatten()
}

fn side<'a, const N: usize>(
    operand: &'a Operand,
    values: &Values<'a>,
    truth: Truth,
    waiting: &mut Waiting<N>,
) -> Value<'a> {
    match operand {
        Operand::Truth => truth.into(),
        Operand::Waiting => waiting.pop().into(),
        Operand::Slot(_) | Operand::Constant(_) => simple_side(operand, values),
    }
}

/// A side that is no truth.
fn simple_side<'a>(operand: &'a Operand, values: &Values<'a>) -> Value<'a> {
    match operand {
        Operand::Slot(slot) => value_of(values, *slot).map_or(Value::Null, Value::Text),
        Operand::Constant(constant) => constant.value(),
        Operand::Truth | Operand::Waiting => Value::Null,
    }
}

/// Runs a step that looks at nothing but properties. Kept apart, so that the loop over the commonest steps is small.
#[inline(never)]
fn run_test(step: &Step, values: &Values<'_>) -> Result<Truth, EvalError> {
    Ok(match step {
        Step::Truth(truth) => *truth,
        Step::IsMissing { slot, negated } => Truth::from(value_of(values, *slot).is_none() != *negated),
        Step::Condition { slot } => value_of(values, *slot).map_or(Truth::Null, |_| Truth::False),
        Step::In { slot, negated, decides, list } => {
            value_of(values, *slot).map_or(Truth::Null, |value| Truth::from(is_in(list, value, *decides) != *negated))
        }
        Step::Find { slot, find, negated, decides, finder } => value_of(values, *slot)
            .map_or(Truth::False, |value| Truth::from(finds(*find, finder, value, *decides) != *negated)),
        Step::Order { left, right, order, at } => {
            let (left, right) = (simple_side(left, values), simple_side(right, values));
            value::ordered(*order, left, right).map_err(|cause| EvalError { at: *at, cause })?
        }
        Step::Strict(step) => step.run(|slot| value_of(values, slot)),
        _ => Truth::Null,
    })
}

#[inline]
fn number_test(test: Test, text: &[u8], number: Value<'_>) -> Result<Truth, EvalCause> {
    value::compare_text(text, number).map(|ordering| test.holds(ordering).into())
}

/// Whether a text is in a sorted list, of which the bytes decide unless one holds the replacement character.
pub(super) fn is_in(list: &[Box<str>], value: &[u8], decides: bool) -> bool {
    let found = list.binary_search_by(|text| text.as_bytes().cmp(value)).is_ok();
    found || (!decides && list.iter().any(|text| java::same(value, text.as_bytes())))
}

/// Whether a text is found in another.
pub(super) fn finds(find: Find, finder: &Finder<'_>, value: &[u8], decides: bool) -> bool {
    if !decides && std::str::from_utf8(value).is_err() {
        return finds(find, finder, java::replaced(value).as_bytes(), true);
    }
    match find {
        Find::Contains => finder.find(value).is_some(),
        Find::StartsWith => value.starts_with(finder.needle()),
        Find::EndsWith => value.ends_with(finder.needle()),
    }
}
