// Pods → workloads with a label set → identities. Says which CiliumIdentity objects should exist; a number is used once it was read back.

import {contentHash} from '../../lib/core/hash.js';
import {compareStrings} from '../../lib/core/order.js';
import {deepEqual} from '../../lib/core/equal.js';
import {appended, SmallMap} from '../../lib/core/small.js';
import {CLUSTER_IDENTITY_MAX, CLUSTER_IDENTITY_MIN, identityId, type IdentityId} from '../../lib/domain/identity.js';
import {LabelFilter, ownLabels, placeLabels} from '../../lib/domain/label-filter.js';
import {Labels} from '../../lib/domain/labels.js';
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

/** What the pods of a namespace with certain labels, and of a service account, are in by their own labels. */
interface Place {
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly sets: SmallMap<Readonly<Record<string, string>>, LabelSet>;
}

/** What one turn has touched. */
interface Touched {
  readonly pods: PodRecord[];
  readonly sets: Set<LabelSet>;
  /** Made in it, with the number that is right. */
  readonly made: Set<LabelSet>;
  readonly identities: Set<IdentityId>;
}

const NO_LABELS: Readonly<Record<string, string>> = {};
/** Kept so that equal sets are made once; beyond that they are made again. */
const MADE_SETS_MAX = 1 << 17;
const OWN_LABELS_MAX = 1024;
const NO_PLACES: readonly Place[] = [];
const NO_PODS: readonly PodRecord[] = [];

export class Identities {
  readonly #clusterName: string;
  readonly #labelFilter: LabelFilter;
  readonly #records: PodRecords;
  readonly #sets = new Map<string, LabelSet>();
  /** By the labels of the namespace: these and those of the pod are the same objects as long as nothing changes them. */
  #places = new Map<Readonly<Record<string, string>>, readonly Place[]>();
  #madeCount = 0;
  /** The labels of the place that was made last: pods of one namespace come together. */
  #placed: {readonly place: Place; readonly labels: Labels} | null = null;
  /** What is kept of pods' own labels, of the last ones. */
  readonly #own = new Map<Readonly<Record<string, string>>, Labels>();
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
    const touched: Touched = {pods: [], sets: new Set(), made: new Set(), identities: new Set()};
    // At a start every row is new: walking through them is cheaper than looking for each.
    if (changed.pods !== undefined && this.#records.isEmpty) for (const [key, pod] of tables.pods) this.#updateWorkload(tables, key, pod, touched);
    else for (const key of changed.pods ?? []) this.#updateWorkload(tables, key, tables.pods.get(key), touched);
    for (const namespace of changed.namespaces ?? []) {
      for (const key of tables.pods.keysBy('namespace', namespace)) if (changed.pods?.has(key) !== true) this.#updateWorkload(tables, key, tables.pods.get(key), touched);
    }
    const {pods, sets, made, identities} = touched;
    for (const key of changed.identities ?? []) {
      const id = identityId(Number(key));
      identities.add(id);
      const held = this.#setOfNumber.get(id);
      if (held !== undefined && made.has(held)) continue;
      // An object that went no longer says which labels it had.
      for (const set of [held, this.#sets.get(tables.identities.get(key)?.labels.key ?? '')]) {
        if (set === undefined) continue;
        this.#updateSet(tables, set, touched);
        sets.delete(set);
      }
    }
    for (const set of sets) if (set.id === null || set.pods.size === 0) this.#updateSet(tables, set, touched);
    return {pods, identities, desired: this.#chooseNumbers(tables, changed, identities)};
  }

  /** Null = there is no such CiliumIdentity. */
  labelsOf(tables: Tables, id: IdentityId): Labels | null {
    return (this.#setOfNumber.get(id) ?? tables.identities.get(String(id)))?.labels ?? null;
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

  #updateWorkload(tables: Tables, key: string, pod: PodFact | undefined, touched: Touched): void {
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
    const set = this.#setOf(pod, tables, touched);
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
  #setOf({namespace, serviceAccount, labels: podLabels}: PodFact, tables: Tables, touched: Touched): LabelSet {
    const namespaceLabels = tables.namespaces.get(namespace)?.labels ?? NO_LABELS;
    const place = this.#placeOf(namespaceLabels, namespace, serviceAccount);
    const known = place.sets.get(podLabels);
    // Sets that nobody was in for a while may have been made anew by others.
    if (known !== undefined && (known.pods.size > 0 || !this.#sets.has(known.labels.key))) return known;
    if (this.#placed?.place !== place) {
      this.#placed = {place, labels: placeLabels({namespace, namespaceLabels, serviceAccount, clusterName: this.#clusterName}, this.#labelFilter)};
    }
    const labels = Labels.union(this.#ownLabels(podLabels), this.#placed.labels);
    const set = this.#sets.get(labels.key) ?? this.#make(tables, labels, touched);
    this.#madeCount++;
    place.sets.set(podLabels, set);
    return set;
  }

  /** For a pod that joins it at once. */
  #make(tables: Tables, labels: Labels, {made, identities}: Touched): LabelSet {
    const oldest = oldestIdentity(tables, labels.key);
    // Of equal labels those that are there already.
    const set: LabelSet = {labels: oldest?.labels ?? labels, pods: new Roster('setSlot'), ports: new SharedPorts(), id: null};
    // A number that another set still has is taken from it first.
    if (oldest === null || this.#setOfNumber.has(oldest.id)) return set;
    set.id = oldest.id;
    this.#setOfNumber.set(oldest.id, set);
    identities.add(oldest.id);
    made.add(set);
    return set;
  }

  #placeOf(namespaceLabels: Readonly<Record<string, string>>, namespace: string, serviceAccount: string): Place {
    if (this.#madeCount >= MADE_SETS_MAX) {
      this.#places = new Map();
      this.#placed = null;
      this.#madeCount = 0;
    }
    const places = this.#places.get(namespaceLabels) ?? NO_PLACES;
    const held = places.find((place) => place.namespace === namespace && place.serviceAccount === serviceAccount);
    if (held !== undefined) return held;
    const made: Place = {namespace, serviceAccount, sets: new SmallMap()};
    this.#madeCount++;
    this.#places.set(namespaceLabels, appended(places, made));
    return made;
  }

  #ownLabels(podLabels: Readonly<Record<string, string>>): Labels {
    const held = this.#own.get(podLabels);
    if (held !== undefined) return held;
    const made = ownLabels(podLabels, this.#labelFilter);
    if (this.#own.size >= OWN_LABELS_MAX) this.#own.clear();
    this.#own.set(podLabels, made);
    return made;
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
  tables.identities.forEachBy('labels', labelsKey, (fact) => {
    if (oldest === null || (compareStrings(fact.createdAt, oldest.createdAt) || fact.id - oldest.id) < 0) oldest = fact;
  });
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
