-- The table `messages` of docs/sql.md over the objects of a cold tier, for Spark 3.5.
--
-- strata_spark.py runs it, and makes what it names: the views strata_objects and strata_floors, the function
-- strata_unpacked, and the settings that it rests on (time zone UTC, of several values of one key in a map the last one).

CREATE OR REPLACE TEMPORARY VIEW messages AS
SELECT topic, queue_id, queue_offset, physical_offset AS log_offset, store_time, born_time, msg_id, keys, tags,
    flag, sys_flag, reconsume_times,
    -- Null where the address is one of IPv6.
    CASE WHEN octet_length(born_host) = 8 THEN concat(
        conv(substr(hex(born_host), 1, 2), 16, 10), '.', conv(substr(hex(born_host), 3, 2), 16, 10), '.',
        conv(substr(hex(born_host), 5, 2), 16, 10), '.', conv(substr(hex(born_host), 7, 2), 16, 10), ':',
        conv(substr(hex(born_host), 13, 4), 16, 10)) END AS born_host,
    CASE WHEN octet_length(store_host) = 8 THEN concat(
        conv(substr(hex(store_host), 1, 2), 16, 10), '.', conv(substr(hex(store_host), 3, 2), 16, 10), '.',
        conv(substr(hex(store_host), 5, 2), 16, 10), '.', conv(substr(hex(store_host), 7, 2), 16, 10), ':',
        conv(substr(hex(store_host), 13, 4), 16, 10)) END AS store_host,
    prepared_transaction_offset,
    map_from_entries(concat(
        filter(
            array(struct('UNIQ_KEY' AS key, msg_id AS value), struct('KEYS' AS key, array_join(keys, ' ') AS value),
                struct('TAGS' AS key, tags AS value)),
            entry -> entry.value IS NOT NULL),
        filter(of_columns, entry -> entry.value IS NOT NULL),
        map_entries(properties))) AS properties,
    body,
    CASE WHEN encode(decode(body, 'UTF-8'), 'UTF-8') = body THEN decode(body, 'UTF-8') END AS body_text,
    'cold' AS tier
FROM (
    -- Every row whose body is asked for passes through Python; only those that are packed take their body along.
    SELECT *, coalesce(strata_unpacked(CASE WHEN sys_flag & 1 = 1 THEN packed END, sys_flag), packed) AS body
    FROM (SELECT /*+ BROADCAST(floors) */ objects.* FROM strata_objects AS objects
          LEFT JOIN strata_floors AS floors ON floors.topic = objects.topic
          WHERE floors.log_offset IS NULL OR objects.physical_offset >= floors.log_offset));
