/**
 * Sending: every way a producer has, and what is stored afterwards.
 * Owns cases about accepted sends; refused ones are in Refusals.
 */
package org.strata.clients;

import static org.strata.clients.Stage.CALL_MILLIS;
import static org.strata.clients.Stage.body;
import static org.strata.clients.Stage.message;
import static org.strata.clients.Stage.numbered;
import static org.strata.clients.Stage.sortedBodies;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Queue;
import java.util.Random;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

final class Sends {
    private Sends() {
    }

    static List<Case> cases() {
        return List.of(
                Case.of("send.sync", Sends::sync),
                Case.of("send.async", Sends::async),
                Case.of("send.oneway", Sends::oneway),
                Case.of("send.batch", Sends::batch),
                Case.of("send.compressed", Sends::compressed),
                Case.of("send.to_queue", Sends::toQueue),
                Case.of("send.selector", Sends::selector),
                Case.of("send.threads", Sends::threads),
                Case.of("send.vip_channel", Sends::vipChannel),
                Case.of("send.autocreate", Sends::autocreate));
    }

    private static void sync(Stage stage) throws Exception {
        String topic = stage.topic(4);
        List<String> bodies = numbered("sync-", 20);
        Set<String> ids = new HashSet<>();
        Set<String> offsetIds = new HashSet<>();
        Map<Integer, List<Long>> offsets = new TreeMap<>();
        for (String body : bodies) {
            SendResult result = stage.producer().send(message(topic, body));
            Check.equal("status", SendStatus.SEND_OK, result.getSendStatus());
            Check.equal("topic of the result", topic, result.getMessageQueue().getTopic());
            ids.add(result.getMsgId());
            offsetIds.add(result.getOffsetMsgId());
            offsets.computeIfAbsent(result.getMessageQueue().getQueueId(), q -> new ArrayList<>())
                    .add(result.getQueueOffset());
        }
        Check.equal("distinct message ids", 20, ids.size());
        Check.equal("distinct offset ids", 20, offsetIds.size());
        // The producer takes the queues in turn, so each gets five, numbered from 0.
        Check.equal("queue offsets", Map.of(0, dense(5), 1, dense(5), 2, dense(5), 3, dense(5)), offsets);
        List<MessageExt> stored = stage.stored(topic, 20);
        Check.equal("stored bodies", bodies, sortedBodies(stored));
        Set<String> storedIds = new HashSet<>(stored.stream().map(MessageExt::getMsgId).toList());
        Check.equal("stored ids", ids, storedIds);
    }

    private static void async(Stage stage) throws Exception {
        String topic = stage.topic(4);
        List<String> bodies = numbered("async-", 200);
        Queue<SendResult> results = new ConcurrentLinkedQueue<>();
        Queue<Throwable> errors = new ConcurrentLinkedQueue<>();
        CountDownLatch open = new CountDownLatch(bodies.size());
        for (String body : bodies) {
            stage.producer().send(message(topic, body), new SendCallback() {
                @Override
                public void onSuccess(SendResult result) {
                    results.add(result);
                    open.countDown();
                }

                @Override
                public void onException(Throwable error) {
                    errors.add(error);
                    open.countDown();
                }
            });
        }
        Check.that("all callbacks were called", open.await(30, TimeUnit.SECONDS));
        Check.equal("errors", List.of(), List.copyOf(errors));
        long good = results.stream().filter(r -> r.getSendStatus() == SendStatus.SEND_OK).count();
        Check.equal("results with SEND_OK", 200L, good);
        Check.equal("stored bodies", bodies, sortedBodies(stage.stored(topic, 200)));
    }

    private static void oneway(Stage stage) throws Exception {
        String topic = stage.topic(2);
        List<String> bodies = numbered("oneway-", 50);
        for (String body : bodies) {
            stage.producer().sendOneway(message(topic, body));
        }
        Check.equal("stored bodies", bodies, sortedBodies(stage.stored(topic, 50)));
    }

    private static void batch(Stage stage) throws Exception {
        String topic = stage.topic(1);
        List<String> bodies = numbered("batch-", 30);
        List<Message> messages = new ArrayList<>();
        for (int i = 0; i < bodies.size(); i++) {
            Message message = message(topic, bodies.get(i));
            message.setTags("T" + i % 3);
            message.setKeys("key-" + i);
            message.putUserProperty("n", Integer.toString(i));
            messages.add(message);
        }
        SendResult result = stage.producer().send(messages);
        Check.equal("status", SendStatus.SEND_OK, result.getSendStatus());
        Check.equal("offset of the first", 0L, result.getQueueOffset());
        Check.equal("message ids in the answer", 30, result.getMsgId().split(",").length);
        Check.equal("offset ids in the answer", 30, result.getOffsetMsgId().split(",").length);
        List<MessageExt> stored = stage.stored(topic, 30);
        Check.equal("bodies in order", bodies, stored.stream().map(Stage::body).toList());
        for (int i = 0; i < stored.size(); i++) {
            MessageExt message = stored.get(i);
            Check.equal("queue offset", (long) i, message.getQueueOffset());
            Check.equal("tag", "T" + i % 3, message.getTags());
            Check.equal("keys", "key-" + i, message.getKeys());
            Check.equal("property", Integer.toString(i), message.getUserProperty("n"));
            Check.equal("id", result.getMsgId().split(",")[i], message.getMsgId());
        }
        SendResult second = stage.producer().send(List.of(message(topic, "a"), message(topic, "b")));
        Check.equal("offset of a second batch", 30L, second.getQueueOffset());
    }

