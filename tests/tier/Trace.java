/*
 * A producer and a push consumer of the Java client with trace enabled. Run as one source file with RocketMQ's jars on the
 * class path: java -cp 'LIB/*' Trace.java ADDRESS TOPIC GROUP COUNT
 *
 * Sends COUNT messages, the key of each being trace-N. The consumer fails each message whose number ends in 3 the first
 * time, so that it comes again, and takes all others at once. A line "life ID KEY ATTEMPTS" for each message when all
 * were taken; the traces were sent then.
 */

import java.nio.charset.StandardCharsets;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

public final class Trace {
    /** What comes again does so after 10 s at the earliest. */
    private static final long ALL_MS_MAX = 120_000;
    /** Clients send what they gathered each half second. */
    private static final long TRACES_MS = 3_000;
    private static final int CALL_MS_MAX = 10_000;

    private Trace() {
    }

    public static void main(String[] args) throws Exception {
        String address = args[0];
        String topic = args[1];
        int count = Integer.parseInt(args[3]);
        DefaultMQProducer producer = new DefaultMQProducer(args[2] + "-producer");
        producer.setEnableTrace(true);
        producer.setNamesrvAddr(address);
        producer.setSendMsgTimeout(CALL_MS_MAX);
        producer.start();
        Map<String, String> sent = new LinkedHashMap<>();
        for (int nth = 0; nth < count; nth++) {
            String key = "trace-" + nth;
            byte[] body = ("traced " + nth).getBytes(StandardCharsets.UTF_8);
            SendResult result = producer.send(new Message(topic, "Traced", key, body));
            if (result.getSendStatus() != SendStatus.SEND_OK) {
                throw new IllegalStateException(key + ": " + result.getSendStatus());
            }
            sent.put(key, result.getMsgId());
        }
        Map<String, AtomicInteger> attempts = new ConcurrentHashMap<>();
        Map<String, Boolean> taken = new ConcurrentHashMap<>();
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(args[2]);
        consumer.setEnableTrace(true);
        consumer.setNamesrvAddr(address);
        consumer.setMqClientApiTimeout(CALL_MS_MAX);
        consumer.setConsumeMessageBatchMaxSize(1);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            MessageExt message = messages.get(0);
            String key = message.getKeys();
            int before = attempts.computeIfAbsent(key, any -> new AtomicInteger()).getAndIncrement();
            if (key.endsWith("3") && before == 0) {
                return ConsumeConcurrentlyStatus.RECONSUME_LATER;
            }
            taken.put(key, true);
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        long until = System.currentTimeMillis() + ALL_MS_MAX;
        while (taken.size() < count && System.currentTimeMillis() < until) {
            Thread.sleep(100);
        }
        if (taken.size() < count) {
            throw new IllegalStateException(taken.size() + " of " + count + " messages were taken");
        }
        Thread.sleep(TRACES_MS);
        consumer.shutdown();
        producer.shutdown();
        StringBuilder lines = new StringBuilder();
        sent.forEach((key, id) -> lines.append("life ").append(id).append(' ').append(key).append(' ')
                .append(attempts.get(key).get()).append('\n'));
        System.out.print(lines);
        System.out.flush();
        System.exit(0);
    }
}
