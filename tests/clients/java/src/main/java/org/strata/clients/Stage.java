/**
 * What one case works with: names of its own, clients that end with it, and raw requests to the broker.
 * Owns every client that a case starts; holds no assertion about behaviour.
 */
package org.strata.clients;

import java.nio.charset.StandardCharsets;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.Deque;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.ClientConfig;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.RemotingClient;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;

final class Stage implements AutoCloseable {
    static final String NAMESRV = System.getenv("NAMESRV");
    static final String BROKER = System.getenv("BROKER");
    static final boolean STRATA = "strata".equals(System.getenv("TARGET"));
    static final String RUN = System.getenv("RUN");
    /** A client on a busy machine may wait longer than the default 3 s for an answer. */
    static final int CALL_MILLIS = 10_000;
    /** The client learns of new retry topics by this poll; the default of 30 s would be most of a case's time. */
    private static final int ROUTE_POLL_MILLIS = 2_000;
    private static final AtomicInteger INSTANCES = new AtomicInteger();

    private final String name;
    private final Deque<Runnable> endings = new ArrayDeque<>();
    private DefaultMQProducer shared;
    private DefaultMQPullConsumer puller;

    Stage(String caseName) {
        this.name = caseName.replace('.', '_');
    }

    /** A name for a topic or group that no other case, suite or run uses. */
    String name(String suffix) {
        return RUN + "_" + name + "_" + suffix;
    }

    /** Creates a topic with this many queues and returns its name once the name servers list it. */
    String topic(int queues) throws Exception {
        return topic("t", queues);
    }

    String topic(String suffix, int queues) throws Exception {
        String topic = name(suffix);
        Suite.ask("topic " + topic + " " + queues);
        return topic;
    }

    <C extends ClientConfig> C configured(C client) {
        client.setNamesrvAddr(NAMESRV);
        client.setInstanceName(RUN + "-" + INSTANCES.incrementAndGet());
        client.setPollNameServerInterval(ROUTE_POLL_MILLIS);
        client.setMqClientApiTimeout(CALL_MILLIS);
        return client;
    }

    /** A client of this case must not outlive it. */
    synchronized void atEnd(Runnable ending) {
        endings.push(ending);
    }

    /** The case's producer, made on first use. */
    synchronized DefaultMQProducer producer() throws Exception {
        if (shared == null) {
            shared = started(new DefaultMQProducer(name("p")));
        }
        return shared;
    }

    DefaultMQProducer started(DefaultMQProducer producer) throws Exception {
        configured(producer).setSendMsgTimeout(CALL_MILLIS);
        producer.start();
        atEnd(producer::shutdown);
        return producer;
    }

    /** A push consumer that is not started and has no listener. */
    DefaultMQPushConsumer push(String group) {
        DefaultMQPushConsumer consumer = configured(new DefaultMQPushConsumer(group));
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.setConsumeThreadMin(4);
        consumer.setConsumeThreadMax(4);
        atEnd(consumer::shutdown);
        return consumer;
    }

    DefaultLitePullConsumer lite(String group) {
        DefaultLitePullConsumer consumer = configured(new DefaultLitePullConsumer(group));
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        atEnd(consumer::shutdown);
        return consumer;
    }

    @SuppressWarnings("deprecation")
    DefaultMQPullConsumer pull(String group) throws Exception {
        DefaultMQPullConsumer consumer = configured(new DefaultMQPullConsumer(group));
        consumer.start();
        atEnd(consumer::shutdown);
        return consumer;
    }

    /** The pull consumer with which a case looks at what is stored. */
    synchronized DefaultMQPullConsumer puller() throws Exception {
        if (puller == null) {
            puller = pull(name("look"));
        }
        return puller;
    }

    static Message message(String topic, String body) {
        return new Message(topic, body.getBytes(StandardCharsets.UTF_8));
    }

    static String body(Message message) {
        return new String(message.getBody(), StandardCharsets.UTF_8);
    }

    /** The topic's queues in the order of their ids. */
    List<MessageQueue> queues(String topic) throws Exception {
        List<MessageQueue> queues = new ArrayList<>(puller().fetchSubscribeMessageQueues(topic));
        queues.sort(Comparator.naturalOrder());
        return queues;
    }

