/**
 * Offsets: bounds of queues, search by time, and the progress of groups.
 * Owns cases that read or write offsets by request; progress through consuming is in Pushes.
 */
package org.strata.clients;

import static org.strata.clients.Stage.message;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;

final class Offsets {
    private static final int QUERY_OFFSET = 14;
    private static final int UPDATE_OFFSET = 15;
    private static final int EARLIEST_TIME = 32;

    private Offsets() {
    }

    static List<Case> cases() {
        return List.of(
                Case.of("offset.min_max", Offsets::minMax),
                Case.of("offset.search", Offsets::search),
                Case.of("offset.search_same_millisecond", Offsets::searchSameMillisecond),
                Case.of("offset.earliest_time", Offsets::earliestTime),
                Case.of("offset.unknown_group", Offsets::unknownGroup),
                Case.of("offset.commit", Offsets::commit),
                Case.of("offset.groups_apart", Offsets::groupsApart));
    }

    private static Map<String, String> fields(String group, MessageQueue queue) {
        Map<String, String> fields = new HashMap<>();
        fields.put("consumerGroup", group);
        fields.put("topic", queue.getTopic());
        fields.put("queueId", Integer.toString(queue.getQueueId()));
        return fields;
    }

    /** The group's offset as the broker holds it; fails when it holds none. */
    static long committed(Stage stage, String group, MessageQueue queue) throws Exception {
        Map<String, String> fields = fields(group, queue);
        fields.put("setZeroIfNotFound", "false");
        RemotingCommand answer = stage.ask(QUERY_OFFSET, fields, null);
        Check.equal("code of the offset query (" + answer.getRemark() + ")", 0, answer.getCode());
        return Long.parseLong(answer.getExtFields().get("offset"));
    }

    private static void minMax(Stage stage) throws Exception {
        String topic = stage.topic(2);
        MessageQueue queue = stage.queues(topic).get(1);
        Check.equal("min of an empty queue", 0L, stage.puller().minOffset(queue));
        Check.equal("max of an empty queue", 0L, stage.puller().maxOffset(queue));
        for (int i = 0; i < 7; i++) {
            stage.producer().send(message(topic, "m" + i), queue);
            stage.waitStored(List.of(queue), i + 1);
            Check.equal("max after " + (i + 1), i + 1L, stage.puller().maxOffset(queue));
        }
        Check.equal("min after 7", 0L, stage.puller().minOffset(queue));
        Check.equal("max of the other queue", 0L, stage.puller().maxOffset(stage.queues(topic).get(0)));
    }

    /** Searching by a time gives the first message that was stored then or later. */
    private static void search(Stage stage) throws Exception {
        String topic = stage.topic(1);
        MessageQueue queue = stage.queues(topic).get(0);
        for (int i = 0; i < 10; i++) {
            stage.producer().send(message(topic, "at-" + i), queue);
            // The case is about different times, so they have to differ.
            Thread.sleep(15);
        }
        List<MessageExt> stored = stage.stored(topic, 10);
        Check.equal("stored", 10, stored.size());
        for (MessageExt message : stored) {
            long time = message.getStoreTimestamp();
            Check.equal("offset at the message's time", message.getQueueOffset(), stage.puller().searchOffset(queue, time));
            Check.equal("offset just after", message.getQueueOffset() + 1, stage.puller().searchOffset(queue, time + 1));
        }
        Check.equal("offset long before", 0L,
                stage.puller().searchOffset(queue, stored.get(0).getStoreTimestamp() - 60_000));
        Check.equal("offset in the future", 10L,
                stage.puller().searchOffset(queue, System.currentTimeMillis() + 60_000));
    }

    /** Messages of one batch share a millisecond or nearly so: the first of each time is found. */
    private static void searchSameMillisecond(Stage stage) throws Exception {
        String topic = stage.topic(1);
        MessageQueue queue = stage.queues(topic).get(0);
        Pushes.sendBatches(stage, topic, Stage.numbered("same-", 300));
        Map<Long, Long> first = new HashMap<>();
        for (MessageExt message : stage.stored(topic, 300)) {
            first.putIfAbsent(message.getStoreTimestamp(), message.getQueueOffset());
        }
        Check.that("some messages share a millisecond", first.size() < 300);
        for (Map.Entry<Long, Long> entry : first.entrySet()) {
            Check.equal("first offset at " + entry.getKey(), entry.getValue(),
                    stage.puller().searchOffset(queue, entry.getKey()));
        }
    }

