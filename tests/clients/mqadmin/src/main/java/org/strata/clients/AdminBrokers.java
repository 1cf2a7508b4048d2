/**
 * mqadmin on the servers themselves: what they are, how they are set, what they count.
 * Owns cases of clusterList, brokerStatus, get*Config, statsAll, brokerConsumeStats, *KvConfig and export*.
 */
package org.strata.clients;

import static org.strata.clients.Stage.BROKER;
import static org.strata.clients.Stage.NAMESRV;
import static org.strata.clients.Tool.CLUSTER;

import com.alibaba.fastjson2.JSON;
import com.alibaba.fastjson2.JSONObject;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;

final class AdminBrokers {
    private static final String CLUSTERS = "#Cluster Name";
    private static final int GET_KV = 101;
    private static final int NOT_FOUND = 22;
    /** Both brokers sample their statistics every 10 s, so a rate is known within two samples. */
    private static final int STATISTICS_SECONDS = 45;
    private static final int LIMIT_SECONDS = 90;
    /** What brokerStatus of the reference prints; the path of a log is part of one more name. */
    private static final List<String> STATUS_NAMES = List.of(
            "EndTransactionQueueSize", "EndTransactionThreadPoolQueueCapacity", "ackThreadPoolQueueCapacity",
            "ackThreadPoolQueueHeadWaitTimeMills", "ackThreadPoolQueueSize", "bootTimestamp", "brokerActive",
            "brokerVersionDesc", "commitLogDirCapacity", "commitLogDiskRatio", "commitLogMaxOffset",
            "commitLogMinOffset", "consumeQueueDiskRatio", "dispatchBehindBytes", "dispatchMaxBuffer",
            "earliestMessageTimeStamp", "getFoundTps", "getMessageEntireTimeMax", "getMissTps", "getTotalTps",
            "getTransferredTps", "litePullThreadPoolQueueCapacity", "litePullThreadPoolQueueHeadWaitTimeMills",
            "litePullThreadPoolQueueSize", "msgGetTotalTodayMorning", "msgGetTotalTodayNow",
            "msgGetTotalYesterdayMorning", "msgPutTotalTodayMorning", "msgPutTotalTodayNow",
            "msgPutTotalYesterdayMorning", "pageCacheLockTimeMills", "pullThreadPoolQueueCapacity",
            "pullThreadPoolQueueHeadWaitTimeMills", "pullThreadPoolQueueSize", "putLatency99", "putLatency999",
            "putMessageAverageSize", "putMessageDistributeTime", "putMessageEntireTimeMax", "putMessageFailedTimes",
            "putMessageSizeTotal", "putMessageTimesTotal", "putTps", "queryThreadPoolQueueCapacity",
            "queryThreadPoolQueueHeadWaitTimeMills", "queryThreadPoolQueueSize", "remainHowManyDataToFlush",
            "remainTransientStoreBufferNumbs", "runtime", "sendThreadPoolQueueCapacity",
            "sendThreadPoolQueueHeadWaitTimeMills", "sendThreadPoolQueueSize", "startAcceptSendRequestTimeStamp",
            "timerCongestNum", "timerDequeueTps", "timerEnqueueTps", "timerOffsetBehind", "timerReadBehind");

    private AdminBrokers() {
    }

    static List<Case> cases() {
        return List.of(
                new Case("broker.statistics", LIMIT_SECONDS, AdminBrokers::statistics),
                Case.of("broker.statistics_without_group", AdminBrokers::statisticsWithoutGroup),
                Case.of("broker.cluster_list", AdminBrokers::clusterList),
                Case.of("broker.status", AdminBrokers::status),
                Case.of("broker.status_rates", AdminBrokers::statusRates),
                Case.of("broker.status_names", AdminBrokers::statusNames),
                Case.of("broker.configuration", AdminBrokers::configuration),
                Case.of("broker.consume_statistics", AdminBrokers::consumeStatistics),
                Case.of("broker.consume_statistics_ordered", AdminBrokers::consumeStatisticsOrdered),
                Case.of("broker.export_metadata", AdminBrokers::exportMetadata),
                Case.of("broker.export_without_system_topics", AdminBrokers::exportWithoutSystemTopics),
                Case.of("broker.export_others", AdminBrokers::exportOthers),
                Case.of("namesrv.configuration", AdminBrokers::namesrvConfiguration),
                Case.of("namesrv.places", AdminBrokers::namesrvPlaces),
                Case.of("namesrv.key_values", AdminBrokers::keyValues));
    }

