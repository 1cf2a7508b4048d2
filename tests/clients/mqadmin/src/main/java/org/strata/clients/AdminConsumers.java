/**
 * mqadmin on those who are connected, and on how far they are.
 * Owns cases of consumerProgress, consumerConnection, producerConnection, producer and consumerStatus.
 */
package org.strata.clients;

import static org.strata.clients.Stage.BROKER;
import static org.strata.clients.Stage.message;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.CountDownLatch;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.common.message.MessageQueue;

final class AdminConsumers {
    static final String PROGRESS = "#Topic";
    private static final String GROUPS = "#Group";
    private static final int CONSUMER_OFFLINE = 206;
    private static final int NO_ROUTE = 17;
    private static final int SYSTEM_ERROR = 1;
    /** A client tells the broker how far it is this often; the default of 5 s would be most of a case's time. */
    private static final int PERSIST_MILLIS = 500;
    private static final int PROGRESS_SECONDS = 30;

    private AdminConsumers() {
    }

    static List<Case> cases() {
        return List.of(
                Case.of("consumer.progress", AdminConsumers::progressOfOneGroup),
                Case.of("consumer.lag", AdminConsumers::lag),
                Case.of("consumer.in_flight", AdminConsumers::inFlight),
                Case.of("consumer.progress_of_all", AdminConsumers::progressOfAll),
                Case.of("consumer.progress_offline", AdminConsumers::progressOffline),
                Case.of("consumer.connection", AdminConsumers::connection),
                Case.of("consumer.offline", AdminConsumers::offline),
                Case.of("consumer.status", AdminConsumers::status),
                Case.of("consumer.stacks", AdminConsumers::stacks),
                Case.of("producer.connection", AdminConsumers::producerConnection),
                Case.of("producer.list", AdminConsumers::producerList),
                Case.of("producer.list_address", AdminConsumers::producerListAddress));
    }

    /** Sends so many messages to one queue and waits until they can be read. */
    static void fill(Stage stage, MessageQueue queue, int count) throws Exception {
        long before = stage.puller().maxOffset(queue);
        for (int i = 0; i < count; i++) {
            stage.producer().send(message(queue.getTopic(), "m" + i), queue);
        }
        stage.waitStored(List.of(queue), before + count);
    }

    static DefaultMQPushConsumer consumer(Stage stage, String group, String topic) throws Exception {
        DefaultMQPushConsumer consumer = stage.push(group);
        consumer.setPersistConsumerOffsetInterval(PERSIST_MILLIS);
        consumer.subscribe(topic, "*");
        return consumer;
    }

    /** A started consumer that takes everything. */
    static DefaultMQPushConsumer taking(Stage stage, String group, String topic, Inbox inbox) throws Exception {
        DefaultMQPushConsumer consumer = consumer(stage, group, topic);
        consumer.registerMessageListener(inbox.taking());
        consumer.start();
        return consumer;
    }

