/**
 * mqadmin finds, prints, sends and hands over messages.
 * Owns cases of queryMsgBy*, printMsg*, consumeMessage, sendMessage, sendMsgStatus and checkMsgSendRT.
 */
package org.strata.clients;

import static org.strata.clients.Stage.BROKER;
import static org.strata.clients.Stage.message;

import java.net.InetSocketAddress;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

final class AdminMessages {
    private static final int NO_MESSAGE = 208;
    private static final String SENT = "#Broker Name";
    private static final int INDEX_SECONDS = 20;

    private AdminMessages() {
    }

    static List<Case> cases() {
        return List.of(
                Case.of("message.by_id", AdminMessages::byId),
                Case.of("message.by_key", AdminMessages::byKey),
                Case.of("message.by_unique_key", AdminMessages::byUniqueKey),
                Case.of("message.by_offset", AdminMessages::byOffset),
                Case.of("message.missing", AdminMessages::missing),
                Case.of("message.who_has_it", AdminMessages::whoHasIt),
                Case.of("message.hand_over", AdminMessages::handOver),
                Case.of("message.resend", AdminMessages::resend),
                Case.of("message.print", AdminMessages::print),
                Case.of("message.print_queue", AdminMessages::printQueue),
                Case.of("message.consume", AdminMessages::consume),
                Case.of("message.send", AdminMessages::send),
                Case.of("message.send_creates_topic", AdminMessages::sendCreatesTopic),
                Case.of("message.send_status", AdminMessages::sendStatus),
                Case.of("message.send_times", AdminMessages::sendTimes));
    }

    private static SendResult sent(Stage stage, MessageQueue queue, String body, String tag, String keys)
            throws Exception {
        Message message = message(queue.getTopic(), body);
        message.setTags(tag);
        message.setKeys(keys);
        SendResult sent = stage.producer().send(message, queue);
        stage.waitStored(List.of(queue), sent.getQueueOffset() + 1);
        return sent;
    }

    /** Checks each cell that the tool prints about one message, and the file with its body. */
    private static void checkDetail(Printed printed, MessageExt stored, String offsetId) throws Exception {
        Map<String, String> cells = new TreeMap<>();
        for (String line : printed.lines()) {
            int colon = line.indexOf(':');
            if (colon > 0) {
                cells.putIfAbsent(line.substring(0, colon), line.substring(colon + 1).strip());
            }
        }
        if (offsetId != null) {
            Check.equal("OffsetID", offsetId, cells.get("OffsetID"));
        }
        Check.equal("Topic", stored.getTopic(), cells.get("Topic"));
        Check.equal("Tags", "[" + stored.getTags() + "]", cells.get("Tags"));
        Check.equal("Keys", "[" + stored.getKeys() + "]", cells.get("Keys"));
        Check.equal("Queue ID", Integer.toString(stored.getQueueId()), cells.get("Queue ID"));
        Check.equal("Queue Offset", Long.toString(stored.getQueueOffset()), cells.get("Queue Offset"));
        Check.equal("CommitLog Offset", Long.toString(stored.getCommitLogOffset()), cells.get("CommitLog Offset"));
        Check.equal("Reconsume Times", "0", cells.get("Reconsume Times"));
        Check.equal("Born Timestamp", date(stored.getBornTimestamp()), cells.get("Born Timestamp"));
        Check.equal("Store Timestamp", date(stored.getStoreTimestamp()), cells.get("Store Timestamp"));
        Check.equal("Born Host", address(stored.getBornHost()), cells.get("Born Host"));
        Check.equal("Store Host", BROKER, cells.get("Store Host"));
        Check.equal("System Flag", "0", cells.get("System Flag"));
        String properties = cells.get("Properties");
        for (String part : List.of("KEYS=" + stored.getKeys(), "TAGS=" + stored.getTags(),
                "UNIQ_KEY=" + stored.getMsgId(), "MSG_REGION=DefaultRegion", "TRACE_ON=true",
                "CLUSTER=" + Tool.CLUSTER)) {
            Check.that(part + " in " + properties, properties.contains(part));
        }
        // The tool writes outside of its working folder, and nobody else would remove it.
        Path file = Path.of(cells.get("Message Body Path"));
        Check.equal("body", Stage.body(stored), Files.readString(file));
        Files.delete(file);
    }

