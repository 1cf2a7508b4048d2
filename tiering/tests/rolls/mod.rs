//! Rolls for tests: entries of objects that do not exist.
#![allow(dead_code, reason = "each test uses a part of it")]

use strata_tiering::manifest::{
    Edit, Ledger, ObjectEntry, ObjectRef, Place, Roll, index_name, object_name, roll_folder,
};

fn place(topic: &str, queue_id: i32, offset: u64) -> Place {
    Place { topic: topic.into(), queue_id, offset: i64::try_from(offset).unwrap() }
}

/// A roll of one object with ten messages, whose times are its log offsets.
pub(crate) fn roll(from: u64, to: u64, epoch: u64) -> Roll {
    let folder = roll_folder(from, to, epoch, 0);
    let (first_time, last_time) = (i64::try_from(from).unwrap(), i64::try_from(to.min(1 << 60)).unwrap());
    let object = ObjectEntry {
        name: object_name(&folder, 0).into(),
        bytes: 1000,
        rows: 10,
        crc32c: 7,
        first: place("t", 0, from),
        last: place("t", 3, from),
        first_time,
        last_time,
    };
    let index = ObjectRef { name: index_name(&folder).into(), bytes: 10, crc32c: 8 };
    Roll { from, to, epoch, first_time, last_time, index, front: 0, objects: [object].into() }
}

/// A roll as large brokers have: so many objects, of so many topics.
pub(crate) fn wide_roll(number: u64, objects: usize, epoch: u64) -> Roll {
    const ROLL_BYTES: u64 = 1 << 30;
    let (from, to) = (number * ROLL_BYTES, (number + 1) * ROLL_BYTES);
    let folder = roll_folder(from, to, epoch, 0);
    let time = 1_700_000_000_000 + i64::try_from(number).unwrap() * 60_000;
    let entry = |at: usize| {
        let topic = |at: usize| format!("department-of-orders-{:03}-topic", at * 97 % 100 + at * 100);
        ObjectEntry {
            name: object_name(&folder, at).into(),
            bytes: 128_000_000 + number % 1000 * 77 + at as u64,
            rows: 100_000 + number % 777,
            crc32c: u32::try_from((number * 2_654_435_761 + at as u64 * 40_503) % (1 << 32)).unwrap(),
            first: place(&topic(at), 3, number * 1000),
            last: place(&topic(at), 12, number * 1000 + 999),
            first_time: time,
            last_time: time + 59_999,
        }
    };
    let index = ObjectRef { name: index_name(&folder).into(), bytes: 1_000_000 + number % 999, crc32c: 8 };
    let objects = (0..objects).map(entry).collect();
    Roll { from, to, epoch, first_time: time, last_time: time + 59_999, index, front: 0, objects }
}

pub(crate) fn add_at(from: u64, to: u64, epoch: u64) -> Edit {
    Edit::Add { rolls: vec![roll(from, to, epoch)] }
}

/// The next roll of a ledger that was claimed.
pub(crate) fn add(ledger: &Ledger) -> Edit {
    let end = ledger.manifest().end().unwrap_or(0);
    add_at(end, end + 100, ledger.epoch().unwrap())
}
