/**
 * Topics made and changed by the client's own administration call, and what producers then see.
 * Owns cases about accepted topic requests; refused names are in Refusals.
 */
package org.strata.clients;

import static org.strata.clients.Stage.message;

import java.util.List;
import java.util.TreeSet;
import java.util.concurrent.Callable;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

final class Topics {
    private Topics() {
    }

    static List<Case> cases() {
        return List.of(
                Case.of("topic.create", Topics::create),
                Case.of("topic.grow", Topics::grow));
    }

    private static int count(Callable<? extends java.util.Collection<MessageQueue>> queues) {
        try {
            return queues.call().size();
        } catch (Exception notYet) {
            return -1;
        }
    }

    private static void create(Stage stage) throws Exception {
        String topic = stage.name("made");
        Version.createTopic(stage.producer(), topic, 7);
        Check.until("7 queues to read", 15, () -> count(() -> stage.queues(topic)) == 7,
                () -> count(() -> stage.queues(topic)));
        Check.equal("queues to write", 7, stage.producer().fetchPublishMessageQueues(topic).size());
        for (int i = 0; i < 14; i++) {
            stage.producer().send(message(topic, "m" + i));
        }
        TreeSet<Integer> used = new TreeSet<>(stage.stored(topic, 14).stream().map(MessageExt::getQueueId).toList());
        Check.equal("queues used", List.of(0, 1, 2, 3, 4, 5, 6), List.copyOf(used));
    }

    /** A second request changes the number of queues; what is stored stays. */
    private static void grow(Stage stage) throws Exception {
        String topic = stage.topic(2);
        stage.producer().send(message(topic, "before"));
        stage.stored(topic, 1);
        Version.createTopic(stage.producer(), topic, 5);
        Check.until("5 queues", 40, () -> count(() -> stage.queues(topic)) == 5, () -> count(() -> stage.queues(topic)));
        stage.producer().send(message(topic, "after"), stage.queues(topic).get(4));
        Check.equal("stored", List.of("after", "before"), Stage.sortedBodies(stage.stored(topic, 2)));
    }
}
