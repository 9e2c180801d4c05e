// The blast radius: a change of BGP objects that would withdraw more than a share of all paths waits until somebody confirms it. What it
// announces is announced, what it would withdraw stays, and other changes go on. It remembers the version of every object that was let through
// (a ConfigMap keeps it for the operator after this one): from those and the tables everything else follows.

import {deepEqual} from '../../lib/core/equal.js';
import type {ObjectRef} from '../../lib/core/errors.js';
import {contentHash} from '../../lib/core/hash.js';
import {canonicalJson, compareStrings} from '../../lib/core/order.js';
import {Table} from '../../lib/core/table.js';
import {CONFIRM_ANNOTATION} from '../../lib/domain/bgp-names.js';
import type {BgpManifest, BgpObjectFact} from '../model/bgp-facts.js';
import {decodeBgpPeeringPolicy} from '../model/decode/bgp-peering-policy.js';
import {decodeBgpAdvertisement, decodeBgpClusterConfig, decodeBgpOverride, decodeBgpPeerConfig} from '../model/decode/bgp-v2.js';
import {ACCEPTED_ROW} from '../model/decoders.js';
import type {ChangedKeys, Tables} from '../model/tables.js';
import type {CompiledSpeaker} from './bgp.js';
import {CompiledSpeakers} from './bgp-compiled.js';
import type {BgpFinding} from './bgp-plan.js';
import {withdrawalsOf, withoutWithdrawals, type Withdrawals} from './bgp-withdrawals.js';

const KINDS = ['CiliumBGPPeeringPolicy', 'CiliumBGPClusterConfig', 'CiliumBGPPeerConfig', 'CiliumBGPAdvertisement', 'CiliumBGPNodeConfigOverride'] as const;
type GuardedKind = (typeof KINDS)[number];
type GuardedTables = Pick<Tables, 'bgpPolicies' | 'bgpClusterConfigs' | 'bgpPeerConfigs' | 'bgpAdvertisements' | 'bgpOverrides'>;
const TABLES = ['bgpPolicies', 'bgpClusterConfigs', 'bgpPeerConfigs', 'bgpAdvertisements', 'bgpOverrides'] as const satisfies readonly (keyof GuardedTables)[];
/** Of this many changes at once each is looked at alone and with the others; of more, all wait or none. */
const APART_MAX = 16;

type Decodable = Parameters<typeof decodeBgpPeeringPolicy>[0];

/** A change that waits. */
export interface HeldChange {
  /** `CiliumBGPClusterConfig/rack0`. */
  readonly id: string;
  readonly object: ObjectRef;
  readonly apiVersion: string;
  /** Names the change, for who confirms it. */
  readonly hash: string;
  /** The object was deleted. */
  readonly gone: boolean;
}

/** What there is to remember. */
export interface GuardRecord {
  readonly manifests: ReadonlyMap<string, BgpManifest>;
  readonly held: readonly HeldChange[];
}

export interface GuardState extends Withdrawals {
  readonly share: number;
  readonly held: readonly HeldChange[];
}

export class WithdrawGuard {
  readonly #share: number;
  /** null = not known yet. */
  #accepted: Map<string, BgpManifest> | null = null;
  #held: readonly HeldChange[] = [];
  /** What all would say had nothing that waits been changed; null = nothing waits. */
  #unchanged: CompiledSpeakers | null = null;
  #withdrawals: Withdrawals = {paths: 0, withdrawn: 0};
  #record: GuardRecord = {manifests: new Map(), held: []};

  /** 0.2 = a fifth of all paths. */
  constructor(share: number) {
    this.#share = share;
  }

