//! Whether a range of messages can hold a match, from the statistics of its columns alone.
//!
//! Never says no where a row matches. It follows the steps of an expression as a row does, but with the set of truths
//! that the step can leave in some row; a failure leaves none. Columns are looked at one by one, so that what two
//! conditions exclude only together is not seen.
//!
//! How sharp it is, for what is compared with literals:
//!
//! - `=`, `IN`, `STARTSWITH`, `LIKE 'x%'` and, in the strict dialect, the order of texts: by the least and the greatest
//!   text; `=` and `IN` by the membership test too.
//! - `IS NULL`, `IS NOT NULL`: by the number of nulls. An empty text is a missing property as well, so that a range
//!   without nulls lacks nothing only if its least text is known and not empty.
//! - Numbers are stored as text, whose order is not theirs: 10 stands before 9, and 5, +5 and 005 are one number. So
//!   `<` and its like, BETWEEN and lists of numbers only see whether a text of the range can be a number at all. `=`
//!   with an integer literal of the SQL92 dialect, which takes no fractions or blanks, sees more: a match is the
//!   literal's digits, or it begins with a sign, a zero, or digits that another script goes on.
//! - A range that has one text in all rows is sharp in everything that looks at this column.
//! - What compares properties or truths with each other, and texts with U+FFFD, which stands for malformed bytes, is
//!   not seen.

use crate::sql::{Expression, Find, Order, Slot, Step, StrictStep, Test, Truth, Value, same};

/// A text at an end of a range, in the order of unsigned bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound<'a> {
    /// The text, or its first bytes.
    pub bytes: &'a [u8],
    /// Some row has this very text. Otherwise the bytes may be cut, the last ones raised or not.
    pub exact: bool,
}

/// Says `false` only of texts that no row has, as a bloom filter does.
pub type MayContain<'a> = &'a dyn Fn(&[u8]) -> bool;

/// What is known of one property in a range of messages. What is not known is `None`, and then prunes nothing.
#[derive(Clone, Copy, Default)]
pub struct Statistics<'a> {
    /// The rows of the range.
    pub rows: Option<u64>,
    /// How many of them are null; empty texts are not nulls.
    pub nulls: Option<u64>,
    /// No text is less.
    pub min: Option<Bound<'a>>,
    /// No text is greater, unless it goes on where this one was cut.
    pub max: Option<Bound<'a>>,
    /// What a bloom filter says.
    pub may_contain: Option<MayContain<'a>>,
}

/// Can a row of the range match? `false` is certain. `statistics` is asked once for each property that the expression
/// uses, by its name.
#[must_use]
pub fn may_match<'a>(expression: &Expression, statistics: impl Fn(&str) -> Statistics<'a>) -> bool {
    let columns: Vec<_> = expression.properties().iter().map(|name| statistics(name)).collect();
    if columns.iter().any(|column| column.rows == Some(0)) {
        return false;
    }
    let steps = &expression.program().steps;
    let mut range = Range { values: vec![None; columns.len()], columns };
    let mut landing = vec![Truths::NONE; steps.len() + 1];
    let mut waiting = Vec::new();
    // The truths that the step before leaves in rows that come here. If there are none, no row does.
    let mut truths = Truths::of(Truth::Null);
    for (at, step) in steps.iter().enumerate() {
        truths = truths.or(landing[at]);
        match step {
            Step::AndThen { to } => {
                truths = jump(&mut landing[*to as usize], truths, Truths::of(Truth::False));
                waiting.push(truths);
            }
            Step::OrElse { to } => {
                truths = jump(&mut landing[*to as usize], truths, Truths::of(Truth::True));
                waiting.push(truths);
            }
            Step::Wait => waiting.push(truths),
            Step::And => truths = truths.pairs(waiting.pop().unwrap_or(Truths::NONE), Truth::min),
            Step::Or => truths = truths.pairs(waiting.pop().unwrap_or(Truths::NONE), Truth::max),
            Step::Same { negated } => {
                let equal = |left, right| same(left, right).negated_if(*negated);
                truths = truths.pairs(waiting.pop().unwrap_or(Truths::NONE), equal);
            }
            Step::Not => truths = truths.map(Truth::negated),
            Step::Is { truth, negated } => truths = truths.map(|left| Truth::from((left == *truth) != *negated)),
            Step::UnlessMissing { slot, to } => {
                let (missing, present) = range.occurs(*slot);
                if missing && truths != Truths::NONE {
                    landing[*to as usize] = landing[*to as usize].or(Truths::of(Truth::Null));
                }
                truths = if present { truths } else { Truths::NONE };
            }
            test => {
                if test.takes_waiting() {
                    waiting.pop();
                }
                if truths != Truths::NONE {
                    truths = range.test(test);
                }
            }
        }
    }
    truths.or(landing[steps.len()]).has(Truth::True)
}

