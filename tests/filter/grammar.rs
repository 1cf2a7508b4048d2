//! Sentences of the filter's grammar by chance: every production, every shape of token, mostly of sound types.
//!
//! Owns the generator of legal text and the space between its tokens. What breaks text is in `broken`.

use std::borrow::Cow;

use strata_tests::draw::Draw;

use crate::question::Question;
use crate::rules::{Rule, RuleSet};
use crate::values::{self, NAMES, NUMBERS, STRINGS, one};

/// Properties texts on which each random expression is evaluated.
const PROPERTIES_PER_EXPRESSION: usize = 4;

/// Levels of conditions inside conditions.
const DEPTH_MAX: u64 = 4;

/// An expression as its tokens, and what it is made of.
#[derive(Debug, Default)]
pub(crate) struct Sentence {
    pub(crate) tokens: Vec<String>,
    pub(crate) rules: RuleSet,
    pub(crate) names: Vec<Cow<'static, str>>,
    /// Texts of its literals.
    pub(crate) values: Vec<String>,
}

/// Writes one sentence.
struct Writer<'a> {
    draw: &'a mut Draw,
    sentence: Sentence,
}

/// A sentence by chance.
pub(crate) fn sentence(draw: &mut Draw) -> Sentence {
    let depth = draw.below(DEPTH_MAX + 1);
    let mut writer = Writer { draw, sentence: Sentence::default() };
    writer.condition(depth);
    writer.sentence
}

/// A question by chance: a sentence and properties for it.
pub(crate) fn question(draw: &mut Draw) -> Question {
    let mut sentence = sentence(draw);
    let expression = joined(draw, &sentence.tokens, &mut sentence.rules);
    asked(draw, expression, &sentence)
}

/// A question about `expression`, which came of `sentence`, with properties that it may be about.
pub(crate) fn asked(draw: &mut Draw, expression: String, sentence: &Sentence) -> Question {
    let mut names = sentence.names.clone();
    names.sort_unstable();
    names.dedup();
    let properties = (0..PROPERTIES_PER_EXPRESSION).map(|_| values::stored(draw, &names, &sentence.values)).collect();
    Question { expression, properties, rules: sentence.rules }
}

/// The tokens as text, with spaces of all kinds, comments, or nothing between them.
pub(crate) fn joined(draw: &mut Draw, tokens: &[String], rules: &mut RuleSet) -> String {
    let mut text = String::new();
    for token in tokens {
        let wordy = |c: char| c.is_alphanumeric() || "_$.'".contains(c);
        let apart = text.ends_with(wordy) && token.starts_with(wordy);
        let (space, rule) = match draw.below(60) {
            0 => ("\t", Some(Rule::Tab)),
            1 => ("\n", Some(Rule::LineFeed)),
            2 => ("\r", Some(Rule::CarriageReturn)),
            3 => ("\u{c}", Some(Rule::FormFeed)),
            4 => ("\r\n", Some(Rule::LineFeed)),
            5 => ("/**/", Some(Rule::BlockComment)),
            6 => (
                one(draw, &["/* c */", "/***/", "/* * / ' */", " /* a = 1\n*/ ", "/*/*/", "/* -- */"]),
                Some(Rule::BlockComment),
            ),
            7 => (one(draw, &["--\n", "-- c\n", "--'\r", "-- /* \r\n", "---\n"]), Some(Rule::LineComment)),
            8..=18 if !apart => ("", (!text.is_empty()).then_some(Rule::NoSpace)),
            19 => ("  ", None),
            _ if text.is_empty() => ("", None),
            _ => (" ", None),
        };
        if let Some(rule) = rule {
            rules.add(rule);
        }
        text.push_str(space);
        text.push_str(token);
    }
    text
}

