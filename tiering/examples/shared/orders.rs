//! Messages as an application may send them: orders as JSON and words, of 1,024 bytes, with properties.

use crate::log::{Draft, Log};

/// Words of which bodies are made.
const WORDS: usize = 4_000;

struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// A body of 1,024 bytes: an order as JSON, and words.
fn body(nth: usize, dice: &mut Dice, words: &[String]) -> Vec<u8> {
    let status = ["NEW", "PAID", "SHIPPED", "DONE"][dice.below(4) as usize];
    let region = ["hz", "sh", "bj", "sz"][dice.below(4) as usize];
    let mut text = format!(
        "{{\"orderId\":\"{:016}\",\"user\":{},\"amount\":{}.{:02},\"status\":\"{status}\",\"region\":\"{region}\",\"items\":[",
        nth * 7919,
        dice.below(10_000_000),
        dice.below(1_000),
        dice.below(100)
    );
    for _ in 0..6 {
        text.push_str(&format!("{{\"sku\":{},\"n\":{}}},", dice.below(1_000_000), 1 + dice.below(5)));
    }
    text.push_str("]}");
    while text.len() < 1_024 {
        text.push_str(&words[dice.below(WORDS as u64) as usize]);
        text.push(' ');
    }
    text.truncate(1_024);
    text.into_bytes()
}

/// Messages of a topic, in turns over its queues.
pub(crate) fn fill(messages: usize, queues: usize) -> Log {
    let mut dice = Dice(1);
    let letters = |dice: &mut Dice| (0..3 + dice.below(8)).map(|_| char::from(b'a' + dice.below(26) as u8)).collect();
    let words: Vec<String> = (0..WORDS).map(|_| letters(&mut dice)).collect();
    let mut log = Log::at(0);
    for nth in 0..messages {
        let properties = format!(
            "KEYS\u{1}ORD{:012}\u{2}UNIQ_KEY\u{1}7F0000010B4A18B4AAC2{:012X}\u{2}CLUSTER\u{1}DefaultCluster\u{2}TAGS\u{1}Tag{}\u{2}\
             color\u{1}{}\u{2}price\u{1}{}\u{2}WAIT\u{1}true\u{2}MSG_REGION\u{1}DefaultRegion\u{2}TRACE_ON\u{1}true\u{2}",
            nth * 7919 % 100_000_000_000,
            nth * 131_071,
            dice.below(4),
            ["red", "blue", "green"][dice.below(3) as usize],
            1 + dice.below(1_000),
        );
        let body = body(nth, &mut dice, &words);
        let queue_id = (nth % queues) as i32;
        let time = 1_700_000_000_000 + nth as i64 / 20;
        log.append(&Draft { topic: "orders", queue_id, properties: properties.as_bytes(), body: &body, time });
    }
    log
}
