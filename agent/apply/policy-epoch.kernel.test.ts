import {afterEach, beforeEach, expect, test} from '@jest/globals';
import {BpfMap} from '../kernel/bpf.js';
import {EPOCH_BITS, EPOCH_CLOSED, policyEpochCodec} from '../maps/epoch.js';
import {encodeU32} from '../maps/layout.js';
import {PolicyEpoch} from './policy-epoch.js';

const NS_PER_MS = 1_000_000n;

let map: BpfMap;
let nowMs: bigint;
beforeEach(() => {
  map = BpfMap.create({name: 'epoch', type: 'array', keySize: 4, valueSize: 8, maxEntries: 1, flags: 0});
  nowMs = 5000n;
});
afterEach(() => map.close());

const kept = (): bigint => policyEpochCodec.decodeValue(map.lookup(encodeU32(0)) ?? new Uint8Array(8));

function open(programsEnded: () => boolean = () => true): PolicyEpoch {
  return new PolicyEpoch({map, programsEnded, monotonicNs: () => nowMs * NS_PER_MS});
}

test('a map that says nothing is closed; the first epoch is the time', async () => {
  const epoch = open();
  expect(epoch.isClosed).toBe(true);
  epoch.close();
  expect(kept()).toBe(0n);
  await epoch.raise();
  expect(kept()).toBe(5000n);
});

test('closed until it is shown that programs which ran meanwhile are over', async () => {
  const during: bigint[] = [];
  const epoch = open(() => during.push(kept()) > 0);
  await epoch.raise();
  epoch.close();
  expect(kept()).toBe(5000n | EPOCH_CLOSED);
  nowMs = 5040n;
  await epoch.raise();
  expect(during).toEqual([0n, 5000n | EPOCH_CLOSED]);
  expect(kept()).toBe(5040n);
});

test('where that cannot be shown the kernel is waited for', async () => {
  const epoch = open(() => false);
  const raised = epoch.raise();
  expect(kept()).toBe(0n);
  await raised;
  expect(kept()).toBe(5000n);
});

test('never a number that was before: not in one millisecond, not of a process before, not when the clock is behind', async () => {
  const epoch = open();
  await epoch.raise();
  epoch.close();
  await epoch.raise();
  expect(kept()).toBe(5001n);
  epoch.close();
  const next = open();
  expect(next.isClosed).toBe(true);
  nowMs = 3n;
  await next.raise();
  expect(kept()).toBe(5002n);
});

test('an open one is left as it is', async () => {
  await open().raise();
  nowMs = 6000n;
  await open(() => {
    throw new Error('nobody asks');
  }).raise();
  expect(kept()).toBe(5000n);
});

test('it has room in an entry, and is never none', async () => {
  nowMs = 1n << BigInt(EPOCH_BITS);
  await open().raise();
  expect(kept()).toBe(1n);
});
