// Pods → workloads with a label set → identities. Says which CiliumIdentity objects should exist; a number is used once it was read back.

import {contentHash} from '../../lib/core/hash.js';
import {compareStrings} from '../../lib/core/order.js';
import {deepEqual} from '../../lib/core/equal.js';
import {CLUSTER_IDENTITY_MAX, CLUSTER_IDENTITY_MIN, identityId, type IdentityId} from '../../lib/domain/identity.js';
import {LabelFilter, identityLabels} from '../../lib/domain/label-filter.js';
import type {Labels} from '../../lib/domain/labels.js';
import type {CiliumIdentityFact, NamedPort, PodFact} from '../model/facts.js';
import type {ChangedKeys, Tables} from '../model/tables.js';
import {Roster, type PodRecord, type PodRecords} from './pod-records.js';

/** A pod that is an endpoint, or will be: not in the host's network, not ended. */
export interface Workload {
  readonly key: string;
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly node: string | null;
  readonly labels: Labels;
  readonly namedPorts: Readonly<Record<string, NamedPort>>;
}

export interface IdentityChanges {
  /** Pods whose workload came, went or changed, or whose identity is another one; some of them twice. */
  readonly pods: readonly PodRecord[];
  /** Numbers whose labels, existence or ports changed, or that pods have now or have no longer. */
  readonly identities: ReadonlySet<IdentityId>;
  /** Numbers for which `desiredLabels` may have another answer. */
  readonly desired: ReadonlySet<IdentityId>;
}

/** Labels, with the pods that have them. */
export interface LabelSet {
  readonly labels: Labels;
  readonly pods: Roster;
  readonly ports: SharedPorts;
  /** Read back; null = not there yet. */
  id: IdentityId | null;
}

/** The set of pods whose namespace has certain labels. */
interface MadeSet {
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly set: LabelSet;
}

/** What one turn has touched. */
interface Touched {
  readonly pods: PodRecord[];
  readonly sets: Set<LabelSet>;
  readonly identities: Set<IdentityId>;
}

const NO_LABELS: Readonly<Record<string, string>> = {};
/** Kept so that equal sets are made once; beyond that they are made again. */
const MADE_SETS_MAX = 1 << 17;
const NO_PODS: readonly PodRecord[] = [];

export class Identities {
  readonly #clusterName: string;
  readonly #labelFilter: LabelFilter;
  readonly #records: PodRecords;
  readonly #sets = new Map<string, LabelSet>();
  /** By the labels of the namespace, then by those of the pod: both are the same objects as long as nothing changes them. */
  #made = new Map<Readonly<Record<string, string>>, Map<Readonly<Record<string, string>>, readonly MadeSet[]>>();
  #madeCount = 0;
  readonly #missing = new Set<LabelSet>();
  #missingChanged = false;
  readonly #setOfNumber = new Map<IdentityId, LabelSet>();
  /** Numbers to create missing label sets with. */
  #wanted: ReadonlyMap<IdentityId, LabelSet> = new Map();

  constructor(options: {readonly clusterName: string; readonly labelFilter?: LabelFilter}, parts: {readonly records: PodRecords}) {
    this.#clusterName = options.clusterName;
    this.#labelFilter = options.labelFilter ?? LabelFilter.DEFAULT;
    this.#records = parts.records;
  }