    /** A topic with 20 messages in one queue. */
    private static String filled(Stage stage) throws Exception {
        String topic = AdminTopics.topic(stage, "t", 1);
        AdminConsumers.fill(stage, stage.queues(topic).get(0), 20);
        return topic;
    }

    private static List<String> statisticsRow(String topic) throws Exception {
        return Tool.run("statsAll", "-t", topic).row("#Topic", topic);
    }

    /** Rates, lag and the counts of a day of a topic and its group: 20 in, 20 out. */
    private static void statistics(Stage stage) throws Exception {
        String topic = AdminTopics.topic(stage, "t", 1);
        String group = AdminGroups.group(stage, "g");
        Inbox inbox = new Inbox();
        AdminConsumers.taking(stage, group, topic, inbox);
        AdminConsumers.fill(stage, stage.queues(topic).get(0), 20);
        inbox.waitFor(20);
        AdminConsumers.waitProgress(group, topic, Map.of(0, "20 20 0"));
        Tool.until("counts in and out", STATISTICS_SECONDS, List.of("20", "20"),
                () -> statisticsRow(topic).subList(5, 7));
        List<String> row = statisticsRow(topic);
        Check.equal("group and accumulation", List.of(group, "0"), row.subList(1, 3));
        for (String rate : row.subList(3, 5)) {
            Check.that("20 messages within a minute are a rate of 0.33 to 20: " + row,
                    Double.parseDouble(rate) >= 0.33 && Double.parseDouble(rate) <= 20);
        }
    }

    private static void statisticsWithoutGroup(Stage stage) throws Exception {
        String topic = filled(stage);
        List<String> row = statisticsRow(topic);
        Check.equal("accumulation", "0", row.get(1));
        Check.equal("no group", "NO_CONSUMER", row.get(row.size() - 1));
        List<String> all = Tool.run("statsAll").table("#Topic").stream().map(cells -> cells.get(0)).toList();
        Check.that("the topic among all: " + all, all.contains(topic));
    }

    private static void clusterList(Stage stage) throws Exception {
        List<String> row = Tool.script("clusterList", "-n", NAMESRV).succeeded()
                .row(CLUSTERS, CLUSTER, Tool.brokerName());
        Check.equal("id and address", List.of("0", BROKER), row.subList(2, 4));
        Check.that("rates are not negative: " + row, row.get(5).matches("\\d+\\.\\d\\d\\(0,0ms\\)")
                && row.get(6).matches("\\d+\\.\\d\\d\\(0,0ms\\|0,0ms\\)"));
        Check.equal("activated", "true", row.get(row.size() - 1));
        double space = Double.parseDouble(row.get(row.size() - 2));
        Check.that("used part of the disk: " + row, space > 0 && space < 1);
        List<String> more = Tool.run("clusterList", "-m", "-c", CLUSTER).row(CLUSTERS, CLUSTER, Tool.brokerName());
        Check.equal("counts of yesterday and today", 6, more.size());
    }

    private static Map<String, String> figures() throws Exception {
        return Tool.run("brokerStatus", "-b", BROKER).settings();
    }

    private static long grown(Map<String, String> before, Map<String, String> after, String name) {
        return Long.parseLong(after.get(name)) - Long.parseLong(before.get(name));
    }

    private static void status(Stage stage) throws Exception {
        Map<String, String> before = figures();
        filled(stage);
        Map<String, String> after = figures();
        long sent = grown(before, after, "msgPutTotalTodayNow");
        Check.that("messages counted: " + sent, sent >= 20);
        long grown = grown(before, after, "commitLogMaxOffset");
        Check.that("bytes of the log: " + grown, grown >= 20 * 100);
        Check.equal("begin of the log", "0", after.get("commitLogMinOffset"));
        long started = Long.parseLong(after.get("bootTimestamp"));
        Check.within("start", System.currentTimeMillis() - 3_600_000, System.currentTimeMillis(), started);
        Check.equal("active", "true", after.get("brokerActive"));
        Check.that("runtime " + after.get("runtime"),
                after.get("runtime").matches("\\[ 0 days, \\d+ hours, \\d+ minutes, \\d+ seconds \\]"));
        Check.that("size", Double.parseDouble(after.get("putMessageAverageSize")) > 100);
        Check.that("disk", Double.parseDouble(after.get("commitLogDiskRatio")) > 0);
        Map<String, String> whole = Tool.run("brokerStatus", "-c", CLUSTER).settings();
        Check.equal("start, asked for the cluster", after.get("bootTimestamp"), whole.get("bootTimestamp"));
    }

