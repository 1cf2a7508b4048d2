/**
 * Messages that a consumer did not accept: when they come again, how often, and the dead-letter queue.
 * Owns cases about CONSUMER_SEND_MSG_BACK and what follows; they wait for delay levels, so they start first.
 */
package org.strata.clients;

import static org.strata.clients.Stage.body;
import static org.strata.clients.Stage.message;
import static org.strata.clients.Stage.numbered;

import java.util.ArrayList;
import java.util.List;
import java.util.function.Predicate;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyContext;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

final class Retries {
    /** Two retries of 10 s each, and up to 30 s until a new group's consumer learns of its retry topic. */
    private static final int LIMIT_SECONDS = 150;

    private Retries() {
    }

    static List<Case> cases() {
        return List.of(
                new Case("retry.dlq", LIMIT_SECONDS, Retries::deadLetter),
                new Case("retry.later", LIMIT_SECONDS, Retries::later),
                new Case("retry.ack_index", LIMIT_SECONDS, Retries::ackIndex),
                new Case("retry.chosen_level", LIMIT_SECONDS, Retries::chosenLevel),
                new Case("retry.orderly_dlq", LIMIT_SECONDS, Retries::orderlyDeadLetter),
                new Case("retry.dlq_at_once", LIMIT_SECONDS, Retries::deadLetterAtOnce),
                new Case("retry.none_allowed", LIMIT_SECONDS, Retries::noneAllowed));
    }

    private static void start(DefaultMQPushConsumer consumer, String topic, MessageListenerConcurrently listener)
            throws Exception {
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener(listener);
        consumer.start();
    }

    private static Message marked(String topic, String body) {
        Message message = message(topic, body);
        message.setTags("red");
        message.setKeys("k1 k2");
        message.putUserProperty("colour", "rouge é");
        return message;
    }

    /** The messages in the group's dead-letter topic, once there are this many. */
    private static List<MessageExt> deadLetters(Stage stage, String group, int count) throws Exception {
        String topic = "%DLQ%" + group;
        Check.until("a route of " + topic, Inbox.WAIT_SECONDS * 2, () -> {
            try {
                return stage.queues(topic).size() == 1;
            } catch (Exception notYet) {
                return false;
            }
        }, () -> "none");
        List<MessageExt> found = stage.stored(topic, count);
        Check.equal("dead letters", count, found.size());
        return found;
    }

    private static void checkMarked(MessageExt message, String topic, String id) throws Exception {
        Check.equal("tag", "red", message.getTags());
        Check.equal("keys", "k1 k2", message.getKeys());
        Check.equal("property", "rouge é", message.getUserProperty("colour"));
        Check.equal("message id", id, message.getMsgId());
        Check.equal("property RETRY_TOPIC", topic, message.getProperty("RETRY_TOPIC"));
    }

    private static void later(Stage stage) throws Exception {
        String topic = stage.topic(1);
        Inbox inbox = new Inbox();
        start(stage.push(stage.name("g")), topic, inbox.takingUnless(
                message -> body(message).equals("fails once") && message.getReconsumeTimes() == 0));
        SendResult sent = stage.producer().send(marked(topic, "fails once"));
        stage.producer().send(message(topic, "is fine"));
        inbox.waitFor(3);
        List<Inbox.Arrival> again = inbox.arrivals().stream().filter(a -> a.body().equals("fails once")).toList();
        Check.equal("deliveries of the failed message", 2, again.size());
        MessageExt second = again.get(1).message();
        Check.equal("reconsume times", 1, second.getReconsumeTimes());
        // The client gives the message its first topic back before the listener sees it.
        Check.equal("topic", topic, second.getTopic());
        checkMarked(second, topic, sent.getMsgId());
        Check.equal("property ORIGIN_MESSAGE_ID", sent.getOffsetMsgId(), second.getProperty("ORIGIN_MESSAGE_ID"));
        // The first retry waits for delay level 3, ten seconds.
        Check.within("millis until the retry", 9_500, 60_000, again.get(1).millis() - again.get(0).millis());
    }

    private static void deadLetter(Stage stage) throws Exception {
        String topic = stage.topic(1);
        String group = stage.name("g");
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = stage.push(group);
        consumer.setMaxReconsumeTimes(1);
        start(consumer, topic, inbox.takingUnless(message -> true));
        SendResult sent = stage.producer().send(marked(topic, "always fails"));
        MessageExt dead = deadLetters(stage, group, 1).get(0);
        Check.equal("body", "always fails", body(dead));
        Check.equal("topic", "%DLQ%" + group, dead.getTopic());
        Check.equal("queue", 0, dead.getQueueId());
        checkMarked(dead, topic, sent.getMsgId());
        Check.equal("property ORIGIN_MESSAGE_ID", sent.getOffsetMsgId(), dead.getProperty("ORIGIN_MESSAGE_ID"));
        Check.equal("reconsume times", 2, dead.getReconsumeTimes());
        Check.equal("deliveries before", List.of(0, 1),
                inbox.messages().stream().map(MessageExt::getReconsumeTimes).toList());
    }

