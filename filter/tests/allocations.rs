//! Evaluating a message allocates nothing: a test of its own, since it counts what the whole process allocates.

#![allow(unsafe_code, reason = "an allocator that counts cannot be written without")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use strata_filter::sql::{Dialect, Expression, Outcome};

thread_local! {
    /// Of this thread alone, so that the test harness's own threads do not count.
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: everything is left to the system's allocator; the count is a plain cell of the thread.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocated() -> u64 {
    COUNT.with(Cell::get)
}

#[test]
fn a_message_costs_no_allocation() {
    let properties =
        "KEYS\x01k\x02color\x01blue\x02price\x01950\x02a\x01٥\x02b\x01x y\x02c\x01true\x02d\x01\u{FFFD}\x02";
    let before = allocated();
    drop(std::hint::black_box(vec![1_u8]));
    assert_eq!(allocated(), before + 1, "allocations are not counted");
    let deep = format!("{}color = 'blue'{}", "price > 1 AND (".repeat(256), ")".repeat(256));
    for (dialect, text) in [
        (Dialect::Sql92, "color='blue' AND price>900"),
        (Dialect::Sql92, "a = 5 AND price BETWEEN 1.5 AND 1e3 AND (color = 'blue') = TRUE"),
        (Dialect::Sql92, "b CONTAINS ' ' AND color IN ('red', 'blue') AND NOT (missing IS NOT NULL) AND d <> 'x'"),
        (Dialect::Sql92, "KEYS = 'k' AND color <> a AND price >= a OR b <> c OR d = missing"),
        (Dialect::Sql92, &deep),
        (Dialect::Strict, "color LIKE 'b%e' AND price IN (950, 'x') AND c AND (c = TRUE) IS NOT UNKNOWN AND b = 'x y'"),
        (Dialect::Strict, &deep),
    ] {
        let expression = Expression::compile(dialect, text).unwrap();
        let before = allocated();
        let outcome = expression.evaluate(properties.as_bytes());
        assert_eq!(allocated(), before, "{text} allocated");
        assert!(!matches!(outcome, Outcome::False | Outcome::Null), "{text}: {outcome:?}");
    }
}
