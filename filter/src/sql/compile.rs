//! Turns a tree into steps.
//!
//! Comparisons look at properties and literals where they are, so only conditions need steps of their own. A minus sign
//! before anything but a number gives null; of its operand only a failure is left, which is why steps of a condition
//! below it are kept.

use memchr::memmem::Finder;

use super::java;
use super::program::{Constant, Operand, Program, Step};
use super::strict::{self, Lowered, StrictKind, Test};
use super::tree::{Kind, NodeId, Order, Slot, Tree};
use super::value::{Truth, Value};

/// What an operand of a comparison is.
enum Class {
    Slot(Slot),
    Constant(Constant),
    /// A condition.
    Condition(NodeId),
    /// Null, once the condition was evaluated without a failure.
    NullAfter(NodeId),
}

/// What is still to be done.
enum Task {
    Visit(NodeId),
    Compare {
        order: Order,
        left: NodeId,
        right: NodeId,
        at: u32,
    },
    Strict(StrictKind),
    Emit(Step),
    /// Emits a step whose target is known when its `Land` is reached.
    Branch(Step),
    Land,
}

#[derive(Default)]
struct Emitter {
    steps: Vec<Step>,
    tasks: Vec<Task>,
    branches: Vec<usize>,
    waiting: usize,
    waiting_max: usize,
}

/// Compiles the condition `root`.
pub(super) fn compile(tree: &Tree, root: NodeId) -> Program {
    let mut emitter = Emitter { tasks: vec![Task::Visit(root)], ..Emitter::default() };
    while let Some(task) = emitter.tasks.pop() {
        match task {
            Task::Visit(id) => emitter.visit(tree, id),
            Task::Compare { order, left, right, at } => {
                emitter.order(order, classify(tree, left), classify(tree, right), at);
            }
            Task::Strict(kind) => emitter.strict(tree, &kind),
            Task::Emit(step) => emitter.emit(step),
            Task::Branch(step) => {
                emitter.branches.push(emitter.steps.len());
                emitter.emit(step);
            }
            Task::Land => emitter.land(),
        }
    }
    thread_jumps(&mut emitter.steps);
    Program { steps: emitter.steps, waiting: emitter.waiting_max }
}

/// Lets a jump that ends at another one of its kind, which will be taken too, go where that one goes.
fn thread_jumps(steps: &mut [Step]) {
    for at in (0..steps.len()).rev() {
        let further = match &steps[at] {
            Step::AndThen { to } => match steps.get(*to as usize) {
                Some(Step::AndThen { to }) => Some(*to),
                _ => None,
            },
            Step::OrElse { to } => match steps.get(*to as usize) {
                Some(Step::OrElse { to }) => Some(*to),
                _ => None,
            },
            _ => None,
        };
        if let (Some(further), Step::AndThen { to } | Step::OrElse { to }) = (further, &mut steps[at]) {
            *to = further;
        }
    }
}

/// The class of a value; minus signs are followed down to what they stand before.
fn classify(tree: &Tree, mut id: NodeId) -> Class {
    let mut negations = 0_u32;
    while let Kind::Negate(operand) = tree.kind(id) {
        negations += 1;
        id = *operand;
    }
    let minus = |constant: Constant| match (negations % 2, constant) {
        (1, Constant::Int(value)) => Constant::Int(value.wrapping_neg()),
        (1, Constant::Long(value)) => Constant::Long(value.wrapping_neg()),
        (1, Constant::Double(value)) => Constant::Double(-value),
        (_, constant) => constant,
    };
    match tree.kind(id) {
        Kind::Int(value) => Class::Constant(minus(Constant::Int(*value))),
        Kind::Long(value) => Class::Constant(minus(Constant::Long(*value))),
        Kind::Double(value) => Class::Constant(minus(Constant::Double(*value))),
        Kind::Null => Class::Constant(Constant::Null),
        Kind::Bool(_) | Kind::Text(_) | Kind::Property(_) if negations > 0 => Class::Constant(Constant::Null),
        Kind::Bool(value) => Class::Constant(Constant::Bool(*value)),
        Kind::Text(text) => Class::Constant(Constant::Text(text.as_bytes().into())),
        Kind::Property(slot) => Class::Slot(*slot),
        _ if negations > 0 => Class::NullAfter(id),
        _ => Class::Condition(id),
    }
}

