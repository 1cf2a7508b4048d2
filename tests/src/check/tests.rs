//! Planted histories: a good one passes, and each way to break it is found, and nothing else with it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::dump::{QueueDump, Stored};
use crate::history::{Commit, Digest, Found, Place, Queue, Run, SentBack, Session, Trouble};
use crate::message::{self, Marks};

const SEED: u64 = 11;
const DELAY_MS: i64 = 1_000;
const GROUP: &str = "g";

/// A good history and what the server holds at its end.
struct World {
    history: History,
    dump: Dump,
    terms: Terms,
}

fn queue(topic: &str, id: i32) -> Queue {
    Queue::new(topic, id)
}

/// Puts a message at the end of a queue and gives its place.
fn put(dump: &mut Dump, at: &Queue, sent: &Sent, extra: &[(&str, &str)]) -> Place {
    let position = i64::try_from(dump.messages()).unwrap() * 1_000;
    let held = dump.queues.entry(at.clone()).or_default();
    let mut text = sent.properties.to_vec();
    for (name, value) in [("CLUSTER", "DefaultCluster"), ("MSG_REGION", "DefaultRegion")].iter().chain(extra) {
        text = strata_protocol::properties::with(&text, name, value).unwrap();
    }
    let stored = Stored {
        offset: held.max,
        position,
        record: position.unsigned_abs() * 7 + 1,
        body: sent.body,
        body_good: true,
        properties: Arc::from(text),
        ticket: Some(sent.ticket),
        stored_ms: 1_000_000 + position,
        reconsume_times: i32::from(extra.iter().any(|(name, _)| *name == "RETRY_TOPIC")),
    };
    held.max += 1;
    held.stored.push(stored);
    Place { queue: at.clone(), offset: held.max - 1 }
}

fn sent(producer: u32, number: u64, to: &Queue, kind: Kind) -> Sent {
    let ticket = Ticket { producer, number };
    let level = matches!(kind, Kind::Delayed { .. }).then_some(1);
    let properties =
        message::properties(SEED, ticket, Marks { keys: Some("k"), tag: None, delay_level: level }).unwrap();
    let body = Digest::of(&message::body(SEED, ticket, 20));
    Sent {
        ticket,
        queue: to.clone(),
        kind,
        body,
        properties: Arc::from(properties),
        outcome: Outcome::Unknown,
        answered_ms: None,
    }
}

/// Two producers of plain messages in two queues, one of delayed ones, one message given back, a group
/// that read everything in two runs with a kill between.
fn good() -> World {
    let mut history = History::default();
    let mut dump = Dump::default();
    let queues = [queue("t", 0), queue("t", 1)];
    for number in 0..20 {
        for producer in [1, 2] {
            let to = &queues[usize::try_from(number % 2).unwrap()];
            let mut one = sent(producer, number, to, Kind::Plain);
            let place = put(&mut dump, to, &one, &[]);
            // One answer got lost.
            if number != 13 {
                one.outcome = Outcome::Stored(place);
            }
            history.sends.push(one);
        }
    }
    let mut refused = sent(3, 0, &queues[0], Kind::Plain);
    refused.outcome = Outcome::Refused { code: 13 };
    history.sends.push(refused);
    history.sends.push(sent(3, 1, &queues[0], Kind::Plain));
    let (schedule, late) = (queue(name::SCHEDULE_TOPIC, 0), queue("late", 0));
    let mut delayed = sent(4, 0, &late, Kind::Delayed { level: 1, delay_ms: DELAY_MS });
    delayed.outcome =
        Outcome::Stored(put(&mut dump, &schedule, &delayed, &[("REAL_TOPIC", "late"), ("REAL_QID", "0")]));
    put(&mut dump, &late, &delayed, &[("REAL_TOPIC", "late"), ("REAL_QID", "0")]);
    history.sends.push(delayed);
    let retry = [
        ("RETRY_TOPIC", "t"),
        ("ORIGIN_MESSAGE_ID", "x"),
        ("WAIT", "false"),
        ("REAL_TOPIC", "%RETRY%g"),
        ("REAL_QID", "0"),
    ];
    let first = history.sends[0].clone();
    put(&mut dump, &schedule, &first, &retry);
    put(&mut dump, &queue("%RETRY%g", 0), &first, &retry);
    let group: Arc<str> = Arc::from(GROUP);
    history.sent_back.push(SentBack {
        group: Arc::clone(&group),
        ticket: first.ticket,
        delay_ms: DELAY_MS,
        confirmed: true,
    });
    consume(&mut history, &dump, &queues);
    history.runs = vec![Run { killed_ms: 50_000 }, Run { killed_ms: 90_000 }];
    World { history, dump, terms: Terms { readers: vec![(group, Arc::from("t"))] } }
}

