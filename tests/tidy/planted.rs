//! Every rule finds what it is there for, and lets the right thing pass.

use super::*;

fn file(path: &str, text: &str) -> File {
    File { path: path.to_owned(), text: text.to_owned() }
}

/// The rule complains about the first text with these words, and not about the second.
fn finds(rule: fn(&File) -> Vec<Complaint>, path: &str, (bad, words): (&str, &str), good: &str) {
    let found = rule(&file(path, bad));
    assert!(found.len() == 1 && found[0].what.contains(words), "{bad:?} gave {found:?}");
    assert_eq!(rule(&file(path, good)), [], "{good:?}");
}

#[test]
fn files_open_with_their_purpose_and_end_in_time() {
    finds(opening, "a/src/a.rs", ("use x;\n", "purpose"), "//! What this file is for.\nuse x;\n");
    finds(opening, "a/src/a.rs", ("//!\n//! What this file is for.\n", "purpose"), "//! What this file is for.\n");
    finds(length, "a/src/a.rs", (&"\n".repeat(601), "601 lines"), &"\n".repeat(600));
}

#[test]
fn arrows_point_down() {
    let toml = |name: &str| format!("[package]\nname = \"strata-x\"\n[dependencies]\n{name}.workspace = true\n");
    let up = toml("strata-broker");
    let side = toml("strata-store");
    let down = toml("strata-protocol");
    finds(arrows, "store/Cargo.toml", (&up, "strata-broker"), &down);
    finds(arrows, "tiering/Cargo.toml", (&side, "strata-store"), &down);
    finds(arrows, "protocol/Cargo.toml", (&down, "strata-protocol"), &toml("bytes"));
    finds(arrows, "namesrv/Cargo.toml", (&toml("strata"), "strata"), &toml("strata-remoting"));
    let of_tests = "[dev-dependencies]\nstrata-store = { path = \"../store\" }\n";
    finds(arrows, "remoting/Cargo.toml", (of_tests, "strata-store"), "[features]\nstrata-store = []\n");
    finds(arrows, "broker/Cargo.toml", (&toml("datafusion"), "query"), &toml("tokio"));
    assert_eq!(arrows(&file("util/Cargo.toml", "")).len(), 1, "a room outside the table");
    assert_eq!(arrows(&file("protocol/fuzz/Cargo.toml", &up)), [], "not a room");
}

#[test]
fn names_say_what_things_are() {
    finds(type_names, "a/a.rs", ("pub struct TopicManager;", "TopicManager"), "pub struct Topics; // no Manager\n");
    finds(type_names, "a/a.rs", ("trait Helper {}", "Helper"), "let a = \"struct StringUtils\";");
    finds(type_names, "a/a.rs", ("enum SendMessageProcessor<T> {", "Processor"), "enum Processors {");
    finds(function_names, "a/a.rs", ("    pub async fn get_topic(&self) {", "get_topic"), "fn target(&self) {");
    finds(function_names, "a/a.rs", ("fn set_x() {", "set_x"), "fn settle() {} // fn set_x() {");
}

#[test]
fn nothing_is_unfinished_or_unsafe() {
    finds(unfinished, "a/a.rs", ("fn a() { todo!() }", "todo!"), "// todo!\nfn a() {}");
    finds(unfinished, "a/a.rs", ("fn a() { unimplemented!(\"x\") }", "unimplemented!"), "fn a(s: &'static str) {}");
    finds(unfinished, "a/a.rs", ("#[ignore = \"slow\"]", "#[ignore"), "#[test]");
    finds(unsafety, "a/src/a.rs", ("unsafe { x() }", "outside"), "/* unsafe */ fn unsafely() {}");
    finds(unsafety, "a/src/lib.rs", ("pub fn a() {}", "root"), "#![forbid(unsafe_code)]\n");
    finds(unsafety, "a/src/main.rs", ("// #![forbid(unsafe_code)]", "root"), "#![forbid(unsafe_code)]\n");
    assert_eq!(unsafety(&file(UNSAFE_FILE, "unsafe { x() }")), []);
}

