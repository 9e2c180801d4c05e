// Mutated policy objects through decoding and compiling: nothing crashes, nothing takes long, and what is refused for its mutation never
// opens more than the valid original.

import {describe, expect, test} from '@jest/globals';
import fc from 'fast-check';

import type {Rejection} from '../../../lib/core/errors.js';
import {PolicyLab, pod} from '../../../lib/testing/builders.js';
import {labSpecOf} from '../../../lib/testing/reference-lab.js';
import {refFlows, refWorld, type KubeJson, type RefFlow, type RefWorld} from '../../../lib/testing/reference-world.js';
import {pick, random} from '../../../lib/testing/seed.js';

/** `make nightly` asks for more. */
const MUTATIONS = Number(process.env['STENTOR_MUTATIONS'] ?? 2000);
const PER_OBJECT = 20;
const FLOWS = 40;
/** Of one object, on a busy machine. */
const LONGEST_MS = 2000;
/** What all of them together may leave behind. */
const HEAP_BYTES_MAX = 256 << 20;

const JUNK: readonly unknown[] = [
  null, '', 0, -1, 1.5, 65_536, 1e300, true, false, [], {}, [null], [[]], ['x'], [{}], 'x'.repeat(300), '*', '10.0.0.0/33', '1.2.3.4', '::', '0.0.0.0/0', '65536', '0x50', '\u0000',
  {matchLabels: null}, {matchLabels: {a: 1}}, {matchExpressions: [{key: 'a'}]}, {__proto__: null, constructor: {}}, '('.repeat(50), ['a', 1, null],
];
const NAMES = ['__proto__', 'constructor', 'toString', 'fromCIDR', 'toCIDRSet', 'toPorts', 'rules', 'http', 'dns', 'matchPattern', 'toFQDNs', 'fromRequires', 'listener', 'authentication'];

/** One change somewhere in `json`. */
function mutate(json: unknown, next: () => number): unknown {
  if (Array.isArray(json)) {
    if (json.length === 0 || next() < 0.2) return pick(JUNK, next);
    const at = Math.floor(next() * json.length);
    if (next() < 0.1) return [...(json as unknown[]), pick(JUNK, next)];
    return (json as unknown[]).map((item, i) => (i === at ? mutate(item, next) : item));
  }
  if (typeof json !== 'object' || json === null) return pick(JUNK, next);
  const entries = Object.entries(json);
  if (entries.length === 0 || next() < 0.1) return next() < 0.5 ? pick(JUNK, next) : {...json, [pick(NAMES, next)]: pick(JUNK, next)};
  const at = Math.floor(next() * entries.length);
  return Object.fromEntries(entries.map(([key, value], i) => [key, i === at ? mutate(value, next) : value]));
}

const LISTS = ['ingress', 'egress', 'ingressDeny', 'egressDeny'];

/** Changes an item of a list; whose traffic the policy is about, and in which directions, stays. */
function mutatePolicy(policy: KubeJson, next: () => number): KubeJson {
  const spec = policy['spec'] as KubeJson;
  const lists = LISTS.filter((field) => Array.isArray(spec[field]) && (spec[field] as unknown[]).length > 0);
  if (lists.length === 0) return policy;
  const field = pick(lists, next);
  const items = spec[field] as unknown[];
  const at = Math.floor(next() * items.length);
  return {...policy, spec: {...spec, [field]: items.map((item, i) => (i === at ? mutate(item, next) : item))}};
}

function labOf(world: RefWorld, policy: KubeJson): PolicyLab {
  return new PolicyLab({...labSpecOf({...world, ipv6: false}), policies: [policy], mode: 'default', allowLocalhost: false});
}

function isAllowed(lab: PolicyLab, flow: RefFlow): boolean {
  const [source, destination] = flow.direction === 'egress' ? [flow.subject, flow.peer] : [flow.peer, flow.subject];
  return lab.judge(`${source} -> ${destination}`, `${flow.protocol}/${flow.port}`)[flow.direction]?.verdict.verdict === 'allow';
}

function faultsOf(rejections: readonly Rejection[]): Set<string> {
  return new Set(rejections.map(({path, code}) => `${path} ${code}`));
}

describe('mutated policies', () => {
  test(`${MUTATIONS} of them: no crash, no more allowed than before`, () => {
    let refused = 0;
    const heapBefore = process.memoryUsage().heapUsed;
    fc.assert(fc.property(refWorld, fc.nat(), (world, seed) => {
      const next = random(seed);
      for (const policy of world.policies.slice(0, 1)) {
        const original = labOf(world, policy);
        const before = faultsOf(original.rejections);
        const flows = refFlows({...world, ipv6: false}, seed, FLOWS);
        for (let i = 0; i < PER_OBJECT; i++) {
          const mutant = mutatePolicy(policy, next);
          const started = performance.now();
          const lab = labOf(world, mutant);
          expect(performance.now() - started).toBeLessThan(LONGEST_MS);
          if ([...faultsOf(lab.rejections)].every((fault) => before.has(fault))) continue;
          refused++;
          const wider = flows.find((flow) => isAllowed(lab, flow) && !isAllowed(original, flow));
          expect([mutant, wider]).toEqual([mutant, undefined]);
        }
      }
    }), {numRuns: Math.ceil(MUTATIONS / PER_OBJECT)});
    expect(refused).toBeGreaterThan(MUTATIONS / 20);
    expect(process.memoryUsage().heapUsed - heapBefore).toBeLessThan(HEAP_BYTES_MAX);
  }, 3_600_000);

  test('anything at all: no crash', () => {
    fc.assert(fc.property(fc.constantFrom('CiliumNetworkPolicy', 'CiliumClusterwideNetworkPolicy', 'NetworkPolicy'), fc.json({maxDepth: 6}), (kind, text) => {
      const spec: unknown = JSON.parse(text);
      const lab = new PolicyLab({pods: [pod('a/b', {ip: '10.98.0.1'})], policies: [{kind, metadata: {namespace: 'a', name: 'p'}, spec}]});
      expect(lab.rules.filter((rule) => !rule.deny && rule.peers.length > 0)).toEqual([]);
    }), {numRuns: 500});
  });
});
