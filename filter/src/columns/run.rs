//! Runs an expression's steps on a batch, 64 rows at a time.
//!
//! What a row's run holds in variables, a block's run holds in words: a truth is two bits, and a bit says whether the
//! row is at this step. A jump takes rows out until the step at which they land; a failure takes them out for good. So
//! a row takes the very path that it takes alone, and no step is run for rows that do not reach it.

use arrow_array::BooleanArray;
use arrow_buffer::{BooleanBuffer, Buffer};

use super::rest::Found;
use super::texts::{BLOCK, Column, each_bit, select};
use super::{Columns, Verdicts};
use crate::limits::COLUMN_MEMO_BYTES_MAX;
use crate::sql::{EvalError, Expression, Slot, Step, Truth, compare_text};

/// The truths of a block's rows. What is neither is false.
#[derive(Debug, Clone, Copy, Default)]
struct Truths {
    yes: u64,
    unknown: u64,
}

impl Truths {
    const fn of(truth: Truth) -> Self {
        match truth {
            Truth::False => Self { yes: 0, unknown: 0 },
            Truth::Null => Self { yes: 0, unknown: u64::MAX },
            Truth::True => Self { yes: u64::MAX, unknown: 0 },
        }
    }

    const fn no(self) -> u64 {
        !(self.yes | self.unknown)
    }

    /// These truths, but for some rows others.
    const fn with(self, rows: u64, other: Self) -> Self {
        Self { yes: (self.yes & !rows) | (other.yes & rows), unknown: (self.unknown & !rows) | (other.unknown & rows) }
    }

    const fn and(self, other: Self) -> Self {
        let yes = self.yes & other.yes;
        Self { yes, unknown: !(self.no() | other.no() | yes) }
    }

    const fn or(self, other: Self) -> Self {
        let yes = self.yes | other.yes;
        Self { yes, unknown: (self.unknown | other.unknown) & !yes }
    }

    const fn negated(self) -> Self {
        Self { yes: self.no(), unknown: self.unknown }
    }

    const fn same(self, other: Self, negated: bool) -> Self {
        let unknown = self.unknown | other.unknown;
        let differ = self.yes ^ other.yes;
        Self { yes: if negated { differ } else { !differ } & !unknown, unknown }
    }

    const fn is(self, truth: Truth, negated: bool) -> Self {
        let yes = match truth {
            Truth::False => self.no(),
            Truth::Null => self.unknown,
            Truth::True => self.yes,
        };
        Self { yes: if negated { !yes } else { yes }, unknown: 0 }
    }

    const fn at(self, bit: usize) -> Truth {
        match (self.yes >> bit & 1, self.unknown >> bit & 1) {
            (1, _) => Truth::True,
            (_, 1) => Truth::Null,
            _ => Truth::False,
        }
    }
}

/// What a test gave for a block's rows.
#[derive(Debug, Default)]
struct Tested {
    truths: Truths,
    failed: u64,
    error: Option<EvalError>,
}

impl Tested {
    #[inline]
    fn add(&mut self, rows: u64, result: Result<Truth, EvalError>) {
        match result {
            Ok(Truth::True) => self.truths.yes |= rows,
            Ok(Truth::Null) => self.truths.unknown |= rows,
            Ok(Truth::False) => {}
            Err(error) => {
                self.failed |= rows;
                self.error = Some(error);
            }
        }
    }
}

/// Where the values of a slot are.
#[derive(Clone, Copy)]
enum Source<'a, 'b> {
    Column(&'b Column<'a>),
    /// The place among the names that have no column.
    Rest(usize),
}

/// What a step gave for the distinct texts of a dictionary.
struct Memo {
    codes: Vec<Code>,
    error: Option<EvalError>,
}

/// A result of a step.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Code {
    Unseen,
    False,
    Null,
    True,
    Failed,
}

/// A step and what is kept for it.
struct Place<'b> {
    step: &'b Step,
    slots: [Option<Slot>; 2],
    /// Rows that jumped here.
    landed: u64,
    memo: Option<Memo>,
    error: Option<EvalError>,
    failed: usize,
}

/// The state of an evaluation.
struct Run<'a, 'b> {
    sources: Vec<Source<'a, 'b>>,
    found: Found<'a, 'b>,
    /// The values of the slots of one row, of which those are filled that a step looks at.
    values: Vec<Option<&'a [u8]>>,
    waiting: Vec<Truths>,
    memo_bytes_left: usize,
}

