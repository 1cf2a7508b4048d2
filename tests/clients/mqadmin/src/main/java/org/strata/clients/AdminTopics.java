/**
 * mqadmin on topics: made, listed, shown, changed, deleted.
 * Owns cases of the commands updateTopic, updateTopicList, updateTopicPerm, updateOrderConf, deleteTopic and topic*.
 */
package org.strata.clients;

import static org.strata.clients.Stage.BROKER;
import static org.strata.clients.Stage.message;
import static org.strata.clients.Tool.CLUSTER;

import java.nio.file.Files;
import java.nio.file.Path;
import java.time.LocalDateTime;
import java.time.format.DateTimeFormatter;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.IntStream;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.protocol.route.QueueData;
import org.apache.rocketmq.remoting.protocol.route.TopicRouteData;

final class AdminTopics {
    static final String STATUS = "#Broker Name";
    private static final int ROUTE_SECONDS = 40;
    /** The client's own code: no queue of the topic may be written to. */
    private static final int NOWHERE_TO_SEND = 10005;
    private static final int NO_ROUTE = 17;
    private static final int INVALID = 29;
    private static final int NOT_FOUND = 22;
    private static final DateTimeFormatter TIME = DateTimeFormatter.ofPattern("yyyy-MM-dd HH:mm:ss,SSS");

    private AdminTopics() {
    }

    static List<Case> cases() {
        return List.of(
                Case.of("topic.create", AdminTopics::create),
                Case.of("topic.queue_numbers", AdminTopics::queueNumbers),
                Case.of("topic.of_one_broker", AdminTopics::ofOneBroker),
                Case.of("topic.names_refused", AdminTopics::namesRefused),
                Case.of("topic.system_topics_kept", AdminTopics::systemTopicsKept),
                Case.of("topic.unknown_cluster", AdminTopics::unknownCluster),
                Case.of("topic.ordered", AdminTopics::ordered),
                Case.of("topic.order_configuration", AdminTopics::orderConfiguration),
                Case.of("topic.attributes", AdminTopics::attributes),
                Case.of("topic.attributes_refused", AdminTopics::attributesRefused),
                Case.of("topic.permission", AdminTopics::permission),
                Case.of("topic.list", AdminTopics::list),
                Case.of("topic.status", AdminTopics::status),
                Case.of("topic.missing", AdminTopics::missing),
                Case.of("topic.delete", AdminTopics::delete),
                Case.of("topic.delete_and_create", AdminTopics::deleteAndCreate),
                Case.of("topic.from_file", AdminTopics::fromFile),
                Case.of("topic.allocate", AdminTopics::allocate));
    }

    /** Creates a topic with the tool and waits until all name servers list it. */
    static String topic(Stage stage, String suffix, int queues) throws Exception {
        String topic = stage.name(suffix);
        String count = Integer.toString(queues);
        Tool.run("updateTopic", "-c", CLUSTER, "-t", topic, "-r", count, "-w", count);
        Suite.ask("route " + topic);
        return topic;
    }

    private static String shape(String topic) throws Exception {
        QueueData queues = Tool.run("topicRoute", "-t", topic).route().getQueueDatas().get(0);
        return queues.getReadQueueNums() + " " + queues.getWriteQueueNums() + " " + queues.getPerm();
    }

    private static void waitRoute(String topic, int reads, int writes, int permission) throws Exception {
        Tool.until("route of " + topic, ROUTE_SECONDS, reads + " " + writes + " " + permission, () -> shape(topic));
    }

    private static void waitNoRoute(String topic) throws Exception {
        Tool.until("no route of " + topic, ROUTE_SECONDS, true,
                () -> Tool.attempt("topicRoute", "-t", topic).refusal().startsWith(NO_ROUTE + " "));
    }

    /** Queue id and `min max` of each row of topicStatus. */
    static Map<Integer, String> offsets(String topic) throws Exception {
        Map<Integer, String> found = new TreeMap<>();
        for (List<String> row : Tool.run("topicStatus", "-t", topic).table(STATUS)) {
            found.put(Integer.parseInt(row.get(1)), row.get(2) + " " + row.get(3));
        }
        return found;
    }

