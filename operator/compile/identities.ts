// Pods → workloads with a label set → identities. Says which CiliumIdentity objects should exist; a number is used once it was read back.

import {contentHash} from '../../lib/core/hash.js';
import {compareStrings} from '../../lib/core/order.js';
import {deepEqual} from '../../lib/core/equal.js';
import {CLUSTER_IDENTITY_MAX, CLUSTER_IDENTITY_MIN, identityId, type IdentityId} from '../../lib/domain/identity.js';
import {LabelFilter, identityLabels} from '../../lib/domain/label-filter.js';
import type {Labels} from '../../lib/domain/labels.js';
import type {CiliumIdentityFact, NamedPort, PodFact} from '../model/facts.js';
import type {ChangedKeys, Tables} from '../model/tables.js';

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
  /** Workloads that came, went or changed, or whose identity is another one. */
  readonly pods: ReadonlySet<string>;
  /** Numbers whose labels, existence or ports changed, or that pods have now or have no longer. */
  readonly identities: ReadonlySet<IdentityId>;
  /** Numbers for which `desiredLabels` may have another answer. */
  readonly desired: ReadonlySet<IdentityId>;
}

interface LabelSet {
  readonly labels: Labels;
  readonly pods: Set<string>;
  readonly ports: SharedPorts;
  /** Read back; null = not there yet. */
  id: IdentityId | null;
}

/** Labels of pods whose namespace has certain labels. */
interface MadeLabels {
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly labels: Labels;
}

/** What one turn has touched. */
interface Touched {
  readonly pods: Set<string>;
  readonly sets: Set<LabelSet>;
  readonly identities: Set<IdentityId>;
}

const NO_LABELS: Readonly<Record<string, string>> = {};
/** Of one namespace, kept so that equal ones are made once; beyond that they are made again. */
const LABEL_SETS_MAX = 10_000;
const NO_PODS: ReadonlySet<string> = new Set();

export class Identities {
  readonly #clusterName: string;
  readonly #labelFilter: LabelFilter;
  readonly #workloads = new Map<string, Workload>();
  readonly #sets = new Map<string, LabelSet>();
  /** By the labels of the namespace, then by those of the pod: both are the same objects as long as nothing changes them. */
  readonly #made = new WeakMap<Readonly<Record<string, string>>, Map<Readonly<Record<string, string>>, MadeLabels[]>>();
  readonly #missing = new Set<LabelSet>();
  #missingChanged = false;
  readonly #setOfNumber = new Map<IdentityId, LabelSet>();
  /** Numbers to create missing label sets with. */
  #wanted: ReadonlyMap<IdentityId, LabelSet> = new Map();

  constructor(options: {readonly clusterName: string; readonly labelFilter?: LabelFilter}) {
    this.#clusterName = options.clusterName;
    this.#labelFilter = options.labelFilter ?? LabelFilter.DEFAULT;
  }

  update(tables: Tables, changed: ChangedKeys): IdentityChanges {
    const touched: Touched = {pods: new Set(), sets: new Set(), identities: new Set()};
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

  get workloads(): ReadonlyMap<string, Workload> {
    return this.#workloads;
  }

  /** The workload's identity, once it was read back. */
  identityOf(workload: Workload): IdentityId | null {
    return this.#sets.get(workload.labels.key)?.id ?? null;
  }

  podsOf(id: IdentityId): ReadonlySet<string> {
    return this.#setOfNumber.get(id)?.pods ?? NO_PODS;
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
    const before = this.#workloads.get(key);
    const pod = tables.pods.get(key);
    const after = pod === undefined ? null : this.#workloadOf(key, pod, tables);
    if (before === undefined ? after === null : after !== null && equalWorkloads(before, after)) return;
    touched.pods.add(key);
    if (before !== undefined) this.#leave(before, touched);
    if (after === null) this.#workloads.delete(key);
    else {
      this.#workloads.set(key, after);
      this.#join(after, touched);
    }
  }

  #leave({key, labels, namedPorts}: Workload, touched: Touched): void {
    const set = this.#sets.get(labels.key);
    if (set === undefined) return;
    set.pods.delete(key);
    touched.sets.add(set);
    if (set.ports.remove(namedPorts) && set.id !== null) touched.identities.add(set.id);
  }

  #join({key, labels, namedPorts}: Workload, touched: Touched): void {
    let set = this.#sets.get(labels.key);
    if (set === undefined) this.#sets.set(labels.key, (set = {labels, pods: new Set(), ports: new SharedPorts(), id: null}));
    set.pods.add(key);
    touched.sets.add(set);
    if (set.ports.add(namedPorts) && set.id !== null) touched.identities.add(set.id);
  }

  #workloadOf(key: string, pod: PodFact, tables: Tables): Workload | null {
    if (pod.hostNetwork || pod.ended) return null;
    const labels = this.#labelsOf(pod, tables);
    return {key, namespace: pod.namespace, name: pod.name, uid: pod.uid, node: pod.nodeName, labels, namedPorts: pod.namedPorts};
  }

  /** Most pods have the labels of others of their namespace. What is kept goes with the labels of the namespace. */
  #labelsOf({namespace, serviceAccount, labels: podLabels}: PodFact, tables: Tables): Labels {
    const namespaceLabels = tables.namespaces.get(namespace)?.labels ?? NO_LABELS;
    let byPod = this.#made.get(namespaceLabels);
    if (byPod === undefined) this.#made.set(namespaceLabels, (byPod = new Map()));
    const held = byPod.get(podLabels);
    const known = held?.find((one) => one.namespace === namespace && one.serviceAccount === serviceAccount);
    if (known !== undefined) return known.labels;
    const labels = identityLabels({podLabels, namespace, namespaceLabels, serviceAccount, clusterName: this.#clusterName}, this.#labelFilter);
    // Of equal sets the one that is there already is the one to keep.
    const made = {namespace, serviceAccount, labels: this.#sets.get(labels.key)?.labels ?? oldestIdentity(tables, labels.key)?.labels ?? labels};
    if (byPod.size >= LABEL_SETS_MAX) byPod.clear();
    byPod.set(podLabels, held === undefined || held.length >= LABEL_SETS_MAX ? [made] : [...held, made]);
    return made.labels;
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
      for (const pod of set.pods) pods.add(pod);
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

function equalWorkloads(a: Workload, b: Workload): boolean {
  return a.uid === b.uid && a.node === b.node && a.labels.key === b.labels.key && deepEqual(a.namedPorts, b.namedPorts);
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
