//! Results on standard output: tables for people, JSON for programs.
//!
//! Owns the forms and the treatment of a closed pipe. Progress and warnings go to standard error, elsewhere.

use std::io::{self, Write};

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;

use crate::args::{Format, OutputArgs};
use crate::exit::{Exit, Failure, Outcome};

/// Writes to standard output. A reader that has gone (`strata .. | head`) ends the command without noise.
pub(crate) fn write_out(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Outcome {
    let mut out = io::stdout().lock();
    match write(&mut out).and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => Err(Failure::new(Exit::Failed, format!("standard output cannot be written: {error}"))),
    }
}

/// Writes one line.
pub(crate) fn line(text: impl std::fmt::Display) -> Outcome {
    write_out(|out| writeln!(out, "{text}"))
}

/// A table's column: its head, and whether it holds numbers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    head: &'static str,
    numeric: bool,
}

/// A column of texts.
pub(crate) const fn text(head: &'static str) -> Column {
    Column { head, numeric: false }
}

/// A column of numbers.
pub(crate) const fn number(head: &'static str) -> Column {
    Column { head, numeric: true }
}

/// Lines rows up under their heads.
pub(crate) fn table<R>(columns: &[Column], rows: impl IntoIterator<Item = R>) -> String
where
    R: IntoIterator<Item = String>,
{
    let mut table = Table::new();
    table.load_preset(NOTHING);
    table.set_header(columns.iter().map(|column| column.head));
    for row in rows {
        table.add_row(row);
    }
    for (at, column) in columns.iter().enumerate() {
        if let Some(drawn) = table.column_mut(at) {
            // Columns touch each other's padding: two blanks between, none at the left edge.
            drawn.set_padding((0, 2));
            drawn.set_cell_alignment(if column.numeric { CellAlignment::Right } else { CellAlignment::Left });
        }
    }
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect::<String>().trim_end().to_owned()
}

/// Writes a result in the form that was asked for.
pub(crate) fn show<T: Serialize>(args: &OutputArgs, value: &T, text: impl FnOnce(&T) -> String) -> Outcome {
    match args.output {
        Format::Table => line(text(value)),
        Format::Json => {
            let json = serde_json::to_string_pretty(value);
            line(json.map_err(|error| Failure::new(Exit::Failed, error))?)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [["a".to_owned(), "5".to_owned()], ["longer".to_owned(), "1234".to_owned()]];
        assert_eq!(table(&[text("NAME"), number("N")], rows), "NAME       N\na          5\nlonger  1234");
    }
}