/// Evaluates an expression on each row.
pub(super) fn run(expression: &Expression, columns: &Columns<'_>) -> Verdicts {
    let program = expression.program();
    let mut without_column = Vec::new();
    let sources = expression.properties().iter().map(|name| match columns.column(name) {
        Some(column) => Source::Column(column),
        None => {
            without_column.push(name.clone());
            Source::Rest(without_column.len() - 1)
        }
    });
    let sources: Vec<_> = sources.collect();
    let mut run = Run {
        values: vec![None; sources.len()],
        sources,
        found: Found::new(&columns.rest, &without_column),
        waiting: Vec::with_capacity(program.waiting),
        memo_bytes_left: COLUMN_MEMO_BYTES_MAX,
    };
    let place = |step| Place { step, slots: Step::slots(step), landed: 0, memo: None, error: None, failed: 0 };
    let mut places: Vec<_> = program.steps.iter().map(place).collect();
    let mut words = Vec::with_capacity(columns.rows.div_ceil(BLOCK));
    for from in (0..columns.rows).step_by(BLOCK) {
        let rows = match columns.rows - from {
            left @ ..BLOCK => (1 << left) - 1,
            _ => u64::MAX,
        };
        words.push(run.block(&mut places, from, rows));
    }
    let delivered = BooleanBuffer::new(Buffer::from_vec(words), 0, columns.rows);
    Verdicts { delivered: BooleanArray::new(delivered, None), failures: failures(&places) }
}

