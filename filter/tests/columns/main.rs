//! Columns give the verdicts that rows give, and statistics exclude no range that has a match.
//!
//! `STRATA_SEED` repeats a run.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(clippy::print_stdout, reason = "the seed and the counts are what a run says of itself")]
#![allow(clippy::disallowed_methods, reason = "a run is repeated by its seed, and any will do for a new one")]

mod generator;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arrow_array::types::Int32Type;
use arrow_array::{Array, ArrayRef, BinaryArray, BooleanArray, DictionaryArray, Int32Array, MapArray, StringArray};
use generator::{Message, NAMES, Random, column, expression, map, messages, stored};
use strata_filter::columns::{Bound, ColumnError, Columns, Statistics, evaluate, may_match};
use strata_filter::limits::COLUMN_MEMO_BYTES_MAX;
use strata_filter::sql::{Dialect, EvalError, Expression, Outcome};

const EXPRESSIONS: usize = 20_000;

fn random(test: &str) -> Random {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let seed = std::env::var("STRATA_SEED").map_or_else(|_| now(), |seed| seed.parse().unwrap());
    println!("{test}: again with STRATA_SEED={seed}");
    Random(seed)
}

/// An expression that compiles.
fn compiled(random: &mut Random) -> Expression {
    loop {
        let dialect = random.pick(&[Dialect::Sql92, Dialect::Strict]);
        let depth = random.below(5);
        let text = expression(random, dialect, depth);
        if let Ok(expression) = Expression::compile(dialect, &text) {
            return expression;
        }
    }
}

/// The verdicts of the row evaluator, and how many rows failed with each error.
fn by_rows(expression: &Expression, messages: &[Message]) -> (Vec<bool>, Vec<(EvalError, usize)>) {
    let mut failures: Vec<(EvalError, usize)> = Vec::new();
    let verdicts = messages.iter().map(|message| match expression.evaluate(&stored(message)) {
        Outcome::Error(error) => {
            match failures.iter_mut().find(|(known, _)| *known == error) {
                Some((_, count)) => *count += 1,
                None => failures.push((error, 1)),
            }
            false
        }
        Outcome::True => true,
        Outcome::False | Outcome::Null => false,
    });
    let verdicts = verdicts.collect();
    failures.sort_unstable_by_key(|(error, _)| (error.at, error.cause.name()));
    (verdicts, failures)
}

/// A batch in arrays: some properties in columns, the others in a map or as they are stored.
struct Batch {
    named: Vec<(&'static str, ArrayRef)>,
    map: MapArray,
    stored: BinaryArray,
    by_map: bool,
}

impl Batch {
    fn of(random: &mut Random, messages: &[Message]) -> Self {
        let mut named = Vec::new();
        for name in NAMES {
            if random.one_in(2) {
                named.push((name, column(random, messages, name)));
            }
        }
        let texts: Vec<_> = messages.iter().map(stored).collect();
        let by_map = random.one_in(2);
        Self { named, map: map(messages), stored: texts.iter().map(|text| Some(&text[..])).collect(), by_map }
    }

    /// The rows of a part, which need not begin where a word of bits begins.
    fn slice(&self, from: usize, rows: usize) -> Self {
        Self {
            named: self.named.iter().map(|(name, array)| (*name, array.slice(from, rows))).collect(),
            map: self.map.slice(from, rows),
            stored: self.stored.slice(from, rows),
            by_map: self.by_map,
        }
    }

    fn columns(&self) -> Columns<'_> {
        let mut columns = Columns::new(self.map.len());
        for (name, array) in &self.named {
            columns = columns.with_property(name, array).unwrap();
        }
        if self.by_map { columns.with_map(&self.map).unwrap() } else { columns.with_stored(&self.stored).unwrap() }
    }
}

#[test]
fn columns_give_the_verdicts_of_rows() {
    let mut random = random("columns");
    let (mut delivered, mut failed, mut all) = (0, 0, 0);
    for _ in 0..EXPRESSIONS / 20 {
        let count = random.pick(&[0, 1, 63, 64, 65, 200]);
        let messages = messages(&mut random, count);
        let batch = Batch::of(&mut random, &messages);
        let from = random.below(count + 1);
        let rows = random.below(count - from + 1);
        let part = batch.slice(from, rows);
        for _ in 0..20 {
            let expression = compiled(&mut random);
            for (batch, messages) in [(&batch, &messages[..]), (&part, &messages[from..from + rows])] {
                let (expected, failures) = by_rows(&expression, messages);
                let mut verdicts = evaluate(&expression, &batch.columns());
                let shown = || format!("{} {}", expression.dialect(), expression.text());
                let wrong = expected.iter().zip(&verdicts.delivered).position(|(row, column)| Some(*row) != column);
                assert_eq!(wrong.map(|row| &messages[row]), None, "{}", shown());
                assert_eq!(verdicts.delivered, BooleanArray::from(expected), "{}", shown());
                verdicts.failures.sort_unstable_by_key(|(error, _)| (error.at, error.cause.name()));
                assert_eq!(verdicts.failures, failures, "{}", shown());
                all += messages.len();
                delivered += verdicts.delivered.true_count();
                failed += failures.iter().map(|(_, rows)| rows).sum::<usize>();
            }
        }
    }
    println!("columns: {all} verdicts, {delivered} delivered, {failed} failed");
    assert!(delivered > all / 20 && failed > all / 50, "too few verdicts of a kind");
}

