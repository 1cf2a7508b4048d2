/**
 * Assertions with the values in their message, and waiting for a condition with a deadline.
 * Owns no state; a failed check ends its case by an exception.
 */
package org.strata.clients;

import java.util.Objects;
import java.util.concurrent.Callable;
import java.util.function.BooleanSupplier;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.exception.MQClientException;

final class Check {
    private static final int SHOWN_CHARS = 240;

    private Check() {
    }

    /** A check that did not hold. */
    static final class Failed extends Exception {
        Failed(String message) {
            super(message);
        }
    }

    static void equal(String what, Object expected, Object actual) throws Failed {
        if (!Objects.equals(expected, actual)) {
            throw new Failed(what + ": expected " + shown(expected) + ", got " + shown(actual));
        }
    }

    static void that(String what, boolean holds) throws Failed {
        if (!holds) {
            throw new Failed(what);
        }
    }

    /** The value lies in low..high, both included. */
    static void within(String what, long low, long high, long actual) throws Failed {
        if (actual < low || actual > high) {
            throw new Failed(what + ": expected " + low + ".." + high + ", got " + actual);
        }
    }

    /** Waits until the condition holds; the state is printed when it never does. */
    static void until(String what, int seconds, BooleanSupplier condition, Callable<?> state) throws Exception {
        long deadline = System.nanoTime() + seconds * 1_000_000_000L;
        while (!condition.getAsBoolean()) {
            if (System.nanoTime() > deadline) {
                throw new Failed(what + ": not within " + seconds + " s, state " + shown(state.call()));
            }
            Thread.sleep(20);
        }
    }

    /** Waits that long and fails as soon as the condition holds: for things that must not happen. */
    static void never(String what, int millis, BooleanSupplier condition, Callable<?> state) throws Exception {
        long deadline = System.nanoTime() + millis * 1_000_000L;
        while (System.nanoTime() < deadline) {
            if (condition.getAsBoolean()) {
                throw new Failed(what + ": state " + shown(state.call()));
            }
            Thread.sleep(20);
        }
    }

    /** Runs what must be refused and returns the response code of the refusal, by broker or by client. */
    static int codeOf(String what, Callable<?> refused) throws Exception {
        Object result;
        try {
            result = refused.call();
        } catch (MQBrokerException error) {
            return error.getResponseCode();
        } catch (MQClientException error) {
            return error.getResponseCode();
        }
        throw new Failed(what + ": expected a refusal, got " + shown(result));
    }

    private static String shown(Object value) {
        String text = String.valueOf(value);
        return text.length() <= SHOWN_CHARS ? text : text.substring(0, SHOWN_CHARS) + "... (" + text.length() + ")";
    }
}
