//! Why a command failed: one sentence for people, one number for scripts.
//!
//! Owns the exit codes, which `--help` documents and scripts rely on: never renumber them.

use std::fmt;

/// What `--help` says of the exit codes.
pub(crate) const HELP: &str = "\
Exit codes:
  0  done
  1  failed for another reason, which the message gives
  2  wrong usage: a flag, a name or a configuration value
  3  a name server or broker cannot be reached, or did not answer in time
  4  there is no such topic, group or queue
  5  the server refused the request
  6  a server cannot start, or files cannot be checked: a port, folder or file cannot be used
  7  a server ended well, but had taken no messages since a write or flush of its log failed: look at
     the disk; the next start recovers what was acknowledged
  8  files are damaged";

/// The kinds of failure that scripts tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Failed = 1,
    Usage = 2,
    Unreachable = 3,
    NotFound = 4,
    Refused = 5,
    CannotStart = 6,
    DiskFailed = 7,
    Damaged = 8,
}

/// A failure that ends the command.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    message: String,
}

/// What commands return.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self { exit, message: message.to_string() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Puts an error of another kind into its exit code.
pub(crate) trait OrFail<T> {
    /// The error's own text is the message.
    fn or_fail(self, exit: Exit) -> Outcome<T>;
    /// The error's text follows what was tried.
    fn or_fail_with(self, exit: Exit, what: impl fmt::Display) -> Outcome<T>;
}

impl<T, E: fmt::Display> OrFail<T> for Result<T, E> {
    fn or_fail(self, exit: Exit) -> Outcome<T> {
        self.map_err(|error| Failure::new(exit, error))
    }

    fn or_fail_with(self, exit: Exit, what: impl fmt::Display) -> Outcome<T> {
        self.map_err(|error| Failure::new(exit, format!("{what}: {error}")))
    }
}
