/**
 * The lite pull consumer: assigned and subscribed queues, seeking, committing.
 * Owns cases of DefaultLitePullConsumer, which pulls under request code 361.
 */
package org.strata.clients;

import static org.strata.clients.Stage.message;
import static org.strata.clients.Stage.numbered;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

final class Lites {
    private static final int LIMIT_SECONDS = 100;

    private Lites() {
    }

    static List<Case> cases() {
        return List.of(
                new Case("lite.subscribe", LIMIT_SECONDS, Lites::subscribe),
                new Case("lite.tags", LIMIT_SECONDS, Lites::tags),
                new Case("lite.commit", LIMIT_SECONDS, Lites::commit),
                new Case("lite.shared", LIMIT_SECONDS, Lites::shared),
                new Case("lite.assign_seek", LIMIT_SECONDS, Lites::assignSeek),
                new Case("lite.timestamp", LIMIT_SECONDS, Lites::timestamp));
    }

    /** Polls until this many messages came, and then once more to see that no others follow. */
    private static List<MessageExt> poll(DefaultLitePullConsumer consumer, int count) throws Exception {
        List<MessageExt> found = new ArrayList<>();
        long deadline = System.nanoTime() + Inbox.WAIT_SECONDS * 1_000_000_000L;
        while (found.size() < count && System.nanoTime() < deadline) {
            found.addAll(consumer.poll(200));
        }
        found.addAll(consumer.poll(300));
        Check.equal("polled messages", count, found.size());
        return found;
    }

    private static List<String> bodies(List<MessageExt> messages) {
        return messages.stream().map(Stage::body).toList();
    }

    private static DefaultLitePullConsumer subscribed(Stage stage, String group, String topic) throws Exception {
        DefaultLitePullConsumer consumer = stage.lite(group);
        consumer.subscribe(topic, "*");
        consumer.start();
        return consumer;
    }

    /** A started consumer that holds the topic's only queue by assignment. */
    private static DefaultLitePullConsumer assigned(Stage stage, MessageQueue queue) throws Exception {
        DefaultLitePullConsumer consumer = stage.lite(stage.name("g"));
        consumer.setAutoCommit(false);
        consumer.start();
        consumer.assign(List.of(queue));
        return consumer;
    }

    private static MessageQueue filled(Stage stage, int count) throws Exception {
        String topic = stage.topic(1);
        Pushes.sendBatches(stage, topic, numbered("l-", count));
        List<MessageQueue> queues = stage.queues(topic);
        stage.waitStored(queues, count);
        return queues.get(0);
    }

    private static void subscribe(Stage stage) throws Exception {
        String topic = stage.topic(4);
        DefaultLitePullConsumer consumer = subscribed(stage, stage.name("g"), topic);
        List<String> bodies = numbered("lite-", 200);
        Pushes.sendBatches(stage, topic, bodies);
        Check.equal("bodies", bodies, bodies(poll(consumer, 200)).stream().sorted().toList());
        Check.equal("assigned queues", new HashSet<>(stage.queues(topic)), consumer.assignment());
    }

    private static void tags(Stage stage) throws Exception {
        String topic = stage.topic(1);
        for (int i = 0; i < 9; i++) {
            Message message = message(topic, "t" + i);
            message.setTags("" + "ABC".charAt(i % 3));
            stage.producer().send(message);
        }
        DefaultLitePullConsumer consumer = stage.lite(stage.name("g"));
        consumer.subscribe(topic, "A || C");
        consumer.start();
        Check.equal("bodies", List.of("t0", "t2", "t3", "t5", "t6", "t8"), bodies(poll(consumer, 6)));
    }

    /** What was committed is not delivered to the next consumer of the group; what was not, is. */
    private static void commit(Stage stage) throws Exception {
        MessageQueue queue = filled(stage, 20);
        String group = stage.name("g");
        DefaultLitePullConsumer first = stage.lite(group);
        first.setAutoCommit(false);
        first.setPullBatchSize(8);
        first.subscribe(queue.getTopic(), "*");
        first.start();
        List<MessageExt> polled = new ArrayList<>();
        Check.until("a first poll", Inbox.WAIT_SECONDS, () -> polled.addAll(first.poll(200)), () -> "none");
        int taken = polled.size();
        Check.equal("the first bodies", numbered("l-", taken), bodies(polled));
        first.commitSync();
        Check.until("offset at the broker", 15, () -> committed(first, queue) == taken, () -> committed(first, queue));
        first.shutdown();
        DefaultLitePullConsumer second = subscribed(stage, group, queue.getTopic());
        Check.equal("the rest", numbered("l-", 20).subList(taken, 20), bodies(poll(second, 20 - taken)));
    }

    private static long committed(DefaultLitePullConsumer consumer, MessageQueue queue) {
        try {
            return consumer.committed(queue);
        } catch (Exception error) {
            return -1;
        }
    }

    private static void shared(Stage stage) throws Exception {
        String topic = stage.topic(4);
        String group = stage.name("g");
        DefaultLitePullConsumer one = subscribed(stage, group, topic);
        DefaultLitePullConsumer two = subscribed(stage, group, topic);
        Check.until("two queues each", Inbox.WAIT_SECONDS, () -> held(one) == 2 && held(two) == 2,
                () -> held(one) + " " + held(two));
        Pushes.sendBatches(stage, topic, numbered("s-", 400));
        List<MessageExt> all = new ArrayList<>(poll(one, 200));
        all.addAll(poll(two, 200));
        Check.equal("each message once", numbered("s-", 400), bodies(all).stream().sorted().toList());
    }

    private static int held(DefaultLitePullConsumer consumer) {
        try {
            Set<MessageQueue> queues = consumer.assignment();
            return queues.size();
        } catch (Exception error) {
            return -1;
        }
    }

    private static void assignSeek(Stage stage) throws Exception {
        MessageQueue queue = filled(stage, 30);
        DefaultLitePullConsumer consumer = assigned(stage, queue);
        // A seek while the first pull is on its way races with it inside the client.
        Check.equal("all", numbered("l-", 30), bodies(poll(consumer, 30)));
        consumer.seek(queue, 25);
        Check.equal("from 25", numbered("l-", 30).subList(25, 30), bodies(poll(consumer, 5)));
        consumer.seekToBegin(queue);
        Check.equal("from the begin", numbered("l-", 30), bodies(poll(consumer, 30)));
        consumer.seekToEnd(queue);
        stage.producer().send(message(queue.getTopic(), "at the end"), queue);
        Check.equal("from the end", List.of("at the end"), bodies(poll(consumer, 1)));
        int refused = Check.codeOf("seek beyond the end", () -> {
            consumer.seek(queue, 1_000);
            return "sought";
        });
        // The client itself refuses, with no code, after asking the broker for the bounds.
        Check.equal("code of the refusal", -1, refused);
    }

    /** Replay from a time: everything stored then or later. */
    private static void timestamp(Stage stage) throws Exception {
        MessageQueue queue = filled(stage, 10);
        // The second part must not share a millisecond with the first.
        Thread.sleep(50);
        long between = System.currentTimeMillis();
        Thread.sleep(50);
        Pushes.sendBatches(stage, queue.getTopic(), numbered("after-", 10));
        stage.waitStored(List.of(queue), 20);
        DefaultLitePullConsumer consumer = assigned(stage, queue);
        long offset = consumer.offsetForTimestamp(queue, between);
        Check.equal("offset of the time", 10L, offset);
        consumer.seek(queue, offset);
        Check.equal("bodies", numbered("after-", 10), bodies(poll(consumer, 10)));
    }
}
