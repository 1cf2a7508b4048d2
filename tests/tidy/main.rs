//! House rules that clippy cannot see, held as one test: `cargo test --release -p strata-tests --test tidy`.
//!
//! Owns the rules about files, names, arrows between rooms, and words, with every exception and its reason.
//! It knows nothing of what the code does. Each rule is itself tested with a planted violation.
#![allow(clippy::unwrap_used, reason = "a file that cannot be read is a failed test")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Lines of one source file.
const FILE_LINES_MAX: usize = 600;
/// Fields of one struct.
const STRUCT_FIELDS_MAX: usize = 12;
/// Lines of one decision: a page.
const DECISION_LINES_MAX: usize = 80;

/// Deviations that are right, each with its reason: rule, path, what the complaint contains, why.
const EXCEPTIONS: &[(&str, &str, &str, &str)] = &[
    ("limits", "protocol/src/limits.rs", "JSON_DEPTH_MAX", "a depth is counted in levels and has no other unit"),
    ("limits", "store/src/limits.rs", "QUEUE_ID_MAX", "an id is a number without a unit"),
    ("limits", "tiering/src/limits.rs", "COMPRESSION_LEVEL", "a level is a number without a unit"),
    ("limits", "tiering/src/limits.rs", "BLOOM_WRONG", "a share has no unit"),
    ("function names", "query/src/postgres/session.rs", "get_parameter_types", "the name is the trait's of pgwire"),
    ("function names", "query/src/postgres/session.rs", "get_result_schema", "the name is the trait's of pgwire"),
    ("function names", "tiering/src/bucket/durable.rs", "get_opts", "the name is the trait's of object stores"),
    ("function names", "tiering/tests/bucket.rs", "get_opts", "the name is the trait's of object stores"),
    ("function names", "tiering/tests/faults/mod.rs", "get_opts", "the name is the trait's of object stores"),
    ("function names", "tiering/tests/requests.rs", "get_opts", "the name is the trait's of object stores"),
    ("function names", "tiering/tests/whole_tier/store.rs", "get_opts", "the name is the trait's of object stores"),
    ("struct fields", "broker/src/hall.rs", "Hall", "the rooms that requests meet; each has its own owner"),
    ("struct fields", "broker/src/handle/tier.rs", "Counters", "the members of the JSON that is answered"),
    ("struct fields", "protocol/src/body/settings.rs", "GroupConfig", "the members of RocketMQ's document"),
    ("struct fields", "protocol/src/request/message.rs", "Send", "the fields of RocketMQ's widest request"),
    ("struct fields", "cli/src/consume/print.rs", "Shown", "the members of the JSON that is printed are its format"),
];

/// Which of our rooms a room may name as dependency. Arrows point down; what is not listed may name none.
const ARROWS: &[(&str, &[&str])] = &[
    ("protocol", &[]),
    ("filter", &["protocol"]),
    ("store", &["protocol"]),
    ("tiering", &["protocol"]),
    ("remoting", &["protocol"]),
    ("namesrv", &["remoting", "protocol"]),
    ("broker", &["remoting", "store", "filter", "tiering", "protocol"]),
    ("query", &["tiering", "store", "filter", "protocol"]),
    ("cli", &["namesrv", "broker", "query", "tiering", "remoting", "store", "filter", "protocol"]),
    ("tests", &["cli", "namesrv", "broker", "query", "tiering", "remoting", "store", "filter", "protocol"]),
];

/// Dependencies that one room has for itself: name's beginning, the rooms, and what would be lost.
const RESERVED: &[(&str, &[&str], &str)] = &[
    ("datafusion", &["query"], "the hot path builds in seconds only without it"),
    ("object_store", &["tiering"], "only the warehouse touches object storage"),
    ("memmap2", &["store"], "only the cellar maps files"),
    ("clap", &["cli"], "only the doorbell reads flags"),
    ("tracing-subscriber", &["cli"], "only the doorbell installs tracing"),
];

const BANNED_SUFFIXES: &[&str] = &["Manager", "Service", "Impl", "Util", "Utils", "Helper", "Wrapper", "Processor"];