    private static void statusRates(Stage stage) throws Exception {
        Map<String, String> found = figures();
        for (String rates : List.of("putTps", "getTotalTps", "getFoundTps", "getMissTps", "getTransferredTps")) {
            // A broker of less than ten seconds has no rate to show.
            for (String rate : found.get(rates).isEmpty() ? new String[0] : found.get(rates).split(" ")) {
                Check.that(rates + " is not negative: " + rate, !rate.startsWith("-") && Double.parseDouble(rate) >= 0);
            }
        }
    }

    private static void statusNames(Stage stage) throws Exception {
        TreeSet<String> missing = new TreeSet<>(STATUS_NAMES);
        missing.removeAll(figures().keySet());
        Check.equal("figures that brokerStatus lacks", new TreeSet<>(), missing);
    }

    private static void configuration(Stage stage) throws Exception {
        Printed shown = Tool.run("getBrokerConfig", "-b", BROKER);
        shown.says("============" + BROKER + "============");
        Map<String, String> settings = shown.settings();
        String port = BROKER.substring(BROKER.indexOf(':') + 1);
        for (Map.Entry<String, String> each : Map.of("brokerName", Tool.brokerName(), "brokerClusterName", CLUSTER,
                "brokerId", "0", "listenPort", port, "namesrvAddr", NAMESRV, "brokerIP1", "127.0.0.1",
                "brokerRole", "ASYNC_MASTER", "flushDiskType", "ASYNC_FLUSH", "brokerPermission", "6",
                "autoCreateTopicEnable", "true").entrySet()) {
            Check.equal(each.getKey(), each.getValue(), settings.get(each.getKey()));
        }
        for (Map.Entry<String, String> each : Map.of("defaultTopicQueueNums", "8", "maxMessageSize", "4194304",
                "fileReservedTime", "72", "messageDelayLevel",
                "1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h").entrySet()) {
            Check.equal(each.getKey(), each.getValue(), settings.get(each.getKey()));
        }
        Printed whole = Tool.run("getBrokerConfig", "-c", CLUSTER);
        whole.says(BROKER);
        Check.equal("name, asked for the cluster", Tool.brokerName(), whole.settings().get("brokerName"));
    }

    private static void consumeStatistics(Stage stage) throws Exception {
        String topic = filled(stage);
        String group = AdminGroups.group(stage, "g");
        AdminOffsets.resetQueue(group, topic, 0, 13);
        Printed printed = Tool.run("brokerConsumeStats", "-b", BROKER);
        List<String> row = printed.row("#Topic", topic, group);
        Check.equal("queue, offsets, lag", List.of(Tool.brokerName(), "0", "20", "13", "7"), row.subList(2, 7));
        String total = printed.text().replaceAll("(?s).*Diff Total: (\\d+).*", "$1");
        Check.that("lag of all: " + total, Long.parseLong(total) >= 7);
    }

    /** With -o only topics of which the order is kept are shown. */
    private static void consumeStatisticsOrdered(Stage stage) throws Exception {
        String ordered = stage.name("ordered");
        Tool.attempt("updateTopic", "-b", BROKER, "-t", ordered, "-r", "1", "-w", "1", "-o", "true");
        String other = AdminTopics.topic(stage, "other", 1);
        String group = AdminGroups.group(stage, "g");
        for (String topic : List.of(ordered, other)) {
            Suite.ask("route " + topic);
            AdminConsumers.fill(stage, stage.queues(topic).get(0), 2);
            AdminOffsets.resetQueue(group, topic, 0, 1);
        }
        Printed printed = Tool.run("brokerConsumeStats", "-b", BROKER, "-o", "true");
        Check.equal("the ordered topic", 1, printed.rows("#Topic", ordered, group).size());
        Check.equal("the other topic", 0, printed.rows("#Topic", other, group).size());
    }

    private static JSONObject export(Stage stage, String command, String file, String... more) throws Exception {
        Path folder = Path.of(stage.name("export")).toAbsolutePath();
        List<String> words = new ArrayList<>(List.of(command, "-c", CLUSTER, "-f", folder.toString()));
        words.addAll(List.of(more));
        Path path = folder.resolve(file);
        Tool.run(words.toArray(new String[0])).says("export " + path + " success");
        return JSON.parseObject(Files.readString(path));
    }

