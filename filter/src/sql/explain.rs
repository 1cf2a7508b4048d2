//! Why an expression says what it says of a message: every part of it with its value.
//!
//! Reads the tree, not the steps, so that each is a check of the other.

use super::program::{Values, finds, is_in};
use super::tree::{Kind, NodeId, Order, Slot, Tree};
use super::value::{self, Truth, Value};
use super::{EvalError, Expression, Outcome};

/// An explained expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation<'a> {
    /// The parts, each before its own parts; the first one is the whole.
    pub nodes: Vec<ExplainedNode<'a>>,
    /// What the expression says of the message.
    pub outcome: Outcome,
    /// The text that is not part of the expression; empty if all is.
    pub ignored: &'a str,
}

/// A part of an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExplainedNode<'a> {
    /// How deep it lies; the whole has 0. A part belongs to the nearest one before it that lies less deep.
    pub depth: usize,
    /// Its operator, or what kind of operand it is.
    pub name: &'static str,
    /// Its text, a piece of the expression.
    pub text: &'a str,
    /// Its value.
    pub value: ExplainedValue<'a>,
    /// Whether the evaluation came to it; what stands behind a decision is not evaluated, and cannot fail.
    pub reached: bool,
}

/// The value of a part of an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExplainedValue<'a> {
    /// Null, or a property that is missing.
    Null,
    /// A truth.
    Boolean(bool),
    /// A number, as Java would print it or nearly so.
    Number(String),
    /// A text, of a property or a literal.
    Text(std::borrow::Cow<'a, str>),
    /// The evaluation failed in this part.
    Failed(EvalError),
}

impl std::fmt::Display for ExplainedValue<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Null => f.write_str("NULL"),
            Self::Boolean(true) => f.write_str("TRUE"),
            Self::Boolean(false) => f.write_str("FALSE"),
            Self::Number(number) => f.write_str(number),
            Self::Text(text) => write!(f, "'{}'", text.replace('\'', "''")),
            Self::Failed(error) => write!(f, "failed: {error}"),
        }
    }
}

type Result<'a> = std::result::Result<Value<'a>, EvalError>;

/// Explains what `expression` says of these properties, which lie as in the log.
#[must_use]
pub fn explain<'a>(expression: &'a Expression, properties: &'a [u8]) -> Explanation<'a> {
    expression.with_values(properties, |values| explain_values(expression, values))
}

/// Explains what `expression` says of these values of its [`Expression::properties`].
#[must_use]
pub fn explain_values<'a>(expression: &'a Expression, values: &[Option<&'a [u8]>]) -> Explanation<'a> {
    let tree = expression.tree();
    let results = evaluate_all(tree, values);
    let result = |id: NodeId| &results[id as usize];
    let mut nodes = Vec::new();
    let mut open = vec![(expression.root(), 0, true)];
    while let Some((id, depth, reached)) = open.pop() {
        let kind = tree.kind(id);
        let mut below = Vec::new();
        operands(kind, &results, &mut below);
        open.extend(below.into_iter().rev().map(|(operand, needed)| (operand, depth + 1, reached && needed)));
        let node = tree.node(id);
        let text = expression.text().get(node.from as usize..node.to as usize).unwrap_or_default();
        nodes.push(ExplainedNode { depth, name: name(kind), text, value: shown(result(id)), reached });
    }
    let outcome = match result(expression.root()) {
        Ok(Value::Bool(true)) => Outcome::True,
        Ok(Value::Bool(false)) => Outcome::False,
        Ok(_) => Outcome::Null,
        Err(error) => Outcome::Error(*error),
    };
    Explanation { nodes, outcome, ignored: expression.ignored() }
}

fn shown<'a>(result: &Result<'a>) -> ExplainedValue<'a> {
    match result {
        Ok(Value::Null) => ExplainedValue::Null,
        Ok(Value::Bool(value)) => ExplainedValue::Boolean(*value),
        Ok(Value::Int(value)) => ExplainedValue::Number(value.to_string()),
        Ok(Value::Long(value)) => ExplainedValue::Number(value.to_string()),
        Ok(Value::Double(value)) => ExplainedValue::Number(format!("{value:?}")),
        Ok(Value::Text(text)) => ExplainedValue::Text(String::from_utf8_lossy(text)),
        Err(error) => ExplainedValue::Failed(*error),
    }
}

