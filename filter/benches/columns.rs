//! What a row costs a filter over columns, beside what arrow's own kernels need for the same columns:
//! `cargo bench -p strata-filter --bench columns`. Each figure is of 65,536 rows.

#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

use std::hint::black_box;

use arrow_arith::boolean::and_kleene;
use arrow_array::builder::{MapBuilder, StringBuilder};
use arrow_array::types::Int32Type;
use arrow_array::{BooleanArray, DictionaryArray, Int32Array, MapArray, Scalar, StringArray, StringViewArray};
use arrow_cast::cast;
use arrow_ord::cmp::{eq, gt};
use arrow_schema::DataType;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use strata_filter::columns::{Columns, evaluate};
use strata_filter::sql::{Dialect, Expression};

const ROWS: usize = 65_536;

/// Every third row is blue and every tenth costs more than 900, in no order.
fn values() -> (Vec<&'static str>, Vec<String>) {
    let mut state = 1_u64;
    let mut random = move |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    (0..ROWS).map(|_| (["red", "blue", "green"][random(3) as usize], random(1_000).to_string())).unzip()
}

fn map(colors: &[&str], prices: &[String]) -> MapArray {
    let mut builder = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
    for (color, price) in colors.iter().zip(prices) {
        for (name, value) in [("KEYS", "ORD1"), ("color", *color), ("price", price), ("region", "hz")] {
            builder.keys().append_value(name);
            builder.values().append_value(value);
        }
        builder.append(true).expect("as many names as values");
    }
    builder.finish()
}

/// The same verdicts by arrow's kernels: the price is read as a number in every row.
fn kernels(color: &StringArray, price: &StringArray) -> BooleanArray {
    let blue = eq(color, &Scalar::new(StringArray::from(vec!["blue"]))).expect("texts compare");
    let price = cast(price, &DataType::Int32).expect("texts become numbers");
    let dear = gt(&price, &Scalar::new(Int32Array::from(vec![900]))).expect("numbers compare");
    and_kleene(&blue, &dear).expect("as many rows")
}

fn columns(criterion: &mut Criterion) {
    let (colors, prices) = values();
    let color = StringArray::from(colors.clone());
    let price = StringArray::from_iter_values(&prices);
    let views: [StringViewArray; 2] =
        [colors.iter().map(Some).collect(), StringViewArray::from_iter_values(prices.iter())];
    let keyed: [DictionaryArray<Int32Type>; 2] =
        [colors.iter().copied().collect(), prices.iter().map(String::as_str).collect()];
    let map = map(&colors, &prices);
    let expression = Expression::compile(Dialect::Sql92, "color='blue' AND price>900").expect("it compiles");
    let strict = Expression::compile(Dialect::Strict, "color='blue' AND price>900").expect("it compiles");
    let texts = || {
        let columns = Columns::new(ROWS).with_property("color", black_box(&color)).expect("texts");
        columns.with_property("price", black_box(&price)).expect("texts")
    };
    assert_eq!(evaluate(&expression, &texts()).delivered, kernels(&color, &price));
    let mut group = criterion.benchmark_group("columns");
    group.throughput(Throughput::Elements(ROWS as u64));
    group.bench_function("arrow's kernels", |bencher| bencher.iter(|| kernels(black_box(&color), black_box(&price))));
    group.bench_function("SQL92, texts", |bencher| bencher.iter(|| evaluate(&expression, &texts())));
    group.bench_function("SQL92_STRICT, texts", |bencher| bencher.iter(|| evaluate(&strict, &texts())));
    group.bench_function("SQL92, views", |bencher| {
        bencher.iter(|| {
            let columns = Columns::new(ROWS).with_property("color", black_box(&views[0])).expect("texts");
            evaluate(&expression, &columns.with_property("price", &views[1]).expect("texts"))
        });
    });
    group.bench_function("SQL92, dictionaries", |bencher| {
        bencher.iter(|| {
            let columns = Columns::new(ROWS).with_property("color", black_box(&keyed[0])).expect("texts");
            evaluate(&expression, &columns.with_property("price", &keyed[1]).expect("texts"))
        });
    });
    group.bench_function("SQL92, a map", |bencher| {
        bencher.iter(|| evaluate(&expression, &Columns::new(ROWS).with_map(black_box(&map)).expect("texts")));
    });
    group.finish();
}

criterion_group!(benches, columns);
criterion_main!(benches);
