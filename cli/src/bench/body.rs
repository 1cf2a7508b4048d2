//! What a bench message holds: a body and properties that follow from the message's number.
//!
//! Owns making them and judging what came back. Everything in a message is a function of its [`Stamp`], so
//! that a reader computes again what was sent and compares every byte; nothing has to be remembered.

use strata_protocol::properties::{NAME_VALUE_SEPARATOR, PROPERTY_SEPARATOR, Properties};

use super::digits::{Digits, hex, hex_value, mix};

/// What a bench body begins with; the number is the form's version.
const MAGIC: &[u8; 8] = b"strata1 ";
/// Hexadecimal digits of the fields behind the magic: run, connection, queue, number, shape. A blank follows each.
const WIDTHS: [usize; 5] = [8, 4, 4, 16, 4];
/// Bytes of magic and fields.
const HEAD_BYTES: usize = MAGIC.len() + 8 + 4 + 4 + 16 + 4 + 5;
/// The smallest body: its head and a byte of text.
pub(super) const BODY_BYTES_MIN: u64 = HEAD_BYTES as u64 + 1;
/// Texts that a body's text may begin at, so that neighbours differ.
const TEXT_STARTS: u64 = 65_536;
/// Bit of the shape that says: the connection had one send under way at a time.
const ONE_BY_ONE: u64 = 1 << 15;
/// The shape of a set of named properties is this and their number; below it is a number of plain ones.
const NAMED: u64 = 0x7f00;
/// Properties that RocketMQ's Java client always sends.
const OF_CLIENT: u64 = 2;
/// Those, a tag and a key.
const KEYED: u64 = 4;
/// Those, and four of an application.
const REALISTIC: u64 = 8;
/// The same, with a tag of ten thousand kinds.
const RARE: u64 = 9;
/// Plain properties at most.
pub(super) const PROPERTIES_MAX: u64 = 200;
/// Kinds of tags.
const TAGS: u64 = 8;

/// Which properties a message has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PropertySet {
    /// What RocketMQ's Java client always sends: `UNIQ_KEY` and `WAIT`.
    OfClient,
    /// Those with `TAGS` and `KEYS`.
    Keyed,
    /// Those with four of an application.
    Realistic,
    /// The same, with a tag that one message in ten thousand has.
    RareTags,
    /// So many short ones.
    Plain(u16),
}

/// What a message says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    /// Tells one run of the bench from another.
    pub(super) run: u32,
    /// Which connection sent it.
    pub(super) connection: u16,
    /// Where it was sent to.
    pub(super) queue: u16,
    /// Its number in the run, from 0.
    pub(super) number: u64,
    /// Its properties.
    pub(super) set: PropertySet,
    /// Its connection waited for each answer before it sent again.
    pub(super) one_by_one: bool,
}

impl Stamp {
    fn shape(&self) -> u64 {
        let set = match self.set {
            PropertySet::OfClient => NAMED + OF_CLIENT,
            PropertySet::Keyed => NAMED + KEYED,
            PropertySet::Realistic => NAMED + REALISTIC,
            PropertySet::RareTags => NAMED + RARE,
            PropertySet::Plain(count) => u64::from(count),
        };
        set | if self.one_by_one { ONE_BY_ONE } else { 0 }
    }

    fn fields(&self) -> [u64; 5] {
        [self.run.into(), self.connection.into(), self.queue.into(), self.number, self.shape()]
    }

    fn of_fields(fields: [u64; 5]) -> Option<Self> {
        let [run, connection, queue, number, shape] = fields;
        const SETS: [(u64, PropertySet); 4] = [
            (NAMED + OF_CLIENT, PropertySet::OfClient),
            (NAMED + KEYED, PropertySet::Keyed),
            (NAMED + REALISTIC, PropertySet::Realistic),
            (NAMED + RARE, PropertySet::RareTags),
        ];
        let count = shape & !ONE_BY_ONE;
        let set = match SETS.into_iter().find(|(named, _)| *named == count) {
            Some((_, set)) => set,
            None => PropertySet::Plain(u16::try_from(count).ok().filter(|_| count <= PROPERTIES_MAX)?),
        };
        Some(Self {
            run: u32::try_from(run).ok()?,
            connection: u16::try_from(connection).ok()?,
            queue: u16::try_from(queue).ok()?,
            number,
            set,
            one_by_one: shape & ONE_BY_ONE != 0,
        })
    }
}

/// Makes bodies, and knows what they must be.
pub(super) struct Bodies {
    text: Vec<u8>,
}

impl Bodies {
    /// Bodies of up to `bytes_max` bytes.
    pub(super) fn new(bytes_max: usize) -> Self {
        const WORDS: [&str; 12] = [
            "order",
            "paid",
            "warehouse",
            "customer",
            "amount",
            "shipped",
            "region",
            "currency",
            "item",
            "quantity",
            "carrier",
            "status",
        ];
        let wanted = TEXT_STARTS as usize + bytes_max;
        let mut text = Vec::with_capacity(wanted + 32);
        let mut draw = 0;
        while text.len() < wanted {
            draw = mix(draw);
            text.extend_from_slice(WORDS[(draw % WORDS.len() as u64) as usize].as_bytes());
            text.extend_from_slice(format!("={} ", draw >> 47).as_bytes());
        }
        text.truncate(wanted);
        Self { text }
    }

