//! Statements that Strata, DuckDB and Spark take as they are.

/// Messages there are; a condition may follow.
pub(crate) const COUNT: &str = "SELECT count(*) AS n FROM messages";

/// Statements whose answers are the same, row by row.
pub(crate) const SAME: [&str; 16] = [
    "SELECT topic, count(*) AS n, min(queue_offset) AS first, max(queue_offset) AS last, min(store_time) AS since \
     FROM messages GROUP BY topic ORDER BY topic",
    "SELECT date_trunc('minute', born_time) AS minute, count(*) AS n FROM messages \
     WHERE topic = 'Orders' GROUP BY 1 ORDER BY 1",
    "SELECT tags, count(*) AS n, count(DISTINCT msg_id) AS ids FROM messages WHERE topic = 'Orders' \
     GROUP BY tags ORDER BY tags NULLS LAST",
    "SELECT topic, queue_id, queue_offset, log_offset, store_time, born_time, keys, tags, properties, body_text \
     FROM messages WHERE msg_id = '000000000000000000000000000004D2'",
    "SELECT queue_id, queue_offset, msg_id FROM messages WHERE topic = 'Orders' AND array_contains(keys, 'customer-7') \
     ORDER BY queue_id, queue_offset",
    "SELECT properties['color'] AS color, properties['Color'] AS other, count(*) AS n FROM messages \
     WHERE topic IN ('Orders', 'Payments', 'Odd') GROUP BY 1, 2 ORDER BY 1 NULLS LAST, 2 NULLS LAST",
    "SELECT msg_id, body_text FROM messages WHERE topic = 'Orders' AND body_text LIKE '%\"total\":49_,%' \
     ORDER BY log_offset",
    "SELECT topic, count(*) AS n, sum(queue_offset) AS sum FROM messages \
     WHERE born_time >= TIMESTAMP '2025-10-09 09:00:00' AND born_time < TIMESTAMP '2025-10-09 09:15:00' \
     GROUP BY topic ORDER BY topic",
    "SELECT topic, count(*) AS n FROM messages \
     WHERE store_time > (SELECT max(store_time) FROM messages WHERE topic = 'Orders') GROUP BY topic ORDER BY topic",
    "SELECT round(percentile_cont(0.5) WITHIN GROUP (ORDER BY CAST(character_length(body_text) AS DOUBLE)), 2) \
     AS half, \
     round(percentile_cont(0.99) WITHIN GROUP (ORDER BY CAST(character_length(body_text) AS DOUBLE)), 2) AS most \
     FROM messages WHERE topic = 'Orders'",
    "SELECT o.tags AS tag, count(*) AS n, sum(CAST(p.properties['amount'] AS BIGINT)) AS amount FROM messages p \
     JOIN messages o ON o.msg_id = p.properties['order'] WHERE p.topic = 'Payments' AND o.topic = 'Orders' \
     GROUP BY o.tags ORDER BY o.tags NULLS LAST",
    "SELECT topic, queue_id, max(step) AS most, count(*) AS n FROM (SELECT topic, queue_id, queue_offset - \
     lag(queue_offset) OVER (PARTITION BY topic, queue_id ORDER BY queue_offset) AS step FROM messages) AS steps \
     GROUP BY topic, queue_id ORDER BY topic, queue_id",
    "SELECT msg_id, sys_flag, body, body_text FROM messages WHERE topic = 'Packed' ORDER BY log_offset",
    "SELECT topic, queue_id, queue_offset, log_offset, store_time, born_time, msg_id, keys, tags, flag, sys_flag, \
     reconsume_times, born_host, store_host, prepared_transaction_offset, properties, body, body_text FROM messages \
     WHERE topic NOT IN ('Filler', 'Whole') ORDER BY log_offset",
    "SELECT queue_offset, log_offset, store_time, born_time, msg_id, keys, tags, flag, properties['y'] AS y, body \
     FROM messages WHERE topic = 'Whole' ORDER BY log_offset",
    "SELECT msg_id, properties FROM messages WHERE topic = 'Whole' AND msg_id <> 'whole-bad' ORDER BY log_offset",
];

/// Statements that count, with what Strata and what the engines answer: properties that are no text, or empty ones
/// beside such, of a message whose record is kept whole.
pub(crate) const DIFFERENT: [(&str, u64, u64); 2] = [
    ("SELECT count(*) AS n FROM messages WHERE topic = 'Whole' AND properties['bad'] IS NOT NULL", 1, 0),
    ("SELECT count(*) AS n FROM messages WHERE topic = 'Whole' AND properties['empty'] IS NOT NULL", 1, 0),
];

/// How an engine tells its plan for a statement; what it shall look for by what objects say of themselves, and a column
/// that it shall not read.
pub(crate) const PLANS: [(&str, &str, &[&str], &str); 2] = [
    (
        "duckdb",
        "EXPLAIN SELECT queue_offset FROM messages WHERE topic = 'Orders' AND msg_id = 'x' \
         AND store_time > TIMESTAMP '2026-01-01 00:00:00'",
        &["topic='Orders'", "msg_id='x'", "store_time>'"],
        "body",
    ),
    (
        "spark",
        "EXPLAIN FORMATTED SELECT queue_offset FROM messages WHERE topic = 'Orders' AND msg_id = 'x' \
         AND store_time > TIMESTAMP '2026-01-01 00:00:00'",
        &["EqualTo(topic,Orders)", "EqualTo(msg_id,x)", "GreaterThan(store_time,"],
        "packed",
    ),
];
