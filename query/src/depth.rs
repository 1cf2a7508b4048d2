//! How far a statement may be nested.
//!
//! A statement becomes a tree that parsing, planning and freeing walk down call by call: one that is deep enough would end
//! the process. Text is cheap to count, so what nests is counted before anything is made of it.

use datafusion::sql::sqlparser::dialect::Dialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

use crate::error::QueryError;
use crate::limits::NESTING_TOKENS_MAX;

/// Refuses a statement with too many operators, keywords and brackets, as the dialect has them that it is parsed in:
/// where comments and names end differs.
pub(crate) fn check(dialect: &dyn Dialect, text: &str) -> Result<(), QueryError> {
    // What is no SQL at all the parser says better.
    let Ok(tokens) = Tokenizer::new(dialect, text).tokenize() else { return Ok(()) };
    let found = tokens.iter().filter(|token| nests(token)).count();
    if found <= NESTING_TOKENS_MAX {
        return Ok(());
    }
    Err(QueryError::Statement(format!(
        "the statement has {found} operators, keywords and brackets, and {NESTING_TOKENS_MAX} are allowed; ask with IN (...) or \
         BETWEEN in place of many conditions, or in parts"
    )))
}

/// Whether a token may stand for a level of the tree. Values, names and what is between them do not.
fn nests(token: &Token) -> bool {
    if let Token::Word(word) = token {
        return word.keyword != Keyword::NoKeyword;
    }
    !matches!(
        token,
        Token::EOF
            | Token::Comma
            | Token::Whitespace(_)
            | Token::Number(..)
            | Token::SingleQuotedString(_)
            | Token::DoubleQuotedString(_)
            | Token::Placeholder(_)
    )
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;

    use super::*;

    #[test]
    fn what_nests_is_bounded_and_what_does_not_is_not() {
        let list = (0..20_000).map(|number| number.to_string()).collect::<Vec<_>>().join(", ");
        let check = |text: &str| check(&PostgreSqlDialect {}, text);
        assert!(check(&format!("SELECT * FROM messages WHERE queue_offset IN ({list})")).is_ok());
        for deep in ["1+", "NOT ", "1::int||", "(", "- ", "a OR ", "[", "x AND ", "1 UNION SELECT ", "--\r1+"] {
            let deep = format!("SELECT {}1", deep.repeat(NESTING_TOKENS_MAX + 1));
            assert!(matches!(check(&deep), Err(QueryError::Statement(_))), "{}", &deep[..20]);
        }
        assert!(check("SELECT 'unfinished").is_ok(), "the parser says what is wrong");
    }
}