    /// Appends the body of `bytes` bytes that `stamp` stands for.
    pub(super) fn write(&self, out: &mut Vec<u8>, stamp: &Stamp, bytes: usize) {
        out.extend_from_slice(MAGIC);
        for (field, width) in stamp.fields().into_iter().zip(WIDTHS) {
            let at = out.len();
            out.resize(at + width, b'0');
            hex(&mut out[at..], field);
            out.push(b' ');
        }
        out.extend_from_slice(self.text_of(stamp, bytes.saturating_sub(HEAD_BYTES)));
    }

    fn text_of(&self, stamp: &Stamp, bytes: usize) -> &[u8] {
        let at = (mix(stamp.number ^ (u64::from(stamp.run) << 32)) % TEXT_STARTS) as usize;
        self.text.get(at..at + bytes).unwrap_or_default()
    }

    /// What a body says of itself; `None` when it is none of the bench.
    ///
    /// # Errors
    /// It is one, and not what was sent.
    pub(super) fn read(&mut self, body: &[u8]) -> Result<Option<Stamp>, &'static str> {
        let Some(head) = body.strip_prefix(MAGIC) else { return Ok(None) };
        let mut fields = [0; 5];
        let mut at = 0;
        for (field, width) in fields.iter_mut().zip(WIDTHS) {
            let digits = head.get(at..at + width).ok_or("the body ends within its head")?;
            let blank = head.get(at + width) == Some(&b' ');
            *field = hex_value(digits).filter(|_| blank).ok_or("the body's head is not what was sent")?;
            at += width + 1;
        }
        let stamp = Stamp::of_fields(fields).ok_or("the body's head is not what was sent")?;
        let text = body.get(HEAD_BYTES..).ok_or("the body ends within its head")?;
        if self.text.len() < TEXT_STARTS as usize + text.len() {
            *self = Self::new(text.len());
        }
        if text != self.text_of(&stamp, text.len()) {
            return Err("the body is not what was sent");
        }
        Ok(Some(stamp))
    }
}

/// One property: its name, and a value of a fixed part and digits that follow from the message's number.
#[derive(Debug, Clone)]
pub(super) struct Part {
    name: String,
    before: String,
    digits: Digits,
}

impl Part {
    fn new(name: &str, before: &str, digits: Digits) -> Self {
        Self { name: name.to_owned(), before: before.to_owned(), digits }
    }

    /// How its digits follow from the message's number.
    pub(super) fn digits(&self) -> Digits {
        self.digits
    }

    fn is_value(&self, value: &[u8], number: u64) -> bool {
        let Some(digits) = value.strip_prefix(self.before.as_bytes()) else { return false };
        let mut expected = [0; Digits::WIDTH_MAX];
        let expected = &mut expected[..self.digits.width()];
        self.digits.write(expected, number);
        digits == expected
    }
}

/// The properties of one run's messages.
#[derive(Debug, Clone)]
pub(super) struct PropertyParts {
    set: PropertySet,
    run: u32,
    parts: Vec<Part>,
    /// The text in its order, and where the digits of each part end.
    usual: Vec<u8>,
    ends: Vec<usize>,
}

impl PropertyParts {
    /// The properties of `set` in the run `run`.
    pub(super) fn new(set: PropertySet, run: u32) -> Self {
        let named = |count: u64, tags: Digits| {
            let mut parts = vec![
                // The form of RocketMQ's Java client: address and process, then what differs.
                Part::new("UNIQ_KEY", &format!("7F000001{run:08X}"), Digits::Hex),
                Part::new("WAIT", "true", Digits::None),
                Part::new("TAGS", "Tag", tags),
                Part::new("KEYS", "ORD", Digits::Decimal(12)),
                Part::new("region", "hz-", Digits::Below(4)),
                Part::new("color", "blue-", Digits::Below(7)),
                Part::new("price", "", Digits::Mixed(4)),
                Part::new("customer", "C", Digits::Mixed(6)),
            ];
            parts.truncate(count as usize);
            parts
        };
        let parts = match set {
            PropertySet::OfClient => named(OF_CLIENT, Digits::Below(TAGS)),
            PropertySet::Keyed => named(KEYED, Digits::Below(TAGS)),
            PropertySet::Realistic => named(REALISTIC, Digits::Below(TAGS)),
            PropertySet::RareTags => named(REALISTIC, Digits::Mixed(4)),
            PropertySet::Plain(count) => {
                (0..count).map(|at| Part::new(&format!("p{at}"), "value-", Digits::Mixed(8))).collect()
            }
        };
        let mut all = Self { set, run, parts, usual: Vec::new(), ends: Vec::new() };
        for part in &all.parts {
            let bytes = part.name.len() + part.before.len() + part.digits.width() + 2;
            all.ends.push(all.ends.last().map_or(0, |end| end + 1) + bytes - 1);
        }
        all.usual = all.text(None, '0').into_bytes();
        all
    }

