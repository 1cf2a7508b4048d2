//! Text that is no sentence of the grammar, or no longer one: cut, changed, followed by more, put together at random,
//! and nests as deep as they are promised to work.
//!
//! Owns the damage. Legal sentences come from `grammar`.

use strata_tests::draw::Draw;

use crate::grammar::{Sentence, asked, joined, sentence};
use crate::question::Question;
use crate::rules::{Rule, RuleSet};
use crate::values::{NUMBERS, one};

/// Levels of a nest: as deep as Strata promises to follow Apache.
const NEST_LEVELS_MAX: u64 = 256;

/// Bytes of a long expression, below the limit on an expression's text.
const LONG_BYTES_MAX: usize = 15 * 1024;

/// Tokens of a long expression: each is a node at most, and the limit on nodes is 4,096.
const LONG_TOKENS_MAX: usize = 3_500;

/// Tokens of what a nest is around, so that all of it stays within the limits.
const TOKENS_INSIDE_MAX: usize = 200;

/// Tokens, and what looks like tokens.
const TOKENS: &[&str] = &[
    "a",
    "a",
    "a",
    "b",
    "b",
    "1",
    "5",
    "5.0",
    "'x'",
    "'5'",
    "''",
    "TRUE",
    "FALSE",
    "NULL",
    "NOT",
    "NOT",
    "AND",
    "OR",
    "IS",
    "IN",
    "BETWEEN",
    "CONTAINS",
    "STARTSWITH",
    "ENDSWITH",
    "=",
    "=",
    "<>",
    "<",
    "<=",
    ">",
    ">=",
    "(",
    "(",
    ")",
    ")",
    ",",
    "+",
    "-",
    "--",
    "/*",
    "*/",
    "!=",
    "==",
    ";",
    "#",
    "\"x\"",
    ".",
    "5.",
    ".5",
    "1e5",
    "0x1F",
    "012",
    "1L",
    "LIKE",
    "é",
    "'",
    "notin",
    "isnull",
    "ı",
    "\u{17f}",
    "9223372036854775808",
    "3000000000",
    "0.0",
    "%",
    "*",
    "/",
    "||",
    "&&",
    "?",
    ":p",
    "[",
    "]",
    "{",
    "}",
    "@",
    "`a`",
    "\\",
    "a.b",
    "a-b",
    "$",
    "_",
    "\u{0}",
    "\u{b}",
    "\u{a0}",
    "\u{feff}",
    "\n",
    "\t",
];

/// Characters that are put into text.
const CHARACTERS: &[&str] = &[
    "'",
    "'",
    "-",
    "-",
    "/",
    "*",
    "(",
    ")",
    " ",
    "\n",
    ".",
    "e",
    "E",
    "L",
    "0",
    "9",
    "=",
    "<",
    ">",
    "!",
    ",",
    ";",
    "\"",
    "\\",
    "a",
    "N",
    "_",
    "$",
    "#",
    "\u{0}",
    "\u{b}",
    "\u{1f}",
    "\u{7f}",
    "\u{85}",
    "\u{a0}",
    "é",
    "ſ",
    "K",
    "İ",
    "ı",
    "\u{2028}",
    "\u{3000}",
    "\u{fffd}",
    "\u{ffff}",
    "\u{1f600}",
    "\u{665}",
];

/// Tokens that end an expression without being part of it, since none of them can continue it.
const STOPS: &[&str] =
    &["x", "a", "5", "5.0", "'s'", ")", "(", ",", "+", "-", "TRUE", "null", "LIKE", "notin", "0", "e5"];

/// A question with broken text, of a kind by chance.
pub(crate) fn question(draw: &mut Draw) -> Question {
    match draw.below(10) {
        0 | 1 => ignored(draw),
        2 | 3 => cut(draw),
        4..=6 => mutated(draw),
        7 | 8 => soup(draw),
        _ => deep(draw),
    }
}

/// The same question with rules of another kind.
fn only(mut question: Question, rule: Rule) -> Question {
    question.rules = RuleSet::default();
    question.rules.add(rule);
    question
}

/// A sentence and a token that does not belong to it; what follows that is never looked at.
fn ignored(draw: &mut Draw) -> Question {
    let mut sentence = sentence(draw);
    sentence.tokens.push(one(draw, STOPS).to_owned());
    let mut text = joined(draw, &sentence.tokens, &mut sentence.rules);
    if draw.chance(60) {
        text.push(' ');
        for _ in 0..draw.below(6) {
            text.push_str(one(draw, TOKENS));
            text.push_str(one(draw, &["", " "]));
        }
    }
    sentence.rules.add(Rule::Ignored);
    asked(draw, text, &sentence)
}

