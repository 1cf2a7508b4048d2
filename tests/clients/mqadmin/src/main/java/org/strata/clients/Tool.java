/**
 * RocketMQ's mqadmin, called the way its shell script calls it, with what it prints kept.
 * Owns the standard streams of the process and the order of commands: one at a time; knows no case.
 */
package org.strata.clients;

import java.io.ByteArrayOutputStream;
import java.io.OutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.List;
import org.apache.rocketmq.tools.command.MQAdminStartup;

final class Tool extends MQAdminStartup {
    static final String CLUSTER = "DefaultCluster";
    private static final Channel OUT = new Channel(System.out);
    private static final Channel ERR = new Channel(System.err);

    static {
        System.setOut(new PrintStream(OUT, true, StandardCharsets.UTF_8));
        System.setErr(new PrintStream(ERR, true, StandardCharsets.UTF_8));
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
        return at(Stage.NAMESRV, words).succeeded();
    }

    /** Runs a command that may fail: the tool then prints a stack trace. */
    static Printed attempt(String... words) {
        return at(Stage.NAMESRV, words);
    }

    /** Runs a command against these name servers. */
    static synchronized Printed at(String namesrv, String... words) {
        String[] arguments = Arrays.copyOf(words, words.length + 2);
        arguments[words.length] = "-n";
        arguments[words.length + 1] = namesrv;
        // A command keeps a client that starts only once; the script has a new process, and so a new one, each time.
        SUB_COMMANDS.clear();
        OUT.kept.set(new ByteArrayOutputStream());
        ERR.kept.set(new ByteArrayOutputStream());
        String text;
        String errors;
        try {
            main0(arguments, null);
        } finally {
            text = OUT.taken();
            errors = ERR.taken();
        }
        System.err.println("mqadmin " + String.join(" ", words) + "\n" + text + errors);
        return new Printed(String.join(" ", words), text, errors);
    }

    /** The name of the broker at this address, from the tool's own list. */
    static String brokerName(String address) throws Exception {
        List<List<String>> rows = run("clusterList").table("#Cluster Name");
        for (List<String> row : rows) {
            if (row.get(3).equals(address)) {
                return row.get(1);
            }
        }
        throw new Check.Failed("no broker at " + address + " in " + rows);
    }

    static String brokerName() throws Exception {
        return brokerName(Stage.BROKER);
    }
}
