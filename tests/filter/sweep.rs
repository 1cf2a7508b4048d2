//! The systematic part: every pair of operands with every operator, every odd number in every place, every character,
//! every short text of properties, and every short sequence of tokens.
//!
//! Owns these sources of questions. Each question has a number, so that workers share them without asking each other.

use crate::question::{Question, Stored};
use crate::rules::RuleSet;
use crate::values::{NUMBERS, STRINGS, all_invalid};

/// Makes the question of a number.
type Make = Box<dyn Fn(u64) -> Question + Send + Sync>;

/// Numbered questions of one kind.
pub(crate) struct Source {
    pub(crate) name: &'static str,
    pub(crate) count: u64,
    pub(crate) at: Make,
}

/// Operands of every type: property, int, long, float, string, boolean, null, and what operators make of them.
const OPERANDS: &[&str] = &[
    "a",
    "b",
    "5",
    "3000000000",
    "5.0",
    "'x'",
    "'5'",
    "'5.0'",
    "''",
    "TRUE",
    "FALSE",
    "NULL",
    "-5",
    "-3000000000",
    "-5.0",
    "- -5",
    "+5",
    "-a",
    "+a",
    "NOT a",
    "NOT TRUE",
    "-TRUE",
    "-'5'",
    "-NULL",
    "(a)",
    "(5)",
    "('5')",
    "(NULL)",
    "(a = 5)",
    "(a = TRUE)",
    "(a IS NULL)",
    "(a > 3)",
    "(a IN ('5'))",
    "(b CONTAINS '5')",
    "(a BETWEEN 1 AND 9)",
];

const OPERATORS: &[&str] = &["=", "<>", "<", "<=", ">", ">="];

/// What stands in `BETWEEN`.
const BOUNDS: &[&str] =
    &["a", "b", "5", "7", "3000000000", "5.0", "4.5", "'5'", "TRUE", "NULL", "-5", "(5)", "(a = 5)"];

/// What may stand behind an operand and takes no operand of its own.
const TAILS: &[&str] = &[
    "",
    "IS NULL",
    "IS NOT NULL",
    "CONTAINS '5'",
    "NOT CONTAINS '5'",
    "STARTSWITH '5'",
    "NOT STARTSWITH '5'",
    "ENDSWITH '5'",
    "NOT ENDSWITH '5'",
    "CONTAINS ''",
    "NOT CONTAINS ''",
    "STARTSWITH ''",
    "NOT STARTSWITH ''",
    "ENDSWITH ''",
    "NOT ENDSWITH ''",
    "IN ('5')",
    "NOT IN ('5')",
    "IN ('x', '5')",
    "NOT IN ('x', 'y', 'true', '', '5')",
    "IN (5)",
    "IN ()",
    "IS TRUE",
    "LIKE 'x'",
    "= a",
    "AND a",
    "OR a",
    "AND TRUE",
    "OR FALSE",
    "AND NULL",
    "OR NULL",
    "= 5 = TRUE",
    "IS NULL IS NULL",
];

/// Comparisons in which an odd number is the value of `a`.
const READERS: &[&str] = &[
    "a = 5",
    "a <> 5",
    "a > 5",
    "a >= 5",
    "5 >= a",
    "5 = a",
    "a = 3000000000",
    "a < 3000000000",
    "a <> 3000000000",
    "3000000000 > a",
    "a = 5.0",
    "a <> 5.0",
    "a > 5.0",
    "a <= 5.0",
    "5.0 = a",
    "5.0 < a",
    "a = '5'",
    "a = TRUE",
    "a <> TRUE",
    "TRUE = a",
    "a = FALSE",
    "a = b",
    "a <> b",
    "a > b",
    "b >= a",
    "a BETWEEN 1 AND 9",
    "a NOT BETWEEN 1 AND 9",
    "a BETWEEN 1.5 AND 9.5",
    "a IN ('5', '+5')",
    "a IS NULL",
    "a CONTAINS '5'",
    "a STARTSWITH ' '",
    "a ENDSWITH 'd'",
    "-a IS NULL",
    "a = -5",
    "a = -5.0",
    "NOT (a > 5)",
    "a",
    "a = '\u{fffd}'",
    "a CONTAINS '\u{fffd}'",
    "a <> '\u{fffd}\u{fffd}'",
];

/// Tokens of the short sequences.
const SEQUENCE: &[&str] = &[
    "a", "1", "'1'", "2.5", "TRUE", "NULL", "NOT", "-", "+", "(", ")", "AND", "OR", "=", "<>", ">", "IS", "IN", ",",
    "BETWEEN", "CONTAINS", ";",
];

