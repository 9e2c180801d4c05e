// Membership kept up to date equals membership from scratch, whatever the way there.

import {describe, expect, test} from '@jest/globals';

import {identityId, RESERVED_IDENTITIES} from '../domain/identity.js';
import type {IdentityId} from '../domain/identity.js';
import {Labels} from '../domain/labels.js';
import {pick, random} from '../testing/seed.js';
import {steps, walks} from '../testing/walk.js';
import type {Members} from '../domain/policy.js';
import {SelectorMembers, membersOf} from './members.js';
import {peerOf, prefixLabels, selectorId} from './selectors.js';

interface State {
  readonly identities: ReadonlyMap<string, string>;
  readonly prefixes: ReadonlyMap<string, string>;
}

/** Labels as one text, so that equal values are equal strings. */
function state(identities: Readonly<Record<number, string>>, prefixes: readonly string[], apiServer: string | null = null): State {
  const known = new Map(prefixes.map((prefix) => [prefix, prefixLabels(prefix).join(' ')]));
  if (apiServer !== null) known.set(apiServer, [...prefixLabels(apiServer), 'reserved:kube-apiserver'].join(' '));
  return {identities: new Map(Object.entries(identities)), prefixes: known};
}

const EMPTY = state({}, []);
const WEB = 'k8s:app=web k8s:io.kubernetes.pod.namespace=default';
const DB = 'k8s:app=db k8s:io.kubernetes.pod.namespace=default';
const FAR = 'k8s:app=web k8s:io.kubernetes.pod.namespace=far';
const STATES: readonly State[] = [
  state({256: WEB, 257: DB}, ['10.0.0.0/8']),
  state({256: WEB, 257: DB, 258: FAR}, ['10.0.0.0/8', '10.96.0.0/12', '192.0.2.0/24'], '172.18.0.2/32'),
  state({257: WEB, 258: FAR}, ['10.96.0.0/12', '10.1.0.0/16']),
  state({256: DB}, ['192.0.2.0/24'], '192.0.2.1/32'),
];
const SELECTORS = [
  '{}', 'any:app=web', 'k8s:app=web,k8s:io.kubernetes.pod.namespace=default', 'any:app=db|web', 'any:app!=web', '!any:app', 'any:app',
  'k8s:io.kubernetes.pod.namespace=far', 'reserved:host', 'reserved:world', 'reserved:remote-node', 'reserved:kube-apiserver',
  'cidr=0.0.0.0/0', 'cidr=10.0.0.0/8', 'cidr=10.0.0.0/8!10.96.0.0/12', 'cidr=0.0.0.0/0!192.0.2.0/24', 'cidr=172.16.0.0/12', 'none',
];

function apply(members: SelectorMembers, from: State, to: State): void {
  const identities = steps(from.identities, to.identities);
  for (const key of identities.gone) members.setIdentity(identityId(Number(key)), null);
  for (const [key, labels] of identities.set) members.setIdentity(identityId(Number(key)), Labels.parse(labels.split(' ')));
  const prefixes = steps(from.prefixes, to.prefixes);
  for (const key of prefixes.gone) members.setPrefix(key, null);
  for (const [key, labels] of prefixes.set) members.setPrefix(key, Labels.parse(labels.split(' ')));
}

function fromScratch(id: string, {identities, prefixes}: State): Members {
  const all = new Map<IdentityId, Labels>();
  for (const [number, labels] of RESERVED_IDENTITIES) all.set(number, Labels.parse(labels));
  for (const [key, labels] of identities) all.set(identityId(Number(key)), Labels.parse(labels.split(' ')));
  return membersOf(peerOf(id), all, new Map([...prefixes].map(([key, labels]) => [key, Labels.parse(labels.split(' '))])));
}

describe.each(Object.entries(walks(STATES, EMPTY)))('four states (%s)', (_how, walk) => {
  test('members depend on the state, never on the path to it', () => {
    const members = new SelectorMembers();
    let held = EMPTY;
    for (const [i, next] of walk.entries()) {
      // Selectors come and go as well: each state tracks all but one.
      const absent = SELECTORS[i % SELECTORS.length] ?? '';
      members.untrack(absent);
      for (const id of SELECTORS) if (id !== absent) members.track(id);
      apply(members, held, next);
      held = next;
      for (const id of SELECTORS) expect(members.members(id)).toEqual({id, ...fromScratch(id, next)});
    }
  });
});

test('a selector is reported as changed exactly when its members are others', () => {
  const members = new SelectorMembers();
  for (const id of SELECTORS) members.track(id);
  expect(members.takeChanged().sort()).toEqual([...SELECTORS].sort());
  let held = EMPTY;
  for (const next of [...STATES, EMPTY]) {
    const before = new Map(SELECTORS.map((id) => [id, members.members(id)]));
    apply(members, held, next);
    held = next;
    const changed = new Set(members.takeChanged());
    for (const id of SELECTORS) {
      if (!changed.has(id)) expect(members.members(id)).toBe(before.get(id));
      if (JSON.stringify(members.members(id)) !== JSON.stringify(before.get(id))) expect(changed).toContain(id);
    }
  }
});

test('what the reserved selectors stand for', () => {
  const members = new SelectorMembers();
  members.setPrefix('10.0.0.0/8', Labels.parse(prefixLabels('10.0.0.0/8')));
  members.setPrefix('172.18.0.2/32', Labels.parse([...prefixLabels('172.18.0.2/32'), 'reserved:kube-apiserver']));
  expect(members.members('reserved:world')).toMatchObject({identities: [2], prefixes: ['10.0.0.0/8', '172.18.0.2/32']});
  expect(members.members('reserved:kube-apiserver')).toMatchObject({identities: [7], prefixes: ['172.18.0.2/32']});
  expect(members.members('reserved:remote-node')).toMatchObject({identities: [6, 7], prefixes: []});
  expect(members.members('cidr=0.0.0.0/0')).toMatchObject({identities: [2], prefixes: ['10.0.0.0/8', '172.18.0.2/32']});
  expect(members.members('cidr=172.16.0.0/12')).toMatchObject({identities: [], prefixes: ['172.18.0.2/32']});
});

test('the id of a peer is its canonical text, there and back', () => {
  for (const id of [...SELECTORS, '*']) expect(selectorId(peerOf(id))).toBe(id);
  const cidr = {kind: 'cidr', prefix: '10.0.0.0/8', except: ['10.96.0.0/12', '10.1.0.0/16', '10.96.0.0/12']} as const;
  expect(selectorId(cidr)).toBe('cidr=10.0.0.0/8!10.1.0.0/16!10.96.0.0/12');
});

test('an identity costs the selectors that could match it, not all of them', () => {
  const members = new SelectorMembers();
  const next = random(7);
  for (let i = 0; i < 2000; i++) members.track(`any:app=app${i},k8s:io.kubernetes.pod.namespace=ns${i % 50}`);
  const names = Array.from({length: 2000}, (_, i) => i);
  const start = process.cpuUsage().user;
  for (let i = 0; i < 5000; i++) {
    const n = pick(names, next);
    members.setIdentity(identityId(256 + i), Labels.parse([`k8s:app=app${n}`, `k8s:io.kubernetes.pod.namespace=ns${n % 50}`]));
  }
  const perIdentityUs = (process.cpuUsage().user - start) / 5000;
  // A scan of all 2000 selectors would take about 1000 µs each.
  expect(perIdentityUs).toBeLessThan(200);
});