impl Writer<'_> {
    fn symbol(&mut self, token: &str) {
        self.sentence.tokens.push(token.to_owned());
    }

    /// A keyword, in any case.
    fn keyword(&mut self, word: &str) {
        let word = match self.draw.below(8) {
            0 => {
                self.sentence.rules.add(Rule::KeywordCase);
                let odd = self.draw.number();
                let cased = |(at, c): (usize, char)| {
                    if odd >> (at % 64) & 1 == 1 { c.to_ascii_lowercase() } else { c }
                };
                word.chars().enumerate().map(cased).collect()
            }
            1 | 2 => word.to_lowercase(),
            _ => word.to_owned(),
        };
        self.sentence.tokens.push(word);
    }

    fn keywords(&mut self, words: &str) {
        for word in words.split(' ') {
            self.keyword(word);
        }
    }

    fn uses(&mut self, rule: Rule) {
        self.sentence.rules.add(rule);
    }

    /// Writes something in parentheses, or mostly so: without them operators bind as they do.
    fn enclosed(&mut self, depth: u64, sometimes: bool, write: fn(&mut Self, u64)) {
        if sometimes && self.draw.chance(20) {
            return write(self, depth);
        }
        self.uses(Rule::Parentheses);
        self.symbol("(");
        write(self, depth);
        self.symbol(")");
    }

    /// Something that is true, false or unknown.
    fn condition(&mut self, depth: u64) {
        // Now and then something that is none.
        if self.draw.chance(2) {
            return self.operand(depth);
        }
        let kinds = if depth == 0 { 20 } else { 34 };
        match self.draw.below(kinds) {
            0..=3 => self.equality(depth),
            4..=6 => self.order(depth),
            7..=8 => self.between(depth),
            9..=10 => self.list(depth),
            11..=13 => self.search(depth),
            14..=15 => self.nullness(depth),
            16..=17 => self.bare(),
            18..=19 => self.sign(depth, Self::bare),
            20..=23 => self.logic(depth, "AND", Rule::And),
            24..=27 => self.logic(depth, "OR", Rule::Or),
            28..=30 => self.negation(depth),
            31 => self.enclosed(depth - 1, false, Self::condition),
            _ => self.chain(depth),
        }
    }

    fn logic(&mut self, depth: u64, word: &str, rule: Rule) {
        self.uses(rule);
        let parts = if self.draw.chance(10) { self.draw.between(3, 8) } else { 2 };
        for part in 0..parts {
            if part > 0 {
                self.keyword(word);
            }
            self.enclosed(depth.saturating_sub(1) / (parts - 1), true, Self::condition);
        }
    }

    fn negation(&mut self, depth: u64) {
        self.uses(Rule::Not);
        self.keyword("NOT");
        if self.draw.chance(25) { self.bare() } else { self.enclosed(depth.saturating_sub(1), true, Self::condition) }
    }

    /// A property, or a constant.
    fn bare(&mut self) {
        match self.draw.below(8) {
            0 => self.boolean(),
            1 => self.null(),
            _ => self.property(),
        }
    }

    fn boolean(&mut self) {
        let (rule, word) = if self.draw.chance(50) { (Rule::True, "TRUE") } else { (Rule::False, "FALSE") };
        self.uses(rule);
        self.keyword(word);
    }

    fn null(&mut self) {
        self.uses(Rule::Null);
        self.keyword("NULL");
    }

    /// Signs in front of something.
    fn sign(&mut self, _: u64, write: fn(&mut Self)) {
        for _ in 0..self.draw.between(1, 2) {
            let (rule, sign) = if self.draw.chance(60) { (Rule::Minus, "-") } else { (Rule::Plus, "+") };
            self.uses(rule);
            self.symbol(sign);
        }
        write(self);
    }

    fn equality(&mut self, depth: u64) {
        self.operand(depth);
        let (rule, sign) = if self.draw.chance(60) { (Rule::Equal, "=") } else { (Rule::NotEqual, "<>") };
        self.uses(rule);
        self.symbol(sign);
        if self.draw.chance(12) { self.boolean() } else { self.operand(depth) }
    }

    fn order(&mut self, depth: u64) {
        self.comparable(depth);
        self.order_sign();
        self.comparable(depth);
    }

    fn order_sign(&mut self) {
        let signs = [(Rule::Greater, ">"), (Rule::GreaterEqual, ">="), (Rule::Less, "<"), (Rule::LessEqual, "<=")];
        let (rule, sign) = *self.draw.pick(&signs).unwrap_or(&signs[0]);
        self.uses(rule);
        self.symbol(sign);
    }

    fn between(&mut self, depth: u64) {
        self.comparable(depth);
        if self.draw.chance(50) {
            self.uses(Rule::Between);
            self.keyword("BETWEEN");
        } else {
            self.uses(Rule::NotBetween);
            self.keywords("NOT BETWEEN");
        }
        self.comparable(0);
        self.keyword("AND");
        self.comparable(0);
    }

    fn list(&mut self, depth: u64) {
        match self.draw.below(12) {
            0 => self.operand(depth),
            1 => {
                self.uses(Rule::Plus);
                self.symbol("+");
                self.property();
            }
            2 => self.enclosed(0, false, |writer, _| writer.property()),
            _ => self.property(),
        }
        if self.draw.chance(50) {
            self.uses(Rule::In);
            self.keyword("IN");
        } else {
            self.uses(Rule::NotIn);
            self.keywords("NOT IN");
        }
        let many = if self.draw.chance(5) { 300 } else { 12 };
        let (rule, count) = match self.draw.below(3) {
            0 => (Rule::ListOfOne, 1),
            1 => (Rule::ListOfFew, self.draw.between(2, 4)),
            _ => (Rule::ListOfMany, self.draw.between(5, many)),
        };
        self.uses(rule);
        self.symbol("(");
        for at in 0..count {
            if at > 0 {
                self.symbol(",");
            }
            self.string();
        }
        self.symbol(")");
    }

    fn search(&mut self, depth: u64) {
        if self.draw.chance(70) {
            self.property()
        } else {
            self.operand(depth)
        }
        self.search_tail();
    }

    fn search_tail(&mut self) {
        let kinds = [
            (Rule::Contains, "CONTAINS"),
            (Rule::NotContains, "NOT CONTAINS"),
            (Rule::StartsWith, "STARTSWITH"),
            (Rule::NotStartsWith, "NOT STARTSWITH"),
            (Rule::EndsWith, "ENDSWITH"),
            (Rule::NotEndsWith, "NOT ENDSWITH"),
        ];
        let (rule, words) = *self.draw.pick(&kinds).unwrap_or(&kinds[0]);
        self.uses(rule);
        self.keywords(words);
        self.string();
    }

    fn nullness(&mut self, depth: u64) {
        if self.draw.chance(70) {
            self.property()
        } else {
            self.operand(depth)
        }
        self.nullness_tail();
    }

    fn nullness_tail(&mut self) {
        if self.draw.chance(50) {
            self.uses(Rule::IsNull);
            self.keywords("IS NULL");
        } else {
            self.uses(Rule::IsNotNull);
            self.keywords("IS NOT NULL");
        }
    }

    /// Comparisons whose left side is a comparison.
    fn chain(&mut self, depth: u64) {
        self.uses(Rule::Chain);
        match self.draw.below(4) {
            0 => self.order(depth - 1),
            1 => self.search(depth - 1),
            _ => self.equality(depth - 1),
        }
        for _ in 0..self.draw.between(1, 2) {
            match self.draw.below(8) {
                0 => self.search_tail(),
                1 | 2 => self.nullness_tail(),
                3 => {
                    self.order_sign();
                    self.comparable(0);
                }
                _ => {
                    let (rule, sign) = if self.draw.chance(60) { (Rule::Equal, "=") } else { (Rule::NotEqual, "<>") };
                    self.uses(rule);
                    self.symbol(sign);
                    if self.draw.chance(50) { self.boolean() } else { self.operand(0) }
                }
            }
        }
    }

    /// What may stand on a side of `=`: anything.
    fn operand(&mut self, depth: u64) {
        match self.draw.below(20) {
            0..=8 => self.property(),
            9..=11 => self.number(),
            12..=14 => self.string(),
            15 => self.bare(),
            16 => self.sign(depth, Self::number),
            17 => self.sign(depth, Self::property),
            18 if depth > 0 => self.enclosed(depth - 1, false, Self::condition),
            19 if depth > 0 => self.negation(depth - 1),
            _ => self.property(),
        }
    }

    /// What may stand on a side of an order: mostly numbers and properties.
    fn comparable(&mut self, depth: u64) {
        match self.draw.below(40) {
            0..=18 => self.property(),
            19..=34 => self.number(),
            35..=36 => self.sign(depth, Self::number),
            37 => self.sign(depth, Self::property),
            38 => self.enclosed(0, false, |writer, _| writer.number()),
            _ => self.operand(depth),
        }
    }

    fn property(&mut self) {
        self.uses(Rule::Property);
        // Few names, so that one stands in several places.
        let name = if self.draw.chance(75) { one(self.draw, &["a", "b"]) } else { one(self.draw, NAMES) };
        self.sentence.names.push(Cow::Borrowed(name));
        self.symbol(name);
    }

    fn string(&mut self) {
        self.uses(Rule::StringLiteral);
        let value = match self.draw.below(4) {
            0 => one(self.draw, NUMBERS),
            1 => one(self.draw, STRINGS),
            _ => one(self.draw, &["x", "y", "xy", "5", "blue", "1", "true"]),
        };
        let value: String = if self.draw.chance(3) { value.repeat(40) } else { value.to_owned() };
        if value.contains('\'') {
            self.uses(Rule::QuoteInString);
        }
        if value.is_empty() {
            self.uses(Rule::EmptyString);
        }
        if !value.is_ascii() {
            self.uses(Rule::NonAsciiString);
        }
        self.symbol(&format!("'{}'", value.replace('\'', "''")));
        self.sentence.values.push(value);
    }

    fn number(&mut self) {
        let text = match self.draw.below(10) {
            0..=4 => self.draw.between(0, 12).to_string(),
            5 => self.edge(),
            6 => {
                self.uses(Rule::LongSuffix);
                format!("{}{}", self.draw.between(1, 5_000_000_000), one(self.draw, &["l", "L"]))
            }
            _ => self.float(),
        };
        if text.contains(['.', 'e', 'E']) {
            self.uses(Rule::Float);
        } else {
            let digits = text.trim_end_matches(['l', 'L']);
            self.uses(if digits.parse::<i32>().is_ok() { Rule::Integer } else { Rule::Long });
        }
        self.symbol(&text);
        self.sentence.values.push(text);
    }

    /// An integer around the borders of int and long.
    fn edge(&mut self) -> String {
        let edges = [
            "2147483646",
            "2147483647",
            "2147483648",
            "2147483649",
            "3000000000",
            "4294967296",
            "9007199254740993",
            "9223372036854775806",
            "9223372036854775807",
            "9223372036854775808",
        ];
        if self.draw.chance(30) {
            return self.draw.between(1 << 31, i64::MAX as u64).to_string();
        }
        one(self.draw, &edges).to_owned()
    }

    fn float(&mut self) -> String {
        let (whole, part) = (self.draw.between(1, 12), self.draw.below(100));
        match self.draw.below(8) {
            0 => {
                self.uses(Rule::FloatDotEnds);
                format!("{whole}.")
            }
            1 => {
                self.uses(Rule::FloatDotBegins);
                format!(".{part}")
            }
            2 | 3 => {
                self.uses(Rule::FloatExponent);
                let exponent = if self.draw.chance(20) { self.draw.below(330) } else { self.draw.below(3) };
                format!(
                    "{whole}{}{}{exponent}",
                    one(self.draw, &["e", "E", ".e", ".0e", ".5E"]),
                    one(self.draw, &["", "+", "-"])
                )
            }
            4 => {
                self.uses(Rule::FloatZeros);
                format!("00{whole}.{part}")
            }
            5 => String::from(one(
                self.draw,
                &[
                    "5.0",
                    "0.0",
                    "0.00",
                    "4.9e-324",
                    "2e-324",
                    "3e-324",
                    "1e309",
                    "1.7976931348623157e308",
                    "1.7976931348623159e308",
                ],
            )),
            _ => format!("{whole}.{part}"),
        }
    }
}
