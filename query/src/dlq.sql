SELECT
    substr(topic, 6) AS consumer_group,
    queue_id,
    queue_offset,
    store_time,
    born_time,
    properties['RETRY_TOPIC'] AS origin_topic,
    properties['ORIGIN_MESSAGE_ID'] AS origin_message_id,
    msg_id,
    keys,
    tags,
    reconsume_times,
    properties,
    body,
    body_text,
    tier
FROM messages
WHERE starts_with(topic, '%DLQ%')
