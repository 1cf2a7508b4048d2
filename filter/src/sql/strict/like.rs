//! Patterns of LIKE: `%` stands for any text, `_` for one character.
//!
//! A pattern is cut at its `%` into pieces, which are looked for from left to right, so that a text is read once. A
//! piece with `_` costs at most its length at each place; that length is bounded.

use memchr::memmem::Finder;

/// Characters of a piece that has a `_` in it: each may be compared at each place of a value of up to 32 KiB.
pub(in crate::sql) const WILD_PIECE_MAX: usize = 64;

/// A compiled pattern.
#[derive(Debug, Clone)]
pub(crate) struct Pattern {
    /// What stands between the `%`; the first and the last one are bound to the ends of the text.
    pieces: Vec<Piece>,
    source: Box<str>,
    escape: Option<char>,
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source && self.escape == other.escape
    }
}

#[derive(Debug, Clone)]
enum Piece {
    Plain(Box<Finder<'static>>),
    /// `None` is a `_`.
    Wild(Vec<Option<char>>),
}

/// Why a pattern is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sql) enum BadPattern {
    /// The escape character stands before something that needs none.
    Escape,
    /// More than [`WILD_PIECE_MAX`] characters with a `_` among them.
    LongPiece,
}

impl Pattern {
    pub(in crate::sql) fn compile(source: &str, escape: Option<char>) -> Result<Self, BadPattern> {
        let mut pieces = Vec::new();
        let mut piece = Vec::new();
        let mut characters = source.chars();
        while let Some(character) = characters.next() {
            if Some(character) == escape {
                let next = characters.next().filter(|next| matches!(next, '%' | '_') || Some(*next) == escape);
                piece.push(Some(next.ok_or(BadPattern::Escape)?));
            } else if character == '%' {
                pieces.push(Piece::new(std::mem::take(&mut piece))?);
            } else {
                piece.push((character != '_').then_some(character));
            }
        }
        pieces.push(Piece::new(piece)?);
        Ok(Self { pieces, source: source.into(), escape })
    }

    /// What every text begins with that is like this, as far as it is plain.
    pub(crate) fn prefix(&self) -> &[u8] {
        match self.pieces.first() {
            Some(Piece::Plain(finder)) => finder.needle(),
            Some(Piece::Wild(_)) | None => &[],
        }
    }

    /// Whether the whole of `text` is like this.
    pub(in crate::sql) fn matches(&self, text: &[u8]) -> bool {
        let Some((first, rest)) = self.pieces.split_first() else { return false };
        let Some((last, between)) = rest.split_last() else {
            return first.start(text).is_some_and(|length| length == text.len());
        };
        let Some(length) = first.start(text) else { return false };
        let mut text = &text[length..];
        for piece in between {
            let Some(end) = piece.find(text) else { return false };
            text = &text[end..];
        }
        last.ends(text)
    }
}

impl Piece {
    fn new(piece: Vec<Option<char>>) -> Result<Self, BadPattern> {
        if piece.iter().all(Option::is_some) {
            let plain: String = piece.into_iter().flatten().collect();
            return Ok(Self::Plain(Box::new(Finder::new(plain.as_bytes()).into_owned())));
        }
        if piece.len() > WILD_PIECE_MAX { Err(BadPattern::LongPiece) } else { Ok(Self::Wild(piece)) }
    }

    /// The length of the piece at the start of `text`.
    fn start(&self, text: &[u8]) -> Option<usize> {
        match self {
            Self::Plain(finder) => text.starts_with(finder.needle()).then_some(finder.needle().len()),
            Self::Wild(piece) => {
                let mut rest = text;
                for wanted in piece {
                    rest = match wanted {
                        None => after_character(rest)?,
                        Some(wanted) => rest.strip_prefix(wanted.encode_utf8(&mut [0; 4]).as_bytes())?,
                    };
                }
                Some(text.len() - rest.len())
            }
        }
    }

    /// Where the first place of the piece in `text` ends.
    fn find(&self, text: &[u8]) -> Option<usize> {
        if let Self::Plain(finder) = self {
            return finder.find(text).map(|at| at + finder.needle().len());
        }
        let mut rest = text;
        loop {
            if let Some(length) = self.start(rest) {
                return Some(text.len() - rest.len() + length);
            }
            rest = after_character(rest)?;
        }
    }

    /// Whether `text` ends with the piece.
    fn ends(&self, text: &[u8]) -> bool {
        match self {
            Self::Plain(finder) => text.ends_with(finder.needle()),
            Self::Wild(piece) => {
                let Some(from) = before_characters(text, piece.len()) else { return false };
                self.start(&text[from..]).is_some_and(|length| from + length == text.len())
            }
        }
    }
}

const fn continues(byte: u8) -> bool {
    byte & 0xC0 == 0x80
}

/// What follows the first character; bytes that are no UTF-8 count with the character before them.
fn after_character(text: &[u8]) -> Option<&[u8]> {
    let (_, rest) = text.split_first()?;
    let length = rest.iter().take_while(|byte| continues(**byte)).count();
    rest.get(length..)
}

/// Where the last `count` characters begin.
fn before_characters(text: &[u8], count: usize) -> Option<usize> {
    if count == 0 {
        return Some(text.len());
    }
    let starts = (0..text.len()).rev().filter(|at| *at == 0 || !continues(text[*at]));
    starts.take(count).enumerate().find(|(nth, _)| nth + 1 == count).map(|(_, at)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_texts() {
        for (pattern, escape, text, matches) in [
            ("", None, "", true),
            ("", None, "x", false),
            ("%", None, "", true),
            ("a%", None, "abc", true),
            ("a%", None, "ba", false),
            ("%c", None, "abc", true),
            ("%b%", None, "abc", true),
            ("a%a", None, "a", false),
            ("a%a", None, "aa", true),
            ("a_c", None, "aéc", true),
            ("a_c", None, "ac", false),
            ("%_é", None, "é", false),
            ("%_é", None, "xé", true),
            ("_%_", None, "x", false),
            ("%a_b%b", None, "aab a1bb", true),
            ("10!%", Some('!'), "10%", true),
            ("10!%", Some('!'), "10x", false),
            ("!!%", Some('!'), "!x", true),
            ("A%", None, "abc", false),
            ("%ab%ab%", None, "abab", true),
            ("%ab%ab%", None, "aab", false),
        ] {
            let compiled = Pattern::compile(pattern, escape).unwrap();
            assert_eq!(compiled.matches(text.as_bytes()), matches, "{text:?} LIKE {pattern:?}");
        }
        assert_eq!(Pattern::compile("a!b", Some('!')).err(), Some(BadPattern::Escape));
        assert_eq!(Pattern::compile("a!", Some('!')).err(), Some(BadPattern::Escape));
        assert_eq!(Pattern::compile(&"_".repeat(65), None).err(), Some(BadPattern::LongPiece));
    }

    #[test]
    fn any_bytes_are_survived() {
        let pattern = Pattern::compile("%_a_%", None).unwrap();
        assert!(pattern.matches(b"\xFF\xFEa\x80\xC3") && !pattern.matches(b"a\xFF"));
    }
}
