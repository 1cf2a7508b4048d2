//! Makes a difference small: takes parts of expression and properties away while the verdicts still differ.
//!
//! Owns the search. Both judges are asked through one function, so that it does not know who they are.

use anyhow::Result;

use crate::question::{Difference, Stored, Verdict};

/// Questions that shrinking one difference may ask: an answer takes some 50 microseconds.
const QUESTIONS_MAX: usize = 5_000;

/// Gives both verdicts, Apache's first.
pub(crate) type Ask<'a> = &'a mut dyn FnMut(&str, &[u8]) -> Result<(Verdict, Verdict)>;

struct Search<'a> {
    ask: Ask<'a>,
    left: usize,
    best: Difference,
}

/// The smallest difference that was found on the way from `difference`.
pub(crate) fn shrink(difference: &Difference, ask: Ask<'_>) -> Result<Difference> {
    let mut search = Search { ask, left: QUESTIONS_MAX, best: difference.clone() };
    loop {
        let before = (search.best.expression.len(), search.best.properties.len());
        search.expression(&tokens)?;
        search.expression(&characters)?;
        search.properties(&entries)?;
        search.properties(&bytes)?;
        if search.left == 0 || before == (search.best.expression.len(), search.best.properties.len()) {
            return Ok(search.best);
        }
    }
}

impl Search<'_> {
    /// Takes the candidate when verdicts still differ.
    fn attempt(&mut self, expression: &str, properties: &[u8]) -> Result<bool> {
        if self.left == 0 {
            return Ok(false);
        }
        self.left -= 1;
        let (apache, strata) = (self.ask)(expression, properties)?;
        if apache == strata {
            return Ok(false);
        }
        let (expression, properties) = (expression.to_owned(), properties.to_owned());
        self.best = Difference { expression, properties, apache, strata };
        Ok(true)
    }

    fn expression(&mut self, split: &dyn Fn(&str) -> Vec<String>) -> Result<()> {
        let mut pieces = split(&self.best.expression);
        let mut size = pieces.len() / 2;
        while size > 0 {
            let mut at = 0;
            while at + size <= pieces.len() {
                let mut fewer = pieces.clone();
                fewer.drain(at..at + size);
                let properties = self.best.properties.clone();
                if self.attempt(&fewer.concat(), &properties)? {
                    pieces = fewer
                } else {
                    at += step(pieces.len(), size)
                }
            }
            size /= 2;
        }
        Ok(())
    }

    fn properties(&mut self, split: &dyn Fn(&[u8]) -> Vec<Vec<u8>>) -> Result<()> {
        let mut pieces = split(&self.best.properties);
        let mut at = 0;
        while at < pieces.len() {
            let mut fewer = pieces.clone();
            fewer.remove(at);
            let expression = self.best.expression.clone();
            if self.attempt(&expression, &fewer.concat())? { pieces = fewer } else { at += 1 }
        }
        Ok(())
    }
}

/// How far the part that is taken away moves on: everywhere in a short text, by half its size in a long one.
fn step(pieces: usize, size: usize) -> usize {
    const SHORT_PIECES_MAX: usize = 64;
    if pieces <= SHORT_PIECES_MAX { 1 } else { size.div_ceil(2) }
}

/// Words, runs of blanks, strings, and single signs.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    let mut last = None;
    let mut in_string = false;
    for c in text.chars() {
        let kind = match c {
            _ if in_string => 's',
            '\'' => 's',
            c if c.is_alphanumeric() || "_$.".contains(c) => 'w',
            c if c.is_whitespace() => ' ',
            _ => 'x',
        };
        if c == '\'' {
            in_string = !in_string;
        }
        match tokens.last_mut().filter(|_| last == Some(kind) && kind != 'x') {
            Some(token) => token.push(c),
            None => tokens.push(c.to_string()),
        }
        last = Some(kind);
    }
    tokens
}

fn characters(text: &str) -> Vec<String> {
    text.chars().map(String::from).collect()
}

fn entries(text: &[u8]) -> Vec<Vec<u8>> {
    text.split_inclusive(|byte| *byte == 2).map(<[u8]>::to_vec).collect()
}

fn bytes(text: &[u8]) -> Vec<Vec<u8>> {
    text.iter().map(|byte| vec![*byte]).collect()
}

/// Properties as a reader understands them.
pub(crate) fn shown(properties: &[u8]) -> String {
    format!("{:?}", String::from_utf8_lossy(properties)).replace("\\u{1}", "=").replace("\\u{2}", " ")
}

/// A text as [`Stored`], for those who ask one question.
pub(crate) fn as_stored(properties: &[u8]) -> [Stored; 1] {
    [Stored { text: properties.to_vec(), ..Stored::default() }]
}
