/**
 * What a message carries: every field comes back as it was sent, at every size and in every script.
 * Owns cases about content; both header codecs are tried here too.
 */
package org.strata.clients;

import static org.strata.clients.Stage.message;

import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.RPCHook;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;
import org.apache.rocketmq.remoting.protocol.SerializeType;

final class Fields {
    /** The broker's default maxMessageSize counts the body alone. */
    static final int BODY_BYTES_MAX = 4 * 1024 * 1024;

    private Fields() {
    }

    static List<Case> cases() {
        return List.of(
                Case.of("field.all", Fields::all),
                Case.of("field.unicode", Fields::unicode),
                Case.of("field.any_bytes", Fields::anyBytes),
                Case.of("field.body_4_mib", Fields::largestBody),
                Case.of("field.many_properties", Fields::manyProperties),
                Case.of("field.binary_header", Fields::binaryHeader));
    }

    private static void all(Stage stage) throws Exception {
        String topic = stage.topic(3);
        Message message = message(topic, "a body");
        message.setFlag(0x1234_5678);
        message.setTags("the-tag");
        message.setKeys(List.of("key-1", "key-2"));
        message.setBuyerId("buyer");
        message.setWaitStoreMsgOK(false);
        message.putUserProperty("one", "1");
        message.putUserProperty("with spaces", " v v ");
        long before = System.currentTimeMillis();
        MessageQueue queue = stage.queues(topic).get(2);
        SendResult sent = stage.producer().send(message, queue);
        long after = System.currentTimeMillis();
        MessageExt got = stage.stored(topic, 1).get(0);
        Check.equal("body", "a body", Stage.body(got));
        Check.equal("flag", 0x1234_5678, got.getFlag());
        Check.equal("tags", "the-tag", got.getTags());
        Check.equal("keys", "key-1 key-2", got.getKeys());
        Check.equal("buyer", "buyer", got.getBuyerId());
        Check.equal("wait", false, got.isWaitStoreMsgOK());
        Check.equal("one", "1", got.getUserProperty("one"));
        Check.equal("with spaces", " v v ", got.getUserProperty("with spaces"));
        Check.equal("topic", topic, got.getTopic());
        Check.equal("queue", 2, got.getQueueId());
        Check.equal("queue offset", 0L, got.getQueueOffset());
        Check.equal("id", sent.getMsgId(), got.getMsgId());
        Check.equal("sys flag", 0, got.getSysFlag());
        Check.equal("reconsume times", 0, got.getReconsumeTimes());
        Check.equal("broker name", queue.getBrokerName(), got.getBrokerName());
        Check.within("born time", before, after, got.getBornTimestamp());
        Check.within("store time", before, after, got.getStoreTimestamp());
        Check.equal("born host", "127.0.0.1", ((InetSocketAddress) got.getBornHost()).getAddress().getHostAddress());
        Check.equal("store host", Stage.BROKER, address(got));
        Check.equal("offset id", sent.getOffsetMsgId(), offsetId(got));
        Check.equal("queue's min offset", "0", got.getProperty("MIN_OFFSET"));
        Check.equal("queue's max offset", "1", got.getProperty("MAX_OFFSET"));
    }

    private static String address(MessageExt message) {
        InetSocketAddress host = (InetSocketAddress) message.getStoreHost();
        return host.getAddress().getHostAddress() + ":" + host.getPort();
    }

    /** An offset id is the store host and the physical offset in hexadecimal. */
    private static String offsetId(MessageExt message) {
        InetSocketAddress host = (InetSocketAddress) message.getStoreHost();
        StringBuilder id = new StringBuilder();
        for (byte part : host.getAddress().getAddress()) {
            id.append(String.format("%02X", part));
        }
        return id + String.format("%08X%016X", host.getPort(), message.getCommitLogOffset());
    }

    private static void unicode(Stage stage) throws Exception {
        String topic = stage.topic(1);
        List<String> texts = List.of("naïve café", "Привет, мир", "消息队列 訊息", "メッセージ", "🚀🧪 astral", "عربي עברית", "\u00a0\u200d");
        for (String text : texts) {
            Message message = message(topic, text);
            message.setTags(text.replace(" ", "_"));
            message.setKeys(text);
            message.putUserProperty("in " + text, "out " + text);
            stage.producer().send(message);
        }
        List<MessageExt> stored = stage.stored(topic, texts.size());
        for (int i = 0; i < texts.size(); i++) {
            String text = texts.get(i);
            Check.equal("body", text, Stage.body(stored.get(i)));
            Check.equal("tag", text.replace(" ", "_"), stored.get(i).getTags());
            Check.equal("keys", text, stored.get(i).getKeys());
            Check.equal("property", "out " + text, stored.get(i).getUserProperty("in " + text));
        }
    }