    private static void earliestTime(Stage stage) throws Exception {
        String topic = stage.topic(1);
        MessageQueue queue = stage.queues(topic).get(0);
        Map<String, String> fields = Map.of("topic", topic, "queueId", "0");
        RemotingCommand empty = stage.ask(EARLIEST_TIME, fields, null);
        Check.equal("code on an empty queue", 0, empty.getCode());
        Check.equal("time of an empty queue", "-1", empty.getExtFields().get("timestamp"));
        stage.producer().send(message(topic, "first"), queue);
        stage.producer().send(message(topic, "second"), queue);
        Check.equal("time of the first message", stage.stored(topic, 2).get(0).getStoreTimestamp(),
                stage.puller().earliestMsgStoreTime(queue));
    }

    /** A group without progress: 0 on a young queue unless the asker wants to know, then not found. */
    private static void unknownGroup(Stage stage) throws Exception {
        String topic = stage.topic(1);
        MessageQueue queue = stage.queues(topic).get(0);
        stage.producer().send(message(topic, "young"), queue);
        stage.waitStored(List.of(queue), 1);
        Map<String, String> fields = fields(stage.name("nobody"), queue);
        RemotingCommand answer = stage.ask(QUERY_OFFSET, fields, null);
        Check.equal("code on a young queue", 0, answer.getCode());
        Check.equal("offset on a young queue", "0", answer.getExtFields().get("offset"));
        fields.put("setZeroIfNotFound", "false");
        Check.equal("code when 0 is no answer", 22, stage.ask(QUERY_OFFSET, fields, null).getCode());
    }

    @SuppressWarnings("deprecation")
    private static void commit(Stage stage) throws Exception {
        String topic = stage.topic(1);
        MessageQueue queue = stage.queues(topic).get(0);
        Pushes.sendBatches(stage, topic, Stage.numbered("c-", 10));
        String group = stage.group("g");
        DefaultMQPullConsumer consumer = stage.pull(group);
        consumer.updateConsumeOffset(queue, 6);
        consumer.persist(queue);
        Check.until("offset 6 at the broker", 10, () -> committedNow(stage, group, queue) == 6,
                () -> committedNow(stage, group, queue));
        consumer.shutdown();
        Check.equal("offset that a new consumer reads", 6L, stage.pull(group).fetchConsumeOffset(queue, true));
        // An explicit update may go back: that is how operators replay.
        Map<String, String> back = fields(group, queue);
        back.put("commitOffset", "2");
        Check.equal("code of an explicit step back", 0, stage.ask(UPDATE_OFFSET, back, null).getCode());
        Check.equal("offset after the step back", 2L, committed(stage, group, queue));
    }

    private static long committedNow(Stage stage, String group, MessageQueue queue) {
        try {
            return committed(stage, group, queue);
        } catch (Exception error) {
            return -1;
        }
    }

    private static void groupsApart(Stage stage) throws Exception {
        String topic = stage.topic(3);
        Pushes.sendBatches(stage, topic, Stage.numbered("g-", 300));
        List<String> groups = List.of(stage.group("one"), stage.group("two"));
        for (int g = 0; g < 2; g++) {
            for (MessageQueue queue : stage.queues(topic)) {
                Map<String, String> fields = fields(groups.get(g), queue);
                fields.put("commitOffset", Integer.toString(10 * (g + 1) + queue.getQueueId()));
                Check.equal("code", 0, stage.ask(UPDATE_OFFSET, fields, null).getCode());
            }
        }
        for (int g = 0; g < 2; g++) {
            List<Long> offsets = new ArrayList<>();
            for (MessageQueue queue : stage.queues(topic)) {
                offsets.add(committed(stage, groups.get(g), queue));
            }
            long base = 10L * (g + 1);
            Check.equal("offsets of " + groups.get(g), List.of(base, base + 1, base + 2), offsets);
        }
    }
}
