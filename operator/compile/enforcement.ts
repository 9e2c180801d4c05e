// Which policies are in force everywhere they must be: from what each node has acknowledged, and what it could not install.

import type {ObjectRef} from '../../lib/core/errors.js';
import type {Condition, DesiredPolicyStatus} from '../../lib/desired/cluster-state.js';
import {identityId, type IdentityId} from '../../lib/domain/identity.js';
import type {ApplyError} from '../../lib/domain/reports.js';
import {knownPrefixes, selectorId} from '../../lib/policy/selectors.js';
import type {PolicyFact} from '../model/facts.js';
import type {Tables} from '../model/tables.js';
import type {Compiler} from './graph.js';

export interface NodeProgress {
  readonly connected: boolean;
  /** Not connected, and for so long that what it enforces is not known any more. */
  readonly unreachable: boolean;
  /** Everything of the node's state up to this revision is installed. */
  readonly ackedRevision: number;
  readonly faults: readonly ApplyError[];
}

export interface EnforcementParts {
  readonly compiler: Compiler;
  /** undefined: the node has had no session since this process started. */
  readonly progressOf: (node: string) => NodeProgress | undefined;
}

interface Tracked {
  readonly fact: PolicyFact;
  readonly selectors: ReadonlySet<string>;
  readonly prefixes: ReadonlySet<string>;
  /** The revision at which the object's present content was compiled. */
  readonly revision: number;
  /** Nodes that have acknowledged it once: they stay so while out of reach for a short time. */
  readonly reached: Set<string>;
  /** Whether a mere `Pending` may be told: most policies are in force before anybody could have read it. */
  announced: boolean;
  status: DesiredPolicyStatus | null;
}

export const ENFORCED = 'stentor.io/Enforced';
const PENDING = 'Pending';

export class Enforcement {
  readonly #parts: EnforcementParts;
  readonly #tracked = new Map<string, Tracked>();
  /** Objects that are not, or not known to be, in force. */
  readonly #pending = new Set<string>();
  #settling = true;

  constructor(parts: EnforcementParts) {
    this.#parts = parts;
  }

  /** While settling, a node that has had no session leaves its objects' conditions alone; afterwards it counts as out of reach. */
  set settling(settling: boolean) {
    this.#settling = settling;
  }

  get pendingCount(): number {
    return this.#pending.size;
  }

