//! Selected replay: what columns decide is what the records say, and few bytes are fetched for it.

use std::sync::Arc;

use arrow_array::{Array, StringViewArray};
use strata_protocol::properties;
use strata_protocol::record::properties_of;
use strata_tiering::cold::{Ask, Bounds, ColdStatus, ColumnSift, PropertyBatch, Sift};
use strata_tiering::tier::Tier;

use super::log::{Draft, Log, Slot};
use super::{BEGIN_MS, memory, roll, tier_over};

/// Messages whose property has a value.
struct Equals {
    name: &'static str,
    value: &'static str,
    by_columns: bool,
}

impl Sift for Equals {
    fn wants(&self, record: &[u8]) -> bool {
        properties::find(properties_of(record).unwrap(), self.name) == Some(self.value.as_bytes())
    }

    fn columns(&self) -> Option<&dyn ColumnSift> {
        self.by_columns.then_some(self as &dyn ColumnSift)
    }
}

impl ColumnSift for Equals {
    fn identity(&self) -> &str {
        self.value
    }

    fn names(&self) -> Vec<&str> {
        vec![self.name]
    }

    fn may_match(&self, statistics: &dyn Fn(&str) -> Bounds) -> bool {
        statistics(self.name).may_hold(self.value.as_bytes())
    }

    fn rows(&self, batch: &PropertyBatch<'_>) -> Vec<bool> {
        if let Some((_, column)) = batch.named.iter().find(|(name, _)| *name == self.name) {
            let texts = column.as_any().downcast_ref::<StringViewArray>().unwrap();
            return texts.iter().map(|text| text == Some(self.value)).collect();
        }
        let rest = batch.rest.unwrap();
        let holds = |row| {
            let entry = rest.value(row);
            let text = |column: usize, nth: usize| {
                entry.column(column).as_any().downcast_ref::<StringViewArray>().unwrap().value(nth).to_owned()
            };
            (0..entry.len()).any(|nth| text(0, nth) == self.name && text(1, nth) == self.value)
        };
        (0..batch.rows).map(holds).collect()
    }
}

/// Offsets that a reader gets of a queue.
async fn selected(tier: &Tier, sift: &Equals, pull: usize) -> Vec<i64> {
    let (mut offsets, mut offset) = (Vec::new(), 0);
    loop {
        let ask = Ask { topic: "orders", queue_id: 0, offset, messages_max: pull, bytes_max: 1 << 20 };
        let read = tier.cold().read(&ask, sift).await.unwrap();
        assert!(read.messages <= pull);
        match read.status {
            ColdStatus::PastEnd => return offsets,
            ColdStatus::Lost => {}
            ColdStatus::Found | ColdStatus::NoMatch => {
                let bytes = read.slices.concat();
                let found = strata_protocol::record::records(&bytes).map(|record| record.unwrap().queue_offset());
                offsets.extend(found);
            }
            ColdStatus::BeforeBegin => panic!("at {offset}"),
        }
        assert!(read.next_offset > offset);
        offset = read.next_offset;
    }
}

/// A queue in which one of `one_of` messages is rare, in a property with a column and in one without.
fn fill(messages: usize, one_of: usize, with_odd: bool) -> Log {
    let mut log = Log::at(0);
    let mut seed = 3_u64;
    for nth in 0..messages {
        let is_rare = nth % one_of == one_of / 2;
        let (color, note) = if is_rare { ("teal", "note\u{1}rare\u{2}") } else { ("blue", "") };
        // Odd ones: an empty value, two of a name, a value that is not text.
        let odd: &[u8] = match nth % 977 {
            _ if !with_odd => b"",
            5 => b"color\x01\x02",
            6 => b"color\x01teal\x02color\x01blue\x02",
            7 => b"color\x01blue\x02color\x01teal\x02",
            8 => b"color\x01\xff\x02x\x01teal\x02",
            _ => b"",
        };
        let mut properties = format!("UNIQ_KEY\u{1}{nth:032X}\u{2}TAGS\u{1}T{}\u{2}{note}", nth % 3).into_bytes();
        if odd.is_empty() {
            properties.extend_from_slice(format!("color\u{1}{color}\u{2}").as_bytes());
        } else {
            properties.extend_from_slice(odd);
        }
        let body: Vec<u8> = (0..1_024)
            .map(|_| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (seed >> 56) as u8
            })
            .collect();
        let time = BEGIN_MS + nth as i64;
        log.append(&Draft { topic: "orders", queue_id: 0, properties: &properties, body: &body, time });
    }
    log
}

fn expected(log: &Log, sift: &Equals) -> Vec<i64> {
    let queue = &log.queues[&("orders".to_owned(), 0)];
    let wanted = queue.slots.iter().enumerate().filter(|(_, slot)| match slot {
        Slot::Record(record) => sift.wants(record),
        Slot::Lost => false,
    });
    wanted.map(|(nth, _)| nth as i64).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_columns_select_is_what_records_say() {
    for one_of in [2, 40, 1_000, 100_000] {
        let tier = tier_over(memory().await).await;
        let mut log = fill(40_000, one_of, true);
        if one_of == 1_000 {
            log.lose("orders", 0, 777);
        }
        let log = roll(&tier, log).await;
        for (name, value) in [("color", "teal"), ("note", "rare"), ("TAGS", "T1"), ("color", "none"), ("absent", "x")] {
            let rows = Equals { name, value, by_columns: false };
            let wanted = expected(&log, &rows);
            for by_columns in [false, true] {
                for pull in [32, 1_024] {
                    let sift = Equals { name, value, by_columns };
                    let found = selected(&tier, &sift, pull).await;
                    assert!(
                        found == wanted,
                        "1 of {one_of}, {name}, {by_columns}: {} of {}",
                        found.len(),
                        wanted.len()
                    );
                }
            }
        }
    }
}

/// One message of a thousand costs a tenth of the bytes, and one of ten thousand less.
#[tokio::test(flavor = "multi_thread")]
async fn few_messages_cost_few_bytes() {
    for (one_of, percent_max) in [(1_000, 9.0), (10_000, 3.0)] {
        let bucket = memory().await;
        let tier = tier_over(bucket.clone()).await;
        let log = roll(&tier, fill(120_000, one_of, false)).await;
        let bytes: u64 = tier.manifest().rolls()[0].objects.iter().map(|object| object.bytes).sum();
        // Another reader has nothing in its memory.
        drop(tier);
        let tier: Arc<Tier> = tier_over(bucket).await;
        let sift = Equals { name: "note", value: "rare", by_columns: true };
        let found = selected(&tier, &sift, 32).await;
        assert_eq!(found, expected(&log, &sift));
        let (fetched, requests) = tier.cold().fetched();
        let percent = fetched as f64 * 100.0 / bytes as f64;
        println!("1 of {one_of}: {percent:.2} % of {bytes} bytes in {requests} requests");
        assert!(percent <= percent_max, "{percent:.2} % of the bytes were fetched");
    }
}
