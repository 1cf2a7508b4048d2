//! Statements of a session's own: transactions, settings, and what pools send when a connection is given back.
//!
//! Owns whether a session's transaction is open or has failed. None of these statements changes anything else.
#![allow(clippy::wildcard_enum_match_arm, reason = "every statement that is not a session's own is the engine's")]

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::sql::sqlparser::ast::{CloseCursor, Ident, Reset, Statement};
use datafusion_postgres::pgwire::api::Type;
use datafusion_postgres::pgwire::api::portal::Format;
use datafusion_postgres::pgwire::api::results::{DataRowEncoder, FieldInfo, QueryResponse, Tag};
use datafusion_postgres::pgwire::error::PgWireResult;
use datafusion_postgres::pgwire::messages::response::TransactionStatus;
use futures_util::stream;

use super::rows::fields;
use super::told::refused;

/// There are no such locks; pools let go of them in this way.
const UNLOCK_ALL: &str = "pg_advisory_unlock_all";

/// A statement of a session's own.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Own {
    /// Begins a transaction, by the tag of its answer.
    Begin(&'static str),
    /// Ends a transaction, and may begin the next one.
    End {
        tag: &'static str,
        chains: bool,
    },
    /// Makes or releases a savepoint, by the tag of its answer.
    Savepoint(&'static str),
    /// Goes back to a savepoint: a transaction that failed goes on.
    RollbackTo,
    Set,
    /// Shows the setting of this name.
    Show(String),
    /// Forgets the prepared statement of this name.
    Deallocate(String),
    UnlockAll,
    /// Is answered with this tag alone.
    Nothing(String),
}

impl Own {
    /// What a statement is; `None` for those of the engine.
    pub(super) fn of(statement: &Statement) -> Option<Self> {
        Some(match statement {
            Statement::StartTransaction { begin, .. } => {
                Self::Begin(if *begin { "BEGIN" } else { "START TRANSACTION" })
            }
            Statement::Commit { chain, .. } => Self::End { tag: "COMMIT", chains: *chain },
            Statement::Rollback { savepoint: Some(_), .. } => Self::RollbackTo,
            Statement::Rollback { chain, savepoint: None } => Self::End { tag: "ROLLBACK", chains: *chain },
            Statement::Savepoint { .. } => Self::Savepoint("SAVEPOINT"),
            Statement::ReleaseSavepoint { .. } => Self::Savepoint("RELEASE"),
            Statement::Set(_) => Self::Set,
            Statement::ShowVariable { variable } => Self::Show(setting_name(variable)?),
            Statement::ShowCatalogs { .. } => Self::Show("catalogs".to_owned()),
            Statement::Deallocate { name, .. } if is_all(name) => Self::Nothing("DEALLOCATE ALL".to_owned()),
            Statement::Deallocate { name, .. } => Self::Deallocate(name.value.clone()),
            Statement::Discard { object_type } => Self::Nothing(format!("DISCARD {object_type}")),
            Statement::Reset(reset) if matches!(reset.reset, Reset::ALL) => Self::Nothing("RESET".to_owned()),
            Statement::Close { cursor: CloseCursor::All } => Self::Nothing("CLOSE CURSOR ALL".to_owned()),
            Statement::UNLISTEN { .. } => Self::Nothing("UNLISTEN".to_owned()),
            Statement::Query(query) if query.to_string().eq_ignore_ascii_case(&format!("SELECT {UNLOCK_ALL}()")) => {
                Self::UnlockAll
            }
            _ => return None,
        })
    }

    /// Whether it ends a transaction, and with it its portals.
    pub(super) const fn is_end(&self) -> bool {
        matches!(self, Self::End { .. })
    }

    /// The columns of its answer; most have none.
    pub(super) fn columns(&self, format: &Format) -> PgWireResult<Vec<FieldInfo>> {
        let name = match self {
            Self::Show(name) => name,
            Self::UnlockAll => UNLOCK_ALL,
            _ => return Ok(Vec::new()),
        };
        let columns = fields(&Schema::new(vec![Field::new(name, DataType::Utf8, false)]), format, None)?;
        Ok(match self {
            Self::UnlockAll => vec![FieldInfo::new(name.to_owned(), None, None, Type::VOID, format.format_for(0))],
            _ => columns,
        })
    }

    /// The one row of a call that gives nothing.
    pub(super) fn void_row(&self, format: &Format) -> PgWireResult<QueryResponse> {
        let columns = Arc::new(self.columns(format)?);
        let mut row = DataRowEncoder::new(Arc::clone(&columns));
        row.encode_field(&"")?;
        let row = row.take_row();
        Ok(QueryResponse::new(columns, stream::iter([Ok(row)])))
    }

    /// The tag of its answer, and what becomes of the transaction.
    pub(super) fn settled(&self, status: TransactionStatus) -> PgWireResult<(Tag, TransactionStatus)> {
        use TransactionStatus::{Error, Idle, Transaction};
        let is_outside = status == Idle;
        if is_outside && matches!(self, Self::Savepoint(_) | Self::RollbackTo) {
            return Err(refused(
                "25P01",
                "savepoints are for transactions, and none is open; send BEGIN first".to_owned(),
            ));
        }
        let (tag, status) = match self {
            Self::Begin(tag) => (*tag, Transaction),
            Self::End { tag, chains } => {
                let tag = if status == Error { "ROLLBACK" } else { *tag };
                (tag, if *chains && !is_outside { Transaction } else { Idle })
            }
            Self::Savepoint(tag) => (*tag, status),
            Self::RollbackTo => ("ROLLBACK", Transaction),
            Self::Set => ("SET", status),
            Self::Show(_) => ("SHOW", status),
            Self::Deallocate(_) => ("DEALLOCATE", status),
            Self::UnlockAll => ("SELECT", status),
            Self::Nothing(tag) => (tag.as_str(), status),
        };
        Ok((Tag::new(tag), status))
    }
}

/// Refuses a statement in a transaction that failed, but for those that end it or go back.
pub(super) fn check_transaction(statement: &Statement, status: TransactionStatus) -> PgWireResult<()> {
    let goes_on = matches!(statement, Statement::Commit { .. } | Statement::Rollback { .. });
    if status == TransactionStatus::Error && !goes_on {
        let text = "a statement of this transaction failed; nothing is answered until ROLLBACK or COMMIT";
        return Err(refused("25P02", text.to_owned()));
    }
    Ok(())
}

/// The name of a setting as `PostgreSQL` has it; there is none when nothing is named.
fn setting_name(words: &[Ident]) -> Option<String> {
    let words: Vec<String> = words.iter().map(|word| word.value.to_lowercase()).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    Some(match words.as_slice() {
        ["time", "zone"] => "TimeZone".to_owned(),
        ["transaction", "isolation", "level"] => "transaction_isolation".to_owned(),
        [first, ..] => (*first).to_owned(),
        [] => return None,
    })
}

fn is_all(name: &Ident) -> bool {
    name.quote_style.is_none() && name.value.eq_ignore_ascii_case("all")
}

#[cfg(test)]
mod tests {
    use datafusion_postgres::datafusion_pg_catalog::sql::PostgresCompatibilityParser;
    use datafusion_postgres::pgwire::messages::response::CommandComplete;

    use super::*;

    fn statements(text: &str) -> Vec<Statement> {
        PostgresCompatibilityParser::new().parse(text).unwrap()
    }

    fn own(text: &str) -> Option<Own> {
        let statements = statements(text);
        assert_eq!(statements.len(), 1, "{text}");
        Own::of(&statements[0])
    }

    fn settled(text: &str, status: TransactionStatus) -> (String, TransactionStatus) {
        let (tag, status) = own(text).unwrap().settled(status).unwrap();
        (CommandComplete::from(tag).tag, status)
    }

    #[test]
    fn what_pools_send_is_answered_with_its_tag() {
        let idle = TransactionStatus::Idle;
        for (text, tag) in [
            ("DISCARD ALL", "DISCARD ALL"),
            ("RESET ALL", "RESET"),
            ("CLOSE ALL", "CLOSE CURSOR ALL"),
            ("UNLISTEN *", "UNLISTEN"),
            ("DEALLOCATE ALL", "DEALLOCATE ALL"),
            ("deallocate all", "DEALLOCATE ALL"),
            ("DEALLOCATE \"all\"", "DEALLOCATE"),
        ] {
            assert_eq!(settled(text, idle), (tag.to_owned(), idle), "{text}");
        }
        assert_eq!(own("SELECT pg_advisory_unlock_all()"), Some(Own::UnlockAll));
        assert_eq!(own("select pg_catalog.pg_advisory_unlock_all();"), Some(Own::UnlockAll));
        assert_eq!(own("SELECT pg_advisory_unlock_all(), 1"), None);
        let together = statements("SELECT pg_advisory_unlock_all();\nCLOSE ALL;\nUNLISTEN *;\nRESET ALL;");
        assert!(together.len() == 4 && together.iter().all(|statement| Own::of(statement).is_some()));
    }

    #[test]
    fn savepoints_do_not_end_a_transaction_and_bring_a_failed_one_back() {
        use TransactionStatus::{Error, Idle, Transaction};
        for (text, before, tag, after) in [
            ("BEGIN", Idle, "BEGIN", Transaction),
            ("START TRANSACTION", Idle, "START TRANSACTION", Transaction),
            ("SAVEPOINT a", Transaction, "SAVEPOINT", Transaction),
            ("RELEASE SAVEPOINT a", Transaction, "RELEASE", Transaction),
            ("ROLLBACK TO SAVEPOINT a", Transaction, "ROLLBACK", Transaction),
            ("ROLLBACK TO a", Error, "ROLLBACK", Transaction),
            ("ROLLBACK", Error, "ROLLBACK", Idle),
            ("COMMIT", Error, "ROLLBACK", Idle),
            ("COMMIT", Transaction, "COMMIT", Idle),
            ("COMMIT AND CHAIN", Transaction, "COMMIT", Transaction),
            ("END", Transaction, "COMMIT", Idle),
        ] {
            assert_eq!(settled(text, before), (tag.to_owned(), after), "{text}");
        }
        assert!(own("SAVEPOINT a").unwrap().settled(Idle).is_err());
    }

    #[test]
    fn a_failed_transaction_takes_only_its_end() {
        let is_taken = |text| check_transaction(&statements(text)[0], TransactionStatus::Error).is_ok();
        assert!(is_taken("ROLLBACK") && is_taken("COMMIT") && is_taken("ROLLBACK TO a"));
        assert!(!is_taken("SELECT 1") && !is_taken("BEGIN") && !is_taken("SAVEPOINT a") && !is_taken("SHOW x"));
        assert!(check_transaction(&statements("SELECT 1")[0], TransactionStatus::Transaction).is_ok());
    }

    #[test]
    fn what_is_shown_has_a_column() {
        let columns = |text| own(text).unwrap().columns(&Format::UnifiedText).unwrap();
        let names = |text| columns(text).iter().map(|column| column.name().to_owned()).collect::<Vec<_>>();
        assert_eq!(names("SHOW TIME ZONE"), ["TimeZone"]);
        assert_eq!(names("SHOW Server_Version"), ["server_version"]);
        assert_eq!(columns("SHOW server_version")[0].datatype(), &Type::TEXT);
        assert_eq!(columns("SELECT pg_advisory_unlock_all()")[0].datatype(), &Type::VOID);
        assert!(columns("SET a = 1").is_empty() && columns("BEGIN").is_empty());
    }
}
