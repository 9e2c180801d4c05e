// The policy engine's numbers, one thread, CPU time: printed, never a gate. Usage: main.js [W1 W2 P2 W6 W7 W10 validate …]; run with --expose-gc.

import {identityId} from '../../../lib/domain/identity.js';
import {Labels} from '../../../lib/domain/labels.js';
import {expandPolicy} from '../../../lib/policy/entries.js';
import {SelectorMembers} from '../../../lib/policy/members.js';
import {prepareRules, resolvePrepared, resolveSubject} from '../../../lib/policy/resolve.js';
import {knownPrefixes, prefixLabels} from '../../../lib/policy/selectors.js';
import {decodeCiliumNetworkPolicy} from '../../../operator/model/decode/cilium-network-policy.js';
import type {Change} from '../../../operator/watch/feed-types.js';
import {lookupUs, podChurn, type ChurnPlaces} from './churn.js';
import {BenchCluster, cpuMs, identitiesOf, median} from './cluster.js';
import {disagreements, type Sample} from './equality.js';
import {engineWith} from './turn.js';
import {validateThousand} from './validate.js';
import {writeEntries} from './write.js';
import {cidrDeny, isolatedTenants, namespaceOf, oneNamespace, podOf, smallNamespacePolicies, smallNamespaces, tenantLabels, type Workload} from './workloads.js';

function print(name: string, value: string, goal: string): void {
  process.stdout.write(`${name.padEnd(66)} ${value.padStart(14)}   ${goal}\n`);
}

function heapMb(): number {
  globalThis.gc?.();
  return process.memoryUsage().heapUsed / 1e6;
}

/** Everything is there, nothing is compiled: what the operator does from there on. */
function cold(workload: Workload): {cluster: BenchCluster; loadMs: number; compileMs: number} {
  const cluster = new BenchCluster();
  const loaded = loadedBy(cluster, workload);
  globalThis.gc?.();
  const compiled = cpuMs(() => cluster.compile(loaded.value));
  return {cluster, loadMs: loaded.ms, compileMs: compiled.ms};
}

/** The numbers of identities come from objects of an earlier life. */
function loadedBy(cluster: BenchCluster, workload: Workload): ReturnType<typeof cpuMs<ReturnType<BenchCluster['load']>>> {
  const identities = identitiesOf(workload);
  return cpuMs(() => cluster.load(workload, identities));
}

function coldCompile(name: string, workload: Workload, goal: string): BenchCluster {
  const before = heapMb();
  const {cluster, loadMs, compileMs} = cold(workload);
  const heap = heapMb() - before;
  print(`${name}: objects to tables`, `${loadMs.toFixed(0)} ms`, '');
  print(`${name}: tables to every node's state, cold`, `${compileMs.toFixed(0)} ms`, goal);
  print(`${name}: heap held, tables included`, `${heap.toFixed(0)} MB`, '≤ 500 MB');
  const {ms} = cpuMs(() => askVersions(cluster));
  print(`${name}: versions of all nodes' states, when first asked for`, `${ms.toFixed(0)} ms`, '');
  return cluster;
}

/** What the machine takes for the least that a row can cost: the compiler finds and keeps each in several places. */
function floorMs({tables}: BenchCluster): number {
  const keys = [tables.pods, tables.endpointReports, tables.identities, tables.policies].flatMap((table) => [...table.keys()]);
  return cpuMs(() => {
    const records = new Map<string, object>();
    for (const key of keys) if (!records.has(key)) records.set(key, {key, a: 0, b: 0, c: 0, d: 0, e: 0});
    return records;
  }).ms;
}

/** As sessions do: from then on the version of every node is kept up to date. */
function askVersions({store}: BenchCluster): void {
  for (const node of store.nodeNames()) store.version(node);
}

function prove(name: string, cluster: BenchCluster, sample: Sample): void {
  const {asked, wrong} = disagreements(cluster, sample);
  print(`${name}: verdicts unlike the slow implementation's`, `${wrong} of ${asked}`, '0');
}