    /** One topic or group of exported metadata, as the broker keeps it. */
    static Map<?, ?> exported(Stage stage, String table, String name) throws Exception {
        JSONObject entry = export(stage, "exportMetadata", "metadata.json").getJSONObject(table).getJSONObject(name);
        Check.that(name + " is exported", entry != null);
        return entry;
    }

    private static void exportMetadata(Stage stage) throws Exception {
        String topic = AdminTopics.topic(stage, "t", 3);
        String group = AdminGroups.group(stage, "g");
        Map<?, ?> exported = exported(stage, "topicConfigTable", topic);
        Check.equal("topic", "3 3 6 false", exported.get("readQueueNums") + " " + exported.get("writeQueueNums") + " "
                + exported.get("perm") + " " + exported.get("order"));
        Map<?, ?> settings = exported(stage, "subscriptionGroupTable", group);
        Check.equal("group", group + " true 16", settings.get("groupName") + " " + settings.get("consumeEnable") + " "
                + settings.get("retryMaxTimes"));
    }

    /** What a broker makes by itself is no user's topic and must not be carried to another cluster. */
    private static void exportWithoutSystemTopics(Stage stage) throws Exception {
        JSONObject topics = export(stage, "exportMetadata", "metadata.json").getJSONObject("topicConfigTable");
        List<String> own = List.of("TBW102", "SELF_TEST_TOPIC", "SCHEDULE_TOPIC_XXXX", "BenchmarkTest",
                "OFFSET_MOVED_EVENT", CLUSTER, CLUSTER + "_REPLY_TOPIC", Tool.brokerName());
        Check.equal("system topics exported", List.of(), own.stream().filter(topics::containsKey).toList());
    }

    private static void exportOthers(Stage stage) throws Exception {
        JSONObject configs = export(stage, "exportConfigs", "configs.json");
        JSONObject config = configs.getJSONObject("brokerConfigs").getJSONObject(Tool.brokerName());
        Check.equal("cluster", CLUSTER, config.getString("brokerClusterName"));
        Check.equal("name", Tool.brokerName(), config.getString("brokerName"));
        JSONObject scale = configs.getJSONObject("clusterScale");
        Check.equal("masters", 1, scale.getIntValue("masterBrokerSize"));
        JSONObject report = export(stage, "exportMetrics", "metrics.json").getJSONObject("evaluateReport")
                .getJSONObject(Tool.brokerName());
        Check.that("disk: " + report, report.getJSONObject("runtimeQuota").getJSONObject("diskRatio")
                .getDoubleValue("commitLogDiskRatio") > 0);
    }

    private static void namesrvConfiguration(Stage stage) throws Exception {
        Printed shown = Tool.run("getNamesrvConfig");
        shown.says("============" + NAMESRV + "============");
        Check.equal("ordered topics", "false", shown.settings().get("orderMessageEnable"));
        Check.equal("all topics", "true", shown.settings().get("enableAllTopicList"));
    }

    /** Where the name server listens and keeps its files is part of its configuration. */
    private static void namesrvPlaces(Stage stage) throws Exception {
        Map<String, String> settings = Tool.run("getNamesrvConfig").settings();
        Check.equal("port", NAMESRV.substring(NAMESRV.indexOf(':') + 1), settings.get("listenPort"));
        Check.that("kvConfigPath: " + settings, settings.getOrDefault("kvConfigPath", "").endsWith("kvConfig.json"));
    }

    private static RemotingCommand keyValue(Stage stage, String namespace, String key) throws Exception {
        return stage.ask(NAMESRV, GET_KV, Map.of("namespace", namespace, "key", key), null);
    }

    private static void keyValues(Stage stage) throws Exception {
        String space = stage.name("space");
        Tool.run("updateKvConfig", "-s", space, "-k", "one", "-v", "first value")
                .says("create or update kv config to namespace success.");
        Tool.run("updateKvConfig", "-s", space, "-k", "two", "-v", "2");
        Check.equal("one", "first value", keyValue(stage, space, "one").getExtFields().get("value"));
        Tool.run("updateKvConfig", "-s", space, "-k", "one", "-v", "second value");
        Check.equal("one, changed", "second value", keyValue(stage, space, "one").getExtFields().get("value"));
        Tool.run("deleteKvConfig", "-s", space, "-k", "one").says("delete kv config from namespace success.");
        Check.equal("code for one, deleted", NOT_FOUND, keyValue(stage, space, "one").getCode());
        Check.equal("two", "2", keyValue(stage, space, "two").getExtFields().get("value"));
        Tool.run("deleteKvConfig", "-s", space, "-k", "one").says("delete kv config from namespace success.");
    }
}