    private static String date(long millis) {
        return new java.text.SimpleDateFormat("yyyy-MM-dd HH:mm:ss,SSS").format(new java.util.Date(millis));
    }

    private static String address(java.net.SocketAddress address) {
        InetSocketAddress host = (InetSocketAddress) address;
        return host.getAddress().getHostAddress() + ":" + host.getPort();
    }

    /** A topic with 3 messages of which the second is looked for. */
    private record Found(MessageQueue queue, SendResult sent, MessageExt stored) {
        static Found of(Stage stage) throws Exception {
            MessageQueue queue = stage.queues(AdminTopics.topic(stage, "t", 2)).get(1);
            AdminMessages.sent(stage, queue, "before", "TagB", "key-b");
            SendResult sent = AdminMessages.sent(stage, queue, "the one", "TagA", "key-a");
            AdminMessages.sent(stage, queue, "after", "TagB", "key-b");
            return new Found(queue, sent, stage.stored(queue).get(1));
        }
    }

    private static void byId(Stage stage) throws Exception {
        Found found = Found.of(stage);
        String id = found.sent.getOffsetMsgId();
        Printed printed = Tool.run("queryMsgById", "-t", found.queue.getTopic(), "-i", id);
        checkDetail(printed, found.stored, id);
        printed.says("WARN: No Consumer");
    }

    /** Rows of queryMsgByKey as soon as the index shows so many: the reference fills it a moment after the send. */
    private static List<List<String>> byKey(String topic, String key, int count) throws Exception {
        String[] words = {"queryMsgByKey", "-t", topic, "-k", key};
        Tool.until("rows for " + key, INDEX_SECONDS, true, () -> Tool.run(words).table("#Message ID").size() >= count);
        return Tool.run(words).table("#Message ID");
    }

    private static void byKey(Stage stage) throws Exception {
        String topic = AdminTopics.topic(stage, "t", 2);
        List<MessageQueue> queues = stage.queues(topic);
        SendResult one = sent(stage, queues.get(0), "one", "TagA", "alpha beta");
        SendResult two = sent(stage, queues.get(1), "two", "TagA", "beta");
        sent(stage, queues.get(1), "three", "TagA", "gamma");
        List<List<String>> alpha = byKey(topic, "alpha", 1);
        Check.equal("rows of alpha", 1, alpha.size());
        Check.equal("cells of alpha", List.of(one.getMsgId(), "0", "0"), alpha.get(0).subList(0, 3));
        List<List<String>> beta = byKey(topic, "beta", 2).stream().map(row -> row.subList(0, 3))
                .sorted((left, right) -> left.get(1).compareTo(right.get(1))).toList();
        Check.equal("cells of beta",
                List.of(List.of(one.getMsgId(), "0", "0"), List.of(two.getMsgId(), "1", "0")), beta);
        Check.equal("at most one", 1, Tool.run("queryMsgByKey", "-t", topic, "-k", "beta", "-m", "1")
                .table("#Message ID").size());
        String from = Long.toString(System.currentTimeMillis() - 7_200_000);
        String to = Long.toString(System.currentTimeMillis() - 3_600_000);
        Tool.attempt("queryMsgByKey", "-t", topic, "-k", "beta", "-b", from, "-e", to)
                .refused(NO_MESSAGE, "no message");
    }

    private static void byUniqueKey(Stage stage) throws Exception {
        Found found = Found.of(stage);
        String topic = found.queue.getTopic();
        byKey(topic, "key-a", 1);
        checkDetail(Tool.run("queryMsgByUniqueKey", "-t", topic, "-i", found.sent.getMsgId()), found.stored, null);
    }

    private static void byOffset(Stage stage) throws Exception {
        Found found = Found.of(stage);
        String topic = found.queue.getTopic();
        String broker = Tool.brokerName();
        Printed printed = Tool.run("queryMsgByOffset", "-t", topic, "-b", broker, "-i", "1", "-o", "1");
        checkDetail(printed, found.stored, found.sent.getOffsetMsgId());
        Printed behind = Tool.run("queryMsgByOffset", "-t", topic, "-b", broker, "-i", "1", "-o", "3");
        Check.equal("behind the end", "", behind.text().strip());
    }