#[test]
fn exceptions_to_lints_have_reasons() {
    let good = "#[allow(dead_code, reason = \"x\")]\n#![expect(\n  clippy::a,\n  reason = \"x\"\n)]\n";
    finds(reasons, "a/a.rs", ("\n#[allow(dead_code)]\n", "line 2"), good);
    finds(reasons, "a/a.rs", ("#![expect(clippy::a)]\nfn a() -> &str { \"reason =\" }", "line 1"), good);
}

#[test]
fn limits_have_units_bounds_and_reasons() {
    let good = "/// Why.\npub const FRAME_BYTES_MAX: usize = 1;\n/// Why.\npub const IDLE_MAX: Duration = X;\nconst _: () = ();\n";
    finds(limits, "a/src/limits.rs", ("pub const A_BYTES_MAX: usize = 1;", "reason"), good);
    finds(limits, "a/src/limits.rs", ("/// Why.\npub const FRAME_MAX: usize = 1;", "unit"), good);
    finds(limits, "a/src/limits.rs", ("/// Why.\npub(crate) const MAX_BYTES: usize = 1;", "bound"), good);
    assert_eq!(limits(&file("a/src/other.rs", "pub const MAX: usize = 1;")), []);
}

#[test]
fn structs_and_sockets_are_kept_small_and_few() {
    let fields = |count: usize| (0..count).map(|n| format!("f{n}: Vec<a::B<(u8, u8)>>,\n")).collect::<String>();
    let (wide, narrow) = (format!("struct W {{ {} }}", fields(13)), format!("struct W<T> {{ {} }}", fields(12)));
    finds(struct_fields, "a/a.rs", (&wide, "W has 13"), &narrow);
    assert_eq!(struct_fields(&file("a/a.rs", "struct T(u8);\nfn f() { a: b }")), []);
    finds(sockets, "store/src/a.rs", ("use tokio::net::TcpStream;", "TcpStream"), "// TcpStream\n");
    assert_eq!(sockets(&file("remoting/src/a.rs", "use tokio::net::TcpStream;")), []);
}

#[test]
fn the_store_changes_its_files_in_one_place() {
    let good = "disk.write_at(&file, b, 0);\n#[cfg(test)]\nfn a() { file.set_len(1) }";
    finds(disk_changes, "store/src/a.rs", ("self.file.set_len(1);", "set_len"), good);
    finds(disk_changes, "store/src/a/b.rs", ("std::fs::remove_file(a)", "remove_"), "std::fs::read(a)");
    assert_eq!(disk_changes(&file(DISK_FILE, "file.sync_data()")), []);
}

#[test]
fn decisions_are_numbered_pages() {
    let decided = |names: &[&str]| -> Vec<Complaint> {
        let all: Vec<File> = names.iter().map(|name| file(&format!("docs/decisions/{name}"), "# Title\n")).collect();
        decisions(&all)
    };
    assert_eq!(decided(&["0002-second.md", "0001-first.md"]), []);
    assert_eq!(decided(&["0001-first.md", "0003-third.md"]).len(), 1, "a gap");
    assert_eq!(decided(&["0001-first.md", "0001-again.md"]).len(), 1, "a number twice");
    assert_eq!(decided(&["0001-First One.md"]).len(), 1);
    assert_eq!(decided(&["notes.md"]).len(), 1);
    assert_eq!(decisions(&[file("docs/decisions/0001-a.md", "no title")]).len(), 1);
    assert_eq!(decisions(&[file("docs/decisions/0001-a.md", &format!("# A\n{}", "\n".repeat(80)))]).len(), 1);
}

#[test]
fn words_of_the_workshop_are_found_everywhere() {
    for (first, second) in BETRAYING {
        finds(words, "docs/a.md", (&format!("see {first}{second} there"), second), &format!("see {first} {second}"));
    }
}

#[test]
fn blanking_leaves_code_and_lines_alone() {
    let source =
        "let a = 'x'; // c 'y\nlet b: &'a str = \"q\\\"\n\"; /* k\n */ r#\"raw \"x\" \"# b'\\'' '\\u{1}' 'é' end";
    let code = code_only(source);
    assert_eq!(code.lines().count(), source.lines().count());
    let words: Vec<&str> = code.split_whitespace().collect();
    assert_eq!(words, ["let", "a", "=", ";", "let", "b:", "&'a", "str", "=", ";", "b", "end"]);
}