  get state(): GuardState {
    return {...this.#withdrawals, share: this.#share, held: this.#held};
  }

  /** The same object as long as it says the same. */
  get record(): GuardRecord {
    return this.#record;
  }

  /** What is remembered elsewhere counts from now on. */
  forget(): void {
    this.#accepted = null;
  }

  /** Nodes that may be told something else now, besides those whose `wanted` speaker is another one. */
  update(tables: Tables, changed: ChangedKeys, wanted: CompiledSpeakers): ReadonlySet<string> {
    const concerned = this.#accepted === null || changed.bgpAccepted !== undefined || TABLES.some((table) => changed[table] !== undefined);
    if (!concerned) return this.#unchanged?.update(this.#worldTables(tables, this.#held.map(({id}) => id)), changed) ?? new Set<string>();
    this.#decide(tables, wanted);
    const ids = this.#held.map(({id}) => id);
    this.#unchanged = ids.length === 0 ? null : CompiledSpeakers.of(this.#worldTables(tables, ids));
    this.#withdrawals = this.#unchanged === null ? {paths: 0, withdrawn: 0} : withdrawalsOf(this.#unchanged.all, wanted.all);
    return new Set(tables.nodes.keys());
  }

  /** What a node is told instead of what is wanted of it. */
  told(node: string, wanted: CompiledSpeaker): CompiledSpeaker {
    const before = this.#unchanged?.all.get(node);
    if (before === undefined) return wanted;
    const speaker = withoutWithdrawals(wanted.speaker, before.speaker);
    if (speaker === wanted.speaker) return wanted;
    return {...wanted, speaker, retained: true, peerNames: new Map([...before.peerNames, ...wanted.peerNames])};
  }

  findings(): readonly BgpFinding[] {
    return this.#held.map(({id, object, apiVersion}) => ({object, apiVersion, reason: 'BGPWithdrawalHeld', message: heldMessage(this.state, id)}));
  }

  #decide(tables: Tables, wanted: CompiledSpeakers): void {
    const known = tables.bgpAccepted.get(ACCEPTED_ROW);
    const current = manifestsOf(tables);
    const restoring = this.#accepted === null;
    const accepted = this.#accepted ??= new Map(known === undefined ? current : Object.entries(known.manifests));
    const waits = new Map(Object.entries(restoring ? known?.held ?? {} : {}));
    const changes = new Map<string, string>();
    for (const id of new Set([...accepted.keys(), ...current.keys()])) {
      const [before, after] = [accepted.get(id), current.get(id)];
      if (hashOf(before) !== hashOf(after)) changes.set(id, changeHash(id, before, after));
      else if (after !== undefined) accepted.set(id, after);
    }
    const isMeant = (id: string, hash: string): boolean => (current.get(id)?.metadata.annotations[CONFIRM_ANNOTATION] === hash)
      || known?.confirmed.includes(hash) === true || (!current.has(id) && accepted.get(id)?.metadata.annotations[CONFIRM_ANNOTATION] === 'delete');
    const open = [...changes].filter(([id, hash]) => !isMeant(id, hash)).map(([id]) => id).sort(compareStrings);
    const fixed = new Set(open.filter((id) => waits.get(id) === changes.get(id)));
    const held = this.#heldOf(tables, wanted, {open, fixed});
    const ofHeld = held.map((id) => heldChange(id, changes.get(id) ?? '', {before: accepted.get(id), after: current.get(id)}));
    for (const id of changes.keys()) {
      if (held.includes(id)) continue;
      const manifest = current.get(id);
      if (manifest === undefined) accepted.delete(id);
      else accepted.set(id, manifest);
    }
    this.#held = ofHeld;
    const record = {manifests: new Map([...accepted].sort(([a], [b]) => compareStrings(a, b))), held: ofHeld};
    if (!deepEqual(record, this.#record)) this.#record = record;
  }

  /** Of the changes that are open those that have to wait, so that what is let through stays below the share. `fixed`: they waited before a restart. */
  #heldOf(tables: Tables, wanted: CompiledSpeakers, {open, fixed}: {readonly open: readonly string[]; readonly fixed: ReadonlySet<string>}): readonly string[] {
    if (open.length === 0) return [];
    const world = (held: readonly string[]): CompiledSpeakers['all'] => (held.length === 0 ? wanted.all : CompiledSpeakers.of(this.#worldTables(tables, held)).all);
    const before = world(open);
    const fits = (held: readonly string[]): boolean => {
      const {paths, withdrawn} = withdrawalsOf(before, world(held));
      return withdrawn <= paths * this.#share;
    };
    if (fixed.size === 0 && fits([])) return [];
    let held = open;
    for (let before_ = Infinity; held.length < before_ && open.length <= APART_MAX;) {
      before_ = held.length;
      for (const id of held) {
        const rest = held.filter((one) => one !== id);
        if (!fixed.has(id) && fits(rest)) held = rest;
      }
    }
    return held;
  }

  /** The tables as if these objects were as they were accepted. */
  #worldTables(tables: Tables, held: readonly string[]): Tables {
    const accepted = this.#accepted ?? new Map<string, BgpManifest>();
    const as = <F extends BgpObjectFact>(kind: GuardedKind, table: ReadonlyMap<string, F>, decode: (object: Decodable) => F): Table<F> => {
      const names = new Set(held.filter((id) => id.startsWith(`${kind}/`)).map((id) => id.slice(kind.length + 1)));
      const kept = [...table].filter(([name]) => !names.has(name));
      const old = [...names].flatMap((name): [string, F][] => {
        const manifest = accepted.get(`${kind}/${name}`);
        return manifest === undefined ? [] : [[name, decode({...manifest})]];
      });
      return Table.empty<F>().with([...kept, ...old]);
    };
    const guarded: GuardedTables = {
      bgpPolicies: as('CiliumBGPPeeringPolicy', tables.bgpPolicies, decodeBgpPeeringPolicy),
      bgpClusterConfigs: as('CiliumBGPClusterConfig', tables.bgpClusterConfigs, decodeBgpClusterConfig),
      bgpPeerConfigs: as('CiliumBGPPeerConfig', tables.bgpPeerConfigs, decodeBgpPeerConfig),
      bgpAdvertisements: as('CiliumBGPAdvertisement', tables.bgpAdvertisements, decodeBgpAdvertisement),
      bgpOverrides: as('CiliumBGPNodeConfigOverride', tables.bgpOverrides, decodeBgpOverride),
    };
    return {...tables, ...guarded};
  }
}

function manifestsOf(tables: Tables): Map<string, BgpManifest> {
  const facts = TABLES.flatMap((name): readonly BgpObjectFact[] => [...tables[name].values()]);
  return new Map(facts.map(({ref, manifest}) => [`${ref.kind}/${ref.name}`, manifest]));
}

/** What decides about speakers; neither the confirmation nor what counts versions. */
function hashOf(manifest: BgpManifest | undefined): string {
  if (manifest === undefined) return '';
  const {metadata: {annotations, ...metadata}, ...rest} = manifest;
  const {[CONFIRM_ANNOTATION]: _, ...others} = annotations;
  return contentHash(canonicalJson({...rest, metadata: {...metadata, annotations: others}})).slice(0, 12);
}

function changeHash(id: string, before: BgpManifest | undefined, after: BgpManifest | undefined): string {
  return after === undefined ? contentHash(`${id} without ${hashOf(before)}`).slice(0, 12) : hashOf(after);
}

function heldChange(id: string, hash: string, {before, after}: {readonly before: BgpManifest | undefined; readonly after: BgpManifest | undefined}): HeldChange {
  const manifest = after ?? before;
  const slash = id.indexOf('/');
  return {
    id, hash, gone: after === undefined, apiVersion: manifest?.apiVersion ?? '',
    object: {kind: id.slice(0, slash), namespace: '', name: id.slice(slash + 1), uid: manifest?.metadata.uid ?? ''},
  };
}

/** What to do about it is part of it. */
export function heldMessage({held, paths, withdrawn, share}: GuardState, id: string): string {
  const change = held.find((one) => one.id === id);
  const together = held.length === 1 ? '' : `, together with ${held.filter((one) => one !== change).map((one) => one.id).join(', ')}`;
  const what = `${withdrawn} of ${paths} paths would be withdrawn (${percent(withdrawn / Math.max(1, paths))}, more than ${percent(share)})${together}: they stay`;
  return `${change?.gone === true ? 'deleted, and ' : ''}${what}; if that is meant: stentorctl bgp confirm ${id} --change ${change?.hash ?? ''}`;
}

function percent(share: number): string {
  return `${Math.round(share * 1000) / 10}%`;
}

