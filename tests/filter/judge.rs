//! Strata's verdicts on the questions that Apache is asked too.
//!
//! Owns the calls of `strata-filter`. A panic, or an explanation that says another thing than the evaluation, is a
//! verdict of its own, so that it is reported like any difference.

use std::panic::{AssertUnwindSafe, catch_unwind};

use strata_filter::sql::{Dialect, Expression, Outcome, explain};

use crate::question::{Stored, Verdict};

/// Who gives verdicts: one a properties text, or none when the expression is refused.
pub(crate) type Judge = fn(&str, &[Stored]) -> Option<Vec<Verdict>>;

/// Strata's verdicts.
pub(crate) fn strata(expression: &str, properties: &[Stored]) -> Option<Vec<Verdict>> {
    let judged = || {
        if !is_sound_when_strict(expression, properties) {
            return Some(vec![Verdict::Broken; properties.len()]);
        }
        let compiled = Expression::compile(Dialect::Sql92, expression).ok()?;
        Some(properties.iter().map(|stored| twice(&compiled, &stored.text)).collect())
    };
    catch_unwind(AssertUnwindSafe(judged)).unwrap_or_else(|_| Some(vec![Verdict::Broken; properties.len()]))
}

/// Whether the strict dialect, with which nothing can be compared, agrees with its own explanation. It may refuse.
fn is_sound_when_strict(expression: &str, properties: &[Stored]) -> bool {
    let Ok(compiled) = Expression::compile(Dialect::Strict, expression) else { return true };
    properties.iter().all(|stored| twice(&compiled, &stored.text) != Verdict::Broken)
}

/// The verdict, which the explanation for users must give too.
fn twice(compiled: &Expression, properties: &[u8]) -> Verdict {
    let outcome = compiled.evaluate(properties);
    if explain(compiled, properties).outcome == outcome { verdict(outcome) } else { Verdict::Broken }
}

fn verdict(outcome: Outcome) -> Verdict {
    match outcome {
        Outcome::True => Verdict::True,
        Outcome::False => Verdict::False,
        Outcome::Null => Verdict::Null,
        Outcome::Error(_) => Verdict::Error,
    }
}

/// Strata's verdicts with a fault planted in them: what is unknown is called false. The comparison must find it.
pub(crate) fn planted(expression: &str, properties: &[Stored]) -> Option<Vec<Verdict>> {
    let faulty = |verdict| if verdict == Verdict::Null { Verdict::False } else { verdict };
    Some(strata(expression, properties)?.into_iter().map(faulty).collect())
}

/// What Strata says to the user about an expression, for a report.
pub(crate) fn words(expression: &str, properties: &[u8]) -> String {
    let stored = crate::shrink::as_stored(properties);
    match catch_unwind(|| is_sound_when_strict(expression, &stored)) {
        Err(_) => return String::from("the strict dialect panics"),
        Ok(false) => return String::from("the strict dialect contradicts its explanation"),
        Ok(true) => {}
    }
    match catch_unwind(|| Expression::compile(Dialect::Sql92, expression)) {
        Err(_) => String::from("it panics"),
        Ok(Err(refusal)) => refusal.to_string(),
        Ok(Ok(compiled)) => match catch_unwind(AssertUnwindSafe(|| compiled.evaluate(properties))) {
            Err(_) => String::from("it panics"),
            Ok(outcome) => format!("{outcome:?}, explained as {:?}", explain(&compiled, properties).outcome),
        },
    }
}
