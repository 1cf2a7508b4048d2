/**
 * Delay levels: a message with a level appears in its topic when the level's time has passed, not before.
 * Owns cases about the short levels; retry delays are in Retries, timer messages in Later.
 */
package org.strata.clients;

import static org.strata.clients.Stage.body;
import static org.strata.clients.Stage.message;

import java.util.ArrayList;
import java.util.List;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

final class Delays {
    /** How late a delivery may be on two busy cores. */
    private static final int LATE_MILLIS = 6_000;
    /** Clocks of different threads are read in milliseconds, and the broker truncates. */
    private static final int EARLY_MILLIS = 20;

    /** One message for each queue of a case's topic. */
    private static final int WARM = 2;

    private Delays() {
    }

    static List<Case> cases() {
        return List.of(
                new Case("delay.level_1", 90, stage -> level(stage, 1, 1_000)),
                new Case("delay.level_2", 90, stage -> level(stage, 2, 5_000)),
                new Case("delay.level_3", 90, stage -> level(stage, 3, 10_000)),
                new Case("delay.mixed", 90, Delays::mixed));
    }

    /** Starts a consumer and waits until it has consumed from both queues: a new one may pause before its first pull. */
    private static void startWarm(Stage stage, String topic, Inbox inbox) throws Exception {
        Pushes.started(stage, stage.name("g"), topic, inbox);
        for (MessageQueue queue : stage.queues(topic)) {
            stage.producer().send(message(topic, "warm"), queue);
        }
        inbox.waitFor(WARM);
    }

    private static void level(Stage stage, int level, int millis) throws Exception {
        String topic = stage.topic(2);
        Inbox inbox = new Inbox();
        startWarm(stage, topic, inbox);
        List<Long> sentAt = new ArrayList<>();
        for (int i = 0; i < 4; i++) {
            Message message = message(topic, "late-" + i);
            message.setDelayTimeLevel(level);
            message.setKeys("delayed");
            message.putUserProperty("n", "" + i);
            sentAt.add(System.currentTimeMillis());
            SendResult result = stage.producer().send(message, stage.queues(topic).get(i % 2));
            Check.equal("status", SendStatus.SEND_OK, result.getSendStatus());
        }
        inbox.waitFor(WARM + 4);
        for (Inbox.Arrival arrival : inbox.arrivals().subList(WARM, WARM + 4)) {
            MessageExt message = arrival.message();
            int i = Integer.parseInt(message.getUserProperty("n"));
            Check.equal("body", "late-" + i, body(message));
            Check.equal("topic", topic, message.getTopic());
            Check.equal("queue", i % 2, message.getQueueId());
            Check.equal("keys", "delayed", message.getKeys());
            Check.within("millis from send to delivery", millis - EARLY_MILLIS, millis + LATE_MILLIS,
                    arrival.millis() - sentAt.get(i));
        }
        Check.equal("offsets in both queues", List.of(1L, 1L, 2L, 2L),
                inbox.messages().stream().skip(WARM).map(MessageExt::getQueueOffset).sorted().toList());
    }

    /** Messages sent together with different levels come in the order of their levels. */
    private static void mixed(Stage stage) throws Exception {
        String topic = stage.topic(2);
        Inbox inbox = new Inbox();
        startWarm(stage, topic, inbox);
        for (int level : new int[] {2, 1, 0}) {
            Message message = message(topic, "level-" + level);
            message.setDelayTimeLevel(level);
            stage.producer().send(message, stage.queues(topic).get(0));
        }
        inbox.waitFor(WARM + 3);
        Check.equal("order of delivery", List.of("level-0", "level-1", "level-2"),
                inbox.bodies().subList(WARM, WARM + 3));
    }
}
