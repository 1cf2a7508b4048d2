-- The table `messages` of docs/sql.md over the objects of a cold tier, for DuckDB 1.5.
--
-- Needs the variable `listing`, the path of what `strata tier ls --output json` said:
--   SET VARIABLE listing = 'listing.json';
-- Bodies that a client compressed need functions that DuckDB does not have: strata_duckdb.py brings them, and runs this file.
-- Without Python read duckdb_plain.sql before it.

SET TimeZone = 'UTC';

CREATE OR REPLACE TEMP TABLE strata_listing AS
SELECT CASE WHEN floors IS NULL OR properties IS NULL
            THEN error('the listing tells no floors or no properties: it is not what strata tier ls --output json says')
            WHEN len(flatten(list_transform(rolls, lambda roll: roll.names))) = 0
            THEN error('the listing has no objects: nothing is rolled yet')
            ELSE regexp_replace(url, '^file://', '') END AS url, rolls, floors, properties
FROM read_json(getvariable('listing'), columns = {
    url: 'VARCHAR', rolls: 'STRUCT(names VARCHAR[])[]', floors: 'STRUCT(topic VARCHAR, "logOffset" BIGINT)[]',
    properties: 'STRUCT(name VARCHAR, id INTEGER)[]'}, maximum_object_size = 268435456);

-- The objects that count: those that are listed, whatever else the bucket holds.
SET VARIABLE strata_objects = (
    SELECT list_transform(flatten(list_transform(rolls, lambda roll: roll.names)), lambda name: url || '/' || name)
    FROM strata_listing);

-- Columns are found by their ids, so that no object is opened to learn which columns it has, and names of properties
-- that differ in the case of letters alone stay apart. The last one is in no object: there is always a column p_.
SET VARIABLE strata_properties = (
    SELECT list_transform(list_sort(list_transform(properties, lambda p: (p.id, p.name))), lambda p: p[2])
    FROM strata_listing);
SET VARIABLE strata_columns = (
    SELECT map_from_entries(list_transform([
            (1, 'topic', 'VARCHAR'), (2, 'queue_id', 'INTEGER'), (3, 'queue_offset', 'BIGINT'),
            (4, 'physical_offset', 'BIGINT'), (5, 'store_time', 'TIMESTAMPTZ'), (6, 'born_time', 'TIMESTAMPTZ'),
            (7, 'msg_id', 'VARCHAR'), (8, 'keys', 'VARCHAR[]'), (9, 'tags', 'VARCHAR'), (13, 'flag', 'INTEGER'),
            (14, 'sys_flag', 'INTEGER'), (15, 'reconsume_times', 'INTEGER'), (17, 'born_host', 'BLOB'),
            (18, 'store_host', 'BLOB'), (19, 'prepared_transaction_offset', 'BIGINT'),
            (10, 'properties', 'MAP(VARCHAR, VARCHAR)'), (11, 'body', 'BLOB')]
        || list_transform(list_sort(list_transform(properties, lambda p: p.id)), lambda id: (id, 'p_' || id, 'VARCHAR'))
        || [(999, 'p_', 'VARCHAR')],
        lambda c: (c[1], {name: c[2], type: c[3], default_value: NULL})))
    FROM strata_listing);

-- Messages of a topic below its floor are gone for readers: the topic was deleted, or they have expired.
CREATE OR REPLACE TEMP VIEW strata_floors AS
SELECT floor.topic AS topic, floor.logOffset AS log_offset FROM (SELECT unnest(floors) AS floor FROM strata_listing);

-- Null where the address is one of IPv6.
CREATE OR REPLACE TEMP MACRO strata_host(host) AS
    CASE WHEN octet_length(host) = 8 THEN concat_ws('.',
        ('0x' || substr(hex(host), 1, 2))::INTEGER, ('0x' || substr(hex(host), 3, 2))::INTEGER,
        ('0x' || substr(hex(host), 5, 2))::INTEGER, ('0x' || substr(hex(host), 7, 2))::INTEGER)
        || ':' || ('0x' || substr(hex(host), 13, 4))::INTEGER END;

-- Of entries of one name the last one counts.
CREATE OR REPLACE TEMP MACRO strata_last(entries) AS
    list_filter(entries, lambda entry, place: NOT list_contains(
        list_transform(entries[place + 1:], lambda later: later.key), entry.key));

CREATE OR REPLACE TEMP VIEW messages AS
SELECT topic, queue_id, queue_offset, physical_offset AS log_offset, store_time, born_time,
    msg_id, keys, tags, flag, sys_flag, reconsume_times,
    strata_host(born_host) AS born_host, strata_host(store_host) AS store_host, prepared_transaction_offset,
    map_from_entries(strata_last(
        list_filter(
            [{key: 'UNIQ_KEY', value: msg_id}, {key: 'KEYS', value: array_to_string(keys, ' ')}, {key: 'TAGS', value: tags}]
            || list_transform(list_zip(getvariable('strata_properties'), values_of_columns),
                lambda pair: {key: pair[1], value: pair[2]}),
            lambda entry: entry.key IS NOT NULL AND entry.value IS NOT NULL)
        || map_entries(properties))) AS properties,
    CASE WHEN sys_flag & 1 = 0 THEN body ELSE strata_unpacked(body, sys_flag) END AS body,
    CASE WHEN sys_flag & 1 = 0 THEN try(decode(body)) ELSE strata_unpacked_text(body, sys_flag) END AS body_text,
    'cold' AS tier
FROM (SELECT *, [*COLUMNS('^p_')] AS values_of_columns
      FROM read_parquet(getvariable('strata_objects'), schema = getvariable('strata_columns'))) AS objects
LEFT JOIN strata_floors AS floors USING (topic)
WHERE floors.log_offset IS NULL OR physical_offset >= floors.log_offset;