    private static void missing(Stage stage) throws Exception {
        String topic = AdminTopics.topic(stage, "t", 1);
        Tool.attempt("queryMsgByKey", "-t", topic, "-k", "omega").refused(NO_MESSAGE, "no message");
        Tool.attempt("queryMsgByUniqueKey", "-t", topic, "-i", "7F000001000000000000000000000001")
                .refused(NO_MESSAGE, "no message");
        Tool.attempt("queryMsgById", "-t", topic, "-i", "00").refused(NO_MESSAGE, "no message");
        SendResult sent = sent(stage, stage.queues(topic).get(0), "last", "TagA", "last");
        String behind = sent.getOffsetMsgId().substring(0, 16) + String.format("%016X", Long.MAX_VALUE >> 8);
        Printed printed = Tool.attempt("queryMsgById", "-t", topic, "-i", behind);
        Check.that("a position behind the log's end: " + printed.text(), !printed.refusal().isEmpty());
    }

    /** Who has consumed a message, who has not yet, who is away. */
    private static void whoHasIt(Stage stage) throws Exception {
        String topic = AdminTopics.topic(stage, "t", 1);
        String has = AdminGroups.group(stage, "has");
        String waits = AdminGroups.group(stage, "waits");
        String away = AdminGroups.group(stage, "away");
        MessageQueue queue = stage.queues(topic).get(0);
        AdminConsumers.fill(stage, queue, 3);
        SendResult last = sent(stage, queue, "last", "TagA", "last");
        Inbox inbox = new Inbox();
        AdminConsumers.taking(stage, has, topic, inbox);
        AdminConsumers.stuck(stage, waits, topic, 2);
        DefaultMQPushConsumer gone = AdminConsumers.taking(stage, away, topic, inbox);
        AdminConsumers.waitProgress(has, topic, Map.of(0, "4 4 0"));
        AdminConsumers.waitProgress(waits, topic, Map.of(0, "4 2 2"));
        AdminConsumers.waitProgress(away, topic, Map.of(0, "4 4 0"));
        gone.shutdown();
        for (String[] words : new String[][] {{"queryMsgByUniqueKey", "-t", topic, "-i", last.getMsgId()},
            {"queryMsgById", "-t", topic, "-i", last.getOffsetMsgId()}}) {
            Printed printed = Tool.run(words);
            printed.says("MessageTrack [consumerGroup=" + has + ", trackType=CONSUMED, exceptionDesc=null]");
            printed.says("MessageTrack [consumerGroup=" + waits + ", trackType=NOT_CONSUME_YET, exceptionDesc=null]");
            printed.says("MessageTrack [consumerGroup=" + away + ", trackType=NOT_ONLINE, "
                    + "exceptionDesc=CODE:206 DESC:");
            Files.deleteIfExists(Path.of("/tmp/rocketmq/msgbodys/" + last.getMsgId()));
        }
    }

    /** A message is given to one client once more, and the tool shows what the client made of it. */
    private static void handOver(Stage stage) throws Exception {
        String topic = AdminTopics.topic(stage, "t", 1);
        String group = AdminGroups.group(stage, "g");
        MessageQueue queue = stage.queues(topic).get(0);
        SendResult sent = sent(stage, queue, "again", "TagA", "again");
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = AdminConsumers.taking(stage, group, topic, inbox);
        inbox.waitFor(1);
        String clientId = consumer.getDefaultMQPushConsumerImpl().getmQClientFactory().getClientId();
        Tool.run("queryMsgById", "-t", topic, "-i", sent.getOffsetMsgId(), "-g", group, "-d", clientId)
                .says("ConsumeMessageDirectlyResult [order=false, autoCommit=true, consumeResult=CR_SUCCESS, ");
        inbox.exactly(List.of("again", "again"));
    }

