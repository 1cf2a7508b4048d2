//! What a PostgreSQL client is told when a statement has no answer: code, text, and where in its text.

use datafusion_postgres::pgwire::error::{ErrorInfo, PgWireError};

use crate::error::QueryError;

/// The error as the wire has it. `text` is what the client sent.
pub(super) fn told(error: &QueryError, text: &str) -> PgWireError {
    let mut info = ErrorInfo::new("ERROR".to_owned(), code(error).to_owned(), error.to_string());
    info.position = error.position(text).map(|position| position.to_string());
    PgWireError::UserError(Box::new(info))
}

/// An error of the session itself, by PostgreSQL's code for it.
pub(super) fn refused(code: &str, text: String) -> PgWireError {
    PgWireError::UserError(Box::new(ErrorInfo::new("ERROR".to_owned(), code.to_owned(), text)))
}

/// PostgreSQL's code for it (its documentation, appendix A).
const fn code(error: &QueryError) -> &'static str {
    match error {
        QueryError::TooLong { .. } => "54000",
        QueryError::TooSlow { .. } | QueryError::Crowded { .. } => "57014",
        QueryError::ReadOnly { .. } => "25006",
        QueryError::Broken | QueryError::Threads(_) => "58000",
        QueryError::Syntax { .. } => "42601",
        QueryError::Statement(_) => "42000",
        QueryError::Failed(_) => "58030",
        QueryError::Memory(_) => "53200",
    }
}
