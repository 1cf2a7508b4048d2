/**
 * mqadmin moves groups: to a time, an offset, the end, or to where another group is.
 * Owns cases of resetOffsetByTime, skipAccumulatedMessage and cloneGroupOffset, each with the offsets afterwards.
 */
package org.strata.clients;

import static org.strata.clients.Stage.BROKER;
import static org.strata.clients.Tool.CLUSTER;

import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.common.message.MessageQueue;

final class AdminOffsets {
    private static final String MOVED = "#brokerName";
    private static final int NO_GROUP = 26;
    private static final int NO_ROUTE = 17;
    /** A client that is told of new offsets waits 10 s before it goes on. */
    private static final int ONLINE_SECONDS = 100;
    private static final int PAUSE_MILLIS = 300;
    /** A client takes a new offset so many seconds after it was told. */
    private static final int TAKEN_SECONDS = 10;

    private AdminOffsets() {
    }

    static List<Case> cases() {
        return List.of(
                new Case("offset.reset_online", ONLINE_SECONDS, AdminOffsets::resetOnline),
                Case.of("offset.reset_online_shown", AdminOffsets::resetOnlineShown),
                Case.of("offset.reset_outlives_client", AdminOffsets::resetOutlivesClient),
                Case.of("offset.reset_to_ends", AdminOffsets::resetToEnds),
                Case.of("offset.reset_to_time", AdminOffsets::resetToTime),
                Case.of("offset.reset_without_force", AdminOffsets::resetWithoutForce),
                Case.of("offset.reset_queue", AdminOffsets::resetQueueOnly),
                Case.of("offset.reset_missing", AdminOffsets::resetMissing),
                Case.of("offset.skip", AdminOffsets::skip),
                Case.of("offset.clone", AdminOffsets::cloneOffsets));
    }

    /** Moves one queue of a group to an offset. */
    static void resetQueue(String group, String topic, int queue, long offset) throws Exception {
        Tool.run("resetOffsetByTime", "-g", group, "-t", topic, "-s", "-1", "-b", BROKER, "-q", Integer.toString(queue),
                "-o", Long.toString(offset)).says("reset consumer offset to " + offset);
    }

    /** Queue ids and offsets that the command says it has set. */
    private static Map<Integer, Long> moved(Printed printed) throws Exception {
        Map<Integer, Long> found = new TreeMap<>();
        for (List<String> row : printed.table(MOVED)) {
            Check.equal("broker", Tool.brokerName(), row.get(0));
            found.put(Integer.parseInt(row.get(1)), Long.parseLong(row.get(2)));
        }
        return found;
    }

    /** A topic with 4 messages in queue 0 and 6 in queue 1. */
    private static String filled(Stage stage) throws Exception {
        String topic = AdminTopics.topic(stage, "t", 2);
        fill(stage, topic);
        return topic;
    }

    private static void fill(Stage stage, String topic) throws Exception {
        List<MessageQueue> queues = stage.queues(topic);
        AdminConsumers.fill(stage, queues.get(0), 4);
        AdminConsumers.fill(stage, queues.get(1), 6);
    }

    /**
     * A group whose consumer came to the empty topic and left, before the topic was filled: consumerProgress refuses a
     * group that never had a consumer.
     */
    static String left(Stage stage, String topic) throws Exception {
        String group = AdminGroups.group(stage, "g");
        DefaultMQPushConsumer consumer = AdminConsumers.taking(stage, group, topic, new Inbox());
        Inbox.waitAssigned(topic, 2, consumer);
        Suite.ask("route %RETRY%" + group);
        consumer.shutdown();
        fill(stage, topic);
        return group;
    }

    /** A consumer at the end gets everything once more after its group was moved to the beginning. */
    private static void resetOnline(Stage stage) throws Exception {
        String topic = filled(stage);
        String group = AdminGroups.group(stage, "g");
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = AdminConsumers.taking(stage, group, topic, inbox);
        inbox.waitFor(10);
        AdminConsumers.waitProgress(group, topic, Map.of(0, "4 4 0", 1, "6 6 0"));
        Printed reset = Tool.run("resetOffsetByTime", "-g", group, "-t", topic, "-s", "0");
        reset.says("start reset consumer offset by specified, group[" + group + "], topic[" + topic
                + "], force[true], timestamp(string)[0], timestamp(long)[0]");
        Check.equal("offsets", Map.of(0, 0L, 1, 0L), moved(reset));
        inbox.waitFor(20);
        AdminConsumers.waitProgress(group, topic, Map.of(0, "4 4 0", 1, "6 6 0"));
        Check.equal("queue 0", List.of("m0", "m0", "m1", "m1", "m2", "m2", "m3", "m3"),
                inbox.bodiesByQueue().get(0).stream().sorted().toList());
        Check.equal("clients", List.of(0, 1), Inbox.assigned(consumer, topic));
    }

