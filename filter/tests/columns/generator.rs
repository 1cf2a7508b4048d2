//! Makes expressions, messages and the arrays that hold them, from a seed.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::builder::{MapBuilder, StringBuilder};
use arrow_array::types::{Int16Type, Int32Type};
use arrow_array::{
    ArrayRef, BinaryArray, BinaryViewArray, DictionaryArray, LargeBinaryArray, LargeStringArray, MapArray, StringArray,
    StringViewArray,
};
use strata_filter::sql::Dialect;

/// The properties of one message.
pub(crate) type Message = BTreeMap<&'static str, &'static str>;

/// The names that expressions and messages use.
pub(crate) const NAMES: [&str; 6] = ["a", "b", "c", "price", "color", "a_long_name"];

/// Few, so that they often are equal. None is empty: a stored message has no empty value.
const VALUES: [&str; 34] = [
    "1",
    "5",
    "+5",
    "005",
    "-5",
    "10",
    "900",
    "901",
    "3.5",
    "5.0",
    " 5",
    "5e0",
    "0x1p2",
    "NaN",
    "-0",
    "0",
    "3000000000",
    "9223372036854775808",
    "٥",
    "1٥",
    "true",
    "TRUE",
    "false",
    "x",
    "xy",
    "y",
    "blue",
    "red",
    "green",
    "it's",
    "é",
    "\u{FFFD}",
    "~",
    "Infinity",
];

const NUMBERS: [&str; 14] =
    ["0", "1", "5", "-5", "10", "15", "900", "3.5", "5.0", "0.5", "3000000000", "-0.5", "1e2", "9223372036854775807"];

/// SplitMix64: any seed is as good as another.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((bits ^ (bits >> 31)) % bound as u64) as usize
    }

    pub(crate) fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    fn text(&mut self) -> String {
        let value = self.pick(&VALUES);
        let cut = value.char_indices().nth(1).map_or(value.len(), |(at, _)| at);
        let value = if self.one_in(4) { &value[..cut] } else { value };
        format!("'{}'", value.replace('\'', "''"))
    }

    fn number(&mut self) -> &'static str {
        self.pick(&NUMBERS)
    }

    fn list(&mut self, mut element: impl FnMut(&mut Self) -> String) -> String {
        let count = 1 + self.below(4);
        (0..count).map(|_| element(self)).collect::<Vec<_>>().join(", ")
    }
}

/// An expression, which the dialect may refuse.
pub(crate) fn expression(random: &mut Random, dialect: Dialect, depth: usize) -> String {
    if depth == 0 || random.one_in(4) {
        return comparison(random, dialect);
    }
    let left = expression(random, dialect, depth - 1);
    match random.below(9) {
        0..=2 => format!("{left} AND {}", expression(random, dialect, depth - 1)),
        3..=5 => format!("{left} OR {}", expression(random, dialect, depth - 1)),
        6 => format!("NOT ({left})"),
        7 => format!("({left}) {} ({})", random.pick(&["=", "<>"]), expression(random, dialect, depth - 1)),
        _ if dialect == Dialect::Strict => format!("({left}) IS {}", random.pick(&["TRUE", "NOT FALSE", "UNKNOWN"])),
        _ => format!("({left}) {}", random.pick(&["IS NULL", "IS NOT NULL", "= TRUE", "<> a", "CONTAINS 'x'"])),
    }
}

