//! The sieve: compiles a subscription once, answers for one message, or for columns of many.
//!
//! Owns what expressions mean. It reads no log and knows no connection.
#![forbid(unsafe_code)]

pub mod columns;
pub mod limits;
pub mod sql;
mod tags;

use std::sync::Arc;

pub use tags::TagSet;

use strata_protocol::properties;
use strata_protocol::record::RecordView;
use thiserror::Error;

/// The expression type of tags (`ExpressionType.TAG`).
pub const TAG: &str = "TAG";
/// The expression type of SQL92 filters (`ExpressionType.SQL92`).
pub const SQL92: &str = "SQL92";
/// The expression type of SQL filters that are read as standard SQL; Strata's own.
pub const SQL92_STRICT: &str = "SQL92_STRICT";

/// A compiled expression. Equal expressions are equal values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// Every message.
    All,
    /// Messages with one of these tags.
    Tags(TagSet),
    /// Messages whose properties fulfil an SQL expression.
    Sql(Arc<sql::Expression>),
}

/// What a filter says of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is delivered.
    Match,
    /// It is not.
    NoMatch,
    /// It is not, because the evaluation failed.
    Failed(sql::EvalError),
}

/// Why an expression does not compile. The broker chooses the response code of each.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FilterError {
    /// The expression's type is not served.
    #[error("The broker does not support consumer to filter message by {kind}; use TAG, SQL92 or SQL92_STRICT")]
    Unsupported {
        /// The type's name.
        kind: String,
    },
    /// The text is too long.
    #[error("the expression has {bytes} bytes, the limit is {}", limits::EXPRESSION_BYTES_MAX)]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// Nothing but separators, which RocketMQ's `FilterAPI` refuses with this text.
    #[error("subString split error")]
    OnlySeparators,
    /// There are too many tags.
    #[error("the expression has {tags} tags, the limit is {}", limits::TAGS_MAX)]
    TooManyTags {
        /// Their number.
        tags: usize,
    },
    /// An SQL expression that does not compile.
    #[error(transparent)]
    Sql(#[from] sql::Refusal),
}

impl Filter {
    /// Compiles `expression`. No type, or an empty one, means tags, as old clients send it.
    ///
    /// # Errors
    /// See [`FilterError`].
    pub fn compile(kind: Option<&str>, expression: &str) -> Result<Self, FilterError> {
        let dialect = match kind {
            None | Some("" | TAG) => return Self::compile_tags(expression),
            Some(SQL92) => sql::Dialect::Sql92,
            Some(SQL92_STRICT) => sql::Dialect::Strict,
            Some(kind) => return Err(FilterError::Unsupported { kind: kind.to_owned() }),
        };
        Ok(Self::Sql(Arc::new(sql::Expression::compile(dialect, expression)?)))
    }

    fn compile_tags(expression: &str) -> Result<Self, FilterError> {
        if expression.len() > limits::EXPRESSION_BYTES_MAX {
            return Err(FilterError::TooLong { bytes: expression.len() });
        }
        if expression.is_empty() || expression == "*" {
            return Ok(Self::All);
        }
        if expression.split("||").all(str::is_empty) {
            return Err(FilterError::OnlySeparators);
        }
        // Blanks alone name no tag, and no message has it.
        let tags = TagSet::parse(expression);
        match tags.len() {
            count if count > limits::TAGS_MAX => Err(FilterError::TooManyTags { tags: count }),
            _ => Ok(Self::Tags(tags)),
        }
    }

    /// May a message with this tags code match? `false` is certain, `true` is to be checked by
    /// [`Filter::matches_record`], since different tags can share a code, and SQL is not about tags alone. What an
    /// expression would have failed on counts as not matching then.
    #[must_use]
    pub fn matches_code(&self, tags_code: i64) -> bool {
        match self {
            Self::All => true,
            Self::Tags(tags) => tags.has_code(tags_code),
            Self::Sql(expression) => expression.may_have_code(tags_code),
        }
    }

    /// Does this stored record match? A record that cannot be read does not.
    #[must_use]
    pub fn matches_record(&self, record: &[u8]) -> bool {
        self.verdict(record) == Verdict::Match
    }

    /// What the filter says of this stored record. A record that cannot be read does not match.
    #[must_use]
    pub fn verdict(&self, record: &[u8]) -> Verdict {
        if matches!(self, Self::All) {
            return Verdict::Match;
        }
        RecordView::parse(record).map_or(Verdict::NoMatch, |view| self.verdict_of(view.properties()))
    }

    /// What the filter says of a message with these properties, which lie as in the log.
    #[must_use]
    pub fn verdict_of(&self, properties: &[u8]) -> Verdict {
        let matches = match self {
            Self::All => true,
            Self::Tags(tags) => properties::find(properties, properties::TAGS).is_some_and(|tag| tags.has(tag)),
            Self::Sql(expression) => match expression.evaluate(properties) {
                sql::Outcome::Error(error) => return Verdict::Failed(error),
                sql::Outcome::True => true,
                sql::Outcome::False | sql::Outcome::Null => false,
            },
        };
        if matches { Verdict::Match } else { Verdict::NoMatch }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_split_and_trimmed() {
        let Filter::Tags(tags) = Filter::compile(Some("TAG"), " A ||B|| ").unwrap() else { panic!("tags expected") };
        assert!(tags.has(b"A") && tags.has(b"B") && !tags.has(b" A"));
        assert_eq!(Filter::compile(None, "*"), Ok(Filter::All));
        assert_eq!(Filter::compile(Some(""), ""), Ok(Filter::All));
    }

    #[test]
    fn separators_alone_are_refused_and_blanks_match_nothing() {
        for expression in ["||", "||||"] {
            assert_eq!(Filter::compile(None, expression), Err(FilterError::OnlySeparators));
        }
        for expression in [" ", " || ", "|| "] {
            let filter = Filter::compile(None, expression).unwrap();
            assert_eq!(filter, Filter::Tags(TagSet::default()), "{expression:?}");
            assert!(!filter.matches_code(0) && !filter.matches_record(b""));
        }
        assert_eq!(Filter::compile(None, "|||"), Filter::compile(None, "|"));
    }

    #[test]
    fn tags_that_share_a_hash_code_are_told_apart() {
        // "Aa" and "BB" have the same Java hash code.
        let filter = Filter::compile(None, "Aa").unwrap();
        let Filter::Tags(tags) = &filter else { panic!("tags expected") };
        assert!(filter.matches_code(i64::from(strata_protocol::hash::java_hash("BB"))));
        assert!(!tags.has(b"BB"));
    }

    #[test]
    fn what_is_not_served_or_too_large_is_refused_by_name() {
        let class = Filter::compile(Some("CLASS"), "a = 1");
        assert_eq!(class, Err(FilterError::Unsupported { kind: "CLASS".into() }));
        let many =
            vec!["t"; limits::TAGS_MAX + 1].iter().enumerate().map(|(i, t)| format!("{t}{i}")).collect::<Vec<_>>();
        assert_eq!(
            Filter::compile(None, &many.join("||")),
            Err(FilterError::TooManyTags { tags: limits::TAGS_MAX + 1 })
        );
        assert!(matches!(
            Filter::compile(None, &"x".repeat(limits::EXPRESSION_BYTES_MAX + 1)),
            Err(FilterError::TooLong { .. })
        ));
    }
}
