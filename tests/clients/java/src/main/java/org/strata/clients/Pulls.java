/**
 * The pull consumer: statuses, next offsets, filtering, and parked requests.
 * Owns cases of DefaultMQPullConsumer; the lite pull consumer is in Lites.
 */
package org.strata.clients;

import static org.strata.clients.Stage.CALL_MILLIS;
import static org.strata.clients.Stage.message;
import static org.strata.clients.Stage.numbered;

import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PullCallback;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageQueue;

@SuppressWarnings("deprecation")
final class Pulls {
    private Pulls() {
    }

    static List<Case> cases() {
        return List.of(
                Case.of("pull.hold_ends", Pulls::holdEnds),
                Case.of("pull.found", Pulls::found),
                Case.of("pull.async", Pulls::async),
                Case.of("pull.no_new", Pulls::noNew),
                Case.of("pull.offset_illegal", Pulls::offsetIllegal),
                Case.of("pull.tags", Pulls::tags),
                Case.of("pull.woken", Pulls::woken),
                Case.of("pull.woken_by_tag", Pulls::wokenByTag));
    }

    /** The topic's only queue, holding count messages. */
    private static MessageQueue filled(Stage stage, int count) throws Exception {
        String topic = stage.topic(1);
        Pushes.sendBatches(stage, topic, numbered("p-", count));
        List<MessageQueue> queues = stage.queues(topic);
        stage.waitStored(queues, count);
        return queues.get(0);
    }

    private static void checkResult(PullResult result, PullStatus status, long next, long max) throws Exception {
        Check.equal("status", status, result.getPullStatus());
        Check.equal("next begin offset", next, result.getNextBeginOffset());
        Check.equal("min offset", 0L, result.getMinOffset());
        Check.equal("max offset", max, result.getMaxOffset());
    }

    private static void found(Stage stage) throws Exception {
        MessageQueue queue = filled(stage, 100);
        PullResult ten = stage.puller().pull(queue, "*", 5, 10, CALL_MILLIS);
        checkResult(ten, PullStatus.FOUND, 15, 100);
        Check.equal("bodies", numbered("p-", 15).subList(5, 15),
                ten.getMsgFoundList().stream().map(Stage::body).toList());
        Check.equal("offsets", Sends.dense(15).subList(5, 15),
                ten.getMsgFoundList().stream().map(m -> m.getQueueOffset()).toList());
        PullResult last = stage.puller().pull(queue, "*", 98, 10, CALL_MILLIS);
        checkResult(last, PullStatus.FOUND, 100, 100);
        Check.equal("at the end", List.of("p-00098", "p-00099"),
                last.getMsgFoundList().stream().map(Stage::body).toList());
    }

    private static void async(Stage stage) throws Exception {
        MessageQueue queue = filled(stage, 8);
        CompletableFuture<PullResult> answer = new CompletableFuture<>();
        stage.puller().pull(queue, "*", 0, 32, new PullCallback() {
            @Override
            public void onSuccess(PullResult result) {
                answer.complete(result);
            }

            @Override
            public void onException(Throwable error) {
                answer.completeExceptionally(error);
            }
        });
        PullResult result = answer.get(20, TimeUnit.SECONDS);
        checkResult(result, PullStatus.FOUND, 8, 8);
        Check.equal("bodies", numbered("p-", 8), result.getMsgFoundList().stream().map(Stage::body).toList());
    }

    private static void noNew(Stage stage) throws Exception {
        MessageQueue queue = filled(stage, 3);
        checkResult(stage.puller().pull(queue, "*", 3, 10, CALL_MILLIS), PullStatus.NO_NEW_MSG, 3, 3);
        String empty = stage.topic("empty", 1);
        checkResult(stage.puller().pull(stage.queues(empty).get(0), "*", 0, 10, CALL_MILLIS),
                PullStatus.NO_NEW_MSG, 0, 0);
    }

    /** An offset beyond the end is corrected to the end; on an empty queue to 0. */
    private static void offsetIllegal(Stage stage) throws Exception {
        MessageQueue queue = filled(stage, 5);
        checkResult(stage.puller().pull(queue, "*", 6, 10, CALL_MILLIS), PullStatus.OFFSET_ILLEGAL, 5, 5);
        checkResult(stage.puller().pull(queue, "*", 1_000_000, 10, CALL_MILLIS), PullStatus.OFFSET_ILLEGAL, 5, 5);
        String empty = stage.topic("empty", 1);
        checkResult(stage.puller().pull(stage.queues(empty).get(0), "*", 7, 10, CALL_MILLIS),
                PullStatus.OFFSET_ILLEGAL, 0, 0);
    }