    /** Everything that one queue shows now, in order. */
    List<MessageExt> stored(MessageQueue queue) throws Exception {
        List<MessageExt> found = new ArrayList<>();
        long next = 0;
        while (true) {
            PullResult result = puller().pull(queue, "*", next, 32, CALL_MILLIS);
            if (result.getPullStatus() != PullStatus.FOUND) {
                return found;
            }
            found.addAll(result.getMsgFoundList());
            next = result.getNextBeginOffset();
        }
    }

    /**
     * Everything stored in a topic, queue after queue, once this many messages can be read. A broker may acknowledge
     * a message a moment before its queue shows it.
     */
    List<MessageExt> stored(String topic, int count) throws Exception {
        List<MessageQueue> queues = queues(topic);
        waitStored(queues, count);
        List<MessageExt> found = new ArrayList<>();
        for (MessageQueue queue : queues) {
            found.addAll(stored(queue));
        }
        return found;
    }

    /** Waits until the queues' max offsets add up to at least this count. */
    void waitStored(List<MessageQueue> queues, long count) throws Exception {
        Check.until(count + " messages stored", 20, () -> maxSum(queues) >= count, () -> maxSum(queues));
    }

    private long maxSum(List<MessageQueue> queues) {
        try {
            long sum = 0;
            for (MessageQueue queue : queues) {
                sum += puller().maxOffset(queue);
            }
            return sum;
        } catch (Exception error) {
            throw new IllegalStateException(error);
        }
    }

    /** Creates a consumer group, as an administrator would (request 200), and returns its name. */
    String group(String suffix) throws Exception {
        String group = name(suffix);
        String config = "{\"groupName\":\"" + group + "\",\"consumeEnable\":true,\"retryQueueNums\":1,"
                + "\"retryMaxTimes\":16}";
        RemotingCommand answer = ask(200, Map.of(), config.getBytes(StandardCharsets.UTF_8));
        Check.equal("code of creating the group (" + answer.getRemark() + ")", 0, answer.getCode());
        return group;
    }

    /** Bodies as text, sorted, for comparing what order does not matter for. */
    static List<String> sortedBodies(List<? extends Message> messages) {
        return messages.stream().map(Stage::body).sorted().toList();
    }

    static List<String> numbered(String prefix, int count) {
        List<String> bodies = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            bodies.add(prefix + String.format("%05d", i));
        }
        return bodies;
    }

    /** One request past the client's own checks; returns the whole answer. */
    RemotingCommand ask(int code, Map<String, String> fields, byte[] body) throws Exception {
        return ask(BROKER, code, fields, body);
    }

    RemotingCommand ask(String address, int code, Map<String, String> fields, byte[] body) throws Exception {
        RemotingCommand request = RemotingCommand.createRequestCommand(code, null);
        request.setExtFields(new HashMap<>(fields));
        request.setBody(body);
        RemotingClient client = producer().getDefaultMQProducerImpl().getmQClientFactory()
                .getMQClientAPIImpl().getRemotingClient();
        return client.invokeSync(address, request, CALL_MILLIS);
    }

    /** The fields of a plain send under code 10 with the long names. */
    Map<String, String> sendFields(String topic, int queueId) {
        Map<String, String> fields = new HashMap<>();
        fields.put("producerGroup", name("p"));
        fields.put("topic", topic);
        fields.put("defaultTopic", "TBW102");
        fields.put("defaultTopicQueueNums", "4");
        fields.put("queueId", Integer.toString(queueId));
        fields.put("sysFlag", "0");
        fields.put("bornTimestamp", Long.toString(System.currentTimeMillis()));
        fields.put("flag", "0");
        fields.put("properties", "");
        fields.put("reconsumeTimes", "0");
        fields.put("unitMode", "false");
        fields.put("batch", "false");
        return fields;
    }

    /** Ends all clients of the case, the newest first. */
    @Override
    public void close() {
        List<Runnable> all;
        synchronized (this) {
            all = new ArrayList<>(endings);
            endings.clear();
        }
        for (Runnable ending : all) {
            try {
                ending.run();
            } catch (RuntimeException error) {
                System.err.println(name + ": a client did not end well: " + error);
            }
        }
    }
}
