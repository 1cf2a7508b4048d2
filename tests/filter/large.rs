//! Large questions: expressions of many names, tokens of thousands of characters, values as long.
//!
//! Owns what makes questions large. Small ones, and deep ones, come from `grammar` and `broken`.

use strata_tests::draw::Draw;

use crate::grammar::{Sentence, asked};
use crate::question::Question;
use crate::rules::Rule;
use crate::values::one;

/// Characters of a long token: lexers that read 4,096 at a time have to go on.
const TOKEN_CHARS_MAX: u64 = 9_000;

/// Beginnings of names: of all lengths around eight bytes, some the beginning of others.
const STEMS: &[&str] =
    &["n", "no", "name", "name_of", "name_of_", "name_of_i", "name_of_it", "$", "N", "nam", "a_long_name_of_its_own_"];

/// A question that is large, in a way by chance.
pub(crate) fn question(draw: &mut Draw) -> Question {
    if draw.chance(50) { many_names(draw) } else { long_token(draw) }
}

/// A test of each of many properties.
fn many_names(draw: &mut Draw) -> Question {
    let most = *draw.pick(&[3, 5, 8, 9, 16, 63, 64, 65, 66, 130]).unwrap_or(&9);
    let count = draw.between(1, most);
    let joint = one(draw, &[" AND ", " OR "]);
    let mut sentence = Sentence { values: vec![String::from("5")], ..Sentence::default() };
    let mut text = String::new();
    for number in 0..count {
        let name = format!("{}{}", one(draw, STEMS), if draw.chance(80) { number.to_string() } else { String::new() });
        let tests = if joint == " AND " {
            ["IS NOT NULL OR TRUE", "IS NULL OR 1 = 1", "= 5 OR TRUE = TRUE", "<> '6'", "IS NOT NULL"]
        } else {
            ["= '6'", "IS NULL AND FALSE", "= 'x' AND 1 = 2", "CONTAINS 'y'", "= '5'"]
        };
        // Mostly the answer is not known before the last name.
        let test = tests[if draw.chance(5) { 4 } else { draw.below(4) as usize }];
        text.push_str(if number == 0 { "" } else { joint });
        text.push_str(&format!("({name} {test})"));
        sentence.names.push(name.into());
    }
    if draw.chance(5) {
        text.push_str(one(draw, &[" AND", " = NULL", " OR x > 'x'", ";", " = x.y"]));
    }
    sentence.rules.add(Rule::ManyNames);
    let mut question = asked(draw, text, &sentence);
    for stored in &mut question.properties {
        // Names that are nearly the ones that are looked for.
        for _ in 0..draw.below(4) {
            let near = format!("{}{}", one(draw, STEMS), one(draw, &["", "1", "11", "x", " ", "\u{1}"]));
            let entry = [near.as_bytes(), b"\x01", one(draw, &["6", "y", ""]).as_bytes(), b"\x02"].concat();
            let front = draw.chance(50);
            if front || !(stored.text.is_empty() || stored.text.ends_with(b"\x02")) {
                stored.text.splice(0..0, entry);
            } else {
                stored.text.extend(entry);
            }
        }
    }
    question
}

/// A token of any kind that is longer than anybody writes, or a value that is.
fn long_token(draw: &mut Draw) -> Question {
    let length = draw.between(1, TOKEN_CHARS_MAX) as usize;
    let filling = one(draw, &["x", "5", "0", "xy", "é", "''", " ", "日", "_"]);
    let long = filling.repeat((length / filling.len()).max(1));
    let digits: String = (0..length).map(|_| char::from(b'0' + draw.below(10) as u8)).collect();
    let text = match draw.below(12) {
        0 => format!("a = '{long}'"),
        1 => format!("a CONTAINS '{long}'"),
        2 => format!("a IN ('x', '{long}', '5') OR b = 5"),
        3 => format!("a {} = 5", " ".repeat(length)),
        4 => format!("a /*{long}*/ = 5"),
        5 => format!("a --{long}\n = 5"),
        6 => format!("a{} = 5 OR b = 5", "x".repeat(length)),
        7 => format!("a > 0.{digits}"),
        8 => format!("a < {digits}.5e-{length} OR b = 5"),
        9 => format!("a = {}5.0", "0".repeat(length)),
        10 => format!("a = {digits}"),
        _ => format!("a <> '{long} OR b = 5"),
    };
    let mut sentence = Sentence { names: vec!["a".into(), "b".into()], ..Sentence::default() };
    sentence.values = vec![long.replace("''", "'"), String::from("5"), format!("0.{digits}"), format!("x{long}x")];
    sentence.rules.add(Rule::LongToken);
    asked(draw, text, &sentence)
}
