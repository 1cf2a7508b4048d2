//! Reads Java's properties text, the form of RocketMQ's configuration files.
//!
//! Owns the syntax (`java.util.Properties.load`): separators `=`, `:` and blanks, comments, continued lines,
//! escapes. It does not know what a key means.

/// One entry and the line it began on, counted from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) value: String,
    pub(crate) line: usize,
}

/// Reads all entries in their order. Java reads ISO-8859-1; UTF-8 is taken too, because editors write it
/// and a file with letters beyond ASCII is hardly ever meant otherwise.
pub(crate) fn parse(bytes: &[u8]) -> Vec<Entry> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text.strip_prefix('\u{feff}').unwrap_or(text).to_owned(),
        Err(_) => bytes.iter().map(|byte| char::from(*byte)).collect(),
    };
    let mut entries = Vec::new();
    let mut lines = natural_lines(&text).enumerate();
    while let Some((at, first)) = lines.next() {
        let first = first.trim_start_matches(BLANKS);
        if first.is_empty() || first.starts_with(['#', '!']) {
            continue;
        }
        let mut logical = first.to_owned();
        while is_continued(&logical) {
            logical.pop();
            let Some((_, next)) = lines.next() else { break };
            logical.push_str(next.trim_start_matches(BLANKS));
        }
        let (key, value) = split(&logical);
        entries.push(Entry { key: unescape(key), value: unescape(value), line: at + 1 });
    }
    entries
}

const BLANKS: [char; 3] = [' ', '\t', '\u{c}'];

/// Lines end with CR, LF or both.
fn natural_lines(text: &str) -> impl Iterator<Item = &str> {
    text.split('\n').flat_map(|line| line.strip_suffix('\r').unwrap_or(line).split('\r'))
}

/// An odd number of backslashes at the end joins the next line.
fn is_continued(line: &str) -> bool {
    line.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

/// The key ends at the first separator that is not escaped; blanks around the separator belong to neither.
fn split(line: &str) -> (&str, &str) {
    let mut escaped = false;
    let end = line.find(|letter: char| {
        let ends = !escaped && (matches!(letter, '=' | ':') || BLANKS.contains(&letter));
        escaped = letter == '\\' && !escaped;
        ends
    });
    let Some(end) = end else { return (line, "") };
    let rest = line[end..].trim_start_matches(BLANKS);
    let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    (&line[..end], rest.trim_start_matches(BLANKS))
}

fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    // UTF-16 units, because a letter beyond the basic plane is written as two escapes.
    let mut units: Vec<u16> = Vec::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        let plain = if letter == '\\' { letters.next() } else { Some(letter) };
        if letter == '\\' && plain == Some('u') {
            let digits = letters.as_str().get(..4).and_then(|digits| u16::from_str_radix(digits, 16).ok());
            if let Some(unit) = digits {
                units.push(unit);
                letters = letters.as_str()[4..].chars();
                continue;
            }
        }
        flush(&mut units, &mut out);
        match (letter, plain) {
            ('\\', Some('t')) => out.push('\t'),
            ('\\', Some('n')) => out.push('\n'),
            ('\\', Some('r')) => out.push('\r'),
            ('\\', Some('f')) => out.push('\u{c}'),
            (_, Some(plain)) => out.push(plain),
            (_, None) => {}
        }
    }
    flush(&mut units, &mut out);
    out
}

fn flush(units: &mut Vec<u16>, out: &mut String) {
    out.push_str(&String::from_utf16_lossy(units));
    units.clear();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &[u8]) -> Vec<(String, String)> {
        parse(text).into_iter().map(|entry| (entry.key, entry.value)).collect()
    }

    #[test]
    fn separators_comments_and_blanks() {
        let text = b"# comment\n! another\n\n  brokerName = a b \nlistenPort:10911\nbare\nblank value here\nkey = = x\ncolon : y";
        let expected = [
            ("brokerName", "a b "),
            ("listenPort", "10911"),
            ("bare", ""),
            ("blank", "value here"),
            ("key", "= x"),
            ("colon", "y"),
        ];
        assert_eq!(pairs(text), expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }

    #[test]
    fn continued_lines_and_escapes() {
        let text = b"list = a,\\\r\n    b,\\\n  c\nwin=C:\\\\store\\\\\nu=\\u00fc\\uD83D\\uDE00\\u12\nk\\ e\\=y=\\ttab\\q\nlast=x\\";
        let expected = [("list", "a,b,c"), ("win", "C:\\store\\"), ("u", "ü😀u12"), ("k e=y", "\ttabq"), ("last", "x")];
        assert_eq!(pairs(text), expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }

    #[test]
    fn latin_1_and_utf_8_and_line_numbers() {
        assert_eq!(pairs(b"name=\xfcber"), [("name".to_owned(), "über".to_owned())]);
        assert_eq!(pairs("name=über".as_bytes()), [("name".to_owned(), "über".to_owned())]);
        let entries = parse(b"\n# x\na=1\\\n2\r\rb=3\n");
        let lines: Vec<_> =
            entries.iter().map(|entry| (entry.key.as_str(), entry.value.as_str(), entry.line)).collect();
        assert_eq!(lines, [("a", "12", 3), ("b", "3", 6)]);
    }
}
