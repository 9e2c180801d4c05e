// Pods → workloads with a label set → identities. Says which CiliumIdentity objects should exist; a number is used once it was read back.

import {contentHash} from '../../lib/core/hash.js';
import {compareStrings} from '../../lib/core/order.js';
import {deepEqual} from '../../lib/core/equal.js';
import {CLUSTER_IDENTITY_MAX, CLUSTER_IDENTITY_MIN, identityId, type IdentityId} from '../../lib/domain/identity.js';
import {identityLabels} from '../../lib/domain/label-filter.js';
import type {Labels} from '../../lib/domain/labels.js';
import type {NamedPort, PodFact} from '../model/facts.js';
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
  /** Numbers whose labels, existence or users changed. */
  readonly identities: ReadonlySet<IdentityId>;
}

interface LabelSet {
  readonly labels: Labels;
  readonly pods: Set<string>;
  /** Read back; null = not there yet. */
  id: IdentityId | null;
}

const NO_LABELS: Readonly<Record<string, string>> = {};
/** Of one namespace, kept so that equal ones are made once; beyond that they are made again. */
const LABEL_SETS_MAX = 10_000;
const NO_PODS: ReadonlySet<string> = new Set();

export class Identities {
  readonly #clusterName: string;
  readonly #workloads = new Map<string, Workload>();
  readonly #sets = new Map<string, LabelSet>();
  readonly #labelSets = new WeakMap<Readonly<Record<string, string>>, Map<string, Labels>>();
  readonly #missing = new Set<string>();
  readonly #setOfNumber = new Map<IdentityId, string>();
  /** Label set → the number to create it with. */
  #wanted: ReadonlyMap<string, IdentityId> = new Map();

  constructor(options: {readonly clusterName: string}) {
    this.#clusterName = options.clusterName;
  }

  update(tables: Tables, changed: ChangedKeys): IdentityChanges {
    const pods = new Set<string>();
    const sets = new Set<string>();
    for (const key of affectedPods(tables, changed)) this.#updateWorkload(tables, key, {pods, sets});
    const identities = new Set<IdentityId>();
    for (const key of changed.identities ?? []) {
      const id = identityId(Number(key));
      identities.add(id);
      // An object that went no longer says which labels it had.
      const used = this.#setOfNumber.get(id);
      if (used !== undefined) sets.add(used);
      const fact = tables.identities.get(key);
      if (fact !== undefined) sets.add(fact.labels.key);
    }
    for (const key of sets) this.#updateSet(tables, key, {pods, identities});
    if (this.#missing.size > 0 || this.#wanted.size > 0) this.#wanted = this.#chooseNumbers(tables);
    return {pods, identities};
  }

  get workloads(): ReadonlyMap<string, Workload> {
    return this.#workloads;
  }

  /** The workload's identity, once it was read back. */
  identityOf(workload: Workload): IdentityId | null {
    return this.#sets.get(workload.labels.key)?.id ?? null;
  }

  podsOf(id: IdentityId): ReadonlySet<string> {
    const key = this.#setOfNumber.get(id);
    return key === undefined ? NO_PODS : this.#sets.get(key)?.pods ?? NO_PODS;
  }

  /** Every CiliumIdentity that should exist: those in use, and those to create. By number. */
  desired(): ReadonlyMap<string, Labels> {
    const desired = new Map<string, Labels>();
    for (const [key, {labels, id}] of this.#sets) {
      const number = id ?? this.#wanted.get(key);
      if (number !== undefined) desired.set(String(number), labels);
    }
    return desired;
  }

  #updateWorkload(tables: Tables, key: string, out: {pods: Set<string>; sets: Set<string>}): void {
    const before = this.#workloads.get(key);
    const pod = tables.pods.get(key);
    const after = pod === undefined ? null : this.#workloadOf(key, pod, tables);
    if (before === undefined ? after === null : after !== null && equalWorkloads(before, after)) return;
    out.pods.add(key);
    if (before !== undefined) {
      this.#sets.get(before.labels.key)?.pods.delete(key);
      out.sets.add(before.labels.key);
    }
    if (after === null) {
      this.#workloads.delete(key);
      return;
    }
    this.#workloads.set(key, after);
    const set = this.#sets.get(after.labels.key) ?? {labels: after.labels, pods: new Set<string>(), id: null};
    this.#sets.set(after.labels.key, set);
    set.pods.add(key);
    out.sets.add(after.labels.key);
  }