/// The one file that may hold unsafe code, with its safety argument.
const UNSAFE_FILE: &str = "store/src/mapping.rs";

/// The one file of the store that may call the system to change or flush something on disk.
const DISK_FILE: &str = "store/src/disk.rs";

/// Such calls, and types that offer them.
const DISK_CHANGES: &str = "OpenOptions File::create File::options fs::write fs::rename fs::remove_ fs::create_dir \
    fs::copy hard_link symlink set_permissions set_len sync_all sync_data write_all_at file.write_at io::Write \
    io::prelude allocate(file ftruncate renameat unlink msync flush_range";

/// Words that speak of how the project was made instead of what it is, and hosts of registries. They are
/// written in two parts here, so that this file does not hold them.
const BETRAYING: &[(&str, &str)] = &[
    ("/wo", "rk/"),
    ("../sha", "red"),
    ("sha", "red/house"),
    ("hou", "se.md"),
    ("relia", "bility.md"),
    ("measu", "ring.md"),
    ("eco", "system.md"),
    ("proto", "col.md"),
    ("/ro", "ot/"),
    ("/ho", "me/"),
    ("iss", "ues show"),
    ("language ", "model"),
    ("as an ", "AI"),
    ("Clau", "de"),
    ("Anth", "ropic"),
    ("crates", ".io"),
    ("repo.mav", "en"),
    ("repo1.mav", "en"),
    ("pypi", ".org"),
    ("pythonhosted", ".org"),
    ("npmjs", ".org"),
    ("proxy.golang", ".org"),
];

#[cfg(test)]
mod planted;

struct File {
    /// Relative to the project's root, with slashes.
    path: String,
    text: String,
}

#[derive(Debug, PartialEq, Eq)]
struct Complaint {
    rule: &'static str,
    path: String,
    what: String,
}

impl File {
    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    fn room(&self) -> &str {
        self.path.split('/').next().unwrap_or_default()
    }

    fn complaint(&self, rule: &'static str, what: impl Into<String>) -> Complaint {
        Complaint { rule, path: self.path.clone(), what: what.into() }
    }

    /// The text of a Rust file with comments, strings and characters blanked, so that words in it are code.
    fn code(&self) -> String {
        code_only(&self.text)
    }
}

#[test]
fn the_house_is_tidy() {
    let files = project();
    assert!(files.iter().filter(|file| file.is_rust()).count() > 50, "the project was not found");
    let mut unused: BTreeSet<usize> = (0..EXCEPTIONS.len()).collect();
    let mut left = Vec::new();
    for complaint in all_rules(&files) {
        let excepted = EXCEPTIONS.iter().position(|(rule, path, what, reason)| {
            !reason.is_empty() && *rule == complaint.rule && *path == complaint.path && complaint.what.contains(what)
        });
        match excepted {
            Some(at) => {
                unused.remove(&at);
            }
            None => left.push(format!("{}: {}: {}", complaint.path, complaint.rule, complaint.what)),
        }
    }
    left.extend(unused.into_iter().map(|at| format!("this exception is not needed: {:?}", EXCEPTIONS[at])));
    assert!(left.is_empty(), "{} complaints:\n{}", left.len(), left.join("\n"));
}

fn all_rules(files: &[File]) -> Vec<Complaint> {
    let per_file: &[fn(&File) -> Vec<Complaint>] = &[
        opening,
        length,
        arrows,
        type_names,
        function_names,
        unfinished,
        unsafety,
        reasons,
        limits,
        struct_fields,
        sockets,
        disk_changes,
        words,
    ];
    let mut all: Vec<Complaint> = files.iter().flat_map(|file| per_file.iter().flat_map(|rule| rule(file))).collect();
    all.extend(decisions(files));
    all
}

fn opening(file: &File) -> Vec<Complaint> {
    let says = file.text.lines().next().is_some_and(|line| line.starts_with("//! ") && line.len() > 20);
    if !file.is_rust() || says { vec![] } else { vec![file.complaint("opening", "no `//!` sentence of purpose first")] }
}

