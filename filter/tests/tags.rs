//! What an expression says of a message's tag alone: never no to one that it is true of.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use proptest::prelude::*;
use strata_filter::sql::{Dialect, Expression, Outcome};
use strata_protocol::hash::tags_code;
use strata_protocol::properties::IndexTerms;

fn compile(dialect: Dialect, text: &str) -> Expression {
    Expression::compile(dialect, text).unwrap()
}

/// The code that the log's index has of a message with these properties.
fn indexed(properties: &str) -> i64 {
    tags_code(IndexTerms::of(properties.as_bytes()).tags)
}

#[test]
fn messages_of_other_tags_are_passed_unseen() {
    let both = &[Dialect::Sql92, Dialect::Strict][..];
    let (sql92, strict) = (&both[..1], &both[1..]);
    for (dialects, text, may) in [
        (both, "TAGS = 'a'", [true, false, false]),
        (both, "price > 10 AND ('a' = TAGS) AND TRUE", [true, false, false]),
        (both, "TAGS IN ('a', 'b') AND color = 'blue'", [true, true, false]),
        (both, "TAGS = 'a' AND x = 1 OR TAGS = 'b'", [true, true, false]),
        (both, "TAGS = 'a' AND TAGS IN ('a', 'b')", [true, false, false]),
        (both, "TAGS = 'a' OR x = 1", [true, true, true]),
        (both, "NOT (TAGS = 'a')", [true, true, true]),
        (both, "TAGS <> 'a'", [true, true, true]),
        (both, "TAGS NOT IN ('a')", [true, true, true]),
        (both, "tags = 'a'", [true, true, true]),
        (both, "TAGS = 'a\u{fffd}'", [true, true, true]),
        (both, "TAGS = x", [true, true, true]),
        (strict, "TAGS = 'a' AND TAGS IS NOT NULL", [true, false, false]),
        (strict, "\"TAGS\" IN ('a', 'b')", [true, true, false]),
        (strict, "TAGS IN ('a', 1)", [true, true, true]),
        (strict, "TAGS = 1", [true, true, true]),
        (strict, "TAGS >= 'a'", [true, true, true]),
        (strict, "TAGS LIKE 'a'", [true, true, true]),
        (sql92, "TAGS = 'a' trailing", [true, false, false]),
    ] {
        for dialect in dialects {
            let expression = compile(*dialect, text);
            let found = ["a", "b", "c"].map(|tag| expression.may_have_code(tags_code(Some(tag))));
            assert_eq!(found, may, "{dialect}: {text}");
            assert_eq!(expression.may_have_code(0), may[2], "{dialect}: {text}, no tag");
        }
    }
}

fn atom() -> impl Strategy<Value = String> {
    let atoms = [
        "TAGS = 'a'",
        "'b' = TAGS",
        "TAGS IN ('a', 'c')",
        "TAGS NOT IN ('a')",
        "TAGS <> 'b'",
        "TAGS IS NULL",
        "TAGS = ''",
        "x = 1",
        "x > 2.0",
        "x = TAGS",
        "TAGS IN ('a', 1)",
        "TAGS LIKE 'a'",
        "\"TAGS\" = 'b'",
        "TRUE",
        "FALSE",
    ];
    proptest::sample::select(atoms.to_vec()).prop_map(String::from)
}

fn expression() -> impl Strategy<Value = String> {
    atom().prop_recursive(5, 24, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) AND ({b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a} OR {b}")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) = ({b})")),
            inner.prop_map(|a| format!("NOT ({a})")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5_000))]

    #[test]
    fn who_would_get_it_is_not_passed(
        text in expression(),
        tags in proptest::collection::vec(proptest::sample::select(vec!["", "a", "b", "c"]), 0..3),
        x in proptest::sample::select(vec!["", "1", "3", "a", "abc"]),
    ) {
        let mut properties: String = tags.iter().map(|tag| format!("TAGS\x01{tag}\x02")).collect();
        properties.push_str(&format!("x\x01{x}\x02"));
        for dialect in [Dialect::Sql92, Dialect::Strict] {
            let Ok(expression) = Expression::compile(dialect, &text) else { continue };
            if expression.evaluate(properties.as_bytes()) == Outcome::True {
                prop_assert!(expression.may_have_code(indexed(&properties)), "{dialect}: {text} on {properties:?}");
            }
        }
    }
}