    /** A listener may ask for a delay level of its own; level 1 is one second. */
    private static void chosenLevel(Stage stage) throws Exception {
        String topic = stage.topic(1);
        Inbox inbox = new Inbox();
        start(stage.push(stage.name("g")), topic, choosing(1, inbox, message -> message.getReconsumeTimes() < 2));
        stage.producer().send(message(topic, "soon again"));
        inbox.waitFor(3);
        List<Inbox.Arrival> arrivals = inbox.arrivals();
        Check.equal("reconsume times", List.of(0, 1, 2),
                arrivals.stream().map(a -> a.message().getReconsumeTimes()).toList());
        // Only the second retry tells the level: before the first, the consumer must learn of its retry topic.
        Check.within("millis until the second retry", 900, 9_000, arrivals.get(2).millis() - arrivals.get(1).millis());
    }

    private static MessageListenerConcurrently choosing(int level, Inbox inbox, Predicate<MessageExt> rejects) {
        MessageListenerConcurrently inner = inbox.takingUnless(rejects);
        return (List<MessageExt> messages, ConsumeConcurrentlyContext context) -> {
            context.setDelayLevelWhenNextConsume(level);
            return inner.consumeMessage(messages, context);
        };
    }

    /** A level below 0 sends the message to the dead letters without a retry. */
    private static void deadLetterAtOnce(Stage stage) throws Exception {
        String topic = stage.topic(1);
        String group = stage.name("g");
        Inbox inbox = new Inbox();
        start(stage.push(group), topic, choosing(-1, inbox, message -> true));
        SendResult sent = stage.producer().send(marked(topic, "poison"));
        MessageExt dead = deadLetters(stage, group, 1).get(0);
        Check.equal("body", "poison", body(dead));
        checkMarked(dead, topic, sent.getMsgId());
        Check.equal("deliveries before", 1, inbox.size());
    }

    private static void noneAllowed(Stage stage) throws Exception {
        String topic = stage.topic(2);
        String group = stage.name("g");
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = stage.push(group);
        consumer.setMaxReconsumeTimes(0);
        start(consumer, topic, inbox.takingUnless(message -> body(message).endsWith("3")));
        List<String> bodies = numbered("n-", 20);
        Pushes.sendAll(stage, topic, bodies);
        inbox.exactly(bodies);
        List<String> dead = deadLetters(stage, group, 2).stream().map(Stage::body).sorted().toList();
        Check.equal("dead letters", List.of("n-00003", "n-00013"), dead);
    }

    /** Of a list, only what follows the acknowledged index comes again. */
    private static void ackIndex(Stage stage) throws Exception {
        String topic = stage.topic(1);
        Pushes.sendBatches(stage, topic, numbered("part-", 4));
        Inbox inbox = new Inbox();
        MessageListenerConcurrently taking = inbox.taking();
        DefaultMQPushConsumer consumer = stage.push(stage.name("g"));
        consumer.setConsumeMessageBatchMaxSize(4);
        start(consumer, topic, (messages, context) -> {
            context.setDelayLevelWhenNextConsume(1);
            if (messages.get(0).getReconsumeTimes() == 0) {
                context.setAckIndex(1);
            }
            taking.consumeMessage(messages, context);
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        inbox.waitFor(6);
        List<String> again = inbox.arrivals().stream().filter(a -> a.message().getReconsumeTimes() == 1)
                .map(Inbox.Arrival::body).sorted().toList();
        Check.equal("retried messages", List.of("part-00002", "part-00003"), again);
    }

    /** An orderly consumer retries in place; when that fails for good, the message leaves for the dead letters. */
    private static void orderlyDeadLetter(Stage stage) throws Exception {
        String topic = stage.topic(1);
        String group = stage.name("g");
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = stage.push(group);
        consumer.setMaxReconsumeTimes(2);
        consumer.setSuspendCurrentQueueTimeMillis(200);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener(inbox.takingInOrderUnless(message -> body(message).equals("o-00001")));
        consumer.start();
        Pushes.sendAll(stage, topic, numbered("o-", 3));
        MessageExt dead = deadLetters(stage, group, 1).get(0);
        Check.equal("body", "o-00001", body(dead));
        Check.equal("property RETRY_TOPIC", topic, dead.getProperty("RETRY_TOPIC"));
        inbox.waitFor(5);
        List<String> expected = new ArrayList<>(List.of("o-00000", "o-00001", "o-00001", "o-00001", "o-00002"));
        Check.equal("deliveries in order", expected, inbox.bodies());
    }
}
