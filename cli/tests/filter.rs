//! `strata filter`: explaining expressions on stored messages, and judging lines, as a user meets it.

mod common;

use common::{Site, run, strata};
use serde_json::Value;

fn explain(site: &Site, args: &[&str]) -> (i32, Value, String) {
    let (code, out, error) = site.run(&[&["filter", "explain", "--output", "json"], args].concat());
    (code, serde_json::from_str(&out).unwrap_or(Value::Null), error)
}

#[test]
fn a_stored_message_is_found_by_both_of_its_ids() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path());
    site.ok(&["topic", "create", "orders", "--queues", "1"]);
    site.ok(&["produce", "orders", "-m", "x", "--tag", "A", "--property", "amount=12", "--property", "region=eu"]);
    let message = site.messages(&["orders"]).remove(0);
    let (id, key) = (message["offsetMessageId"].as_str().unwrap(), message["messageId"].as_str().unwrap());
    assert_ne!(id, key);
    let expression = "TAGS = 'A' AND amount > 10 AND region IN ('us')";
    for ids in
        [&["--message", id][..], &["--message", key, "--topic", "orders"], &["--message", id, "--topic", "orders"]]
    {
        let (code, told, error) = explain(&site, &[&[expression], ids].concat());
        assert_eq!((code, error.as_str()), (0, ""), "{ids:?}");
        assert_eq!(told["message"], "orders broker-a/0 offset 0", "{told:#}");
        assert_eq!(told["verdict"]["outcome"], "FALSE", "{told:#}");
        let value = |text: &str| {
            let parts = told["parts"].as_array().unwrap();
            parts.iter().find(|part| part["text"] == text).unwrap()["value"].as_str().unwrap().to_owned()
        };
        assert_eq!(
            (value("amount > 10"), value("region"), value("TAGS")),
            ("TRUE".into(), "'eu'".into(), "'A'".into())
        );
    }
    let absent = "0".repeat(32);
    for (wrong, words, exit) in [
        (&["--message", &absent][..], "no broker at 0.0.0.0:0", 4),
        (&["--message", &absent, "--topic", "orders"], "there is no message 000", 4),
        (&["--message", "42", "--topic", "orders"], "there is no message 42", 4),
        (&["--message", "42"], "an offset message id has 32 or 56 characters", 2),
        (&["--message", key, "--topic", "nothing"], "there is no topic nothing", 4),
    ] {
        let (code, _, error) = explain(&site, &[&[expression], wrong].concat());
        assert!(code == exit && error.contains(words), "{wrong:?}: {code} {error}");
    }
}

#[test]
fn an_expression_alone_needs_no_server() {
    let explain = |args: &[&str]| run(&mut strata(&[&["filter", "explain"], args].concat()));
    let (code, out, _) = explain(&["a > 3 junk", "--properties", "a=5", "b=x"]);
    assert!(code == 0 && out.contains("not part of the expression: junk") && out.contains("SQL92: TRUE"), "{out}");
    let (code, out, error) = explain(&["a LIKE 'x' AND b ="]);
    assert!(code == 0 && out.contains("LIKE 'x' AND b ="), "{out}{error}");
    let (code, out, error) = explain(&["a != 1"]);
    assert_eq!(code, 2, "{out}");
    assert!(
        out.contains("a != 1\n  ^\n") && error.starts_with("error: SQL92 expression refused at position 2"),
        "{error}"
    );
    let (code, _, error) = explain(&["a = 1", "-p", "a"]);
    assert!(code == 2 && error.contains("key=value"), "{error}");
}

#[test]
fn lines_are_judged() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("lines");
    let line =
        |expression: &str, value: &str| format!(r#"{{"expr": "{expression}", "properties": {{"a": "{value}"}}}}"#);
    let lines = [line("a > 3", "5"), line("a > 3", "x"), line("a >", "5"), line("a > 3", "4")];
    std::fs::write(&input, lines.join("\n")).unwrap();
    let judge = |path| run(strata(&["filter", "eval"]).stdin(std::fs::File::open(path).unwrap()));
    assert_eq!(judge(&input), (0, "true\nfalse\nrefused\ntrue\n".into(), String::new()));
    std::fs::write(&input, format!("{}\nnothing\n{}\n", lines[0], lines[1])).unwrap();
    let (code, out, error) = judge(&input);
    assert_eq!((code, out.as_str()), (1, "true\nerror\nfalse\n"));
    assert!(error.starts_with("line 2: ") && error.contains("1 of 3 lines"), "{error}");
}
