/**
 * Features that Apache has and Strata does not serve yet: transactions, timer messages.
 * Owns one case each: the feature on Apache, and on Strata a clear refusal that stores nothing.
 */
package org.strata.clients;

import static org.strata.clients.Stage.body;
import static org.strata.clients.Stage.message;

import java.util.List;
import java.util.Set;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.client.producer.TransactionSendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageAccessor;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

final class Later {
    /**
     * Codes that say "this is not served": system error with a reason, unknown code, illegal message, no permission,
     * subscription not understood.
     */
    private static final Set<Integer> REFUSALS = Set.of(1, 3, 13, 16, 23);

    private Later() {
    }

    static List<Case> cases() {
        return List.of(
                new Case("later.transaction", 100, Later::transaction),
                new Case("later.timer", 100, Later::timer));
    }

    private static void checkRefused(String what, int code, String remark) throws Exception {
        Check.that(what + ": code " + code + " is a refusal (" + remark + ")", REFUSALS.contains(code));
        Check.that(what + ": the remark says why", remark != null && !remark.isBlank());
    }

    private static final class Decider implements TransactionListener {
        @Override
        public LocalTransactionState executeLocalTransaction(Message message, Object argument) {
            return (LocalTransactionState) argument;
        }

        @Override
        public LocalTransactionState checkLocalTransaction(MessageExt message) {
            return LocalTransactionState.UNKNOW;
        }
    }

    private static void transaction(Stage stage) throws Exception {
        String topic = stage.topic(1);
        MessageQueue queue = stage.queues(topic).get(0);
        TransactionMQProducer producer = new TransactionMQProducer(stage.name("tx"));
        producer.setTransactionListener(new Decider());
        stage.started(producer);
        if (Stage.STRATA) {
            try {
                producer.sendMessageInTransaction(message(topic, "half"), LocalTransactionState.COMMIT_MESSAGE);
            } catch (MQClientException refused) {
                // The client may have tried other brokers before it gave up, which adds a layer.
                Throwable cause = refused;
                while (cause != null && !(cause instanceof MQBrokerException)) {
                    cause = cause.getCause();
                }
                Check.that("the broker answered: " + refused, cause != null);
                MQBrokerException answer = (MQBrokerException) cause;
                checkRefused("half message", answer.getResponseCode(), answer.getErrorMessage());
                Check.equal("messages stored", 0L, stage.puller().maxOffset(queue));
                return;
            }
            throw new Check.Failed("a half message was taken although transactions are not served");
        }
        TransactionSendResult undone = producer.sendMessageInTransaction(message(topic, "undone"),
                LocalTransactionState.ROLLBACK_MESSAGE);
        Check.equal("status", SendStatus.SEND_OK, undone.getSendStatus());
        producer.sendMessageInTransaction(message(topic, "done"), LocalTransactionState.COMMIT_MESSAGE);
        List<MessageExt> stored = stage.stored(topic, 1);
        Check.equal("visible", List.of("done"), Stage.sortedBodies(stored));
    }

    private static void timer(Stage stage) throws Exception {
        String topic = stage.topic(1);
        MessageQueue queue = stage.queues(topic).get(0);
        Message message = message(topic, "in two seconds");
        // The older client has no method for it, the property is the same.
        MessageAccessor.putProperty(message, "TIMER_DELAY_MS", "2000");
        if (Stage.STRATA) {
            try {
                stage.producer().send(message, queue);
            } catch (MQBrokerException refused) {
                checkRefused("timer message", refused.getResponseCode(), refused.getErrorMessage());
                Check.equal("messages stored", 0L, stage.puller().maxOffset(queue));
                return;
            }
            throw new Check.Failed("a timer message was taken although timers are not served");
        }
        long sent = System.currentTimeMillis();
        stage.producer().send(message, queue);
        MessageExt got = stage.stored(topic, 1).get(0);
        Check.equal("body", "in two seconds", body(got));
        Check.within("millis until stored", 900, 12_000, got.getStoreTimestamp() - sent);
    }
}
