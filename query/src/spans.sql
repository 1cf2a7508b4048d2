-- The broker's records of ranges, by message. Whose send a message was, of several in a range, its own address tells.
WITH ranged AS (
    SELECT
        t.kind AS kind,
        m.msg_id AS msg_id,
        t.topic AS topic,
        t.client_group AS client_group,
        coalesce(t.time, t.store_time) AS begin_time,
        t.messages <= t.last_offset - t.queue_offset AS is_filtered,
        t.client_id AS client_id,
        t.client_host AS client_host,
        t.store_time AS store_time
    FROM (SELECT topic, queue_id, queue_offset, msg_id, born_host FROM messages WHERE msg_id IS NOT NULL) m
    JOIN (SELECT *, coalesce(last_queue_offset, queue_offset) AS last_offset FROM traces) t
        ON m.topic = t.topic AND m.queue_id = t.queue_id
        AND m.queue_offset >= t.queue_offset AND m.queue_offset <= t.last_offset
        AND (t.kind <> 'BrokerStore' OR m.born_host = t.client_host)
    WHERE t.msg_id IS NULL
)
SELECT
    'publish' AS hop,
    msg_id,
    topic,
    client_group,
    coalesce(time, store_time) AS begin_time,
    cost_ms,
    is_success,
    CAST(NULL AS INT) AS attempt,
    message_type AS status,
    client_host,
    request_id,
    store_time
FROM traces
WHERE kind = 'Pub'
UNION ALL
SELECT
    CASE WHEN starts_with(topic, '%RETRY%') THEN 'retry' WHEN starts_with(topic, '%DLQ%') THEN 'dead_letter' ELSE 'store' END AS hop,
    msg_id,
    topic,
    CASE WHEN starts_with(topic, '%RETRY%') THEN substr(topic, 8) WHEN starts_with(topic, '%DLQ%') THEN substr(topic, 6) END AS client_group,
    store_time AS begin_time,
    CAST(NULL AS BIGINT) AS cost_ms,
    true AS is_success,
    reconsume_times AS attempt,
    tier AS status,
    born_host AS client_host,
    CAST(NULL AS VARCHAR) AS request_id,
    store_time
FROM messages
WHERE msg_id IS NOT NULL AND NOT starts_with(topic, 'RMQ_SYS_') AND NOT starts_with(topic, 'rmq_sys_')
    AND topic <> 'SCHEDULE_TOPIC_XXXX'
UNION ALL
SELECT
    'consume' AS hop,
    b.msg_id AS msg_id,
    b.topic AS topic,
    b.client_group AS client_group,
    coalesce(b.time, b.store_time) AS begin_time,
    e.cost_ms AS cost_ms,
    e.is_success AS is_success,
    b.retry_times AS attempt,
    coalesce(e.context, CASE WHEN e.is_success THEN 'SUCCESS' WHEN NOT e.is_success THEN 'FAILED' END) AS status,
    b.client_host AS client_host,
    b.request_id AS request_id,
    b.store_time AS store_time
FROM (SELECT * FROM traces WHERE kind = 'SubBefore') b
LEFT JOIN (SELECT * FROM traces WHERE kind = 'SubAfter') e
    ON b.request_id = e.request_id AND b.msg_id = e.msg_id
UNION ALL
SELECT
    'end_transaction' AS hop,
    msg_id,
    topic,
    client_group,
    coalesce(time, store_time) AS begin_time,
    CAST(NULL AS BIGINT) AS cost_ms,
    is_success,
    CAST(NULL AS INT) AS attempt,
    transaction_state AS status,
    client_host,
    CAST(NULL AS VARCHAR) AS request_id,
    store_time
FROM traces
WHERE kind = 'EndTransaction'
UNION ALL
SELECT
    'recall' AS hop,
    msg_id,
    topic,
    client_group,
    coalesce(time, store_time) AS begin_time,
    cost_ms,
    is_success,
    CAST(NULL AS INT) AS attempt,
    CAST(NULL AS VARCHAR) AS status,
    client_host,
    CAST(NULL AS VARCHAR) AS request_id,
    store_time
FROM traces
WHERE kind = 'Recall'
UNION ALL
SELECT
    'receive' AS hop, msg_id, topic, client_group, begin_time, CAST(NULL AS BIGINT) AS cost_ms, true AS is_success,
    CAST(NULL AS INT) AS attempt, client_id AS status, client_host, CAST(NULL AS VARCHAR) AS request_id, store_time
FROM ranged
WHERE kind = 'BrokerStore'
UNION ALL
SELECT
    'deliver' AS hop, msg_id, topic, client_group, begin_time, CAST(NULL AS BIGINT) AS cost_ms, true AS is_success,
    CAST(NULL AS INT) AS attempt, CASE WHEN is_filtered THEN 'filtered' ELSE client_id END AS status, client_host, CAST(NULL AS VARCHAR) AS request_id, store_time
FROM ranged
WHERE kind = 'BrokerDeliver'
UNION ALL
SELECT
    'ack' AS hop, msg_id, topic, client_group, begin_time, CAST(NULL AS BIGINT) AS cost_ms, true AS is_success,
    CAST(NULL AS INT) AS attempt, client_id AS status, client_host, CAST(NULL AS VARCHAR) AS request_id, store_time
FROM ranged
WHERE kind = 'BrokerAck'
UNION ALL
SELECT
    'send_back' AS hop,
    msg_id,
    topic,
    client_group,
    coalesce(time, store_time) AS begin_time,
    CAST(NULL AS BIGINT) AS cost_ms,
    true AS is_success,
    retry_times AS attempt,
    CASE WHEN kind = 'BrokerDeadLetter' THEN 'dead_letter' ELSE 'retry' END AS status,
    client_host,
    CAST(NULL AS VARCHAR) AS request_id,
    store_time
FROM traces
WHERE kind IN ('BrokerRetry', 'BrokerDeadLetter')