/// The first run reads 12 messages and commits 10 long before the kill, 12 shortly before it; 10 is found.
fn consume(history: &mut History, dump: &Dump, queues: &[Queue]) {
    for queue in queues {
        let stored = &dump.queues[queue].stored;
        let end = dump.queues[queue].max;
        let group: Arc<str> = Arc::from(GROUP);
        let session = |run, begin: i64, end: usize| Session {
            group: Arc::clone(&group),
            queue: queue.clone(),
            run,
            begin,
            deliveries: stored[usize::try_from(begin).unwrap()..end].iter().map(Stored::delivery).collect(),
            trouble: None,
        };
        history.sessions.extend([session(0, 0, 12), session(1, 10, stored.len())]);
        let commit = |offset, confirmed_ms| Commit {
            group: Arc::clone(&group),
            queue: queue.clone(),
            run: 0,
            offset,
            confirmed_ms,
        };
        history.commits.extend([commit(5, Some(10_000)), commit(10, Some(20_000)), commit(12, Some(49_000))]);
        let found = |run, offset| Found { group: Arc::clone(&group), queue: queue.clone(), run, offset, end };
        history.found.extend([found(0, None), found(1, Some(10))]);
    }
}

fn judge(world: &World) -> Vec<Violation> {
    check(&world.history, &world.dump, &world.terms).violations
}

fn held<'a>(world: &'a mut World, topic: &str, id: i32) -> &'a mut QueueDump {
    world.dump.queues.get_mut(&queue(topic, id)).unwrap()
}

/// Breaks a good world and gives what the judge says.
fn broken(how: impl FnOnce(&mut World)) -> Vec<Violation> {
    let mut world = good();
    how(&mut world);
    judge(&world)
}

#[test]
fn a_good_history_passes_and_is_counted() {
    let world = good();
    let report = check(&world.history, &world.dump, &world.terms);
    assert_eq!(report.violations, []);
    let counts = &report.counts;
    assert_eq!((counts.acknowledged, counts.refused, counts.unknown, counts.unknown_found), (39, 1, 3, 2));
    assert_eq!((counts.stored, counts.delivered, counts.redelivered), (44, 44, 4));
    assert_eq!((counts.delayed, counts.delayed_again, counts.retried), (1, 0, 1));
    assert_eq!((counts.progress_found, counts.progress_back), (4, 2));
}

#[test]
fn a_lost_tail_is_found_by_producer_and_consumer() {
    // The last message of queue 1 is number 19 of producer 2.
    let found = broken(|world| {
        let held = held(world, "t", 1);
        held.stored.pop();
        held.max -= 1;
    });
    let ticket = Ticket { producer: 2, number: 19 };
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found.iter().all(|violation| violation.ticket() == Some(ticket)), "{found:?}");
    assert!(matches!(found[0], Violation::Lost { .. }) && matches!(found[1], Violation::Vanished { .. }), "{found:?}");
}

#[test]
fn an_unreadable_message_is_lost_and_no_gap() {
    let found = broken(|world| {
        let held = held(world, "t", 0);
        let gone = held.stored.remove(4);
        held.unreadable.insert(gone.offset, String::from("damaged"));
    });
    assert!(
        found
            .iter()
            .any(|violation| matches!(violation, Violation::Lost { instead, .. } if instead == "unreadable: damaged"))
    );
    assert!(!found.iter().any(|violation| matches!(violation, Violation::Gap { .. })), "{found:?}");
}

#[test]
fn a_hole_is_a_gap() {
    let found = broken(|world| {
        held(world, "late", 0).stored.clear();
    });
    assert!(
        found.iter().any(|violation| matches!(violation, Violation::Gap { queue, .. } if &*queue.topic == "late")),
        "{found:?}"
    );
}

/// What a change of one stored message must be found as.
fn altered(change: impl FnOnce(&mut Stored)) -> Vec<Violation> {
    // Number 13 of producer 1: acknowledged by nobody, delivered in the second run.
    broken(|world| change(&mut held(world, "t", 1).stored[12]))
}

