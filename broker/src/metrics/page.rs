//! The text form of figures: families with their help and type, and samples with escaped labels.
//!
//! Owns the form alone. With many groups most of a page is the labels of their samples, so that these are written once
//! and taken by each family.

use std::fmt::Write as _;

use crate::histogram::Counted;

/// Bytes of a sample beside the labels that all have: its name, the names of a group and a topic, and its number.
const LABELS_BYTES: usize = 160;

/// A page that grows.
pub(super) struct Page {
    /// The labels that all samples have.
    base: String,
    text: String,
}

/// What a sample tells.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value {
    Int(i64),
    Float(f64),
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

macro_rules! ints {
    ($($int:ty)*) => {$(
        impl From<$int> for Value {
            fn from(value: $int) -> Self {
                Self::Int(super::int(value))
            }
        }
    )*};
}

ints!(i32 i64 u8 u64 usize);

/// What a family is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Gauge,
    Counter,
    Histogram,
}

impl Kind {
    /// A gauge, or what the name says.
    fn of(name: &str) -> Self {
        if name.ends_with("_total") { Self::Counter } else { Self::Gauge }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Counter => "counter",
            Self::Histogram => "histogram",
        }
    }
}

/// A label's value from a flag.
pub(super) fn flag(value: bool) -> &'static str {
    if value { "true" } else { "false" }
}

impl Page {
    /// A page whose samples all have these labels.
    pub(super) fn new(labels: &[(&str, String)]) -> Self {
        let mut base = String::new();
        for (name, value) in labels {
            push_label(&mut base, name, value);
        }
        Self { base, text: String::new() }
    }

    /// The text.
    pub(super) fn into_text(self) -> String {
        self.text
    }

    /// Labels of a sample, without braces: those of all samples and its own.
    pub(super) fn labels(&self, names: &[&str], values: &[&str]) -> String {
        let mut labels = String::with_capacity(self.base.len() + 32 * names.len());
        labels.push_str(&self.base);
        for (name, value) in names.iter().zip(values) {
            push_label(&mut labels, name, value);
        }
        labels
    }

    /// Begins a family; its samples follow. Nothing is told of one without samples.
    pub(super) fn begin(&mut self, name: &str, help: &str, kind: Kind) {
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {}", kind.name());
    }

    /// Adds a sample to the family that was begun last.
    fn sample(&mut self, name: &str, labels: &str, value: Value) {
        self.text.push_str(name);
        self.text.push('{');
        self.text.push_str(labels);
        self.text.push_str("} ");
        match value {
            Value::Int(value) => push_int(&mut self.text, value),
            Value::Float(value) => {
                let _ = write!(self.text, "{value}");
            }
        }
        self.text.push('\n');
    }

    /// Takes memory for so many samples with labels of names: growing by doubling would copy what there is again and
    /// again.
    pub(super) fn reserve(&mut self, samples: usize) {
        self.text.reserve(samples * (self.base.len() + LABELS_BYTES));
    }

    /// Adds a gauge, or a counter where the name ends so, with the values of its own labels.
    pub(super) fn add<V: Into<Value>>(&mut self, name: &str, help: &str, own: &[&str], rows: Vec<(Vec<String>, V)>) {
        let rows = rows.into_iter().map(|(values, value)| {
            let values: Vec<_> = values.iter().map(String::as_str).collect();
            (self.labels(own, &values), value.into())
        });
        let rows: Vec<(_, Value)> = rows.collect();
        self.family(name, help, rows.iter().map(|(labels, value)| (labels.as_str(), *value)));
    }

    /// Adds a gauge or counter without labels of its own.
    pub(super) fn add_one(&mut self, name: &str, help: &str, value: impl Into<Value>) {
        self.add(name, help, &[], vec![(Vec::new(), value)]);
    }

