// The Node.js suite's program: lists its cases, or runs those named in CASES and prints a line for each.
// Owns the conversation with the runner (see harness/session.py); holds no case.
'use strict';

const readline = require('readline');
const { Stage, Failed, prepare } = require('./stage');

// Cases wait for the broker rather than compute, so more run at once than there are cores.
const CASES_AT_ONCE = 8;

// Those that wait longest come first, so that they do not begin last.
const cases = [...require('./consume').cases, ...require('./send').cases];

const waiting = [];

function say(line) {
  process.stdout.write(line + '\n');
}

// Asks for what only the runner can do; its answers come in the order of the requests, as one is open at a time.
let lastRequest = Promise.resolve();
function ask(request) {
  const made = lastRequest.then(() => new Promise((resolve, reject) => {
    waiting.push(answer => (answer === 'done' ? resolve() : reject(new Failed(`#${request}: ${answer}`))));
    say(`#${request}`);
  }));
  lastRequest = made.catch(() => {});
  return made;
}

async function run({ name, seconds, body }) {
  say(`start ${name}`);
  const began = Date.now();
  const stage = new Stage(name, ask);
  let timer;
  const limit = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Failed(`did not end within ${seconds} s`)), seconds * 1000);
  });
  let reason = null;
  try {
    await Promise.race([body(stage), limit]);
  } catch (error) {
    if (!(error instanceof Failed)) console.error(name, error);
    reason = String((error && error.message) || error).replace(/\s+/g, ' ');
  }
  clearTimeout(timer);
  say(`${reason === null ? 'ok' : 'not ok'} ${name} ${Date.now() - began}${reason === null ? '' : ` # ${reason}`}`);
  await stage.close();
}

async function main() {
  if (process.argv[2] === '--list') {
    cases.forEach(({ name, seconds }) => say(`${name} ${seconds}`));
    return;
  }
  readline.createInterface({ input: process.stdin }).on('line', line => waiting.shift()(line));
  // The client answers some failures in the background, also after a case has ended.
  process.on('unhandledRejection', error => console.error('unhandled', error));
  process.on('uncaughtException', error => console.error('uncaught', error));
  await prepare();
  const wanted = new Set(process.env.CASES.split(','));
  const open = cases.filter(one => wanted.has(one.name));
  const worker = async () => {
    while (open.length) await run(open.shift());
  };
  await Promise.all(Array.from({ length: CASES_AT_ONCE }, worker));
  process.exit(0);
}

main();