impl Emitter {
    fn emit(&mut self, step: Step) {
        match &step {
            Step::AndThen { .. } | Step::OrElse { .. } | Step::Wait => self.waiting += 1,
            Step::And | Step::Or | Step::Same { .. } => self.waiting -= 1,
            Step::Equal { left: Operand::Waiting, .. } => self.waiting -= 1,
            _ => {}
        }
        self.waiting_max = self.waiting_max.max(self.waiting);
        self.steps.push(step);
    }

    /// Lets the innermost branch jump here.
    fn land(&mut self) {
        let here = self.steps.len() as u32;
        let branch = self.branches.pop().and_then(|at| self.steps.get_mut(at));
        if let Some(Step::AndThen { to } | Step::OrElse { to } | Step::UnlessMissing { to, .. }) = branch {
            *to = here;
        }
    }

    /// Plans tasks that are done in the order in which they are given.
    fn plan<const N: usize>(&mut self, tasks: [Task; N]) {
        self.tasks.extend(tasks.into_iter().rev());
    }

    /// Plans the steps of a condition.
    fn visit(&mut self, tree: &Tree, id: NodeId) {
        let at = tree.node(id).at;
        match tree.kind(id) {
            Kind::Null => self.emit(Step::Truth(Truth::Null)),
            Kind::Bool(value) => self.emit(Step::Truth((*value).into())),
            Kind::Not(operand) => self.plan([Task::Visit(*operand), Task::Emit(Step::Not)]),
            Kind::And(left, right) => self.plan([
                Task::Visit(*left),
                Task::Branch(Step::AndThen { to: 0 }),
                Task::Visit(*right),
                Task::Emit(Step::And),
                Task::Land,
            ]),
            Kind::Or(left, right) => self.plan([
                Task::Visit(*left),
                Task::Branch(Step::OrElse { to: 0 }),
                Task::Visit(*right),
                Task::Emit(Step::Or),
                Task::Land,
            ]),
            Kind::Condition(operand) => {
                let Class::Slot(slot) = classify(tree, *operand) else { return };
                self.emit(Step::Condition { slot });
            }
            Kind::Equal { left, right, negated } => {
                self.equal(classify(tree, *left), classify(tree, *right), *negated, at);
            }
            Kind::Order { order, left, right } => self.order(*order, classify(tree, *left), classify(tree, *right), at),
            Kind::IsNull { operand, negated } => self.is_null(classify(tree, *operand), *negated),
            Kind::Find { find, operand, text, negated } => match classify(tree, *operand) {
                _ if text.is_empty() => self.emit(Step::Truth(Truth::False)),
                Class::Slot(slot) => {
                    let finder = Box::new(Finder::new(text.as_bytes()).into_owned());
                    let decides = java::decides(text);
                    self.emit(Step::Find { slot, find: *find, negated: *negated, decides, finder });
                }
                Class::Constant(Constant::Text(value)) => {
                    let finder = Finder::new(text.as_bytes());
                    let found = super::program::finds(*find, &finder, &value, true);
                    self.emit(Step::Truth(Truth::from(found != *negated)));
                }
                Class::Constant(_) => self.emit(Step::Truth(Truth::False)),
                Class::Condition(id) | Class::NullAfter(id) => self.after(id, Truth::False),
            },
            Kind::In { operand, list, negated } => {
                let Class::Slot(slot) = classify(tree, *operand) else { return };
                let decides = list.iter().all(|text| java::decides(text));
                self.emit(Step::In { slot, negated: *negated, decides, list: list.clone() });
            }
            Kind::Between { value, low, high, negated } => self.between(tree, (*value, *low, *high), *negated, at),
            Kind::Strict(kind) => self.strict(tree, kind),
            // A value that is no condition does not come here.
            Kind::Int(_) | Kind::Long(_) | Kind::Double(_) | Kind::Text(_) | Kind::Property(_) | Kind::Negate(_) => {}
        }
    }