/** Random places of 100k pods are in no cache; one place of them is, and shows what the work itself is. */
function churn(name: string, [small, large]: readonly [BenchCluster, BenchCluster], [few, many]: readonly [ChurnPlaces, ChurnPlaces]): void {
  askVersions(small);
  const [ofFew, ofMany] = interleaved(() => podChurn((changes) => small.apply(changes), few), () => podChurn((changes) => large.apply(changes), many));
  print(`${name}: one pod added, relabelled, deleted: to the nodes' state; p50`, `${ofMany.toFixed(1)} µs`, '≤ 20 µs');
  print(`${name}: ratio of 100k pods to 1k pods`, (ofMany / ofFew).toFixed(2), '≤ 1.2');
  const [rowOfFew, rowOfMany] = interleaved(() => lookupUs(small), () => lookupUs(large));
  print(`${name}: floor of it: one row found in one table at a random place, 1k and 100k`, `${rowOfFew.toFixed(2)}, ${rowOfMany.toFixed(2)} µs`, '');
  const [oneOfFew, oneOfMany] = interleaved(() => podChurn((changes) => small.apply(changes), onePlace(few)), () => podChurn((changes) => large.apply(changes), onePlace(many)));
  print(`${name}: ratio of 100k pods to 1k pods, events in one place`, (oneOfMany / oneOfFew).toFixed(2), '');
}

function onePlace({namespaceOf: namespace, labelsOf, nodeOf}: ChurnPlaces): ChurnPlaces {
  return {namespaceOf: () => namespace(7), labelsOf: (n) => labelsOf(n % 2), nodeOf: () => nodeOf(7)};
}

/** ABABAB: what disturbs the machine disturbs both. */
function interleaved(a: () => number, b: () => number): [number, number] {
  const rounds = Array.from({length: 5}, (): [number, number] => [a(), b()]);
  return [median(rounds.map(([value]) => value)), median(rounds.map(([, value]) => value))];
}

/** With what Kubernetes is to hold: conditions, CiliumEndpoints. */
function wholeTurn(name: string, workload: Workload, places: ChurnPlaces): void {
  const engine = engineWith(workload, identitiesOf(workload));
  const p50 = podChurn((changes) => engine.onBatch({changes, inSync: true, receivedAtMs: 0}), places);
  engine.stop();
  print(`${name}: the same, the operator's whole turn; p50`, `${p50.toFixed(1)} µs`, '');
}

function w1(): void {
  const places = (namespaces: number, nodes: number): ChurnPlaces => ({
    namespaceOf: (n) => `ns-${n % namespaces}`, labelsOf: (n) => ({app: `app-${n % 2}`}), nodeOf: (n) => `node-${n % nodes}`,
  });
  const workload = smallNamespaces(25_000, 1000);
  const cluster = coldCompile('W1 25k namespaces, 100k pods, 75k policies, 1,000 nodes', workload, '≤ 600 ms');
  print('W1: floor: one record in one Map for each of its rows', `${floorMs(cluster).toFixed(0)} ms`, '');
  const chosen = new Set([0, 7, 777, 12_345, 24_999].map((n) => `ns-${n}`));
  prove('W1', cluster, {
    pods: [...workload.pods()].filter(({namespace}) => chosen.has(namespace)), namespaces: [...chosen], policies: [...chosen].flatMap((namespace) => [...smallNamespacePolicies(namespace)]),
  });
  churn('W1', [cold(smallNamespaces(250, 10)).cluster, cluster], [places(250, 10), places(25_000, 1000)]);
  wholeTurn('W1', workload, places(25_000, 1000));
}

function w2(): void {
  const workload = oneNamespace(10_000, 10_000, 100);
  const cluster = coldCompile('W2 one namespace, 10k pods, 10k policies', workload, '≤ 100 ms');
  prove('W2', cluster, {pods: [...workload.pods()].slice(0, 3), namespaces: ['big'], policies: [...workload.objects()].filter(({kind}) => kind === 'NetworkPolicy')});
}

