// The policy engine's numbers, one thread, CPU time: printed, never a gate. Usage: main.js [W1 W2 W6 W7 W10 …]; run with --expose-gc.

import {identityId} from '../../../lib/domain/identity.js';
import {expandPolicy} from '../../../lib/policy/entries.js';
import {SelectorMembers} from '../../../lib/policy/members.js';
import {resolveSubject} from '../../../lib/policy/resolve.js';
import {knownPrefixes, prefixLabels} from '../../../lib/policy/selectors.js';
import {Labels} from '../../../lib/domain/labels.js';
import {decodeCiliumNetworkPolicy} from '../../../operator/model/decode/cilium-network-policy.js';
import {BenchCluster, cpuMs, median, merged} from './cluster.js';
import {writeEntries} from './write.js';
import {cidrDeny, isolatedTenants, namespaceOf, oneNamespace, podOf, smallNamespaces, type Workload} from './workloads.js';

function print(name: string, value: string, goal: string): void {
  process.stdout.write(`${name.padEnd(58)} ${value.padStart(14)}   ${goal}\n`);
}

/** Everything is there, nothing is compiled: what the operator does from there on. */
function cold(workload: Workload): {cluster: BenchCluster; decodeMs: number; compileMs: number} {
  // The numbers of identities come from objects of an earlier life.
  const first = new BenchCluster();
  first.apply(workload.changes.filter(({kind}) => kind === 'Pod' || kind === 'Namespace'));
  const identities = first.identityObjects();
  const cluster = new BenchCluster();
  const decoded = cpuMs(() => merged(cluster.decode([...workload.changes, ...identities]), cluster.place(workload.placed)));
  globalThis.gc?.();
  const compiled = cpuMs(() => cluster.compile(decoded.value));
  return {cluster, decodeMs: decoded.ms, compileMs: compiled.ms};
}

function coldCompile(name: string, workload: Workload, goal: string): BenchCluster {
  const {cluster, decodeMs, compileMs} = cold(workload);
  globalThis.gc?.();
  print(`${name}: objects to tables`, `${decodeMs.toFixed(0)} ms`, '');
  print(`${name}: tables to every node's state, cold`, `${compileMs.toFixed(0)} ms`, goal);
  print(`${name}: heap held`, `${(process.memoryUsage().heapUsed / 1e6).toFixed(0)} MB`, '≤ 500 MB');
  return cluster;
}

const EVENTS = 300;

/** CPU of a pod that comes, is relabelled, and goes: p50 of each, by the wall clock, which a busy machine spoils only above the median. */
function podChurn(cluster: BenchCluster, namespace: string, labels: readonly Readonly<Record<string, string>>[]): number {
  const times: number[] = [];
  const timed = (act: () => void): void => {
    const before = performance.now();
    act();
    times.push((performance.now() - before) * 1000);
  };
  const [one = {}, other = one] = labels;
  for (let i = 0; i < EVENTS; i++) {
    timed(() => cluster.apply([podOf(namespace, `churn-${i}`, one, 'node-0')]));
    timed(() => cluster.apply([podOf(namespace, `churn-${i}`, other, 'node-0')]));
    timed(() => cluster.apply([{kind: 'Pod', key: `${namespace}/churn-${i}`, object: null}]));
  }
  return median(times);
}

function w1(): void {
  const labels = [{app: 'app-0'}, {app: 'app-1'}];
  const small = podChurn(cold(smallNamespaces(250, 10)).cluster, 'ns-7', labels);
  const cluster = coldCompile('W1 25k namespaces, 100k pods, 75k policies, 1,000 nodes', smallNamespaces(25_000, 1000), '≤ 600 ms');
  const large = podChurn(cluster, 'ns-7', labels);
  print('W1: one pod added, relabelled, deleted; p50', `${large.toFixed(1)} µs`, '≤ 20 µs');
  print('W1: ratio of 100k pods to 1k pods', (large / small).toFixed(2), '≤ 1.2');
}

function w2(): void {
  coldCompile('W2 one namespace, 10k pods, 10k policies', oneNamespace(10_000, 10_000, 100), '≤ 100 ms');
}

