/**
 * Push consumers with concurrent listeners: delivery, tags, sharing of queues, broadcasting, where a group begins.
 * Owns cases about what is delivered to whom; order is in Orders, retry in Retries.
 */
package org.strata.clients;

import static org.strata.clients.Stage.message;
import static org.strata.clients.Stage.numbered;

import java.time.LocalDateTime;
import java.time.format.DateTimeFormatter;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageQueue;

final class Pushes {
    private static final int LIMIT_SECONDS = 100;
    private static final int BACKLOG_COUNT = 5000;

    private Pushes() {
    }

    static List<Case> cases() {
        return List.of(
                new Case("push.rebalance", 150, Pushes::rebalance),
                new Case("push.backlog", LIMIT_SECONDS, Pushes::backlog),
                new Case("push.offset_survives", LIMIT_SECONDS, Pushes::offsetSurvives),
                new Case("push.broadcast", LIMIT_SECONDS, Pushes::broadcast),
                new Case("push.broadcast_offset", LIMIT_SECONDS, Pushes::broadcastOffset),
                new Case("push.shared", LIMIT_SECONDS, Pushes::shared),
                new Case("push.concurrent", LIMIT_SECONDS, Pushes::concurrent),
                new Case("push.batch_listener", LIMIT_SECONDS, Pushes::batchListener),
                new Case("push.tags", LIMIT_SECONDS, Pushes::tags),
                new Case("push.tags_all", LIMIT_SECONDS, Pushes::allTags),
                new Case("push.tags_colliding", LIMIT_SECONDS, Pushes::collidingTags),
                new Case("push.two_groups", LIMIT_SECONDS, Pushes::twoGroups),
                new Case("push.two_topics", LIMIT_SECONDS, Pushes::twoTopics),
                new Case("push.woken", LIMIT_SECONDS, Pushes::woken),
                new Case("push.from_first", LIMIT_SECONDS, s -> from(s, ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET)),
                new Case("push.from_last", LIMIT_SECONDS, s -> from(s, ConsumeFromWhere.CONSUME_FROM_LAST_OFFSET)),
                new Case("push.from_timestamp", LIMIT_SECONDS, s -> from(s, ConsumeFromWhere.CONSUME_FROM_TIMESTAMP)));
    }

    /** A started consumer that puts what it accepts into the inbox. */
    static DefaultMQPushConsumer started(Stage stage, String group, String topic, Inbox inbox) throws Exception {
        DefaultMQPushConsumer consumer = stage.push(group);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener(inbox.taking());
        consumer.start();
        return consumer;
    }

    static void sendAll(Stage stage, String topic, List<String> bodies) throws Exception {
        for (String body : bodies) {
            Check.equal("status", SendStatus.SEND_OK, stage.producer().send(message(topic, body)).getSendStatus());
        }
    }

    /** Many messages in few requests, spread over the queues. */
    static void sendBatches(Stage stage, String topic, List<String> bodies) throws Exception {
        List<MessageQueue> queues = stage.queues(topic);
        for (int from = 0; from < bodies.size(); from += 100) {
            List<Message> batch = new ArrayList<>();
            for (String body : bodies.subList(from, Math.min(from + 100, bodies.size()))) {
                batch.add(message(topic, body));
            }
            stage.producer().send(batch, queues.get(from / 100 % queues.size()));
        }
    }

    private static void concurrent(Stage stage) throws Exception {
        String topic = stage.topic(4);
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = started(stage, stage.name("g"), topic, inbox);
        Inbox.waitAssigned(topic, 4, consumer);
        List<String> bodies = numbered("push-", 100);
        sendAll(stage, topic, bodies);
        inbox.exactly(bodies);
        Check.that("all deliveries are first ones",
                inbox.messages().stream().allMatch(m -> m.getReconsumeTimes() == 0));
    }

