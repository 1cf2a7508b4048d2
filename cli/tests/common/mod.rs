//! Starts the built binary and asks it things; shared by the tests of the command line.
#![allow(dead_code, reason = "each test file uses a part of it")]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test's helpers start processes and fail by panicking"
)]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Time that a start, an answer or an end may take on a busy machine.
pub(crate) const WAIT: Duration = Duration::from_secs(30);

/// The binary with nothing of the caller's environment that it would read.
pub(crate) fn strata(args: &[&str]) -> Command {
    let mut command = program(env!("CARGO_BIN_EXE_strata"));
    command.args(args);
    command
}

/// Any program in such an environment.
pub(crate) fn program(path: &str) -> Command {
    let mut command = Command::new(path);
    command.env_remove("NAMESRV_ADDR").env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

/// Runs a command to its end: exit code, standard output, standard error.
pub(crate) fn run(command: &mut Command) -> (i32, String, String) {
    finished(command.output().unwrap())
}

fn finished(output: Output) -> (i32, String, String) {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// A server that is ready.
pub(crate) struct Running {
    child: Child,
    /// Everything it printed until it was ready.
    pub(crate) announced: String,
}

impl Running {
    /// Starts a server in `folder` and waits for its ready line.
    pub(crate) fn start(folder: &Path, args: &[&str]) -> Self {
        Self::start_as(folder, strata(args))
    }

    /// As [`Running::start`] with a command of the test's own.
    pub(crate) fn start_as(folder: &Path, command: Command) -> Self {
        let (mut running, lines) = Self::begin(folder, command);
        running.wait_for("ready", &lines);
        running
    }

    /// A server that starts; what it prints comes line by line.
    pub(crate) fn begin(folder: &Path, mut command: Command) -> (Self, Receiver<String>) {
        command.current_dir(folder).env("RUST_LOG", "warn").stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (sender, lines) = mpsc::channel();
        let out = BufReader::new(child.stdout.take().unwrap());
        // It reads on when nobody listens any more, so that the server never waits for its pipe.
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        (Self { child, announced: String::new() }, lines)
    }

    /// Waits for a line with this word in it.
    pub(crate) fn wait_for(&mut self, word: &str, lines: &Receiver<String>) {
        let deadline = Instant::now() + WAIT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = lines.recv_timeout(left).unwrap_or_else(|_| panic!("no {word:?} in {:?}", self.announced));
            self.announced.push_str(&line);
            self.announced.push('\n');
            if line.contains(word) {
                return;
            }
        }
    }

    /// The first word behind a fact's name, such as the address of `name server`.
    pub(crate) fn fact(&self, name: &str) -> String {
        let line = self.announced.lines().find_map(|line| line.trim().strip_prefix(name)).unwrap();
        line.split_whitespace().next().unwrap().to_owned()
    }

    /// The process's id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends `INT` or `TERM` and gives the exit status.
    pub(crate) fn stop(mut self, signal: &str) -> ExitStatus {
        let sent = if signal == "INT" { Signal::INT } else { Signal::TERM };
        kill_process(Pid::from_child(&self.child), sent).unwrap();
        let deadline = Instant::now() + WAIT;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end after SIG{signal}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Already gone after stop(); otherwise the test failed, and nothing may be left behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A name server and a broker in one process, on free ports, with small segments.
pub(crate) struct Site {
    pub(crate) server: Running,
    pub(crate) namesrv: String,
}

impl Site {
    pub(crate) fn start(folder: &Path) -> Self {
        // How full the machine's own disk is decides nothing here.
        let settings = "mappedFileSizeCommitLog = 4194304\ndiskMaxUsedSpaceRatio = 95\n";
        std::fs::write(folder.join("broker.conf"), settings).unwrap();
        let ports = ["--namesrv-port", "0", "--broker-port", "0", "--metrics-port", "0"];
        let args = [&["start", "--data", "data", "-c", "broker.conf", "--listen", "127.0.0.1"][..], &ports].concat();
        let server = Running::start(folder, &args);
        let namesrv = server.fact("name server");
        Self { server, namesrv }
    }

    /// Runs a command against the site.
    pub(crate) fn run(&self, args: &[&str]) -> (i32, String, String) {
        run(strata(args).env("NAMESRV_ADDR", &self.namesrv))
    }

    /// Runs a command that must do what it is asked; gives its standard output.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let (code, out, error) = self.run(args);
        assert_eq!((code, error.as_str()), (0, ""), "{args:?}");
        out
    }

    /// As [`Site::ok`] with text on standard input.
    pub(crate) fn ok_with_input(&self, args: &[&str], input: &str) -> String {
        let mut command = strata(args);
        command.env("NAMESRV_ADDR", &self.namesrv).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let (code, out, error) = finished(child.wait_with_output().unwrap());
        assert_eq!((code, error.as_str()), (0, ""), "{args:?}");
        out
    }

    /// A command's JSON document.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.ok(args)).unwrap()
    }

    /// Messages of a topic as JSON, one value each.
    pub(crate) fn messages(&self, args: &[&str]) -> Vec<Value> {
        let out = self.ok(&[&["consume", "--output", "json"], args].concat());
        out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// The body of a page.
pub(crate) fn page(address: &str, path: &str) -> (u16, String) {
    use std::io::Read;
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(WAIT)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.split_whitespace().nth(1).unwrap().parse().unwrap(), body.to_owned())
}