/// Bytes of the short texts of properties.
const STORED_BYTES: &[u8] = b"a5\x01\x02";

/// Texts of properties in one question.
const STORED_PER_QUESTION: u64 = 64;

/// Bytes of the longest of those texts.
const STORED_BYTES_MAX: u32 = 6;

/// Properties on which operands are compared.
fn usual() -> Vec<Stored> {
    let values = [None, Some("5"), Some("5.0"), Some("7"), Some("x"), Some("true"), Some("3000000000"), Some("-5")];
    let of = |a: Option<&str>, b: Option<&str>| Stored::of(&[("a", a), ("b", b)]);
    let mut all: Vec<Stored> = values.iter().map(|a| of(*a, Some("5"))).collect();
    all.extend([of(None, None), of(Some("5"), None), of(Some("x"), Some("x")), of(Some("5"), Some("x"))]);
    all
}

/// Splits a number into digits of the given bases, the last one first.
fn digits<const N: usize>(mut number: u64, bases: [usize; N]) -> [usize; N] {
    bases.map(|base| {
        let digit = number % base as u64;
        number /= base as u64;
        digit as usize
    })
}

fn pairs() -> Source {
    let bases = [OPERANDS.len(), OPERATORS.len(), OPERANDS.len()];
    let at = move |number| {
        let [right, operator, left] = digits(number, bases);
        Question::plain(format!("{} {} {}", OPERANDS[left], OPERATORS[operator], OPERANDS[right]), usual())
    };
    Source { name: "operand operator operand", count: bases.iter().product::<usize>() as u64, at: Box::new(at) }
}

fn tails() -> Source {
    let bases = [TAILS.len(), OPERANDS.len()];
    let at = move |number| {
        let [tail, operand] = digits(number, bases);
        Question::plain(format!("{} {}", OPERANDS[operand], TAILS[tail]), usual())
    };
    Source { name: "operand with tail", count: bases.iter().product::<usize>() as u64, at: Box::new(at) }
}

fn bounds() -> Source {
    let bases = [2, BOUNDS.len(), BOUNDS.len(), BOUNDS.len()];
    let at = move |number| {
        let [not, high, low, value] = digits(number, bases);
        let not = ["", "NOT "][not];
        let text = format!("{} {not}BETWEEN {} AND {}", BOUNDS[value], BOUNDS[low], BOUNDS[high]);
        Question::plain(text, usual())
    };
    Source { name: "between", count: bases.iter().product::<usize>() as u64, at: Box::new(at) }
}

/// Every odd number, string and invalid text as a property's value.
fn readings() -> Source {
    let at = |number: u64| {
        let both = |value: &&str| Stored::of(&[("a", Some(value)), ("b", Some("5"))]);
        let mut properties: Vec<Stored> = NUMBERS.iter().chain(STRINGS).map(both).collect();
        properties.extend(all_invalid("a"));
        Question::plain(READERS[number as usize], properties)
    };
    Source { name: "odd value", count: READERS.len() as u64, at: Box::new(at) }
}

/// Every odd number as a literal.
fn literals() -> Source {
    const PLACES: &[&str] =
        &["a = $", "a > $", "$ = a", "a = '$'", "a BETWEEN $ AND $", "a IN ('$')", "a = -$", "$", "a = $AND b = 5"];
    let bases = [PLACES.len(), NUMBERS.len() + STRINGS.len()];
    let at = move |number| {
        let [place, value] = digits(number, bases);
        let value = NUMBERS.iter().chain(STRINGS).nth(value).copied().unwrap_or_default();
        let mut properties = usual();
        properties.push(Stored::of(&[("a", Some(value)), ("b", Some("5"))]));
        Question::plain(PLACES[place].replace('$', value), properties)
    };
    Source { name: "odd literal", count: bases.iter().product::<usize>() as u64, at: Box::new(at) }
}

