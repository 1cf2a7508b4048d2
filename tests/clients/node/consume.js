// Push consumers: delivery, tags, sharing, broadcasting, where a group begins, delay, retry and dead letters.
// Owns cases about what is delivered to whom and when.
'use strict';

const { Inbox, Message, SETTLE_MILLIS, WAIT_MILLIS, equal, numbered, sleep, sorted, until, within } = require('./stage');

// A consumer may need two rebalances of 10 s, and a first retry waits for 10 s on top.
const LIMIT_SECONDS = 150;

async function retryLater(stage) {
  const topic = await stage.topic(1);
  const inbox = new Inbox(m => m.body.toString() === 'fails once' && m.reconsumeTimes === 0);
  await stage.push('g', topic, '*', inbox);
  const message = new Message(topic, 'red', 'fails once');
  message.keys = [ 'k' ];
  message.properties.colour = 'rouge é';
  const sent = await stage.send(message);
  await stage.sendAll(topic, [ 'is fine' ]);
  await inbox.waitFor(3);
  const [ first, again ] = inbox.arrivals.filter(arrival => arrival.body === 'fails once');
  equal('reconsume times', 1, again.message.reconsumeTimes);
  equal('topic', topic, again.message.topic);
  equal('tag', 'red', again.message.tags);
  equal('keys', 'k', again.message.keys);
  equal('property', 'rouge é', again.message.properties.colour);
  equal('origin id', sent.msgId, again.message.originMessageId);
  within('millis until the retry', 9500, 60000, again.at - first.at);
}

async function deadLetter(stage) {
  const topic = await stage.topic(1);
  const inbox = new Inbox(() => true);
  await stage.push('g', topic, '*', inbox, { maxReconsumeTimes: 1 });
  const message = new Message(topic, 'red', 'always fails');
  message.properties.colour = 'rouge é';
  const sent = await stage.send(message);
  await inbox.waitFor(2);
  // A consumer of this library that finds no route when it starts never consumes.
  const dlq = `%DLQ%${stage.unique('g')}`;
  await stage.ask(`route ${dlq}`);
  const [ dead ] = await stage.stored(dlq, 1);
  equal('body', 'always fails', dead.body.toString());
  equal('tag', 'red', dead.tags);
  equal('property', 'rouge é', dead.properties.colour);
  equal('first topic', topic, dead.retryTopic);
  equal('origin id', sent.msgId, dead.originMessageId);
  equal('deliveries before', [ 0, 1 ], inbox.arrivals.map(arrival => arrival.message.reconsumeTimes));
}

async function concurrent(stage) {
  const topic = await stage.topic(4);
  const inbox = new Inbox();
  await stage.push('g', topic, '*', inbox, { parallelConsumeLimit: 8 });
  const bodies = numbered('push-', 100);
  await stage.sendAll(topic, bodies);
  await inbox.exactly(bodies);
}

async function ordered(stage) {
  const topic = await stage.topic(1);
  const bodies = numbered('one-by-one-', 40);
  for (const body of bodies) await stage.send(new Message(topic, '', body));
  const inbox = new Inbox();
  await stage.push('g', topic, '*', inbox);
  await inbox.waitFor(40);
  equal('bodies in order', bodies, inbox.bodies);
}

async function tags(stage) {
  const topic = await stage.topic(2);
  const expected = [];
  for (let i = 0; i < 40; i++) {
    const tag = 'ABCD'[i % 4];
    await stage.send(new Message(topic, tag, `tag-${tag}-${i}`));
    if (i % 2 === 0) expected.push(`tag-${tag}-${i}`);
  }
  const some = new Inbox();
  const all = new Inbox();
  await stage.push('some', topic, 'A || C', some);
  await stage.push('all', topic, '*', all);
  await some.exactly(expected);
  await all.waitFor(40);
  equal('all tags', 40, all.arrivals.length);
}

async function broadcast(stage) {
  const topic = await stage.topic(2);
  const inboxes = [ new Inbox(), new Inbox() ];
  for (const inbox of inboxes) await stage.push('g', topic, '*', inbox, { isBroadcast: true });
  const bodies = numbered('cast-', 30);
  await stage.sendAll(topic, bodies);
  for (const inbox of inboxes) await inbox.exactly(bodies);
}

// Sends rounds of one message a queue until both consumers get their half of three rounds in turn: while queues change
// hands, one round may look shared by chance.
async function waitShared(stage, topic, one, two) {
  const sizes = () => [ one.arrivals.length, two.arrivals.length ];
  let halves = 0;
  await until('both share the queues', WAIT_MILLIS, async () => {
    const before = sizes();
    await stage.sendAll(topic, numbered('share-', 4));
    await until('a round is delivered', WAIT_MILLIS,
      () => sizes()[0] + sizes()[1] - before[0] - before[1] >= 4, sizes);
    halves = sizes()[0] - before[0] === 2 && sizes()[1] - before[1] === 2 ? halves + 1 : 0;
    return halves === 3;
  }, sizes);
}