    private static void create(Stage stage) throws Exception {
        String topic = stage.name("t");
        Printed made = Tool.run("updateTopic", "-c", CLUSTER, "-t", topic, "-r", "3", "-w", "3");
        made.says("create topic to " + BROKER + " success.");
        made.says("TopicConfig [topicName=" + topic + ", readQueueNums=3, writeQueueNums=3, perm=RW-, "
                + "topicFilterType=SINGLE_TAG, topicSysFlag=0, order=false, attributes={}]");
        waitRoute(topic, 3, 3, 6);
        TopicRouteData route = Tool.run("topicRoute", "-t", topic).route();
        String broker = Tool.brokerName();
        Check.equal("broker of the queues", broker, route.getQueueDatas().get(0).getBrokerName());
        Check.equal("brokers", 1, route.getBrokerDatas().size());
        Check.equal("cluster", CLUSTER, route.getBrokerDatas().get(0).getCluster());
        Check.equal("name", broker, route.getBrokerDatas().get(0).getBrokerName());
        Check.equal("addresses", Map.of(0L, BROKER), Map.copyOf(route.getBrokerDatas().get(0).getBrokerAddrs()));
        Printed listed = Tool.run("topicRoute", "-l", "-t", topic);
        Check.equal("route as a table", List.of(CLUSTER, broker, "{0=" + BROKER + "}", "3", "3", "6"),
                listed.row("#ClusterName", CLUSTER));
        Check.equal("queues", Map.of(0, "0 0", 1, "0 0", 2, "0 0"), offsets(topic));
        Check.equal("clusters", List.of(CLUSTER), Tool.run("topicClusterList", "-t", topic).lines());
    }

    /** Queues are added to a topic that has messages; then some are left to readers only. */
    private static void queueNumbers(Stage stage) throws Exception {
        String topic = topic(stage, "t", 2);
        stage.producer().send(message(topic, "before"), stage.queues(topic).get(1));
        stage.stored(topic, 1);
        Tool.run("updateTopic", "-c", CLUSTER, "-t", topic, "-r", "5", "-w", "4")
                .says("readQueueNums=5, writeQueueNums=4");
        waitRoute(topic, 5, 4, 6);
        Check.equal("queues", Map.of(0, "0 0", 1, "0 1", 2, "0 0", 3, "0 0", 4, "0 0"), offsets(topic));
        Tool.until("queues to read", ROUTE_SECONDS, 5, () -> stage.queues(topic).size());
        Tool.run("updateTopic", "-c", CLUSTER, "-t", topic, "-r", "5", "-w", "2");
        waitRoute(topic, 5, 2, 6);
        Check.equal("queues to read or write", 5, offsets(topic).size());
        Check.equal("stored", List.of("before"), Stage.sortedBodies(stage.stored(topic, 1)));
    }

    private static void ofOneBroker(Stage stage) throws Exception {
        String topic = stage.name("t");
        Printed made = Tool.run("updateTopic", "-b", BROKER, "-t", topic, "-r", "1", "-w", "2", "-p", "2");
        made.says("create topic to " + BROKER + " success.").says("perm=-W-");
        waitRoute(topic, 1, 2, 2);
    }

    private static void namesRefused(Stage stage) throws Exception {
        Tool.attempt("updateTopic", "-c", CLUSTER, "-t", "white space").refused(INVALID, "illegal characters");
        Tool.attempt("updateTopic", "-c", CLUSTER, "-t", "SCHEDULE_TOPIC_XXXX")
                .refused(INVALID, "topic[SCHEDULE_TOPIC_XXXX] is conflict with system topic.");
        Tool.attempt("updateTopic", "-c", CLUSTER, "-t", "t".repeat(200)).refused(INVALID, "longer than");
    }

    private static void systemTopicsKept(Stage stage) throws Exception {
        Tool.attempt("deleteTopic", "-c", CLUSTER, "-t", "TBW102").refused(INVALID, "[TBW102] is conflict with system");
        Tool.run("topicRoute", "-t", "TBW102");
    }

    private static void unknownCluster(Stage stage) throws Exception {
        String topic = stage.name("t");
        String hint = "[error] Make sure the specified clusterName exists";
        Tool.attempt("updateTopic", "-c", "no-such-cluster", "-t", topic).says(hint);
        Tool.attempt("topicRoute", "-t", topic).refused(NO_ROUTE, topic);
        String kept = topic(stage, "kept", 1);
        Tool.attempt("deleteTopic", "-c", "no-such-cluster", "-t", kept).says(hint);
        Check.equal("queues of the broker", Map.of(0, "0 0"), offsets(kept));
    }

    /** An ordered topic's queue numbers are kept by the name servers and are part of its route. */
    private static void ordered(Stage stage) throws Exception {
        String topic = stage.name("t");
        String setting = Tool.brokerName() + ":5";
        // The tool prints the name server's refusal when the topic has no such setting yet, and goes on.
        Tool.attempt("updateTopic", "-b", BROKER, "-t", topic, "-r", "2", "-w", "5", "-o", "true")
                .says("set broker orderConf. isOrder=true, orderConf=[" + setting + "]")
                .says("create topic to " + BROKER + " success.").says("order=true");
        waitRoute(topic, 2, 5, 6);
        Tool.run("updateOrderConf", "-m", "get", "-t", topic).says("orderConf=[" + setting + "]");
    }