const fn name(kind: &Kind) -> &'static str {
    match kind {
        Kind::Null | Kind::Bool(_) | Kind::Int(_) | Kind::Long(_) | Kind::Double(_) | Kind::Text(_) => "literal",
        Kind::Property(_) => "property",
        Kind::Negate(_) => "-",
        Kind::Not(_) => "NOT",
        Kind::Condition(_) => "condition",
        Kind::And(..) => "AND",
        Kind::Or(..) => "OR",
        Kind::Equal { negated: false, .. } => "=",
        Kind::Equal { negated: true, .. } => "<>",
        Kind::Order { order, .. } => order.name(),
        Kind::IsNull { negated: false, .. } => "IS NULL",
        Kind::IsNull { negated: true, .. } => "IS NOT NULL",
        Kind::Find { find, negated, .. } => find.name(*negated),
        Kind::In { negated: false, .. } => "IN",
        Kind::In { negated: true, .. } => "NOT IN",
        Kind::Between { negated: false, .. } => "BETWEEN",
        Kind::Between { negated: true, .. } => "NOT BETWEEN",
        Kind::Strict(kind) => kind.name(),
    }
}

/// The values of all nodes. Operands stand before their operators, so that one pass finds them.
fn evaluate_all<'a>(tree: &'a Tree, values: &Values<'a>) -> Vec<Result<'a>> {
    let mut results: Vec<Result<'a>> = Vec::with_capacity(tree.nodes().len());
    for node in tree.nodes() {
        let fail = |cause| EvalError { at: node.at, cause };
        let result = |id: &NodeId| results[*id as usize];
        let value = match &node.kind {
            Kind::Null => Ok(Value::Null),
            Kind::Bool(value) => Ok(Value::Bool(*value)),
            Kind::Int(value) => Ok(Value::Int(*value)),
            Kind::Long(value) => Ok(Value::Long(*value)),
            Kind::Double(value) => Ok(Value::Double(*value)),
            Kind::Text(text) => Ok(Value::Text(text.as_bytes())),
            Kind::Property(slot) => Ok(property(values, *slot)),
            Kind::Negate(operand) => result(operand).map(Value::minus),
            Kind::Not(operand) => result(operand).map(|value| truth(value).negated().into()),
            Kind::Condition(operand) => result(operand).map(|value| match value {
                Value::Text(_) => Value::Bool(false),
                _ => Value::Null,
            }),
            Kind::And(left, right) => both(result(left), || result(right)),
            Kind::Or(left, right) => either(result(left), || result(right)),
            Kind::Equal { left, right, negated } => result(left).and_then(|left| {
                let equal = value::equal(left, result(right)?).map_err(fail)?;
                Ok(equal.negated_if(*negated).into())
            }),
            Kind::Order { order, left, right } => ordered(*order, result(left), result(right), node.at),
            Kind::IsNull { operand, negated } => {
                result(operand).map(|value| Value::Bool(matches!(value, Value::Null) != *negated))
            }
            Kind::Find { text, .. } if text.is_empty() => Ok(Value::Bool(false)),
            Kind::Find { find, operand, text, negated } => result(operand).map(|value| {
                let Value::Text(value) = value else { return Value::Bool(false) };
                let finder = memchr::memmem::Finder::new(text.as_bytes());
                Value::Bool(finds(*find, &finder, value, super::java::decides(text)) != *negated)
            }),
            Kind::In { operand, list, negated } => result(operand).map(|value| match value {
                Value::Text(value) => Value::Bool(is_in(list, value, false) != *negated),
                _ => Value::Null,
            }),
            Kind::Between { value, low, high, negated } => {
                let (first, second) = bounds(*negated);
                let second = || ordered(second, result(value), result(high), node.at);
                let first = ordered(first, result(value), result(low), node.at);
                if *negated { either(first, second) } else { both(first, second) }
            }
            Kind::Strict(kind) => {
                // Nothing fails in the strict dialect.
                Ok(kind.truth(tree, |id| results[id as usize].unwrap_or(Value::Null)).into())
            }
        };
        results.push(value);
    }
    results
}

