//! Texts of values: numbers in every form that somebody may write, strings, and stored properties made of them.
//!
//! Owns the lists that the systematic part goes through and the draws of the random part.

use std::borrow::Cow;

use strata_protocol::limits::PROPERTIES_BYTES_MAX;
use strata_tests::draw::Draw;

use crate::question::Stored;
use crate::rules::{Rule, RuleSet};

/// One of the choices, which are never none.
pub(crate) fn one<'a>(draw: &mut Draw, choices: &[&'a str]) -> &'a str {
    draw.pick(choices).copied().unwrap_or_default()
}

/// Numbers, nearly numbers, and what looks like one to some parser of some language.
pub(crate) const NUMBERS: &[&str] = &[
    "5",
    "+5",
    "-5",
    "--5",
    "+-5",
    "005",
    "-005",
    "0",
    "-0",
    "+0",
    "00",
    "5L",
    "5l",
    "5d",
    "5D",
    "5f",
    "5F",
    "5.",
    ".5",
    "+.5",
    ".",
    "+",
    "-",
    "5.0",
    "5.0d",
    "5.0f",
    "5.0L",
    "5e0",
    "5E0",
    "5e",
    "5e+",
    "5e+0",
    "5e-0",
    "50e-1",
    "0.5e1",
    "5e1",
    " 5",
    "5 ",
    "\t5\n",
    "\u{b}5",
    "\u{1f}5\u{1}",
    "\u{1c}5",
    "\u{0}5",
    "\u{7f}5",
    "\u{85}5",
    "\u{a0}5",
    "5\u{a0}",
    "\u{2003}5",
    "\u{3000}5",
    "\u{feff}5",
    "5 d",
    "5_0",
    "5,0",
    "1,000",
    "0x5",
    "0x5p0",
    "0X5P0",
    "0x1p3",
    "0x.8p1",
    "0x5.p0",
    "0x5.0p+0",
    "0x5p0d",
    "0x5p0f",
    "0x5p",
    "0xp1",
    "0x.p1",
    "0x1.8p2147483648",
    "0x1p-1074",
    "0x1p-1075",
    "0x1.8p-1075",
    "0x1p1024",
    "0x1.fffffffffffff8p1023",
    "0x1.fffffffffffff7p1023",
    "-0x5p0",
    "0b101",
    "05",
    "0o5",
    "NaN",
    "-NaN",
    "+NaN",
    "nan",
    "NAN",
    "Infinity",
    "-Infinity",
    "+Infinity",
    "infinity",
    "INFINITY",
    "inf",
    "Inf",
    "NaNd",
    "Infinityf",
    " NaN ",
    " Infinity",
    "1e400",
    "-1e400",
    "1e-400",
    "-1e-400",
    "1e309",
    "4.9e-324",
    "2.4e-324",
    "2.5e-324",
    "1e2147483647",
    "1e2147483648",
    "1e-2147483649",
    "1e99999999999",
    "0e99999999999",
    "1.7976931348623157e308",
    "1.7976931348623158e308",
    "1.7976931348623159e308",
    "2.2250738585072012e-308",
    "9007199254740993",
    "9007199254740992.0",
    "9007199254740993.0",
    "0.1",
    "0.10000000000000000555",
    "2147483647",
    "2147483648",
    "-2147483648",
    "-2147483649",
    "+2147483647",
    "02147483647",
    "00000000000000000000005",
    "4294967301",
    "3000000000",
    "+3000000000",
    "3000000000.0",
    "3e9",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "-9223372036854775809",
    "18446744073709551616",
    "99999999999999999999",
    "1e19",
    "\u{665}",
    "\u{6f5}",
    "\u{7c5}",
    "\u{96b}",
    "\u{9eb}",
    "\u{e55}",
    "\u{1045}",
    "\u{17e5}",
    "\u{1815}",
    "\u{ff15}",
    "\u{1d7d3}",
    "\u{a8d5}",
    "\u{abf5}",
    "\u{1b55}",
    "-\u{665}",
    "+\u{ff15}",
    "\u{ff0b}5",
    "\u{2212}5",
    "\u{ff15}.0",
    "1\u{665}",
    "\u{663}\u{660}\u{660}\u{660}\u{660}\u{660}\u{660}\u{660}\u{660}\u{660}",
    "\u{2075}",
    "\u{2464}",
    "\u{4e94}",
    "\u{bd}",
    "V",
    "five",
    "true",
    "TRUE",
    "tRuE",
    "yes",
    "1",
    "false",
    "",
    " ",
    "x",
    "null",
    "NULL",
    "5x",
    "x5",
    "$5",
    "5%",
    "#5",
    "'5'",
    "\"5\"",
    "(5)",
    "5;",
    "5=5",
    "1/2",
    "5i",
    "1e1e1",
    "1.2.3",
    "..5",
    "5..",
    "-.5e-1",
    "0.0",
    "-0.0",
    "0.",
    ".0",
    "0e0",
    "00.5",
    "1_000",
    "0x",
    "0x1",
    "1p3",
    "0x1p3.0",
    "0x1P+03",
    "0x0p0",
    "-0x0p0",
    "179769313486231580793728971405301e276",
    "0.000000000000000000000000000000000000000000000000000000000005e60",
    "5.000000000000000000000000000000000000000000000000000000000000000001",
    "4.9999999999999999999999999999999999999999",
];