    private static void batchListener(Stage stage) throws Exception {
        String topic = stage.topic(1);
        List<String> bodies = numbered("list-", 64);
        sendBatches(stage, topic, bodies);
        Inbox inbox = new Inbox();
        List<Integer> sizes = java.util.Collections.synchronizedList(new ArrayList<>());
        MessageListenerConcurrently taking = inbox.taking();
        DefaultMQPushConsumer consumer = stage.push(stage.name("g"));
        consumer.setConsumeMessageBatchMaxSize(16);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            sizes.add(messages.size());
            return taking.consumeMessage(messages, context);
        });
        consumer.start();
        inbox.exactly(bodies);
        Check.equal("sizes of the lists", List.of(16, 16, 16, 16), List.copyOf(sizes));
    }

    private static void tags(Stage stage) throws Exception {
        String topic = stage.topic(2);
        for (int i = 0; i < 40; i++) {
            Message message = message(topic, "tag-" + "ABCD".charAt(i % 4) + "-" + i);
            message.setTags("" + "ABCD".charAt(i % 4));
            stage.producer().send(message, stage.queues(topic).get(i / 20));
        }
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = stage.push(stage.name("g"));
        consumer.subscribe(topic, "A || C");
        consumer.registerMessageListener(inbox.taking());
        consumer.start();
        List<String> expected = new ArrayList<>();
        for (int i = 0; i < 40; i += 2) {
            expected.add("tag-" + "ABCD".charAt(i % 4) + "-" + i);
        }
        inbox.exactly(expected);
        Check.that("each message has its tag",
                inbox.messages().stream().allMatch(m -> Stage.body(m).startsWith("tag-" + m.getTags() + "-")));
    }

    /** A star takes every tag, no tag, and a tag outside ASCII. */
    private static void allTags(Stage stage) throws Exception {
        String topic = stage.topic(1);
        List<String> tags = List.of("A", "B", "標籤", "");
        for (String tag : tags) {
            Message message = message(topic, "with-" + tag);
            message.setTags(tag);
            stage.producer().send(message);
        }
        Inbox all = new Inbox();
        started(stage, stage.name("g"), topic, all);
        Inbox unicode = new Inbox();
        DefaultMQPushConsumer consumer = stage.push(stage.name("u"));
        consumer.subscribe(topic, "標籤");
        consumer.registerMessageListener(unicode.taking());
        consumer.start();
        all.exactly(tags.stream().map(tag -> "with-" + tag).toList());
        unicode.exactly(List.of("with-標籤"));
    }

    /** "Aa" and "BB" have the same hash, by which the broker filters; the text decides. */
    private static void collidingTags(Stage stage) throws Exception {
        String topic = stage.topic(1);
        for (String tag : List.of("BB", "Aa", "BB", "C", "Aa")) {
            Message message = message(topic, "tag-" + tag);
            message.setTags(tag);
            stage.producer().send(message);
        }
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = stage.push(stage.name("g"));
        consumer.subscribe(topic, "Aa");
        consumer.registerMessageListener(inbox.taking());
        consumer.start();
        inbox.exactly(List.of("tag-Aa", "tag-Aa"));
    }

    private static void broadcast(Stage stage) throws Exception {
        String topic = stage.topic(4);
        List<Inbox> inboxes = List.of(new Inbox(), new Inbox());
        for (Inbox inbox : inboxes) {
            DefaultMQPushConsumer consumer = stage.push(stage.name("g"));
            Version.broadcast(consumer);
            consumer.subscribe(topic, "*");
            consumer.registerMessageListener(inbox.taking());
            consumer.start();
            Inbox.waitAssigned(topic, 4, consumer);
        }
        List<String> bodies = numbered("cast-", 40);
        sendAll(stage, topic, bodies);
        for (Inbox inbox : inboxes) {
            inbox.exactly(bodies);
        }
    }

    /** A broadcasting consumer keeps its own offsets: the second of the same name goes on where the first stopped. */
    private static void broadcastOffset(Stage stage) throws Exception {
        String topic = stage.topic(1);
        String instance = stage.name("same");
        for (int round = 0; round < 2; round++) {
            Inbox inbox = new Inbox();
            DefaultMQPushConsumer consumer = stage.push(stage.name("g"));
            consumer.setInstanceName(instance);
            Version.broadcast(consumer);
            consumer.subscribe(topic, "*");
            consumer.registerMessageListener(inbox.taking());
            consumer.start();
            Inbox.waitAssigned(topic, 1, consumer);
            List<String> bodies = numbered("round-" + round + "-", 10);
            sendAll(stage, topic, bodies);
            inbox.exactly(bodies);
            consumer.shutdown();
        }
    }

    private static void shared(Stage stage) throws Exception {
        String topic = stage.topic(4);
        String group = stage.name("g");
        Inbox first = new Inbox();
        Inbox second = new Inbox();
        DefaultMQPushConsumer one = started(stage, group, topic, first);
        DefaultMQPushConsumer two = started(stage, group, topic, second);
        Inbox.waitAssigned(topic, 2, one, two);
        Set<Integer> held = new HashSet<>(Inbox.assigned(one, topic));
        held.addAll(Inbox.assigned(two, topic));
        Check.equal("queues held by both", Set.of(0, 1, 2, 3), held);
        List<String> bodies = numbered("shared-", 80);
        sendAll(stage, topic, bodies);
        Check.until("80 deliveries", Inbox.WAIT_SECONDS, () -> first.size() + second.size() >= 80,
                () -> first.size() + "+" + second.size());
        List<String> all = new ArrayList<>(first.bodies());
        all.addAll(second.bodies());
        Check.equal("each message once", bodies, all.stream().sorted().toList());
        Check.equal("the first consumer's share", 40, first.size());
    }

    /** A second consumer joins, then the first leaves; each change takes effect at once and nothing is lost. */
    private static void rebalance(Stage stage) throws Exception {
        String topic = stage.topic(4);
        String group = stage.name("g");
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer first = started(stage, group, topic, inbox);
        Inbox.waitAssigned(topic, 4, first);
        sendAll(stage, topic, numbered("alone-", 40));
        inbox.waitFor(40);
        DefaultMQPushConsumer second = started(stage, group, topic, inbox);
        // Without the broker's notice the first would hold all queues until its own round after 20 s.
        Check.until("both share the queues", 15,
                () -> Inbox.assigned(first, topic).size() == 2 && Inbox.assigned(second, topic).size() == 2,
                () -> Inbox.assigned(first, topic) + " " + Inbox.assigned(second, topic));
        sendAll(stage, topic, numbered("both-", 40));
        inbox.waitFor(80);
        first.shutdown();
        sendAll(stage, topic, numbered("left-", 40));
        Check.until("the second holds all queues", 15, () -> Inbox.assigned(second, topic).size() == 4,
                () -> Inbox.assigned(second, topic));
        List<String> all = new ArrayList<>(numbered("alone-", 40));
        all.addAll(numbered("both-", 40));
        all.addAll(numbered("left-", 40));
        inbox.atLeast(all);
        // A queue may be delivered again when it changes hands, a few messages at most.
        Check.within("deliveries of 120 messages", 120, 140, inbox.size());
    }

    private static void twoGroups(Stage stage) throws Exception {
        String topic = stage.topic(2);
        List<String> bodies = numbered("groups-", 30);
        sendAll(stage, topic, bodies);
        Inbox first = new Inbox();
        Inbox second = new Inbox();
        started(stage, stage.name("g1"), topic, first).getConsumerGroup();
        first.exactly(bodies);
        started(stage, stage.name("g2"), topic, second);
        second.exactly(bodies);
        Check.equal("the first group got nothing twice", 30, first.size());
    }

    private static void twoTopics(Stage stage) throws Exception {
        String left = stage.topic("left", 2);
        String right = stage.topic("right", 2);
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = stage.push(stage.name("g"));
        consumer.subscribe(left, "*");
        consumer.subscribe(right, "keep");
        consumer.registerMessageListener(inbox.taking());
        consumer.start();
        for (int i = 0; i < 10; i++) {
            stage.producer().send(message(left, "left-" + i));
            Message message = message(right, "right-" + i);
            message.setTags(i % 2 == 0 ? "keep" : "drop");
            stage.producer().send(message);
        }
        List<String> expected = new ArrayList<>();
        for (int i = 0; i < 10; i++) {
            expected.add("left-" + i);
            if (i % 2 == 0) {
                expected.add("right-" + i);
            }
        }
        inbox.exactly(expected);
    }

    /** A parked pull is answered by the append, not by a timer: the client would otherwise wait for up to 15 s. */
    private static void woken(Stage stage) throws Exception {
        String topic = stage.topic(1);
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = started(stage, stage.name("g"), topic, inbox);
        Inbox.waitAssigned(topic, 1, consumer);
        sendAll(stage, topic, List.of("warm"));
        inbox.waitFor(1);
        List<Long> delays = new ArrayList<>();
        for (int i = 0; i < 5; i++) {
            // The consumer needs a moment to ask again and be parked.
            Thread.sleep(300);
            long sent = System.currentTimeMillis();
            sendAll(stage, topic, List.of("wake-" + i));
            inbox.waitFor(i + 2);
            delays.add(inbox.arrivals().get(i + 1).millis() - sent);
        }
        delays.sort(null);
        Check.within("median millis from send to delivery, of " + delays, 0, 1000, delays.get(2));
    }

    /**
     * Where a new group begins on a topic that is young: the broker knows no offset and answers 0 for a queue whose
     * first message is still at hand, so all three choices begin there. (The choice counts for old queues only.)
     */
    private static void from(Stage stage, ConsumeFromWhere where) throws Exception {
        String topic = stage.topic(2);
        List<String> bodies = numbered("from-", 20);
        sendAll(stage, topic, bodies);
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = stage.push(stage.name("g"));
        consumer.setConsumeFromWhere(where);
        consumer.setConsumeTimestamp(LocalDateTime.now().plusHours(1).format(DateTimeFormatter.ofPattern("yyyyMMddHHmmss")));
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener(inbox.taking());
        consumer.start();
        inbox.exactly(bodies);
        // A second consumer of the group begins where the first has committed, whatever it says.
        consumer.shutdown();
        Inbox later = new Inbox();
        started(stage, stage.name("g"), topic, later);
        List<String> more = numbered("more-", 10);
        sendAll(stage, topic, more);
        later.exactly(more);
    }

    private static void offsetSurvives(Stage stage) throws Exception {
        String topic = stage.topic(2);
        String group = stage.name("g");
        List<String> sent = new ArrayList<>();
        List<String> received = new ArrayList<>();
        for (int round = 0; round < 3; round++) {
            Inbox inbox = new Inbox();
            DefaultMQPushConsumer consumer = started(stage, group, topic, inbox);
            List<String> bodies = numbered("round-" + round + "-", 20);
            sendAll(stage, topic, bodies);
            inbox.exactly(bodies);
            sent.addAll(bodies);
            received.addAll(inbox.bodies());
            consumer.shutdown();
        }
        Check.equal("over three consumers", sent, received.stream().sorted().toList());
        for (MessageQueue queue : stage.queues(topic)) {
            Check.equal("committed offset of queue " + queue.getQueueId(), stage.puller().maxOffset(queue),
                    Offsets.committed(stage, group, queue));
        }
    }

    private static void backlog(Stage stage) throws Exception {
        String topic = stage.topic(4);
        List<String> bodies = numbered("backlog-", BACKLOG_COUNT);
        sendBatches(stage, topic, bodies);
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = stage.push(stage.name("g"));
        consumer.setConsumeMessageBatchMaxSize(32);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener(inbox.taking());
        consumer.start();
        inbox.exactly(bodies);
    }
}