/** As many tenants as there are numbers for identities. */
function w6(): void {
  const labels = [{customer: 'c-1', tier: 't-1', region: 'r-1'}, {customer: 'c-2', tier: 't-2', region: 'r-2'}];
  const small = podChurn(cold(isolatedTenants(1000)).cluster, 'saas', labels);
  const cluster = coldCompile('W6 60k tenants', isolatedTenants(60_000), '');
  const large = podChurn(cluster, 'saas', labels);
  print('W6: one pod added, relabelled, deleted; p50', `${large.toFixed(1)} µs`, '≤ 20 µs');
  print('W6: ratio of 60k pods to 1k pods', (large / small).toFixed(2), '≤ 1.2');
}

function w7(): void {
  const {rules} = decodeCiliumNetworkPolicy(cidrDeny(), {clusterName: 'default'});
  const rounds = Array.from({length: 5}, () => cpuMs(() => {
    const members = new SelectorMembers();
    const numbers = new Map(knownPrefixes(rules).map((prefix, i) => [prefix, identityId(0x01000001 + i)]));
    for (const prefix of numbers.keys()) members.setPrefix(prefix, Labels.parse(prefixLabels(prefix)));
    const policy = resolveSubject(rules, {mode: 'default', allowLocalhost: true});
    return expandPolicy(policy, {
      members: (id) => members.members(id), numberOf: (prefix) => numbers.get(prefix), namedPort: () => undefined, peerNamedPorts: () => new Map(), entriesMax: 1 << 20,
    });
  }));
  const computed = median(rounds.map(({ms}) => ms));
  const entries = rounds[0]?.value.entries ?? [];
  const written = median(Array.from({length: 5}, () => writeEntries(entries)));
  print(`W7 2,000 CIDR rules: ${entries.length} entries computed`, `${computed.toFixed(0)} ms`, '');
  print('W7: computed and written to a map in batches', `${(computed + written).toFixed(0)} ms`, '≤ 150 ms');
}

/** A policy of 1,000 rules by labels, for 1,000 endpoints with 100 label sets: per endpoint. */
function p2(): void {
  const spec = {endpointSelector: {matchLabels: {app: 'foo'}}, ingress: Array.from({length: 1000}, (_, i) => ({fromEndpoints: [{matchLabels: {id: `l-${i}`}}]}))};
  const {rules} = decodeCiliumNetworkPolicy({kind: 'CiliumNetworkPolicy', metadata: {namespace: 'default', name: 'p', uid: 'p'}, spec}, {clusterName: 'default'});
  const members = new SelectorMembers();
  for (let i = 0; i < 1000; i++) {
    members.setIdentity(identityId(1000 + i), Labels.parse([`k8s:id=l-${i}`, 'k8s:io.kubernetes.pod.namespace=default', 'k8s:io.cilium.k8s.policy.cluster=default']));
  }
  const endpoints = 1000;
  const sets = 100;
  const {ms} = cpuMs(() => {
    for (let i = 0; i < sets; i++) {
      const policy = resolveSubject(rules, {mode: 'default', allowLocalhost: true});
      expandPolicy(policy, {members: (id) => members.members(id), numberOf: () => undefined, namedPort: () => undefined, peerNamedPorts: () => new Map()});
    }
  });
  print('P2 1,000 rules by labels, per endpoint (10 to a label set)', `${((ms * 1000) / endpoints).toFixed(0)} µs`, '≤ 170 µs');
}

/** 5,000 pods of 5 label sets change their identity with their namespace. */
function w10(): void {
  const workload = oneNamespace(5000, 10, 50);
  const {cluster} = cold(workload);
  cluster.decode([]);
  const relabelled = cpuMs(() => cluster.apply([namespaceOf('big', {team: 'x'})]));
  const created = cluster.identityObjects();
  const readBack = cpuMs(() => cluster.apply(created));
  print('W10 a namespace of 5,000 pods relabelled', `${relabelled.ms.toFixed(1)} ms`, '≤ 10 ms');
  print('W10: and the new identity read back', `${readBack.ms.toFixed(1)} ms`, '');
  print('W10: identities created', String(created.length), '1');
}

const PARTS: Readonly<Record<string, () => void>> = {W1: w1, W2: w2, P2: p2, W6: w6, W7: w7, W10: w10};
const asked = process.argv.slice(2);
for (const [name, run] of Object.entries(PARTS)) if (asked.length === 0 || asked.includes(name)) run();
