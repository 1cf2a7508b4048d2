//! Verdicts of Apache RocketMQ's own filter classes, line by line: `apache-5.5.0.jsonl` says how they were executed.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;

use serde::Deserialize;
use strata_filter::sql::{Dialect, Expression, Outcome, explain_values};

#[derive(Deserialize)]
struct Vector {
    expr: String,
    properties: BTreeMap<String, String>,
    outcome: String,
}

fn vectors() -> Vec<Vector> {
    let lines = include_str!("apache-5.5.0.jsonl").lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

const fn name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::True => "TRUE",
        Outcome::False => "FALSE",
        Outcome::Null => "NULL",
        Outcome::Error(_) => "ERROR",
    }
}

#[test]
fn every_vector_gives_what_apache_gives() {
    let vectors = vectors();
    assert!(vectors.len() > 250, "only {} vectors were read", vectors.len());
    let mut wrong = Vec::new();
    for Vector { expr, properties, outcome } in &vectors {
        let found = match Expression::compile(Dialect::Sql92, expr) {
            Err(refusal) => {
                assert!(expr.is_char_boundary(refusal.at), "{expr:?}: {refusal}");
                "REFUSED"
            }
            Ok(expression) => {
                let values: Vec<_> = expression.properties().iter().map(|name| properties.get(&**name)).collect();
                let values: Vec<_> = values.iter().map(|value| value.map(String::as_bytes)).collect();
                let outcome = expression.evaluate_values(&values);
                assert_eq!(explain_values(&expression, &values).outcome, outcome, "{expr:?}");
                name(outcome)
            }
        };
        if found != outcome {
            wrong.push(format!("{expr:?} {properties:?}: Apache {outcome}, found {found}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// As they lie in the log, where an empty value is none.
#[test]
fn stored_properties_give_the_same() {
    let mut compared = 0;
    for Vector { expr, properties, .. } in &vectors() {
        let Ok(expression) = Expression::compile(Dialect::Sql92, expr) else { continue };
        let stored: String = properties.iter().map(|(name, value)| format!("{name}\x01{value}\x02")).collect();
        let values: Vec<_> = expression.properties().iter().map(|name| properties.get(&**name)).collect();
        let values: Vec<_> =
            values.iter().map(|value| value.map(String::as_bytes).filter(|value| !value.is_empty())).collect();
        assert_eq!(expression.evaluate(stored.as_bytes()), expression.evaluate_values(&values), "{expr:?}");
        compared += 1;
    }
    assert!(compared > 150, "only {compared} expressions compiled");
}