    private static void tags(Stage stage) throws Exception {
        String topic = stage.topic(1);
        MessageQueue queue = stage.queues(topic).get(0);
        for (int i = 0; i < 12; i++) {
            Message message = message(topic, "t" + i);
            message.setTags(i % 3 == 0 ? "A" : "B");
            stage.producer().send(message, queue);
        }
        stage.waitStored(List.of(queue), 12);
        PullResult some = stage.puller().pull(queue, "A", 0, 32, CALL_MILLIS);
        Check.equal("status", PullStatus.FOUND, some.getPullStatus());
        Check.equal("bodies with A", List.of("t0", "t3", "t6", "t9"),
                some.getMsgFoundList().stream().map(Stage::body).toList());
        Check.equal("next offset passes what was filtered", 12L, some.getNextBeginOffset());
        PullResult none = stage.puller().pull(queue, "C", 0, 32, CALL_MILLIS);
        Check.equal("status without a match", PullStatus.NO_MATCHED_MSG, none.getPullStatus());
        Check.equal("next offset without a match", 12L, none.getNextBeginOffset());
    }

    /** A pull parked at the end is answered when a message arrives. */
    private static void woken(Stage stage) throws Exception {
        MessageQueue queue = filled(stage, 2);
        CompletableFuture<PullResult> parked = parked(stage.puller(), queue, "*", 2);
        Check.never("an answer before there is a message", 700, parked::isDone, () -> parked);
        long sent = System.currentTimeMillis();
        stage.producer().send(message(queue.getTopic(), "awaited"), queue);
        PullResult result = parked.get(20, TimeUnit.SECONDS);
        Check.within("millis from send to answer", 0, 3_000, System.currentTimeMillis() - sent);
        checkResult(result, PullStatus.FOUND, 3, 3);
        Check.equal("body", List.of("awaited"), result.getMsgFoundList().stream().map(Stage::body).toList());
    }

    /** A parked pull with a tag gets the message with its tag, and none of those before it. */
    private static void wokenByTag(Stage stage) throws Exception {
        MessageQueue queue = filled(stage, 1);
        CompletableFuture<PullResult> answer = CompletableFuture.supplyAsync(() -> {
            try {
                PullResult result;
                long next = 1;
                do {
                    result = stage.puller().pullBlockIfNotFound(queue, "hot", next, 10);
                    next = result.getNextBeginOffset();
                } while (result.getPullStatus() != PullStatus.FOUND);
                return result;
            } catch (Exception error) {
                throw new IllegalStateException(error);
            }
        });
        for (String tag : List.of("cold", "cold", "hot")) {
            Message message = message(queue.getTopic(), "is " + tag);
            message.setTags(tag);
            stage.producer().send(message, queue);
        }
        PullResult result = answer.get(30, TimeUnit.SECONDS);
        Check.equal("body", List.of("is hot"), result.getMsgFoundList().stream().map(Stage::body).toList());
        Check.equal("next offset", 4L, result.getNextBeginOffset());
    }

    /** Without a message the hold ends after the time the consumer named, in an ordinary answer. */
    private static void holdEnds(Stage stage) throws Exception {
        MessageQueue queue = filled(stage, 1);
        DefaultMQPullConsumer consumer = stage.configured(new DefaultMQPullConsumer(stage.name("g")));
        consumer.setBrokerSuspendMaxTimeMillis(3_000);
        consumer.start();
        stage.atEnd(consumer::shutdown);
        long began = System.currentTimeMillis();
        PullResult result = consumer.pullBlockIfNotFound(queue, "*", 1, 10);
        // The reference looks at parked requests every 5 s.
        Check.within("millis of the hold", 2_900, 10_000, System.currentTimeMillis() - began);
        checkResult(result, PullStatus.NO_NEW_MSG, 1, 1);
    }

    private static CompletableFuture<PullResult> parked(DefaultMQPullConsumer consumer, MessageQueue queue, String tags,
            long offset) {
        return CompletableFuture.supplyAsync(() -> {
            try {
                return consumer.pullBlockIfNotFound(queue, tags, offset, 10);
            } catch (Exception error) {
                throw new IllegalStateException(error);
            }
        });
    }
}
