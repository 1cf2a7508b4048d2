/**
 * What push consumers received: messages in arrival order with their times, and waiting for them.
 * Owns the collected messages of one or more consumers; a case gives it a verdict for each delivery.
 */
package org.strata.clients;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.function.Predicate;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

final class Inbox {
    /** A consumer that found its broker busy tries again after 30 s at worst, so no wait for messages is shorter. */
    static final int WAIT_SECONDS = 60;
    /** How long a case looks for a message that must not come after all that must have come. */
    private static final int SETTLE_MILLIS = 400;

    /** One delivery. */
    record Arrival(MessageExt message, long millis) {
        String body() {
            return Stage.body(message);
        }
    }

    private final List<Arrival> arrivals = new ArrayList<>();

    private synchronized void add(List<MessageExt> messages) {
        long now = System.currentTimeMillis();
        for (MessageExt message : messages) {
            arrivals.add(new Arrival(message, now));
        }
    }

    synchronized List<Arrival> arrivals() {
        return new ArrayList<>(arrivals);
    }

    int size() {
        return arrivals().size();
    }

    List<MessageExt> messages() {
        return arrivals().stream().map(Arrival::message).toList();
    }

    List<String> bodies() {
        return arrivals().stream().map(Arrival::body).toList();
    }

    /** Accepts everything. */
    MessageListenerConcurrently taking() {
        return takingUnless(message -> false);
    }

    /** Accepts what the predicate does not reject; a rejected message is asked for again later. */
    MessageListenerConcurrently takingUnless(Predicate<MessageExt> rejects) {
        return (messages, context) -> {
            add(messages);
            boolean rejected = messages.stream().anyMatch(rejects);
            return rejected ? ConsumeConcurrentlyStatus.RECONSUME_LATER : ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        };
    }

    /** Accepts in the order of each queue; a rejected message holds its queue. */
    MessageListenerOrderly takingInOrderUnless(Predicate<MessageExt> rejects) {
        return (messages, context) -> {
            add(messages);
            boolean rejected = messages.stream().anyMatch(rejects);
            return rejected ? ConsumeOrderlyStatus.SUSPEND_CURRENT_QUEUE_A_MOMENT : ConsumeOrderlyStatus.SUCCESS;
        };
    }

    /** Waits for at least this many deliveries. */
    void waitFor(int count) throws Exception {
        Check.until(count + " deliveries", WAIT_SECONDS, () -> size() >= count, this::size);
    }

    /** Waits until exactly these bodies came, each once, in any order, and no more follow. */
    void exactly(List<String> bodies) throws Exception {
        waitFor(bodies.size());
        Check.never("more than " + bodies.size() + " deliveries", SETTLE_MILLIS, () -> size() > bodies.size(),
                this::bodies);
        Check.equal("bodies received", bodies.stream().sorted().toList(), bodies().stream().sorted().toList());
    }

    /** Waits until each of these bodies came at least once, and checks that no other body did. */
    void atLeast(List<String> bodies) throws Exception {
        HashSet<String> wanted = new HashSet<>(bodies);
        Check.until(wanted.size() + " different messages", WAIT_SECONDS,
                () -> new HashSet<>(bodies()).containsAll(wanted), () -> new HashSet<>(bodies()).size());
        Check.equal("different bodies", wanted, new HashSet<>(bodies()));
    }

    /** Bodies by queue id, in arrival order. */
    Map<Integer, List<String>> bodiesByQueue() {
        Map<Integer, List<String>> queues = new TreeMap<>();
        for (Arrival arrival : arrivals()) {
            queues.computeIfAbsent(arrival.message().getQueueId(), q -> new ArrayList<>()).add(arrival.body());
        }
        return queues;
    }

    /** Queue ids of the topic that a started consumer holds now. */
    static List<Integer> assigned(DefaultMQPushConsumer consumer, String topic) {
        return consumer.getDefaultMQPushConsumerImpl().getRebalanceImpl().getProcessQueueTable().keySet().stream()
                .filter(queue -> queue.getTopic().equals(topic)).map(MessageQueue::getQueueId).sorted().toList();
    }

    /** Waits until each consumer holds exactly this many queues of the topic. */
    static void waitAssigned(String topic, int each, DefaultMQPushConsumer... consumers) throws Exception {
        for (DefaultMQPushConsumer consumer : consumers) {
            Check.until(each + " queues assigned", WAIT_SECONDS, () -> assigned(consumer, topic).size() == each,
                    () -> assigned(consumer, topic));
        }
    }
}