    private static void orderConfiguration(Stage stage) throws Exception {
        String topic = topic(stage, "t", 4);
        String setting = Tool.brokerName() + ":3";
        Tool.run("updateOrderConf", "-m", "put", "-t", topic, "-v", setting)
                .says("update orderConf success. topic=[" + topic + "], orderConf=[" + setting + "]");
        Tool.run("updateOrderConf", "-m", "get", "-t", topic)
                .says("get orderConf success. topic=[" + topic + "], orderConf=[" + setting + "]");
        Tool.run("updateOrderConf", "-m", "delete", "-t", topic).says("delete orderConf success. topic=[" + topic);
        Tool.attempt("updateOrderConf", "-m", "get", "-t", topic)
                .refused(NOT_FOUND, "No config item, Namespace: ORDER_TOPIC_CONFIG Key: " + topic);
    }

    private static void attributes(Stage stage) throws Exception {
        String topic = stage.name("t");
        Tool.run("updateTopic", "-c", CLUSTER, "-t", topic, "-a", "+message.type=FIFO")
                .says("attributes={+message.type=FIFO}");
        waitRoute(topic, 8, 8, 6);
        Map<?, ?> kept = AdminBrokers.exported(stage, "topicConfigTable", topic);
        Check.equal("attributes kept", Map.of("message.type", "FIFO"), kept.get("attributes"));
    }

    private static void attributesRefused(Stage stage) throws Exception {
        String topic = stage.name("t");
        Printed odd = Tool.attempt("updateTopic", "-c", CLUSTER, "-t", topic, "-a", "+no.such=1");
        Check.that("an unknown attribute must be refused: " + odd.text() + odd.errors(), !odd.refusal().isEmpty());
        Tool.attempt("topicRoute", "-t", topic).refused(NO_ROUTE, topic);
        Printed value = Tool.attempt("updateTopic", "-c", CLUSTER, "-t", topic, "-a", "+message.type=NONE");
        Check.that("an unknown value must be refused: " + value.text() + value.errors(), !value.refusal().isEmpty());
    }

    private static void permission(Stage stage) throws Exception {
        String topic = topic(stage, "t", 1);
        MessageQueue queue = stage.queues(topic).get(0);
        stage.producer().send(message(topic, "first"), queue);
        Tool.run("updateTopicPerm", "-c", CLUSTER, "-t", topic, "-p", "4")
                .says("update topic perm from 6 to 4 in " + BROKER + " success.");
        waitRoute(topic, 1, 1, 4);
        // A producer that knew the topic before may go on for a while.
        DefaultMQProducer fresh = stage.started(new DefaultMQProducer(stage.name("fresh")));
        int code = Check.codeOf("a send to a topic without write permission",
                () -> fresh.send(message(topic, "refused")));
        Check.equal("code of the send", NOWHERE_TO_SEND, code);
        Check.equal("stored", List.of("first"), Stage.sortedBodies(stage.stored(topic, 1)));
        Printed back = Tool.run("updateTopicPerm", "-b", BROKER, "-t", topic, "-p", "6");
        back.says("update topic perm from 4 to 6 in " + BROKER + " success.");
        back.says("TopicConfig [topicName=" + topic + ", readQueueNums=1, writeQueueNums=1, perm=RW-");
        waitRoute(topic, 1, 1, 6);
        stage.producer().send(message(topic, "second"), queue);
        Check.equal("stored", List.of("first", "second"), Stage.sortedBodies(stage.stored(topic, 2)));
    }

    private static void list(Stage stage) throws Exception {
        String used = topic(stage, "used", 1);
        String idle = topic(stage, "idle", 1);
        String group = AdminGroups.group(stage, "g");
        Tool.run("resetOffsetByTime", "-g", group, "-t", used, "-s", "0");
        List<String> all = Tool.run("topicList").lines();
        Check.that("topicList lacks one: " + all, all.containsAll(List.of(used, idle, "TBW102", "SELF_TEST_TOPIC")));
        Printed groups = Tool.run("topicList", "-c");
        Check.equal("a topic with a group", List.of(CLUSTER, used, group), groups.row("#Cluster Name", CLUSTER, used));
        Check.equal("a topic without", List.of(CLUSTER, idle), groups.row("#Cluster Name", CLUSTER, idle));
    }