#[test]
fn changed_bytes_are_found() {
    let found = altered(|stored| stored.body = Digest::of(b"other"));
    assert!(matches!(&found[..], [Violation::Altered { ticket: Ticket { producer: 1, number: 13 }, .. }]), "{found:?}");
    let found = altered(|stored| stored.body_good = false);
    assert!(matches!(&found[..], [Violation::Altered { .. }]), "{found:?}");
    let found = altered(|stored| stored.reconsume_times = 1);
    assert!(matches!(&found[..], [Violation::Altered { .. }]), "{found:?}");
    let found = altered(|stored| stored.record += 1);
    assert!(matches!(&found[..], [Violation::Changed { place, .. }] if place.offset == 12), "{found:?}");
}

#[test]
fn changed_properties_are_found() {
    for (name, value) in [("KEYS", "other"), ("new", "one"), ("REAL_TOPIC", "x"), ("WAIT", "false")] {
        let found = altered(|stored| {
            stored.properties = Arc::from(strata_protocol::properties::with(&stored.properties, name, value).unwrap());
        });
        assert!(matches!(&found[..], [Violation::Altered { .. }]), "{name}: {found:?}");
    }
    let found = altered(|stored| {
        stored.properties = Arc::from(strata_protocol::properties::without(&stored.properties, &["größe"]))
    });
    assert!(matches!(&found[..], [Violation::Altered { .. }]), "{found:?}");
}

#[test]
fn what_nobody_sent_is_a_phantom() {
    for ticket in [None, Some(Ticket { producer: 9, number: 9 })] {
        let found = altered(|stored| stored.ticket = ticket);
        assert!(found.iter().any(|violation| matches!(violation, Violation::Phantom { .. })), "{found:?}");
    }
    // The right message in the wrong queue.
    let found = broken(|world| {
        let stray = world.history.sends[0].clone();
        put(&mut world.dump, &queue("late", 0), &stray, &[]);
    });
    assert!(matches!(&found[..], [Violation::Phantom { .. }]), "{found:?}");
}

#[test]
fn a_refused_message_must_not_be_there() {
    let found = broken(|world| {
        let refused =
            world.history.sends.iter().find(|sent| matches!(sent.outcome, Outcome::Refused { .. })).unwrap().clone();
        put(&mut world.dump, &queue("t", 0), &refused, &[]);
        world.terms.readers.clear();
    });
    assert!(matches!(&found[..], [Violation::Refused { code: 13, .. }]), "{found:?}");
}

#[test]
fn a_message_twice_and_order_are_found() {
    let found = broken(|world| {
        let unknown = world.history.sends.iter().find(|sent| sent.ticket.number == 13).unwrap().clone();
        put(&mut world.dump, &queue("t", 1), &unknown, &[]);
        world.terms.readers.clear();
    });
    let twice = found.iter().any(|violation| matches!(violation, Violation::Twice { times: 2, most: 1, .. }));
    let order = found
        .iter()
        .any(|violation| matches!(violation, Violation::Disorder { ticket: Ticket { number: 13, .. }, .. }));
    assert!(twice && order && found.len() == 2, "{found:?}");
}

#[test]
fn a_shared_position_is_found() {
    let found = broken(|world| held(world, "t", 1).stored[3].position = 0);
    assert!(!found.is_empty() && found.iter().all(|violation| matches!(violation, Violation::Gap { .. })), "{found:?}");
}

#[test]
fn a_dropped_delivery_is_found() {
    // Offset 15 was delivered in the second run alone.
    let found = broken(|world| world.history.sessions[1].deliveries.retain(|delivery| delivery.offset != 15));
    assert!(
        matches!(&found[..], [Violation::Jump { wanted: 15, came: 16, run: 1, .. }, Violation::Undelivered { place, .. }] if place.offset == 15),
        "{found:?}"
    );
    // The last one leaves no jump.
    let found = broken(|world| {
        world.history.sessions[1].deliveries.pop();
    });
    assert!(matches!(&found[..], [Violation::Undelivered { place, .. }] if place.offset == 19), "{found:?}");
}

#[test]
fn a_repetition_within_a_run_and_trouble_are_found() {
    let found = broken(|world| {
        let again = world.history.sessions[0].deliveries[3].clone();
        world.history.sessions[0].deliveries.insert(4, again);
    });
    assert!(
        matches!(
            &found[..],
            [Violation::Jump { wanted: 4, came: 3, .. }, Violation::Jump { .. }]
                | [Violation::Jump { wanted: 4, came: 3, .. }]
        ),
        "{found:?}"
    );
    let trouble = Trouble { what: String::from("code 1"), refused: true, at_ms: 1 };
    let found = broken(|world| world.history.sessions[0].trouble = Some(trouble));
    assert!(matches!(&found[..], [Violation::Trouble { run: 0, .. }]), "{found:?}");
}