    private static void resend(Stage stage) throws Exception {
        MessageQueue queue = stage.queues(AdminTopics.topic(stage, "t", 1)).get(0);
        SendResult sent = sent(stage, queue, "twice", "TagA", "key-a");
        Tool.run("queryMsgById", "-t", queue.getTopic(), "-i", sent.getOffsetMsgId(), "-s", "true")
                .says("prepare resend msg. originalMsgId=" + sent.getOffsetMsgId()).says("sendStatus=SEND_OK");
        List<MessageExt> stored = stage.stored(queue.getTopic(), 2);
        Check.equal("bodies", List.of("twice", "twice"), Stage.sortedBodies(stored));
        Check.equal("tag and key of the second", "TagA key-a", stored.get(1).getTags() + " " + stored.get(1).getKeys());
    }

    /** `queue offset body` of each message that a printing command shows, in the order of queues. */
    private static List<String> printedMessages(Printed printed) {
        List<String> found = new ArrayList<>();
        for (String line : printed.lines()) {
            if (line.startsWith("MSGID: ")) {
                found.add(line.replaceAll(".*queueId=(\\d+).*queueOffset=(\\d+).*BODY: (.*)$", "$1 $2 $3"));
            }
        }
        found.sort(null);
        return found;
    }

    private static void print(Stage stage) throws Exception {
        String topic = AdminTopics.topic(stage, "t", 2);
        List<MessageQueue> queues = stage.queues(topic);
        sent(stage, queues.get(0), "one", "TagA", "k");
        sent(stage, queues.get(1), "two", "TagB", "k");
        sent(stage, queues.get(1), "three", "TagA", "k");
        Thread.sleep(20);
        long between = System.currentTimeMillis();
        Thread.sleep(20);
        sent(stage, queues.get(1), "four", "TagA", "k");
        Printed all = Tool.run("printMsg", "-t", topic, "-d", "true");
        all.says("minOffset=0, maxOffset=1, MessageQueue [topic=" + topic + ", brokerName=" + Tool.brokerName()
                + ", queueId=0]");
        all.says("minOffset=0, maxOffset=3, MessageQueue [topic=" + topic + ", brokerName=" + Tool.brokerName()
                + ", queueId=1]");
        Check.equal("all", List.of("0 0 one", "1 0 two", "1 1 three", "1 2 four"), printedMessages(all));
        Check.equal("of one tag", List.of("0 0 one", "1 1 three", "1 2 four"),
                printedMessages(Tool.run("printMsg", "-t", topic, "-d", "true", "-s", "TagA")));
        Tool.run("printMsg", "-t", topic, "-d", "true", "-e", Long.toString(between))
                .says("minOffset=0, maxOffset=2, MessageQueue [topic=" + topic);
        Check.equal("from a time", List.of("1 2 four"),
                printedMessages(Tool.run("printMsg", "-t", topic, "-d", "true", "-b", Long.toString(between))));
    }

    private static void printQueue(Stage stage) throws Exception {
        String topic = AdminTopics.topic(stage, "t", 2);
        List<MessageQueue> queues = stage.queues(topic);
        sent(stage, queues.get(0), "elsewhere", "TagA", "k");
        sent(stage, queues.get(1), "one", "TagB", "k");
        sent(stage, queues.get(1), "two", "TagA", "k");
        sent(stage, queues.get(1), "three", "TagA", "k");
        String broker = Tool.brokerName();
        Check.equal("printed", List.of("1 0 one", "1 1 two", "1 2 three"), printedMessages(Tool.run("printMsgByQueue",
                "-t", topic, "-a", broker, "-i", "1", "-p", "true", "-d", "true")));
        Printed counted = Tool.run("printMsgByQueue", "-t", topic, "-a", broker, "-i", "1", "-f", "true");
        List<String> lines = counted.lines().stream().map(line -> line.replaceAll("\\s+", " ")).toList();
        Check.that("counts of tags: " + lines, lines.stream().anyMatch(line -> line.matches(".*TagA.*2.*"))
                && lines.stream().anyMatch(line -> line.matches(".*TagB.*1.*")));
    }

