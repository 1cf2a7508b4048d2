//! What the strict dialect means and what it refuses.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use strata_filter::sql::{Dialect, Expression, Outcome, explain};

fn stored(properties: &[(&str, &str)]) -> Vec<u8> {
    properties.iter().flat_map(|(name, value)| format!("{name}\x01{value}\x02").into_bytes()).collect()
}

#[track_caller]
fn check(text: &str, properties: &[(&str, &str)], expected: Outcome) {
    let expression = Expression::compile(Dialect::Strict, text).unwrap_or_else(|refusal| panic!("{text}: {refusal}"));
    let stored = stored(properties);
    assert_eq!(expression.evaluate(&stored), expected, "{text} with {properties:?}");
    assert_eq!(explain(&expression, &stored).outcome, expected, "{text} with {properties:?}, explained");
    assert_eq!(expression.ignored(), "");
}

fn holds(text: &str, properties: &[(&str, &str)]) {
    check(text, properties, Outcome::True);
}

fn fails(text: &str, properties: &[(&str, &str)]) {
    check(text, properties, Outcome::False);
}

fn unknown(text: &str, properties: &[(&str, &str)]) {
    check(text, properties, Outcome::Null);
}

#[test]
fn numbers_are_promoted_and_never_fail() {
    let a = [("a", "3.5")];
    holds("a > 3", &a);
    holds("a = 3.50 AND a <> 3 AND a != 3 AND a <= 35e-1", &a);
    holds("4 > a", &a);
    holds("a > 0.0 AND a > -0.0 AND a > - 1", &a);
    unknown("a > 3", &[("a", "abc")]);
    unknown("NOT (a > 3)", &[("a", "abc")]);
    unknown("a <> 3", &[]);
    holds("a > 3 OR b = 1", &[("a", "x"), ("b", "1")]);
    fails("a > 3 AND b = 1", &[("a", "x"), ("b", "2")]);
    holds("a = 9007199254740993", &[("a", "9007199254740993")]);
    fails("a = 9007199254740993", &[("a", "9007199254740992")]);
    holds("a = 1L", &[("a", " 1 ")]);
    holds("1 < 2", &[]);
}

#[test]
fn texts_and_properties_are_compared_as_they_are() {
    holds("a > '10'", &[("a", "9")]);
    holds("a = b", &[("a", "1"), ("b", "1.0")]);
    holds("a < b", &[("a", "9"), ("b", "10")]);
    holds("a < b", &[("a", "9"), ("b", "x")]);
    unknown("a = b", &[("a", "1")]);
    unknown("a <> b", &[("b", "1")]);
    holds("a BETWEEN 1 AND 2.5", &[("a", "2.2")]);
    holds("a BETWEEN 'b' AND 'd'", &[("a", "c")]);
    fails("a NOT BETWEEN 1 AND 5", &[("a", "3")]);
    holds("a NOT BETWEEN b AND 5", &[("a", "9")]);
    unknown("a BETWEEN 1 AND b", &[("a", "3")]);
    fails("a BETWEEN 5 AND 1", &[("a", "3")]);
    holds("'a''b' = 'a''b'", &[]);
}

#[test]
fn lists_take_numbers_and_texts() {
    holds("a IN (1, 2.0, -3)", &[("a", "2")]);
    holds("a IN (1, 'x')", &[("a", "x")]);
    unknown("a IN (1, 'x')", &[("a", "y")]);
    unknown("a NOT IN (1)", &[("a", "y")]);
    fails("a IN ('1.0')", &[("a", "1")]);
    holds("a NOT IN (1, 2)", &[("a", "3")]);
    unknown("a IN ('x')", &[]);
}

#[test]
fn patterns_are_matched() {
    holds("a LIKE 'x%'", &[("a", "xyz")]);
    fails("a LIKE 'X%'", &[("a", "xyz")]);
    holds("a NOT LIKE '_'", &[("a", "xyz")]);
    holds("a LIKE '50!%' ESCAPE '!'", &[("a", "50%")]);
    fails("a LIKE '50!%' ESCAPE '!'", &[("a", "500")]);
    unknown("a NOT LIKE 'x%'", &[]);
    holds("a CONTAINS 'b' AND a STARTSWITH 'a' AND a ENDSWITH 'c' AND a CONTAINS ''", &[("a", "abc")]);
    unknown("a NOT CONTAINS 'b'", &[]);
    holds("NOT a CONTAINS 'x'", &[("a", "abc")]);
}

