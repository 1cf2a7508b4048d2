/**
 * The program of the mqadmin suite: the cases about RocketMQ's administration tool, run as the Java suite runs its own.
 * Owns the list; cases are in the Admin* classes, each with one kind of command.
 */
package org.strata.clients;

import java.util.ArrayList;
import java.util.List;

public final class Admin {
    /** Nearly all of a command's time is its client's end, which waits up to 3 s for a thread that sleeps. */
    private static final int CASES_AT_ONCE = 16;

    private Admin() {
    }

    public static void main(String[] args) throws Exception {
        List<Case> all = new ArrayList<>();
        all.addAll(AdminBrokers.cases());
        all.addAll(AdminConsumers.cases());
        all.addAll(AdminOffsets.cases());
        all.addAll(AdminMessages.cases());
        all.addAll(AdminTopics.cases());
        all.addAll(AdminGroups.cases());
        all.addAll(AdminRefusals.cases());
        all.addAll(AdminClusters.cases());
        Suite.run(args, all, CASES_AT_ONCE);
    }
}