    private static void consume(Stage stage) throws Exception {
        String topic = AdminTopics.topic(stage, "t", 2);
        List<MessageQueue> queues = stage.queues(topic);
        AdminConsumers.fill(stage, queues.get(0), 2);
        AdminConsumers.fill(stage, queues.get(1), 5);
        String broker = Tool.brokerName();
        String end = "MessageQueue [topic=" + topic + ", brokerName=" + broker + ", queueId=";
        Printed all = Tool.run("consumeMessage", "-t", topic);
        Check.equal("all", List.of("0 0 m0", "0 1 m1", "1 0 m0", "1 1 m1", "1 2 m2", "1 3 m3", "1 4 m4"),
                printedMessages(all));
        all.says(end + "0] print msg finished. status=NO_NEW_MSG, offset=2");
        all.says(end + "1] print msg finished. status=NO_NEW_MSG, offset=5");
        Printed part = Tool.run("consumeMessage", "-t", topic, "-b", broker, "-i", "1", "-o", "2", "-c", "2");
        Check.equal("two from an offset", List.of("1 2 m2", "1 3 m3"), printedMessages(part));
        Printed queue = Tool.run("consumeMessage", "-t", topic, "-b", broker, "-i", "0");
        Check.equal("one queue", List.of("0 0 m0", "0 1 m1"), printedMessages(queue));
        Printed early = Tool.run("consumeMessage", "-t", topic, "-b", broker, "-i", "1", "-o", "9");
        Check.equal("behind the end", List.of(), printedMessages(early));
        early.says("no matched msg");
    }

    private static void send(Stage stage) throws Exception {
        String topic = AdminTopics.topic(stage, "t", 3);
        String broker = Tool.brokerName();
        Printed keyed = Tool.run("sendMessage", "-t", topic, "-p", "first body", "-k", "key-a", "-c", "TagA");
        List<String> row = keyed.row(SENT, broker);
        Check.equal("result", "SEND_OK", row.get(2));
        MessageExt first = stage.stored(topic, 1).get(0);
        Check.equal("stored", "first body key-a TagA " + row.get(3) + " " + row.get(1), Stage.body(first) + " "
                + first.getKeys() + " " + first.getTags() + " " + first.getMsgId() + " " + first.getQueueId());
        Printed placed = Tool.run("sendMessage", "-t", topic, "-p", "second", "-b", broker, "-i", "2");
        Check.equal("queue and result", List.of("2", "SEND_OK"), placed.row(SENT, broker).subList(1, 3));
        List<MessageExt> inQueue = stage.stored(stage.queues(topic).get(2));
        Check.equal("last of the queue", "second", Stage.body(inQueue.get(inQueue.size() - 1)));
    }

    private static void sendCreatesTopic(Stage stage) throws Exception {
        String topic = stage.name("t");
        Check.equal("result", "SEND_OK", Tool.run("sendMessage", "-t", topic, "-p", "new").row(SENT).get(2));
        Suite.ask("route " + topic);
        Check.equal("stored", List.of("new"), Stage.sortedBodies(stage.stored(topic, 1)));
    }

    private static void sendStatus(Stage stage) throws Exception {
        Printed printed = Tool.run("sendMsgStatus", "-b", Tool.brokerName(), "-s", "100", "-c", "3");
        List<String> lines = printed.lines().stream().filter(line -> line.startsWith("rt=")).toList();
        Check.equal("sends", 3, lines.size());
        for (String line : lines) {
            Check.that(line, line.contains("sendStatus=SEND_OK") && line.contains("topic=" + Tool.brokerName() + ","));
        }
    }

    private static void sendTimes(Stage stage) throws Exception {
        String topic = AdminTopics.topic(stage, "t", 2);
        Printed printed = Tool.run("checkMsgSendRT", "-t", topic, "-a", "6", "-s", "64");
        List<List<String>> rows = printed.rows(SENT, Tool.brokerName());
        Check.equal("sends", 6, rows.size());
        for (List<String> row : rows) {
            Check.that("a result and a time: " + row, row.get(2).equals("true") && Integer.parseInt(row.get(3)) >= 0);
        }
        printed.says("Avg RT: ");
        for (MessageExt stored : stage.stored(topic, 6)) {
            Check.equal("bytes of a body", 64, stored.getBody().length);
        }
    }
}
