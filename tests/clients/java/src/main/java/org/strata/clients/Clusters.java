/**
 * Two brokers behind two name servers, of which one each is killed while messages flow.
 * Owns cases named cluster.*: the runner starts that topology for them and kills what they name.
 */
package org.strata.clients;

import static org.strata.clients.Stage.message;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.Callable;
import java.util.concurrent.ConcurrentSkipListSet;
import java.util.concurrent.atomic.AtomicBoolean;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageQueue;

final class Clusters {
    private static final int LIMIT_SECONDS = 170;

    /** Each attempt finds the living name server with probability one half. */
    private static final int ATTEMPTS_MAX = 16;

    private Clusters() {
    }

    /** The cases kill the same nodes, so they are one case: parts of it run in the order of its text. */
    static List<Case> cases() {
        return List.of(new Case("cluster.one_of_each_killed", LIMIT_SECONDS, Clusters::oneOfEachKilled));
    }

    /** A producer in a thread of its own, which remembers what the brokers have acknowledged. */
    private static final class Stream implements AutoCloseable {
        private final DefaultMQProducer producer;
        private final String topic;
        private final Set<String> acknowledged = new ConcurrentSkipListSet<>();
        private final Set<String> brokers = new ConcurrentSkipListSet<>();
        private final AtomicBoolean ending = new AtomicBoolean();
        private final Thread thread = new Thread(this::run);
        private int sent;

        Stream(DefaultMQProducer producer, String topic) {
            this.producer = producer;
            this.topic = topic;
            thread.start();
        }

        private void run() {
            while (!ending.get()) {
                String body = String.format("flow-%06d", sent++);
                try {
                    SendResult result = producer.send(message(topic, body), 3_000);
                    if (result.getSendStatus() == SendStatus.SEND_OK) {
                        acknowledged.add(body);
                        brokers.add(result.getMessageQueue().getBrokerName());
                    }
                    Thread.sleep(5);
                } catch (Exception unacknowledged) {
                    // Nobody has promised anything about this message.
                    System.err.println("flow: " + unacknowledged);
                }
            }
        }

        /** Waits until this many more messages are acknowledged. */
        void flow(int more) throws Exception {
            int goal = acknowledged.size() + more;
            Check.until(more + " more messages acknowledged", 60, () -> acknowledged.size() >= goal, acknowledged::size);
        }

        /** The brokers that acknowledge messages from now on. */
        Set<String> brokersNow() throws Exception {
            brokers.clear();
            flow(40);
            return new TreeSet<>(brokers);
        }

        @Override
        public void close() {
            ending.set(true);
            try {
                thread.join(20_000);
            } catch (InterruptedException error) {
                Thread.currentThread().interrupt();
            }
        }
    }

    private static void oneOfEachKilled(Stage stage) throws Exception {
        String topic = stage.topic(4);
        Check.equal("queues on two brokers", 8, stage.queues(topic).size());
        DefaultMQProducer producer = new DefaultMQProducer(stage.name("flow"));
        producer.setRetryTimesWhenSendFailed(4);
        stage.started(producer);
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = Pushes.started(stage, stage.name("g"), topic, inbox);
        Inbox.waitAssigned(topic, 8, consumer);
        Set<String> acknowledged;
        try (Stream stream = new Stream(producer, topic)) {
            Check.equal("both brokers are used", Set.of("broker-a", "broker-b"), stream.brokersNow());
            Suite.ask("kill namesrv-a");
            stream.flow(100);
            newcomers(stage, topic, stream);
            Suite.ask("kill broker-a");
            stream.flow(100);
            Check.equal("the other broker takes all", Set.of("broker-b"), stream.brokersNow());
            Suite.ask("start broker-a");
            Check.until("the returned broker is used again", 60, () -> stream.brokers.contains("broker-a"),
                    () -> stream.brokers);
            stream.close();
            acknowledged = stream.acknowledged;
        }
        // Every acknowledged message is delivered, those that lay on the killed broker too.
        Check.until("all acknowledged messages delivered", 60, () -> missing(acknowledged, inbox).isEmpty(),
                () -> missing(acknowledged, inbox).size() + " missing, first " + missing(acknowledged, inbox).first());
        checkStored(stage, topic, acknowledged);
    }

    private static TreeSet<String> missing(Set<String> acknowledged, Inbox inbox) {
        TreeSet<String> missing = new TreeSet<>(acknowledged);
        missing.removeAll(new HashSet<>(inbox.bodies()));
        return missing;
    }

    /** Clients that start while one name server is dead find the other. */
    private static void newcomers(Stage stage, String topic, Stream stream) throws Exception {
        DefaultMQProducer late = stage.started(new DefaultMQProducer(stage.name("late")));
        String other = stage.name("late");
        for (Message first : List.of(message(topic, "from a newcomer"), message(other, "to a new topic"))) {
            SendResult sent = atLast(() -> late.send(first, 20_000));
            Check.equal("status of a newcomer's send", SendStatus.SEND_OK, sent.getSendStatus());
        }
        Inbox inbox = new Inbox();
        atLast(() -> Pushes.started(stage, stage.name("late"), topic, inbox));
        Check.until("a newcomer consumes", 60, () -> inbox.bodies().contains("from a newcomer"), inbox::size);
        stream.acknowledged.add("from a newcomer");
    }

    /**
     * A 5.5 client that needs a route asks one name server, picked at random, and throws when that one is dead: an
     * application has to try again.
     */
    private static <T> T atLast(Callable<T> attempt) throws Exception {
        for (int left = ATTEMPTS_MAX; left > 0; left--) {
            try {
                return attempt.call();
            } catch (IllegalStateException deadNameServer) {
                System.err.println("again: " + deadNameServer.getMessage());
            }
        }
        throw new Check.Failed("no living name server was asked in " + ATTEMPTS_MAX + " attempts");
    }

    /** The log of both brokers holds each acknowledged message once, and offsets are dense. */
    private static void checkStored(Stage stage, String topic, Set<String> acknowledged) throws Exception {
        List<String> stored = new ArrayList<>();
        for (MessageQueue queue : stage.queues(topic)) {
            var messages = stage.stored(queue);
            Check.equal("offsets of " + queue, Sends.dense(messages.size()),
                    messages.stream().map(m -> m.getQueueOffset()).toList());
            stored.addAll(Stage.sortedBodies(messages));
        }
        TreeSet<String> lost = new TreeSet<>(acknowledged);
        lost.removeAll(new HashSet<>(stored));
        Check.equal("acknowledged messages that are not stored", new TreeSet<String>(), lost);
    }
}
