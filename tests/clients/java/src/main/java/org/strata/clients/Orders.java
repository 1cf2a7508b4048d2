/**
 * Orderly consumption: the order of each queue under locks, held queues, and hand-over between consumers.
 * Owns cases about order; what happens to messages that fail for good is in Retries.
 */
package org.strata.clients;

import static org.strata.clients.Stage.body;
import static org.strata.clients.Stage.message;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Predicate;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

final class Orders {
    private static final int LIMIT_SECONDS = 120;

    private Orders() {
    }

    static List<Case> cases() {
        return List.of(
                new Case("order.per_queue", LIMIT_SECONDS, Orders::perQueue),
                new Case("order.held", LIMIT_SECONDS, Orders::held),
                new Case("order.hand_over", LIMIT_SECONDS, Orders::handOver));
    }

    private static DefaultMQPushConsumer started(Stage stage, String topic, Inbox inbox, Predicate<MessageExt> rejects)
            throws Exception {
        DefaultMQPushConsumer consumer = stage.push(stage.name("g"));
        consumer.setSuspendCurrentQueueTimeMillis(200);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener(inbox.takingInOrderUnless(rejects));
        consumer.start();
        return consumer;
    }

    /** Sends count messages to each queue in turn and returns what each queue must deliver. */
    private static Map<Integer, List<String>> sendToEach(Stage stage, String topic, String prefix, int count)
            throws Exception {
        Map<Integer, List<String>> expected = new HashMap<>();
        for (int i = 0; i < count; i++) {
            for (MessageQueue queue : stage.queues(topic)) {
                String body = prefix + queue.getQueueId() + "-" + i;
                stage.producer().send(message(topic, body), queue);
                expected.computeIfAbsent(queue.getQueueId(), q -> new ArrayList<>()).add(body);
            }
        }
        return expected;
    }

    /** Two consumers hold two queues each under the broker's locks; each queue is delivered in its order. */
    private static void perQueue(Stage stage) throws Exception {
        String topic = stage.topic(4);
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer one = started(stage, topic, inbox, message -> false);
        DefaultMQPushConsumer two = started(stage, topic, inbox, message -> false);
        Inbox.waitAssigned(topic, 2, one, two);
        Map<Integer, List<String>> expected = sendToEach(stage, topic, "order-", 30);
        inbox.waitFor(120);
        Check.equal("bodies by queue", expected, inbox.bodiesByQueue());
    }

    /** A message that is not accepted holds its queue, and only its queue, until it is. */
    private static void held(Stage stage) throws Exception {
        String topic = stage.topic(2);
        AtomicInteger refusals = new AtomicInteger();
        Inbox inbox = new Inbox();
        started(stage, topic, inbox, message -> body(message).equals("hold-0-3") && refusals.incrementAndGet() <= 2);
        sendToEach(stage, topic, "hold-", 8);
        inbox.waitFor(18);
        List<String> expected = new ArrayList<>();
        for (int i = 0; i < 8; i++) {
            expected.addAll(java.util.Collections.nCopies(i == 3 ? 3 : 1, "hold-0-" + i));
        }
        Check.equal("the held queue", expected, inbox.bodiesByQueue().get(0));
        Check.equal("the free queue", 8, inbox.bodiesByQueue().get(1).size());
        List<Integer> times = inbox.messages().stream().filter(m -> body(m).equals("hold-0-3"))
                .map(MessageExt::getReconsumeTimes).toList();
        Check.equal("deliveries of the held message", 3, times.size());
    }

    /** When a consumer leaves, its locks go with it: the other takes its queues over at once and in order. */
    private static void handOver(Stage stage) throws Exception {
        String topic = stage.topic(2);
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer one = started(stage, topic, inbox, message -> false);
        DefaultMQPushConsumer two = started(stage, topic, inbox, message -> false);
        Inbox.waitAssigned(topic, 1, one, two);
        sendToEach(stage, topic, "before-", 10);
        inbox.waitFor(20);
        one.shutdown();
        Check.until("the other holds both queues", 30, () -> Inbox.assigned(two, topic).size() == 2,
                () -> Inbox.assigned(two, topic));
        Map<Integer, List<String>> expected = sendToEach(stage, topic, "after-", 10);
        inbox.waitFor(40);
        for (int queue = 0; queue < 2; queue++) {
            List<String> bodies = new ArrayList<>();
            for (int i = 0; i < 10; i++) {
                bodies.add("before-" + queue + "-" + i);
            }
            bodies.addAll(expected.get(queue));
            Check.equal("queue " + queue, bodies, inbox.bodiesByQueue().get(queue));
        }
    }
}
