// A router that sends what no router should: its own session may end as the RFCs say, and nothing else happens.

import {afterAll, beforeAll, describe, expect, test} from '@jest/globals';
import {goodAttributes, malformedMessages, notification, update, type Malformed} from '../harness/bgp-messages.js';
import {cleanUp} from '../harness/cleanup.js';
import {HOSTILE, HOSTILE_ASN, OWN, residentKb, startHostileLab, type HostileLab} from '../harness/hostile-peers.js';
import type {RawSession} from '../harness/raw-speaker.js';
import {RunDirectory} from '../harness/run-dir.js';
import {must, nowMs, until} from '../harness/shell.js';
import {api} from '../../proto/gen/gobgp4.js';
import {random} from '../../lib/testing/seed.js';

const run = RunDirectory.create('x');
let lab: HostileLab;
const [FIRST = '', SECOND = ''] = HOSTILE;
/** Five seconds of idling, and the two of gobgpd's first connect; the machine has other work. */
const REOPEN_MS = 15_000;
const GOOD = Object.values(goodAttributes({asn: HOSTILE_ASN, nextHop: FIRST}));
const FAMILY = {afi: api.Family.Afi.AFI_IP, safi: api.Family.Safi.SAFI_UNICAST};

beforeAll(async () => {
  lab = await startHostileLab(run);
}, 60_000);

afterAll(async () => {
  await lab.stop();
  expect(await cleanUp(run)).toEqual([]);
}, 60_000);

const announce = (...prefixes: readonly string[]): Buffer => update({attributes: GOOD, prefixes});
const withdraw = (...prefixes: readonly string[]): Buffer => update({attributes: [], withdrawn: prefixes});

function learnedIs(address: string, prefix: string, isThere = true): Promise<true> {
  return until(`${prefix} ${isThere ? 'learned' : 'gone'}`, {timeoutMs: 5_000, intervalMs: 10}, async () => ((await lab.learned(address)).includes(prefix) === isThere ? true : null));
}

async function countLearned(address: string): Promise<number> {
  return Number((await lab.gobgpd.GetTable({tableType: api.TableType.TABLE_TYPE_ADJ_IN, name: address, family: FAMILY})).numDestination);
}

/** What became of a route that was there before, or of the session. A good UPDATE after the bad one shows that it was looked at. */
async function answerTo(address: string, {bytes, answer: expected}: Malformed): Promise<string> {
  const session = await lab.raw.established(address, REOPEN_MS);
  await session.send(announce('10.66.0.0/24'));
  await learnedIs(address, '10.66.0.0/24');
  await session.send(bytes);
  // Bytes that lie unread when gobgpd closes would take its last words away.
  if (!expected.startsWith('reset')) await session.send(announce('10.67.0.0/24'));
  const answer = await until('an answer', {timeoutMs: 5_000, intervalMs: 10}, async () => {
    if (session.isClosed) return `reset ${session.notification ?? 'without a word'}`;
    const learned = await lab.learned(address);
    if (!learned.includes('10.67.0.0/24')) return null;
    return learned.includes('10.66.0.0/24') ? 'stays' : 'withdrawn';
  });
  await session.send(withdraw('10.66.0.0/24', '10.67.0.0/24'));
  return answer;
}

test('malformed messages: treated as a withdrawal, ignored, or the end of that session alone', async () => {
  const pid = lab.gobgpdPid();
  const messages = malformedMessages({asn: HOSTILE_ASN, nextHop: FIRST}, ['10.66.0.0/24']);
  const answers = new Map<string, string>();
  await Promise.all(HOSTILE.map(async (address, i) => {
    for (const one of messages.filter((_, k) => k % HOSTILE.length === i)) answers.set(one.name, await answerTo(address, one));
  }));
  expect(messages.map(({name}) => [name, answers.get(name)])).toEqual(messages.map(({name, answer}) => [name, answer]));
  expect(await lab.disturbances()).toEqual([]);
  expect(lab.gobgpdPid()).toBe(pid);
}, 60_000);

test('random bit flips and, from others, a storm of notifications: gobgpd lives, comes back at its own pace, and the good session goes on', async () => {
  const pid = lab.gobgpdPid();
  const [flipping, storming] = [HOSTILE.slice(0, 4), HOSTILE.slice(4)];
  await Promise.all([bitFlips(flipping), notificationStorm(storming)]);
  expect(await lab.disturbances()).toEqual([]);
  await Promise.all([...flipping.map(freshSession), ...storming.map((address) => lab.raw.established(address, REOPEN_MS))].map(async (session) => settled(await session)));
  expect(await lab.disturbances()).toEqual([]);
  expect(lab.gobgpdPid()).toBe(pid);
}, 60_000);