/// Every character of the first blocks, and odd ones, in every kind of place.
fn characters() -> Source {
    const PLACES: &[&str] = &[
        "a?= 1",
        "?a = 1",
        "a? = 1",
        "a = 1?",
        "a = 1 ?",
        "a = 1 x ?",
        "a = '?'",
        "a = '?",
        "a?b",
        "a ? 1",
        "a = ?1",
        "a /*?*/ = 1",
        "a --?\n= 1",
        "a = 1 --?",
        "i? null",
        "a i? null",
        "a ?n ('1')",
        "NO? a",
        "a BET?EEN 1 AND 2",
        "a = 1?1",
        "a = ?",
        "5?5 = a",
        "?",
        "??",
    ];
    let odd = [
        'ı',
        'ſ',
        '\u{212a}',
        'İ',
        '\u{2028}',
        '\u{2029}',
        '\u{3000}',
        '\u{feff}',
        '\u{fffd}',
        '\u{ffff}',
        '\u{665}',
        '\u{ff15}',
        '\u{ff11}',
        '\u{1f600}',
        '\u{10ffff}',
        '\u{d7ff}',
        '\u{e000}',
        '\u{200b}',
        '\u{ff1d}',
        '\u{2212}',
        '\u{ff07}',
    ];
    let all: Vec<char> = (0..0x180).filter_map(char::from_u32).chain(odd).collect();
    let bases = [PLACES.len(), all.len()];
    let count = bases.iter().product::<usize>() as u64;
    let at = move |number| {
        let [place, character] = digits(number, bases);
        let text = PLACES[place].replace('?', &all[character].to_string());
        Question::plain(
            text,
            vec![Stored::one("a", Some("1")), Stored::one("a", Some(&all[character].to_string())), Stored::default()],
        )
    };
    Source { name: "character", count, at: Box::new(at) }
}

/// Every character of the basic multilingual plane in values that are read as numbers.
fn characters_in_values() -> Source {
    const PLACES: &[(&str, &str)] = &[("a BETWEEN 0 AND 9", "?"), ("a >= 5.0", "?5"), ("a >= 5.0", "5?")];
    const CHARACTERS_PER_QUESTION: u64 = 256;
    let chunks = (1 << 16) / CHARACTERS_PER_QUESTION;
    let at = move |number: u64| {
        let (text, form) = PLACES[(number / chunks) as usize];
        let from = (number % chunks * CHARACTERS_PER_QUESTION) as u32;
        let all = (from..from + CHARACTERS_PER_QUESTION as u32).filter_map(char::from_u32);
        Question::plain(text, all.map(|c| Stored::one("a", Some(&form.replace('?', &c.to_string())))).collect())
    };
    Source { name: "character in a value", count: chunks * PLACES.len() as u64, at: Box::new(at) }
}

/// The text of a number when texts over `alphabet` are counted by length.
fn nth_text<T: Copy>(alphabet: &[T], mut number: u64) -> Vec<T> {
    let base = alphabet.len() as u64;
    let (mut length, mut of_length) = (0, 1);
    while number >= of_length {
        number -= of_length;
        length += 1;
        of_length *= base;
    }
    (0..length)
        .map(|_| {
            let digit = alphabet[(number % base) as usize];
            number /= base;
            digit
        })
        .collect()
}

/// How many texts have up to `length` of `base` letters, the empty one among them.
fn texts_up_to(base: u64, length: u32) -> u64 {
    (0..=length).map(|length| base.pow(length)).sum()
}

/// Every short text of properties.
fn stored_texts() -> Source {
    const READERS: &[&str] = &["a = '5'", "a IS NULL", "a5 = 'a' OR a = 5", "a CONTAINS '\u{1}'", "a = 'a'", "a"];
    let texts = texts_up_to(STORED_BYTES.len() as u64, STORED_BYTES_MAX);
    let chunks = texts.div_ceil(STORED_PER_QUESTION);
    let at = move |number: u64| {
        let (reader, chunk) = (number / chunks, number % chunks);
        let numbers = chunk * STORED_PER_QUESTION..texts.min((chunk + 1) * STORED_PER_QUESTION);
        let stored = |number| Stored { text: nth_text(STORED_BYTES, number), rules: RuleSet::default() };
        Question::plain(READERS[reader as usize], numbers.map(stored).collect())
    };
    Source { name: "stored text", count: chunks * READERS.len() as u64, at: Box::new(at) }
}

/// Every sequence of up to `length` tokens.
fn sequences(length: u32) -> Source {
    let at = |number| {
        let text = nth_text(SEQUENCE, number).join(" ");
        Question::plain(text, vec![Stored::one("a", Some("1")), Stored::default()])
    };
    Source { name: "token sequence", count: texts_up_to(SEQUENCE.len() as u64, length), at: Box::new(at) }
}

/// All systematic sources; sequences of tokens up to `sequence_length`.
pub(crate) fn sources(sequence_length: u32) -> Vec<Source> {
    vec![
        pairs(),
        tails(),
        bounds(),
        readings(),
        literals(),
        characters(),
        characters_in_values(),
        stored_texts(),
        sequences(sequence_length),
    ]
}