#[test]
fn truth_has_three_values() {
    holds("vip", &[("vip", "TRUE")]);
    fails("vip", &[("vip", "false")]);
    unknown("vip", &[("vip", "yes")]);
    holds("NOT vip AND NOT a = 1", &[("vip", "False"), ("a", "2")]);
    holds("vip = TRUE AND TRUE = vip AND vip <> FALSE", &[("vip", "true")]);
    unknown("vip <> TRUE", &[]);
    holds("(a = 1) = (b = 1)", &[("a", "2"), ("b", "2")]);
    unknown("(a = 1) = (b = 1)", &[("a", "2")]);
    holds("a = 1 IS UNKNOWN AND (a = 1) IS NOT TRUE AND a IS NULL AND (a = 1) IS NULL", &[]);
    holds("NOT a IS NULL AND a IS NOT NULL", &[("a", "x")]);
    holds("vip IS FALSE OR vip IS NOT FALSE", &[]);
    holds("a IS NULL IS TRUE", &[]);
    holds("TRUE OR a = 1", &[]);
    holds("a = 1 OR b = 2 AND c = 3", &[("a", "1")]);
    fails("NOT (NOT FALSE)", &[]);
}

#[test]
fn quoted_names_are_any_names() {
    holds("\"my.prop\" = 1 AND \"and\" = 'x' AND \"a\"\"b\" = 'y'", &[("my.prop", "1"), ("and", "x"), ("a\"b", "y")]);
    holds("naïve = 1 AND $a_1 = 2 -- a comment", &[("naïve", "1"), ("$a_1", "2")]);
    holds("a /* here */ = 1", &[("a", "1")]);
    unknown("A = 1", &[("a", "1")]);
}

/// Each with the byte at which it is refused and words of the cause.
#[test]
fn all_else_is_refused_where_it_stands() {
    for (text, at, words) in [
        ("", 0, "empty"),
        ("  -- only", 9, "empty"),
        ("a = 1 foo", 6, "an operator or the end"),
        ("a = 1 )", 6, "an operator or the end"),
        ("a = 1;", 5, "an expression stands alone"),
        ("a == 1", 2, "write ="),
        ("a.b = 1", 1, "double quotes"),
        ("a = NULL", 4, "IS NULL"),
        ("a > 1 + 1", 6, "arithmetic"),
        ("a * 2 = 4", 2, "arithmetic"),
        ("a > -b", 5, "a number behind its sign"),
        ("upper(a) = 'X'", 0, "functions"),
        ("a ILIKE 'x'", 2, "ILIKE"),
        ("CASE WHEN a THEN b END", 0, "CASE"),
        ("a = 1 = 1", 6, "chain"),
        ("a > 1 > 0", 6, "chain"),
        ("5", 0, "not a condition"),
        ("a AND 5", 6, "not a condition"),
        ("NOT 'x'", 4, "not a condition"),
        ("1 = '1'", 2, "own kind"),
        ("TRUE = 1", 5, "own kind"),
        ("TRUE > FALSE", 5, "no order"),
        ("a = NOT b", 4, "a property, a literal"),
        ("5 LIKE 'x'", 2, "properties and texts"),
        ("a LIKE b", 7, "a pattern"),
        ("a LIKE 'x!y' ESCAPE '!'", 7, "escape character"),
        ("a LIKE 'x' ESCAPE '!!'", 18, "one character"),
        ("5 IN (1)", 2, "property on its left"),
        ("a IN ()", 6, "a number or a string"),
        ("a IN (NULL)", 6, "a number or a string"),
        ("a IN (b)", 6, "a number or a string"),
        ("a IN (1", 7, "`,` or `)`"),
        ("a BETWEEN 1", 11, "AND and the upper bound"),
        ("a IS 5", 5, "UNKNOWN"),
        ("(a = 1", 6, "`)`"),
        ("a = 'open", 4, ""),
        ("a = \"\"", 4, "no property"),
        ("\"a\u{1}b\" = 1", 0, "no property"),
        ("a > 1e999", 4, "too large"),
        ("a = 0x1F", 4, "not served"),
        ("a || b = 'x'", 2, "OR"),
        ("a = 1 AND é = \n 5 %", 19, "arithmetic"),
    ] {
        let refusal = Expression::compile(Dialect::Strict, text).expect_err(text);
        let shown = refusal.to_string();
        assert_eq!(refusal.at, at, "{text:?}: {shown}");
        assert!(shown.starts_with("SQL92_STRICT") && shown.contains(words), "{text:?}: {shown}");
    }
}
