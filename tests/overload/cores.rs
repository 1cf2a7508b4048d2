//! Which cores a server and its load run on: one for the server, the others for everybody else.
//!
//! Owns the pinning. Where there is one core only, nothing is pinned, and the caller says so.

use std::process::Command;

use anyhow::{Context, Result};
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use strata_tests::site::{Setup, command};

/// The cores of this process while a server has one of them; dropping it gives all of them back.
pub(crate) struct Cores {
    all: CpuSet,
    /// The server's core; `None` where there is only one.
    server: Option<usize>,
}

impl Cores {
    /// Takes the first core away from this process.
    pub(crate) fn share() -> Result<Self> {
        let all = sched_getaffinity(None).context("the cores of this process cannot be told")?;
        let numbers: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|core| all.is_set(*core)).collect();
        let [server, others @ ..] = &numbers[..] else { return Ok(Self { all, server: None }) };
        if others.is_empty() {
            return Ok(Self { all, server: None });
        }
        let mut rest = CpuSet::new();
        others.iter().for_each(|core| rest.set(*core));
        keep_to(&rest)?;
        Ok(Self { all, server: Some(*server) })
    }

    /// The start of a server on its own core.
    pub(crate) fn start(&self, setup: &Setup) -> Result<Command> {
        let start = setup.command()?;
        let Some(core) = self.server else { return Ok(start) };
        let mut pinned = command("taskset");
        pinned.arg("-c").arg(core.to_string()).arg(start.get_program()).args(start.get_args());
        pinned.env_remove("NAMESRV_ADDR").stdin(std::process::Stdio::null());
        Ok(pinned)
    }

    /// How the cores are shared, in words.
    pub(crate) fn told(&self) -> String {
        self.server.map_or_else(
            || String::from("one core for all: server and load share it"),
            |core| format!("the server has core {core}, the load the others"),
        )
    }
}

impl Drop for Cores {
    fn drop(&mut self) {
        // What cannot be given back ends with the process.
        let _ = keep_to(&self.all);
    }
}

/// All threads of this process run on `cores`.
fn keep_to(cores: &CpuSet) -> Result<()> {
    for thread in std::fs::read_dir("/proc/self/task").context("cannot look at own threads")? {
        let number = thread?.file_name().to_string_lossy().parse().ok().and_then(Pid::from_raw);
        sched_setaffinity(number, cores).context("a thread cannot be pinned")?;
    }
    Ok(())
}
