/**
 * Looking messages up: by key, by unique id, by offset id.
 * Owns cases about requests 12 and 33 as the clients send them.
 */
package org.strata.clients;

import static org.strata.clients.Stage.body;
import static org.strata.clients.Stage.message;

import java.util.List;
import org.apache.rocketmq.client.QueryResult;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

final class Queries {
    private static final long HOUR_MILLIS = 3_600_000;
    private static final int NO_MESSAGE = 208;
    private static final int QUERY_NOT_FOUND = 22;

    private Queries() {
    }

    static List<Case> cases() {
        return List.of(
                Case.of("query.key", Queries::key),
                Case.of("query.key_time_and_count", Queries::keyTimeAndCount),
                Case.of("query.key_missing", Queries::keyMissing),
                Case.of("query.unique_id", Queries::uniqueId),
                Case.of("query.offset_id", Queries::offsetId),
                Case.of("query.batch_member", Queries::batchMember));
    }

    /** Asks until the index shows this many messages: the reference fills it a moment after the send. */
    private static List<String> byKey(Stage stage, String topic, String key, int count) throws Exception {
        long now = System.currentTimeMillis();
        List<String> last = List.of();
        long deadline = System.nanoTime() + 15_000_000_000L;
        while (System.nanoTime() < deadline) {
            try {
                QueryResult result = stage.producer().queryMessage(topic, key, 32, now - HOUR_MILLIS, now + HOUR_MILLIS);
                last = result.getMessageList().stream().map(Stage::body).sorted().toList();
                if (last.size() >= count) {
                    return last;
                }
            } catch (MQClientException notYet) {
                Check.equal("code of a query without result", NO_MESSAGE, notYet.getResponseCode());
            }
            Thread.sleep(50);
        }
        return last;
    }

    private static SendResult send(Stage stage, String topic, String body, String keys) throws Exception {
        Message message = message(topic, body);
        message.setKeys(keys);
        return stage.producer().send(message);
    }

    /** A message is found by each of its keys, in its topic only, and by the whole key only. */
    private static void key(Stage stage) throws Exception {
        String topic = stage.topic(2);
        String other = stage.topic("other", 1);
        send(stage, topic, "one", "alpha beta");
        send(stage, topic, "two", "beta");
        send(stage, topic, "three", "gamma");
        send(stage, topic, "four", "alphabet");
        send(stage, other, "elsewhere", "alpha beta");
        Check.equal("alpha", List.of("one"), byKey(stage, topic, "alpha", 1));
        Check.equal("beta", List.of("one", "two"), byKey(stage, topic, "beta", 2));
        Check.equal("gamma", List.of("three"), byKey(stage, topic, "gamma", 1));
        Check.equal("alpha elsewhere", List.of("elsewhere"), byKey(stage, other, "alpha", 1));
    }

    /** The time span and the greatest count that the asker names are kept. */
    private static void keyTimeAndCount(Stage stage) throws Exception {
        String topic = stage.topic(1);
        for (int i = 0; i < 10; i++) {
            send(stage, topic, "m" + i, "order-7");
        }
        Check.equal("all ten", 10, byKey(stage, topic, "order-7", 10).size());
        long now = System.currentTimeMillis();
        QueryResult three = stage.producer().queryMessage(topic, "order-7", 3, now - HOUR_MILLIS, now + HOUR_MILLIS);
        Check.equal("at most three", 3, three.getMessageList().size());
        int code = Check.codeOf("a span before all messages", () -> stage.producer()
                .queryMessage(topic, "order-7", 32, now - 2 * HOUR_MILLIS, now - HOUR_MILLIS).getMessageList());
        Check.equal("code for a span before all messages", NO_MESSAGE, code);
    }

    private static void keyMissing(Stage stage) throws Exception {
        String topic = stage.topic(1);
        send(stage, topic, "one", "alpha");
        Check.equal("alpha", 1, byKey(stage, topic, "alpha", 1).size());
        long now = System.currentTimeMillis();
        int code = Check.codeOf("a key that no message has", () -> stage.producer()
                .queryMessage(topic, "omega", 32, now - HOUR_MILLIS, now + HOUR_MILLIS).getMessageList());
        Check.equal("code at the client", NO_MESSAGE, code);
        int raw = stage.ask(12, java.util.Map.of("topic", topic, "key", "omega", "maxNum", "32", "beginTimestamp", "0",
                "endTimestamp", Long.toString(now + HOUR_MILLIS)), null).getCode();
        Check.equal("code on the wire", QUERY_NOT_FOUND, raw);
    }

    private static void checkFound(MessageExt found, SendResult sent, String text) throws Exception {
        Check.equal("body", text, body(found));
        Check.equal("id", sent.getMsgId(), found.getMsgId());
        Check.equal("topic", sent.getMessageQueue().getTopic(), found.getTopic());
        Check.equal("queue", sent.getMessageQueue().getQueueId(), found.getQueueId());
        Check.equal("queue offset", sent.getQueueOffset(), found.getQueueOffset());
    }

    private static void uniqueId(Stage stage) throws Exception {
        String topic = stage.topic(2);
        SendResult[] sent = new SendResult[5];
        for (int i = 0; i < 5; i++) {
            sent[i] = send(stage, topic, "unique-" + i, "same");
        }
        Check.equal("indexed", 5, byKey(stage, topic, "same", 5).size());
        for (int i = 0; i < 5; i++) {
            checkFound(stage.producer().viewMessage(topic, sent[i].getMsgId()), sent[i], "unique-" + i);
        }
    }

    private static void offsetId(Stage stage) throws Exception {
        String topic = stage.topic(2);
        for (int i = 0; i < 5; i++) {
            SendResult sent = send(stage, topic, "at-" + i, "");
            stage.waitStored(List.of(sent.getMessageQueue()), sent.getQueueOffset() + 1);
            checkFound(stage.producer().viewMessage(topic, sent.getOffsetMsgId()), sent, "at-" + i);
        }
    }

    /** Each message of a batch has an id of each kind of its own. */
    private static void batchMember(Stage stage) throws Exception {
        String topic = stage.topic(1);
        SendResult sent = stage.producer().send(List.of(message(topic, "x"), message(topic, "y"), message(topic, "z")));
        String[] offsetIds = sent.getOffsetMsgId().split(",");
        String[] ids = sent.getMsgId().split(",");
        stage.waitStored(List.of(sent.getMessageQueue()), 3);
        for (int i = 0; i < 3; i++) {
            MessageExt found = stage.producer().viewMessage(topic, offsetIds[i]);
            Check.equal("body by offset id", List.of("x", "y", "z").get(i), body(found));
            Check.equal("offset", (long) i, found.getQueueOffset());
            Check.equal("id", ids[i], found.getMsgId());
        }
    }
}
