//! An S3 server of others, and readers of Parquet beside it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use strata_tests::{setting, site};
use tokio::time::{Instant, sleep};

/// The bucket that tests use.
pub(crate) const BUCKET: &str = "strata";

/// How long the server may take to start.
const READY_MAX: Duration = Duration::from_secs(60);

/// The Python environment that `tests/tier/install` made.
pub(crate) fn python() -> Result<PathBuf> {
    let venv = setting::text("STRATA_TIER_VENV").map(PathBuf::from);
    let cache = setting::text("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| setting::text("HOME").map(|home| PathBuf::from(home).join(".cache")));
    let venv = venv.or_else(|| cache.map(|cache| cache.join("strata/tier-venv"))).context("no HOME")?;
    let python = venv.join("bin/python");
    ensure!(python.is_file(), "{} is missing: run tests/tier/install", python.display());
    Ok(python)
}

/// A running S3 server; dropping it ends it.
pub(crate) struct S3 {
    child: Child,
    pub(crate) port: u16,
}

impl S3 {
    /// Starts it with an empty bucket.
    pub(crate) async fn start(log: &Path) -> Result<Self> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let log = std::fs::File::create(log).context("cannot create the log of the S3 server")?;
        let mut command = script("s3_server.py")?;
        command.arg(port.to_string()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().context("cannot start the S3 server")?;
        let s3 = Self { child, port };
        let deadline = Instant::now() + READY_MAX;
        loop {
            match s3.put(&format!("/{BUCKET}")) {
                Ok(answer) if answer.contains(" 200 ") => return Ok(s3),
                Ok(answer) => bail!("the S3 server made no bucket: {answer}"),
                Err(error) => ensure!(Instant::now() < deadline, "the S3 server does not start: {error:#}"),
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    fn put(&self, path: &str) -> Result<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let request =
            format!("PUT {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    /// The environment of a client.
    pub(crate) fn environment(&self) -> [(&'static str, String); 5] {
        Self::environment_at(self.port)
    }

    /// The environment of a client that finds the server at another port.
    pub(crate) fn environment_at(port: u16) -> [(&'static str, String); 5] {
        [
            ("AWS_ENDPOINT", format!("http://127.0.0.1:{port}")),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", "test".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "not-to-be-seen".to_owned()),
        ]
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        // The process is this test's own.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The command of a script that lies beside the suite.
pub(crate) fn script(name: &str) -> Result<Command> {
    let mut command = site::command(python()?);
    command.arg(Path::new(&setting::package()).join("tier").join(name));
    Ok(command)
}

/// What an engine (`duckdb`, `polars`) reads of Parquet files: for each topic its messages and a digest.
pub(crate) fn read_by(engine: &str, files: &[PathBuf]) -> Result<serde_json::Value> {
    let output = script("rows.py")?.arg(engine).args(files).output().with_context(|| format!("cannot run {engine}"))?;
    ensure!(output.status.success(), "{engine}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).with_context(|| format!("the answer of {engine} is no JSON"))
}
