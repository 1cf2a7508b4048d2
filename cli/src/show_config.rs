//! `strata config`: the values a server would start with, and where each comes from.

use crate::args::{ConfigArgs, RoleName};
use crate::config::Row;
use crate::exit::Outcome;
use crate::output::{show, table, text};
use crate::serve;

/// Runs the command.
pub(crate) fn run(args: &ConfigArgs) -> Outcome {
    let rows = match args.role {
        RoleName::Broker => {
            let effective = serve::broker_config(&args.broker)?;
            effective.warn();
            effective.rows()
        }
        RoleName::Namesrv => {
            let effective = serve::namesrv_config(args.broker.config.as_deref())?;
            effective.warn();
            effective.rows()
        }
    };
    show(&args.output, &rows, |rows| {
        let columns = [text("KEY"), text("VALUE"), text("FROM"), text("MEANING")];
        let cells = |row: &Row| [row.key.to_owned(), row.value.clone(), row.origin.clone(), row.meaning.to_owned()];
        table(&columns, rows.iter().map(cells))
    })
}
