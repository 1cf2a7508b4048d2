//! Messages on standard output, as text or as a JSON object a line.

use std::collections::BTreeMap;

use serde::Serialize;

use super::MessageFormat;
use crate::exit::{Exit, OrFail, Outcome};
use crate::output::write_out;
use crate::reading::message::Message;
use crate::time::show_ms;

/// A message as JSON. A body that is not UTF-8 is given in base64, so that nothing of it is lost.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    topic: &'a str,
    broker: &'a str,
    queue_id: i32,
    offset: i64,
    message_id: &'a str,
    offset_message_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    keys: Vec<&'a str>,
    born: String,
    stored: String,
    reconsume_times: i32,
    properties: BTreeMap<&'a str, &'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
}

/// Writes messages.
#[derive(Debug)]
pub(super) struct Printer {
    format: MessageFormat,
}

impl Printer {
    pub(super) fn new(format: MessageFormat) -> Self {
        Self { format }
    }

    pub(super) fn print(&self, message: &Message) -> Outcome {
        let mut line = match self.format {
            MessageFormat::Text => message.body.clone(),
            MessageFormat::Json => serde_json::to_vec(&shown(message)).or_fail(Exit::Failed)?,
        };
        line.push(b'\n');
        write_out(|out| out.write_all(&line))
    }
}

fn shown(message: &Message) -> Shown<'_> {
    let body = std::str::from_utf8(&message.body).ok();
    Shown {
        topic: &message.topic,
        broker: &message.broker,
        queue_id: message.queue_id,
        offset: message.queue_offset,
        message_id: message.property("UNIQ_KEY").unwrap_or(&message.offset_message_id),
        offset_message_id: &message.offset_message_id,
        tag: message.property("TAGS"),
        keys: message.property("KEYS").unwrap_or_default().split_whitespace().collect(),
        born: show_ms(message.born_ms),
        stored: show_ms(message.stored_ms),
        reconsume_times: message.reconsume_times,
        properties: message.properties.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect(),
        body,
        body_base64: body.is_none().then(|| base64(&message.body)),
    }
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let at = |index: usize| u32::from(three.get(index).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for place in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * place)) as usize & 63];
            out.push(if place > three.len() { '=' } else { char::from(letter) });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reading::message::tests::message;

    #[test]
    fn json_says_everything() {
        let text = serde_json::to_string(&shown(&message(2, 17, 1_793_491_200_000, b"hello"))).unwrap();
        let expected = concat!(
            r#"{"topic":"orders","broker":"broker-a","queueId":2,"offset":17,"messageId":"U1","#,
            r#""offsetMessageId":"7F00000100002A9F0000000000000000","tag":"A","keys":["k1","k2"],"#,
            r#""born":"2026-11-01T00:00:00.000Z","stored":"2026-11-01T00:00:00.000Z","reconsumeTimes":0,"#,
            r#""properties":{"KEYS":"k1 k2","TAGS":"A","UNIQ_KEY":"U1"},"body":"hello"}"#,
        );
        assert_eq!(text, expected);
        let binary = message(2, 17, 1, b"\xff\x00");
        assert_eq!(shown(&binary).body_base64.as_deref(), Some("/wA="));
        assert_eq!(shown(&binary).body, None);
    }

    #[test]
    fn base64_pads() {
        let pairs = [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")];
        for (plain, coded) in pairs {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }
}
