//! Tokens of the SQL92 dialect, cut as Apache RocketMQ's lexer cuts them: the longest match wins, and what matches
//! nothing refuses the whole text, but only when the parser comes to it.
//!
//! Owns blanks, comments, keywords, names and the forms of literals; not what literals mean.

use super::Dialect;
use super::refusal::{Cause, Refusal};

/// What a piece of the text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    End,
    Not,
    And,
    Or,
    Between,
    In,
    True,
    False,
    Null,
    Is,
    Contains,
    StartsWith,
    EndsWith,
    Integer,
    Float,
    Text,
    Name,
    Equal,
    NotEqual,
    Greater,
    GreaterEqual,
    Less,
    LessEqual,
    Open,
    Comma,
    Close,
    Plus,
    Minus,
}

/// A token and the bytes that it takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lexeme {
    pub token: Token,
    pub from: usize,
    pub to: usize,
}

/// Cuts a text into tokens, one at a time.
pub(super) struct Lexer<'a> {
    text: &'a str,
    at: usize,
    /// Where the line ends that was looked for last, so that a text of minus signs is not searched again from each.
    line_end: Option<usize>,
}

const KEYWORDS: [(&str, Token); 12] = [
    ("NOT", Token::Not),
    ("AND", Token::And),
    ("OR", Token::Or),
    ("BETWEEN", Token::Between),
    ("IN", Token::In),
    ("TRUE", Token::True),
    ("FALSE", Token::False),
    ("NULL", Token::Null),
    ("IS", Token::Is),
    ("CONTAINS", Token::Contains),
    ("STARTSWITH", Token::StartsWith),
    ("ENDSWITH", Token::EndsWith),
];

impl<'a> Lexer<'a> {
    pub(super) const fn new(text: &'a str) -> Self {
        Self { text, at: 0, line_end: None }
    }

    /// The next token, behind blanks and comments.
    pub(super) fn next(&mut self) -> Result<Lexeme, Refusal> {
        self.skip();
        let from = self.at;
        let rest = &self.text.as_bytes()[from..];
        let (token, length) = match rest.first() {
            None => (Token::End, 0),
            Some(b'\'') => (Token::Text, self.string(from)?),
            Some(b'0'..=b'9' | b'.') => number(rest).ok_or_else(|| self.bad_character(from))?,
            Some(first) if begins_name(*first) => word(rest),
            Some(_) => symbol(rest).ok_or_else(|| self.bad_character(from))?,
        };
        self.at = from + length;
        Ok(Lexeme { token, from, to: self.at })
    }

    /// Passes over blanks and comments.
    fn skip(&mut self) {
        let bytes = self.text.as_bytes();
        loop {
            match &bytes[self.at..] {
                [b' ' | b'\t' | b'\n' | b'\r' | 0x0C, ..] => self.at += 1,
                [b'-', b'-', ..] => match self.comment_end() {
                    Some(end) => self.at = end,
                    None => return,
                },
                [b'/', b'*', rest @ ..] => match rest.windows(2).position(|two| two == b"*/") {
                    Some(length) => self.at += length + 4,
                    None => return,
                },
                _ => return,
            }
        }
    }

    /// Where the comment ends that begins with two minus signs here. Without a line end they are minus signs.
    fn comment_end(&mut self) -> Option<usize> {
        let bytes = self.text.as_bytes();
        if self.line_end.is_none_or(|end| end < self.at) {
            let found = bytes[self.at..].iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            self.line_end = Some(found.map_or(bytes.len(), |length| self.at + length));
        }
        // What follows the line end is blank space, so that CR LF needs no care.
        self.line_end.filter(|end| *end < bytes.len()).map(|end| end + 1)
    }

    /// The length of the string literal at `from`. Two quotes are one in the value; where the last such pair leaves the
    /// literal open, the literal ends within it.
    fn string(&self, from: usize) -> Result<usize, Refusal> {
        let bytes = &self.text.as_bytes()[from..];
        let mut closed = None;
        let mut at = 1;
        while let Some(length) = bytes.get(at..).and_then(|rest| rest.iter().position(|byte| *byte == b'\'')) {
            at += length + 1;
            closed = Some(at);
            if bytes.get(at) != Some(&b'\'') {
                break;
            }
            at += 1;
        }
        closed.ok_or_else(|| self.refuse(from, Cause::OpenString))
    }

    fn bad_character(&self, at: usize) -> Refusal {
        let rest = &self.text[at..];
        if rest.starts_with("/*") {
            return self.refuse(at, Cause::OpenComment);
        }
        self.refuse(at, rest.chars().next().map_or(Cause::Empty, |character| Cause::Character { character }))
    }

    fn refuse(&self, at: usize, cause: Cause) -> Refusal {
        Refusal::new(Dialect::Sql92, self.text, at, cause)
    }
}