/// The failures of all steps; the two comparisons of BETWEEN are told apart by nothing.
fn failures(places: &[Place<'_>]) -> Vec<(EvalError, usize)> {
    let mut all: Vec<(EvalError, usize)> = Vec::new();
    for place in places.iter().filter(|place| place.failed > 0) {
        match (place.error, all.last_mut()) {
            (Some(error), Some((known, rows))) if *known == error => *rows += place.failed,
            (Some(error), _) => all.push((error, place.failed)),
            (None, _) => {}
        }
    }
    all
}

impl<'a> Run<'a, '_> {
    /// Runs all steps on the rows of the block at `from`; those that match.
    fn block(&mut self, places: &mut [Place<'_>], from: usize, rows: u64) -> u64 {
        self.found.next_block();
        self.waiting.clear();
        let (mut truths, mut active, mut failed) = (Truths::of(Truth::Null), rows, 0);
        for at in 0..places.len() {
            let (step, landed) = {
                let place = &mut places[at];
                (place.step, std::mem::take(&mut place.landed))
            };
            active |= landed;
            match step {
                Step::AndThen { to } => {
                    active = jump(places, *to, active, truths.no());
                    self.waiting.push(truths);
                }
                Step::OrElse { to } => {
                    active = jump(places, *to, active, truths.yes);
                    self.waiting.push(truths);
                }
                Step::Wait => self.waiting.push(truths),
                Step::And => truths = truths.with(active, truths.and(self.waited())),
                Step::Or => truths = truths.with(active, truths.or(self.waited())),
                Step::Same { negated } => truths = truths.with(active, truths.same(self.waited(), *negated)),
                Step::Not => truths = truths.with(active, truths.negated()),
                Step::Is { truth, negated } => truths = truths.with(active, truths.is(*truth, *negated)),
                Step::Truth(truth) => truths = truths.with(active, Truths::of(*truth)),
                Step::UnlessMissing { slot, to } => {
                    let missing = active & !self.present(*slot, from, active);
                    truths = truths.with(missing, Truths::of(Truth::Null));
                    active = jump(places, *to, active, missing);
                }
                _ => {
                    let waited = if step.takes_waiting() { self.waited() } else { Truths::default() };
                    if active != 0 {
                        let tested = self.test(&mut places[at], (from, active), truths, waited);
                        truths = truths.with(active, tested.truths);
                        active &= !tested.failed;
                        failed |= tested.failed;
                    }
                }
            }
        }
        rows & truths.yes & !failed
    }

    /// The truths that waited last.
    fn waited(&mut self) -> Truths {
        self.waiting.pop().unwrap_or_default()
    }

    /// Those of `rows` that have a value for a slot.
    fn present(&mut self, slot: Slot, from: usize, rows: u64) -> u64 {
        match self.sources.get(usize::from(slot)) {
            Some(Source::Column(column)) => column.present(from) & rows,
            Some(Source::Rest(place)) => {
                self.found.search(from, rows);
                select(rows, |bit| self.found.value(bit, *place).is_some())
            }
            None => 0,
        }
    }

    /// Tests the rows that are at a step, and counts those that fail.
    fn test(&mut self, place: &mut Place<'_>, block: (usize, u64), truths: Truths, waited: Truths) -> Tested {
        let column = match place.slots {
            [Some(slot), None] if !place.step.takes_truths() => match self.sources.get(usize::from(slot)) {
                Some(Source::Column(column)) => Some(*column),
                Some(Source::Rest(_)) | None => None,
            },
            _ => None,
        };
        let tested = match column {
            Some(column) => self.test_column(place, column, block),
            None => self.test_rows(place, block, truths, waited),
        };
        if tested.failed != 0 {
            // A step has one error: its operator stands at one place and reads texts as one type.
            place.error = tested.error;
            place.failed += tested.failed.count_ones() as usize;
        }
        tested
    }

    /// Tests rows one by one, whatever the step looks at.
    fn test_rows(&mut self, place: &Place<'_>, block: (usize, u64), truths: Truths, waited: Truths) -> Tested {
        let (from, rows) = block;
        let slots = || place.slots.iter().flatten().map(|slot| usize::from(*slot));
        if slots().any(|slot| matches!(self.sources.get(slot), Some(Source::Rest(_)))) {
            self.found.search(from, rows);
        }
        let mut tested = Tested::default();
        each_bit(rows, |bit| {
            for slot in slots() {
                self.values[slot] = match self.sources[slot] {
                    Source::Column(column) => column.get(from + bit),
                    Source::Rest(place) => self.found.value(bit, place),
                };
            }
            tested.add(1 << bit, place.step.run_alone(&self.values, truths.at(bit), waited.at(bit)));
        });
        tested
    }

    /// Tests a step that looks at one column and at no truth.
    fn test_column(&mut self, place: &mut Place<'_>, column: &Column<'a>, (from, rows): (usize, u64)) -> Tested {
        let present = rows & column.present(from);
        let mut tested =
            if present == 0 { Tested::default() } else { self.test_present(place, column, (from, present)) };
        if present != rows {
            tested.add(rows & !present, self.run_on(place, None));
        }
        tested
    }

    /// [`Run::test_column`] of rows that have a text.
    fn test_present(&mut self, place: &mut Place<'_>, column: &Column<'a>, (from, rows): (usize, u64)) -> Tested {
        if let Some((keys, count)) = column.dictionary()
            && self.has_memo(place, count)
        {
            return self.test_dictionary(place, column, keys, (from, rows));
        }
        let mut tested = Tested::default();
        if let Some((text, negated)) = place.step.equality() {
            let equal = column.equal(from, rows, text);
            tested.truths.yes = if negated { rows & !equal } else { equal };
            return tested;
        }
        match place.step {
            Step::Number { test, at, number, .. } => column.each(from, rows, |bit, value| {
                let truth = compare_text(value, *number).map(|ordering| test.holds(ordering).into());
                tested.add(1 << bit, truth.map_err(|cause| EvalError { at: *at, cause }));
            }),
            Step::Strict(step) => {
                column.each(from, rows, |bit, value| tested.add(1 << bit, Ok(step.run(|_| Some(value)))));
            }
            _ => column.each(from, rows, |bit, value| tested.add(1 << bit, self.run_on(place, Some(value)))),
        }
        tested
    }

    /// Runs a step on a value of its only slot.
    #[inline]
    fn run_on(&mut self, place: &Place<'_>, value: Option<&'a [u8]>) -> Result<Truth, EvalError> {
        if let [Some(slot), None] = place.slots {
            self.values[usize::from(slot)] = value;
        }
        place.step.run_alone(&self.values, Truth::Null, Truth::Null)
    }

    /// Whether the step remembers what it gave for distinct texts; if not yet, it begins to where there is room.
    fn has_memo(&mut self, place: &mut Place<'_>, count: usize) -> bool {
        if place.memo.is_none() && count <= self.memo_bytes_left {
            self.memo_bytes_left -= count;
            place.memo = Some(Memo { codes: vec![Code::Unseen; count], error: None });
        }
        place.memo.is_some()
    }

    /// Tests rows by the places of their texts in a dictionary. Each distinct text is looked at once, and only if a row
    /// needs it.
    fn test_dictionary(
        &mut self,
        place: &mut Place<'_>,
        column: &Column<'a>,
        keys: &[i32],
        (from, rows): (usize, u64),
    ) -> Tested {
        let mut tested = Tested::default();
        let Some(mut memo) = place.memo.take() else { return tested };
        each_bit(rows, |bit| {
            let key = keys[from + bit] as usize;
            let code = &mut memo.codes[key];
            if *code == Code::Unseen {
                *code = match self.run_on(place, Some(column.distinct(key))) {
                    Ok(Truth::False) => Code::False,
                    Ok(Truth::Null) => Code::Null,
                    Ok(Truth::True) => Code::True,
                    Err(error) => {
                        memo.error = Some(error);
                        Code::Failed
                    }
                };
            }
            tested.truths.yes |= u64::from(*code == Code::True) << bit;
            tested.truths.unknown |= u64::from(*code == Code::Null) << bit;
            tested.failed |= u64::from(*code == Code::Failed) << bit;
        });
        tested.error = memo.error;
        place.memo = Some(memo);
        tested
    }
}

/// Lets those rows jump that are at this step and among `jumping`; those that stay.
fn jump(places: &mut [Place<'_>], to: u32, active: u64, jumping: u64) -> u64 {
    // Rows that jump behind the last step are done.
    if let Some(place) = places.get_mut(to as usize) {
        place.landed |= active & jumping;
    }
    active & !jumping
}