    /** A started consumer that takes messages of one queue up to this offset and holds the next until the case ends. */
    static DefaultMQPushConsumer stuck(Stage stage, String group, String topic, long offset) throws Exception {
        DefaultMQPushConsumer consumer = consumer(stage, group, topic);
        consumer.setConsumeThreadMin(1);
        consumer.setConsumeThreadMax(1);
        CountDownLatch ending = new CountDownLatch(1);
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            if (messages.get(0).getQueueOffset() >= offset) {
                await(ending);
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        stage.atEnd(ending::countDown);
        return consumer;
    }

    private static void await(CountDownLatch ending) {
        try {
            ending.await();
        } catch (InterruptedException stopped) {
            Thread.currentThread().interrupt();
        }
    }

    /** `broker consumer difference` of each queue of the topic, as consumerProgress shows them for a group. */
    static Map<Integer, String> progress(String group, String topic) throws Exception {
        Map<Integer, String> found = new TreeMap<>();
        for (List<String> row : Tool.run("consumerProgress", "-g", group).rows(PROGRESS, topic)) {
            found.put(Integer.parseInt(row.get(2)), String.join(" ", row.subList(3, 6)));
        }
        return found;
    }

    static void waitProgress(String group, String topic, Map<Integer, String> expected) throws Exception {
        Tool.until("progress of " + group, PROGRESS_SECONDS, expected, () -> progress(group, topic));
    }

    private static void progressOfOneGroup(Stage stage) throws Exception {
        String topic = AdminTopics.topic(stage, "t", 2);
        String group = AdminGroups.group(stage, "g");
        List<MessageQueue> queues = stage.queues(topic);
        fill(stage, queues.get(0), 3);
        fill(stage, queues.get(1), 5);
        Inbox inbox = new Inbox();
        taking(stage, group, topic, inbox);
        inbox.waitFor(8);
        waitProgress(group, topic, Map.of(0, "3 3 0", 1, "5 5 0"));
        Printed shown = Tool.run("consumerProgress", "-g", group);
        List<String> row = shown.row(PROGRESS, topic, Tool.brokerName(), "1");
        Check.that("a time of the last message: " + row, row.get(7).matches("\\d{4}-\\d\\d-\\d\\d"));
        shown.says("Consume Diff Total: 0");
        String rate = shown.text().replaceAll("(?s).*Consume TPS: (\\S+).*", "$1");
        Check.that("a rate: " + rate, !rate.startsWith("-") && Double.parseDouble(rate) >= 0);
        Printed narrowed = Tool.run("consumerProgress", "-g", group, "-t", topic);
        Check.equal("rows with -t", 2, narrowed.table(PROGRESS).size());
    }

    private static void lag(Stage stage) throws Exception {
        String topic = AdminTopics.topic(stage, "t", 1);
        String group = AdminGroups.group(stage, "g");
        fill(stage, stage.queues(topic).get(0), 20);
        DefaultMQPushConsumer consumer = stuck(stage, group, topic, 6);
        waitProgress(group, topic, Map.of(0, "20 6 14"));
        Printed shown = Tool.run("consumerProgress", "-g", group, "-s", "true");
        List<String> row = shown.row(PROGRESS, topic);
        String clientId = consumer.getDefaultMQPushConsumerImpl().getmQClientFactory().getClientId();
        Check.equal("offsets, client, lag",
                List.of("20", "6", clientId.substring(0, clientId.indexOf('@')), "14"), row.subList(3, 7));
        shown.says("Consume Diff Total: 14");
        List<String> all = Tool.run("consumerProgress").row(GROUPS, group);
        Check.equal("clients", "1", all.get(1));
        Check.equal("kind", List.of("PUSH", "CLUSTERING"), all.subList(3, 5));
        Check.equal("lag among all groups", "14", all.get(6));
        fill(stage, stage.queues(topic).get(0), 2);
        waitProgress(group, topic, Map.of(0, "22 6 16"));
    }

    /** Messages that the consumer has fetched and not finished. */
    private static void inFlight(Stage stage) throws Exception {
        String topic = AdminTopics.topic(stage, "t", 1);
        String group = AdminGroups.group(stage, "g");
        fill(stage, stage.queues(topic).get(0), 10);
        stuck(stage, group, topic, 4);
        waitProgress(group, topic, Map.of(0, "10 4 6"));
        Printed shown = Tool.run("consumerProgress", "-g", group);
        Check.equal("in flight", "6", shown.row(PROGRESS, topic).get(6));
        shown.says("Consume Inflight Total: 6");
    }

    private static void progressOfAll(Stage stage) throws Exception {
        String topic = AdminTopics.topic(stage, "t", 1);
        String online = AdminGroups.group(stage, "online");
        fill(stage, stage.queues(topic).get(0), 4);
        Inbox inbox = new Inbox();
        taking(stage, online, topic, inbox);
        inbox.waitFor(4);
        waitProgress(online, topic, Map.of(0, "4 4 0"));
        List<String> row = Tool.run("consumerProgress").row(GROUPS, online);
        Check.equal("online", List.of("1", "V5_5_0", "PUSH", "CLUSTERING"), row.subList(1, 5));
        Check.equal("lag", "0", row.get(6));
    }

    /** A group without a client that once had one: its offsets stay and its lag grows. */
    private static void progressOffline(Stage stage) throws Exception {
        String topic = AdminTopics.topic(stage, "t", 1);
        String group = AdminGroups.group(stage, "g");
        MessageQueue queue = stage.queues(topic).get(0);
        fill(stage, queue, 4);
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = taking(stage, group, topic, inbox);
        inbox.waitFor(4);
        consumer.shutdown();
        fill(stage, queue, 3);
        waitProgress(group, topic, Map.of(0, "7 4 3"));
        Tool.run("consumerProgress", "-g", group).says("Consume Diff Total: 3");
        List<String> row = Tool.run("consumerProgress").row(GROUPS, group);
        Check.equal("clients and version", List.of("0", "OFFLINE"), row.subList(1, 3));
        Check.equal("lag", "3", row.get(row.size() - 1));
    }

    private static void connection(Stage stage) throws Exception {
        String topic = AdminTopics.topic(stage, "t", 1);
        String group = AdminGroups.group(stage, "g");
        DefaultMQPushConsumer consumer = stage.push(group);
        consumer.subscribe(topic, "red || blue");
        consumer.registerMessageListener(new Inbox().taking());
        consumer.start();
        Inbox.waitAssigned(topic, 1, consumer);
        String clientId = consumer.getDefaultMQPushConsumerImpl().getmQClientFactory().getClientId();
        for (String[] words : new String[][] {{"consumerConnection", "-g", group},
            {"consumerConnection", "-g", group, "-b", BROKER}}) {
            Printed shown = Tool.run(words);
            List<String> client = shown.row("#ClientId", clientId);
            Check.that("address " + client, client.get(1).matches("127\\.0\\.0\\.1:\\d+"));
            Check.equal("language and version", List.of("JAVA", "V5_5_0"), client.subList(2, 4));
            shown.says("ConsumeType: CONSUME_PASSIVELY").says("MessageModel: CLUSTERING")
                    .says("ConsumeFromWhere: CONSUME_FROM_FIRST_OFFSET");
            Check.that("subscriptions: " + shown.text(), shown.lines().stream()
                    .anyMatch(line -> line.startsWith(topic + " ") && line.endsWith(" red || blue")));
            Check.that("retry topic: " + shown.text(), shown.lines().stream()
                    .anyMatch(line -> line.startsWith("%RETRY%" + group + " ") && line.endsWith(" *")));
        }
    }

    private static void offline(Stage stage) throws Exception {
        String unknown = stage.name("none");
        Tool.attempt("consumerConnection", "-g", unknown).refused(NO_ROUTE, "%RETRY%" + unknown);
        Tool.attempt("consumerStatus", "-g", unknown).refused(NO_ROUTE, "%RETRY%" + unknown);
        Tool.attempt("consumerProgress", "-g", unknown).refused(NO_ROUTE, "%RETRY%" + unknown);
        String group = AdminGroups.group(stage, "g");
        Tool.attempt("consumerConnection", "-g", group, "-b", BROKER)
                .refused(CONSUMER_OFFLINE, group + "] not online");
    }

    /** What a consumer tells about itself reaches the tool through the broker. */
    private static void status(Stage stage) throws Exception {
        String topic = AdminTopics.topic(stage, "t", 1);
        String group = AdminGroups.group(stage, "g");
        fill(stage, stage.queues(topic).get(0), 5);
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = taking(stage, group, topic, inbox);
        inbox.waitFor(5);
        waitProgress(group, topic, Map.of(0, "5 5 0"));
        String clientId = consumer.getDefaultMQPushConsumerImpl().getmQClientFactory().getClientId();
        Printed listed = Tool.run("consumerStatus", "-g", group);
        List<String> row = listed.row("#Index", "1", clientId);
        Check.equal("version", "V5_5_0", row.get(2));
        listed.says("Same subscription in the same group of consumer").says("Rebalance OK");
        String file = Files.readString(Path.of(row.get(3)));
        Check.that("the file that is named: " + file, file.contains("#Consumer Properties#") && file.contains(topic));
        Printed one = Tool.run("consumerStatus", "-g", group, "-i", clientId);
        Check.equal("group", group, one.settings().get("consumerGroup"));
        Check.equal("type", "CONSUME_PASSIVELY", one.settings().get("PROP_CONSUME_TYPE"));
        String broker = Tool.brokerName();
        List<String> all = one.lines().stream().map(line -> line.replaceAll("\\s+", " ")).toList();
        Check.that("offset: " + all, all.contains(topic + " " + broker + " 0 5"));
        Check.that("queue: " + all, all.stream()
                .anyMatch(line -> line.startsWith(topic + " " + broker + " 0 ProcessQueueInfo [commitOffset=5, ")));
    }

    private static void stacks(Stage stage) throws Exception {
        String topic = AdminTopics.topic(stage, "t", 1);
        String group = AdminGroups.group(stage, "g");
        fill(stage, stage.queues(topic).get(0), 1);
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = taking(stage, group, topic, inbox);
        inbox.waitFor(1);
        String clientId = consumer.getDefaultMQPushConsumerImpl().getmQClientFactory().getClientId();
        Printed shown = Tool.run("consumerStatus", "-g", group, "-i", clientId, "-s", "true");
        shown.says("#Consumer jstack#").says("ConsumeMessageThread_" + group);
    }

    private static void producerConnection(Stage stage) throws Exception {
        String topic = AdminTopics.topic(stage, "t", 1);
        stage.producer().send(message(topic, "known"));
        String group = stage.producer().getProducerGroup();
        String clientId = stage.producer().getDefaultMQProducerImpl().getmQClientFactory().getClientId();
        Tool.until("the producer is known", PROGRESS_SECONDS, true,
                () -> Tool.run("producerConnection", "-g", group, "-t", topic).text().contains(clientId));
        Printed shown = Tool.run("producerConnection", "-g", group, "-t", topic);
        List<String> row = List.of(shown.lines().stream().filter(line -> line.contains(clientId)).findFirst()
                .orElseThrow().split("\\s+"));
        Check.equal("number and client", List.of("0001", clientId), row.subList(0, 2));
        Check.that("address " + row, row.get(2).matches("127\\.0\\.0\\.1:\\d+"));
        Check.equal("language and version", List.of("JAVA", "V5_5_0"), row.subList(3, 5));
        Tool.attempt("producerConnection", "-g", stage.name("none"), "-t", topic)
                .refused(SYSTEM_ERROR, "the producer group[" + stage.name("none") + "] not exist");
    }

    /** What `producer` prints about one group: client, address and so on. */
    private static String listed(Stage stage) throws Exception {
        String topic = AdminTopics.topic(stage, "t", 1);
        stage.producer().send(message(topic, "known"));
        String first = "producer group (" + stage.producer().getProducerGroup() + ") instance : ";
        Tool.until("the producer is listed", PROGRESS_SECONDS, true,
                () -> Tool.run("producer", "-b", BROKER).text().contains(first));
        return Tool.run("producer", "-b", BROKER).lines().stream().filter(line -> line.startsWith(first)).findFirst()
                .orElseThrow().substring(first.length());
    }

    private static void producerList(Stage stage) throws Exception {
        String line = listed(stage);
        String clientId = stage.producer().getDefaultMQProducerImpl().getmQClientFactory().getClientId();
        Check.that(line, line.startsWith("clientId=" + clientId + ",remoteIP="));
        Check.that(line, line.contains(" language=JAVA, version=513, lastUpdateTimestamp="));
        long time = Long.parseLong(line.replaceAll(".*lastUpdateTimestamp=", ""));
        Check.within("last heartbeat", System.currentTimeMillis() - 60_000, System.currentTimeMillis() + 1_000, time);
    }

    /** Two producers of one machine are told apart by the port. */
    private static void producerListAddress(Stage stage) throws Exception {
        String line = listed(stage);
        Check.that("address and port in: " + line, line.matches(".*remoteIP=/127\\.0\\.0\\.1:\\d+, .*"));
    }
}
