/**
 * mqadmin on consumer groups: made, changed, shown, deleted.
 * Owns cases of updateSubGroup, updateSubGroupList, deleteSubGroup and getConsumerConfig.
 */
package org.strata.clients;

import static org.strata.clients.Stage.BROKER;
import static org.strata.clients.Stage.message;
import static org.strata.clients.Tool.CLUSTER;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;

final class AdminGroups {
    private static final int INVALID = 29;

    private AdminGroups() {
    }

    static List<Case> cases() {
        return List.of(
                Case.of("group.create", AdminGroups::create),
                Case.of("group.change", AdminGroups::change),
                Case.of("group.closed", AdminGroups::closed),
                Case.of("group.name_refused", AdminGroups::nameRefused),
                Case.of("group.delete", AdminGroups::delete),
                Case.of("group.delete_offsets", AdminGroups::deleteOffsets),
                Case.of("group.from_file", AdminGroups::fromFile));
    }

    /** Creates a group with the tool. */
    static String group(Stage stage, String suffix) throws Exception {
        String group = stage.name(suffix);
        Tool.run("updateSubGroup", "-c", CLUSTER, "-g", group);
        return group;
    }

    private static Map<String, String> settings(String group) throws Exception {
        return Tool.run("getConsumerConfig", "-g", group).settings();
    }

    private static void expect(String group, Map<String, String> expected) throws Exception {
        Map<String, String> found = settings(group);
        for (Map.Entry<String, String> each : expected.entrySet()) {
            Check.equal(each.getKey() + " of " + group, each.getValue(), found.get(each.getKey()));
        }
    }

    private static void create(Stage stage) throws Exception {
        String group = stage.name("g");
        Printed made = Tool.run("updateSubGroup", "-c", CLUSTER, "-g", group);
        made.says("create subscription group to " + BROKER + " success.");
        made.says("SubscriptionGroupConfig{groupName=" + group + ", consumeEnable=true, consumeFromMinEnable=false, "
                + "consumeBroadcastEnable=false, consumeMessageOrderly=false, retryQueueNums=1, retryMaxTimes=16, ");
        Printed shown = Tool.run("getConsumerConfig", "-g", group);
        shown.says("=" + CLUSTER + ":" + Tool.brokerName() + "=");
        expect(group, Map.of("groupName", group, "consumeEnable", "true", "consumeFromMinEnable", "false",
                "consumeBroadcastEnable", "false", "consumeMessageOrderly", "false", "retryQueueNums", "1",
                "retryMaxTimes", "16", "brokerId", "0", "whichBrokerWhenConsumeSlowly", "1"));
        expect(group, Map.of("notifyConsumerIdsChangedEnable", "true", "groupSysFlag", "0", "consumeTimeoutMinute",
                "15", "attributes", "{}", "groupRetryPolicy",
                "GroupRetryPolicy{type=CUSTOMIZED, exponentialRetryPolicy=null, customizedRetryPolicy=null}"));
    }

    private static void change(Stage stage) throws Exception {
        String group = group(stage, "g");
        Printed changed = Tool.run("updateSubGroup", "-b", BROKER, "-g", group, "-s", "false", "-m", "true", "-d",
                "true", "-o", "true", "-q", "2", "-r", "5", "-i", "3", "-w", "4", "-a", "false");
        changed.says("create subscription group to " + BROKER + " success.");
        expect(group, Map.of("consumeEnable", "false", "consumeFromMinEnable", "true", "consumeBroadcastEnable", "true",
                "consumeMessageOrderly", "true", "retryQueueNums", "2", "retryMaxTimes", "5", "brokerId", "3",
                "whichBrokerWhenConsumeSlowly", "4", "notifyConsumerIdsChangedEnable", "false"));
        Tool.run("updateSubGroup", "-b", BROKER, "-g", group, "-s", "true", "-p",
                "{\"type\":\"EXPONENTIAL\",\"exponentialRetryPolicy\":"
                        + "{\"initial\":2000,\"max\":60000,\"multiplier\":3}}");
        expect(group, Map.of("consumeEnable", "true", "retryMaxTimes", "16", "groupRetryPolicy",
                "GroupRetryPolicy{type=EXPONENTIAL, exponentialRetryPolicy=ExponentialRetryPolicy{initial=2000, "
                        + "max=60000, multiplier=3}, customizedRetryPolicy=null}"));
    }

