//! Input that means harm: no text and no properties make a filter panic, overflow a small stack, or take long.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use strata_filter::limits::{EXPRESSION_BYTES_MAX, SQL_LEVELS_MAX, SQL_STRICT_LEVELS_MAX};
use strata_filter::sql::{Cause, Dialect, Expression, Outcome, explain};

const DIALECTS: [Dialect; 2] = [Dialect::Sql92, Dialect::Strict];
/// A sixteenth of what a thread has by default; parsers that recurse overflow it at a few hundred levels.
const STACK_BYTES: usize = 128 * 1024;
/// A text of the greatest size compiles within 10 ms; the rest is for machines that are slow or busy.
const PATIENCE: Duration = Duration::from_millis(500);

fn on_a_small_stack<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    std::thread::Builder::new().stack_size(STACK_BYTES).spawn(work).unwrap().join().unwrap()
}

/// Compiles, evaluates and explains; whether it compiled.
fn try_out(dialect: Dialect, text: &str, properties: &[u8]) -> bool {
    match Expression::compile(dialect, text) {
        Ok(expression) => {
            let outcome = expression.evaluate(properties);
            assert_eq!(explain(&expression, properties).outcome, outcome, "{dialect} {text:?}");
            assert!(text.contains(expression.ignored()));
            true
        }
        Err(refusal) => {
            assert!(refusal.at <= text.len() && !refusal.to_string().is_empty(), "{refusal:?}");
            false
        }
    }
}

/// Repeats `unit` until the text is as long as it may be.
fn filled(start: &str, unit: &str, end: &str) -> String {
    let times = (EXPRESSION_BYTES_MAX - start.len() - end.len()) / unit.len();
    format!("{start}{}{end}", unit.repeat(times))
}

#[test]
fn the_longest_texts_of_every_shape_are_quick_on_a_small_stack() {
    let many_names: String = (0..2_400).map(|n| format!("n{n}=")).collect();
    let shapes = [
        filled("", "(", ""),
        filled("", "NOT ", "a"),
        filled("", "- ", "a"),
        filled("a = ", "-", "1"),
        filled("a = ", "+", "1"),
        filled("a=1", " AND a=1", ""),
        filled("a=1", " OR a=1", ""),
        filled("a", "=a", ""),
        filled("a IN (''", ",''", ")"),
        filled("a IN ('x'", ",'y'", ")"),
        filled("a IN (1", ",1", ")"),
        filled("a = '", "''", "'"),
        filled("a = '", "''", ""),
        filled("a = 1 /*", "*", ""),
        filled("a = 1 ", "/**/", ""),
        filled("a LIKE '", "%", "'"),
        filled("a LIKE '", "%a_", "'"),
        filled("a", " IS NULL", ""),
        filled("", "a BETWEEN 1 AND 2 AND ", "a = 1"),
        filled("", "-(", ""),
        format!("{}a BETWEEN 1 AND 2{}", "-(".repeat(200), ") BETWEEN 1 AND 2".repeat(200)),
        format!("{many_names}n0"),
    ];
    for text in shapes {
        for dialect in DIALECTS {
            let text = text.clone();
            let properties = "a\x01x\x02".repeat(8_000).into_bytes();
            let took = on_a_small_stack(move || {
                let start = Instant::now();
                try_out(dialect, &text, &properties);
                (start.elapsed(), text)
            });
            assert!(took.0 < PATIENCE, "{dialect} {:?}...: {:?}", &took.1[..20], took.0);
        }
    }
}

#[test]
fn what_is_nested_as_deep_as_allowed_compiles_and_one_more_is_refused() {
    for (dialect, depth) in [(Dialect::Sql92, SQL_LEVELS_MAX), (Dialect::Strict, SQL_STRICT_LEVELS_MAX)] {
        assert!(depth >= 256);
        on_a_small_stack(move || {
            let nested = |depth: usize| format!("{}a = 1{}", "(".repeat(depth), ")".repeat(depth));
            let expression = Expression::compile(dialect, &nested(depth)).unwrap();
            assert_eq!(expression.evaluate(b"a\x011\x02"), Outcome::True);
            assert!(Expression::compile(dialect, &nested(depth + 1)).is_err());
            // Every level lets an OR and an AND wait for what is within.
            let waiting = |depth: usize| format!("{}b = 1{}", "a = 2 OR a = 1 AND (".repeat(depth), ")".repeat(depth));
            let expression = Expression::compile(dialect, &waiting(depth)).unwrap();
            assert_eq!(expression.evaluate(b"a\x011\x02b\x011\x02"), Outcome::True);
            assert_eq!(expression.evaluate(b"a\x011\x02b\x012\x02"), Outcome::False);
            assert_eq!(expression.evaluate(b"a\x011\x02"), Outcome::Null);
            assert_eq!(explain(&expression, b"a\x011\x02").outcome, Outcome::Null);
        });
    }
}

#[test]
fn texts_beyond_the_bound_are_refused_at_once() {
    for dialect in DIALECTS {
        let refusal = Expression::compile(dialect, &"a".repeat(EXPRESSION_BYTES_MAX + 1)).unwrap_err();
        assert_eq!(refusal.cause, Cause::TooLong { bytes: EXPRESSION_BYTES_MAX + 1 });
    }
}

#[test]
fn patterns_and_searches_that_nearly_match_everywhere_are_quick() {
    let value = format!("a\x01{}\x02", "a".repeat(32_000));
    for text in [
        format!("a LIKE '%{}b%'", "a".repeat(16_000)),
        format!("a LIKE '%{}_b%'", "a".repeat(60)),
        format!("a LIKE '{}b'", "%a_a".repeat(4_000)),
        format!("a CONTAINS '{}b'", "a".repeat(16_000)),
    ] {
        let expression = Expression::compile(Dialect::Strict, &text).unwrap();
        let start = Instant::now();
        assert_eq!(expression.evaluate(value.as_bytes()), Outcome::False);
        assert!(start.elapsed() < PATIENCE, "{}...: {:?}", &text[..20], start.elapsed());
    }
}

fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "a",
        "b",
        " ",
        "=",
        "<>",
        "!=",
        "<",
        ">=",
        "(",
        ")",
        ",",
        "'",
        "''",
        "'x'",
        "1",
        "2.5",
        "0.0",
        "1e9",
        "-",
        "+",
        "--",
        "\n",
        "/*",
        "*/",
        " AND ",
        " OR ",
        " NOT ",
        " IN ",
        " IS ",
        "NULL",
        "TRUE",
        "FALSE",
        " BETWEEN ",
        " LIKE ",
        " ESCAPE ",
        " CONTAINS ",
        " UNKNOWN",
        "\"",
        "\"q\"",
        ".",
        ";",
        "é",
        "\u{FFFD}",
        "$",
        "%",
        "_",
        "\0",
    ]);
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn pieces_of_expressions_are_survived(text in pieces(), properties in prop::collection::vec(any::<u8>(), 0..60)) {
        for dialect in DIALECTS {
            try_out(dialect, &text, &properties);
        }
    }

    #[test]
    fn any_text_is_survived(text in ".{0,60}", properties in prop::collection::vec(0_u8..8, 0..60)) {
        for dialect in DIALECTS {
            try_out(dialect, &text, &properties);
        }
    }
}
