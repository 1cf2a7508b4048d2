//! What a suite that is a program says, and how it ends.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Result;

/// Writes a line to standard output, for people.
pub fn say(line: &str) {
    // Nobody reads it any more when it cannot be written.
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// The exit code of a suite of which so many cases failed, or that could not run; says so.
#[must_use]
pub fn ended(suite: &str, failures: Result<usize>) -> ExitCode {
    match failures {
        Ok(0) => return ExitCode::SUCCESS,
        Ok(failures) => say(&format!("{suite}: FAILED, {failures} cases")),
        Err(error) => say(&format!("{suite}: FAILED: {error:#}")),
    }
    ExitCode::FAILURE
}
