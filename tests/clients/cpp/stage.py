"""What one case works with: names of its own, clients that end with its process, checks, an inbox for consumers.

Owns every client that a case starts; holds no assertion about behaviour.
"""

import ctypes
import itertools
import os
import threading
import time
from types import SimpleNamespace

from rocketmq.client import Message, Producer, PullConsumer, PushConsumer, SendStatus
from rocketmq.exceptions import ffi_check
from rocketmq.ffi import MessageModel, _CMessageQueue, _CPullStatus, dll

RUN, NAMESRV = os.environ.get("RUN", ""), os.environ.get("NAMESRV", "")
STRATA = os.environ.get("TARGET") == "strata"
# A consumer of this library rebalances every 10 s and looks for routes every 30 s.
WAIT_S = 70
# How long a case looks for a message that must not come.
SETTLE_S = 0.4
# The library's log levels begin with 1, fatal; 2 is error.
LOG_ERRORS = 2
_instances = itertools.count(1)
# The binding destroys a client when Python forgets it, also while the library's threads still use it, which crashes.
# Nothing is forgotten before the program ends.
_kept = []


class KeptCallbacks(list):
    """The binding forgets a callback from within it, which frees the code that runs; this list keeps all."""

    def remove(self, _callback):
        """Keeps it."""


class Failed(Exception):
    """A check that did not hold."""


def equal(what, expected, actual):
    """Fails with both values when they differ."""
    if expected != actual:
        raise Failed(f"{what}: expected {repr(expected)[:120]}, got {repr(actual)[:120]}")


def within(what, low, high, actual):
    """The value lies in low..high, both included."""
    if not low <= actual <= high:
        raise Failed(f"{what}: expected {low}..{high}, got {actual}")


def until(what, seconds, holds, state=lambda: ""):
    """Waits until the condition holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise Failed(f"{what}: not within {seconds} s, state {state()}")
        time.sleep(0.02)


def numbered(prefix, count):
    """Bodies that sort as they were made."""
    return [f"{prefix}{i:05d}" for i in range(count)]


def text(value):
    """The text of what the library gives as bytes or as nothing."""
    return value.decode() if value is not None else None


def copied(message):
    """A received message's fields: the library frees the message itself when the callback ends."""
    return SimpleNamespace(
        body=text(message.body), topic=message.topic, tags=text(message.tags), keys=text(message.keys), id=message.id,
        queue=message.queue_id, offset=message.queue_offset, times=message.reconsume_times, size=message.store_size,
        born=message.born_timestamp, stored=message.store_timestamp, at=time.time(),
        properties={name: text(message.get_property(name)) for name in ("colour", "in Привет", "RETRY_TOPIC", "one")})


class Inbox:
    """What consumers received, in arrival order; rejects says which deliveries are not accepted."""

    def __init__(self, rejects=lambda message: False):
        self.rejects, self.messages, self.lock = rejects, [], threading.Lock()

    def take(self, message):
        """The callback; an exception is how this binding says "again later"."""
        got = copied(message)
        with self.lock:
            self.messages.append(got)
        if self.rejects(got):
            raise RuntimeError("again later")

    def bodies(self):
        """Bodies in arrival order."""
        with self.lock:
            return [message.body for message in self.messages]

    def wait(self, count):
        """Waits for at least this many deliveries."""
        until(f"{count} deliveries", WAIT_S, lambda: len(self.messages) >= count, lambda: len(self.messages))

    def exactly(self, bodies):
        """Waits until exactly these bodies came, each once, in any order, and no more follow."""
        self.wait(len(bodies))
        time.sleep(SETTLE_S)
        equal("bodies received", sorted(bodies), sorted(self.bodies()))