    /// Plans the steps of a condition of the strict dialect.
    fn strict(&mut self, tree: &Tree, kind: &StrictKind) {
        match strict::lower(tree, kind) {
            Lowered::Truth(truth) => self.emit(Step::Truth(truth)),
            Lowered::Step(step) => self.emit(Step::Strict(Box::new(step))),
            Lowered::Both([first, second], negated) => {
                let side = |(test, left, right)| Task::Strict(StrictKind::Compare { test, left, right });
                self.tasks.extend(negated.then_some(Task::Emit(Step::Not)));
                self.plan([
                    side(first),
                    Task::Branch(Step::AndThen { to: 0 }),
                    side(second),
                    Task::Emit(Step::And),
                    Task::Land,
                ]);
            }
            Lowered::Same(left, right, negated) => self.plan([
                Task::Visit(left),
                Task::Emit(Step::Wait),
                Task::Visit(right),
                Task::Emit(Step::Same { negated }),
            ]),
            Lowered::Is(operand, truth, negated) => {
                self.plan([Task::Visit(operand), Task::Emit(Step::Is { truth, negated })]);
            }
        }
    }

    /// Evaluates a condition for its failures, then leaves `truth`.
    fn after(&mut self, id: NodeId, truth: Truth) {
        self.plan([Task::Visit(id), Task::Emit(Step::Truth(truth))]);
    }

    fn is_null(&mut self, operand: Class, negated: bool) {
        match operand {
            Class::Slot(slot) => self.emit(Step::IsMissing { slot, negated }),
            Class::Constant(constant) => {
                self.emit(Step::Truth(Truth::from((constant == Constant::Null) != negated)));
            }
            Class::Condition(id) => self.plan([Task::Visit(id), Task::Emit(Step::Is { truth: Truth::Null, negated })]),
            Class::NullAfter(id) => self.after(id, Truth::from(!negated)),
        }
    }

    fn equal(&mut self, left: Class, right: Class, negated: bool, at: u32) {
        let (left, right) = match (left, right) {
            (Class::Slot(slot), Class::Constant(constant)) => {
                return self.slot_equal(slot, constant, (negated, Truth::Null), at);
            }
            // Only the right side decides between unknown and false when it is missing.
            (Class::Constant(constant), Class::Slot(slot)) if constant != Constant::Null => {
                let missing = Truth::False.negated_if(negated);
                return match constant {
                    // A boolean literal on the left fails where one on the right does not.
                    Constant::Bool(_) => {
                        let (left, right) = (Operand::Constant(constant), Operand::Slot(slot));
                        self.emit(Step::Equal { left, right, negated, at });
                    }
                    constant => self.slot_equal(slot, constant, (negated, missing), at),
                };
            }
            sides => sides,
        };
        let right_has_steps = matches!(right, Class::Condition(_) | Class::NullAfter(_));
        let two_truths = right_has_steps && matches!(left, Class::Condition(_));
        let step = Step::Equal {
            left: if two_truths { Operand::Waiting } else { operand(&left) },
            right: operand(&right),
            negated,
            at,
        };
        let steps_of = |class: Class| match class {
            Class::Condition(id) | Class::NullAfter(id) => Some(Task::Visit(id)),
            Class::Slot(_) | Class::Constant(_) => None,
        };
        let mut tasks = Vec::with_capacity(4);
        tasks.extend(steps_of(left));
        if two_truths {
            tasks.push(Task::Emit(Step::Wait));
        }
        tasks.extend(steps_of(right));
        tasks.push(Task::Emit(step));
        self.tasks.extend(tasks.into_iter().rev());
    }