    /** Who asks for the progress right after the reset sees that it was heard. */
    private static void resetOnlineShown(Stage stage) throws Exception {
        String topic = AdminTopics.topic(stage, "t", 1);
        String group = AdminGroups.group(stage, "g");
        AdminConsumers.fill(stage, stage.queues(topic).get(0), 8);
        AdminConsumers.stuck(stage, group, topic, 5);
        AdminConsumers.waitProgress(group, topic, Map.of(0, "8 5 3"));
        long began = System.nanoTime();
        Printed reset = Tool.run("resetOffsetByTime", "-g", group, "-t", topic, "-s", "0");
        Check.equal("offsets", Map.of(0, 0L), moved(reset));
        // The client is stuck in a message and goes on telling its old offset, twice a second. Ten seconds after it
        // was told it takes the new one and consumes again, so that a slow machine asks less often.
        int seen = 0;
        while (seen < 10) {
            Map<Integer, String> progress = AdminConsumers.progress(group, topic);
            if (System.nanoTime() - began > TimeUnit.SECONDS.toNanos(TAKEN_SECONDS - 1)) {
                break;
            }
            Check.equal("progress after the reset", Map.of(0, "8 0 8"), progress);
            seen++;
            Thread.sleep(PAUSE_MILLIS);
        }
        Check.equal("asked in time", true, seen > 0);
    }

    /** A client that tells its old offset after the reset, and once more as it leaves, does not undo the reset. */
    private static void resetOutlivesClient(Stage stage) throws Exception {
        String topic = AdminTopics.topic(stage, "t", 1);
        String group = AdminGroups.group(stage, "g");
        AdminConsumers.fill(stage, stage.queues(topic).get(0), 8);
        DefaultMQPushConsumer consumer = AdminConsumers.stuck(stage, group, topic, 5);
        AdminConsumers.waitProgress(group, topic, Map.of(0, "8 5 3"));
        Tool.run("resetOffsetByTime", "-g", group, "-t", topic, "-s", "0");
        Thread.sleep(5 * PAUSE_MILLIS);
        consumer.shutdown();
        Check.equal("progress after the client's end", Map.of(0, "8 0 8"), AdminConsumers.progress(group, topic));
    }

    private static void resetToEnds(Stage stage) throws Exception {
        String topic = AdminTopics.topic(stage, "t", 2);
        String group = left(stage, topic);
        Printed end = Tool.run("resetOffsetByTime", "-g", group, "-t", topic, "-s", "now");
        end.says("timestamp(string)[now]");
        Check.equal("the end", Map.of(0, 4L, 1, 6L), moved(end));
        Check.equal("progress", Map.of(0, "4 4 0", 1, "6 6 0"), AdminConsumers.progress(group, topic));
        Printed beginning = Tool.run("resetOffsetByTime", "-g", group, "-t", topic, "-s", "0", "-c", CLUSTER);
        Check.equal("the beginning", Map.of(0, 0L, 1, 0L), moved(beginning));
        Check.equal("progress", Map.of(0, "4 0 4", 1, "6 0 6"), AdminConsumers.progress(group, topic));
        Tool.run("consumerProgress", "-g", group).says("Consume Diff Total: 10");
        Inbox inbox = new Inbox();
        AdminConsumers.taking(stage, group, topic, inbox);
        inbox.exactly(List.of("m0", "m1", "m2", "m3", "m0", "m1", "m2", "m3", "m4", "m5"));
    }

