//! `strata filter`: what SQL filter expressions mean, without a consumer.
//!
//! Owns the commands' shape. One message is explained in `explain`, many are judged in `eval`.

use clap::{Subcommand, ValueEnum};
use strata_filter::sql::Dialect;

mod eval;
mod explain;
mod message;
mod show;

use crate::exit::Outcome;

/// The commands about filters.
#[derive(Debug, Subcommand)]
pub(crate) enum FilterCommand {
    /// Tell how an expression is read, and why a message is delivered or not
    #[command(after_help = explain::HELP)]
    Explain(explain::ExplainArgs),
    /// Judge JSON lines of expressions and properties
    #[command(after_help = eval::HELP)]
    Eval(eval::EvalArgs),
}

/// How expressions are read, as it is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DialectName {
    /// As Apache RocketMQ reads them, quirks included (expression type SQL92)
    Sql92,
    /// As standard SQL reads them (expression type SQL92_STRICT)
    Strict,
}

impl DialectName {
    pub(crate) const fn dialect(self) -> Dialect {
        match self {
            Self::Sql92 => Dialect::Sql92,
            Self::Strict => Dialect::Strict,
        }
    }

    const fn other(self) -> Self {
        match self {
            Self::Sql92 => Self::Strict,
            Self::Strict => Self::Sql92,
        }
    }
}

/// Runs a command.
pub(crate) async fn run(command: FilterCommand) -> Outcome {
    match command {
        FilterCommand::Explain(args) => explain::run(args).await,
        FilterCommand::Eval(args) => eval::run(&args),
    }
}
