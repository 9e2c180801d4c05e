// Policy objects × the identities they select → the policy of each subject, as the nodes get it. Recomputes the subjects that a
// changed object selected before or selects now.

import {deepEqual} from '../../lib/core/equal.js';
import {RefCount} from '../../lib/core/refcount.js';
import {SmallCounts, SmallSet} from '../../lib/core/small.js';
import {resource} from '../../lib/desired/diff.js';
import type {Resource} from '../../lib/desired/node-state.js';
import {IDENTITY_INIT, RESERVED_IDENTITIES, type Families, type IdentityId} from '../../lib/domain/identity.js';
import {Labels} from '../../lib/domain/labels.js';
import type {EnforcementMode, Members, Peer, PeerSource, PolicyEntry, Rule, SelectorId, SubjectPolicy} from '../../lib/domain/policy.js';
import {matches} from '../../lib/domain/selector.js';
import {anchorOf, SelectorIndex, SetsByKey, type Anchor} from '../../lib/policy/anchors.js';
import {modeOfSubject, peerOfRules, resolvePrepared, type PreparedSubject} from '../../lib/policy/resolve.js';
import {knownPrefixes, prefixLabels, SELECTOR_ANY, sourcesOf, type Meanings} from '../../lib/policy/selectors.js';
import type {PolicyFact} from '../model/facts.js';
import type {ChangedKeys, Tables} from '../model/tables.js';
import type {HeldNode} from './node-layers.js';

export interface CompiledSubject {
  readonly id: IdentityId;
  readonly policy: SubjectPolicy;
  readonly resource: Resource;
  /** Every selector that an entry refers to, each once; the wildcard is none. */
  readonly selectors: readonly SelectorUse[];
  readonly prefixes: readonly string[];
  /** Keys of the policy objects that select it. */
  readonly objects: readonly string[];
}

export interface SubjectChange {
  readonly before: CompiledSubject | null;
  readonly after: CompiledSubject | null;
}

/** A selector that policies refer to. */
export interface SelectorUse {
  readonly id: SelectorId;
  readonly peer: Peer;
  /** Subjects whose policy refers to it. */
  users: number;
  /** Nodes that hold such subjects, and how many of them each. */
  readonly nodes: SmallCounts<HeldNode>;
  /** What the resources below were made from. */
  members: Members | null;
  /** What a node holds of it to which nothing special applies. */
  plain: Resource | null;
  variants: Map<string, Resource> | null;
}

export interface PolicyOptions {
  readonly mode: EnforcementMode;
  readonly allowLocalhost: boolean;
  readonly meanings: Meanings;
  readonly families: Families;
  /** Identities that may have what the anchor says. */
  readonly candidates: (anchor: Anchor) => Iterable<IdentityId>;
}

/** Rules of one object with one subject. */
interface Selecting {
  readonly object: string;
  readonly subject: PreparedSubject;
}

/** Pods whose identity is not known yet: on every node, always enforced. */
const INIT_LABELS = Labels.parse(RESERVED_IDENTITIES.get(IDENTITY_INIT) ?? []);
/** As at a start: taking all of them is cheaper than looking for some. */
const FEW_SUBJECTS = 4;
const FEW_SELECTORS = 16;
const NO_SOURCES: ReadonlyMap<string, PeerSource> = new Map();
const NO_PREFIXES: readonly string[] = [];

export class Policies {
  readonly #options: PolicyOptions;
  /** Most objects have one subject. */
  readonly #objects = new Map<string, Selecting | readonly Selecting[]>();
  readonly #index = new SelectorIndex<Selecting>();
  /** Identities that pods have, and `reserved:init`. */
  readonly #subjects = new Map<IdentityId, Labels>();
  readonly #compiled = new Map<IdentityId, CompiledSubject>();
  readonly #sources = new Map<string, PeerSource>();
  readonly #objectsBySource = new SetsByKey<string>();
  /** Of the objects that refer to any. */
  readonly #sourcesByObject = new Map<string, ReadonlyMap<string, PeerSource>>();
  readonly #selectors = new Map<SelectorId, SelectorUse>();
  readonly #prefixUse = new RefCount();
  readonly #prefixEntries = new Map<string, Resource>();
  /** Selectors and prefixes that came into use or went out of it since `takeReferenceChanges`. */
  readonly #selectorChanges = new Set<SelectorUse>();
  readonly #prefixChanges = new Set<string>();

  constructor(options: PolicyOptions) {
    this.#options = options;
    this.#subjects.set(IDENTITY_INIT, INIT_LABELS);
    this.#recompile(IDENTITY_INIT);
  }

