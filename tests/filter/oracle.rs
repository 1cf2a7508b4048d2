//! Apache RocketMQ's own filter, asked over pipes.
//!
//! Owns the Java process and its protocol, which `oracle/Oracle.java` describes. It knows nothing of Strata's filter.

use std::io::{BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use strata_tests::setting::package;

use crate::question::{Question, Verdict};

/// The filter that the oracle must say it runs.
const FILTER_JAR: &str = "rocketmq-filter-5.5.0.jar";

/// A thread's stack as a broker's threads have it; traces of exceptions, which nobody reads, cost more than all else.
const JVM: [&str; 5] = ["-Xss1m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:-UsePerfData", "-XX:-StackTraceInThrowable"];

/// A running oracle. It ends with this value.
#[derive(Debug)]
pub(crate) struct Oracle {
    child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Drop for Oracle {
    fn drop(&mut self) {
        // It has ended already, or there is nothing better to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A command; only tests may run any.
fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    #[expect(clippy::disallowed_methods, reason = "the comparison starts what it compares with")]
    Command::new(program)
}

impl Oracle {
    /// Starts one with the jars of a folder; it compiles its source first, which takes a second.
    pub(crate) fn start(jars: &Path) -> Result<Self> {
        let source = package().join("filter/oracle/Oracle.java");
        let child = command("java")
            .args(JVM)
            .arg("-cp")
            .arg(jars.join("*"))
            .arg(source)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut child = child.context("cannot run java; tests/clients/install installs a JDK")?;
        let (Some(questions), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            bail!("the oracle has no pipes");
        };
        let mut oracle = Self { child, questions, answers: BufReader::with_capacity(1 << 16, answers) };
        let mut length = [0; 2];
        oracle.answers.read_exact(&mut length).context("the oracle did not start")?;
        let version = oracle.text(usize::from(u16::from_be_bytes(length)))?;
        ensure!(version == FILTER_JAR, "the oracle runs {version}, not {FILTER_JAR}");
        Ok(oracle)
    }

    /// Sends questions. At most one batch may be unanswered: answers of two small ones fit into the pipe.
    pub(crate) fn send<'a>(&mut self, batch: impl Iterator<Item = &'a Question>) -> Result<()> {
        let mut bytes = Vec::with_capacity(1 << 16);
        for question in batch {
            bytes.push(0);
            put(&mut bytes, question.expression.as_bytes())?;
            bytes.extend(u32::try_from(question.properties.len())?.to_be_bytes());
            for stored in &question.properties {
                put(&mut bytes, &stored.text)?;
            }
        }
        self.questions.write_all(&bytes).context("the oracle takes no more questions")
    }

    /// The verdicts on a question that was sent: one a properties text, or none when the expression is refused.
    pub(crate) fn receive(&mut self, question: &Question) -> Result<Option<Vec<Verdict>>> {
        match self.byte()? {
            b'R' => Ok(None),
            b'C' => question.properties.iter().map(|_| verdict(self.byte()?)).collect::<Result<_>>().map(Some),
            other => bail!("the oracle answered {other}"),
        }
    }

    /// One expression on one properties text, and what Apache threw, if it did.
    pub(crate) fn ask(&mut self, expression: &str, properties: &[u8]) -> Result<(Verdict, String)> {
        let mut bytes = vec![1];
        put(&mut bytes, expression.as_bytes())?;
        bytes.extend(1_u32.to_be_bytes());
        put(&mut bytes, properties)?;
        self.questions.write_all(&bytes).context("the oracle takes no more questions")?;
        let verdict = match self.byte()? {
            b'R' => Verdict::Refused,
            _ => verdict(self.byte()?)?,
        };
        let mut length = [0; 4];
        self.answers.read_exact(&mut length)?;
        Ok((verdict, self.text(u32::from_be_bytes(length) as usize)?))
    }

    /// How long Apache takes to judge all these messages, in nanoseconds of its thread's CPU, in the fastest of some
    /// passes, and how many match.
    pub(crate) fn time(&mut self, expression: &str, messages: &[String], passes: u32) -> Result<(u64, u32)> {
        let mut bytes = vec![2];
        put(&mut bytes, expression.as_bytes())?;
        bytes.extend(u32::try_from(messages.len())?.to_be_bytes());
        for message in messages {
            put(&mut bytes, message.as_bytes())?;
        }
        bytes.extend(passes.to_be_bytes());
        self.questions.write_all(&bytes).context("the oracle takes no more questions")?;
        let (mut nanoseconds, mut matches) = ([0; 8], [0; 4]);
        self.answers.read_exact(&mut nanoseconds).context("the oracle answers no more")?;
        self.answers.read_exact(&mut matches)?;
        Ok((u64::from_be_bytes(nanoseconds), u32::from_be_bytes(matches)))
    }

    fn byte(&mut self) -> Result<u8> {
        let mut byte = [0];
        self.answers.read_exact(&mut byte).context("the oracle answers no more")?;
        Ok(byte[0])
    }

    fn text(&mut self, length: usize) -> Result<String> {
        let mut bytes = vec![0; length];
        self.answers.read_exact(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// Appends a text with its length.
fn put(bytes: &mut Vec<u8>, text: &[u8]) -> Result<()> {
    bytes.extend(u32::try_from(text.len())?.to_be_bytes());
    bytes.extend_from_slice(text);
    Ok(())
}

fn verdict(byte: u8) -> Result<Verdict> {
    Ok(match byte {
        b'T' => Verdict::True,
        b'F' => Verdict::False,
        b'N' => Verdict::Null,
        b'E' => Verdict::Error,
        other => bail!("the oracle's verdict is {other}"),
    })
}
