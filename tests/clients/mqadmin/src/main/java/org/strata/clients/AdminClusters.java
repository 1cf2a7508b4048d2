/**
 * mqadmin on two brokers behind two name servers, where a command may disturb others or must reach everyone.
 * Owns cases named cluster.*, which the runner gives a fresh topology.
 */
package org.strata.clients;

import static org.strata.clients.Stage.BROKER;
import static org.strata.clients.Stage.NAMESRV;
import static org.strata.clients.Stage.message;
import static org.strata.clients.Tool.CLUSTER;

import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.protocol.route.BrokerData;
import org.apache.rocketmq.remoting.protocol.route.QueueData;

final class AdminClusters {
    private static final int ROUTE_SECONDS = 60;
    private static final int LIMIT_SECONDS = 120;
    private static final int NO_ROUTE = 17;

    private AdminClusters() {
    }

    /** A closed broker is seen by everyone, so all parts are one case and run in the order of its text. */
    static List<Case> cases() {
        return List.of(new Case("cluster.two_brokers", LIMIT_SECONDS, stage -> {
            twoBrokers(stage);
            clean(stage);
            writePermission(stage);
        }));
    }

    /** Broker names and permissions of a topic's route, as one name server gives it; empty without a route. */
    private static Map<String, Integer> permissions(String namesrv, String topic) throws Exception {
        Map<String, Integer> found = new TreeMap<>();
        Printed printed = Tool.at(namesrv, "topicRoute", "-t", topic);
        if (printed.refusal().startsWith(NO_ROUTE + " ")) {
            return found;
        }
        for (QueueData queues : printed.succeeded().route().getQueueDatas()) {
            found.put(queues.getBrokerName(), queues.getPerm());
        }
        return found;
    }

    private static void waitPermissions(String topic, Map<String, Integer> expected) throws Exception {
        for (String namesrv : NAMESRV.split(";")) {
            Tool.until("permissions at " + namesrv, ROUTE_SECONDS, expected, () -> permissions(namesrv, topic));
        }
    }

    /** Names of all brokers, and the addresses of all masters. */
    private static Map<String, String> brokers() throws Exception {
        Map<String, String> found = new TreeMap<>();
        for (List<String> row : Tool.run("clusterList").table("#Cluster Name")) {
            found.put(row.get(1), row.get(3));
        }
        return found;
    }

    private static void twoBrokers(Stage stage) throws Exception {
        Map<String, String> brokers = brokers();
        Check.equal("brokers", Set.of("broker-a", "broker-b"), brokers.keySet());
        Check.equal("addresses", 2, new HashSet<>(brokers.values()).size());
        String topic = stage.name("t");
        Printed made = Tool.run("updateTopic", "-c", CLUSTER, "-t", topic, "-r", "2", "-w", "2");
        for (String address : brokers.values()) {
            made.says("create topic to " + address + " success.");
        }
        waitPermissions(topic, Map.of("broker-a", 6, "broker-b", 6));
        Set<String> listed = new TreeSet<>();
        for (BrokerData broker : Tool.run("topicRoute", "-t", topic).route().getBrokerDatas()) {
            listed.add(broker.getBrokerName() + " " + broker.getBrokerAddrs().get(0L));
        }
        Check.equal("route",
                Set.of("broker-a " + brokers.get("broker-a"), "broker-b " + brokers.get("broker-b")), listed);
        Check.equal("total", "[Total:, 2, 4, 4]", Tool.run("topicRoute", "-l", "-t", topic).lines().stream()
                .filter(line -> line.startsWith("Total:")).map(line -> List.of(line.split("\\s+"))).findFirst()
                .orElse(List.of()).toString());
        for (MessageQueue queue : stage.queues(topic)) {
            for (int i = 0; i < (queue.getBrokerName().equals("broker-a") ? 1 : 3); i++) {
                stage.producer().send(message(topic, "m" + i), queue);
            }
        }
        stage.stored(topic, 8);
        Set<List<String>> rows = new HashSet<>();
        for (List<String> row : Tool.run("topicStatus", "-t", topic).table("#Broker Name")) {
            rows.add(row.subList(0, 4));
        }
        Check.equal("status", Set.of(List.of("broker-a", "0", "0", "1"), List.of("broker-a", "1", "0", "1"),
                List.of("broker-b", "0", "0", "3"), List.of("broker-b", "1", "0", "3")), rows);
        String group = AdminGroups.group(stage, "g");
        Inbox inbox = new Inbox();
        AdminConsumers.taking(stage, group, topic, inbox);
        inbox.waitFor(8);
        Tool.until("progress on both", ROUTE_SECONDS, List.of("0", "0", "0", "0"), () -> Tool
                .run("consumerProgress", "-g", group).rows("#Topic", topic).stream().map(row -> row.get(5)).toList());
        Tool.run("updateTopicPerm", "-b", BROKER, "-t", topic, "-p", "4");
        waitPermissions(topic, Map.of("broker-a", 4, "broker-b", 6));
        Tool.run("deleteTopic", "-c", CLUSTER, "-t", topic);
        waitPermissions(topic, Map.of());
    }

    /** A broker is closed to producers at all name servers; readers still find it. */
    private static void writePermission(Stage stage) throws Exception {
        String topic = AdminTopics.topic(stage, "closed", 1);
        waitPermissions(topic, Map.of("broker-a", 6, "broker-b", 6));
        Printed wiped = Tool.run("wipeWritePerm", "-b", "broker-a");
        for (String namesrv : NAMESRV.split(";")) {
            String line = wiped.lines().stream().filter(each -> each.contains(namesrv)).findFirst().orElse("");
            String begin = "wipe write perm of broker[broker-a] in name server[" + namesrv + "] OK, ";
            Check.that("topics closed at " + namesrv + ": " + wiped.text(),
                    line.startsWith(begin) && Integer.parseInt(line.substring(begin.length())) > 0);
        }
        waitPermissions(topic, Map.of("broker-a", 4, "broker-b", 6));
        Check.equal("queues to read", 2, stage.queues(topic).size());
        for (int i = 0; i < 6; i++) {
            String used = stage.producer().send(message(topic, "m" + i)).getMessageQueue().getBrokerName();
            Check.equal("broker of a message", "broker-b", used);
        }
        Tool.run("addWritePerm", "-b", "broker-a").says("add write perm of broker[broker-a] in name server[");
        waitPermissions(topic, Map.of("broker-a", 6, "broker-b", 6));
        Tool.run("wipeWritePerm", "-b", "no-such-broker").says("] OK, 0");
        Tool.run("addWritePerm", "-b", "no-such-broker").says("] OK, 0");
    }

    /** Cleaning removes nothing that is in use. */
    private static void clean(Stage stage) throws Exception {
        String topic = AdminTopics.topic(stage, "cleaned", 1);
        MessageQueue queue = stage.queues(topic).get(0);
        AdminConsumers.fill(stage, queue, 5);
        for (String command : List.of("cleanExpiredCQ", "cleanUnusedTopic", "deleteExpiredCommitLog")) {
            Tool.run(command).says("success");
            Tool.run(command, "-b", BROKER).says("success");
            Tool.run(command, "-c", CLUSTER).says("success");
        }
        Check.equal("stored", Stage.sortedBodies(stage.stored(queue)), List.of("m0", "m1", "m2", "m3", "m4"));
        String gone = stage.name("gone");
        Tool.attempt("topicStatus", "-t", gone).refused(NO_ROUTE, gone);
    }
}