async function shared(stage) {
  const topic = await stage.topic(4);
  const [ one, two ] = [ new Inbox(), new Inbox() ];
  await stage.push('g', topic, '*', one);
  await stage.push('g', topic, '*', two);
  await waitShared(stage, topic, one, two);
  await sleep(SETTLE_MILLIS);
  const [ first, second ] = [ one.arrivals.length, two.arrivals.length ];
  const bodies = numbered('shared-', 80);
  await stage.sendAll(topic, bodies);
  const got = () => [ ...one.bodies.slice(first), ...two.bodies.slice(second) ];
  await until('80 deliveries', WAIT_MILLIS, () => got().length >= 80, () => got().length);
  equal('each message once', bodies, sorted(got()));
  equal('the first consumer\'s share', 40, one.arrivals.length - first);
}

async function rebalance(stage) {
  const topic = await stage.topic(4);
  const [ one, two ] = [ new Inbox(), new Inbox() ];
  const leaving = await stage.push('g', topic, '*', one);
  await stage.push('g', topic, '*', two);
  await waitShared(stage, topic, one, two);
  await leaving.close();
  const bodies = numbered('left-', 40);
  await stage.sendAll(topic, bodies);
  const missing = () => bodies.filter(body => !two.bodies.includes(body) && !one.bodies.includes(body));
  await until('the other takes over', WAIT_MILLIS, () => missing().length === 0, () => missing().length);
  equal('queues that the other has served', [ 0, 1, 2, 3 ], sorted(new Set(two.arrivals.map(a => a.message.queueId))));
}

async function twoGroups(stage) {
  const topic = await stage.topic(2);
  const bodies = numbered('groups-', 30);
  await stage.sendAll(topic, bodies);
  for (const group of [ 'g1', 'g2' ]) {
    const inbox = new Inbox();
    await stage.push(group, topic, '*', inbox);
    await inbox.exactly(bodies);
  }
}

async function offsetSurvives(stage) {
  const topic = await stage.topic(2);
  for (let round = 0; round < 2; round++) {
    const inbox = new Inbox();
    const consumer = await stage.push('g', topic, '*', inbox);
    const bodies = numbered(`round-${round}-`, 20);
    await stage.sendAll(topic, bodies);
    await inbox.exactly(bodies);
    await consumer.close();
  }
}

async function woken(stage) {
  const topic = await stage.topic(1);
  const inbox = new Inbox();
  await stage.push('g', topic, '*', inbox);
  await stage.sendAll(topic, [ 'warm' ]);
  await inbox.waitFor(1);
  const delays = [];
  for (let i = 0; i < 5; i++) {
    // The consumer needs a moment to ask again and be parked.
    await sleep(300);
    const began = Date.now();
    await stage.sendAll(topic, [ `wake-${i}` ]);
    await inbox.waitFor(i + 2);
    delays.push(inbox.arrivals[i + 1].at - began);
  }
  within('median millis to delivery', 0, 1000, delays.sort((a, b) => a - b)[2]);
}

// On a young topic the broker answers offset 0 for a new group, so each choice begins there.
async function from(stage, consumeFromWhere) {
  const topic = await stage.topic(2);
  const bodies = numbered('from-', 20);
  await stage.sendAll(topic, bodies);
  const inbox = new Inbox();
  await stage.push('g', topic, '*', inbox, { consumeFromWhere });
  await inbox.exactly(bodies);
}

async function backlog(stage) {
  const topic = await stage.topic(4);
  const bodies = numbered('backlog-', 2000);
  await stage.sendAll(topic, bodies);
  const inbox = new Inbox();
  await stage.push('g', topic, '*', inbox, { parallelConsumeLimit: 32 });
  await inbox.exactly(bodies);
}

async function delay(stage, level, millis) {
  const topic = await stage.topic(1);
  const inbox = new Inbox();
  await stage.push('g', topic, '*', inbox);
  await stage.sendAll(topic, [ 'warm' ]);
  await inbox.waitFor(1);
  const message = new Message(topic, '', 'late');
  message.delayTimeLevel = level;
  const began = Date.now();
  await stage.send(message);
  await inbox.waitFor(2);
  within('millis to delivery', millis - 20, millis + 6000, inbox.arrivals[1].at - began);
  equal('body', 'late', inbox.bodies[1]);
  equal('queue offset', 1, Number(inbox.arrivals[1].message.queueOffset));
}

const of = (name, body) => ({ name, seconds: LIMIT_SECONDS, body });
exports.cases = [
  of('retry.dlq', deadLetter),
  of('retry.later', retryLater),
  of('push.rebalance', rebalance),
  of('push.shared', shared),
  of('push.offset_survives', offsetSurvives),
  of('push.backlog', backlog),
  of('push.broadcast', broadcast),
  of('delay.level_1', stage => delay(stage, 1, 1000)),
  of('delay.level_2', stage => delay(stage, 2, 5000)),
  of('push.concurrent', concurrent),
  of('push.ordered', ordered),
  of('push.tags', tags),
  of('push.two_groups', twoGroups),
  of('push.woken', woken),
  of('push.from_first', stage => from(stage, 'CONSUME_FROM_FIRST_OFFSET')),
  of('push.from_last', stage => from(stage, 'CONSUME_FROM_LAST_OFFSET')),
  of('push.from_timestamp', stage => from(stage, 'CONSUME_FROM_TIMESTAMP')),
];