    /// The properties, in their order.
    pub(super) fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The text with `filler` for the digits of part `marked` and zeros for all others.
    pub(super) fn text(&self, marked: Option<usize>, filler: char) -> String {
        let mut text = String::new();
        for (at, part) in self.parts.iter().enumerate() {
            text.push_str(&part.name);
            text.push(char::from(NAME_VALUE_SEPARATOR));
            text.push_str(&part.before);
            let digit = if marked == Some(at) { filler } else { '0' };
            text.extend(std::iter::repeat_n(digit, part.digits.width()));
            text.push(char::from(PROPERTY_SEPARATOR));
        }
        text
    }

    /// Whether these are the properties that a message with `stamp` has.
    pub(super) fn are_of(&self, stamp: &Stamp) -> bool {
        self.set == stamp.set && self.run == stamp.run
    }

    /// Whether `stored` holds what message `number` was sent with. A broker may add properties and change
    /// their order.
    pub(super) fn are_in(&mut self, stored: &[u8], number: u64) -> bool {
        stored.starts_with(self.text_of(number)) || self.are_among(stored, number)
    }

    /// The text that message `number` is sent with.
    pub(super) fn text_of(&mut self, number: u64) -> &[u8] {
        for (part, end) in self.parts.iter().zip(&self.ends) {
            part.digits.write(&mut self.usual[end - part.digits.width()..*end], number);
        }
        &self.usual
    }

    fn are_among(&self, stored: &[u8], number: u64) -> bool {
        let mut found = 0;
        for (at, (name, value)) in Properties::of(stored).enumerate() {
            // Mostly they come in their order.
            let here = self.parts.get(at).filter(|part| part.name.as_bytes() == name);
            let part = here.or_else(|| self.parts.iter().find(|part| part.name.as_bytes() == name));
            let Some(part) = part else { continue };
            if !part.is_value(value, number) {
                return false;
            }
            found += 1;
        }
        found == self.parts.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp() -> Stamp {
        Stamp { run: 7, connection: 3, queue: 12, number: 99, set: PropertySet::Realistic, one_by_one: true }
    }

    #[test]
    fn every_set_of_properties_is_told_by_the_body() {
        use PropertySet::{Keyed, OfClient, Plain, RareTags, Realistic};
        for set in [OfClient, Keyed, Realistic, RareTags, Plain(0), Plain(200)] {
            for one_by_one in [true, false] {
                let stamp = Stamp { set, one_by_one, ..stamp() };
                assert_eq!(Stamp::of_fields(stamp.fields()), Some(stamp));
            }
        }
        assert_eq!(Stamp::of_fields(Stamp { set: Plain(201), ..stamp() }.fields()), None);
        let names = |set| PropertyParts::new(set, 1).parts.into_iter().map(|part| part.name).collect::<Vec<_>>();
        assert_eq!(names(Keyed), ["UNIQ_KEY", "WAIT", "TAGS", "KEYS"]);
    }

    #[test]
    fn a_body_tells_its_stamp_and_any_changed_byte_is_seen() {
        let mut bodies = Bodies::new(200);
        let mut body = Vec::new();
        bodies.write(&mut body, &stamp(), 200);
        assert_eq!(body.len(), 200);
        assert_eq!(bodies.read(&body), Ok(Some(stamp())));
        for at in 0..body.len() {
            body[at] ^= 4;
            assert_ne!(bodies.read(&body), Ok(Some(stamp())), "byte {at} was changed");
            body[at] ^= 4;
        }
        assert_ne!(Bodies::new(10).read(&body[..20]), Ok(Some(stamp())));
        assert_eq!(Bodies::new(10).read(&body), Ok(Some(stamp())), "a longer body than was prepared for");
        assert_eq!(bodies.read(b"of somebody else"), Ok(None));
    }

    #[test]
    fn properties_are_found_in_any_order_and_a_wrong_or_missing_one_is_seen() {
        let mut parts = PropertyParts::new(PropertySet::Plain(2), 1);
        let text = |first: u64, second: u64| {
            let mut digits = [0; 16];
            let mut value = |number| {
                Digits::Mixed(8).write(&mut digits[..8], number);
                String::from_utf8(digits[..8].to_vec()).unwrap()
            };
            let (first, second) = (value(first), value(second));
            format!("p1\u{1}value-{second}\u{2}MSG_REGION\u{1}x\u{2}p0\u{1}value-{first}\u{2}")
        };
        assert!(parts.are_in(text(5, 5).as_bytes(), 5));
        assert!(!parts.are_in(text(5, 6).as_bytes(), 5));
        assert!(!parts.are_in(&text(5, 5).as_bytes()[28..], 5));
        assert!(!parts.are_in(b"", 5));
        let mut usual = PropertyParts::new(PropertySet::Realistic, 9);
        let text = [usual.text_of(12_345), b"MSG_REGION\x01x\x02"].concat();
        assert!(usual.are_among(&text, 12_345) && usual.are_in(&text, 12_345));
        assert!(!usual.are_among(&text, 12_346) && !usual.are_in(&text, 12_346));
    }
}