    /** A group that may not consume gets nothing, and everything once it may. */
    private static void closed(Stage stage) throws Exception {
        String topic = AdminTopics.topic(stage, "t", 1);
        String group = stage.name("g");
        Tool.run("updateSubGroup", "-c", CLUSTER, "-g", group, "-s", "false");
        stage.producer().send(message(topic, "kept"));
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = stage.push(group);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener(inbox.taking());
        consumer.start();
        Inbox.waitAssigned(topic, 1, consumer);
        Check.never("a delivery to a closed group", 2_000, () -> inbox.size() > 0, inbox::bodies);
        Tool.run("updateSubGroup", "-c", CLUSTER, "-g", group, "-s", "true");
        inbox.exactly(List.of("kept"));
    }

    private static void nameRefused(Stage stage) throws Exception {
        Tool.attempt("updateSubGroup", "-c", CLUSTER, "-g", "white space").refused(INVALID, "illegal characters");
    }

    private static void delete(Stage stage) throws Exception {
        String group = group(stage, "g");
        String other = stage.name("other");
        Tool.run("updateSubGroup", "-c", CLUSTER, "-g", other, "-r", "5");
        Tool.run("deleteSubGroup", "-c", CLUSTER, "-g", group, "-r", "true").says("delete subscription group [" + group
                + "] from broker [" + BROKER + "] in cluster [" + CLUSTER + "] success.");
        Check.equal("settings of a deleted group", Map.of(), settings(group));
        Check.equal("retries of the other", "5", settings(other).get("retryMaxTimes"));
        Tool.run("deleteSubGroup", "-b", BROKER, "-g", other)
                .says("delete subscription group [" + other + "] from broker [" + BROKER + "] success.");
        // Without -r the reference makes the group anew as soon as it is asked for, with the usual settings.
        Check.that("the other is gone", !"5".equals(settings(other).get("retryMaxTimes")));
        Tool.run("deleteSubGroup", "-b", BROKER, "-g", stage.name("none")).says("success.");
    }

    /** Offsets of a deleted group go with -r only; a group made again finds those that stayed. */
    private static void deleteOffsets(Stage stage) throws Exception {
        String topic = AdminTopics.topic(stage, "t", 1);
        for (int i = 0; i < 5; i++) {
            stage.producer().send(message(topic, "m" + i));
        }
        stage.stored(topic, 5);
        String kept = group(stage, "kept");
        String gone = group(stage, "gone");
        for (String group : List.of(kept, gone)) {
            AdminOffsets.resetQueue(group, topic, 0, 3);
        }
        Tool.run("deleteSubGroup", "-c", CLUSTER, "-g", kept, "-r", "false");
        Tool.run("deleteSubGroup", "-c", CLUSTER, "-g", gone, "-r", "true");
        List<String> groups = Tool.run("topicList", "-c").rows("#Cluster Name", CLUSTER, topic).stream()
                .filter(row -> row.size() > 2).map(row -> row.get(2)).toList();
        Check.equal("groups of the topic", List.of(kept), groups);
        group(stage, "kept");
        Check.equal("offset of the group made again", 3L, Offsets.committed(stage, kept, stage.queues(topic).get(0)));
    }

    private static void fromFile(Stage stage) throws Exception {
        String one = stage.name("one");
        String two = stage.name("two");
        Path file = Path.of(stage.name("groups.json")).toAbsolutePath();
        Files.writeString(file, "[{\"groupName\":\"" + one + "\",\"consumeEnable\":true,\"retryMaxTimes\":3},"
                + "{\"groupName\":\"" + two + "\",\"consumeEnable\":false}]");
        Tool.run("updateSubGroupList", "-b", BROKER, "-f", file.toString())
                .says("submit batch of group config to " + BROKER + " success");
        expect(one, Map.of("consumeEnable", "true", "retryMaxTimes", "3", "retryQueueNums", "1"));
        expect(two, Map.of("consumeEnable", "false", "retryMaxTimes", "16"));
    }
}