/// What is known of a range: sometimes less than all, and cut as Parquet cuts it.
struct Known {
    values: Vec<&'static str>,
    nulls: Option<u64>,
    min: Option<(Vec<u8>, bool)>,
    max: Option<(Vec<u8>, bool)>,
}

impl Known {
    fn of(random: &mut Random, messages: &[Message], name: &str) -> Self {
        let values: Vec<_> = messages.iter().filter_map(|message| message.get(name).copied()).collect();
        let nulls = (!random.one_in(5)).then_some((messages.len() - values.len()) as u64);
        let cut = random.below(4);
        let known = !random.one_in(5);
        let bound = |value: Option<&str>, raised: bool| {
            let bytes = value.filter(|_| known)?.as_bytes();
            if cut == 0 || bytes.len() <= cut {
                return Some((bytes.to_vec(), true));
            }
            let mut bytes = bytes[..cut].to_vec();
            if raised {
                *bytes.last_mut()? += 1;
            }
            Some((bytes, false))
        };
        let min = bound(values.iter().copied().min(), false);
        let max = bound(values.iter().copied().max(), random.one_in(2));
        Self { values, nulls, min, max }
    }
}

#[test]
fn no_range_with_a_match_is_pruned() {
    let mut random = random("pruning");
    let (mut pruned, mut empty) = (0, 0);
    for _ in 0..EXPRESSIONS {
        let count = 1 + random.below(6);
        let messages = messages(&mut random, count);
        let known: Vec<_> = NAMES.iter().map(|name| Known::of(&mut random, &messages, name)).collect();
        let members: Vec<_> =
            known.iter().map(|known| |text: &[u8]| known.values.iter().any(|value| value.as_bytes() == text)).collect();
        let asked = random.one_in(2);
        let rows = messages.len() as u64;
        let statistics = |name: &str| {
            let Some(nth) = NAMES.iter().position(|known| *known == name) else { return Statistics::default() };
            let Known { nulls, min, max, .. } = &known[nth];
            let bound = |bound| {
                let (bytes, exact): &(Vec<u8>, bool) = bound;
                Bound { bytes, exact: *exact }
            };
            Statistics {
                rows: Some(rows),
                nulls: *nulls,
                min: min.as_ref().map(bound),
                max: max.as_ref().map(bound),
                may_contain: asked.then_some(&members[nth] as &dyn Fn(&[u8]) -> bool),
            }
        };
        let expression = compiled(&mut random);
        let may = may_match(&expression, statistics);
        let matches = by_rows(&expression, &messages).0.contains(&true);
        assert!(may || !matches, "{} {}: {messages:?}", expression.dialect(), expression.text());
        empty += usize::from(!matches);
        pruned += usize::from(!may);
    }
    println!("pruning: {EXPRESSIONS} ranges, {empty} without a match, {pruned} of them pruned");
    assert!(pruned > empty / 3, "too few ranges are pruned");
}