class Stage:
    """The names and clients of one case."""

    def __init__(self, name, ask):
        self.name, self.ask, self.clients, self.shared = name.replace(".", "_"), ask, [], None

    def unique(self, suffix):
        """A name that no other case, suite or run uses."""
        return f"{RUN}_{self.name}_{suffix}"

    def topic(self, queues, suffix="t"):
        """Creates a topic with this many queues and returns its name."""
        topic = self.unique(suffix)
        self.ask(f"topic {topic} {queues}")
        return topic

    def producer(self, **options):
        """The case's producer, made on first use."""
        if self.shared is None:
            made = Producer(self.unique("p"), timeout=10_000, **options)
            made._callback_refs = KeptCallbacks()
            _kept.append(made)
            made.set_namesrv_addr(NAMESRV)
            ffi_check(dll.SetProducerInstanceName(made._handle, f"{RUN}-{next(_instances)}".encode()))
            dll.SetProducerLogLevel(made._handle, LOG_ERRORS)
            made.start()
            self.clients.append(made)
            self.shared = made
        return self.shared

    def message(self, topic, body, tag=None, keys=None, **properties):
        """A message with what is given."""
        made = Message(topic)
        made.set_body(body)
        if tag:
            made.set_tags(tag)
        if keys:
            made.set_keys(keys)
        for name, value in properties.items():
            made.set_property(name, value)
        return made

    def send(self, message):
        """Sends and expects success."""
        result = self.producer().send_sync(message)
        equal("status", SendStatus.OK, result.status)
        return result

    def send_all(self, topic, bodies):
        """Sends one after the other."""
        for body in bodies:
            self.send(self.message(topic, body))

    def push(self, group, topic, tags, inbox, model=MessageModel.CLUSTERING, orderly=False):
        """Starts a consumer of the group that puts what it receives into the inbox."""
        made = PushConsumer(self.unique(group), orderly=orderly, message_model=model)
        _kept.append(made)
        made.set_namesrv_addr(NAMESRV)
        made.set_instance_name(f"{RUN}-{next(_instances)}")
        made.set_thread_count(2)
        dll.SetPushConsumerLogLevel(made._handle, LOG_ERRORS)
        made.subscribe(topic, inbox.take, tags)
        made.start()
        self.clients.append(made)
        return made

    def leave(self, client):
        """Ends one client before its case does."""
        self.clients.remove(client)
        client.shutdown()

    def puller(self):
        """A started pull consumer."""
        made = PullConsumer(self.unique(f"look{next(_instances)}"))
        _kept.append(made)
        made.set_namesrv_addr(NAMESRV)
        dll.SetPullConsumerLogLevel(made._handle, LOG_ERRORS)
        made.start()
        self.clients.append(made)
        return made

    def stored(self, topic, count):
        """Everything stored in a topic, queue after queue, once there are this many messages."""
        puller, found = self.puller(), []

        def enough():
            puller.offset_table = {}
            found[:] = [copied(message) for message in puller.pull(topic)]
            return len(found) >= count

        until(f"{count} messages stored", 20, enough, lambda: len(found))
        equal("messages stored", count, len(found))
        return found


def pull_once(puller, topic, offset, expression="*"):
    """One pull from the topic's first queue: (status, bodies, next offset, min offset, max offset)."""
    queues, count = ctypes.POINTER(_CMessageQueue)(), ctypes.c_int()
    ffi_check(dll.FetchSubscriptionMessageQueues(
        puller._handle, topic.encode(), ctypes.pointer(queues), ctypes.pointer(count)))
    result = dll.Pull(puller._handle, ctypes.pointer(queues[0]), expression.encode(), ctypes.c_longlong(offset), 32)
    bodies = [text(dll.GetMessageBody(result.msgFoundList[i])) for i in range(int(result.size))]
    answer = (_CPullStatus(result.pullStatus).name, bodies, result.nextBeginOffset, result.minOffset, result.maxOffset)
    dll.ReleasePullResult(result)
    ffi_check(dll.ReleaseSubscriptionMessageQueue(queues))
    return answer