async function bitFlips(addresses: readonly string[]): Promise<void> {
  const endMs = nowMs() + 10_000;
  const counts = {sent: 0, resets: 0};
  await Promise.all(addresses.map(async (address, i) => {
    const next = random(4271 + i);
    while (nowMs() < endMs) {
      const session = await lab.raw.established(address, REOPEN_MS);
      while (!session.isClosed && nowMs() < endMs) {
        await session.send(flipped(announce(`10.${i}.0.0/16`, '10.66.0.0/24', '10.67.128.0/17'), next));
        counts.sent++;
        // Lets its answer come in.
        await new Promise((resolve) => setImmediate(resolve));
      }
      if (session.isClosed) counts.resets++;
    }
  }));
  console.info(`bit flips: ${counts.sent} messages, ${counts.resets} sessions ended`);
  // Some were taken, some ended a session: else it was a check of nothing.
  expect(counts.resets).toBeGreaterThan(0);
  expect(counts.sent).toBeGreaterThan(counts.resets);
}

/** One to three bits; the marker and the length are hit as often as their share of the message. */
function flipped(bytes: Buffer, next: () => number): Buffer {
  const copy = Buffer.from(bytes);
  for (let n = 1 + Math.floor(next() * 3); n > 0; n--) {
    const at = Math.floor(next() * copy.length);
    copy[at] = (copy[at] ?? 0) ^ (1 << Math.floor(next() * 8));
  }
  return copy;
}

/** Ends what there is, so that nothing half-sent is in the way. */
async function freshSession(address: string): Promise<RawSession> {
  lab.raw.close(address);
  return lab.raw.established(address, REOPEN_MS);
}

async function settled(session: RawSession): Promise<void> {
  await session.send(announce('10.68.0.0/24'));
  await learnedIs(session.address, '10.68.0.0/24');
  await session.send(withdraw('10.68.0.0/24'));
  await learnedIs(session.address, '10.68.0.0/24', false);
}

async function notificationStorm(addresses: readonly string[]): Promise<void> {
  const before = addresses.map((address) => lab.raw.connections(address));
  lab.raw.onEstablished((session) => {
    if (addresses.includes(session.address)) void session.send(notification(6, 4)).then(() => session.close());
  });
  const started = nowMs();
  for (const address of addresses) lab.raw.close(address);
  await until('two rounds of everyone', {timeoutMs: 30_000}, () => (addresses.every((address, i) => lab.raw.connections(address) >= (before[i] ?? 0) + 2) ? true : null));
  const seconds = (nowMs() - started) / 1000;
  lab.raw.onEstablished(() => undefined);
  const rounds = addresses.map((address, i) => lab.raw.connections(address) - (before[i] ?? 0));
  console.info(`notification storm: ${rounds.join(', ')} connections in ${seconds.toFixed(1)} s`);
  // It idles after each: it never answers a storm with a storm.
  expect(Math.max(...rounds)).toBeLessThanOrEqual(seconds + 1);
}

test('route flaps: nothing of them is said to anybody', async () => {
  const session = await lab.raw.established(SECOND, REOPEN_MS);
  const prefixes = Array.from({length: 500}, (_, i) => `10.${100 + (i >> 8)}.${i & 255}.0/24`);
  for (let round = 0; round < 40; round++) {
    await session.send(announce(...prefixes));
    await session.send(withdraw(...prefixes));
  }
  await settled(session);
  expect(await countLearned(SECOND)).toBe(0);
  expect(session.isClosed).toBe(false);
  expect(await lab.disturbances()).toEqual([]);
}, 60_000);

