//! What a statement's conditions say of where its messages are.
//!
//! Owns reading conditions as bounds. Whatever it does not understand is no bound: each row is looked at again by the
//! condition itself.
#![allow(clippy::wildcard_enum_match_arm, reason = "kinds that are added later bound nothing")]

use std::collections::BTreeSet;

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};
use datafusion::scalar::ScalarValue;
use strata_protocol::properties::{KEYS, TAGS};
use strata_tiering::cold::TableAsk;

/// The bounds of conditions that all have to hold.
pub(crate) fn wanted(conditions: &[Expr]) -> TableAsk {
    let mut ask = TableAsk::default();
    conditions.iter().for_each(|condition| narrow(&mut ask, condition));
    ask
}

/// Whether a condition is one that bounds something.
pub(crate) fn is_bound(condition: &Expr) -> bool {
    wanted(std::slice::from_ref(condition)) != TableAsk::default()
}

fn narrow(ask: &mut TableAsk, condition: &Expr) {
    match condition {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
            narrow(ask, left);
            narrow(ask, right);
        }
        Expr::BinaryExpr(BinaryExpr { op: Operator::Or, .. }) => {
            if let Some((of, texts)) = any_of(condition) {
                one_of(ask, of, texts);
            }
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match (of(left), literal(right)) {
            (Some(of), Some(value)) => compare(ask, of, *op, value),
            _ => {
                if let (Some(of), Some(value), Some(op)) = (of(right), literal(left), op.swap()) {
                    compare(ask, of, op, value);
                }
            }
        },
        Expr::Between(between) if !between.negated => {
            if let Some(of) = of(&between.expr) {
                for (op, bound) in [(Operator::GtEq, &between.low), (Operator::LtEq, &between.high)] {
                    if let Some(value) = literal(bound) {
                        compare(ask, of, op, value);
                    }
                }
            }
        }
        Expr::InList(list) if !list.negated => {
            let texts: Option<BTreeSet<String>> = list.list.iter().map(|item| text(literal(item)?)).collect();
            if let (Some(of), Some(texts)) = (of(&list.expr), texts) {
                one_of(ask, of, texts);
            }
        }
        Expr::ScalarFunction(call) if call.name() == "starts_with" => {
            if let [value, prefix] = call.args.as_slice()
                && column(value) == Some("topic")
                && let Some(prefix) = literal(prefix).and_then(text)
            {
                // Of several, one is bound enough.
                ask.topic_prefixes.get_or_insert_with(|| BTreeSet::from([prefix]));
            }
        }
        Expr::ScalarFunction(call) if matches!(call.name(), "array_has" | "list_contains" | "array_contains") => {
            if let [list, value] = call.args.as_slice()
                && column(list) == Some("keys")
                && let Some(text) = literal(value).and_then(text)
            {
                // A message may have many; of several conditions one is bound enough.
                ask.keys.get_or_insert_with(|| BTreeSet::from([text]));
            }
        }
        _ => {}
    }
}

/// What a condition is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of<'a> {
    Column(&'a str),
    Property(&'a str),
}

/// What an expression is, if conditions on it may bound something.
fn of(expression: &Expr) -> Option<Of<'_>> {
    if let Expr::ScalarFunction(call) = expression
        && call.name() == "get_field"
        && let [map, name] = call.args.as_slice()
        && column(map) == Some("properties")
    {
        return literal(name)?.try_as_str().flatten().map(Of::Property);
    }
    column(expression).map(Of::Column)
}

/// What `column = text OR column = text ..` is about, and the texts: what becomes of a short `IN`.
fn any_of(condition: &Expr) -> Option<(Of<'_>, BTreeSet<String>)> {
    let (mut known, mut texts, mut rest) = (None, BTreeSet::new(), vec![condition]);
    while let Some(part) = rest.pop() {
        let Expr::BinaryExpr(BinaryExpr { left, op, right }) = part else { return None };
        if *op == Operator::Or {
            rest.extend([&**left, &**right]);
            continue;
        }
        let (about, value) = of(left).zip(literal(right)).or_else(|| of(right).zip(literal(left)))?;
        if *op != Operator::Eq || known.is_some_and(|known| known != about) {
            return None;
        }
        known = Some(about);
        texts.insert(text(value)?);
    }
    known.map(|known| (known, texts))
}

