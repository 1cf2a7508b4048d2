//! Tokens of the strict dialect: those of sqlparser, with the bytes that each takes and with the words that the grammar
//! knows told from names.

use sqlparser::tokenizer::{Location, Token as Sql, Tokenizer, Whitespace};

use super::super::Dialect;
use super::super::refusal::{Cause, Refusal, quoted};
use super::super::tree::Find;

/// A token of the grammar.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    End,
    Word(Keyword),
    Name(String),
    Text(String),
    Number(String),
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    Open,
    Close,
    Comma,
    Plus,
    Minus,
    /// Something of SQL, or of no language, that the dialect does not have.
    Other,
}

/// A word with a meaning. As a name it stands in double quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keyword {
    And,
    Or,
    Not,
    In,
    Between,
    Like,
    Escape,
    Is,
    Null,
    True,
    False,
    Unknown,
    Find(Find),
    /// A word of SQL that is refused by name where an operator stands.
    Unserved(&'static str),
}

const KEYWORDS: [(&str, Keyword); 23] = [
    ("AND", Keyword::And),
    ("OR", Keyword::Or),
    ("NOT", Keyword::Not),
    ("IN", Keyword::In),
    ("BETWEEN", Keyword::Between),
    ("LIKE", Keyword::Like),
    ("ESCAPE", Keyword::Escape),
    ("IS", Keyword::Is),
    ("NULL", Keyword::Null),
    ("TRUE", Keyword::True),
    ("FALSE", Keyword::False),
    ("UNKNOWN", Keyword::Unknown),
    ("CONTAINS", Keyword::Find(Find::Contains)),
    ("STARTSWITH", Keyword::Find(Find::StartsWith)),
    ("ENDSWITH", Keyword::Find(Find::EndsWith)),
    ("ILIKE", Keyword::Unserved("ILIKE")),
    ("SIMILAR", Keyword::Unserved("SIMILAR TO")),
    ("REGEXP", Keyword::Unserved("REGEXP")),
    ("RLIKE", Keyword::Unserved("RLIKE")),
    ("CASE", Keyword::Unserved("CASE")),
    ("CAST", Keyword::Unserved("CAST")),
    ("EXISTS", Keyword::Unserved("EXISTS")),
    ("SELECT", Keyword::Unserved("SELECT")),
];

/// A token and the bytes that it takes.
#[derive(Debug, Clone)]
pub(super) struct Lexeme {
    pub token: Token,
    pub from: usize,
    pub to: usize,
}

/// The rules by which sqlparser cuts: as the standard does, and `$` belongs to names, as in the SQL92 dialect.
#[derive(Debug)]
struct Rules;

impl sqlparser::dialect::Dialect for Rules {
    fn is_identifier_start(&self, character: char) -> bool {
        character.is_alphabetic() || matches!(character, '_' | '$')
    }

    fn is_identifier_part(&self, character: char) -> bool {
        character.is_alphanumeric() || matches!(character, '_' | '$')
    }

    fn is_delimited_identifier_start(&self, character: char) -> bool {
        character == '"'
    }
}

/// Cuts the whole text; the last token is the end.
pub(super) fn tokens(text: &str) -> Result<Vec<Lexeme>, Refusal> {
    let mut places = Places { text, at: 0, line: 1, column: 1 };
    let mut found = Vec::new();
    let cut = Tokenizer::new(&Rules, text).tokenize_with_location();
    let cut = cut.map_err(|error| {
        let at = places.byte_of(error.location);
        Refusal::new(Dialect::Strict, text, at, Cause::NotToken { reason: error.message })
    })?;
    for piece in cut {
        let (from, to) = (places.byte_of(piece.span.start), places.byte_of(piece.span.end));
        if !matches!(piece.token, Sql::Whitespace(_)) {
            found.push(Lexeme { token: token(piece.token), from, to });
        } else if let Sql::Whitespace(Whitespace::SingleLineComment { prefix, .. }) = piece.token
            && prefix != "--"
        {
            found.push(Lexeme { token: Token::Other, from, to });
        }
    }
    found.push(Lexeme { token: Token::End, from: text.len(), to: text.len() });
    Ok(found)
}

fn token(token: Sql) -> Token {
    match token {
        Sql::Word(word) if word.quote_style.is_some() => Token::Name(word.value),
        Sql::Word(word) => {
            let keyword = KEYWORDS.iter().find(|(name, _)| word.value.eq_ignore_ascii_case(name));
            keyword.map_or(Token::Name(word.value), |(_, keyword)| Token::Word(*keyword))
        }
        Sql::SingleQuotedString(value) => Token::Text(value),
        Sql::Number(number, _) => Token::Number(number),
        Sql::Eq => Token::Equal,
        Sql::Neq => Token::NotEqual,
        Sql::Lt => Token::Less,
        Sql::LtEq => Token::LessEqual,
        Sql::Gt => Token::Greater,
        Sql::GtEq => Token::GreaterEqual,
        Sql::LParen => Token::Open,
        Sql::RParen => Token::Close,
        Sql::Comma => Token::Comma,
        Sql::Plus => Token::Plus,
        Sql::Minus => Token::Minus,
        _ => Token::Other,
    }
}

/// Why a token of no use is refused: its name, and what to write.
pub(super) fn unserved(text: &str) -> Cause {
    let instead = match text {
        "==" => Some("write ="),
        "." => Some("write names with dots in double quotes, \"my.prop\""),
        "&&" => Some("write AND"),
        "!" => Some("write NOT"),
        "||" => Some("write OR for \"either\"; texts are not joined"),
        "*" | "/" | "%" => Some("there is no arithmetic"),
        ";" => Some("an expression stands alone"),
        "`" | "[" => Some("write names in double quotes"),
        _ => None,
    };
    Cause::NotServed { what: quoted(text), instead }
}

/// Turns lines and columns, which only grow, into bytes.
struct Places<'a> {
    text: &'a str,
    at: usize,
    line: u64,
    column: u64,
}

impl Places<'_> {
    fn byte_of(&mut self, place: Location) -> usize {
        for character in self.text[self.at..].chars() {
            if (self.line, self.column) >= (place.line, place.column) {
                break;
            }
            self.at += character.len_utf8();
            self.column += 1;
            if character == '\n' {
                (self.line, self.column) = (self.line + 1, 1);
            }
        }
        self.at
    }
}
