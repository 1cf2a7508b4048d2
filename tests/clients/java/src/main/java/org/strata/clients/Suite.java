/**
 * The suite's program: lists its cases, or runs those named in CASES and prints a line for each.
 * Owns the conversation with the runner (see harness/session.py) and the threads; holds no case.
 */
package org.strata.clients;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

public final class Suite {
    /** Most cases wait for the broker rather than compute, so more run at once than there are cores. */
    private static final int CASES_AT_ONCE = 8;

    private static final BufferedReader ANSWERS =
            new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    private static final Object ONE_REQUEST = new Object();

    private Suite() {
    }

    /** All cases; those that wait longest come first, so that they do not begin last. */
    private static List<Case> cases() {
        List<Case> all = new ArrayList<>();
        all.addAll(Retries.cases());
        all.addAll(Filters.cases());
        all.addAll(Orders.cases());
        all.addAll(Pushes.cases());
        all.addAll(Delays.cases());
        all.addAll(Lites.cases());
        all.addAll(Later.cases());
        all.addAll(Pulls.cases());
        all.addAll(Sends.cases());
        all.addAll(Offsets.cases());
        all.addAll(Queries.cases());
        all.addAll(Fields.cases());
        all.addAll(Refusals.cases());
        all.addAll(Topics.cases());
        all.addAll(Clusters.cases());
        return all;
    }

    public static void main(String[] args) throws Exception {
        run(args, cases(), CASES_AT_ONCE);
    }

    /** Lists cases, or runs so many at once; the end of the run ends the process. */
    static void run(String[] args, List<Case> all, int atOnce) throws Exception {
        if (args.length == 1 && args[0].equals("--list")) {
            for (Case each : all) {
                say(each.name() + " " + each.limitSeconds());
            }
            return;
        }
        Set<String> wanted = Set.of(System.getenv("CASES").split(","));
        List<Case> chosen = all.stream().filter(each -> wanted.contains(each.name())).toList();
        ExecutorService slots = Executors.newFixedThreadPool(atOnce);
        CountDownLatch open = new CountDownLatch(chosen.size());
        for (Case each : chosen) {
            slots.submit(() -> {
                try {
                    run(each);
                } finally {
                    open.countDown();
                }
            });
        }
        open.await();
        // Clients of a case that timed out may hold threads that never end.
        System.exit(0);
    }

    /** Runs one case in a thread of its own, so that a hanging client call cannot hold the slot for ever. */
    private static void run(Case each) {
        say("start " + each.name());
        long began = System.nanoTime();
        ExecutorService body = Executors.newSingleThreadExecutor();
        Stage stage = new Stage(each.name());
        Future<?> done = body.submit(() -> {
            each.body().run(stage);
            return null;
        });
        Throwable failure = null;
        try {
            done.get(each.limitSeconds(), TimeUnit.SECONDS);
        } catch (ExecutionException error) {
            failure = error.getCause();
        } catch (TimeoutException error) {
            failure = new Check.Failed("did not end within " + each.limitSeconds() + " s");
        } catch (InterruptedException error) {
            failure = error;
        }
        long millis = (System.nanoTime() - began) / 1_000_000;
        if (failure == null) {
            say("ok " + each.name() + " " + millis);
        } else {
            System.err.println("not ok " + each.name());
            failure.printStackTrace();
            say("not ok " + each.name() + " " + millis + " # " + reason(failure));
        }
        body.shutdownNow();
        stage.close();
    }

    private static String reason(Throwable failure) {
        String name = failure instanceof Check.Failed ? "" : failure.getClass().getSimpleName() + ": ";
        return (name + failure.getMessage()).replaceAll("\\s+", " ");
    }

    private static void say(String line) {
        synchronized (System.out) {
            System.out.println(line);
            System.out.flush();
        }
    }

    /** Asks the runner for something that only it can do, such as killing a node; returns when it is done. */
    static void ask(String request) throws Exception {
        synchronized (ONE_REQUEST) {
            say("#" + request);
            String answer = ANSWERS.readLine();
            Check.equal("the runner's answer to #" + request, "done", answer);
        }
    }
}
