// Policy objects × the identities they select → the policy of each subject, as the nodes get it. Recomputes the subjects that a
// changed object selected before or selects now.

import {RefCount} from '../../lib/core/refcount.js';
import {resource} from '../../lib/desired/diff.js';
import type {Resource} from '../../lib/desired/node-state.js';
import {IDENTITY_INIT, RESERVED_IDENTITIES, type IdentityId} from '../../lib/domain/identity.js';
import {Labels} from '../../lib/domain/labels.js';
import type {EnforcementMode, Rule, SelectorId, SubjectPolicy} from '../../lib/domain/policy.js';
import {matches} from '../../lib/domain/selector.js';
import {modeOfSubject, resolveSubject} from '../../lib/policy/resolve.js';
import {knownPrefixes, prefixLabels, SELECTOR_ANY} from '../../lib/policy/selectors.js';
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

interface Subject {
  readonly labels: Labels;
  /** Keys of the policy objects with a rule that selects it. */
  readonly objects: Set<string>;
}

/** Pods whose identity is not known yet: on every node, always enforced. */
const INIT_LABELS = Labels.parse(RESERVED_IDENTITIES.get(IDENTITY_INIT) ?? []);

export class Policies {
  readonly #mode: EnforcementMode;
  readonly #allowLocalhost: boolean;
  readonly #objects = new Map<string, PolicyFact>();
  readonly #subjects = new Map<IdentityId, Subject>();
  readonly #compiled = new Map<IdentityId, CompiledSubject>();
  readonly #subjectsOf = new Map<string, Set<IdentityId>>();
  readonly #selectorUse = new RefCount();
  readonly #prefixUse = new RefCount();
  readonly #prefixEntries = new Map<string, Resource>();

  constructor(options: {readonly mode: EnforcementMode; readonly allowLocalhost: boolean}) {
    this.#mode = options.mode;
    this.#allowLocalhost = options.allowLocalhost;
    this.#subjects.set(IDENTITY_INIT, {labels: INIT_LABELS, objects: new Set()});
    this.#recompile(IDENTITY_INIT);
  }

  get compiled(): ReadonlyMap<IdentityId, CompiledSubject> {
    return this.#compiled;
  }

  /** Subjects that a rule of the object selects. */
  subjectsOf(object: string): ReadonlySet<IdentityId> {
    return this.#subjectsOf.get(object) ?? new Set();
  }

  selectorsInUse(): Iterable<SelectorId> {
    return this.#selectorUse.keys();
  }

  prefixesInUse(): Iterable<string> {
    return this.#prefixUse.keys();
  }

  /** What a node that knows the prefix holds of it. */
  get prefixEntries(): ReadonlyMap<string, Resource> {
    return this.#prefixEntries;
  }

  isPrefixInUse(prefix: string): boolean {
    return this.#prefixUse.has(prefix);
  }

  /** `subjects`: identities that changed, with their labels, or null when nobody has them any more. Answers with the subjects whose policy is another one. */
  update(tables: Tables, changed: ChangedKeys, subjects: ReadonlyMap<IdentityId, Labels | null>): ReadonlySet<IdentityId> {
    const stale = new Set<IdentityId>();
    for (const key of changed.policies ?? []) this.#updateObject(key, tables.policies.get(key) ?? null, stale);
    for (const [id, labels] of subjects) this.#updateSubject(id, labels, stale);
    return new Set([...stale].filter((id) => this.#recompile(id)));
  }

  #updateObject(key: string, fact: PolicyFact | null, stale: Set<IdentityId>): void {
    if (fact === null) this.#objects.delete(key);
    else this.#objects.set(key, fact);
    const before = this.#subjectsOf.get(key) ?? new Set();
    const after = new Set<IdentityId>();
    if (fact !== null) for (const [id, {labels}] of this.#subjects) if (selects(fact, labels)) after.add(id);
    for (const id of before) if (!after.has(id)) this.#subjects.get(id)?.objects.delete(key);
    for (const id of after) this.#subjects.get(id)?.objects.add(key);
    for (const id of [...before, ...after]) stale.add(id);
    if (fact === null) this.#subjectsOf.delete(key);
    else this.#subjectsOf.set(key, after);
  }

  #updateSubject(id: IdentityId, labels: Labels | null, stale: Set<IdentityId>): void {
    const before = this.#subjects.get(id);
    if (before?.labels.key === labels?.key) return;
    for (const key of before?.objects ?? []) this.#subjectsOf.get(key)?.delete(id);
    stale.add(id);
    if (labels === null) {
      this.#subjects.delete(id);
      return;
    }
    const objects = new Set<string>();
    for (const [key, fact] of this.#objects) {
      if (!selects(fact, labels)) continue;
      objects.add(key);
      this.#subjectsOf.get(key)?.add(id);
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
    for (const selector of after?.selectors ?? []) this.#selectorUse.acquire(selector);
    for (const prefix of after?.prefixes ?? []) if (this.#prefixUse.acquire(prefix)) this.#prefixEntries.set(prefix, prefixEntry(prefix));
    for (const selector of before?.selectors ?? []) this.#selectorUse.release(selector);
    for (const prefix of before?.prefixes ?? []) if (this.#prefixUse.release(prefix)) this.#prefixEntries.delete(prefix);
    if (after === undefined) this.#compiled.delete(id);
    else this.#compiled.set(id, after);
    return before !== undefined || after !== undefined;
  }

  #compile(id: IdentityId, {labels, objects}: Subject): CompiledSubject {
    const rules: Rule[] = [...objects].flatMap((key) => (this.#objects.get(key)?.rules ?? []).filter((rule) => matches(rule.subject, labels)));
    const policy = resolveSubject(rules, {mode: modeOfSubject(this.#mode, labels), allowLocalhost: this.#allowLocalhost});
    const selectors = new Set(policy.entries.map((entry) => entry.selector));
    selectors.delete(SELECTOR_ANY);
    return {
      id, policy, selectors, prefixes: knownPrefixes(rules), objects: new Set(objects),
      resource: resource('policy', String(id), {subject: id, ...policy}),
    };
  }
}

function prefixEntry(prefix: string): Resource {
  return resource('ipcache', prefix, {prefix, identity: null, labels: prefixLabels(prefix), tunnelEndpoint: null, local: false});
}

function selects(fact: PolicyFact, labels: Labels): boolean {
  return fact.rules.some((rule) => matches(rule.subject, labels));
}

function equalSets(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((item, i) => item === b[i]);
}
