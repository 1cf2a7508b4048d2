/**
 * Requests that must be refused: each gets the response code that clients understand, and nothing is stored.
 * Owns cases past the clients' own checks, which would hide what the broker does.
 */
package org.strata.clients;

import static org.strata.clients.Stage.message;

import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;

final class Refusals {
    private static final int SEND = 10;
    private static final int PULL = 11;
    private static final int SYSTEM_ERROR = 1;
    private static final int CODE_NOT_SUPPORTED = 3;
    private static final int MESSAGE_ILLEGAL = 13;
    private static final int NO_PERMISSION = 16;
    private static final int TOPIC_NOT_EXIST = 17;
    private static final int SUBSCRIPTION_NOT_EXIST = 24;
    private static final int GROUP_NOT_EXIST = 26;
    private static final int INVALID_PARAMETER = 29;

    private Refusals() {
    }

    static List<Case> cases() {
        return List.of(
                Case.of("refuse.large_body", Refusals::largeBody),
                Case.of("refuse.empty_body", Refusals::emptyBody),
                Case.of("refuse.large_properties", Refusals::largeProperties),
                Case.of("refuse.illegal_topic", Refusals::illegalTopic),
                Case.of("refuse.reserved_topic", Refusals::reservedTopic),
                Case.of("refuse.unknown_topic", Refusals::unknownTopic),
                Case.of("refuse.unknown_queue", Refusals::unknownQueue),
                Case.of("refuse.unknown_code", Refusals::unknownCode),
                Case.of("refuse.pull_unsubscribed", Refusals::pullUnsubscribed),
                Case.of("refuse.offset_of_unknown_group", Refusals::offsetOfUnknownGroup),
                Case.of("refuse.create_illegal_topic", Refusals::createIllegalTopic),
                Case.of("refuse.view_missing", Refusals::viewMissing));
    }

    private static RemotingCommand send(Stage stage, String topic, int queue) throws Exception {
        return stage.ask(SEND, stage.sendFields(topic, queue), "x".getBytes(StandardCharsets.UTF_8));
    }

    private static void checkRefused(String what, int code, RemotingCommand answer) throws Exception {
        Check.equal(what + " (" + answer.getRemark() + ")", code, answer.getCode());
        Check.that(what + ": the remark says why", answer.getRemark() != null && !answer.getRemark().isBlank());
    }

    /** Sends a message that is legal, so that a case sees the broker serve on, and returns what is stored. */
    private static void checkOnlyStored(Stage stage, String topic) throws Exception {
        stage.producer().send(message(topic, "legal"));
        Check.equal("stored", List.of("legal"), Stage.sortedBodies(stage.stored(topic, 1)));
    }

    private static void largeBody(Stage stage) throws Exception {
        String topic = stage.topic(1);
        Message large = new Message(topic, Sends.randomBytes(Fields.BODY_BYTES_MAX + 1));
        Check.equal("code of the client's own check", MESSAGE_ILLEGAL,
                Check.codeOf("large body", () -> stage.producer().send(large)));
        DefaultMQProducer open = new DefaultMQProducer(stage.name("open"));
        open.setMaxMessageSize(Integer.MAX_VALUE);
        open.setCompressMsgBodyOverHowmuch(Integer.MAX_VALUE);
        stage.started(open);
        Check.equal("code of the broker", MESSAGE_ILLEGAL, Check.codeOf("large body", () -> open.send(large)));
        checkOnlyStored(stage, topic);
    }

    /** The reference fails on an empty body with an internal error; the right code is "message illegal". */
    private static void emptyBody(Stage stage) throws Exception {
        String topic = stage.topic(1);
        Check.equal("code of the client's own check", MESSAGE_ILLEGAL,
                Check.codeOf("empty body", () -> stage.producer().send(new Message(topic, new byte[0]))));
        RemotingCommand answer = stage.ask(SEND, stage.sendFields(topic, 0), null);
        checkRefused("code of the broker", Stage.STRATA ? MESSAGE_ILLEGAL : SYSTEM_ERROR, answer);
        checkOnlyStored(stage, topic);
    }

    private static void largeProperties(Stage stage) throws Exception {
        String topic = stage.topic(1);
        Message message = message(topic, "p");
        message.putUserProperty("long", "v".repeat(40_000));
        Check.equal("code", MESSAGE_ILLEGAL, Check.codeOf("properties", () -> stage.producer().send(message)));
        checkOnlyStored(stage, topic);
    }

    private static void illegalTopic(Stage stage) throws Exception {
        for (String topic : List.of("has space", "has.dot", "has/slash", "émoji", "x".repeat(128))) {
            checkRefused("code for " + topic, INVALID_PARAMETER, send(stage, topic, 0));
        }
    }

