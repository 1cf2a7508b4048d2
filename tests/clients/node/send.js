// Sending and what is stored; requests that must be refused; features that Strata does not serve yet.
// Owns cases about the producer.
'use strict';

const crypto = require('crypto');
const { Failed, Inbox, Message, equal, numbered, refusal, sleep, sorted, within } = require('./stage');

const USUAL_SECONDS = 90;
const BODY_BYTES_MAX = 4 * 1024 * 1024;
const STRATA = process.env.TARGET === 'strata';

// The library takes the queue's id from the answer as the text that it is there.
const queueOf = result => Number(result.messageQueue.queueId);

async function sync(stage) {
  const topic = await stage.topic(4);
  const offsets = {};
  const ids = new Set();
  const bodies = numbered('sync-', 20);
  for (const body of bodies) {
    const result = await stage.send(new Message(topic, 'tag', body));
    ids.add(result.msgId);
    const queue = queueOf(result);
    (offsets[queue] = offsets[queue] || []).push(Number(result.queueOffset));
  }
  const dense = [0, 1, 2, 3, 4];
  equal('queue offsets', { 0: dense, 1: dense, 2: dense, 3: dense }, offsets);
  equal('distinct ids', 20, ids.size);
  const stored = await stage.stored(topic, 20);
  equal('stored bodies', bodies, sorted(stored.map(m => m.body.toString())));
  // This client shows the offset id of a delivered message, which is what the send answered.
  equal('stored ids', sorted(ids), sorted(stored.map(m => m.msgId)));
}

async function concurrent(stage) {
  const topic = await stage.topic(2);
  const bodies = numbered('at-once-', 200);
  await stage.producer();
  const results = await Promise.all(bodies.map(body => stage.send(new Message(topic, '', body))));
  const offsets = [0, 1].map(queue => results.filter(r => queueOf(r) === queue)
    .map(r => Number(r.queueOffset)).sort((a, b) => a - b));
  offsets.forEach((list, queue) => equal(`offsets of queue ${queue}`, list.map((_, i) => i), list));
  equal('results', 200, offsets[0].length + offsets[1].length);
  equal('stored bodies', bodies, sorted((await stage.stored(topic, 200)).map(m => m.body.toString())));
}

async function compressed(stage) {
  const topic = await stage.topic(1);
  const body = 'a line that repeats itself\n'.repeat(4000);
  await stage.send(new Message(topic, '', body));
  const [ stored ] = await stage.stored(topic, 1);
  equal('body after decompression', body, stored.body.toString());
  within('bytes stored', 1, 4096, stored.storeSize);
}

async function sharded(stage) {
  const topic = await stage.topic(4);
  const chosen = {};
  for (let i = 0; i < 40; i++) {
    const message = new Message(topic, '', `shard-${i % 5}-${String(i).padStart(2, '0')}`);
    message.shardingKey = `shard-${i % 5}`;
    const result = await stage.send(message);
    chosen[message.body.toString()] = queueOf(result);
  }
  for (const message of await stage.stored(topic, 40)) {
    equal(`queue of ${message.body}`, chosen[message.body.toString()], message.queueId);
    equal('key', message.body.toString().slice(0, 7), message.shardingKey);
  }
}

async function fields(stage) {
  const topic = await stage.topic(3);
  const message = new Message(topic, 'the-tag', 'a body');
  message.keys = [ 'k1', 'k2' ];
  message.flag = 0x12345678;
  message.properties.one = '1';
  message.properties['with spaces'] = ' v v ';
  const before = Date.now();
  const sent = await stage.send(message);
  const after = Date.now();
  const [ got ] = await stage.stored(topic, 1);
  equal('body', 'a body', got.body.toString());
  equal('tag', 'the-tag', got.tags);
  equal('keys', 'k1 k2', got.keys);
  equal('flag', 0x12345678, got.flag);
  equal('one', '1', got.properties.one);
  equal('with spaces', ' v v ', got.properties['with spaces']);
  equal('topic', topic, got.topic);
  equal('queue', queueOf(sent), got.queueId);
  equal('queue offset', Number(sent.queueOffset), Number(got.queueOffset));
  equal('id', sent.msgId, got.msgId);
  equal('reconsume times', 0, got.reconsumeTimes);
  within('born time', before, after, Number(got.bornTimestamp));
  within('store time', before, after, Number(got.storeTimestamp));
  equal('store host', process.env.BROKER, got.storeHost);
}

