//! The parsed form of an expression: nodes in one vector, operands before the operators that use them.
//!
//! Owns no meaning: what the nodes of a dialect do with values is said where they are compiled and explained.

use super::refusal::Cause;
use super::strict::StrictKind;
use crate::limits::SQL_NODES_MAX;

/// A node's place in its tree.
pub(super) type NodeId = u32;

/// A property's place among the names that an expression uses.
pub(crate) type Slot = u16;

/// One of `<`, `<=`, `>`, `>=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

/// How a text is looked for in another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Find {
    Contains,
    StartsWith,
    EndsWith,
}

impl Find {
    /// Its operator.
    pub(super) const fn name(self, negated: bool) -> &'static str {
        match (self, negated) {
            (Self::Contains, false) => "CONTAINS",
            (Self::Contains, true) => "NOT CONTAINS",
            (Self::StartsWith, false) => "STARTSWITH",
            (Self::StartsWith, true) => "NOT STARTSWITH",
            (Self::EndsWith, false) => "ENDSWITH",
            (Self::EndsWith, true) => "NOT ENDSWITH",
        }
    }
}

impl Order {
    /// Its operator.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Less => "<",
            Self::LessEqual => "<=",
            Self::Greater => ">",
            Self::GreaterEqual => ">=",
        }
    }

    /// The order that holds of swapped sides.
    pub(super) const fn mirrored(self) -> Self {
        match self {
            Self::Less => Self::Greater,
            Self::LessEqual => Self::GreaterEqual,
            Self::Greater => Self::Less,
            Self::GreaterEqual => Self::LessEqual,
        }
    }
}

/// What a node is. Operands are places of nodes that stand before it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    Null,
    Bool(bool),
    Int(i32),
    Long(i64),
    Double(f64),
    Text(Box<str>),
    Property(Slot),
    Negate(NodeId),
    Not(NodeId),
    /// A property where a condition is needed.
    Condition(NodeId),
    And(NodeId, NodeId),
    Or(NodeId, NodeId),
    Equal {
        left: NodeId,
        right: NodeId,
        negated: bool,
    },
    Order {
        order: Order,
        left: NodeId,
        right: NodeId,
    },
    IsNull {
        operand: NodeId,
        negated: bool,
    },
    Find {
        find: Find,
        operand: NodeId,
        text: Box<str>,
        negated: bool,
    },
    /// The list is sorted and without repetitions.
    In {
        operand: NodeId,
        list: Box<[Box<str>]>,
        negated: bool,
    },
    Between {
        value: NodeId,
        low: NodeId,
        high: NodeId,
        negated: bool,
    },
    /// A node of the strict dialect.
    Strict(StrictKind),
}

/// A node and the bytes of the text that it takes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub kind: Kind,
    pub from: u32,
    pub to: u32,
    /// Where its operator stands; where it begins if it has none.
    pub at: u32,
}

/// The nodes of an expression; the last one is the whole.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Tree {
    nodes: Vec<Node>,
    names: Vec<Box<str>>,
    slots: std::collections::HashMap<Box<str>, Slot>,
}

impl Tree {
    /// Adds a node behind its operands.
    pub(super) fn add(&mut self, node: Node) -> Result<NodeId, Cause> {
        if self.nodes.len() >= SQL_NODES_MAX {
            return Err(Cause::TooManyNodes);
        }
        self.nodes.push(node);
        Ok(self.nodes.len() as NodeId - 1)
    }

    /// The place of `name` among the names, which it gets when it is new.
    pub(super) fn slot(&mut self, name: &str) -> Slot {
        if let Some(slot) = self.slots.get(name) {
            return *slot;
        }
        // A text of at most 16 KiB cannot hold 65,536 names.
        let slot = self.names.len() as Slot;
        self.names.push(name.into());
        self.slots.insert(name.into(), slot);
        slot
    }

    pub(super) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id as usize]
    }

    pub(super) fn kind(&self, id: NodeId) -> &Kind {
        &self.node(id).kind
    }

    /// Lets a node take the parentheses around it.
    pub(super) fn widen(&mut self, id: NodeId, from: usize, to: usize) {
        let node = &mut self.nodes[id as usize];
        (node.from, node.to) = (from as u32, to as u32);
    }

    pub(super) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The names of the properties, each once, in the order of their slots.
    pub(super) fn names(&self) -> &[Box<str>] {
        &self.names
    }
}
