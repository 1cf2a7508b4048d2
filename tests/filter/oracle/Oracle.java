/**
 * Apache RocketMQ's own verdicts: compiles expressions and evaluates them on stored properties, the way a broker does.
 * Owns the protocol on standard input and output; knows nothing of Strata. It runs from its source, with Apache's jars
 * on the class path: java -cp 'LIB/*' Oracle.java
 *
 * Numbers are big-endian. First it writes the version of its filter: a 16-bit length and the text.
 * A request:  byte, 1 to be told causes too; then the expression and a 32-bit count of properties texts, each text
 *             a 32-bit length and its bytes. Properties are given as they lie in a stored message.
 * An answer:  'R' when the expression does not compile, else 'C' and for each properties text 'T', 'F', 'N' (null) or
 *             'E' (it threw). With causes: a text, 32-bit length and bytes, what was thrown, or nothing.
 * A timing:   byte, 2; expression and properties texts as above; a 32-bit count of passes over them all.
 * An answer:  64 bits, the thread's CPU nanoseconds of the fastest pass; 32 bits, how many were TRUE in it.
 */
import java.io.BufferedInputStream;
import java.io.BufferedOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.EOFException;
import java.io.FileOutputStream;
import java.io.FileDescriptor;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import org.apache.rocketmq.broker.filter.MessageEvaluationContext;
import org.apache.rocketmq.common.filter.ExpressionType;
import org.apache.rocketmq.common.message.MessageDecoder;
import org.apache.rocketmq.filter.FilterFactory;
import org.apache.rocketmq.filter.expression.Expression;

public final class Oracle {
    /** Bytes of a broker's thread stack: its start script gives none, and this is the JVM's default on Linux. */
    private static final long STACK_BYTES = 1 << 20;
    /** Bytes of a record before its body's length; hosts are IPv4. */
    private static final int BODY_LENGTH_POSITION = 84;
    private static final int MAGIC_CODE_POSITION = 4;

    private final DataInputStream in;
    private final DataOutputStream out;
    private String cause = "";

    private Oracle(DataInputStream in, DataOutputStream out) {
        this.in = in;
        this.out = out;
    }

    public static void main(String[] arguments) throws Exception {
        // Whatever a library prints must not stand between the answers.
        DataOutputStream out = new DataOutputStream(
            new BufferedOutputStream(new FileOutputStream(FileDescriptor.out), 1 << 16));
        System.setOut(System.err);
        DataInputStream in = new DataInputStream(new BufferedInputStream(System.in, 1 << 16));
        Thread thread = new Thread(null, () -> serve(new Oracle(in, out)), "oracle", STACK_BYTES);
        thread.start();
        thread.join();
    }

    private static void serve(Oracle oracle) {
        try {
            String jar = FilterFactory.class.getProtectionDomain().getCodeSource().getLocation().getPath();
            oracle.out.writeUTF(jar.substring(jar.lastIndexOf('/') + 1));
            oracle.out.flush();
            oracle.answerAll();
        } catch (IOException gone) {
            System.err.println("oracle: " + gone);
            System.exit(1);
        }
    }

    private void answerAll() throws IOException {
        while (true) {
            byte wanted;
            try {
                wanted = in.readByte();
            } catch (EOFException end) {
                return;
            }
            cause = "";
            if (wanted == 2) {
                time();
                continue;
            }
            answer();
            if (wanted == 1) {
                byte[] text = cause.getBytes(StandardCharsets.UTF_8);
                out.writeInt(text.length);
                out.write(text);
            }
            // Answers wait for company only while more questions are there.
            if (in.available() == 0) {
                out.flush();
            }
        }
    }

    private void answer() throws IOException {
        Expression compiled = compile(new String(bytes(), StandardCharsets.UTF_8));
        out.writeByte(compiled == null ? 'R' : 'C');
        int count = in.readInt();
        for (int at = 0; at < count; at++) {
            byte[] properties = bytes();
            if (compiled != null) {
                out.writeByte(judge(compiled, record(properties)));
            }
        }
    }

    /** Properties are decoded for each evaluation, as a broker does. */
    private void time() throws IOException {
        Expression compiled = compile(new String(bytes(), StandardCharsets.UTF_8));
        ByteBuffer[] records = new ByteBuffer[in.readInt()];
        for (int at = 0; at < records.length; at++) {
            records[at] = record(bytes());
        }
        long best = Long.MAX_VALUE;
        int matches = 0;
        for (int passes = in.readInt(); passes > 0; passes--) {
            long began = ManagementFactory.getThreadMXBean().getCurrentThreadCpuTime();
            matches = 0;
            for (ByteBuffer record : records) {
                matches += judge(compiled, record) == 'T' ? 1 : 0;
            }
            best = Math.min(best, ManagementFactory.getThreadMXBean().getCurrentThreadCpuTime() - began);
        }
        out.writeLong(best);
        out.writeInt(matches);
        out.flush();
    }

    /** As ConsumerFilterManager does: whatever is thrown is a refusal. */
    private Expression compile(String text) {
        try {
            return FilterFactory.INSTANCE.get(ExpressionType.SQL92).compile(text);
        } catch (Throwable refusal) {
            cause = String.valueOf(refusal.getCause() == null ? refusal : refusal.getCause());
            return null;
        }
    }

    /** As ExpressionMessageFilter does, except that null and what was thrown are told apart from FALSE. */
    private char judge(Expression compiled, ByteBuffer record) {
        Map<String, String> decoded = MessageDecoder.decodeProperties(record);
        try {
            Object result = compiled.evaluate(new MessageEvaluationContext(decoded));
            if (result == null) {
                return 'N';
            }
            return result instanceof Boolean ? ((Boolean) result ? 'T' : 'F') : '?';
        } catch (Throwable thrown) {
            cause = String.valueOf(thrown);
            return 'E';
        }
    }

    /** A stored message with nothing but properties. */
    private static ByteBuffer record(byte[] properties) {
        ByteBuffer record = ByteBuffer.allocate(BODY_LENGTH_POSITION + 4 + 1 + 2 + properties.length);
        record.putInt(MAGIC_CODE_POSITION, MessageDecoder.MESSAGE_MAGIC_CODE);
        record.putShort(BODY_LENGTH_POSITION + 4 + 1, (short) properties.length);
        record.position(BODY_LENGTH_POSITION + 4 + 1 + 2);
        record.put(properties);
        return record.position(0);
    }

    private byte[] bytes() throws IOException {
        byte[] bytes = new byte[in.readInt()];
        in.readFully(bytes);
        return bytes;
    }
}