    /// Adds a gauge, or a counter where the name ends so, whose labels are written already.
    pub(super) fn family<'a>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl Iterator<Item = (&'a str, impl Into<Value>)>,
    ) {
        let mut samples = samples.peekable();
        if samples.peek().is_some() {
            self.begin(name, help, Kind::of(name));
        }
        for (labels, value) in samples {
            self.sample(name, labels, value.into());
        }
    }

    /// Adds histograms: labels that are written already, and what was counted. `scale` makes the values' unit the
    /// name's.
    pub(super) fn histogram<const N: usize>(
        &mut self,
        (name, help): (&str, &str),
        bounds: &[u64; N],
        scale: f64,
        samples: &[(String, Counted<N>)],
    ) {
        if !samples.is_empty() {
            self.begin(name, help, Kind::Histogram);
        }
        for (labels, counted) in samples {
            for (bound, count) in bounds.iter().zip(counted.cumulative) {
                let _ = writeln!(self.text, "{name}_bucket{{{labels},le=\"{bound}\"}} {count}");
            }
            let _ = writeln!(self.text, "{name}_bucket{{{labels},le=\"+Inf\"}} {}", counted.count);
            #[expect(clippy::cast_precision_loss, reason = "sums of times and sizes need no more than 52 bits")]
            let sum = counted.sum as f64 * scale;
            let _ = writeln!(self.text, "{name}_sum{{{labels}}} {sum}");
            let _ = writeln!(self.text, "{name}_count{{{labels}}} {}", counted.count);
        }
    }
}

/// A number as text. There are tens of thousands of them, and formatting would be the dearest part.
fn push_int(text: &mut String, value: i64) {
    let (mut digits, mut left, mut first) = ([0; 20], value.unsigned_abs(), 20);
    while first == 20 || left > 0 {
        first -= 1;
        let digit = (left % 10) as u8;
        digits[first] = b'0' + digit;
        left /= 10;
    }
    if value < 0 {
        text.push('-');
    }
    text.push_str(std::str::from_utf8(&digits[first..]).unwrap_or_default());
}

fn push_label(text: &mut String, name: &str, value: &str) {
    if !text.is_empty() {
        text.push(',');
    }
    text.push_str(name);
    text.push_str("=\"");
    if value.contains(['\\', '"', '\n']) {
        text.push_str(&value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"));
    } else {
        text.push_str(value);
    }
    text.push('"');
}

#[cfg(test)]
pub(super) fn page() -> Page {
    Page { base: String::from(r#"cluster="c""#), text: String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_have_their_labels_escaped() {
        let mut page = page();
        page.add("a_total", "Help.", &["why"], vec![(vec![String::from("a \"b\"\\\n")], 1)]);
        page.add("b", "Help.", &[], vec![(Vec::new(), 0.5)]);
        page.add("c", "Help.", &["d"], Vec::<(Vec<String>, i64)>::new());
        let text = r#"# HELP a_total Help.
# TYPE a_total counter
a_total{cluster="c",why="a \"b\"\\\n"} 1
# HELP b Help.
# TYPE b gauge
b{cluster="c"} 0.5
"#;
        assert_eq!(page.into_text(), text, "a family without samples is not told");
    }

    #[test]
    fn numbers_are_those_of_the_formatter() {
        for value in [0, 1, -1, 9, 10, 1_234_567, i64::MAX, i64::MIN] {
            let mut text = String::new();
            push_int(&mut text, value);
            assert_eq!(text, value.to_string());
        }
    }

    #[test]
    fn histograms_are_cumulative() {
        let mut page = page();
        let labels = page.labels(&[], &[]);
        let counted = Counted { cumulative: [1, 3], count: 4, sum: 2_500 };
        page.histogram(("h", "Help."), &[1, 5], 0.001, &[(labels, counted)]);
        let text = r#"# HELP h Help.
# TYPE h histogram
h_bucket{cluster="c",le="1"} 1
h_bucket{cluster="c",le="5"} 3
h_bucket{cluster="c",le="+Inf"} 4
h_sum{cluster="c"} 2.5
h_count{cluster="c"} 4
"#;
        assert_eq!(page.into_text(), text);
    }
}