fn cut(draw: &mut Draw) -> Question {
    let mut sentence = sentence(draw);
    let text = joined(draw, &sentence.tokens, &mut sentence.rules);
    let left = draw.below(text.chars().count() as u64 + 1) as usize;
    let text = if draw.chance(80) { text.chars().take(left).collect() } else { text.chars().skip(left).collect() };
    only(asked(draw, text, &sentence), Rule::Cut)
}

fn mutated(draw: &mut Draw) -> Question {
    let mut sentence = sentence(draw);
    if draw.chance(50) {
        for _ in 0..draw.between(1, 2) {
            change_tokens(draw, &mut sentence);
        }
    }
    let mut text = joined(draw, &sentence.tokens, &mut sentence.rules);
    for _ in 0..draw.below(3) {
        text = changed(draw, &text);
    }
    only(asked(draw, text, &sentence), Rule::Mutated)
}

fn change_tokens(draw: &mut Draw, sentence: &mut Sentence) {
    let tokens = &mut sentence.tokens;
    if tokens.is_empty() {
        return;
    }
    let at = draw.below(tokens.len() as u64) as usize;
    match draw.below(5) {
        0 => drop(tokens.remove(at)),
        1 => tokens.insert(at, one(draw, TOKENS).to_owned()),
        2 => tokens[at] = one(draw, TOKENS).to_owned(),
        3 => tokens[at] = one(draw, NUMBERS).to_owned(),
        _ => {
            let other = draw.below(tokens.len() as u64) as usize;
            tokens.swap(at, other);
        }
    }
}

/// One character more, less, or another one.
fn changed(draw: &mut Draw, text: &str) -> String {
    let mut characters: Vec<char> = text.chars().collect();
    let at = draw.below(characters.len() as u64 + 1) as usize;
    let kind = draw.below(3);
    if kind > 0 && at < characters.len() {
        characters.remove(at);
    }
    if kind < 2 {
        characters.splice(at..at, one(draw, CHARACTERS).chars());
    }
    characters.into_iter().collect()
}

fn soup(draw: &mut Draw) -> Question {
    let mut text = String::new();
    let pieces = draw.between(1, 10);
    for _ in 0..pieces {
        text.push_str(one(draw, TOKENS));
        text.push_str(one(draw, &[" ", " ", " ", "", "\n"]));
    }
    let mut sentence =
        Sentence { names: vec!["a".into(), "b".into()], values: vec!["5".into(), "x".into()], ..Sentence::default() };
    sentence.rules.add(Rule::Soup);
    asked(draw, text, &sentence)
}

/// A sentence in a deep nest, or a long row of sentences.
fn deep(draw: &mut Draw) -> Question {
    let mut sentence = sentence(draw);
    if sentence.tokens.len() > TOKENS_INSIDE_MAX {
        sentence.tokens = vec![String::from("a")];
    }
    let inner = joined(draw, &sentence.tokens, &mut sentence.rules);
    let shallow = draw.chance(50);
    let levels = if shallow { draw.between(2, 40) } else { draw.between(200, NEST_LEVELS_MAX) } as usize;
    let (open, close) = *draw
        .pick(&[
            ("(", ")"),
            ("NOT (", ")"),
            ("NOT NOT (", ")"),
            ("+(", ")"),
            ("(a = 1 OR ", ")"),
            ("(", " AND b = 2)"),
            ("TRUE = (", ")"),
        ])
        .unwrap_or(&("(", ")"));
    let text = match draw.below(4) {
        0 => {
            let joint = one(draw, &[" AND ", " OR ", "and\n", " = "]);
            let fitting =
                (LONG_BYTES_MAX / (inner.len() + joint.len())).min(LONG_TOKENS_MAX / (sentence.tokens.len() + 1));
            let most = fitting.clamp(1, 1_000) as u64;
            vec![inner.as_str(); draw.between(1, most) as usize].join(joint)
        }
        1 => {
            let sign = one(draw, &["- ", "+", "NOT ", "+-", "- + "]);
            format!("{}{inner}", sign.repeat(levels / sign.trim().len().min(2)))
        }
        _ => format!("{}{inner}{}", open.repeat(halved(open, levels)), close.repeat(halved(open, levels))),
    };
    only(asked(draw, text, &sentence), Rule::Deep)
}

/// How often something is repeated so that `levels` levels come of it.
fn halved(open: &str, levels: usize) -> usize {
    let each = open.matches(['(', '+']).count() + open.matches("NOT").count();
    levels / each.max(1)
}