#[test]
fn progress_keeps_to_its_window() {
    // 12 was committed within the window: both 10 and 12 may come back, 5 and none may not, 11 and 99 never.
    for (offset, good) in
        [(Some(10), true), (Some(12), true), (Some(5), false), (None, false), (Some(11), false), (Some(99), false)]
    {
        let found = broken(|world| world.history.found[1].offset = offset);
        let all_progress = found.iter().all(|violation| matches!(violation, Violation::Progress { run: 1, .. }));
        assert_eq!((found.is_empty(), all_progress), (good, true), "{offset:?}: {found:?}");
    }
}

#[test]
fn delayed_messages_must_come_and_not_early() {
    let found = broken(|world| held(world, "late", 0).stored[0].stored_ms -= 11);
    assert!(matches!(&found[..], [Violation::Early { early_ms: 11, .. }]), "{found:?}");
    let found = broken(|world| held(world, "late", 0).stored[0].stored_ms -= 10);
    assert_eq!(found, []);
    let found = broken(|world| {
        world.dump.queues.remove(&queue("late", 0));
    });
    assert!(matches!(&found[..], [Violation::NeverCame { ticket: Ticket { producer: 4, .. }, .. }]), "{found:?}");
    // One that nobody acknowledged but that waits must come as well.
    let found = broken(|world| {
        world.dump.queues.remove(&queue("late", 0));
        world
            .history
            .sends
            .iter_mut()
            .filter(|sent| sent.ticket.producer == 4)
            .for_each(|sent| sent.outcome = Outcome::Unknown);
    });
    assert!(matches!(&found[..], [Violation::NeverCame { .. }]), "{found:?}");
    let found = broken(|world| {
        world.dump.queues.remove(&queue("%RETRY%g", 0));
    });
    assert!(matches!(&found[..], [Violation::NeverCame { topic, .. }] if &**topic == "%RETRY%g"), "{found:?}");
    let found = broken(|world| held(world, "%RETRY%g", 0).stored[0].stored_ms -= 500);
    assert!(matches!(&found[..], [Violation::Early { early_ms: 500, .. }]), "{found:?}");
}

#[test]
fn a_delayed_message_may_come_again_once_for_each_kill() {
    let again = |times: usize| {
        broken(|world| {
            let delayed = world.history.sends.iter().find(|sent| sent.ticket.producer == 4).unwrap().clone();
            for _ in 0..times {
                put(&mut world.dump, &queue("late", 0), &delayed, &[("REAL_TOPIC", "late"), ("REAL_QID", "0")]);
            }
        })
    };
    assert_eq!(again(2), []);
    assert!(matches!(&again(3)[..], [Violation::Twice { times: 4, most: 3, .. }]));
}

#[test]
fn keys_give_all_and_only_their_messages() {
    let world = good();
    let expected = keys::expected(&world.dump);
    let term: keys::Term = (Arc::from("t"), String::from("k"), false);
    assert_eq!(expected[&term].len(), 40);
    let unique = expected.keys().filter(|(topic, _, unique)| *unique && &**topic == "t").count();
    assert_eq!(unique, 40);
    let none = keys::compare(&term, &expected[&term], b"");
    assert!(matches!(none, Some(Violation::Key { what, .. }) if what == "0 of 40 messages"));
    assert!(matches!(keys::compare(&term, &expected[&term], &[1; 100]), Some(Violation::Key { .. })));
}

#[test]
fn recoveries_are_compared() {
    let world = good();
    let same = |first: &Dump, second: &Dump| sameness::compare(first, second, |queue| &*queue.topic == "late");
    assert_eq!(same(&world.dump, &world.dump), []);
    let mut grown = world.dump.clone();
    let delayed = world.history.sends.iter().find(|sent| sent.ticket.producer == 4).unwrap().clone();
    put(&mut grown, &queue("late", 0), &delayed, &[]);
    assert_eq!(same(&world.dump, &grown), []);
    put(&mut grown, &queue("t", 0), &world.history.sends[0].clone(), &[]);
    assert_eq!(same(&world.dump, &grown).len(), 1, "a queue grew that must not");
    let mut cut = world.dump.clone();
    cut.queues.get_mut(&queue("t", 0)).unwrap().stored[2].record += 1;
    assert!(matches!(&same(&world.dump, &cut)[..], [Violation::Recovery { .. }]));
    cut.queues = BTreeMap::new();
    assert!(same(&world.dump, &cut).len() > 40);
}
