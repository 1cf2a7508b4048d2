"""The C++ client's cases: sending, consuming, order, retry, delay, pulling, refusals.

Owns what is expected of a broker through this client; names and clients come from stage.py. Dead letters are out of
reach: the library asks for 16 retries with each message, and its C interface has no way to say less.
"""

import random
import threading
import time
import zlib

from rocketmq.client import SendStatus
from rocketmq.exceptions import RocketMQException
from rocketmq.ffi import MessageModel

from stage import (STRATA, WAIT_S, Failed, Inbox, equal, numbered, pull_once, until, within)

USUAL_S = 90
# A consumer may need two rebalances of 10 s and a poll of routes of 30 s, a first retry 10 s on top.
SLOW_S = 160
# The library's own limit of a body unless it is told otherwise.
BODY_BYTES = 128 * 1024


def send_sync(stage):
    topic = stage.topic(4)
    bodies = numbered("sync-", 20)
    results = [stage.send(stage.message(topic, body)) for body in bodies]
    equal("distinct ids", 20, len({result.msg_id for result in results}))
    equal("queue offsets", sorted([0, 1, 2, 3, 4] * 4), sorted(result.offset for result in results))
    stored = stage.stored(topic, 20)
    equal("stored bodies", bodies, sorted(message.body for message in stored))
    equal("messages in each queue", [5, 5, 5, 5], [sum(m.queue == q for m in stored) for q in range(4)])


def send_async(stage):
    topic = stage.topic(2)
    bodies, results, errors = numbered("async-", 100), [], []
    for body in bodies:
        stage.producer().send_async(stage.message(topic, body), results.append, errors.append)
    until("100 callbacks", 30, lambda: len(results) + len(errors) >= 100, lambda: (len(results), len(errors)))
    equal("errors", [], errors)
    equal("statuses", {SendStatus.OK}, {result.status for result in results})
    equal("stored bodies", bodies, sorted(message.body for message in stage.stored(topic, 100)))


def send_oneway(stage):
    topic = stage.topic(2)
    bodies = numbered("oneway-", 50)
    for body in bodies:
        stage.producer().send_oneway(stage.message(topic, body))
    equal("stored bodies", bodies, sorted(message.body for message in stage.stored(topic, 50)))


def send_ordered(stage):
    """Messages of one key share a queue and keep their order there."""
    topic = stage.topic(4)
    for order in range(40):
        stage.producer().send_orderly(stage.message(topic, f"key-{order % 8}-{order:02d}"), order % 8)
    stored = stage.stored(topic, 40)
    for key in range(8):
        own = [message for message in stored if message.body.startswith(f"key-{key}-")]
        equal(f"queue of key {key}", {key % 4}, {message.queue for message in own})
        equal(f"order of key {key}", [f"key-{key}-{n:02d}" for n in range(key, 40, 8)], [m.body for m in own])


def send_compressed(stage):
    topic = stage.topic(1)
    body = "a line that repeats itself\n" * 4000
    stage.send(stage.message(topic, body))
    stored = stage.stored(topic, 1)[0]
    equal("body after decompression", zlib.crc32(body.encode()), zlib.crc32(stored.body.encode()))
    within("bytes stored", 1, 4096, stored.size)


def field_all(stage):
    topic = stage.topic(2)
    before = int(time.time() * 1000)
    sent = stage.send(stage.message(topic, "a body", "the-tag", "k1 k2", one="1", colour="rouge é"))
    after = int(time.time() * 1000)
    got = stage.stored(topic, 1)[0]
    equal("body", "a body", got.body)
    equal("topic", topic, got.topic)
    equal("tag", "the-tag", got.tags)
    equal("keys", "k1 k2", got.keys)
    equal("one", "1", got.properties["one"])
    equal("colour", "rouge é", got.properties["colour"])
    equal("offset", (sent.offset, 0), (got.offset, got.times))
    # This client shows the offset id, which is what the send answered.
    equal("id", sent.msg_id, got.id)
    within("born time", before, after, got.born)
    within("store time", before, after, got.stored)


def field_unicode(stage):
    topic = stage.topic(1)
    texts = ["naïve café", "Привет, мир", "消息队列 訊息", "🚀🧪 astral", "عربي עברית"]
    for body in texts:
        stage.send(stage.message(topic, body, body.replace(" ", "_"), **{"in Привет": "out " + body}))
    for body, got in zip(texts, stage.stored(topic, len(texts))):
        equal("body", body, got.body)
        equal("tag", body.replace(" ", "_"), got.tags)
        equal("property", "out " + body, got.properties["in Привет"])


def field_large_body(stage):
    """This binding takes bodies as text that ends with a zero byte, so the bytes are ASCII."""
    topic = stage.topic(1)
    body = "".join(random.Random(7).choices("0123456789abcdef", k=BODY_BYTES - 1))
    stage.send(stage.message(topic, body))
    equal("checksum", zlib.crc32(body.encode()), zlib.crc32(stage.stored(topic, 1)[0].body.encode()))


