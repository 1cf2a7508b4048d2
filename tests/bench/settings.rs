//! What the caller decides: rows, durations, cores, folders.
//!
//! Owns the flags of the comparison and their help.

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};

/// What `--help` says.
pub const HELP: &str = "\
Compares Strata with Apache RocketMQ 5.5.0 on this machine: each is started with the same settings on one core, the
generator (strata bench) runs on another, and windows alternate while the idle broker is stopped.

Usage: tests/bench/compare [OPTIONS]

  --rows A,B,...    rows to measure, see below [default: all]
  --quick           short windows and small sizes: minutes instead of an hour; the figures are rough
  --output FORM     markdown or json [default: markdown]
  --rounds N        pairs of windows of each row [default: 7; quick: 2]
  --seconds S       length of a window [default: 10; quick: 2]
  --gib A,B,...     GiB stored for the row ready [default: 2,4; quick: none]
  --folder DIR      where data goes, on the disk that counts [default: a new folder beside the build]
  --cores B,G       cores of the brokers and of the generator [default: 0,1]
  --without-apache  measure Strata alone: no ratios

Rows: produce-1x64 produce-64x1 pull-1k pull-100 pull-groups filter latency sync topics memory ready route

Exit codes: 0 measured; 1 something failed, or an answer was wrong; 2 wrong usage. A goal that is missed is no failure.";

/// All rows, in the order of the table.
pub const ROWS: [&str; 12] = [
    "produce-1x64",
    "produce-64x1",
    "pull-1k",
    "pull-100",
    "pull-groups",
    "filter",
    "latency",
    "sync",
    "topics",
    "memory",
    "ready",
    "route",
];

/// How the table is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// For people.
    Markdown,
    /// For programs.
    Json,
}

/// What the caller decided.
#[derive(Debug, Clone)]
pub struct Settings {
    pub rows: Vec<String>,
    pub quick: bool,
    pub form: Form,
    pub rounds: usize,
    pub seconds: f64,
    pub gib: Vec<u64>,
    pub folder: Option<PathBuf>,
    pub cores: (usize, usize),
    pub without_apache: bool,
    pub strata: PathBuf,
    pub apache: PathBuf,
}

impl Settings {
    /// Reads the arguments; `None` when only help is wanted.
    pub fn read(arguments: impl Iterator<Item = String>) -> Result<Option<Self>> {
        let mut all = Self {
            rows: Vec::new(),
            quick: false,
            form: Form::Markdown,
            rounds: 0,
            seconds: 0.0,
            gib: Vec::new(),
            folder: None,
            cores: (0, 1),
            without_apache: false,
            strata: PathBuf::new(),
            apache: PathBuf::new(),
        };
        let mut gib = None;
        let mut arguments = arguments;
        while let Some(flag) = arguments.next() {
            match flag.as_str() {
                "--help" | "-h" => return Ok(None),
                "--quick" => all.quick = true,
                "--without-apache" => all.without_apache = true,
                _ => {
                    let value = arguments.next().with_context(|| format!("{flag} wants a value, or is no flag"))?;
                    all.take(&flag, &value, &mut gib)?;
                }
            }
        }
        if all.rows.is_empty() {
            all.rows = ROWS.map(String::from).to_vec();
        }
        let (rounds, seconds, sizes) = if all.quick { (2, 2.0, vec![]) } else { (7, 10.0, vec![2, 4]) };
        all.rounds = if all.rounds == 0 { rounds } else { all.rounds };
        all.seconds = if all.seconds == 0.0 { seconds } else { all.seconds };
        all.gib = gib.unwrap_or(sizes);
        ensure!(all.strata.is_file(), "--strata wants the binary; start tests/bench/compare instead");
        Ok(Some(all))
    }

    fn take(&mut self, flag: &str, value: &str, gib: &mut Option<Vec<u64>>) -> Result<()> {
        let list = || value.split(',').map(str::trim).filter(|part| !part.is_empty());
        match flag {
            "--rows" => {
                for row in list() {
                    ensure!(ROWS.contains(&row), "there is no row {row}; there are: {}", ROWS.join(" "));
                    self.rows.push(row.to_owned());
                }
            }
            "--output" => match value {
                "markdown" => self.form = Form::Markdown,
                "json" => self.form = Form::Json,
                _ => bail!("--output is markdown or json"),
            },
            "--rounds" => self.rounds = value.parse().context("--rounds wants a number")?,
            "--seconds" => self.seconds = value.parse().context("--seconds wants a number")?,
            "--gib" => {
                *gib = Some(list().map(str::parse::<u64>).collect::<Result<_, _>>().context("--gib wants numbers")?)
            }
            "--folder" => self.folder = Some(PathBuf::from(value)),
            "--cores" => {
                let (broker, generator) = value.split_once(',').context("--cores wants two numbers: 0,1")?;
                self.cores = (broker.parse()?, generator.parse()?);
            }
            "--strata" => self.strata = PathBuf::from(value),
            "--apache" => self.apache = PathBuf::from(value),
            _ => bail!("there is no flag {flag}"),
        }
        Ok(())
    }

    /// Whether a row is wanted.
    pub fn wants(&self, row: &str) -> bool {
        self.rows.iter().any(|wanted| wanted == row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Option<Settings>> {
        let own = std::env::current_exe().unwrap().display().to_string();
        Settings::read(format!("--strata {own} {text}").split_whitespace().map(String::from))
    }

    #[test]
    fn flags_are_read_and_wrong_ones_are_named() {
        let quick = read("--quick --rows latency,sync --cores 1,0 --gib 2,20").unwrap().unwrap();
        assert_eq!((quick.rounds, quick.cores, quick.gib.as_slice()), (2, (1, 0), &[2, 20][..]));
        assert!(quick.wants("sync") && !quick.wants("ready"));
        assert_eq!(read("").unwrap().unwrap().rows.len(), ROWS.len());
        assert!(read("--help").unwrap().is_none());
        assert!(read("--rows nothing").unwrap_err().to_string().contains("no row nothing"));
        assert!(read("--quack 3").unwrap_err().to_string().contains("no flag --quack"));
    }
}