fn length(file: &File) -> Vec<Complaint> {
    let lines = file.text.lines().count();
    if !file.is_rust() || lines <= FILE_LINES_MAX {
        return vec![];
    }
    vec![file.complaint("length", format!("{lines} lines, more than {FILE_LINES_MAX}"))]
}

/// Reads a room's `Cargo.toml` and holds its dependencies against the arrows.
fn arrows(file: &File) -> Vec<Complaint> {
    let Some(room) = file.path.strip_suffix("/Cargo.toml").filter(|room| !room.contains('/')) else { return vec![] };
    let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == room) else {
        return vec![file.complaint("arrows", format!("room {room} has no place in the table of arrows"))];
    };
    let mut complaints = Vec::new();
    let mut in_dependencies = false;
    for line in file.text.lines() {
        if let Some(section) = line.strip_prefix('[') {
            // Tests of a room may use any library, but no other room than it may itself.
            in_dependencies = section.contains("dependencies");
        }
        let name = line.split(['=', '.', ' ']).next().unwrap_or_default();
        if !in_dependencies || name.is_empty() {
            continue;
        }
        let ours = name.strip_prefix("strata-").or((name == "strata").then_some("cli"));
        if ours.is_some_and(|ours| !allowed.contains(&ours)) {
            complaints.push(file.complaint("arrows", format!("{room} must not depend on {name}")));
        }
        let reserved =
            RESERVED.iter().find(|(reserved, rooms, _)| name.starts_with(reserved) && !rooms.contains(&room));
        if let Some((_, rooms, why)) = reserved {
            complaints.push(file.complaint("arrows", format!("{name} belongs to {rooms:?}: {why}")));
        }
    }
    complaints
}

fn type_names(file: &File) -> Vec<Complaint> {
    let code = if file.is_rust() { file.code() } else { String::new() };
    let words: Vec<&str> = code.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|w| !w.is_empty()).collect();
    let declared = words.windows(2).filter(|pair| ["struct", "enum", "trait", "type", "union"].contains(&pair[0]));
    declared
        .filter_map(|pair| {
            BANNED_SUFFIXES.iter().find(|suffix| pair[1].ends_with(*suffix)).map(|suffix| (pair[1], suffix))
        })
        .map(|(name, suffix)| file.complaint("type names", format!("{name} ends in {suffix}")))
        .collect()
}

fn function_names(file: &File) -> Vec<Complaint> {
    let code = if file.is_rust() { file.code() } else { String::new() };
    let named = code.lines().filter_map(|line| line.split("fn ").nth(1));
    named
        .filter(|name| name.starts_with("get_") || name.starts_with("set_"))
        .map(|name| file.complaint("function names", name.split('(').next().unwrap_or_default()))
        .collect()
}

fn unfinished(file: &File) -> Vec<Complaint> {
    let code = if file.is_rust() { file.code() } else { String::new() };
    ["todo!", "unimplemented!", "#[ignore"]
        .iter()
        .filter(|word| code.contains(*word))
        .map(|word| file.complaint("unfinished", *word))
        .collect()
}

fn unsafety(file: &File) -> Vec<Complaint> {
    if !file.is_rust() {
        return vec![];
    }
    let mut complaints = Vec::new();
    let code = file.code();
    if file.path != UNSAFE_FILE && code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "unsafe") {
        complaints.push(file.complaint("unsafety", "unsafe code outside the mapping module"));
    }
    let is_root = ["/src/lib.rs", "/src/main.rs"].iter().any(|root| file.path == format!("{}{root}", file.room()));
    if is_root && file.room() != "store" && !code.contains("#![forbid(unsafe_code)]") {
        complaints.push(file.complaint("unsafety", "the crate's root does not forbid unsafe code"));
    }
    complaints
}

fn reasons(file: &File) -> Vec<Complaint> {
    let code = if file.is_rust() { file.code() } else { String::new() };
    let mut complaints = Vec::new();
    for opening in ["#[allow(", "#![allow(", "#[expect(", "#![expect("] {
        for (at, _) in code.match_indices(opening) {
            let attribute = code[at..].split(']').next().unwrap_or_default();
            if !attribute.contains("reason =") {
                let line = code[..at].lines().count() + 1;
                complaints.push(file.complaint("reasons", format!("an exception without a reason near line {line}")));
            }
        }
    }
    complaints
}

