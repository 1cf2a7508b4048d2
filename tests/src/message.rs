//! The messages that tests send: bodies that follow from a name, and properties that carry the name.
//!
//! Owns making them and recognising them. It does not send.

use std::sync::Arc;

use strata_protocol::properties::{self, PropertiesBuilder, PropertiesError};

use crate::draw::Draw;
use crate::history::Ticket;

/// The property that carries a message's ticket.
pub const TICKET: &str = "ticket";

/// The body of `ticket`: `bytes` bytes that nothing but seed and ticket decide.
#[must_use]
pub fn body(seed: u64, ticket: Ticket, bytes: usize) -> Vec<u8> {
    let mut body = vec![0; bytes];
    Draw::new(seed).fork(u64::from(ticket.producer)).fork(ticket.number).fill(&mut body);
    body
}

/// The unique key of `ticket`, as long as the clients' own.
#[must_use]
pub fn unique_key(seed: u64, ticket: Ticket) -> String {
    format!("{:08X}{:08X}{:016X}", seed & 0xFFFF_FFFF, ticket.producer, ticket.number)
}

/// What the properties of a message say beside its name.
#[derive(Debug, Clone, Copy, Default)]
pub struct Marks<'a> {
    /// Search keys, separated by blanks.
    pub keys: Option<&'a str>,
    /// The tag.
    pub tag: Option<&'a str>,
    /// The delay level, from 1.
    pub delay_level: Option<i32>,
}

/// The properties text of `ticket`, with a value outside ASCII so that texts are not taken for bytes.
///
/// # Errors
/// A mark holds a separator, or the text is too long.
pub fn properties(seed: u64, ticket: Ticket, marks: Marks<'_>) -> Result<Vec<u8>, PropertiesError> {
    let mut text = PropertiesBuilder::new()
        .add(properties::UNIQ_KEY, &unique_key(seed, ticket))?
        .add(TICKET, &ticket.to_string())?
        .add("größe", "überraschend 数")?
        .add(properties::WAIT, "true")?;
    let level = marks.delay_level.map(|level| level.to_string());
    let optional =
        [(properties::KEYS, marks.keys), (properties::TAGS, marks.tag), (properties::DELAY, level.as_deref())];
    for (name, value) in optional {
        if let Some(value) = value {
            text = text.add(name, value)?;
        }
    }
    text.build()
}

/// Who a message says it is.
#[must_use]
pub fn ticket_of(text: &[u8]) -> Option<Ticket> {
    properties::find_str(text, TICKET)?.parse().ok()
}

/// A properties text as a request's header carries it.
#[must_use]
pub fn as_text(text: &[u8]) -> Arc<str> {
    Arc::from(String::from_utf8_lossy(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_recognised_and_made_again() {
        let ticket = Ticket { producer: 2, number: 9 };
        let marks = Marks { keys: Some("a b"), tag: Some("t"), delay_level: Some(1) };
        let text = properties(5, ticket, marks).unwrap();
        assert_eq!(ticket_of(&text), Some(ticket));
        assert_eq!(properties::find_str(&text, "DELAY"), Some("1"));
        assert_eq!(body(5, ticket, 100), body(5, ticket, 100));
        assert_ne!(body(5, ticket, 100), body(6, ticket, 100));
        assert_ne!(body(5, ticket, 100), body(5, Ticket { number: 10, ..ticket }, 100));
        assert_eq!(unique_key(5, ticket).len(), 32);
        assert_eq!(ticket_of(b"ticket\x01zzz\x02"), None);
    }
}