def refused(what, send):
    """Expects the library's exception and returns its text."""
    try:
        result = send()
    except RocketMQException as error:
        return str(error)
    raise Failed(f"{what}: expected a refusal, got {result}")


def refuse_large_body(stage):
    topic = stage.topic(1)
    stage.producer(max_message_size=64 * 1024 * 1024)
    body = "".join(random.Random(7).choices("".join(map(chr, range(33, 127))), k=6 * 1024 * 1024))
    # Even compressed, so random a text stays above the broker's 4 MiB.
    refused("a large body", lambda: stage.send(stage.message(topic, body)))
    stage.send_all(topic, ["legal"])
    equal("stored", ["legal"], [message.body for message in stage.stored(topic, 1)])


def refuse_large_properties(stage):
    topic = stage.topic(1)
    refused("large properties", lambda: stage.send(stage.message(topic, "p", colour="v" * 40_000)))
    stage.send_all(topic, ["legal"])
    equal("stored", ["legal"], [message.body for message in stage.stored(topic, 1)])


def push_concurrent(stage):
    topic = stage.topic(4)
    inbox = Inbox()
    stage.push("g", topic, "*", inbox)
    bodies = numbered("push-", 100)
    stage.send_all(topic, bodies)
    inbox.exactly(bodies)
    equal("reconsume times", {0}, {message.times for message in inbox.messages})


def push_tags(stage):
    topic = stage.topic(2)
    for i in range(40):
        stage.send(stage.message(topic, f"tag-{'ABCD'[i % 4]}-{i}", "ABCD"[i % 4]))
    some, everything = Inbox(), Inbox()
    stage.push("some", topic, "A || C", some)
    stage.push("all", topic, "*", everything)
    some.exactly([f"tag-{'ABCD'[i % 4]}-{i}" for i in range(0, 40, 2)])
    everything.exactly([f"tag-{'ABCD'[i % 4]}-{i}" for i in range(40)])


def push_broadcast(stage):
    topic = stage.topic(2)
    inboxes = [Inbox(), Inbox()]
    for inbox in inboxes:
        stage.push("g", topic, "*", inbox, model=MessageModel.BROADCASTING)
    bodies = numbered("cast-", 30)
    # A broadcasting consumer of this library begins at the end, so it has to be there first.
    warm(stage, topic, inboxes)
    for inbox in inboxes:
        inbox.messages.clear()
    stage.send_all(topic, bodies)
    for inbox in inboxes:
        inbox.exactly(bodies)


def warm(stage, topic, inboxes):
    """Sends until every consumer has got messages of both queues."""
    def seen():
        stage.send_all(topic, ["warm", "warm"])
        time.sleep(0.3)
        return all({m.queue for m in list(inbox.messages)} == {0, 1} for inbox in inboxes)
    until("all consumers consume", WAIT_S, seen, lambda: [len(inbox.messages) for inbox in inboxes])
    time.sleep(1)


def wait_shared(stage, topic, one, two):
    """Sends rounds of one message a queue until both consumers get their half of a round."""
    def shared():
        first, second = len(one.messages), len(two.messages)
        stage.send_all(topic, numbered("share-", 4))
        until("a round is delivered", WAIT_S, lambda: len(one.messages) + len(two.messages) >= first + second + 4)
        return (len(one.messages) - first, len(two.messages) - second) == (2, 2)
    until("both share the queues", WAIT_S, shared, lambda: (len(one.messages), len(two.messages)))


def push_rebalance(stage):
    """Two consumers share the queues; when one leaves, the other serves all of them."""
    topic = stage.topic(4)
    one, two = Inbox(), Inbox()
    leaving = stage.push("g", topic, "*", one)
    stage.push("g", topic, "*", two)
    wait_shared(stage, topic, one, two)
    bodies = numbered("both-", 40)
    stage.send_all(topic, bodies)
    own = lambda inbox, prefix: [body for body in inbox.bodies() if body.startswith(prefix)]
    until("40 deliveries", WAIT_S, lambda: len(own(one, "both-") + own(two, "both-")) >= 40)
    equal("each message once", bodies, sorted(own(one, "both-") + own(two, "both-")))
    stage.leave(leaving)
    left = numbered("left-", 40)
    stage.send_all(topic, left)
    until("the other takes over", WAIT_S, lambda: set(left) <= set(one.bodies() + two.bodies()),
          lambda: len(set(left) - set(two.bodies())))
    equal("queues that the other has served", {0, 1, 2, 3}, {message.queue for message in two.messages})


def push_two_groups(stage):
    topic = stage.topic(2)
    bodies = numbered("groups-", 30)
    stage.send_all(topic, bodies)
    for group in ("g1", "g2"):
        inbox = Inbox()
        stage.push(group, topic, "*", inbox)
        inbox.exactly(bodies)


def push_offset_survives(stage):
    topic = stage.topic(2)
    for turn in range(2):
        inbox = Inbox()
        consumer = stage.push("g", topic, "*", inbox)
        bodies = numbered(f"round-{turn}-", 20)
        stage.send_all(topic, bodies)
        inbox.exactly(bodies)
        stage.leave(consumer)


