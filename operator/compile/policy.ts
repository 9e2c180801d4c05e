// Policy objects × the identities they select → the policy of each subject, as the nodes get it. Recomputes the subjects that a
// changed object selected before or selects now.

import {RefCount} from '../../lib/core/refcount.js';
import {resource} from '../../lib/desired/diff.js';
import type {Resource} from '../../lib/desired/node-state.js';
import {IDENTITY_INIT, RESERVED_IDENTITIES, type IdentityId} from '../../lib/domain/identity.js';
import {Labels} from '../../lib/domain/labels.js';
import type {EnforcementMode, PeerSource, Rule, SelectorId, SubjectPolicy} from '../../lib/domain/policy.js';
import {matches, type Selector} from '../../lib/domain/selector.js';
import {AnchorIndex, anchorOf, anchorsOf} from '../../lib/policy/anchors.js';
import {modeOfSubject, resolveSubject} from '../../lib/policy/resolve.js';
import {knownPrefixes, prefixLabels, SELECTOR_ANY, sourcesOf, type Meanings} from '../../lib/policy/selectors.js';
import type {PolicyFact} from '../model/facts.js';
import type {ChangedKeys, Tables} from '../model/tables.js';

export interface CompiledSubject {
  readonly id: IdentityId;
  readonly policy: SubjectPolicy;
  readonly resource: Resource;
  /** Every selector that an entry refers to; the wildcard is none. */
  readonly selectors: ReadonlySet<SelectorId>;
  readonly prefixes: readonly string[];
  /** Keys of the policy objects that select it. */
  readonly objects: ReadonlySet<string>;
}

export interface PolicyOptions {
  readonly mode: EnforcementMode;
  readonly allowLocalhost: boolean;
  readonly meanings: Meanings;
}

/** One object, with what it is found by. */
interface Held {
  readonly fact: PolicyFact;
  /** Distinct subjects of its rules. */
  readonly subjects: readonly Selector[];
  readonly sources: ReadonlyMap<string, PeerSource>;
}

interface Subject {
  readonly labels: Labels;
  /** Keys of the policy objects with a rule that selects it. */
  readonly objects: Set<string>;
}

/** Pods whose identity is not known yet: on every node, always enforced. */
const INIT_LABELS = Labels.parse(RESERVED_IDENTITIES.get(IDENTITY_INIT) ?? []);

const NO_SUBJECTS: ReadonlySet<IdentityId> = new Set();

export class Policies {
  readonly #options: PolicyOptions;
  readonly #objects = new Map<string, Held>();
  readonly #objectsByAnchor = new AnchorIndex<string>();
  /** Objects with a subject that promises no anchor. */
  readonly #unanchored = new Set<string>();
  readonly #subjects = new Map<IdentityId, Subject>();
  readonly #subjectsByAnchor = new AnchorIndex<IdentityId>();
  readonly #compiled = new Map<IdentityId, CompiledSubject>();
  readonly #subjectsOf = new Map<string, Set<IdentityId>>();
  readonly #sources = new Map<string, PeerSource>();
  readonly #objectsBySource = new AnchorIndex<string>();
  readonly #selectorUse = new RefCount();
  readonly #prefixUse = new RefCount();
  readonly #prefixEntries = new Map<string, Resource>();
  /** Selectors and prefixes that came into use or went out of it since `takeReferenceChanges`. */
  readonly #selectorChanges = new Set<SelectorId>();
  readonly #prefixChanges = new Set<string>();

  constructor(options: PolicyOptions) {
    this.#options = options;
    this.#addSubject(IDENTITY_INIT, INIT_LABELS);
    this.#recompile(IDENTITY_INIT);
  }

  get compiled(): ReadonlyMap<IdentityId, CompiledSubject> {
    return this.#compiled;
  }

  /** Subjects that a rule of the object selects. */
  subjectsOf(object: string): ReadonlySet<IdentityId> {
    return this.#subjectsOf.get(object) ?? NO_SUBJECTS;
  }

