/*
 * What a user of the Java client does around a cold tier: sends, and replays from a time. Run as one source file with
 * RocketMQ's jars on the class path: java -cp 'LIB/*' Replay.java ADDRESS send|consume ...
 *
 * send TOPIC COUNT FIRST: a line "sent QUEUE OFFSET ID BODY" for each acknowledged message, ID being the unique key.
 * consume TOPIC GROUP yyyyMMddHHmmss TAG|SQL92 EXPRESSION COUNT: a line "got QUEUE OFFSET ID BODY" for each message that a
 * push consumer of a new group is given from that time on, until it has COUNT and nothing more comes.
 * retried TOPIC GROUP COUNT: a line "given TOPIC TIMES ID BYTES" for each message that a push consumer is given which reads
 * TOPIC from now on, TIMES being how often it came back before.
 * BODY is the CRC-32 of the body. Every tenth message is big enough to be compressed by the client.
 */

import java.nio.charset.StandardCharsets;
import java.util.concurrent.atomic.AtomicLong;
import java.util.zip.CRC32;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.MessageSelector;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

public final class Replay {
    /** A client whose first question for an offset fails asks again after 20 s; what is not there by then is not coming. */
    private static final long PROGRESS_MS_MAX = 60_000;
    /** A client on a busy machine may wait longer than the default 3 s for an answer. */
    private static final int CALL_MS_MAX = 10_000;
    /** Time in which one more than expected would come. */
    private static final long QUIET_MS = 2_000;

    private Replay() {
    }

    public static void main(String[] args) throws Exception {
        if (args[1].equals("send")) {
            send(args[0], args[2], Integer.parseInt(args[3]), Integer.parseInt(args[4]));
        } else if (args[1].equals("retried")) {
            retried(args);
        } else {
            consume(args);
        }
        System.out.flush();
        System.exit(0);
    }

    private static void send(String address, String topic, int count, int first) throws Exception {
        DefaultMQProducer producer = new DefaultMQProducer("replay-producer");
        producer.setNamesrvAddr(address);
        producer.setSendMsgTimeout(CALL_MS_MAX);
        producer.start();
        StringBuilder lines = new StringBuilder();
        for (int nth = first; nth < first + count; nth++) {
            StringBuilder body = new StringBuilder("message " + nth + " ");
            int bytes = nth % 10 == 0 ? 6_000 : 1_000;
            while (body.length() < bytes) {
                body.append(Integer.toHexString(body.length() * 31 + nth));
            }
            Message message = new Message(topic, "Tag" + nth % 5, "order-" + nth,
                    body.toString().getBytes(StandardCharsets.UTF_8));
            message.putUserProperty("color", nth % 50 == 7 ? "teal" : "red");
            message.putUserProperty("amount", Integer.toString(nth % 1_000));
            SendResult sent = producer.send(message);
            if (sent.getSendStatus() != SendStatus.SEND_OK) {
                throw new IllegalStateException("send " + nth + ": " + sent.getSendStatus());
            }
            lines.append("sent ").append(sent.getMessageQueue().getQueueId()).append(' ')
                    .append(sent.getQueueOffset()).append(' ').append(sent.getMsgId()).append(' ')
                    .append(crc(message.getBody())).append('\n');
        }
        System.out.print(lines);
        producer.shutdown();
    }

    private static void consume(String[] args) throws Exception {
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(args[3]);
        consumer.setNamesrvAddr(args[0]);
        consumer.setMqClientApiTimeout(CALL_MS_MAX);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_TIMESTAMP);
        consumer.setConsumeTimestamp(args[4]);
        if (args[5].equals("SQL92")) {
            consumer.subscribe(args[2], MessageSelector.bySql(args[6]));
        } else {
            consumer.subscribe(args[2], args[6]);
        }
        int wanted = Integer.parseInt(args[7]);
        AtomicLong count = new AtomicLong();
        AtomicLong last = new AtomicLong(System.currentTimeMillis());
        StringBuffer lines = new StringBuffer();
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            for (MessageExt message : messages) {
                lines.append("got " + message.getQueueId() + " " + message.getQueueOffset() + " " + message.getMsgId()
                        + " " + crc(message.getBody()) + "\n");
                count.incrementAndGet();
                last.set(System.currentTimeMillis());
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        while (System.currentTimeMillis() - last.get() < (count.get() < wanted ? PROGRESS_MS_MAX : QUIET_MS)) {
            Thread.sleep(50);
        }
        System.out.print(lines);
        consumer.shutdown();
    }

    private static void retried(String[] args) throws Exception {
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(args[3]);
        consumer.setNamesrvAddr(args[0]);
        // Two consumers of one machine.
        consumer.setInstanceName(args[3]);
        consumer.setMqClientApiTimeout(CALL_MS_MAX);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_LAST_OFFSET);
        consumer.subscribe(args[2], "*");
        int wanted = Integer.parseInt(args[4]);
        AtomicLong count = new AtomicLong();
        AtomicLong last = new AtomicLong(System.currentTimeMillis());
        StringBuffer lines = new StringBuffer();
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            for (MessageExt message : messages) {
                lines.append("given " + message.getTopic() + " " + message.getReconsumeTimes() + " " + message.getMsgId()
                        + " " + message.getBody().length + "\n");
                count.incrementAndGet();
                last.set(System.currentTimeMillis());
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        // Who is to get nothing waits as long as the others may wait for their first.
        while (System.currentTimeMillis() - last.get() < (wanted == 0 || count.get() < wanted ? PROGRESS_MS_MAX : QUIET_MS)) {
            Thread.sleep(50);
        }
        System.out.print(lines);
        consumer.shutdown();
    }

    private static String crc(byte[] bytes) {
        CRC32 crc = new CRC32();
        crc.update(bytes);
        return Long.toHexString(crc.getValue());
    }
}
