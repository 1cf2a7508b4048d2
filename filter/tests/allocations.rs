//! Evaluating a message allocates nothing, whatever the expression.

use strata_filter::sql::{Dialect, Expression, Outcome};

#[test]
fn a_message_costs_no_allocation() {
    let properties =
        "KEYS\x01k\x02color\x01blue\x02price\x01950\x02a\x01٥\x02b\x01x y\x02c\x01true\x02d\x01\u{FFFD}\x02";
    let counted = allocation_counter::measure(|| drop(std::hint::black_box(vec![1_u8])));
    assert_eq!(counted.count_total, 1, "allocations are not counted");
    let deep = format!("{}color = 'blue'{}", "price > 1 AND (".repeat(256), ")".repeat(256));
    for (dialect, text) in [
        (Dialect::Sql92, "color='blue' AND price>900"),
        (Dialect::Sql92, "a = 5 AND price BETWEEN 1.5 AND 1e3 AND (color = 'blue') = TRUE"),
        (Dialect::Sql92, "b CONTAINS ' ' AND color IN ('red', 'blue') AND NOT (missing IS NOT NULL) AND d <> 'x'"),
        (Dialect::Sql92, "KEYS = 'k' AND color <> a AND price >= a OR b <> c OR d = missing"),
        (Dialect::Sql92, &deep),
        (Dialect::Strict, "color LIKE 'b%e' AND price IN (950, 'x') AND c AND (c = TRUE) IS NOT UNKNOWN AND b = 'x y'"),
        (Dialect::Strict, &deep),
    ] {
        let expression = Expression::compile(dialect, text).unwrap();
        let mut outcome = Outcome::Null;
        let counted = allocation_counter::measure(|| outcome = expression.evaluate(properties.as_bytes()));
        assert_eq!(counted.count_total, 0, "{text} allocated");
        assert!(!matches!(outcome, Outcome::False | Outcome::Null), "{text}: {outcome:?}");
    }
}
