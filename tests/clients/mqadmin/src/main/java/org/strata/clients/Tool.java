/**
 * RocketMQ's mqadmin, its commands run as its shell script runs them, with what they print kept.
 * Owns the standard streams of the process and the tool's list of commands; knows no case.
 */
package org.strata.clients;

import java.io.ByteArrayOutputStream;
import java.io.OutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.locks.Lock;
import java.util.concurrent.locks.ReadWriteLock;
import java.util.concurrent.locks.ReentrantReadWriteLock;
import org.apache.commons.cli.CommandLine;
import org.apache.commons.cli.DefaultParser;
import org.apache.commons.cli.Options;
import org.apache.rocketmq.common.MQVersion;
import org.apache.rocketmq.common.MixAll;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;
import org.apache.rocketmq.srvutil.ServerUtil;
import org.apache.rocketmq.tools.command.MQAdminStartup;
import org.apache.rocketmq.tools.command.SubCommand;

final class Tool extends MQAdminStartup {
    static final String CLUSTER = "DefaultCluster";
    /** Commands name their clients by the millisecond in which they start; two must not have the same. */
    private static final int APART_MILLIS = 20;
    private static final String SAME_MILLISECOND = "has created already, specified another name";
    private static final int POLL_MILLIS = 300;
    /** Commands run side by side; one with other name servers runs alone, for their list is a system property. */
    private static final ReadWriteLock ADDRESS = new ReentrantReadWriteLock();
    private static final Channel OUT = new Channel(System.out);
    private static final Channel ERR = new Channel(System.err);
    private static String broker;

    static {
        System.setOut(new PrintStream(OUT, true, StandardCharsets.UTF_8));
        System.setErr(new PrintStream(ERR, true, StandardCharsets.UTF_8));
        System.setProperty(RemotingCommand.REMOTING_VERSION_KEY, Integer.toString(MQVersion.CURRENT_VERSION));
    }

    private Tool() {
    }

    /** A standard stream that keeps what a thread prints while it runs a command, and lets everything else pass. */
    private static final class Channel extends OutputStream {
        private final PrintStream usual;
        private final ThreadLocal<ByteArrayOutputStream> kept = new ThreadLocal<>();

        Channel(PrintStream usual) {
            this.usual = usual;
        }

        @Override
        public void write(int letter) {
            write(new byte[] {(byte) letter}, 0, 1);
        }

        @Override
        public void write(byte[] bytes, int from, int count) {
            ByteArrayOutputStream own = kept.get();
            if (own == null) {
                usual.write(bytes, from, count);
            } else {
                own.write(bytes, from, count);
            }
        }

        @Override
        public void flush() {
            usual.flush();
        }

        String taken() {
            String text = kept.get().toString(StandardCharsets.UTF_8);
            kept.remove();
            return text;
        }
    }

    /** Runs a command that must succeed, against all name servers of the target. */
    static Printed run(String... words) throws Exception {
        return attempt(words).succeeded();
    }

    /** Runs a command that may fail: the tool then prints a stack trace. */
    static Printed attempt(String... words) throws Exception {
        return at(Stage.NAMESRV, words);
    }

    /** Runs a command against these name servers. */
    static Printed at(String namesrv, String... words) throws Exception {
        boolean usual = namesrv.equals(Stage.NAMESRV);
        Lock lock = usual ? ADDRESS.readLock() : ADDRESS.writeLock();
        lock.lock();
        try {
            System.setProperty(MixAll.NAMESRV_ADDR_PROPERTY, namesrv);
            Printed printed = kept(words, () -> execute(namesrv, words));
            return printed.errors().contains(SAME_MILLISECOND) ? kept(words, () -> execute(namesrv, words)) : printed;
        } finally {
            System.setProperty(MixAll.NAMESRV_ADDR_PROPERTY, Stage.NAMESRV);
            lock.unlock();
        }
    }

    /** Calls the tool's own entry, alone: its list of commands grows with each call and is read without a lock. */
    static Printed script(String... words) throws Exception {
        ADDRESS.writeLock().lock();
        try {
            SUB_COMMANDS.clear();
            return kept(words, () -> {
                main0(words, null);
                return null;
            });
        } finally {
            ADDRESS.writeLock().unlock();
        }
    }

    /** A new object for each run, as each run of the script has: some keep a client that starts only once. */
    private static synchronized SubCommand command(String name) throws Exception {
        SUB_COMMANDS.clear();
        initCommand();
        List<SubCommand> commands = new ArrayList<>(SUB_COMMANDS);
        Thread.sleep(APART_MILLIS);
        return commands.stream().filter(each -> each.commandName().equals(name)).findFirst().orElseThrow();
    }

    /** What the tool's entry does once it has found the command. */
    private static Void execute(String namesrv, String... words) throws Exception {
        SubCommand command = command(words[0]);
        String[] arguments = Arrays.copyOfRange(words, 1, words.length + 2);
        arguments[words.length - 1] = "-n";
        arguments[words.length] = namesrv;
        Options options = command.buildCommandlineOptions(ServerUtil.buildCommandlineOptions(new Options()));
        CommandLine line = new DefaultParser().parse(options, arguments);
        command.execute(line, options, null);
        return null;
    }

    private static Printed kept(String[] words, Callable<Void> work) {
        OUT.kept.set(new ByteArrayOutputStream());
        ERR.kept.set(new ByteArrayOutputStream());
        String text;
        String errors;
        try {
            work.call();
        } catch (Exception failure) {
            failure.printStackTrace();
        } finally {
            text = OUT.taken();
            errors = ERR.taken();
        }
        String command = String.join(" ", words);
        System.err.println("mqadmin " + command + "\n" + text + errors);
        return new Printed(command, text, errors);
    }

    /** Runs commands until what is read from them is as expected; what fails is not there yet. */
    static <T> void until(String what, int seconds, T expected, Callable<T> read) throws Exception {
        long deadline = System.nanoTime() + seconds * 1_000_000_000L;
        Object last;
        do {
            try {
                last = read.call();
            } catch (Exception notYet) {
                last = notYet;
            }
            if (expected.equals(last)) {
                return;
            }
            Thread.sleep(POLL_MILLIS);
        } while (System.nanoTime() < deadline);
        throw new Check.Failed(what + ": not within " + seconds + " s, expected " + expected + ", last " + last);
    }

    /** The name of the broker that cases use, from the tool's own list. */
    static synchronized String brokerName() throws Exception {
        if (broker != null) {
            return broker;
        }
        List<List<String>> rows = run("clusterList").table("#Cluster Name");
        for (List<String> row : rows) {
            if (row.get(3).equals(Stage.BROKER)) {
                broker = row.get(1);
                return broker;
            }
        }
        throw new Check.Failed("no broker at " + Stage.BROKER + " in " + rows);
    }
}