    /** Bodies are bytes, of any value and of lengths around the sizes that codecs stumble on. */
    private static void anyBytes(Stage stage) throws Exception {
        String topic = stage.topic(1);
        int[] lengths = {1, 2, 255, 256, 257, 4095, 4096, 4097, 65_535, 65_536, 300_000};
        for (int length : lengths) {
            stage.producer().send(new Message(topic, Sends.randomBytes(length)));
        }
        List<MessageExt> stored = stage.stored(topic, lengths.length);
        for (int i = 0; i < lengths.length; i++) {
            Check.equal("length", lengths[i], stored.get(i).getBody().length);
            Check.that("body of " + lengths[i] + " bytes is the same",
                    Arrays.equals(Sends.randomBytes(lengths[i]), stored.get(i).getBody()));
        }
    }

    /** The largest body that is allowed, incompressible and whole. */
    private static void largestBody(Stage stage) throws Exception {
        String topic = stage.topic(1);
        DefaultMQProducer producer = new DefaultMQProducer(stage.name("large"));
        producer.setCompressMsgBodyOverHowmuch(Integer.MAX_VALUE);
        stage.started(producer);
        byte[] body = Sends.randomBytes(BODY_BYTES_MAX);
        Check.equal("status", SendStatus.SEND_OK, producer.send(new Message(topic, body)).getSendStatus());
        MessageExt got = stage.stored(topic, 1).get(0);
        Check.that("the body is the same", Arrays.equals(body, got.getBody()));
    }

    private static void manyProperties(Stage stage) throws Exception {
        String topic = stage.topic(1);
        Message message = message(topic, "p");
        Map<String, String> sent = new TreeMap<>();
        for (int i = 0; i < 100; i++) {
            sent.put("name" + i, "v".repeat(i + 1));
        }
        sent.forEach(message::putUserProperty);
        stage.producer().send(message);
        Map<String, String> got = new TreeMap<>(stage.stored(topic, 1).get(0).getProperties());
        got.keySet().removeIf(key -> !key.startsWith("name"));
        Check.equal("properties", sent, got);
    }

    /** Every request of two clients under the binary header instead of JSON. */
    private static void binaryHeader(Stage stage) throws Exception {
        String topic = stage.topic(2);
        RPCHook binary = new RPCHook() {
            @Override
            public void doBeforeRequest(String address, RemotingCommand request) {
                request.setSerializeTypeCurrentRPC(SerializeType.ROCKETMQ);
            }

            @Override
            public void doAfterResponse(String address, RemotingCommand request, RemotingCommand response) {
                // The answer needs no change.
            }
        };
        DefaultMQProducer producer = stage.started(new DefaultMQProducer(stage.name("binary"), binary));
        DefaultMQPullConsumer consumer = stage.configured(new DefaultMQPullConsumer(stage.name("reader"), binary));
        consumer.start();
        stage.atEnd(consumer::shutdown);
        Message message = message(topic, "binär");
        message.setTags("t");
        message.putUserProperty("ключ", "значение");
        MessageQueue queue = stage.queues(topic).get(1);
        SendResult sent = producer.send(message, queue);
        Check.equal("status", SendStatus.SEND_OK, sent.getSendStatus());
        stage.waitStored(List.of(queue), 1);
        PullResult pulled = consumer.pull(queue, "t", 0, 32, Stage.CALL_MILLIS);
        Check.equal("status of the pull", PullStatus.FOUND, pulled.getPullStatus());
        MessageExt got = pulled.getMsgFoundList().get(0);
        Check.equal("body", "binär", new String(got.getBody(), StandardCharsets.UTF_8));
        Check.equal("property", "значение", got.getUserProperty("ключ"));
        Check.equal("id", sent.getMsgId(), got.getMsgId());
        Check.equal("max offset", 1L, consumer.maxOffset(queue));
        Check.equal("code of an illegal pull", PullStatus.OFFSET_ILLEGAL,
                consumer.pull(queue, "*", 9, 32, Stage.CALL_MILLIS).getPullStatus());
    }
}