/// What is known of ranges in which one column goes from `blue` to `green`, another from `100` to `250`.
#[test]
fn pruning_is_as_sharp_as_promised() {
    let members = |text: &[u8]| text == b"blue" || text == b"green";
    let statistics = |name: &str| {
        let exact = |bytes| Some(Bound { bytes, exact: true });
        let all = Statistics { rows: Some(10), nulls: Some(0), ..Statistics::default() };
        match name {
            "color" => Statistics { min: exact(b"blue"), max: exact(b"green"), may_contain: Some(&members), ..all },
            "id" => Statistics { min: exact(b"100"), max: exact(b"250"), ..all },
            "gone" => Statistics { nulls: Some(10), ..all },
            "some" => Statistics { nulls: Some(3), min: exact(b"x"), max: exact(b"x"), ..all },
            "cut" => Statistics { min: exact(b"ab"), max: Some(Bound { bytes: b"ac", exact: false }), ..all },
            _ => Statistics { rows: Some(10), ..Statistics::default() },
        }
    };
    for (text, may) in [
        ("color = 'blue'", true),
        ("color = 'red'", false),
        ("color = 'cyan'", false),
        ("color <> 'red'", true),
        ("color IN ('azure', 'red')", false),
        ("color IN ('red', 'green')", true),
        ("color IS NULL", false),
        ("color IS NOT NULL", true),
        ("color STARTSWITH 'gr'", true),
        ("color STARTSWITH 'h'", false),
        ("color STARTSWITH 'a'", false),
        ("color > 5", false),
        ("color CONTAINS 'z'", true),
        ("id = 150", true),
        ("id = 300", false),
        ("id = 99", false),
        ("id = -150", false),
        ("id > 9000", true),
        ("id = 300 OR color = 'blue'", true),
        ("id = 300 OR color = 'red'", false),
        ("color = 'blue' AND id = 300", false),
        ("NOT (color <> 'red')", false),
        ("gone IS NULL", true),
        ("gone = 'x' OR gone IS NOT NULL", false),
        ("some <> 'x'", false),
        ("some = 'x' AND some > 3", false),
        ("some IS NULL", true),
        ("cut = 'acz'", true),
        ("cut = 'ad'", false),
        ("unknown = 'x' AND unknown IS NULL", true),
        ("FALSE OR NULL", false),
    ] {
        let expression = Expression::compile(Dialect::Sql92, text).unwrap();
        assert_eq!(may_match(&expression, statistics), may, "{text}");
    }
    for (text, may) in [
        ("color LIKE 'g%'", true),
        ("color LIKE 'h%'", false),
        ("color < 'blue'", false),
        ("color >= 'green'", true),
        ("color > 'green'", false),
        ("color IN (5, 'red')", false),
        ("color > 5 IS UNKNOWN", true),
        ("id = 300", true),
    ] {
        let expression = Expression::compile(Dialect::Strict, text).unwrap();
        assert_eq!(may_match(&expression, statistics), may, "{text}");
    }
    let expression = Expression::compile(Dialect::Sql92, "TRUE OR a = 1").unwrap();
    assert!(!may_match(&expression, |_| Statistics { rows: Some(0), ..Statistics::default() }));
}

/// An integer can be written in many ways, of which none may be excluded.
#[test]
fn every_writing_of_a_number_is_found() {
    for (text, number) in [("+5", 5), ("005", 5), ("٥", 5), ("1٥", 15), ("-0", 0), ("-015", -15), ("-1٥", -15)] {
        let expression = Expression::compile(Dialect::Sql92, &format!("a = {number}")).unwrap();
        let bound = Some(Bound { bytes: text.as_bytes(), exact: false });
        let statistics = Statistics { rows: Some(2), nulls: Some(0), min: bound, max: bound, may_contain: None };
        assert_eq!(expression.evaluate_values(&[Some(text.as_bytes())]), Outcome::True, "{text}");
        assert!(may_match(&expression, |_| statistics), "{text}");
        let foreign = Some(Bound { bytes: b"x", exact: true });
        assert!(!may_match(&expression, |_| Statistics { min: foreign, max: foreign, ..statistics }), "{text}");
    }
}

/// More distinct texts and comparisons than results are kept for.
#[test]
fn dictionaries_of_any_size_give_the_verdicts_of_rows() {
    const TEXTS: usize = 60_000;
    const COMPARISONS: usize = COLUMN_MEMO_BYTES_MAX / TEXTS + 20;
    let texts: Vec<_> = (0..TEXTS).map(|nth| format!("v{nth}")).collect();
    let array: DictionaryArray<Int32Type> = texts.iter().map(String::as_str).collect();
    let text: Vec<_> = (0..COMPARISONS).map(|nth| format!("a = 'v{}' OR a ENDSWITH '77{nth}'", nth * 500)).collect();
    let expression = Expression::compile(Dialect::Sql92, &text.join(" OR ")).unwrap();
    let verdicts = evaluate(&expression, &Columns::new(TEXTS).with_property("a", &array).unwrap());
    let by_rows = texts.iter().map(|text| expression.evaluate_values(&[Some(text.as_bytes())]) == Outcome::True);
    assert_eq!(verdicts.delivered, by_rows.map(Some).collect::<BooleanArray>());
    assert!(verdicts.delivered.true_count() > COMPARISONS);
}

#[test]
fn columns_that_do_not_fit_are_refused_by_name() {
    let numbers: ArrayRef = Arc::new(Int32Array::from(vec![1]));
    let texts: ArrayRef = Arc::new(StringArray::from(vec!["x", "y"]));
    let found = Columns::new(1).with_property("a", &numbers).unwrap_err();
    assert_eq!(found, ColumnError::Type { column: "a".to_owned(), found: "Int32".to_owned() });
    let found = Columns::new(1).with_property("a", &texts).unwrap_err();
    assert_eq!(found, ColumnError::Rows { column: "a".to_owned(), rows: 2, expected: 1 });
}