fn comparison(random: &mut Random, dialect: Dialect) -> String {
    let name = random.pick(&NAMES);
    let operator = random.pick(&["=", "=", "<>", "<", "<=", ">", ">="]);
    let not = random.pick(&["", "", "NOT "]);
    match random.below(14) {
        0 | 1 => format!("{name} {operator} {}", random.number()),
        2 => format!("{} {operator} {name}", random.number()),
        3 | 4 => format!("{name} {} {}", random.pick(&["=", "<>"]), random.text()),
        5 => format!("{} {operator} {name}", random.text()),
        6 => format!("{name} IS {not}NULL"),
        7 => format!("{name} {not}IN ({})", random.list(Random::text)),
        8 if dialect == Dialect::Strict => {
            format!("{name} {not}IN ({})", random.list(|random| random.pick(&["5", "'x'", "3.5", "'blue'"]).to_owned()))
        }
        8 => format!("{} = {name}", random.pick(&["TRUE", "-b", "(a = 1)", "(b IS NULL)"])),
        9 => format!("{name} {not}BETWEEN {} AND {}", random.number(), random.number()),
        10 => format!("{name} {not}{} {}", random.pick(&["CONTAINS", "STARTSWITH", "ENDSWITH"]), random.text()),
        11 if dialect == Dialect::Strict => {
            format!("{name} {not}LIKE {}", random.pick(&["'x%'", "'%e%'", "'_'", "'b_ue%'", "'5'"]))
        }
        11 => format!("{name} {not}BETWEEN b AND {}", random.number()),
        12 => format!("{name} {operator} {}", random.pick(&NAMES)),
        _ => random.pick(&["a", "b", "TRUE", "FALSE", "NULL", "c = TRUE", "color <> FALSE"]).to_owned(),
    }
}

/// Some messages, of one or of many values each property.
pub(crate) fn messages(random: &mut Random, count: usize) -> Vec<Message> {
    let few = random.one_in(3);
    let pools: Vec<Vec<&str>> = NAMES
        .iter()
        .map(|_| (0..if few { 1 + random.below(3) } else { 12 }).map(|_| random.pick(&VALUES)).collect())
        .collect();
    let missing: Vec<_> = NAMES.iter().map(|_| random.pick(&[1, 2, 5, 50, usize::MAX])).collect();
    let mut messages = Vec::with_capacity(count);
    for _ in 0..count {
        let mut message = Message::new();
        for (nth, name) in NAMES.into_iter().enumerate() {
            if !random.one_in(missing[nth]) {
                message.insert(name, random.pick(&pools[nth]));
            }
        }
        messages.push(message);
    }
    messages
}

/// A message's properties as they lie in the log.
pub(crate) fn stored(message: &Message) -> Vec<u8> {
    message.iter().flat_map(|(name, value)| format!("{name}\x01{value}\x02").into_bytes()).collect()
}

/// The column of a property, in one of the layouts. A missing one is null, or an empty text.
pub(crate) fn column(random: &mut Random, messages: &[Message], name: &str) -> ArrayRef {
    let empty = random.one_in(4);
    let value = |message: &Message| message.get(name).copied().or(empty.then_some(""));
    let texts = messages.iter().map(value);
    let bytes = messages.iter().map(|message| value(message).map(str::as_bytes));
    match random.below(8) {
        0 => Arc::new(texts.collect::<StringArray>()),
        1 => Arc::new(texts.collect::<LargeStringArray>()),
        2 => Arc::new(bytes.collect::<BinaryArray>()),
        3 => Arc::new(bytes.collect::<LargeBinaryArray>()),
        4 => Arc::new(texts.collect::<StringViewArray>()),
        5 => Arc::new(bytes.collect::<BinaryViewArray>()),
        6 => Arc::new(texts.collect::<DictionaryArray<Int16Type>>()),
        _ => Arc::new(with_null_text(texts.collect())),
    }
}

/// The same dictionary, in which a null may be a key or the text of a key.
fn with_null_text(dictionary: DictionaryArray<Int32Type>) -> DictionaryArray<Int32Type> {
    let texts: Vec<_> =
        dictionary.downcast_dict::<StringArray>().map(|texts| texts.values().iter().collect()).unwrap_or_default();
    let null = texts.len() as i32;
    let keys = dictionary.keys().iter().enumerate().map(|(row, key)| key.or((row % 2 == 0).then_some(null)));
    let values: StringArray = texts.into_iter().chain([None]).collect();
    DictionaryArray::new(keys.collect(), Arc::new(values))
}

/// The properties of each message as a map.
pub(crate) fn map(messages: &[Message]) -> MapArray {
    let mut builder = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
    for message in messages {
        for (name, value) in message {
            // An entry that a later one replaces, and one that does not.
            for value in ["old", value, ""] {
                builder.keys().append_value(name);
                builder.values().append_value(value);
            }
        }
        builder.append(!message.is_empty()).expect("as many names as values");
    }
    builder.finish()
}