/// Constants of `limits.rs`: documented, with a unit in the name or the type, and the bound as its last word.
fn limits(file: &File) -> Vec<Complaint> {
    if !file.path.ends_with("/limits.rs") {
        return vec![];
    }
    let mut complaints = Vec::new();
    let mut before = "";
    for line in file.text.lines() {
        let declaration = line.split("const ").nth(1).filter(|_| line.starts_with("pub") || line.starts_with("const "));
        if let Some((name, kind)) = declaration.and_then(|rest| rest.split_once(": ")).filter(|(name, _)| *name != "_")
        {
            if !before.starts_with("///") {
                complaints.push(file.complaint("limits", format!("{name} has no reason above it")));
            }
            let words: Vec<&str> = name.split('_').collect();
            let has_unit =
                kind.starts_with("Duration") || words.iter().any(|word| word.len() > 1 && word.ends_with('S'));
            if !has_unit {
                complaints.push(file.complaint("limits", format!("{name} has no unit")));
            }
            let bound = words.iter().position(|word| ["MAX", "MIN"].contains(word));
            if bound.is_some_and(|at| at + 1 != words.len()) {
                complaints.push(file.complaint("limits", format!("{name} does not end in its bound")));
            }
        }
        if !line.starts_with("#[") {
            before = line;
        }
    }
    complaints
}

