//! Runs of the generator, `strata bench`, and what they said.
//!
//! Owns starting it and reading its document. A run that found a fault ends the comparison.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::servers::{Server, pinned};
use crate::settings::Settings;

/// Share of the broker's core that others may take before a window is marked.
const OTHERS_MAX: f64 = 0.1;
/// Share of a core that the hypervisor may take before a window is marked.
const STEAL_MAX: f64 = 0.1;

/// What one window said.
#[derive(Debug, Clone)]
pub struct Measured {
    report: Value,
}

impl Measured {
    /// The median of a figure of the windows.
    pub fn figure(&self, name: &str) -> Result<f64> {
        let figure = self.report["figures"][name]["median"].as_f64();
        figure.with_context(|| format!("the generator told no {name}: {}", self.report))
    }

    /// A count.
    pub fn count(&self, name: &str) -> Result<f64> {
        let count = self.report["counts"][name].as_f64();
        count.with_context(|| format!("the generator told no {name}: {}", self.report))
    }

    /// A percentile of a latency, us.
    pub fn latency(&self, name: &str, point: &str) -> Result<f64> {
        let figure = self.report["latencyUs"][name][point].as_f64();
        figure.with_context(|| format!("the generator told no {point} of {name}: {}", self.report))
    }

    /// What else ran: share of the broker's core, and stolen share.
    pub fn noise(&self) -> (f64, f64) {
        (self.figure("othersShare").unwrap_or(0.0), self.figure("stealShare").unwrap_or(0.0))
    }

    /// Whether so much else ran that the figures say little.
    pub fn is_disturbed(&self) -> bool {
        let (others, steal) = self.noise();
        others > OTHERS_MAX || steal > STEAL_MAX
    }

    /// Whether the generator says that it was the bottleneck.
    pub fn is_bound_by_generator(&self) -> bool {
        self.report["bottleneck"].is_string()
    }
}

/// Runs the generator on its core with `args`.
pub fn run(settings: &Settings, args: &[&str]) -> Result<Value> {
    let mut bench = pinned(settings.cores.1, Path::new(&settings.strata));
    let output =
        bench.arg("bench").args(args).args(["--output", "json"]).output().context("cannot run strata bench")?;
    let (text, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "strata bench {}: {error}\n{text}", args.join(" "));
    serde_json::from_str(&text).with_context(|| format!("strata bench wrote no document: {text}"))
}

/// Runs the generator against a broker.
pub fn against(settings: &Settings, server: &Server, args: &[&str]) -> Result<Measured> {
    let (address, id) = (server.address(), server.id().to_string());
    let target = ["--broker", &address, "--broker-pid", &id, "--timeout", "120"];
    let report = run(settings, &[args, &target].concat())?;
    Ok(Measured { report })
}

/// Runs the generator against a name server.
pub fn route(settings: &Settings, server: &Server, args: &[&str]) -> Result<Measured> {
    let (address, id) = (server.namesrv(), server.namesrv_id().to_string());
    let target = ["--namesrv", &address, "--server-pid", &id];
    let report = run(settings, &[&["route"], args, &target].concat())?;
    Ok(Measured { report })
}