    private static void resetToTime(Stage stage) throws Exception {
        String topic = AdminTopics.topic(stage, "t", 2);
        String group = left(stage, topic);
        Thread.sleep(20);
        long between = System.currentTimeMillis();
        Thread.sleep(20);
        AdminConsumers.fill(stage, stage.queues(topic).get(1), 5);
        Printed reset = Tool.run("resetOffsetByTime", "-g", group, "-t", topic, "-s", Long.toString(between));
        Check.equal("offsets", Map.of(0, 4L, 1, 6L), moved(reset));
        Check.equal("progress", Map.of(0, "4 4 0", 1, "11 6 5"), AdminConsumers.progress(group, topic));
        String text = new java.text.SimpleDateFormat("yyyy-MM-dd#HH:mm:ss:SSS").format(new java.util.Date(between));
        Printed dated = Tool.run("resetOffsetByTime", "-g", group, "-t", topic, "-s", text);
        dated.says("timestamp(long)[" + between + "]");
        Check.equal("offsets by date", Map.of(0, 4L, 1, 6L), moved(dated));
    }

    /** The broker moves a group in both directions, with and without force. */
    private static void resetWithoutForce(Stage stage) throws Exception {
        String topic = AdminTopics.topic(stage, "t", 2);
        String group = left(stage, topic);
        resetQueue(group, topic, 0, 2);
        resetQueue(group, topic, 1, 3);
        Printed forward = Tool.run("resetOffsetByTime", "-g", group, "-t", topic, "-s", "now", "-f", "false");
        forward.says("force[false]");
        Check.equal("forward", Map.of(0, "4 4 0", 1, "6 6 0"), AdminConsumers.progress(group, topic));
        Tool.run("resetOffsetByTime", "-g", group, "-t", topic, "-s", "0", "-f", "false");
        Check.equal("back", Map.of(0, "4 0 4", 1, "6 0 6"), AdminConsumers.progress(group, topic));
    }

    private static void resetQueueOnly(Stage stage) throws Exception {
        String topic = AdminTopics.topic(stage, "t", 2);
        String group = left(stage, topic);
        Tool.run("resetOffsetByTime", "-g", group, "-t", topic, "-s", "now");
        resetQueue(group, topic, 1, 2);
        Check.equal("progress", Map.of(0, "4 4 0", 1, "6 2 4"), AdminConsumers.progress(group, topic));
        Inbox inbox = new Inbox();
        AdminConsumers.taking(stage, group, topic, inbox);
        inbox.exactly(List.of("m2", "m3", "m4", "m5"));
    }

    private static void resetMissing(Stage stage) throws Exception {
        String group = AdminGroups.group(stage, "g");
        Tool.attempt("resetOffsetByTime", "-g", group, "-t", stage.name("none"), "-s", "0")
                .refused(NO_ROUTE, stage.name("none"));
        String topic = AdminTopics.topic(stage, "t", 1);
        Tool.attempt("resetOffsetByTime", "-g", stage.name("none"), "-t", topic, "-s", "0")
                .refused(NO_GROUP, stage.name("none"));
    }

    private static void skip(Stage stage) throws Exception {
        String topic = AdminTopics.topic(stage, "t", 2);
        String group = left(stage, topic);
        resetQueue(group, topic, 0, 1);
        resetQueue(group, topic, 1, 1);
        Printed skipped = Tool.run("skipAccumulatedMessage", "-g", group, "-t", topic);
        Check.equal("offsets", Map.of(0, 4L, 1, 6L), moved(skipped));
        Check.equal("progress", Map.of(0, "4 4 0", 1, "6 6 0"), AdminConsumers.progress(group, topic));
    }

    private static void cloneOffsets(Stage stage) throws Exception {
        String topic = AdminTopics.topic(stage, "t", 2);
        String source = left(stage, topic);
        String target = stage.name("target");
        resetQueue(source, topic, 0, 3);
        resetQueue(source, topic, 1, 5);
        Tool.attempt("cloneGroupOffset", "-s", source, "-d", target, "-t", topic).refused(NO_GROUP, target);
        AdminGroups.group(stage, "target");
        Tool.run("cloneGroupOffset", "-s", source, "-d", target, "-t", topic)
                .says("clone group offset success. srcGroup[" + source + "], destGroup=[" + target + "]");
        List<MessageQueue> queues = stage.queues(topic);
        Check.equal("queue 0", 3L, Offsets.committed(stage, target, queues.get(0)));
        Check.equal("queue 1", 5L, Offsets.committed(stage, target, queues.get(1)));
    }
}