/// Strings that are no numbers.
pub(crate) const STRINGS: &[&str] = &[
    "x",
    "X",
    "xyz",
    "it's",
    "''",
    "'",
    "",
    " ",
    "x ",
    " x",
    "blue",
    "Blue",
    "BLUE",
    "true",
    "TRUE",
    "false",
    "a\tb",
    "a\nb",
    "é",
    "e\u{301}",
    "ß",
    "SS",
    "İ",
    "日本",
    "\u{fffd}",
    "\u{1f600}",
    "\u{10ffff}",
    "\u{d7ff}\u{e000}",
    "--",
    "/* */",
    "a = 1",
    "%",
    "_",
    "x%",
    "\\",
    "\\'",
    "\"",
    "\u{0}",
    "\u{3}",
    "\u{7f}",
    "\u{80}",
    "null",
    "NULL",
    "NaN",
];

/// Names of properties: plain ones, keywords' neighbours, those of RocketMQ, and names that differ in case only.
pub(crate) const NAMES: &[&str] = &[
    "a", "b", "c", "A", "_x", "$y", "a1", "price", "trueish", "nul", "in_", "TAGS", "KEYS", "e5", "L", "x$_9", "isnull",
];

/// A number's text put together by chance: mostly legal to some parser.
pub(crate) fn odd_number(draw: &mut Draw) -> String {
    let digits = |draw: &mut Draw, most: u64| -> String {
        let zero = if draw.chance(12) {
            *draw.pick(&[0x660, 0x6f0, 0x966, 0xff10, 0x1d7ce, 0x30]).unwrap_or(&0x30)
        } else {
            0x30
        };
        let digit = |draw: &mut Draw| char::from_u32(zero + u32::try_from(draw.below(10)).unwrap_or(0));
        (0..draw.between(1, most)).filter_map(|_| digit(draw)).collect()
    };
    let space = ["", "", "", "", "", "", " ", "\t", "\n", "\u{a0}", "\u{1f}"];
    let hex = draw.chance(8);
    let mut text = String::from(one(draw, &space));
    text.push_str(one(draw, &["", "", "", "", "+", "-", "-", "+-"]));
    if hex {
        text.push_str(one(draw, &["0x", "0X"]));
        text.push_str(one(draw, &["1", "5", "a", "F", "0", "ff", "1f.8", ".8", "1.", "1.fffffffffffff", ""]));
        text.push_str(one(draw, &["p", "P", "p", "p", ""]));
    } else {
        let most = if draw.chance(10) { 22 } else { 3 };
        text.push_str(&digits(draw, most));
        if draw.chance(40) {
            text.push('.');
            text.push_str(&if draw.chance(85) { digits(draw, 4) } else { String::new() });
        }
        text.push_str(one(draw, &["", "", "", "e", "E"]));
    }
    if text.ends_with(['e', 'E', 'p', 'P']) {
        text.push_str(one(draw, &["", "", "+", "-"]));
        let most = if draw.chance(90) { 2 } else { 5 };
        text.push_str(&digits(draw, most));
    }
    text.push_str(one(draw, &["", "", "", "", "", "d", "D", "f", "F", "L", "l", "x"]));
    text.push_str(one(draw, &space));
    text
}

/// A value near one that the expression names, so that verdicts of all kinds come about.
fn near(draw: &mut Draw, value: &str) -> String {
    match draw.below(16) {
        0 => format!("+{value}"),
        1 => format!("0{value}"),
        2 => format!("{value}.0"),
        3 => format!(" {value}"),
        4 => format!("{value}d"),
        5 => format!("-{value}"),
        6 => format!("{value}{value}"),
        7 => format!("x{value}y"),
        8 => value.to_uppercase(),
        9 => value.parse::<i64>().map_or_else(|_| format!("{value}z"), |n| n.wrapping_add(1).to_string()),
        10 => value.parse::<i64>().map_or_else(|_| value.chars().rev().collect(), |n| n.wrapping_sub(1).to_string()),
        _ => value.to_owned(),
    }
}

