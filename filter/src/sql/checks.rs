//! What Apache RocketMQ checks while it parses: the ranges of literals, and which operands an operator takes.
//!
//! A constant is a literal, perhaps in parentheses or behind plus signs; behind a minus sign it is none any more, and
//! then is checked no more than a property.

use super::refusal::{Cause, quoted};
use super::tree::{Kind, NodeId, Order, Tree};

/// The kind of an integer literal: 32 bits if they hold it, whatever its suffix.
pub(super) fn integer(literal: &str) -> Result<Kind, Cause> {
    let digits = literal.trim_end_matches(['l', 'L']);
    match digits.parse::<i64>() {
        Ok(value) => Ok(i32::try_from(value).map_or(Kind::Long(value), Kind::Int)),
        Err(_) => Err(Cause::IntegerRange { literal: quoted(literal) }),
    }
}

/// The kind of a floating point literal, which must neither be zero nor infinite.
pub(super) fn float(literal: &str) -> Result<Kind, Cause> {
    match super::java::parse_double(literal.as_bytes()) {
        Some(value) if value > 0.0 && value.is_finite() => Ok(Kind::Double(value)),
        _ => Err(Cause::DoubleRange { literal: quoted(literal) }),
    }
}

/// Whether a node gives a truth value, so that it can be a condition as it is.
pub(super) const fn is_boolean(kind: &Kind) -> bool {
    match kind {
        Kind::Int(_) | Kind::Long(_) | Kind::Double(_) | Kind::Text(_) | Kind::Property(_) | Kind::Negate(_) => false,
        Kind::Null
        | Kind::Bool(_)
        | Kind::Not(_)
        | Kind::Condition(_)
        | Kind::And(..)
        | Kind::Or(..)
        | Kind::Equal { .. }
        | Kind::Order { .. }
        | Kind::IsNull { .. }
        | Kind::Find { .. }
        | Kind::In { .. }
        | Kind::Between { .. }
        | Kind::Strict(_) => true,
    }
}

const fn is_number(kind: &Kind) -> bool {
    matches!(kind, Kind::Int(_) | Kind::Long(_) | Kind::Double(_))
}

const fn is_constant(kind: &Kind) -> bool {
    is_number(kind) || matches!(kind, Kind::Null | Kind::Bool(_) | Kind::Text(_))
}

/// A node's text as messages show it.
pub(super) fn shown(tree: &Tree, text: &str, id: NodeId) -> String {
    let node = tree.node(id);
    quoted(&text[node.from as usize..node.to as usize])
}

/// Checks the operands of `<` and its like: no string, boolean or NULL literal, no condition.
pub(super) fn order(tree: &Tree, text: &str, order: Order, operands: (NodeId, NodeId)) -> Result<(), Cause> {
    comparable(tree, text, order.name(), &[operands.0, operands.1])
}

fn comparable(tree: &Tree, text: &str, operator: &'static str, operands: &[NodeId]) -> Result<(), Cause> {
    let refused = operands.iter().find(|id| {
        let kind = tree.kind(**id);
        (is_constant(kind) && !is_number(kind)) || is_boolean(kind)
    });
    refused.map_or(Ok(()), |id| {
        let operand = shown(tree, text, *id);
        Err(Cause::NotComparable { operand, operator, reason: "it takes numbers and properties" })
    })
}

/// Checks the operands of `=` and `<>`: no NULL literal, and no boolean literal before a literal of another type.
pub(super) fn equality(tree: &Tree, text: &str, negated: bool, operands: (NodeId, NodeId)) -> Result<(), Cause> {
    let operator = if negated { "<>" } else { "=" };
    let (left, right) = (tree.kind(operands.0), tree.kind(operands.1));
    let refuse = |id, reason| Err(Cause::NotComparable { operand: shown(tree, text, id), operator, reason });
    for (id, kind) in [(operands.0, left), (operands.1, right)] {
        if *kind == Kind::Null {
            return refuse(id, "write IS NULL or IS NOT NULL");
        }
    }
    if matches!(left, Kind::Bool(_)) && is_constant(right) && !matches!(right, Kind::Bool(_)) {
        return refuse(operands.0, "the literal on its right is no boolean");
    }
    Ok(())
}

/// Checks the operands of BETWEEN, and that bounds that are constants hold something between them.
pub(super) fn between(
    tree: &Tree,
    text: &str,
    (value, low, high): (NodeId, NodeId, NodeId),
    negated: bool,
) -> Result<(), Cause> {
    comparable(tree, text, if negated { "NOT BETWEEN" } else { "BETWEEN" }, &[value, low, high])?;
    if !negated && is_above(tree.kind(low), tree.kind(high)) {
        return Err(Cause::EmptyRange { low: shown(tree, text, low), high: shown(tree, text, high) });
    }
    Ok(())
}

/// Whether one number literal is above another, as Java compares them: an integer against a double is rounded to one.
fn is_above(low: &Kind, high: &Kind) -> bool {
    let integer = |kind: &Kind| match kind {
        Kind::Int(value) => Some(i64::from(*value)),
        Kind::Long(value) => Some(*value),
        _ => None,
    };
    let double = |kind: &Kind| match kind {
        Kind::Double(value) => Some(*value),
        other => integer(other).map(|value| value as f64),
    };
    match (integer(low), integer(high)) {
        (Some(low), Some(high)) => low > high,
        _ => double(low).zip(double(high)).is_some_and(|(low, high)| low > high),
    }
}