  /** What the names in rules stand for. */
  get meanings(): Meanings {
    return this.#options.meanings;
  }

  get compiled(): ReadonlyMap<IdentityId, CompiledSubject> {
    return this.#compiled;
  }

  /** Subjects that a rule of the object selects. */
  subjectsOf(object: string): ReadonlySet<IdentityId> {
    const found = new Set<IdentityId>();
    this.#addSubjects(object, found);
    return found;
  }

  /** What may have come into use or gone out of it since the last call. */
  takeReferenceChanges(): {readonly selectors: readonly SelectorUse[]; readonly prefixes: readonly string[]} {
    const changes = {selectors: [...this.#selectorChanges], prefixes: [...this.#prefixChanges]};
    for (const {id, users} of changes.selectors) if (users === 0) this.#selectors.delete(id);
    this.#selectorChanges.clear();
    this.#prefixChanges.clear();
    return changes;
  }

  /** What a node that knows the prefix holds of it. */
  get prefixEntries(): ReadonlyMap<string, Resource> {
    return this.#prefixEntries;
  }

  selectorInUse(id: SelectorId): SelectorUse | undefined {
    return this.#selectors.get(id);
  }

  isPrefixInUse(prefix: string): boolean {
    return this.#prefixUse.has(prefix);
  }

  /** The names that rules refer to, by `sourceId`. */
  sourcesInUse(): ReadonlyMap<string, PeerSource> {
    return this.#sources;
  }

  /**
   * First half of a change: the objects themselves, so that `sourcesInUse` is right. Followed by `update`. Answers with the
   * subjects that the objects of before selected.
   */
  take(tables: Tables, changed: ChangedKeys): Set<IdentityId> {
    const stale = new Set<IdentityId>();
    for (const key of changed.policies ?? []) {
      this.#forget(key, stale);
      const fact = tables.policies.get(key);
      if (fact !== undefined) this.#hold(key, fact);
    }
    return stale;
  }

  /**
   * Second half. `stale`: what `take` answered. `subjects`: identities that changed, with their labels, or null when nobody has them
   * any more. `sources`: names that stand for something else now. Answers with the subjects whose policy is another one.
   */
  update(stale: Set<IdentityId>, changed: ChangedKeys, subjects: ReadonlyMap<IdentityId, Labels | null>, sources: ReadonlySet<string>): ReadonlyMap<IdentityId, SubjectChange> {
    // Whoever is new is stale anyway; at a start everybody is.
    if (changed.policies !== undefined && this.#subjects.size <= FEW_SUBJECTS) for (const id of this.#subjects.keys()) stale.add(id);
    else for (const key of changed.policies ?? []) this.#addSubjects(key, stale);
    for (const source of sources) for (const key of this.#objectsBySource.get(source)) this.#addSubjects(key, stale);
    for (const [id, labels] of subjects) {
      if (this.#subjects.get(id)?.key === labels?.key) continue;
      if (labels === null) this.#subjects.delete(id);
      else this.#subjects.set(id, labels);
      stale.add(id);
    }
    const changes = new Map<IdentityId, SubjectChange>();
    for (const id of stale) {
      const change = this.#recompile(id);
      if (change !== null) changes.set(id, change);
    }
    return changes;
  }

  #hold(key: string, fact: PolicyFact): void {
    const selecting = fact.subjects.map((subject): Selecting => ({object: key, subject}));
    const sources = fact.subjects.some(({prefixed}) => prefixed) && fact.rules.some(namesSource) ? sourcesOf(fact.rules) : NO_SOURCES;
    const [only] = selecting;
    this.#objects.set(key, selecting.length === 1 && only !== undefined ? only : selecting);
    for (const one of selecting) this.#index.add(anchorOf(one.subject.selector), one);
    if (sources.size > 0) this.#sourcesByObject.set(key, sources);
    for (const [id, source] of sources) {
      this.#sources.set(id, source);
      this.#objectsBySource.add(id, key);
    }
  }

  #forget(key: string, stale: Set<IdentityId>): void {
    const selecting = this.#selectingOf(key);
    this.#objects.delete(key);
    for (const one of selecting) {
      this.#addSelected(one.subject, stale);
      this.#index.remove(anchorOf(one.subject.selector), one);
    }
    const sources = this.#sourcesByObject.get(key) ?? NO_SOURCES;
    this.#sourcesByObject.delete(key);
    for (const id of sources.keys()) {
      this.#objectsBySource.remove(id, key);
      if (!this.#objectsBySource.has(id)) this.#sources.delete(id);
    }
  }

  #selectingOf(object: string): readonly Selecting[] {
    const held = this.#objects.get(object) ?? [];
    return 'subject' in held ? [held] : held;
  }

  #addSubjects(object: string, found: Set<IdentityId>): void {
    for (const {subject} of this.#selectingOf(object)) this.#addSelected(subject, found);
  }

  #addSelected({selector}: PreparedSubject, found: Set<IdentityId>): void {
    const {candidates} = this.#options;
    for (const id of candidates(anchorOf(selector))) {
      const labels = this.#subjects.get(id);
      if (labels !== undefined && matches(selector, labels)) found.add(id);
    }
  }

  /** Null when the subject's policy, and what it refers to, are what they were. */
  #recompile(id: IdentityId): SubjectChange | null {
    const before = this.#compiled.get(id) ?? null;
    const labels = this.#subjects.get(id);
    if (labels === undefined && before === null) return null;
    const after = labels === undefined ? null : this.#compile(id, labels, before);
    if (after === null) this.#compiled.delete(id);
    else this.#compiled.set(id, after);
    if (before !== null && after?.resource === before.resource && deepEqual(before.prefixes, after.prefixes)) return null;
    this.#count(before, after);
    return {before, after};
  }

  /** What `after` refers to first, so that what both refer to stays in use. */
  #count(before: CompiledSubject | null, after: CompiledSubject | null): void {
    for (const use of after?.selectors ?? []) use.users++;
    for (const prefix of after?.prefixes ?? NO_PREFIXES) {
      if (!this.#prefixUse.acquire(prefix)) continue;
      this.#prefixEntries.set(prefix, prefixEntry(prefix, this.#options.families));
      this.#prefixChanges.add(prefix);
    }
    for (const use of before?.selectors ?? []) {
      use.users--;
      if (use.users === 0) this.#selectorChanges.add(use);
    }
    for (const prefix of before?.prefixes ?? NO_PREFIXES) {
      if (!this.#prefixUse.release(prefix)) continue;
      this.#prefixEntries.delete(prefix);
      this.#prefixChanges.add(prefix);
    }
  }

  /** What is the same to the nodes keeps its resource, so that its bytes are not made again. */
  #compile(id: IdentityId, labels: Labels, before: CompiledSubject | null): CompiledSubject {
    const subjects: PreparedSubject[] = [];
    const objects = new SmallSet<string>();
    this.#index.forEachCandidate(labels, ({object, subject}) => {
      if (!matches(subject.selector, labels)) return;
      objects.add(object);
      subjects.push(subject);
    });
    const {mode, allowLocalhost, meanings, families} = this.#options;
    const {ingressEnforced, egressEnforced, entries, isolatedBy} = resolvePrepared(subjects, {mode: modeOfSubject(mode, labels), allowLocalhost});
    const policy = isolatedBy === undefined ? {subject: id, ingressEnforced, egressEnforced, entries} : {subject: id, ingressEnforced, egressEnforced, entries, isolatedBy};
    const prefixes = subjects.some(({prefixed}) => prefixed) ? knownPrefixes(subjects.flatMap(({rules}) => rules), {meanings, families}) : NO_PREFIXES;
    if (before !== null && deepEqual(before.policy, policy)) return {...before, prefixes, objects: [...objects.values()]};
    const selectors = selectorsOf(policy.entries).map((selector) => this.#use(selector, subjects));
    return {id, policy, selectors, prefixes, objects: [...objects.values()], resource: resource('policy', String(id), policy)};
  }