/** As many tenants as there are numbers for identities, nearly. */
function w6(): void {
  const places = (pods: number): ChurnPlaces => ({
    namespaceOf: () => 'saas', labelsOf: (n) => tenantLabels(n % (pods >> 1)), nodeOf: (n) => `node-${n % (pods / 100)}`,
  });
  const workload = isolatedTenants(100_000);
  const cluster = coldCompile('W6 100k pods of 50k tenants, 1,000 nodes', workload, '');
  prove('W6', cluster, {
    pods: [...workload.pods()].slice(0, 8), namespaces: ['saas'], policies: [...workload.objects()].filter(({kind, key}) => kind === 'NetworkPolicy' && /np-[0-9]$/.test(key)),
  });
  churn('W6', [cold(isolatedTenants(1000)).cluster, cluster], [places(1000), places(100_000)]);
  newTenants(cluster);
}

/** A pod that nobody's labels fit: its identity is made, and read back. */
function newTenants(cluster: BenchCluster): void {
  const times: number[] = [];
  const timed = (changes: readonly Change[]): void => {
    const before = performance.now();
    cluster.apply(changes);
    times.push((performance.now() - before) * 1000);
  };
  for (let i = 0; i < 300; i++) {
    timed([podOf('saas', `new-${i}`, {customer: `new-${i}`}, 'node-1')]);
    timed(cluster.identityObjects());
    timed([{kind: 'Pod', key: `saas/new-${i}`, object: null}]);
  }
  print('W6: a pod with labels that no other has, its identity, its end; p50', `${median(times).toFixed(1)} µs`, '');
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
    // Once per object, as the operator does; the rest once per label set.
    const subjects = prepareRules(rules);
    for (let i = 0; i < sets; i++) {
      const policy = resolvePrepared(subjects, {mode: 'default', allowLocalhost: true});
      expandPolicy(policy, {members: (id) => members.members(id), numberOf: () => undefined, namedPort: () => undefined, peerNamedPorts: () => new Map()});
    }
  });
  print('P2 1,000 rules by labels, per endpoint (10 to a label set)', `${((ms * 1000) / endpoints).toFixed(0)} µs`, '≤ 170 µs');
}

/** 5,000 pods change their identity with their namespace, again and again. */
function w10(): void {
  const {cluster} = cold(oneNamespace(5000, 10, 50));
  const relabelled: number[] = [];
  const readBack: number[] = [];
  let created = 0;
  for (let i = 0; i < 15; i++) {
    relabelled.push(cpuMs(() => cluster.apply([namespaceOf('big', {team: `x-${i}`})])).ms);
    const objects = cluster.identityObjects();
    created = Math.max(created, objects.length);
    readBack.push(cpuMs(() => cluster.apply(objects)).ms);
  }
  print('W10 a namespace of 5,000 pods relabelled, p50 of 15', `${median(relabelled).toFixed(1)} ms`, '≤ 10 ms');
  print('W10: the first time', `${(relabelled[0] ?? Number.NaN).toFixed(1)} ms`, '');
  print('W10: and the new identity read back, p50', `${median(readBack).toFixed(1)} ms`, '');
  print('W10: identities created', String(created), '1');
}

function validate(): void {
  const {cpu, wall} = validateThousand();
  print('stentorctl policy validate, 1,000 policies, with start-up: CPU', `${cpu.toFixed(2)} s`, '≤ 2 s');
  print('stentorctl policy validate, 1,000 policies, with start-up: wall', `${wall.toFixed(2)} s`, '≤ 2 s');
}

const PARTS: Readonly<Record<string, () => void>> = {W2: w2, P2: p2, W7: w7, W10: w10, validate, W6: w6, W1: w1};
const asked = process.argv.slice(2);
for (const [name, run] of Object.entries(PARTS)) if (asked.length === 0 || asked.includes(name)) run();