    private static void reservedTopic(Stage stage) throws Exception {
        for (String topic : List.of("SCHEDULE_TOPIC_XXXX", "RMQ_SYS_TRANS_HALF_TOPIC", "OFFSET_MOVED_EVENT")) {
            checkRefused("code for " + topic, NO_PERMISSION, send(stage, topic, 0));
        }
    }

    private static void unknownTopic(Stage stage) throws Exception {
        String topic = stage.name("absent");
        Map<String, String> fields = stage.sendFields(topic, 0);
        // Without a template topic nothing may be created.
        fields.put("defaultTopic", stage.name("no_template"));
        checkRefused("code of a send", TOPIC_NOT_EXIST, stage.ask(SEND, fields, new byte[] {1}));
        checkRefused("code of a pull", TOPIC_NOT_EXIST, pull(stage, topic, 0, 4));
        RemotingCommand route = stage.ask(Stage.NAMESRV, 105, Map.of("topic", topic), null);
        checkRefused("code of the name server", TOPIC_NOT_EXIST, route);
        // Clients tell this refusal from others by its text.
        Check.that("remark: " + route.getRemark(),
                route.getRemark().startsWith("No topic route info in name server for the topic: " + topic));
    }

    private static RemotingCommand pull(Stage stage, String topic, int queue, int sysFlag) throws Exception {
        Map<String, String> fields = new HashMap<>();
        fields.put("consumerGroup", stage.group("g"));
        fields.put("topic", topic);
        fields.put("queueId", Integer.toString(queue));
        fields.put("queueOffset", "0");
        fields.put("maxMsgNums", "32");
        fields.put("sysFlag", Integer.toString(sysFlag));
        fields.put("commitOffset", "0");
        fields.put("suspendTimeoutMillis", "0");
        fields.put("subscription", "*");
        fields.put("subVersion", Long.toString(System.currentTimeMillis()));
        fields.put("expressionType", "TAG");
        return stage.ask(PULL, fields, null);
    }

    private static void unknownQueue(Stage stage) throws Exception {
        String topic = stage.topic(2);
        checkRefused("code of a send", INVALID_PARAMETER, send(stage, topic, 2));
        checkRefused("code of a pull", INVALID_PARAMETER, pull(stage, topic, 2, 4));
        checkRefused("code of a pull below 0", INVALID_PARAMETER, pull(stage, topic, -1, 4));
        checkOnlyStored(stage, topic);
    }

    private static void unknownCode(Stage stage) throws Exception {
        for (int code : new int[] {9_999, 30_000}) {
            for (String address : List.of(Stage.BROKER, Stage.NAMESRV)) {
                RemotingCommand answer = stage.ask(address, code, Map.of(), null);
                checkRefused("code for " + code, CODE_NOT_SUPPORTED, answer);
                Check.that("the remark names the code: " + answer.getRemark(),
                        answer.getRemark().contains(Integer.toString(code)));
            }
        }
    }

    /** A pull that brings no subscription needs a consumer that has told the broker of one. */
    private static void pullUnsubscribed(Stage stage) throws Exception {
        checkRefused("code", SUBSCRIPTION_NOT_EXIST, pull(stage, stage.topic(1), 0, 0));
    }

    private static void offsetOfUnknownGroup(Stage stage) throws Exception {
        RemotingCommand answer = stage.ask(15, Map.of("consumerGroup", stage.name("absent"), "topic", stage.topic(1),
                "queueId", "0", "commitOffset", "1"), null);
        checkRefused("code", GROUP_NOT_EXIST, answer);
    }

    private static void createIllegalTopic(Stage stage) throws Exception {
        for (String topic : List.of("has space", "TBW102", "SCHEDULE_TOPIC_XXXX", "x".repeat(128))) {
            checkRefused("code for " + topic, INVALID_PARAMETER, create(stage, topic));
        }
    }

    private static RemotingCommand create(Stage stage, String topic) throws Exception {
        Map<String, String> fields = new HashMap<>(Map.of("topic", topic, "defaultTopic", "TBW102"));
        fields.putAll(Map.of("readQueueNums", "4", "writeQueueNums", "4", "perm", "6"));
        fields.putAll(Map.of("topicFilterType", "SINGLE_TAG", "topicSysFlag", "0", "order", "false"));
        return stage.ask(17, fields, null);
    }

    /** No message begins in the middle of another one, or beyond the log's end. */
    private static void viewMissing(Stage stage) throws Exception {
        String topic = stage.topic(1);
        MessageQueue queue = stage.queues(topic).get(0);
        stage.producer().send(message(topic, "x".repeat(100)), queue);
        long offset = stage.stored(topic, 1).get(0).getCommitLogOffset();
        checkRefused("code beyond the end", SYSTEM_ERROR, view(stage, offset + 1_000_000_000L));
        Check.equal("code at the message", 0, view(stage, offset).getCode());
    }

    private static RemotingCommand view(Stage stage, long offset) throws Exception {
        return stage.ask(33, Map.of("offset", Long.toString(offset)), null);
    }
}