/// A value of a property.
fn value(draw: &mut Draw, named: &[String]) -> String {
    match draw.below(20) {
        0..=8 => match draw.pick(named).cloned() {
            Some(value) => near(draw, &value),
            None => String::from("5"),
        },
        9..=11 => draw.between(0, 12).to_string(),
        12..=13 => one(draw, NUMBERS).to_owned(),
        14..=15 => odd_number(draw),
        16 => one(draw, &["true", "TRUE", "false", "True"]).to_owned(),
        _ => one(draw, STRINGS).to_owned(),
    }
}

/// Stored properties for an expression that uses `names` and mentions the values `named`.
pub(crate) fn stored(draw: &mut Draw, names: &[Cow<'_, str>], named: &[String]) -> Stored {
    let mut stored = Stored::default();
    for name in names {
        match draw.below(20) {
            0..=2 => stored.rules.add(Rule::Missing),
            3 => {
                entry(&mut stored, name.as_bytes(), b"");
                stored.rules.add(Rule::Empty);
            }
            4 => {
                let (first, second) = (value(draw, named), value(draw, named));
                entry(&mut stored, name.as_bytes(), first.as_bytes());
                entry(&mut stored, name.as_bytes(), second.as_bytes());
                stored.rules.add(Rule::Doubled);
            }
            5 => {
                let value = value(draw, named);
                let bytes = invalid(draw, &value);
                entry(&mut stored, name.as_bytes(), &bytes);
                stored.rules.add(Rule::InvalidUtf8);
            }
            _ => {
                let value = value(draw, named);
                entry(&mut stored, name.as_bytes(), value.as_bytes());
                if !value.is_ascii() {
                    stored.rules.add(Rule::NonAscii);
                }
            }
        }
        if draw.chance(8) {
            stray(draw, &mut stored, name);
        }
    }
    if draw.chance(5) && stored.text.pop().is_some() {
        stored.rules.add(Rule::Unterminated);
    }
    // A record holds no more.
    stored.text.truncate(PROPERTIES_BYTES_MAX);
    stored
}

fn entry(stored: &mut Stored, name: &[u8], value: &[u8]) {
    stored.text.extend_from_slice(name);
    stored.text.push(1);
    stored.text.extend_from_slice(value);
    stored.text.push(2);
}

/// Something between the entries that no well-behaved client writes.
fn stray(draw: &mut Draw, stored: &mut Stored, name: &str) {
    match draw.below(5) {
        0 => {
            entry(stored, b"", b"5");
            stored.rules.add(Rule::Nameless);
        }
        1 => {
            stored.text.extend_from_slice(name.as_bytes());
            stored.text.push(2);
            stored.rules.add(Rule::Valueless);
        }
        2 => {
            let value = one(draw, &["x\u{1}y", "\u{1}", "5\u{1}", "\u{1}5", "a\u{1}5"]);
            entry(stored, name.as_bytes(), value.as_bytes());
            stored.rules.add(Rule::SeparatorInValue);
        }
        3 => stored.text.push(2),
        _ => entry(stored, one(draw, NAMES).as_bytes(), b"5"),
    }
}

/// Byte sequences that are no UTF-8: lone bytes, cut characters, overlong forms, surrogates, beyond Unicode.
const INVALID: &[&[u8]] = &[
    b"\xff",
    b"\x80",
    b"\xc3",
    b"\xe2\x82",
    b"\xf0\x9f\x98",
    b"\xc0\x80",
    b"\xe0\x80\x80",
    b"\xed\xa0\x80",
    b"\xed\xbf\xbf",
    b"\xed\xa0\xbd\xed\xb8\x80",
    b"\xf4\x90\x80\x80",
    b"\xf8\x88\x80\x80\x80",
    b"\xf0\x80\x80\x80",
    b"\xed\xa0",
    b"\xed",
    b"\xe2\x28\xa1",
    b"\xf0\x28\x8c\xbc",
];

/// A value with such a sequence in it, or nothing but one.
fn invalid(draw: &mut Draw, value: &str) -> Vec<u8> {
    let wrong = draw.pick(INVALID).copied().unwrap_or(b"\xff");
    match draw.below(3) {
        0 => wrong.to_vec(),
        1 => [wrong, value.as_bytes()].concat(),
        _ => [value.as_bytes(), wrong].concat(),
    }
}

/// All such sequences as values of `name`.
pub(crate) fn all_invalid(name: &str) -> Vec<Stored> {
    let of = |bytes: &&[u8]| {
        let mut stored = Stored { text: Vec::new(), rules: RuleSet::default() };
        entry(&mut stored, name.as_bytes(), bytes);
        stored
    };
    INVALID.iter().map(of).collect()
}