async function unicode(stage) {
  const topic = await stage.topic(1);
  const texts = [ 'naïve café', 'Привет, мир', '消息队列 訊息', '🚀🧪 astral', 'عربي עברית' ];
  for (const text of texts) {
    const message = new Message(topic, text.replace(/ /g, '_'), text);
    message.properties[`in ${text}`] = `out ${text}`;
    await stage.send(message);
  }
  const stored = await stage.stored(topic, texts.length);
  stored.forEach((message, i) => {
    equal('body', texts[i], message.body.toString());
    equal('tag', texts[i].replace(/ /g, '_'), message.tags);
    equal('property', `out ${texts[i]}`, message.properties[`in ${texts[i]}`]);
  });
}

async function largestBody(stage) {
  const topic = await stage.topic(1);
  const body = crypto.randomBytes(BODY_BYTES_MAX);
  const digest = crypto.createHash('sha256').update(body).digest('hex');
  await stage.producer({ compressMsgBodyOverHowmuch: Infinity });
  await stage.send(new Message(topic, '', body));
  const [ got ] = await stage.stored(topic, 1);
  equal('digest of the body', digest, crypto.createHash('sha256').update(got.body).digest('hex'));
}

async function largeBody(stage) {
  const topic = await stage.topic(1);
  const producer = await stage.producer({ compressMsgBodyOverHowmuch: Infinity });
  const error = await refusal('a large body', producer.send(new Message(topic, '', crypto.randomBytes(BODY_BYTES_MAX + 1))));
  equal('code', 13, error.code);
  await stage.sendAll(topic, [ 'legal' ]);
  equal('stored', 'legal', (await stage.stored(topic, 1))[0].body.toString());
}

async function largeProperties(stage) {
  const topic = await stage.topic(1);
  const message = new Message(topic, '', 'p');
  message.properties.long = 'v'.repeat(40000);
  const error = await refusal('large properties', (await stage.producer()).send(message));
  equal('code', 13, error.code);
  await stage.sendAll(topic, [ 'legal' ]);
  equal('stored', 'legal', (await stage.stored(topic, 1))[0].body.toString());
}

// Code 17 from the name server: this client gives up and creates nothing.
async function unknownTopic(stage) {
  const error = await refusal('an unknown topic', (await stage.producer()).send(new Message(stage.unique('absent'), '', 'x')));
  if (!/route|topic/i.test(error.message)) throw new Failed(`the error does not speak of the topic: ${error.message}`);
}

// A half message: kept back on Apache, refused on Strata; neither shows it to consumers.
async function transaction(stage) {
  const topic = await stage.topic(1);
  const producer = await stage.producer({ retryTimesWhenSendFailed: 0 });
  const half = new Message(topic, '', 'half');
  half.properties.TRAN_MSG = 'true';
  half.properties.PGROUP = stage.unique('p');
  if (STRATA) {
    await refusal('a half message', producer.send(half));
  } else {
    equal('status', 'SEND_OK', (await producer.send(half)).sendStatus);
  }
  await stage.sendAll(topic, [ 'whole' ]);
  const inbox = new Inbox();
  await stage.push('g', topic, '*', inbox);
  await inbox.waitFor(1);
  await sleep(1000);
  equal('visible', [ 'whole' ], inbox.bodies);
}

const of = (name, body) => ({ name, seconds: USUAL_SECONDS, body });
exports.cases = [
  of('send.sync', sync),
  of('send.concurrent', concurrent),
  of('send.compressed', compressed),
  of('send.sharded', sharded),
  of('field.all', fields),
  of('field.unicode', unicode),
  of('field.body_4_mib', largestBody),
  of('refuse.large_body', largeBody),
  of('refuse.large_properties', largeProperties),
  of('refuse.unknown_topic', unknownTopic),
  of('later.transaction', transaction),
];