/// The orders that BETWEEN asks of its lower and its upper bound.
const fn bounds(negated: bool) -> (Order, Order) {
    if negated { (Order::Less, Order::Greater) } else { (Order::GreaterEqual, Order::LessEqual) }
}

fn property<'a>(values: &Values<'a>, slot: Slot) -> Value<'a> {
    values.get(usize::from(slot)).copied().flatten().map_or(Value::Null, Value::Text)
}

const fn truth(value: Value<'_>) -> Truth {
    match value {
        Value::Bool(true) => Truth::True,
        Value::Bool(false) => Truth::False,
        _ => Truth::Null,
    }
}

fn both<'a>(left: Result<'a>, right: impl FnOnce() -> Result<'a>) -> Result<'a> {
    match truth(left?) {
        Truth::False => Ok(Value::Bool(false)),
        left => Ok(left.min(truth(right()?)).into()),
    }
}

fn either<'a>(left: Result<'a>, right: impl FnOnce() -> Result<'a>) -> Result<'a> {
    match truth(left?) {
        Truth::True => Ok(Value::Bool(true)),
        left => Ok(left.max(truth(right()?)).into()),
    }
}

fn ordered<'a>(order: Order, left: Result<'a>, right: Result<'a>, at: u32) -> Result<'a> {
    let left = left?;
    if matches!(left, Value::Null) {
        return Ok(Value::Null);
    }
    value::ordered(order, left, right?).map(Value::from).map_err(|cause| EvalError { at, cause })
}

/// The operands of a node and whether the evaluation comes to each, once it comes to the node.
fn operands(kind: &Kind, results: &[Result<'_>], found: &mut Vec<(NodeId, bool)>) {
    let result = |id: &NodeId| results[*id as usize];
    let is = |id: &NodeId, value: Value<'_>| result(id).is_ok_and(|found| found == value);
    match kind {
        Kind::Null
        | Kind::Bool(_)
        | Kind::Int(_)
        | Kind::Long(_)
        | Kind::Double(_)
        | Kind::Text(_)
        | Kind::Property(_) => {}
        Kind::Negate(operand) | Kind::Not(operand) | Kind::Condition(operand) => found.push((*operand, true)),
        Kind::IsNull { operand, .. } | Kind::In { operand, .. } => found.push((*operand, true)),
        Kind::Find { operand, text, .. } => found.push((*operand, !text.is_empty())),
        Kind::And(left, right) => {
            found.extend([(*left, true), (*right, result(left).is_ok() && !is(left, Value::Bool(false)))]);
        }
        Kind::Or(left, right) => {
            found.extend([(*left, true), (*right, result(left).is_ok() && !is(left, Value::Bool(true)))]);
        }
        Kind::Equal { left, right, .. } => found.extend([(*left, true), (*right, result(left).is_ok())]),
        Kind::Order { left, right, .. } => {
            found.extend([(*left, true), (*right, result(left).is_ok() && !is(left, Value::Null))]);
        }
        Kind::Between { value, low, high, negated } => {
            let low_needed = result(value).is_ok() && !is(value, Value::Null);
            let first = ordered(bounds(*negated).0, result(value), result(low), 0);
            // The first comparison decides when it is what ends AND or OR.
            let decided = first.is_ok_and(|first| first == Value::Bool(*negated));
            let high_needed = low_needed && first.is_ok() && !decided;
            found.extend([(*value, true), (*low, low_needed), (*high, high_needed)]);
        }
        Kind::Strict(kind) => found.extend(kind.operands().map(|operand| (operand, true))),
    }
}
