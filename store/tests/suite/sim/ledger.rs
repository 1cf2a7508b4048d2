//! What was sent, what came back, and what therefore must, may and must not be there after a crash.
//!
//! Owns the judgement of a moment: it knows messages and promises, and nothing of disks.

use std::collections::BTreeMap;

use super::draw::Draw;

/// A message apart from where it was put. Its number is the index in [`Messages`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) topic: &'static str,
    pub(crate) queue: i32,
    /// How often the topic had been deleted before.
    pub(crate) life: usize,
    pub(crate) body: Vec<u8>,
    pub(crate) properties: Vec<u8>,
    /// In no queue: the first part of a transaction.
    pub(crate) half: bool,
}

/// Where a message was put, as the append said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) offset: i64,
    pub(crate) from: i64,
    pub(crate) to: i64,
}

/// Something that the test noted between two calls.
#[derive(Debug, Clone)]
pub(crate) enum Mark {
    /// The append begins: from now on the message may be there.
    Sending(usize),
    /// The append has returned.
    Sent(usize, Place),
    /// The store said that it is durable.
    Durable(usize),
    /// A reader got it.
    Seen(usize),
    /// The test damaged it.
    Harmed(usize),
    /// It was not there when the store was opened again: its place was given away.
    Void(usize),
    /// The power was cut: what was only in memory is not promised any more.
    Cut,
    /// What was there when the store was opened again was noted.
    Opened,
    /// The queue goes on at this offset in a log that begins elsewhere.
    Begun(&'static str, i32, i64),
    Forgetting(&'static str),
    Forgot(&'static str),
    Sweeping,
    /// The log begins here now.
    Swept(i64),
}

/// The properties that a message's key is found by.
pub(crate) fn key(number: usize) -> String {
    format!("key-{number}")
}

/// All messages of a run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Messages(pub(crate) Vec<Message>);

impl Messages {
    /// Makes a message with as many bytes in body and properties, at least.
    pub(crate) fn make(&mut self, (topic, queue, life): (&'static str, i32, usize), bytes: (usize, usize)) -> usize {
        let number = self.0.len();
        let mut draw = Draw::new(number as u64);
        let mut body = (number as u64).to_le_bytes().to_vec();
        body.extend((8..bytes.0).map(|_| draw.next() as u8));
        let mut properties = format!("KEYS\u{1}{}\u{2}TAGS\u{1}tag\u{2}", key(number));
        if properties.len() < bytes.1 {
            let letters = (properties.len()..bytes.1).map(|_| char::from(b'a' + draw.below(26) as u8));
            properties = format!("{properties}x\u{1}{}\u{2}", letters.collect::<String>());
        }
        let properties = properties.into_bytes();
        self.0.push(Message { topic, queue, life, body, properties, half: false });
        number
    }

    /// The message that a record's body and properties are, `None` when nobody sent it.
    pub(crate) fn of(&self, (topic, body, properties): (&str, &[u8], &[u8])) -> Option<usize> {
        let number = u64::from_le_bytes(body.get(..8)?.try_into().ok()?) as usize;
        let message = self.0.get(number)?;
        (message.topic == topic && message.body == body && message.properties == properties).then_some(number)
    }
}

/// What is known of one message at a moment.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Known {
    pub(crate) sending: bool,
    pub(crate) place: Option<Place>,
    pub(crate) durable: bool,
    pub(crate) seen: bool,
    pub(crate) harmed: bool,
    pub(crate) void: bool,
    /// Sent before a power cut.
    pub(crate) cut: bool,
}

/// What is known at a moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Moment {
    pub(crate) known: Vec<Known>,
    /// How often a topic's deletion was begun and done.
    lives: BTreeMap<&'static str, (usize, usize)>,
    /// Where queues go on whose log begins elsewhere.
    begun: BTreeMap<(&'static str, i32), i64>,
    /// Log offset up to which segments may have been deleted.
    swept: i64,
    /// The power was cut and the store was not opened since.
    pub(crate) unopened: bool,
    /// How many marks there were.
    pub(crate) marks: usize,
}

/// What must be true of a message after a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Must,
    May,
    MustNot,
}

impl Moment {
    pub(crate) fn new(messages: usize) -> Self {
        Self { known: vec![Known::default(); messages], ..Self::default() }
    }

    /// Goes on by one mark; `later` are those behind it.
    pub(crate) fn take<'a>(&mut self, mark: &Mark, later: impl Iterator<Item = &'a Mark>) {
        self.marks += 1;
        match mark {
            Mark::Sending(number) => self.known[*number].sending = true,
            Mark::Sent(number, place) => self.known[*number].place = Some(*place),
            Mark::Durable(number) => self.known[*number].durable = true,
            Mark::Seen(number) => self.known[*number].seen = true,
            Mark::Harmed(number) => self.known[*number].harmed = true,
            Mark::Void(number) => self.known[*number].void = true,
            Mark::Cut => {
                self.known.iter_mut().for_each(|known| known.cut = known.sending);
                self.unopened = true;
            }
            Mark::Opened => self.unopened = false,
            Mark::Begun(topic, queue, next) => drop(self.begun.insert((topic, *queue), *next)),
            Mark::Forgetting(topic) => self.lives.entry(topic).or_default().0 += 1,
            Mark::Forgot(topic) => {
                let lives = self.lives.entry(topic).or_default();
                lives.1 = lives.0;
            }
            Mark::Sweeping => {
                let mut ends = later.filter_map(|mark| if let Mark::Swept(to) = mark { Some(*to) } else { None });
                // A sweep that did not end may have deleted anything.
                self.swept = self.swept.max(ends.next().unwrap_or(i64::MAX));
            }
            Mark::Swept(_) => {}
        }
    }

    /// Whether a reader may be told of a message after a crash that kept `all` or not.
    pub(crate) fn verdict(&self, number: usize, message: &Message, (all, sync): (bool, bool)) -> Verdict {
        let known = &self.known[number];
        let (begun, done) = self.lives.get(message.topic).copied().unwrap_or_default();
        if !known.sending || known.void || message.life < done {
            return Verdict::MustNot;
        }
        let swept = known.place.is_some_and(|place| place.from < self.swept);
        if known.harmed || swept || message.life < begun {
            return Verdict::May;
        }
        let promised = known.durable || (sync && known.seen) || (all && !sync && !known.cut && known.place.is_some());
        if promised { Verdict::Must } else { Verdict::May }
    }

    /// The first offset of a queue that was not promised to a message yet.
    pub(crate) fn promised_next(&self, messages: &Messages, (topic, queue): (&str, i32), sync: bool) -> i64 {
        let own = messages.0.iter().enumerate().filter(|(_, m)| (m.topic, m.queue) == (topic, queue) && !m.half);
        let promised = own.filter(|(number, message)| {
            let known = &self.known[*number];
            let (begun, _) = self.lives.get(topic).copied().unwrap_or_default();
            message.life >= begun && !known.void && (known.durable || (sync && known.seen))
        });
        let sent = promised.filter_map(|(number, _)| self.known[number].place).map(|place| place.offset + 1).max();
        let begun = self.begun.iter().find(|((of, id), _)| (*of, *id) == (topic, queue)).map(|(_, next)| *next);
        sent.max(begun).unwrap_or(0)
    }
}