  update(tables: Tables, changed: ChangedKeys): IdentityChanges {
    const touched: Touched = {pods: [], sets: new Set(), identities: new Set()};
    for (const key of changed.pods ?? []) this.#updateWorkload(tables, key, touched);
    for (const namespace of changed.namespaces ?? []) {
      for (const key of tables.pods.keysBy('namespace', namespace)) if (changed.pods?.has(key) !== true) this.#updateWorkload(tables, key, touched);
    }
    const {pods, sets, identities} = touched;
    for (const key of changed.identities ?? []) {
      const id = identityId(Number(key));
      identities.add(id);
      // An object that went no longer says which labels it had.
      for (const set of [this.#setOfNumber.get(id), this.#sets.get(tables.identities.get(key)?.labels.key ?? '')]) {
        if (set === undefined) continue;
        this.#updateSet(tables, set, touched);
        sets.delete(set);
      }
    }
    for (const set of sets) if (set.id === null || set.pods.size === 0) this.#updateSet(tables, set, touched);
    return {pods, identities, desired: this.#chooseNumbers(tables, changed, identities)};
  }

  podsOf(id: IdentityId): readonly PodRecord[] {
    return this.#setOfNumber.get(id)?.pods.records ?? NO_PODS;
  }

  /** Ports that all pods of the identity agree on. */
  portsOf(id: IdentityId): readonly SharedPort[] {
    return this.#setOfNumber.get(id)?.ports.shared() ?? [];
  }

  /** Of the CiliumIdentity that should have this number: one in use, or one to create. Null = there should be none. */
  desiredLabels(id: IdentityId): Labels | null {
    return (this.#setOfNumber.get(id) ?? this.#wanted.get(id))?.labels ?? null;
  }

  /** Every CiliumIdentity that should exist. By number. */
  desired(): ReadonlyMap<string, Labels> {
    return new Map([...this.#setOfNumber, ...this.#wanted].map(([id, {labels}]) => [String(id), labels]));
  }

  #updateWorkload(tables: Tables, key: string, touched: Touched): void {
    const pod = tables.pods.get(key);
    const known = this.#records.get(key);
    if (pod === undefined || pod.hostNetwork || pod.ended) {
      // What an agent reports of it means something else now, whether it was a workload or not.
      if (known === undefined && tables.endpointReports.keysBy('pod', key).size === 0) return;
      const record = known ?? this.#records.make(key);
      if (record.workload !== null) this.#leave(record, touched);
      record.workload = null;
      touched.pods.push(record);
      return;
    }
    const set = this.#setOf(pod, tables);
    if (known !== undefined && known.workload !== null && known.set === set && isAsBefore(known.workload, pod)) return;
    const record = known ?? this.#records.make(key);
    if (record.workload !== null) this.#leave(record, touched);
    const {namespace, name, uid, nodeName, namedPorts} = pod;
    record.workload = {key, namespace, name, uid, node: nodeName, labels: set.labels, namedPorts};
    this.#join(record, set, touched);
    touched.pods.push(record);
  }

  #leave(record: PodRecord, touched: Touched): void {
    const {set, workload} = record;
    record.set = null;
    if (set === null || workload === null) return;
    set.pods.remove(record);
    if (set.pods.size === 0) touched.sets.add(set);
    if (set.ports.remove(workload.namedPorts) && set.id !== null) touched.identities.add(set.id);
  }

  #join(record: PodRecord, set: LabelSet, touched: Touched): void {
    record.set = set;
    if (set.pods.size === 0) this.#sets.set(set.labels.key, set);
    set.pods.add(record);
    if (set.id === null) touched.sets.add(set);
    if (record.workload !== null && set.ports.add(record.workload.namedPorts) && set.id !== null) touched.identities.add(set.id);
  }

  /** Most pods have the labels of others of their namespace. What is kept goes with the labels of the namespace. */
  #setOf({namespace, serviceAccount, labels: podLabels}: PodFact, tables: Tables): LabelSet {
    const namespaceLabels = tables.namespaces.get(namespace)?.labels ?? NO_LABELS;
    const byPod = this.#made.get(namespaceLabels);
    const held = byPod?.get(podLabels);
    const known = held?.find((one) => one.namespace === namespace && one.serviceAccount === serviceAccount);
    // Sets that nobody was in for a while may have been made anew by others.
    if (known !== undefined && (known.set.pods.size > 0 || !this.#sets.has(known.set.labels.key))) return known.set;
    const labels = identityLabels({podLabels, namespace, namespaceLabels, serviceAccount, clusterName: this.#clusterName}, this.#labelFilter);
    const set = this.#sets.get(labels.key) ?? {
      // Of equal labels those that are there already.
      labels: oldestIdentity(tables, labels.key)?.labels ?? labels, pods: new Roster('setSlot'), ports: new SharedPorts(), id: null,
    };
    this.#remember(namespaceLabels, podLabels, {namespace, serviceAccount, set});
    return set;
  }

  #remember(namespaceLabels: Readonly<Record<string, string>>, podLabels: Readonly<Record<string, string>>, made: MadeSet): void {
    if (this.#madeCount >= MADE_SETS_MAX) {
      this.#made = new Map();
      this.#madeCount = 0;
    }
    this.#madeCount++;
    const byPod = this.#made.get(namespaceLabels) ?? new Map<Readonly<Record<string, string>>, readonly MadeSet[]>();
    this.#made.set(namespaceLabels, byPod);
    const others = (byPod.get(podLabels) ?? []).filter(({namespace, serviceAccount}) => namespace !== made.namespace || serviceAccount !== made.serviceAccount);
    byPod.set(podLabels, [...others, made]);
  }

  #updateSet(tables: Tables, set: LabelSet, {pods, identities}: Touched): void {
    const before = set.id;
    const after = set.pods.size === 0 ? null : oldestIdentity(tables, set.labels.key)?.id ?? null;
    if (before !== after) {
      if (before !== null) {
        identities.add(before);
        if (this.#setOfNumber.get(before) === set) this.#setOfNumber.delete(before);
      }
      if (after !== null) {
        identities.add(after);
        this.#setOfNumber.set(after, set);
      }
      set.id = after;
      for (const pod of set.pods.records) pods.push(pod);
    }
    if (set.pods.size === 0) this.#sets.delete(set.labels.key);
    const isMissing = set.pods.size > 0 && after === null;
    if (isMissing === this.#missing.has(set)) return;
    this.#missingChanged = true;
    if (isMissing) this.#missing.add(set);
    else this.#missing.delete(set);
  }

  /**
   * Numbers for the label sets that have none: a start from the hash of the set, probing upwards. A function of what is
   * missing and what is taken, not of the order in which pods came. Answers with the numbers that mean another set than before.
   */
  #chooseNumbers(tables: Tables, changed: ChangedKeys, identities: ReadonlySet<IdentityId>): ReadonlySet<IdentityId> {
    const isAsBefore = !this.#missingChanged && (changed.identities === undefined || this.#missing.size === 0);
    this.#missingChanged = false;
    if (isAsBefore) return identities;
    const chosen = new Map<IdentityId, LabelSet>();
    const span = CLUSTER_IDENTITY_MAX - CLUSTER_IDENTITY_MIN + 1;
    for (const set of [...this.#missing].sort((a, b) => compareStrings(a.labels.key, b.labels.key))) {
      const start = Number.parseInt(contentHash(set.labels.key).slice(0, 8), 16) % span;
      for (let step = 0; step < span; step++) {
        const number = identityId(CLUSTER_IDENTITY_MIN + ((start + step) % span));
        if (chosen.has(number) || tables.identities.has(String(number))) continue;
        chosen.set(number, set);
        break;
      }
    }
    const different = new Set(identities);
    for (const [id, set] of this.#wanted) if (chosen.get(id) !== set) different.add(id);
    for (const [id, set] of chosen) if (this.#wanted.get(id) !== set) different.add(id);
    this.#wanted = chosen;
    return different;
  }
}

/** But for the labels. */
function isAsBefore({uid, node, namedPorts}: Workload, pod: PodFact): boolean {
  return uid === pod.uid && node === pod.nodeName && (namedPorts === pod.namedPorts || deepEqual(namedPorts, pod.namedPorts));
}

/** Two objects with one label set: the oldest is the one that all agree on. */
function oldestIdentity(tables: Tables, labelsKey: string): CiliumIdentityFact | null {
  let oldest: CiliumIdentityFact | null = null;
  for (const key of tables.identities.keysBy('labels', labelsKey)) {
    const fact = tables.identities.get(key);
    if (fact === undefined) continue;
    if (oldest === null || (compareStrings(fact.createdAt, oldest.createdAt) || fact.id - oldest.id) < 0) oldest = fact;
  }
  return oldest;
}

export interface SharedPort {
  readonly name: string;
  readonly protocol: number;
  readonly port: number;
}

/** Ports that the pods of a label set name, counted: a name with two numbers is left out of what they share. */
export class SharedPorts {
  /** `name/protocol` → number → pods. */
  #counts: Map<string, Map<number, number>> | null = null;

  /** True when what is shared may be something else now. */
  add(ports: Workload['namedPorts']): boolean {
    return this.#count(ports, 1);
  }

  remove(ports: Workload['namedPorts']): boolean {
    return this.#count(ports, -1);
  }

  shared(): readonly SharedPort[] {
    const shared: (readonly [string, SharedPort])[] = [];
    for (const [key, numbers] of this.#counts ?? []) {
      const [port] = numbers.keys();
      if (numbers.size !== 1 || port === undefined) continue;
      const slash = key.lastIndexOf('/');
      shared.push([key, {name: key.slice(0, slash), protocol: Number(key.slice(slash + 1)), port}]);
    }
    return shared.sort(([a], [b]) => compareStrings(a, b)).map(([, port]) => port);
  }

  #count(ports: Workload['namedPorts'], step: 1 | -1): boolean {
    let isDifferent = false;
    for (const [name, {port, protocol}] of Object.entries(ports)) {
      const key = `${name}/${protocol}`;
      const counts = (this.#counts ??= new Map<string, Map<number, number>>());
      const numbers = counts.get(key) ?? new Map<number, number>();
      const before = numbers.get(port) ?? 0;
      if (before + step > 0) numbers.set(port, before + step);
      else numbers.delete(port);
      if (numbers.size > 0) counts.set(key, numbers);
      else counts.delete(key);
      isDifferent ||= before === 0 || before + step === 0;
    }
    return isDifferent;
  }
}
