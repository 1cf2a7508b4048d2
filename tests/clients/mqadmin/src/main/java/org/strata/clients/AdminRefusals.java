/**
 * The words of refusals as an operator reads them: one that greps for RocketMQ's finds them.
 * Owns one case that compares texts; codes are checked where the commands are.
 */
package org.strata.clients;

import static org.strata.clients.Stage.BROKER;
import static org.strata.clients.Tool.CLUSTER;

import java.util.ArrayList;
import java.util.List;

final class AdminRefusals {
    private AdminRefusals() {
    }

    static List<Case> cases() {
        return List.of(Case.of("refusal.texts", AdminRefusals::texts));
    }

    private static void texts(Stage stage) throws Exception {
        List<String> others = new ArrayList<>();
        String characters = " contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$";
        compare(others, "29 The specified topic: white space," + characters, "updateTopic", "-c", CLUSTER, "-t",
                "white space");
        compare(others, "29 The topic[SCHEDULE_TOPIC_XXXX] is conflict with system topic.", "updateTopic", "-c",
                CLUSTER, "-t", "SCHEDULE_TOPIC_XXXX");
        compare(others, "29 The topic[TBW102] is conflict with system topic.", "deleteTopic", "-c", CLUSTER, "-t",
                "TBW102");
        compare(others, "29 The specified group: white space," + characters, "updateSubGroup", "-c", CLUSTER, "-g",
                "white space");
        String topic = AdminTopics.topic(stage, "t", 2);
        String none = stage.name("none");
        compare(others, "26 Group " + none + " does not exist", "resetOffsetByTime", "-g", none, "-t", topic, "-s",
                "0");
        String group = AdminOffsets.left(stage, topic);
        AdminOffsets.resetQueue(group, topic, 0, 1);
        compare(others, "26 Group " + none + " not exist!", "cloneGroupOffset", "-s", group, "-d", none, "-t", topic);
        compare(others, "206 the consumer group[" + group + "] not online", "consumerConnection", "-g", group, "-b",
                BROKER);
        compare(others, "1 the producer group[" + none + "] not exist", "producerConnection", "-g", none, "-t", topic);
        compare(others, "17 No topic route info in name server for the topic: " + none, "topicRoute", "-t", none);
        Check.equal("texts that differ", List.of(), others);
    }

    private static void compare(List<String> others, String expected, String... words) throws Exception {
        String found = Tool.attempt(words).refusal();
        if (!found.equals(expected)) {
            others.add(words[0] + ": \"" + expected + "\" is \"" + found + "\"");
        }
    }
}