/// The column that an expression is, also one of times that are made finer: `now()` tells nanoseconds.
fn column(expression: &Expr) -> Option<&str> {
    match expression {
        Expr::Column(column) => Some(column.name()),
        Expr::Cast(cast) if matches!(cast.field.data_type(), DataType::Timestamp(TimeUnit::Nanosecond, _)) => {
            column(&cast.expr).filter(|name| *name == "store_time")
        }
        _ => None,
    }
}

fn literal(expression: &Expr) -> Option<&ScalarValue> {
    match expression {
        Expr::Literal(value, _) if !value.is_null() => Some(value),
        _ => None,
    }
}

fn text(value: &ScalarValue) -> Option<String> {
    value.try_as_str().flatten().map(str::to_owned)
}

fn compare(ask: &mut TableAsk, of: Of<'_>, op: Operator, value: &ScalarValue) {
    if op == Operator::Eq
        && let Some(text) = text(value)
    {
        return one_of(ask, of, BTreeSet::from([text]));
    }
    let Of::Column(name) = of else { return };
    match name {
        "queue_id" => {
            if let ScalarValue::Int32(Some(number)) = value {
                let (low, high) = range(op, i64::from(*number));
                let low = i32::try_from(low).unwrap_or(if low < 0 { i32::MIN } else { i32::MAX });
                let high = i32::try_from(high).unwrap_or(if high < 0 { i32::MIN } else { i32::MAX });
                ask.queue_ids = low.max(*ask.queue_ids.start())..=high.min(*ask.queue_ids.end());
            }
        }
        "queue_offset" => {
            if let ScalarValue::Int64(Some(number)) = value {
                let (low, high) = range(op, *number);
                ask.queue_offsets = low.max(*ask.queue_offsets.start())..=high.min(*ask.queue_offsets.end());
            }
        }
        "log_offset" => {
            if let ScalarValue::Int64(Some(number)) = value {
                let (low, high) = range(op, *number);
                let end = high.saturating_add(1);
                ask.log_offsets = low.max(ask.log_offsets.start)..end.min(ask.log_offsets.end);
            }
        }
        "store_time" => {
            let micros = match value {
                ScalarValue::TimestampMicrosecond(micros, _) => *micros,
                ScalarValue::TimestampNanosecond(nanos, _) => nanos.map(|nanos| nanos.div_euclid(1_000)),
                _ => None,
            };
            if let Some(micros) = micros {
                // Of nanoseconds a part was cut: the microsecond itself may be meant.
                let op = match op {
                    Operator::Gt => Operator::GtEq,
                    Operator::Lt => Operator::LtEq,
                    other => other,
                };
                let (low, high) = range(op, micros);
                ask.store_times = low.max(*ask.store_times.start())..=high.min(*ask.store_times.end());
            }
        }
        _ => {}
    }
}

/// The numbers that a comparison leaves, the least and the greatest of them.
const fn range(op: Operator, number: i64) -> (i64, i64) {
    match op {
        Operator::Eq => (number, number),
        Operator::Gt => (number.saturating_add(1), i64::MAX),
        Operator::GtEq => (number, i64::MAX),
        Operator::Lt => (i64::MIN, number.saturating_sub(1)),
        Operator::LtEq => (i64::MIN, number),
        _ => (i64::MIN, i64::MAX),
    }
}

fn one_of(ask: &mut TableAsk, of: Of<'_>, texts: BTreeSet<String>) {
    match of {
        Of::Column("topic") => keep(&mut ask.topics, texts),
        Of::Column("msg_id") => keep(&mut ask.msg_ids, texts),
        Of::Column("tags") => property(ask, TAGS, texts),
        Of::Property(name) => property(ask, name, texts),
        Of::Column(_) => {}
    }
}

/// A bound of a property. An empty one is as good as none to some, and keys are in a column of another kind.
fn property(ask: &mut TableAsk, name: &str, texts: BTreeSet<String>) {
    if name == KEYS || texts.contains("") {
        return;
    }
    let mut known = ask.properties.remove(name);
    keep(&mut known, texts);
    ask.properties.extend(known.map(|texts| (name.to_owned(), texts)));
}

/// Of several conditions all have to hold.
fn keep(known: &mut Option<BTreeSet<String>>, texts: BTreeSet<String>) {
    *known = Some(match known.take() {
        None => texts,
        Some(before) => before.intersection(&texts).cloned().collect(),
    });
}

#[cfg(test)]
mod tests {
    use datafusion::functions::core::expr_fn::get_field;
    use datafusion::functions_nested::expr_fn::array_has;
    use datafusion::logical_expr::{col, lit};