  selectorsInUse(): Iterable<SelectorId> {
    return this.#selectorUse.keys();
  }

  prefixesInUse(): Iterable<string> {
    return this.#prefixUse.keys();
  }

  isSelectorInUse(id: SelectorId): boolean {
    return this.#selectorUse.has(id);
  }

  /** Ids that may have come into use or gone out of it since the last call. */
  takeReferenceChanges(): {readonly selectors: readonly SelectorId[]; readonly prefixes: readonly string[]} {
    const changes = {selectors: [...this.#selectorChanges], prefixes: [...this.#prefixChanges]};
    this.#selectorChanges.clear();
    this.#prefixChanges.clear();
    return changes;
  }

  /** What a node that knows the prefix holds of it. */
  get prefixEntries(): ReadonlyMap<string, Resource> {
    return this.#prefixEntries;
  }

  isPrefixInUse(prefix: string): boolean {
    return this.#prefixUse.has(prefix);
  }

  /** The names that rules refer to, by `sourceId`. */
  sourcesInUse(): ReadonlyMap<string, PeerSource> {
    return this.#sources;
  }

  /** First half of a change: the objects themselves, so that `sourcesInUse` is right. Followed by `update`. */
  take(tables: Tables, changed: ChangedKeys): void {
    for (const key of changed.policies ?? []) {
      const before = this.#objects.get(key);
      if (before !== undefined) this.#forget(key, before);
      const fact = tables.policies.get(key);
      if (fact !== undefined) this.#hold(key, {fact, subjects: [...new Set(fact.rules.map((rule) => rule.subject))], sources: sourcesOf(fact.rules)});
    }
  }

  /**
   * Second half. `subjects`: identities that changed, with their labels, or null when nobody has them any more. `sources`: names
   * that stand for something else now. Answers with the subjects whose policy is another one.
   */
  update(changed: ChangedKeys, subjects: ReadonlyMap<IdentityId, Labels | null>, sources: ReadonlySet<string>): ReadonlySet<IdentityId> {
    const stale = new Set<IdentityId>();
    for (const key of changed.policies ?? []) this.#select(key, stale);
    for (const [id, labels] of subjects) this.#updateSubject(id, labels, stale);
    for (const source of sources) {
      for (const key of this.#objectsBySource.get(source)) for (const id of this.subjectsOf(key)) stale.add(id);
    }
    return new Set([...stale].filter((id) => this.#recompile(id)));
  }

  #hold(key: string, held: Held): void {
    this.#objects.set(key, held);
    for (const selector of held.subjects) {
      const anchor = anchorOf(selector);
      if (anchor === null) this.#unanchored.add(key);
      else this.#objectsByAnchor.add(anchor, key);
    }
    for (const [id, source] of held.sources) {
      this.#sources.set(id, source);
      this.#objectsBySource.add(id, key);
    }
  }

  #forget(key: string, held: Held): void {
    this.#objects.delete(key);
    this.#unanchored.delete(key);
    for (const selector of held.subjects) {
      const anchor = anchorOf(selector);
      if (anchor !== null) this.#objectsByAnchor.remove(anchor, key);
    }
    for (const id of held.sources.keys()) {
      this.#objectsBySource.remove(id, key);
      if ([...this.#objectsBySource.get(id)].length === 0) this.#sources.delete(id);
    }
  }

  /** Which subjects the object selects now. Those of before and those of now are stale. */
  #select(key: string, stale: Set<IdentityId>): void {
    const before = this.subjectsOf(key);
    const held = this.#objects.get(key);
    const after = new Set<IdentityId>();
    for (const selector of held?.subjects ?? []) {
      const anchor = anchorOf(selector);
      for (const id of anchor === null ? this.#subjects.keys() : this.#subjectsByAnchor.get(anchor)) {
        const subject = this.#subjects.get(id);
        if (subject !== undefined && matches(selector, subject.labels)) after.add(id);
      }
    }
    for (const id of before) if (!after.has(id)) this.#subjects.get(id)?.objects.delete(key);
    for (const id of after) this.#subjects.get(id)?.objects.add(key);
    for (const id of before) stale.add(id);
    for (const id of after) stale.add(id);
    if (held === undefined) this.#subjectsOf.delete(key);
    else this.#subjectsOf.set(key, after);
  }

  #updateSubject(id: IdentityId, labels: Labels | null, stale: Set<IdentityId>): void {
    const before = this.#subjects.get(id);
    if (before?.labels.key === labels?.key) return;
    for (const key of before?.objects ?? []) this.#subjectsOf.get(key)?.delete(id);
    for (const anchor of before === undefined ? [] : anchorsOf(before.labels)) this.#subjectsByAnchor.remove(anchor, id);
    stale.add(id);
    if (labels === null) this.#subjects.delete(id);
    else this.#addSubject(id, labels);
  }

  #addSubject(id: IdentityId, labels: Labels): void {
    const objects = new Set<string>();
    const anchors = anchorsOf(labels);
    const consider = (key: string): void => {
      if (objects.has(key) || this.#objects.get(key)?.subjects.some((selector) => matches(selector, labels)) !== true) return;
      objects.add(key);
      this.#subjectsOf.get(key)?.add(id);
    };
    for (const key of this.#unanchored) consider(key);
    for (const anchor of anchors) {
      this.#subjectsByAnchor.add(anchor, id);
      for (const key of this.#objectsByAnchor.get(anchor)) consider(key);
    }
    this.#subjects.set(id, {labels, objects});
  }

  /** True when the subject's policy, or what it refers to, is another one now. */
  #recompile(id: IdentityId): boolean {
    const before = this.#compiled.get(id);
    const subject = this.#subjects.get(id);
    const after = subject === undefined ? undefined : this.#compile(id, subject);
    if (before !== undefined && after !== undefined && before.resource.version === after.resource.version
      && equalSets(before.prefixes, after.prefixes)) {
      // The same to the nodes: keep the resource, so that its bytes are not made again.
      this.#compiled.set(id, {...before, objects: after.objects});
      return false;
    }
    for (const selector of after?.selectors ?? []) if (this.#selectorUse.acquire(selector)) this.#selectorChanges.add(selector);
    for (const prefix of after?.prefixes ?? []) {
      if (!this.#prefixUse.acquire(prefix)) continue;
      this.#prefixEntries.set(prefix, prefixEntry(prefix));
      this.#prefixChanges.add(prefix);
    }
    for (const selector of before?.selectors ?? []) if (this.#selectorUse.release(selector)) this.#selectorChanges.add(selector);
    for (const prefix of before?.prefixes ?? []) {
      if (!this.#prefixUse.release(prefix)) continue;
      this.#prefixEntries.delete(prefix);
      this.#prefixChanges.add(prefix);
    }
    if (after === undefined) this.#compiled.delete(id);
    else this.#compiled.set(id, after);
    return before !== undefined || after !== undefined;
  }

  #compile(id: IdentityId, {labels, objects}: Subject): CompiledSubject {
    const rules: Rule[] = [...objects].flatMap((key) => (this.#objects.get(key)?.fact.rules ?? []).filter((rule) => matches(rule.subject, labels)));
    const {mode, allowLocalhost, meanings} = this.#options;
    const policy = resolveSubject(rules, {mode: modeOfSubject(mode, labels), allowLocalhost});
    const selectors = new Set(policy.entries.map((entry) => entry.selector));
    selectors.delete(SELECTOR_ANY);
    return {
      id, policy, selectors, prefixes: knownPrefixes(rules, {meanings}), objects: new Set(objects),
      resource: resource('policy', String(id), {subject: id, ...policy}),
    };
  }
}

function prefixEntry(prefix: string): Resource {
  return resource('ipcache', prefix, {prefix, identity: null, labels: prefixLabels(prefix), tunnelEndpoint: null, local: false});
}

function equalSets(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((item, i) => item === b[i]);
}
