/**
 * What one run of the tool printed, and ways to read it as an operator would: tables, settings, refusals.
 * Owns the text; changes nothing.
 */
package org.strata.clients;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.apache.rocketmq.remoting.protocol.route.TopicRouteData;

record Printed(String command, String text, String errors) {
    /** How the tool's exceptions name a refusal; a refusal by a broker ends with the broker's address. */
    private static final Pattern REFUSAL = Pattern.compile("CODE: (\\d+) +DESC: (.*?)( BROKER: \\S+)?\\R");
    /** A setting, or a figure, and its value: `name = value`, `name : value`, with the broker's address before it. */
    private static final Pattern SETTING = Pattern.compile("^(?:\\d+\\.[\\d.]+:\\d+\\s+)?(\\S+?)\\s*[=:]\\s*(.*)$");

    Printed succeeded() throws Check.Failed {
        Check.that("mqadmin " + command + " failed: " + refusal() + ": " + errors, !errors.contains("Exception"));
        return this;
    }

    List<String> lines() {
        return text.lines().map(String::strip).toList();
    }

    /** Fails unless the text has this part. */
    Printed says(String part) throws Check.Failed {
        Check.that("mqadmin " + command + ": expected \"" + part + "\" in: " + text, text.contains(part));
        return this;
    }

    /** The cells of the rows below the header that begins so, up to an empty line or a rule. */
    List<List<String>> table(String header) throws Check.Failed {
        List<List<String>> rows = new ArrayList<>();
        boolean within = false;
        for (String line : lines()) {
            if (!within) {
                within = line.startsWith(header);
            } else if (line.isEmpty() || line.startsWith("---")) {
                return rows;
            } else {
                rows.add(List.of(line.split("\\s+")));
            }
        }
        Check.that("mqadmin " + command + ": expected a table with " + header + " in: " + text + errors, within);
        return rows;
    }

    /** The rows of a table that begin with these cells. */
    List<List<String>> rows(String header, String... first) throws Check.Failed {
        return table(header).stream()
                .filter(row -> row.size() >= first.length && row.subList(0, first.length).equals(List.of(first)))
                .toList();
    }

    /** The only row of a table that begins with these cells. */
    List<String> row(String header, String... first) throws Check.Failed {
        List<List<String>> found = rows(header, first);
        Check.that("mqadmin " + command + ": expected one row " + List.of(first) + " in: " + text, found.size() == 1);
        return found.get(0);
    }

    /** Settings or figures by name. */
    Map<String, String> settings() {
        Map<String, String> found = new LinkedHashMap<>();
        for (String line : lines()) {
            Matcher setting = SETTING.matcher(line);
            if (setting.matches()) {
                found.put(setting.group(1), setting.group(2).strip());
            }
        }
        return found;
    }

    /** Code and text of the refusal that the tool ended with, as `17 No topic route info`; empty when there is none. */
    String refusal() {
        Matcher refusal = REFUSAL.matcher(errors + text + "\n");
        return refusal.find() ? refusal.group(1) + " " + refusal.group(2).strip() : "";
    }

    /** Fails unless the tool ended with this code, and with these words in the refusal's text. */
    void refused(int code, String words) throws Check.Failed {
        String refusal = refusal();
        Check.that("mqadmin " + command + ": expected refusal " + code + " with \"" + words + "\", got \"" + refusal
                + "\": " + text, refusal.startsWith(code + " ") && refusal.contains(words));
    }

    /** The route that topicRoute prints as JSON. */
    TopicRouteData route() throws Check.Failed {
        int start = text.indexOf('{');
        Check.that("mqadmin " + command + ": no JSON in: " + text + errors, start >= 0);
        return TopicRouteData.decode(text.substring(start).getBytes(StandardCharsets.UTF_8), TopicRouteData.class);
    }
}