  #workloadOf(key: string, pod: PodFact, tables: Tables): Workload | null {
    if (pod.hostNetwork || pod.ended) return null;
    const labels = this.#labelsOf(pod, tables.namespaces.get(pod.namespace)?.labels ?? NO_LABELS);
    return {key, namespace: pod.namespace, name: pod.name, uid: pod.uid, node: pod.nodeName, labels, namedPorts: pod.namedPorts};
  }

  /** Most pods have the labels of others of their namespace. What is kept goes with the labels of the namespace. */
  #labelsOf(pod: PodFact, namespaceLabels: Readonly<Record<string, string>>): Labels {
    const known = this.#labelSets.get(namespaceLabels) ?? new Map<string, Labels>();
    this.#labelSets.set(namespaceLabels, known);
    const key = JSON.stringify([pod.namespace, pod.serviceAccount, pod.labels]);
    const held = known.get(key);
    if (held !== undefined) return held;
    const made = identityLabels({podLabels: pod.labels, namespace: pod.namespace, namespaceLabels, serviceAccount: pod.serviceAccount, clusterName: this.#clusterName});
    if (known.size >= LABEL_SETS_MAX) known.clear();
    known.set(key, made);
    return made;
  }

  #updateSet(tables: Tables, key: string, out: {pods: Set<string>; identities: Set<IdentityId>}): void {
    const set = this.#sets.get(key);
    if (set === undefined) return;
    const before = set.id;
    const after = set.pods.size === 0 ? null : oldestIdentity(tables, key);
    for (const id of [before, after]) if (id !== null) out.identities.add(id);
    if (before !== after) {
      if (before !== null) this.#setOfNumber.delete(before);
      if (after !== null) this.#setOfNumber.set(after, key);
      set.id = after;
      for (const pod of set.pods) out.pods.add(pod);
    }
    if (set.pods.size === 0) this.#sets.delete(key);
    if (set.pods.size > 0 && after === null) this.#missing.add(key);
    else this.#missing.delete(key);
  }

  /**
   * Numbers for the label sets that have none: a start from the hash of the set, probing upwards. A function of what is
   * missing and what is taken, not of the order in which pods came.
   */
  #chooseNumbers(tables: Tables): ReadonlyMap<string, IdentityId> {
    const chosen = new Map<string, IdentityId>();
    const taken = new Set<number>();
    const span = CLUSTER_IDENTITY_MAX - CLUSTER_IDENTITY_MIN + 1;
    for (const key of [...this.#missing].sort(compareStrings)) {
      const start = Number.parseInt(contentHash(key).slice(0, 8), 16) % span;
      for (let step = 0; step < span; step++) {
        const number = CLUSTER_IDENTITY_MIN + ((start + step) % span);
        if (taken.has(number) || tables.identities.has(String(number))) continue;
        taken.add(number);
        chosen.set(key, identityId(number));
        break;
      }
    }
    return chosen;
  }
}

function affectedPods(tables: Tables, changed: ChangedKeys): ReadonlySet<string> {
  const keys = new Set(changed.pods);
  for (const namespace of changed.namespaces ?? []) for (const key of tables.pods.keysBy('namespace', namespace)) keys.add(key);
  return keys;
}

function equalWorkloads(a: Workload, b: Workload): boolean {
  return a.uid === b.uid && a.node === b.node && a.labels.key === b.labels.key && deepEqual(a.namedPorts, b.namedPorts);
}

/** Two objects with one label set: the oldest is the one that all agree on. */
function oldestIdentity(tables: Tables, labelsKey: string): IdentityId | null {
  const facts = [...tables.identities.keysBy('labels', labelsKey)].flatMap((key) => tables.identities.get(key) ?? []);
  return facts.sort((a, b) => compareStrings(a.createdAt, b.createdAt) || a.id - b.id)[0]?.id ?? null;
}

/** Ports that all pods of an identity agree on: a name with two numbers is left out. */
export function sharedNamedPorts(workloads: Iterable<Workload>): {name: string; protocol: number; port: number}[] {
  const ports = new Map<string, {name: string; protocol: number; port: number}>();
  const conflicting = new Set<string>();
  for (const {namedPorts} of workloads) {
    for (const [name, {port, protocol}] of Object.entries(namedPorts)) {
      const key = `${name}/${protocol}`;
      if ((ports.get(key)?.port ?? port) !== port) conflicting.add(key);
      ports.set(key, {name, protocol, port});
    }
  }
  return [...ports].filter(([key]) => !conflicting.has(key)).sort(([a], [b]) => compareStrings(a, b)).map(([, port]) => port);
}
