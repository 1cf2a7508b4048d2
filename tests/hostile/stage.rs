//! Where the cases meet the server: its ports, its log, its memory, and a client to look things up with.
//!
//! Owns the running server of this suite and the mark that must never reach its log.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use strata_protocol::command::Command;
use strata_protocol::frame::HeaderCodec;
use strata_tests::history::Queue;
use strata_tests::site::{Ports, Setup, Site};
use strata_tests::talk::Talk;
use strata_tests::watch::MemoryWatch;

/// In every body and property here; the log of a broker shows no content of messages.
pub(crate) const CANARY: &str = "canary-that-no-log-may-show";

/// The server under attack.
pub(crate) struct Stage {
    pub(crate) ports: Ports,
    pub(crate) seed: u64,
    pub(crate) talk: Talk,
    site: Site,
    log: PathBuf,
    watch: MemoryWatch,
}

impl Stage {
    pub(crate) async fn open(setup: &Setup, seed: u64) -> Result<Self> {
        let site = Site::start(setup).await?;
        let talk = Talk::connect(setup.ports.broker, HeaderCodec::Json).await?;
        let watch = MemoryWatch::begin(site.id());
        Ok(Self { ports: setup.ports, seed, talk, site, log: setup.log.clone(), watch })
    }

    /// Memory of the server's own, now.
    pub(crate) fn memory_kib(&self) -> Result<u64> {
        strata_tests::site::own_memory_kib(self.site.id())
    }

    /// The most that was seen.
    pub(crate) fn peak_kib(&self) -> u64 {
        self.watch.peak_kib()
    }

    /// A request that must be answered with one of `codes`; gives the answer.
    pub(crate) async fn expect(
        &self,
        codes: &[i32],
        code: i32,
        fields: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Command> {
        let answer = self.talk.ask_raw(code, fields, body).await?;
        ensure!(
            codes.contains(&answer.code),
            "request {code} with {} was answered with {} ({:?}), {codes:?} is right",
            short(fields),
            answer.code,
            answer.remark
        );
        ensure!(
            answer.code == 0 || answer.remark.as_ref().is_some_and(|remark| !remark.is_empty()),
            "code {} has no remark",
            answer.code
        );
        Ok(answer)
    }

    /// How many messages a topic has had in its first eight queues.
    pub(crate) async fn stored(&self, topic: &str) -> Result<i64> {
        let mut sum = 0;
        for id in 0..8 {
            sum += self.talk.range(&Queue::new(topic, id)).await?.1;
        }
        Ok(sum)
    }

    /// The server's log so far.
    pub(crate) fn log(&self) -> Result<String> {
        std::fs::read_to_string(&self.log).context("cannot read the server's log")
    }

    /// Ends the server as an operator does.
    pub(crate) async fn close(mut self) -> Result<()> {
        self.watch.end().await;
        let status = self.site.stop().await?;
        ensure!(status.success(), "the server ended with {status}");
        Ok(())
    }
}

/// Fields as a message shows them; a long value is cut.
fn short(fields: &[(&str, &str)]) -> String {
    let shown = fields.iter().map(|(name, value)| format!("{name}={}", value.chars().take(40).collect::<String>()));
    shown.collect::<Vec<_>>().join(", ")
}
