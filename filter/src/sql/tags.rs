//! Which tags a message must have for an expression to be true, as hash codes: the log's index has those, so that a
//! message without one of them is passed without a look at its record.
//!
//! Owns what follows from the tree. It never says no to a message that is delivered.

use strata_protocol::hash::java_hash;
use strata_protocol::properties::TAGS;

use super::strict::{StrictKind, Test};
use super::tree::{Kind, NodeId, Tree};

/// What a value that is not UTF-8 is compared as; the index does not have its code.
const REPLACEMENT: char = char::REPLACEMENT_CHARACTER;

/// The codes of which a message must have one, sorted; `None` when others can match as well.
pub(super) fn required(tree: &Tree, root: NodeId) -> Option<Box<[i32]>> {
    // Operands stand before their operators, so one pass knows them all.
    let mut needs: Vec<Option<Vec<i32>>> = Vec::with_capacity(tree.nodes().len());
    for node in tree.nodes() {
        let need = if let Kind::And(left, right) = node.kind {
            both(take(&mut needs, left), take(&mut needs, right))
        } else if let Kind::Or(left, right) = node.kind {
            either(take(&mut needs, left), take(&mut needs, right))
        } else {
            compared(tree, &node.kind)
        };
        needs.push(need);
    }
    take(&mut needs, root).map(Vec::into_boxed_slice)
}

/// The codes that a comparison of a property with texts needs.
fn compared(tree: &Tree, kind: &Kind) -> Option<Vec<i32>> {
    if let Kind::In { operand, list, negated: false } = kind
        && let Kind::Property(slot) = tree.kind(*operand)
    {
        return codes(tree, *slot, list);
    }
    // The strict dialect's numbers equal more than one text.
    if let Kind::Strict(StrictKind::OneOf { operand, numbers, texts, negated: false }) = kind
        && numbers.is_empty()
        && let Kind::Property(slot) = tree.kind(*operand)
    {
        return codes(tree, *slot, texts);
    }
    if let Kind::Equal { left, right, negated: false }
    | Kind::Strict(StrictKind::Compare { test: Test::Equal, left, right }) = kind
        && let (Kind::Property(slot), Kind::Text(text)) | (Kind::Text(text), Kind::Property(slot)) =
            (tree.kind(*left), tree.kind(*right))
    {
        return codes(tree, *slot, std::slice::from_ref(text));
    }
    None
}

/// An operand has one operator, so what is known of it is not needed again.
fn take(needs: &mut [Option<Vec<i32>>], id: NodeId) -> Option<Vec<i32>> {
    needs.get_mut(id as usize).and_then(Option::take)
}

fn codes(tree: &Tree, slot: u16, texts: &[Box<str>]) -> Option<Vec<i32>> {
    let is_tag = tree.names().get(usize::from(slot)).is_some_and(|name| **name == *TAGS);
    if !is_tag || texts.iter().any(|text| text.contains(REPLACEMENT)) {
        return None;
    }
    let mut codes: Vec<i32> = texts.iter().map(|text| java_hash(text)).collect();
    codes.sort_unstable();
    codes.dedup();
    Some(codes)
}

/// A true AND has two true sides: the narrower of their needs holds.
fn both(left: Option<Vec<i32>>, right: Option<Vec<i32>>) -> Option<Vec<i32>> {
    match (left, right) {
        (Some(left), Some(right)) => Some(if left.len() <= right.len() { left } else { right }),
        (left, right) => left.or(right),
    }
}

/// A true OR has one true side, whichever.
fn either(left: Option<Vec<i32>>, right: Option<Vec<i32>>) -> Option<Vec<i32>> {
    let (mut all, more) = (left?, right?);
    all.extend(more);
    all.sort_unstable();
    all.dedup();
    Some(all)
}