def push_backlog(stage):
    topic = stage.topic(4)
    bodies = numbered("backlog-", 2000)
    open_sends = threading.Semaphore(0)
    for body in bodies:
        stage.producer().send_async(stage.message(topic, body), lambda _: open_sends.release(), None)
    for _ in bodies:
        if not open_sends.acquire(timeout=30):
            raise Failed("not all asynchronous sends were answered")
    inbox = Inbox()
    stage.push("g", topic, "*", inbox)
    inbox.exactly(bodies)


def order_per_queue(stage):
    topic = stage.topic(3)
    for order in range(60):
        stage.producer().send_orderly(stage.message(topic, f"{order % 3}-{order:03d}"), order % 3)
    inbox = Inbox()
    stage.push("g", topic, "*", inbox, orderly=True)
    inbox.wait(60)
    for queue in range(3):
        equal(f"queue {queue}", [f"{queue}-{order:03d}" for order in range(queue, 60, 3)],
              [message.body for message in inbox.messages if message.queue == queue])


def retry_later(stage):
    topic = stage.topic(1)
    inbox = Inbox(lambda message: message.body == "fails once" and message.times == 0)
    stage.push("g", topic, "*", inbox)
    stage.send(stage.message(topic, "fails once", "red", "k", colour="rouge é"))
    stage.send_all(topic, ["is fine"])
    inbox.wait(3)
    first, again = [message for message in inbox.messages if message.body == "fails once"]
    equal("reconsume times", 1, again.times)
    equal("tag", "red", again.tags)
    equal("property", "rouge é", again.properties["colour"])
    equal("property RETRY_TOPIC", topic, again.properties["RETRY_TOPIC"])
    within("seconds until the retry", 9.5, 60, again.at - first.at)


def delay_level(level, seconds):
    """A case for one delay level."""
    def case(stage):
        topic = stage.topic(1)
        inbox = Inbox()
        stage.push("g", topic, "*", inbox)
        stage.send_all(topic, ["warm"])
        inbox.wait(1)
        message = stage.message(topic, "late")
        message.set_delay_time_level(level)
        began = time.time()
        stage.send(message)
        inbox.wait(2)
        within("seconds to delivery", seconds - 0.02, seconds + 6, inbox.messages[1].at - began)
        equal("body and offset", ("late", 1), (inbox.messages[1].body, inbox.messages[1].offset))
    return case


def pull_statuses(stage):
    topic = stage.topic(1)
    for i in range(12):
        stage.send(stage.message(topic, f"t{i}", "B" if i % 3 else "A"))
    stage.stored(topic, 12)
    puller = stage.puller()
    equal("from 5", ("FOUND", [f"t{i}" for i in range(5, 12)], 12, 0, 12), pull_once(puller, topic, 5))
    equal("tag A", ("FOUND", ["t0", "t3", "t6", "t9"], 12, 0, 12), pull_once(puller, topic, 0, "A"))
    equal("at the end", ("NO_NEW_MSG", [], 12, 0, 12), pull_once(puller, topic, 12))
    equal("beyond the end", ("OFFSET_ILLEGAL", [], 12, 0, 12), pull_once(puller, topic, 99))


def later_transaction(stage):
    """A half message made by hand: kept back on Apache, refused on Strata; neither shows it."""
    topic = stage.topic(1)
    half = stage.message(topic, "half", TRAN_MSG="true", PGROUP=stage.unique("p"))
    if STRATA:
        refused("a half message", lambda: stage.send(half))
    stage.send_all(topic, ["whole"])
    equal("visible", ["whole"], [message.body for message in stage.stored(topic, 1)])


CASES = [
    ("retry.later", SLOW_S, retry_later),
    ("push.rebalance", SLOW_S, push_rebalance),
    ("push.broadcast", SLOW_S, push_broadcast),
    ("push.offset_survives", SLOW_S, push_offset_survives),
    ("push.backlog", SLOW_S, push_backlog),
    ("order.per_queue", SLOW_S, order_per_queue),
    ("delay.level_1", SLOW_S, delay_level(1, 1)),
    ("delay.level_2", SLOW_S, delay_level(2, 5)),
    ("push.concurrent", SLOW_S, push_concurrent),
    ("push.tags", SLOW_S, push_tags),
    ("push.two_groups", SLOW_S, push_two_groups),
    ("send.sync", USUAL_S, send_sync),
    ("send.async", USUAL_S, send_async),
    ("send.oneway", USUAL_S, send_oneway),
    ("send.ordered", USUAL_S, send_ordered),
    ("send.compressed", USUAL_S, send_compressed),
    ("field.all", USUAL_S, field_all),
    ("field.unicode", USUAL_S, field_unicode),
    ("field.large_body", USUAL_S, field_large_body),
    ("pull.statuses", USUAL_S, pull_statuses),
    ("refuse.large_body", USUAL_S, refuse_large_body),
    ("refuse.large_properties", USUAL_S, refuse_large_properties),
    ("later.transaction", USUAL_S, later_transaction),
]