fn struct_fields(file: &File) -> Vec<Complaint> {
    let code = if file.is_rust() { file.code() } else { String::new() };
    let mut complaints = Vec::new();
    for (at, _) in code.match_indices("struct ") {
        let rest = &code[at + "struct ".len()..];
        let name = rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
        let Some(open) = rest.find(['{', ';', '(']).filter(|open| rest[*open..].starts_with('{')) else { continue };
        let mut depth = 0_i32;
        let mut fields = 0;
        for c in rest[open..].chars() {
            match c {
                '{' | '(' | '[' | '<' => depth += 1,
                '}' | ')' | ']' | '>' => depth -= 1,
                ':' if depth == 1 => fields += 1,
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
        if fields > STRUCT_FIELDS_MAX {
            complaints.push(file.complaint("struct fields", format!("{name} has {fields}")));
        }
    }
    complaints
}

/// Only the front door, the doorbell and the reading room's front ends touch sockets.
fn sockets(file: &File) -> Vec<Complaint> {
    let may = ["remoting", "cli", "query", "tests"].contains(&file.room()) || !file.path.contains("/src/");
    let code = if file.is_rust() && !may { file.code() } else { String::new() };
    ["TcpStream", "TcpListener", "TcpSocket", "UdpSocket", "UnixStream", "UnixListener"]
        .iter()
        .filter(|name| code.contains(*name))
        .map(|name| file.complaint("sockets", format!("{name} outside the rooms that touch sockets")))
        .collect()
}

/// The store changes its files through one trait, so that a test that owns it sees everything. Its unit tests
/// may prepare files as they like.
fn disk_changes(file: &File) -> Vec<Complaint> {
    let is_test = file.path.ends_with("/tests.rs") || file.path.ends_with("/golden.rs");
    if !file.path.starts_with("store/src/") || file.path == DISK_FILE || is_test {
        return vec![];
    }
    let code = file.code();
    let product = code.split("#[cfg(test)]").next().unwrap_or_default();
    let found = DISK_CHANGES.split_whitespace().filter(|call| product.contains(*call));
    found.map(|call| file.complaint("disk changes", format!("{call} outside of {DISK_FILE}"))).collect()
}

/// Decisions are numbered without gaps, named by their subject, one page each, and open with a title.
fn decisions(files: &[File]) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    let mut all: Vec<&File> = files.iter().filter(|file| file.path.starts_with("docs/decisions/")).collect();
    all.sort_by(|a, b| a.path.cmp(&b.path));
    for (file, number) in all.into_iter().zip(1..) {
        let name = file.path.rsplit('/').next().unwrap_or_default();
        let subject = name.strip_prefix(&format!("{number:04}-")).and_then(|rest| rest.strip_suffix(".md"));
        let is_kebab = |text: &str| text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        if !subject.is_some_and(|subject| !subject.is_empty() && is_kebab(subject)) {
            complaints.push(file.complaint("decisions", format!("{name} is not {number:04}-its-subject.md")));
        }
        if !file.text.starts_with("# ") || file.text.lines().count() > DECISION_LINES_MAX {
            complaints.push(file.complaint("decisions", format!("no title, or more than {DECISION_LINES_MAX} lines")));
        }
    }
    complaints
}

fn words(file: &File) -> Vec<Complaint> {
    let found = BETRAYING.iter().map(|(first, second)| format!("{first}{second}"));
    found
        .filter(|word| file.text.contains(word.as_str()) || file.path.contains(word.as_str()))
        .map(|word| file.complaint("words", format!("{word:?}")))
        .collect()
}

/// All text files of the project. What tools generate, and what git does not keep, is not looked at.
fn project() -> Vec<File> {
    const SKIPPED: &[&str] = &["target", "node_modules", "__pycache__", "data", "corpus", "artifacts", "coverage"];
    let root = strata_tests::setting::package().join("..");
    let (mut folders, mut files) = (vec![root.clone()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() {
                if !SKIPPED.contains(&name.as_str()) && (name == ".ci" || !name.starts_with('.')) {
                    folders.push(path);
                }
            } else if name != "Cargo.lock" && !name.ends_with(".lock") && !name.ends_with(".sum") {
                files.extend(read(&root, &path));
            }
        }
    }
    files
}

/// A file's text; `None` when it is not text.
fn read(root: &Path, path: &Path) -> Option<File> {
    let text = String::from_utf8(fs::read(path).ok()?).ok()?;
    let path = path.strip_prefix(root).ok()?.to_string_lossy().replace('\\', "/");
    Some(File { path, text })
}

/// Blanks comments, strings and characters of Rust; line breaks stay, so that lines keep their numbers.
fn code_only(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < bytes.len() {
        let end = at + blank_bytes(&bytes[at..], at.checked_sub(1).map(|before| bytes[before]));
        if end == at {
            out.push(if bytes[at].is_ascii() { char::from(bytes[at]) } else { ' ' });
            at += 1;
        } else {
            out.extend(bytes[at..end].iter().map(|byte| if *byte == b'\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    out
}

/// Bytes of the comment, string or character that begins here; 0 when none does.
fn blank_bytes(rest: &[u8], before: Option<u8>) -> usize {
    let until = |skip: usize, end: &[u8]| {
        let found = rest[skip..].windows(end.len()).position(|window| window == end);
        found.map_or(rest.len(), |found| skip + found + end.len())
    };
    let in_word = before.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    match rest {
        [b'/', b'/', ..] => until(2, b"\n") - usize::from(rest.contains(&b'\n')),
        [b'/', b'*', ..] => until(2, b"*/"),
        [b'r', b'"' | b'#', ..] if !in_word || before == Some(b'b') => {
            let hashes = rest[1..].iter().take_while(|byte| **byte == b'#').count();
            match rest.get(1 + hashes) {
                Some(b'"') => until(2 + hashes, &[b"\"".to_vec(), b"#".repeat(hashes)].concat()),
                _ => 0,
            }
        }
        [b'"', ..] => quoted_bytes(rest),
        [b'\'', b'\\', _, tail @ ..] => 4 + tail.iter().take_while(|byte| **byte != b'\'').count(),
        [b'\'', tail @ ..] => {
            // A character ends within five bytes; a lifetime has no closing quote.
            let width = tail.iter().take(5).skip(1).position(|byte| *byte == b'\'');
            let one =
                std::str::from_utf8(&tail[..width.map_or(0, |width| width + 1)]).is_ok_and(|c| c.chars().count() == 1);
            if one { width.map_or(0, |width| width + 3) } else { 0 }
        }
        _ => 0,
    }
}

fn quoted_bytes(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != b'"' {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}