/// Lets rows with one of `jumping` jump; the truths of those that stay.
fn jump(landing: &mut Truths, truths: Truths, jumping: Truths) -> Truths {
    *landing = landing.or(Truths(truths.0 & jumping.0));
    Truths(truths.0 & !jumping.0)
}

/// A set of truths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Truths(u8);

impl Truths {
    const NONE: Self = Self(0);
    const ALL: Self = Self(0b111);
    const EACH: [Truth; 3] = [Truth::False, Truth::Null, Truth::True];

    const fn of(truth: Truth) -> Self {
        Self(1 << truth as u8)
    }

    /// The truths of a test that need not hold.
    const fn test(can_hold: bool) -> Self {
        Self::of(Truth::False).or(Self::of(Truth::True).only_if(can_hold))
    }

    const fn only_if(self, can_be: bool) -> Self {
        if can_be { self } else { Self::NONE }
    }

    fn negated_if(self, negated: bool) -> Self {
        if negated { self.map(Truth::negated) } else { self }
    }

    const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    const fn has(self, truth: Truth) -> bool {
        self.0 & Self::of(truth).0 != 0
    }

    fn map(self, to: impl Fn(Truth) -> Truth) -> Self {
        let held = Self::EACH.into_iter().filter(|truth| self.has(*truth));
        held.fold(Self::NONE, |all, truth| all.or(Self::of(to(truth))))
    }

    fn pairs(self, other: Self, to: impl Fn(Truth, Truth) -> Truth) -> Self {
        let held = Self::EACH.into_iter().filter(|truth| self.has(*truth));
        held.fold(Self::NONE, |all, truth| all.or(other.map(|other| to(other, truth))))
    }
}

/// What is known of the properties of an expression.
struct Range<'a> {
    columns: Vec<Statistics<'a>>,
    /// The values of one row, all missing but one.
    values: Vec<Option<&'a [u8]>>,
}

impl<'a> Range<'a> {
    fn column(&self, slot: Slot) -> Statistics<'a> {
        self.columns.get(usize::from(slot)).copied().unwrap_or_default()
    }

    /// Whether the property can be missing in a row, and whether it can be there.
    fn occurs(&self, slot: Slot) -> (bool, bool) {
        let column = self.column(slot);
        let can_be_empty = column.min.is_none_or(|min| min.bytes.is_empty());
        let missing = column.nulls != Some(0) || can_be_empty;
        let all_null = column.rows.is_some() && column.nulls >= column.rows;
        let all_empty = column.max.is_some_and(|max| max.exact && max.bytes.is_empty());
        (missing, !all_null && !all_empty)
    }

    /// The truths that a test can leave.
    fn test(&mut self, step: &Step) -> Truths {
        let slot = match (step, step.slots()) {
            (Step::Truth(truth), _) => return Truths::of(*truth),
            _ if step.takes_truths() => return Truths::ALL,
            (_, [Some(slot), None]) => slot,
            _ => return Truths::ALL,
        };
        let (missing, present) = self.occurs(slot);
        let mut truths = Truths::NONE;
        if missing {
            truths = truths.or(self.run_on(step, slot, None));
        }
        if present {
            let column = self.column(slot);
            let only = column.only().filter(|only| !only.is_empty());
            truths = truths.or(match only {
                Some(only) => self.run_on(step, slot, Some(only)),
                None => column.test(step),
            });
        }
        truths
    }

    /// What a step leaves for one value of its only slot.
    fn run_on(&mut self, step: &Step, slot: Slot, value: Option<&'a [u8]>) -> Truths {
        if let Some(place) = self.values.get_mut(usize::from(slot)) {
            *place = value;
        }
        step.run_alone(&self.values, Truth::Null, Truth::Null).map_or(Truths::NONE, Truths::of)
    }
}