const fn begins_name(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte == b'$'
}

fn word(rest: &[u8]) -> (Token, usize) {
    let length = rest.iter().position(|byte| !begins_name(*byte) && !byte.is_ascii_digit()).unwrap_or(rest.len());
    let keyword = KEYWORDS.iter().find(|(name, _)| rest[..length].eq_ignore_ascii_case(name.as_bytes()));
    (keyword.map_or(Token::Name, |(_, token)| *token), length)
}

/// The longest integer or floating point literal at the start of `rest`, which begins with a digit or a dot.
fn number(rest: &[u8]) -> Option<(Token, usize)> {
    let digits = |from: usize| rest[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let whole = digits(0);
    let mut float = None;
    if rest.get(whole) == Some(&b'.') {
        let fraction = digits(whole + 1);
        float = (whole + fraction > 0).then_some(whole + 1 + fraction);
    }
    let mantissa = float.unwrap_or(whole);
    if mantissa > 0 && matches!(rest.get(mantissa), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(rest.get(mantissa + 1), Some(b'+' | b'-')));
        let from = mantissa + 1 + sign;
        let exponent = if from < rest.len() { digits(from) } else { 0 };
        if exponent > 0 {
            float = Some(from + exponent);
        }
    }
    if let Some(length) = float {
        return Some((Token::Float, length));
    }
    match rest.first() {
        Some(b'0') => Some((Token::Integer, 1)),
        Some(b'1'..=b'9') => {
            let suffix = usize::from(matches!(rest.get(whole), Some(b'l' | b'L')));
            Some((Token::Integer, whole + suffix))
        }
        _ => None,
    }
}

const fn symbol(rest: &[u8]) -> Option<(Token, usize)> {
    Some(match rest {
        [b'<', b'>', ..] => (Token::NotEqual, 2),
        [b'>', b'=', ..] => (Token::GreaterEqual, 2),
        [b'<', b'=', ..] => (Token::LessEqual, 2),
        [b'=', ..] => (Token::Equal, 1),
        [b'>', ..] => (Token::Greater, 1),
        [b'<', ..] => (Token::Less, 1),
        [b'(', ..] => (Token::Open, 1),
        [b',', ..] => (Token::Comma, 1),
        [b')', ..] => (Token::Close, 1),
        [b'+', ..] => (Token::Plus, 1),
        [b'-', ..] => (Token::Minus, 1),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Vec<(Token, &str)> {
        let mut lexer = Lexer::new(text);
        let mut found = Vec::new();
        loop {
            let lexeme = lexer.next().unwrap();
            if lexeme.token == Token::End {
                return found;
            }
            found.push((lexeme.token, &text[lexeme.from..lexeme.to]));
        }
    }

    #[test]
    fn numbers_end_where_the_longest_match_ends() {
        use Token::{Float, Integer, Name, Plus};
        assert_eq!(tokens("012"), [(Integer, "0"), (Integer, "12")]);
        assert_eq!(tokens("0L 1l"), [(Integer, "0"), (Name, "L"), (Integer, "1l")]);
        assert_eq!(tokens("1e 1e+"), [(Integer, "1"), (Name, "e"), (Integer, "1"), (Name, "e"), (Plus, "+")]);
        assert_eq!(
            tokens("1.5e+ 5. .5 5.e1"),
            [(Float, "1.5"), (Name, "e"), (Plus, "+"), (Float, "5."), (Float, ".5"), (Float, "5.e1")]
        );
        assert_eq!(tokens("007.5 00e1x"), [(Float, "007.5"), (Float, "00e1"), (Name, "x")]);
        assert_eq!(tokens("a.5"), [(Name, "a"), (Float, ".5")]);
        assert!(Lexer::new("..5").next().is_err());
    }

    #[test]
    fn strings_end_within_the_last_pair_of_quotes_that_leaves_them_open() {
        assert_eq!(tokens("'it''s'"), [(Token::Text, "'it''s'")]);
        assert_eq!(tokens("'''a'"), [(Token::Text, "'''a'")]);
        let mut lexer = Lexer::new("'x''y");
        let first = lexer.next().unwrap();
        assert_eq!((first.token, first.to), (Token::Text, 3));
        assert_eq!(lexer.next().unwrap_err().cause, Cause::OpenString);
        assert!(Lexer::new("'open").next().is_err());
    }

    #[test]
    fn minus_signs_are_a_comment_only_before_a_line_end() {
        assert_eq!(tokens("--1\n2 -- x\r\n--"), [(Token::Integer, "2"), (Token::Minus, "-"), (Token::Minus, "-")]);
        assert_eq!(tokens("/**/a/* * / **/b"), [(Token::Name, "a"), (Token::Name, "b")]);
        assert_eq!(Lexer::new("/* x").next().unwrap_err().cause, Cause::OpenComment);
    }
}
