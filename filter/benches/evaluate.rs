//! What a message costs a filter: `cargo bench -p strata-filter`. The first row is the one that is compared with a
//! hard-wired evaluation of the same expression on the same properties.

#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use strata_filter::sql::{Dialect, Expression, Outcome};

/// Messages of 11 properties in about 168 bytes, of which every third is blue and every tenth costs more than 900.
fn messages() -> Vec<String> {
    const COLORS: [&str; 3] = ["red", "blue", "green"];
    let mut state = 1_u64;
    let mut random = move |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let message = |n: u64| {
        let (tag, color, price) = (["A", "B", "C", "D"][n as usize % 4], COLORS[random(3) as usize], random(1_000));
        let unique = n * 131_071;
        format!(
            "KEYS\x01ORD{n}\x02UNIQ_KEY\x017F0000010B4A18B4AAC2{unique:012X}\x02CLUSTER\x01DefaultCluster\x02\
             TAGS\x01Tag{tag}\x02color\x01{color}\x02price\x01{price}\x02region\x01hz\x02a\x01{}\x02WAIT\x01true\x02\
             TRACE_ON\x01true\x02MSG_REGION\x01DefaultRegion\x02",
            n % 10
        )
    };
    (0..4_096).map(message).collect()
}

fn evaluate(criterion: &mut Criterion) {
    let messages = messages();
    let mut group = criterion.benchmark_group("evaluate");
    group.throughput(Throughput::Elements(messages.len() as u64));
    for (dialect, text) in [
        (Dialect::Sql92, "color='blue' AND price>900"),
        (Dialect::Strict, "color='blue' AND price>900"),
        (Dialect::Sql92, "color='blue'"),
        (Dialect::Sql92, "missing IS NULL"),
        (Dialect::Sql92, "region IN ('hz', 'sh') AND a BETWEEN 2 AND 5 AND color CONTAINS 'e'"),
        (Dialect::Strict, "region LIKE 'h%' AND a IN (2, 3, 5.0)"),
    ] {
        let expression = Expression::compile(dialect, text).expect("the expression compiles");
        group.bench_function(format!("{dialect} {text}"), |bencher| {
            bencher.iter(|| {
                let matches = |message: &&String| expression.evaluate(black_box(message.as_bytes())) == Outcome::True;
                messages.iter().filter(matches).count()
            });
        });
    }
    group.finish();
}

fn compile(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("compile");
    let long = vec!["a = 1 AND b <> 'x'"; 800].join(" OR ");
    for (name, text) in [("short", "color='blue' AND price>900"), ("16 KiB", long.as_str())] {
        for dialect in [Dialect::Sql92, Dialect::Strict] {
            let text = if dialect == Dialect::Strict && text.len() > 8_000 { &text[..text.len() / 4] } else { text };
            let text = text.trim_end_matches(|last: char| last != '\'');
            group.bench_function(format!("{dialect} {name}"), |bencher| {
                bencher.iter(|| Expression::compile(dialect, black_box(text)).is_ok());
            });
        }
    }
    group.finish();
}

criterion_group!(benches, evaluate, compile);
criterion_main!(benches);