test('a flood of 100,000 routes: bounded memory, nothing installed, nothing passed on', async () => {
  const session = await lab.raw.established(SECOND, REOPEN_MS);
  const [gobgpd, agent] = [lab.gobgpdPid(), lab.speaker.pid];
  const before = {gobgpd: residentKb(gobgpd).now, agent: residentKb(agent).peak};
  // The worst case: while another session is down, gobgpd logs every prefix that comes in, and the agent reads that log.
  lab.raw.close(FIRST);
  await until('gobgpd explains', {timeoutMs: 10_000, intervalMs: 5}, () => (lab.isVerbose() ? true : null));
  const started = nowMs();
  for (let block = 0; block < 200; block++) {
    await session.send(announce(...Array.from({length: 500}, (_, i) => `${20 + (block >> 4)}.${(block & 15) * 2 + (i >> 8)}.${i & 255}.0/24`)));
  }
  await until('all of them', {timeoutMs: 30_000, intervalMs: 20}, async () => ((await countLearned(SECOND)) === 100_000 ? true : null));
  const ms = nowMs() - started;
  const grown = {gobgpd: residentKb(gobgpd).peak - before.gobgpd, agent: residentKb(agent).peak - before.agent};
  console.info(`100,000 routes: ${Math.round(ms)} ms, gobgpd +${Math.round(grown.gobgpd / 1024)} MB, the agent's part +${Math.round(grown.agent / 1024)} MB`);
  expect(grown.gobgpd).toBeLessThan(250 * 1024);
  expect(grown.agent).toBeLessThan(30 * 1024);
  // They cost something: without that the bounds above would say nothing.
  expect(grown.gobgpd).toBeGreaterThan(5 * 1024);
  expect(await lab.disturbances()).toEqual([]);
  session.close();
  await until('they are gone', {timeoutMs: 10_000}, async () => ((await countLearned(SECOND)) === 0 ? true : null));
  expect(await lab.disturbances()).toEqual([]);
}, 60_000);

describe('the checks can fail', () => {
  test('a route in the kernel of the node', async () => {
    await lab.node.ip(['route add 10.66.0.0/24 dev rogue0']);
    expect(await lab.disturbances()).toEqual(['the node has other routes']);
    await lab.node.ip(['route del 10.66.0.0/24 dev rogue0']);
    expect(await lab.disturbances()).toEqual([]);
  });

  test('without the import policy hostile routes spread; the audit puts it back, and they go', async () => {
    const session = await lab.raw.established(FIRST, REOPEN_MS);
    await lab.gobgpd.SetPolicyAssignment({assignment: {name: 'global', direction: api.PolicyDirection.POLICY_DIRECTION_IMPORT, policies: [], defaultAction: api.RouteAction.ROUTE_ACTION_ACCEPT}});
    await session.send(announce('10.66.0.0/24'));
    await until('the route at the good router', {timeoutMs: 5_000, intervalMs: 20}, async () => ((await lab.disturbances()).filter((text) => text.includes('10.66.0.0/24')).length === 2 ? true : null));
    await until('the policy is back', {timeoutMs: 10_000}, async () => ((await lab.announced()).join() === OWN.join() && (await lab.birdc('show route')).includes('10.66.0.0/24') === false ? true : null));
    await session.send(withdraw('10.66.0.0/24'));
  }, 30_000);

  test('a flap of the good session', async () => {
    const flaps = async (): Promise<string> => (await lab.disturbances()).find((text) => text.startsWith('the good session')) ?? '';
    const before = await flaps();
    await lab.birdc('restart good');
    await until('it is told', {timeoutMs: 10_000}, async () => (await flaps() === before ? null : true));
    await until('the session is back', {timeoutMs: REOPEN_MS}, async () => ((await lab.birdc('show protocols good')).includes('Established') ? true : null));
  }, 30_000);
});

test('gobgpd is killed: another one holds all of it within two seconds, and the good router keeps its routes', async () => {
  const pid = lab.gobgpdPid();
  await until('the routes', {timeoutMs: REOPEN_MS}, async () => ((await lab.birdc('show route protocol good')).includes(OWN[1] ?? '') ? true : null));
  const started = nowMs();
  await must(['kill', '-9', String(pid)]);
  const ms = await until('another gobgpd with all paths', {timeoutMs: 5_000, intervalMs: 10}, async () => {
    const now = lab.gobgpdPid();
    return now !== 0 && now !== pid && (await lab.announced()).join() === OWN.join() ? nowMs() - started : null;
  });
  console.info(`gobgpd killed: healed after ${Math.round(ms)} ms`);
  expect(ms).toBeLessThan(2_000);
  expect(await lab.birdc('show route protocol good')).toContain(OWN[1]);
  await until('the good session', {timeoutMs: REOPEN_MS}, async () => ((await lab.birdc('show protocols good')).includes('Established') ? true : null));
}, 60_000);
