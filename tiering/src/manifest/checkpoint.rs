//! Checkpoints: the whole state as one object, lines of JSON under zstd.
//!
//! The first line is the head, then comes a line for each roll, the last line has the checksum of all before it. Line
//! by line, so that opening holds the state once and not its text as well.

use std::collections::{BTreeMap, HashSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::ManifestError;
use super::edit::{VERSION, VersionOnly};
use super::roll::{ObjectRef, Roll};
use super::state::Manifest;
use crate::limits::{CHECKPOINT_BYTES_MAX, CHECKPOINT_LINE_BYTES_MAX};

/// A level that writes a hundred thousand objects in a fraction of a second.
const ZSTD_LEVEL: i32 = 3;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    version: u64,
    number: u64,
    epoch: u64,
    writer: String,
    rolls: u64,
    end: Option<u64>,
    properties: BTreeMap<String, i32>,
    dropped: BTreeMap<String, u64>,
    #[serde(default)]
    expired: BTreeMap<String, u64>,
    #[serde(default)]
    log: Option<String>,
    state: Option<ObjectRef>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tail {
    crc32c: String,
}

struct Lines<W> {
    out: W,
    sum: u32,
    line: Vec<u8>,
}

impl<W: Write> Lines<W> {
    fn push(&mut self, value: &impl Serialize) -> std::io::Result<()> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, value)?;
        self.line.push(b'\n');
        self.sum = crc32c::crc32c_append(self.sum, &self.line);
        self.out.write_all(&self.line)
    }
}

/// The object's bytes.
pub(super) fn encode(manifest: &Manifest) -> std::io::Result<Vec<u8>> {
    let out = zstd::Encoder::new(Vec::new(), ZSTD_LEVEL)?;
    let mut lines = Lines { out, sum: 0, line: Vec::new() };
    lines.push(&Head {
        version: VERSION,
        number: manifest.number,
        epoch: manifest.epoch,
        writer: manifest.writer.to_string(),
        rolls: manifest.rolls.len() as u64,
        end: manifest.end,
        properties: (*manifest.properties).clone(),
        dropped: (*manifest.dropped).clone(),
        expired: (*manifest.expired).clone(),
        log: manifest.log().map(str::to_owned),
        state: manifest.state.clone(),
    })?;
    for roll in &manifest.rolls {
        lines.push(&**roll)?;
    }
    let sum = lines.sum;
    lines.push(&Tail { crc32c: format!("{sum:08x}") })?;
    lines.out.finish()
}

struct Source<R> {
    from: R,
    sum: u32,
    line: Vec<u8>,
}

impl<R: BufRead> Source<R> {
    /// The next line, with its end. An end of the text within a line, or before one, is damage.
    fn next(&mut self) -> Result<&[u8], String> {
        self.sum = crc32c::crc32c_append(self.sum, &self.line);
        self.line.clear();
        let mut bounded = self.from.by_ref().take(CHECKPOINT_LINE_BYTES_MAX);
        bounded.read_until(b'\n', &mut self.line).map_err(|error| error.to_string())?;
        if self.line.last() != Some(&b'\n') {
            return Err("a line has no end".to_owned());
        }
        Ok(&self.line)
    }
}

fn parse<'a, T: Deserialize<'a>>(line: &'a [u8]) -> Result<T, String> {
    serde_json::from_slice(line).map_err(|error| error.to_string())
}

/// Understands the checkpoint of that number, called `name` for people.
pub(super) fn decode(name: &str, number: u64, bytes: &[u8]) -> Result<Manifest, ManifestError> {
    let damaged = |what: String| ManifestError::Damaged { name: name.to_owned(), what };
    let decoder = zstd::Decoder::new(bytes).map_err(|error| damaged(error.to_string()))?;
    let decoder = decoder.take(CHECKPOINT_BYTES_MAX);
    let mut source = Source { from: BufReader::new(decoder), sum: 0, line: Vec::new() };
    let first = source.next().map_err(damaged)?;
    let VersionOnly { version } = parse(first).map_err(damaged)?;
    // The text is held against its checksum later: a version that no release wrote is damage then as well.
    if version != VERSION {
        return Err(ManifestError::Version { name: name.to_owned(), version });
    }
    let head: Head = parse(first).map_err(damaged)?;
    let manifest = read_rolls(&mut source, head).map_err(damaged)?;
    if manifest.number != number {
        return Err(damaged(format!("it says that it is checkpoint {}", manifest.number)));
    }
    Ok(manifest)
}

fn read_rolls(source: &mut Source<impl BufRead>, head: Head) -> Result<Manifest, String> {
    let mut manifest = Manifest {
        number: head.number,
        epoch: head.epoch,
        writer: head.writer.into(),
        end: head.end,
        properties: Arc::new(head.properties),
        dropped: Arc::new(head.dropped),
        expired: Arc::new(head.expired),
        log: head.log.map(Arc::from),
        state: head.state,
        ..Manifest::default()
    };
    let mut topics = HashSet::new();
    let mut end = None;
    for _ in 0..head.rolls {
        let mut roll: Roll = parse(source.next()?)?;
        roll.check()?;
        if end.is_some_and(|end| end != roll.from) {
            return Err(format!("the roll from {} does not begin where the one before it ends", roll.from));
        }
        end = Some(roll.to);
        roll.share_topics(&mut topics);
        manifest.totals.add(&roll);
        manifest.rolls.push(Arc::new(roll));
    }
    if end.is_some() && end != manifest.end {
        return Err("its last roll does not end where the head says".to_owned());
    }
    let tail: Tail = parse(source.next()?)?;
    if tail.crc32c != format!("{:08x}", source.sum) {
        return Err("its checksum does not match its lines".to_owned());
    }
    // What follows the last line is read too: zstd holds its own checks against the whole of it.
    let mut rest = Vec::new();
    source.from.by_ref().take(1).read_to_end(&mut rest).map_err(|error| error.to_string())?;
    if rest.is_empty() { Ok(manifest) } else { Err("something follows its checksum".to_owned()) }
}
