// What one case works with: names of its own, clients that end with it, checks, and an inbox for consumers.
// Owns every client that a case starts; holds no assertion about behaviour.
'use strict';

const assert = require('assert');
const { Consumer, Message, Producer } = require('ali-ons');

const RUN = process.env.RUN;
// A consumer rebalances every 10 s here, and one that an error has stopped waits 3 s.
const WAIT_MILLIS = 70000;
// How long a case looks for a message that must not come.
const SETTLE_MILLIS = 400;

class Failed extends Error {}

const logger = { info() {}, debug() {}, warn() {}, error: (...values) => console.error(...values) };
// The library insists on a client for looking name servers up over HTTP; with addresses given it has no use for it.
const httpclient = { request: () => { throw new Error('no name server is looked up over HTTP'); } };
let instances = 0;

// Every client is one of its own: the library shares one connection among those with the same instance name.
function common() {
  return {
    nameSrv: process.env.NAMESRV.split(';'),
    clientIP: '127.0.0.1',
    instanceName: `${RUN}-${++instances}`,
    pollNameServerInteval: 2000,
    logger,
    httpclient,
  };
}

// The library makes one producer for itself from the options of the first client; that client must outlive all cases.
function prepare() {
  return Producer.getDefaultProducer(common());
}

const sleep = millis => new Promise(resolve => setTimeout(resolve, millis));

function equal(what, expected, actual) {
  try {
    assert.deepStrictEqual(actual, expected);
  } catch (_) {
    const shown = value => (JSON.stringify(value) || String(value)).slice(0, 120);
    throw new Failed(`${what}: expected ${shown(expected)}, got ${shown(actual)}`);
  }
}

function within(what, low, high, actual) {
  if (!(actual >= low && actual <= high)) throw new Failed(`${what}: expected ${low}..${high}, got ${actual}`);
}

async function until(what, millis, holds, state = () => '') {
  const deadline = Date.now() + millis;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Failed(`${what}: not within ${millis} ms, state ${state()}`);
    await sleep(20);
  }
}

// Runs what must be refused and returns the error.
async function refusal(what, promise) {
  let result;
  try {
    result = await promise;
  } catch (error) {
    return error;
  }
  throw new Failed(`${what}: expected a refusal, got ${JSON.stringify(result)}`);
}

function numbered(prefix, count) {
  return Array.from({ length: count }, (_, i) => prefix + String(i).padStart(5, '0'));
}

const sorted = texts => [...texts].sort();

// What consumers received, in arrival order; `rejects` says which deliveries are not accepted.
class Inbox {
  constructor(rejects = () => false) {
    this.rejects = rejects;
    this.arrivals = [];
  }

  async take(message) {
    this.arrivals.push({ message, body: message.body.toString(), at: Date.now() });
    // The library takes no notice of what a handler returns for a message that came again, only of what it throws.
    if (this.rejects(message)) throw new Error('again later');
  }

  get bodies() {
    return this.arrivals.map(arrival => arrival.body);
  }

  waitFor(count) {
    return until(`${count} deliveries`, WAIT_MILLIS, () => this.arrivals.length >= count, () => this.arrivals.length);
  }

  // Waits until exactly these bodies came, each once, in any order, and no more follow.
  async exactly(bodies) {
    await this.waitFor(bodies.length);
    await sleep(SETTLE_MILLIS);
    equal('bodies received', sorted(bodies), sorted(this.bodies));
  }
}

class Stage {
  constructor(name, ask) {
    this.name = name.replace(/\./g, '_');
    this.ask = ask;
    this.clients = [];
  }

  unique(suffix) {
    return `${RUN}_${this.name}_${suffix}`;
  }

  // Creates a topic and returns its name: this client never creates one by sending.
  async topic(queues, suffix = 't') {
    const topic = this.unique(suffix);
    await this.ask(`topic ${topic} ${queues}`);
    return topic;
  }

  async producer(options = {}) {
    if (!this.shared) {
      this.shared = new Producer({ ...common(), producerGroup: this.unique('p'), sendMsgTimeout: 10000, ...options });
      this.shared.on('error', error => console.error(this.name, error.message));
      this.clients.push(this.shared);
      await this.shared.ready();
    }
    return this.shared;
  }

  async send(message) {
    const result = await (await this.producer()).send(message);
    equal('status', 'SEND_OK', result.sendStatus);
    return result;
  }

  async sendAll(topic, bodies) {
    await this.producer();
    // A few at a time, so that order within a case that needs none costs no time.
    for (let from = 0; from < bodies.length; from += 50) {
      await Promise.all(bodies.slice(from, from + 50).map(body => this.send(new Message(topic, '', body))));
    }
  }

  // Starts a consumer of the group that puts what it receives into the inbox.
  async push(group, topic, tags, inbox, options = {}) {
    const consumer = new Consumer({
      ...common(), consumerGroup: this.unique(group), consumeFromWhere: 'CONSUME_FROM_FIRST_OFFSET', ...options,
    });
    consumer.on('error', error => console.error(this.name, error.message));
    this.clients.push(consumer);
    consumer.subscribe(topic, tags, async message => inbox.take(message));
    await consumer.ready();
    return consumer;
  }

  // Everything stored in a topic, as a new group sees it, once there are this many messages.
  async stored(topic, count) {
    const inbox = new Inbox();
    await this.push(`look${++instances}`, topic, '*', inbox);
    await inbox.waitFor(count);
    await sleep(SETTLE_MILLIS);
    equal('messages stored', count, inbox.arrivals.length);
    return inbox.arrivals.map(arrival => arrival.message)
      .sort((a, b) => a.queueId - b.queueId || Number(a.queueOffset) - Number(b.queueOffset));
  }

  async close() {
    for (const client of this.clients.splice(0)) {
      try {
        await client.close();
      } catch (error) {
        console.error(this.name, 'a client did not end well', error.message);
      }
    }
  }
}

module.exports = {
  Failed, Inbox, Message, SETTLE_MILLIS, Stage, WAIT_MILLIS, equal, numbered, prepare, refusal, sleep, sorted, until, within,
};