    private static void status(Stage stage) throws Exception {
        String topic = topic(stage, "t", 3);
        List<MessageQueue> queues = stage.queues(topic);
        LocalDateTime before = LocalDateTime.now().minusSeconds(1);
        for (int count : new int[] {0, 2, 5}) {
            MessageQueue queue = queues.get(List.of(0, 2, 5).indexOf(count));
            for (int i = 0; i < count; i++) {
                stage.producer().send(message(topic, "m" + i), queue);
            }
        }
        stage.stored(topic, 7);
        Printed status = Tool.run("topicStatus", "-t", topic, "-c", CLUSTER);
        String broker = Tool.brokerName();
        Check.equal("a queue without messages", List.of(broker, "0", "0", "0"), status.row(STATUS, broker, "0"));
        for (int queue : new int[] {1, 2}) {
            List<String> row = status.row(STATUS, broker, Integer.toString(queue));
            Check.equal("offsets of " + queue, List.of("0", queue == 1 ? "2" : "5"), row.subList(2, 4));
            LocalDateTime time = LocalDateTime.parse(row.get(4) + " " + row.get(5), TIME);
            Check.that("last update " + time, time.isAfter(before));
            Check.that("last update " + time, time.isBefore(LocalDateTime.now().plusSeconds(1)));
        }
        Check.that("a rate: " + status.settings(),
                Double.parseDouble(status.text().replaceAll("(?s).*Topic Put TPS: (\\S+).*", "$1")) >= 0);
    }

    private static void missing(Stage stage) throws Exception {
        String topic = stage.name("t");
        for (String command : List.of("topicRoute", "topicStatus", "topicClusterList")) {
            Tool.attempt(command, "-t", topic)
                    .refused(NO_ROUTE, "No topic route info in name server for the topic: " + topic);
        }
        Tool.attempt("updateTopicPerm", "-c", CLUSTER, "-t", topic, "-p", "4").refused(NO_ROUTE, topic);
        Tool.run("deleteTopic", "-c", CLUSTER, "-t", topic)
                .says("delete topic [" + topic + "] from NameServer success.");
    }

    private static void delete(Stage stage) throws Exception {
        String topic = topic(stage, "t", 2);
        String other = topic(stage, "other", 1);
        stage.producer().send(message(topic, "gone"));
        stage.stored(topic, 1);
        Tool.run("deleteTopic", "-c", CLUSTER, "-t", topic)
                .says("delete topic [" + topic + "] from cluster [" + CLUSTER + "] success.")
                .says("delete topic [" + topic + "] from NameServer success.");
        waitNoRoute(topic);
        Tool.attempt("topicRoute", "-t", topic).refused(NO_ROUTE, topic);
        List<String> all = Tool.run("topicList").lines();
        Check.that("topicList: " + all, !all.contains(topic) && all.contains(other));
    }

    /** A topic that was deleted and made again begins at 0 and shows nothing of the old one. */
    private static void deleteAndCreate(Stage stage) throws Exception {
        String topic = topic(stage, "t", 1);
        for (int i = 0; i < 5; i++) {
            stage.producer().send(message(topic, "old" + i));
        }
        stage.stored(topic, 5);
        Tool.run("deleteTopic", "-c", CLUSTER, "-t", topic);
        waitNoRoute(topic);
        topic(stage, "t", 1);
        Check.equal("offsets of the new topic", Map.of(0, "0 0"), offsets(topic));
        DefaultMQProducer fresh = stage.started(new DefaultMQProducer(stage.name("fresh")));
        fresh.send(message(topic, "new"));
        Check.equal("stored", List.of("new"), Stage.sortedBodies(stage.stored(topic, 1)));
        Check.equal("offsets", Map.of(0, "0 1"), offsets(topic));
    }

    private static void fromFile(Stage stage) throws Exception {
        String one = stage.name("one");
        String two = stage.name("two");
        Path file = Path.of(stage.name("topics.json")).toAbsolutePath();
        Files.writeString(file, "[{\"topicName\":\"" + one + "\",\"readQueueNums\":2,\"writeQueueNums\":2,\"perm\":6},"
                + "{\"topicName\":\"" + two + "\",\"readQueueNums\":1,\"writeQueueNums\":1,\"perm\":4}]");
        Tool.run("updateTopicList", "-b", BROKER, "-f", file.toString())
                .says("submit batch of topic config to " + BROKER + " success");
        waitRoute(one, 2, 2, 6);
        waitRoute(two, 1, 1, 4);
    }

    private static void allocate(Stage stage) throws Exception {
        String topic = topic(stage, "t", 4);
        String text = Tool.run("allocateMQ", "-t", topic, "-i", "10.0.0.1,10.0.0.2,10.0.0.3").text();
        IntStream.range(0, 4).forEach(queue -> checkOnce(text, queue));
        for (String address : List.of("10.0.0.1", "10.0.0.2", "10.0.0.3")) {
            Check.that(address + " has queues: " + text, text.contains("\"" + address + "\":[{\"brokerName\":"));
        }
        Tool.attempt("allocateMQ", "-t", stage.name("none"), "-i", "10.0.0.1").refused(NO_ROUTE, stage.name("none"));
    }

    private static void checkOnce(String text, int queue) {
        if (text.split("\"queueId\":" + queue + ",", -1).length != 2) {
            throw new IllegalStateException("queue " + queue + " is not allocated once: " + text);
        }
    }
}