impl<'a> Statistics<'a> {
    /// The text that all rows have that have one.
    fn only(&self) -> Option<&'a [u8]> {
        let (min, max) = (self.min?, self.max?);
        (min.exact && max.exact && min.bytes == max.bytes).then_some(max.bytes)
    }

    /// The truths that a test can leave of texts that are not empty.
    fn test(&self, step: &Step) -> Truths {
        match step {
            Step::IsText { negated, text, .. } => Truths::test(self.may_be(text)).negated_if(*negated),
            Step::Number { test, number, .. } => match (test, number) {
                _ if !self.may_be_number() => Truths::NONE,
                (Test::Equal, Value::Int(number)) => Truths::test(self.may_be_integer((*number).into())),
                (Test::Equal, Value::Long(number)) => Truths::test(self.may_be_integer(*number)),
                _ => Truths::test(true),
            },
            Step::IsMissing { negated, .. } => Truths::of(Truth::from(*negated)),
            Step::Condition { .. } => Truths::of(Truth::False),
            Step::In { negated, decides: true, list, .. } => {
                Truths::test(self.may_be_one_of(list)).negated_if(*negated)
            }
            Step::Find { find: Find::StartsWith, negated, decides: true, finder, .. } => {
                Truths::test(self.may_begin(finder.needle())).negated_if(*negated)
            }
            Step::Strict(step) => self.test_strict(step),
            _ => Truths::ALL,
        }
    }

    fn test_strict(&self, step: &StrictStep) -> Truths {
        match step {
            StrictStep::Number { .. } if self.may_be_number() => Truths::ALL,
            StrictStep::Number { .. } => Truths::of(Truth::Null),
            StrictStep::Text { test, text, .. } => self.test_text(*test, text),
            StrictStep::OneOf { numbers, texts, negated, .. } => {
                let texts = self.may_be_one_of(texts);
                match (numbers.is_empty(), self.may_be_number()) {
                    (true, _) => Truths::test(texts).negated_if(*negated),
                    (false, true) => Truths::ALL,
                    // What is no number and none of the texts is unknown.
                    (false, false) => {
                        Truths::of(Truth::Null).or(Truths::of(Truth::True).only_if(texts).negated_if(*negated))
                    }
                }
            }
            StrictStep::Like { pattern, negated, .. } => {
                Truths::test(self.may_begin(pattern.prefix())).negated_if(*negated)
            }
            StrictStep::Find { find: Find::StartsWith, finder, negated, .. } => {
                Truths::test(self.may_begin(finder.needle())).negated_if(*negated)
            }
            _ => Truths::ALL,
        }
    }

    /// A text against a literal, by the order of bytes.
    fn test_text(&self, test: Test, text: &[u8]) -> Truths {
        let may_be_less = self.min.is_none_or(|min| min.bytes < text);
        let may_be_greater = self.max.is_none_or(|max| max.bytes > text || !max.exact && text.starts_with(max.bytes));
        match test {
            Test::Equal => Truths::test(self.may_be(text)),
            Test::NotEqual => Truths::test(self.may_be(text)).map(Truth::negated),
            Test::Order(Order::Less) => Truths::test(may_be_less),
            Test::Order(Order::LessEqual) => Truths::test(may_be_less || self.may_be(text)),
            Test::Order(Order::Greater) => Truths::test(may_be_greater),
            Test::Order(Order::GreaterEqual) => Truths::test(may_be_greater || self.may_be(text)),
        }
    }

    /// Can a row have this very text?
    fn may_be(&self, text: &[u8]) -> bool {
        let above = self.min.is_none_or(|min| min.bytes <= text);
        above && self.reaches(text) && self.may_contain.is_none_or(|may_contain| may_contain(text))
    }

    /// Can a text be as great as this one?
    fn reaches(&self, text: &[u8]) -> bool {
        self.max.is_none_or(|max| text <= max.bytes || !max.exact && text.starts_with(max.bytes))
    }

    fn may_be_one_of(&self, list: &[Box<str>]) -> bool {
        list.iter().any(|text| self.may_be(text.as_bytes()))
    }

    /// Can a text begin like this?
    fn may_begin(&self, prefix: &[u8]) -> bool {
        self.reaches(prefix) && self.may_be_below_end(prefix)
    }

    /// Can a text be less than what follows all texts with this prefix?
    fn may_be_below_end(&self, prefix: &[u8]) -> bool {
        self.min.is_none_or(|min| min.bytes <= prefix || min.bytes.starts_with(prefix))
    }

    /// Can a text begin like this, and go on with a character that is not ASCII?
    fn may_go_on_foreign(&self, prefix: &[u8]) -> bool {
        self.reaches(&[prefix, &[0x80]].concat()) && self.may_be_below_end(prefix)
    }

    /// Can a text be a number of any kind? It would begin with a blank or a control character, a sign, a point, a digit
    /// (of any script), `NaN` or `Infinity`.
    fn may_be_number(&self) -> bool {
        let low = self.min.is_none_or(|min| min.bytes.first().is_none_or(|first| *first <= b'9'));
        low || self.may_begin(b"I") || self.may_begin(b"N") || self.may_go_on_foreign(b"")
    }

    /// Can a text be this integer, as Java's `parseLong` reads it?
    fn may_be_integer(&self, number: i64) -> bool {
        let digits = number.unsigned_abs().to_string();
        let signs: &[&str] = match number {
            1.. => &["", "+"],
            0 => &["", "+", "-"],
            ..0 => &["-"],
        };
        signs.iter().any(|sign| {
            let text = format!("{sign}{digits}");
            let zeros = self.may_begin(format!("{sign}0").as_bytes());
            let foreign = (sign.len()..text.len()).any(|length| self.may_go_on_foreign(&text.as_bytes()[..length]));
            zeros || foreign || self.may_be(text.as_bytes())
        })
    }
}