    use super::*;

    fn texts(texts: &[&str]) -> Option<BTreeSet<String>> {
        Some(texts.iter().map(|text| (*text).to_owned()).collect())
    }

    #[test]
    fn conditions_that_must_hold_are_bounds() {
        let ask = wanted(&[
            col("topic").eq(lit("orders")).and(col("queue_id").lt(lit(3_i32))),
            lit(10_i64).lt_eq(col("queue_offset")),
            col("queue_offset").between(lit(5_i64), lit(20_i64)),
            col("msg_id").in_list(vec![lit("a"), lit("b")], false),
        ]);
        assert_eq!(ask.topics, texts(&["orders"]));
        assert_eq!(ask.queue_ids, i32::MIN..=2);
        assert_eq!(ask.queue_offsets, 10..=20);
        assert_eq!(ask.msg_ids, texts(&["a", "b"]));
    }

    #[test]
    fn one_of_a_few_is_a_bound_as_a_short_list_becomes_it() {
        let any = |column: &str| {
            let equal = |text: &str| col(column).eq(lit(text));
            equal("a").or(lit("b").eq(col(column))).or(equal("c"))
        };
        let ask = wanted(&[any("topic"), any("msg_id")]);
        assert_eq!((ask.topics, ask.msg_ids), (texts(&["a", "b", "c"]), texts(&["a", "b", "c"])));
        let mixed = col("topic").eq(lit("a")).or(col("msg_id").eq(lit("b")));
        let unequal = col("topic").eq(lit("a")).or(col("topic").not_eq(lit("b")));
        assert!(!is_bound(&mixed) && !is_bound(&unequal));
    }

    #[test]
    fn two_topics_at_once_are_none() {
        let ask = wanted(&[col("topic").eq(lit("a")), col("topic").eq(lit("b"))]);
        assert_eq!(ask.topics, texts(&[]));
    }

    #[test]
    fn bounds_are_as_they_are_written() {
        let ask = wanted(&[col("log_offset").lt(lit(7_000_i64)), col("queue_offset").gt(lit(5_i64))]);
        assert_eq!((ask.log_offsets, ask.queue_offsets), (i64::MIN..7_000, 6..=i64::MAX));
        let least = wanted(&[col("queue_id").lt(lit(i32::MIN)), col("queue_offset").lt(lit(i64::MIN))]);
        assert_eq!((least.queue_ids, least.queue_offsets), (i32::MIN..=i32::MIN, i64::MIN..=i64::MIN));
        let nanos = ScalarValue::TimestampNanosecond(Some(1_999), Some("UTC".into()));
        let after = wanted(&[col("store_time").gt(lit(nanos))]);
        assert_eq!(after.store_times, 1..=i64::MAX, "a part of the microsecond is behind it");
    }

    #[test]
    fn of_the_keys_of_a_message_each_may_be_another_one() {
        let has = |key: &str| array_has(col("keys"), lit(key));
        assert_eq!(wanted(&[has("a"), has("b")]).keys, texts(&["a"]));
    }

    #[test]
    fn properties_are_bounds_where_they_are_texts() {
        let property = |name: &str| get_field(col("properties"), name);
        let ask = wanted(&[
            property("color").eq(lit("red")).or(lit("blue").eq(property("color"))),
            col("tags").eq(lit("a")),
            property("TAGS").in_list(vec![lit("a"), lit("b")], false),
        ]);
        let bounds = [("color".to_owned(), texts(&["blue", "red"])), ("TAGS".to_owned(), texts(&["a"]))];
        assert_eq!(ask.properties, bounds.map(|(name, texts)| (name, texts.unwrap_or_default())).into());
        for condition in [
            property("color").eq(lit("")),
            property("color").not_eq(lit("red")),
            property("color").gt(lit("red")),
            property("KEYS").eq(lit("a")),
            get_field(col("keys"), "color").eq(lit("red")),
        ] {
            assert!(!is_bound(&condition), "{condition}");
        }
    }

    #[test]
    fn what_need_not_hold_is_no_bound() {
        for condition in [
            col("topic").eq(lit("a")).or(col("queue_id").eq(lit(1_i32))),
            col("topic").not_eq(lit("a")),
            col("topic").in_list(vec![lit("a")], true),
            col("topic").gt(lit("a")),
            col("body_text").eq(lit("a")),
            col("topic").eq(col("tags")),
        ] {
            assert!(!is_bound(&condition), "{condition}");
        }
    }
}
