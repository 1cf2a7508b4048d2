//! `strata config`: the values a server would start with, and where each comes from.
//!
//! Owns the rows of flags that have no key in a file.

use crate::args::{ConfigArgs, NamesrvArgs, OutputArgs, ShownServer, StartArgs};
use crate::config::{Effective, Origin, Role, Row};
use crate::exit::Outcome;
use crate::output::{show, table, text};
use crate::serve;

/// Runs the command.
pub(crate) fn run(args: &ConfigArgs) -> Outcome {
    match &args.server {
        None => show_rows(rows(&serve::broker_config(&args.broker.server)?, []), &args.broker.output),
        Some(ShownServer::Broker(of)) => show_rows(rows(&serve::broker_config(&of.server)?, []), &of.output),
        Some(ShownServer::Start(of)) => {
            show_rows(rows(&serve::start_config(&of.server)?, start_flags(&of.server)), &of.output)
        }
        Some(ShownServer::Namesrv(of)) => {
            show_rows(rows(&serve::namesrv_config(&of.server)?, namesrv_flags(&of.server)), &of.output)
        }
    }
}

fn rows<D: Role>(effective: &Effective<D>, flags: impl IntoIterator<Item = Row>) -> Vec<Row> {
    effective.warn();
    effective.rows().into_iter().chain(flags).collect()
}

/// The row of a flag without a key.
fn flag(name: &'static str, given: bool, value: String, meaning: &'static str) -> Row {
    let origin = if given { Origin::Flag(name) } else { Origin::Default };
    Row { key: name, value, origin: origin.to_string(), meaning }
}

fn start_flags(args: &StartArgs) -> Vec<Row> {
    let (data, port) = (args.namesrv_data().display().to_string(), args.namesrv_port().to_string());
    vec![
        flag("--namesrv-port", args.namesrv_port.is_some(), port, "the port of its name server; 0 takes a free one"),
        flag("--data", args.data.is_some(), data, "the data folder of its name server"),
    ]
}

fn namesrv_flags(args: &NamesrvArgs) -> Vec<Row> {
    let port = args.nsaddr_port.map(|port| port.to_string()).unwrap_or_default();
    let (data, nsaddr) = (args.data().display().to_string(), args.nsaddr.clone().unwrap_or_default());
    vec![
        flag("--data", args.data.is_some(), data, "its data folder"),
        flag("--nsaddr-port", args.nsaddr_port.is_some(), port, "the port of /rocketmq/nsaddr; empty is none"),
        flag("--nsaddr", args.nsaddr.is_some(), nsaddr, "what it hands out; empty is this name server"),
    ]
}

fn show_rows(rows: Vec<Row>, output: &OutputArgs) -> Outcome {
    show(output, &rows, |rows| {
        let columns = [text("KEY"), text("VALUE"), text("FROM"), text("MEANING")];
        let cells = |row: &Row| [row.key.to_owned(), row.value.clone(), row.origin.clone(), row.meaning.to_owned()];
        table(&columns, rows.iter().map(cells))
    })
}