    private static void compressed(Stage stage) throws Exception {
        String topic = stage.topic(1);
        String text = "a line that repeats itself\n".repeat(4000);
        SendResult result = stage.producer().send(message(topic, text));
        Check.equal("status", SendStatus.SEND_OK, result.getSendStatus());
        MessageExt stored = stage.stored(topic, 1).get(0);
        Check.equal("body after decompression", text, body(stored));
        Check.within("bytes stored of " + text.length(), 1, 4096, stored.getStoreSize());
    }

    private static void toQueue(Stage stage) throws Exception {
        String topic = stage.topic(4);
        MessageQueue queue = stage.queues(topic).get(2);
        for (int i = 0; i < 5; i++) {
            SendResult result = stage.producer().send(message(topic, "to-2-" + i), queue);
            Check.equal("queue", queue, result.getMessageQueue());
            Check.equal("queue offset", (long) i, result.getQueueOffset());
        }
        List<MessageExt> stored = stage.stored(topic, 5);
        Check.equal("stored in all queues", 5, stored.size());
        Check.that("all in queue 2", stored.stream().allMatch(m -> m.getQueueId() == 2));
    }

    private static void selector(Stage stage) throws Exception {
        String topic = stage.topic(4);
        for (int order = 0; order < 40; order++) {
            stage.producer().send(message(topic, "order-" + order % 8 + "-" + order),
                    (queues, message, key) -> queues.get((Integer) key % queues.size()), order % 8);
        }
        stage.waitStored(stage.queues(topic), 40);
        for (MessageQueue queue : stage.queues(topic)) {
            List<MessageExt> stored = stage.stored(queue);
            Check.equal("messages in " + queue.getQueueId(), 10, stored.size());
            for (MessageExt message : stored) {
                int order = Integer.parseInt(body(message).split("-")[1]);
                Check.equal("queue of " + body(message), order % 4, queue.getQueueId());
            }
        }
    }

    private static void threads(Stage stage) throws Exception {
        String topic = stage.topic(2);
        stage.producer();
        Queue<Throwable> errors = new ConcurrentLinkedQueue<>();
        List<Thread> threads = new ArrayList<>();
        for (int t = 0; t < 8; t++) {
            String prefix = "thread-" + t + "-";
            threads.add(new Thread(() -> {
                try {
                    for (String body : numbered(prefix, 50)) {
                        stage.producer().send(message(topic, body));
                    }
                } catch (Exception error) {
                    errors.add(error);
                }
            }));
        }
        threads.forEach(Thread::start);
        for (Thread thread : threads) {
            thread.join();
        }
        Check.equal("errors", List.of(), List.copyOf(errors));
        List<String> expected = new ArrayList<>();
        for (int t = 0; t < 8; t++) {
            expected.addAll(numbered("thread-" + t + "-", 50));
        }
        Check.equal("stored bodies", expected, sortedBodies(stage.stored(topic, 400)));
        for (MessageQueue queue : stage.queues(topic)) {
            List<Long> offsets = stage.stored(queue).stream().map(MessageExt::getQueueOffset).toList();
            Check.equal("offsets of queue " + queue.getQueueId(), dense(offsets.size()), offsets);
        }
    }

    /** The VIP channel is the broker's port minus 2; clients up to 4.4 send there by default. */
    private static void vipChannel(Stage stage) throws Exception {
        String topic = stage.topic(1);
        DefaultMQProducer producer = new DefaultMQProducer(stage.name("vip"));
        producer.setVipChannelEnabled(true);
        producer.setSendMessageWithVIPChannel(true);
        stage.started(producer);
        SendResult result = producer.send(message(topic, "through the side door"), CALL_MILLIS);
        Check.equal("status", SendStatus.SEND_OK, result.getSendStatus());
        Check.equal("stored", List.of("through the side door"), sortedBodies(stage.stored(topic, 1)));
    }

    private static void autocreate(Stage stage) throws Exception {
        String topic = stage.name("unseen");
        SendResult first = stage.producer().send(message(topic, "first"));
        Check.equal("status", SendStatus.SEND_OK, first.getSendStatus());
        Check.equal("queue offset", 0L, first.getQueueOffset());
        Check.equal("queues of the new topic", 4, stage.queues(topic).size());
        Check.equal("stored", List.of("first"), sortedBodies(stage.stored(topic, 1)));
    }

    static byte[] randomBytes(int count) {
        byte[] bytes = new byte[count];
        new Random(7).nextBytes(bytes);
        return bytes;
    }

    static List<Long> dense(int count) {
        List<Long> offsets = new ArrayList<>();
        for (long i = 0; i < count; i++) {
            offsets.add(i);
        }
        return offsets;
    }
}