  #use(id: SelectorId, subjects: readonly PreparedSubject[]): SelectorUse {
    const held = this.#selectors.get(id);
    if (held !== undefined) return held;
    const made: SelectorUse = {id, peer: peerOfRules(subjects, id), users: 0, nodes: new SmallCounts(), members: null, plain: null, variants: null};
    this.#selectors.set(id, made);
    this.#selectorChanges.add(made);
    return made;
  }
}

/** Each once. They are sorted within a direction, so most repetitions follow each other. */
function selectorsOf(entries: readonly PolicyEntry[]): readonly SelectorId[] {
  const found: SelectorId[] = [];
  let many: Set<SelectorId> | null = null;
  for (const {selector} of entries) {
    if (selector === SELECTOR_ANY || selector === found.at(-1) || (many === null ? found.includes(selector) : many.has(selector))) continue;
    found.push(selector);
    if (found.length >= FEW_SELECTORS) many ??= new Set(found);
    many?.add(selector);
  }
  return found;
}

function namesSource({peers}: Rule): boolean {
  return peers.some((peer) => peer.kind === 'named');
}

function prefixEntry(prefix: string, families: Families): Resource {
  return resource('ipcache', prefix, {prefix, identity: null, labels: prefixLabels(prefix, families), tunnelEndpoint: null, local: false});
}