    /// A property against a literal that is not null; the second of `how` is the truth for a missing property.
    fn slot_equal(&mut self, slot: Slot, constant: Constant, how: (bool, Truth), at: u32) {
        let (negated, missing) = how;
        let test = if negated { Test::NotEqual } else { Test::Equal };
        let step = match constant {
            Constant::Text(text) if std::str::from_utf8(&text).is_ok_and(java::decides) => {
                Step::IsText { slot, negated, missing, text }
            }
            Constant::Int(value) => Step::Number { slot, test, missing, at, number: Value::Int(value) },
            Constant::Long(value) => Step::Number { slot, test, missing, at, number: Value::Long(value) },
            Constant::Double(value) => Step::Number { slot, test, missing, at, number: Value::Double(value) },
            constant => {
                let (left, right) = (Operand::Slot(slot), Operand::Constant(constant));
                let swapped = missing != Truth::Null;
                let (left, right) = if swapped { (right, left) } else { (left, right) };
                Step::Equal { left, right, negated, at }
            }
        };
        self.emit(step);
    }

    fn order(&mut self, order: Order, left: Class, right: Class, at: u32) {
        let unknown = Step::Truth(Truth::Null);
        match (left, right) {
            (Class::NullAfter(id) | Class::Condition(id), _) => self.after(id, Truth::Null),
            (Class::Constant(Constant::Null), _) => self.emit(unknown),
            (Class::Slot(slot), Class::NullAfter(id) | Class::Condition(id)) => self.plan([
                Task::Branch(Step::UnlessMissing { slot, to: 0 }),
                Task::Visit(id),
                Task::Emit(unknown),
                Task::Land,
            ]),
            (Class::Constant(_), Class::NullAfter(id) | Class::Condition(id)) => self.after(id, Truth::Null),
            (_, Class::Constant(Constant::Null)) => self.emit(unknown),
            (Class::Slot(slot), Class::Constant(constant)) => self.slot_order(order, slot, &constant, at),
            (Class::Constant(constant), Class::Slot(slot)) => self.slot_order(order.mirrored(), slot, &constant, at),
            (left, right) => {
                let (left, right) = (operand(&left), operand(&right));
                self.emit(Step::Order { left, right, order, at });
            }
        }
    }

    fn slot_order(&mut self, order: Order, slot: Slot, constant: &Constant, at: u32) {
        let number = match constant {
            Constant::Int(value) => Value::Int(*value),
            Constant::Long(value) => Value::Long(*value),
            Constant::Double(value) => Value::Double(*value),
            Constant::Null | Constant::Bool(_) | Constant::Text(_) => Value::Null,
        };
        self.emit(Step::Number { slot, test: Test::Order(order), missing: Truth::Null, at, number });
    }

    fn between(&mut self, tree: &Tree, (value, low, high): (NodeId, NodeId, NodeId), negated: bool, at: u32) {
        // What has steps of its own and is null is evaluated once, not once for each bound, which it never reaches.
        if let Class::NullAfter(id) | Class::Condition(id) = classify(tree, value) {
            return self.after(id, Truth::Null);
        }
        let side = |bound: NodeId, order: Order| Task::Compare { order, left: value, right: bound, at };
        if negated {
            self.plan([
                side(low, Order::Less),
                Task::Branch(Step::OrElse { to: 0 }),
                side(high, Order::Greater),
                Task::Emit(Step::Or),
                Task::Land,
            ]);
        } else {
            self.plan([
                side(low, Order::GreaterEqual),
                Task::Branch(Step::AndThen { to: 0 }),
                side(high, Order::LessEqual),
                Task::Emit(Step::And),
                Task::Land,
            ]);
        }
    }
}

/// Where a step finds an operand whose steps ran just before.
fn operand(class: &Class) -> Operand {
    match class {
        Class::Slot(slot) => Operand::Slot(*slot),
        Class::Constant(constant) => Operand::Constant(constant.clone()),
        Class::Condition(_) => Operand::Truth,
        Class::NullAfter(_) => Operand::Constant(Constant::Null),
    }
}