  /** After a compile that ended in `revision`: `objects` changed, `concerned` have subjects with another policy or other nodes. */
  compiled(tables: Tables, changes: {objects: Iterable<string>; concerned: Iterable<string>}, revision: number): ReadonlySet<string> {
    const touched = new Set<string>();
    for (const key of changes.objects) {
      const fact = tables.policies.get(key);
      touched.add(key);
      if (fact === undefined) {
        this.#tracked.delete(key);
        this.#pending.delete(key);
        continue;
      }
      const selectors = new Set(fact.rules.flatMap((rule) => rule.peers.map(selectorId)));
      const status = this.#tracked.get(key)?.status ?? null;
      this.#tracked.set(key, {fact, selectors, prefixes: new Set(knownPrefixes(fact.rules, {families: this.#parts.compiler.families})), revision, reached: new Set(), announced: fact.rejections.length > 0, status});
      this.#pending.add(key);
    }
    for (const key of changes.concerned) touched.add(key);
    return new Set([...this.#evaluateAll(touched, tables), ...[...touched].filter((key) => !this.#tracked.has(key))]);
  }

  /** After an acknowledgement: asks the objects that wait for one. Answers with those whose status is another one. */
  acknowledged(tables: Tables): ReadonlySet<string> {
    return this.#evaluateAll(this.#pending, tables);
  }

  /** After a change of what is connected or of faults. */
  reconsidered(tables: Tables): ReadonlySet<string> {
    return this.#evaluateAll(this.#tracked.keys(), tables);
  }

  /** What still waits for acknowledgements says so from now on; not what was compiled after `revision`, which has waited for a shorter time. */
  announce(objects: Iterable<string>, tables: Tables, revision: number): ReadonlySet<string> {
    const waiting = [...objects].filter((key) => this.#pending.has(key) && (this.#tracked.get(key)?.revision ?? 0) <= revision);
    for (const key of waiting) {
      const tracked = this.#tracked.get(key);
      if (tracked !== undefined) tracked.announced = true;
    }
    return this.#evaluateAll(waiting, tables);
  }

  /** null: not known yet, or no such object. */
  statusOf(key: string): DesiredPolicyStatus | null {
    return this.#tracked.get(key)?.status ?? null;
  }

  #evaluateAll(keys: Iterable<string>, tables: Tables): ReadonlySet<string> {
    const changed = new Set<string>();
    const nodesOf = this.#subjectNodes(tables);
    for (const key of keys) {
      const tracked = this.#tracked.get(key);
      if (tracked === undefined) continue;
      const enforced = this.#evaluate(key, tracked, nodesOf);
      if (enforced?.status === 'True') this.#pending.delete(key);
      else this.#pending.add(key);
      if (enforced === null || (enforced.reason === PENDING && !tracked.announced)) continue;
      const next = statusWith(tracked.fact, enforced);
      if (JSON.stringify(next) === JSON.stringify(tracked.status)) continue;
      tracked.status = next;
      changed.add(key);
    }
    return changed;
  }

  /** Many objects select the same subjects: the nodes of each are looked for once. */
  #subjectNodes(tables: Tables): (subject: IdentityId) => ReadonlySet<string> {
    const known = new Map<IdentityId, ReadonlySet<string>>();
    return (subject) => {
      const nodes = known.get(subject) ?? new Set([...this.#parts.compiler.nodesOf(subject)].filter((node) => tables.nodes.has(node)));
      known.set(subject, nodes);
      return nodes;
    };
  }

  #evaluate(key: string, tracked: Tracked, nodesOf: (subject: IdentityId) => ReadonlySet<string>): Omit<Condition, 'type' | 'observedGeneration'> | null {
    const subjects = this.#parts.compiler.policies.subjectsOf(key);
    const nodes = new Set([...subjects].flatMap((id) => [...nodesOf(id)]));
    let reached = 0;
    const unreachable: string[] = [];
    const waiting: string[] = [];
    const faults: string[] = [];
    for (const node of nodes) {
      const progress = this.#parts.progressOf(node);
      if (progress === undefined && this.#settling) return null;
      const acked = progress !== undefined && progress.connected && progress.ackedRevision >= tracked.revision;
      if (acked) tracked.reached.add(node);
      const held = acked || (tracked.reached.has(node) && progress?.unreachable === false);
      if (progress === undefined || progress.unreachable || (!progress.connected && !held)) unreachable.push(node);
      else if (held) reached++;
      else waiting.push(node);
      for (const fault of progress?.faults ?? []) {
        if (this.#blames(fault, tracked, subjects)) faults.push(`${node}: ${fault.kind} ${fault.key}: ${fault.code} ${fault.message}`);
      }
    }
    return verdict({total: nodes.size, reached, unreachable, waiting, faults});
  }

  #blames(fault: ApplyError, tracked: Tracked, subjects: ReadonlySet<IdentityId>): boolean {
    switch (fault.kind) {
      case 'policy':
      case 'identity':
        return /^\d{1,8}$/.test(fault.key) && subjects.has(identityId(Number(fault.key)));
      case 'endpoint': {
        const identity = this.#parts.compiler.endpoints.get(fault.key)?.identity ?? null;
        return identity !== null && subjects.has(identity);
      }
      case 'selector':
        return tracked.selectors.has(fault.key);
      case 'ipcache':
        return tracked.prefixes.has(fault.key) || this.#standsFor(fault.key, tracked.fact);
      default:
        return false;
    }
  }

  /** Prefixes of groups and services come and go without the policy: asked when there is a fault to explain. */
  #standsFor(prefix: string, {rules}: PolicyFact): boolean {
    const {meanings} = this.#parts.compiler.policies;
    return rules.some(({peers}) => peers.some((peer) => peer.kind === 'named')) && knownPrefixes(rules, {meanings}).includes(prefix);
  }
}

/** At most this many faults or nodes are spelled out: nodes that fail mostly fail alike. */
const SHOWN = 3;

function shown(items: readonly string[], separator: string): string {
  const more = items.length > SHOWN ? ` and ${items.length - SHOWN} more` : '';
  return `${items.toSorted().slice(0, SHOWN).join(separator)}${more}`;
}

interface Counts {
  readonly total: number;
  readonly reached: number;
  readonly unreachable: readonly string[];
  readonly waiting: readonly string[];
  readonly faults: readonly string[];
}

function verdict({total, reached, unreachable, waiting, faults}: Counts): Omit<Condition, 'type' | 'observedGeneration'> {
  if (faults.length > 0) return {status: 'False', reason: 'ApplyFailed', message: shown(faults, '; ')};
  if (unreachable.length > 0) return {status: 'False', reason: 'NodesUnreachable', message: `${unreachable.length}/${total}: ${shown(unreachable, ', ')}`};
  if (reached < total) return {status: 'False', reason: PENDING, message: `acknowledged by ${reached}/${total} nodes, not yet by ${shown(waiting, ', ')}`};
  return {status: 'True', reason: 'Enforced', message: `${reached}/${total}`};
}

function statusWith(fact: PolicyFact, enforced: Omit<Condition, 'type' | 'observedGeneration'>): DesiredPolicyStatus {
  return {
    object: fact.ref, apiVersion: fact.apiVersion,
    conditions: [validity(fact), {type: ENFORCED, ...enforced, observedGeneration: fact.generation}],
  };
}

export function validity(fact: PolicyFact): Condition {
  const {rejections, generation} = fact;
  const [first] = rejections;
  if (first === undefined) return {type: 'Valid', status: 'True', reason: 'Valid', message: 'Policy validation succeeded', observedGeneration: generation};
  const message = rejections.map(({path, reason}) => `${path}: ${reason}`).join('; ');
  return {type: 'Valid', status: 'False', reason: first.code, message, observedGeneration: generation};
}

/** Kinds without conditions: what there is to say goes into Events. */
export function hasConditions(ref: ObjectRef): boolean {
  return ref.kind !== 'NetworkPolicy';
}
