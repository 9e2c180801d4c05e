// IPAM mode `cluster-pool`: Nodes as Kubernetes has them and CiliumNodes as read back → Nodes with PodCIDRs. A PodCIDR counts once its CiliumNode
// was read back with it, so that no operator after this one can give it to another node.

import {formatPrefix, parsePrefix, type Family, type Prefix} from '../../lib/core/ip.js';
import {compareStrings} from '../../lib/core/order.js';
import type {RowChange} from '../../lib/core/table.js';
import {ClusterPools, type ClusterPool, type PoolUse} from '../../lib/ipam/cluster-pools.js';
import type {NodeFact} from '../model/facts.js';
import {applyRows, type Applied, type Tables} from '../model/tables.js';

interface Part {
  readonly prefix: Prefix;
  readonly text: string;
  /** Read back; else only asked for. */
  readonly confirmed: boolean;
}

interface Share {
  readonly parts: readonly Part[];
  /** What is wrong; empty = nothing. */
  readonly error: string;
}

const FAMILIES: readonly Family[] = [4, 6];
const NOTHING: Share = {parts: [], error: ''};

export class PodCidrs {
  readonly #pools: ClusterPools;
  readonly #shares = new Map<string, Share>();
  /** Nodes that lack a PodCIDR of some family. */
  readonly #wanting = new Set<string>();
  /** null = nothing was looked at yet. */
  #leading: boolean | null = null;

  constructor(pools: readonly ClusterPool[]) {
    this.#pools = new ClusterPools(pools);
  }

  get use(): readonly PoolUse[] {
    return this.#pools.use();
  }

  /** Nodes without all of their PodCIDRs. */
  get wanting(): number {
    return this.#wanting.size;
  }

  /** `applied` with what follows from it for the table `nodes`. Only who leads gives out; the others follow what is written. */
  update({tables, changed}: Applied, leading: boolean): Applied {
    const touched = new Set([...changed.bareNodes ?? [], ...changed.ciliumNodes ?? []]);
    if (leading !== this.#leading) {
      this.#leading = leading;
      for (const name of [...tables.bareNodes.keys(), ...tables.ciliumNodes.keys()]) touched.add(name);
    }
    if (touched.size === 0) return {tables, changed};
    const derived = this.#take(tables, touched);
    return {tables: derived.tables, changed: {...changed, ...derived.changed}};
  }

  #take(tables: Tables, touched: ReadonlySet<string>): Applied {
    const names = new Set(touched);
    for (const name of touched) this.#releaseGone(tables, name);
    for (const name of [...new Set([...touched, ...this.#wanting])].sort(compareStrings)) {
      for (const other of this.#adopt(tables, name)) names.add(other);
      names.add(name);
    }
    if (this.#leading === true) for (const name of [...this.#wanting].sort(compareStrings)) this.#complete(name);
    return applyRows(tables, 'nodes', [...names].map((name) => [name, this.#row(tables, name)]));
  }

  #releaseGone(tables: Tables, name: string): void {
    const isWritten = tables.ciliumNodes.has(name);
    if (isWritten || (this.#leading === true && tables.bareNodes.has(name))) return;
    for (const {prefix} of this.#shares.get(name)?.parts ?? []) this.#pools.release(prefix);
    this.#shares.delete(name);
    this.#wanting.delete(name);
  }

  /** Takes over what the node's CiliumNode says; the nodes that had to give something back for it. */
  #adopt(tables: Tables, name: string): ReadonlySet<string> {
    const robbed = new Set<string>();
    const written = (tables.ciliumNodes.get(name)?.podCidrs ?? []).flatMap((text) => parsePrefix(text) ?? []);
    const problems: string[] = [];
    let {parts} = this.#shares.get(name) ?? NOTHING;
    for (const family of FAMILIES) {
      const held = parts.filter(({prefix}) => prefix.family === family);
      // What is the node's stays the node's: whoever wrote something else is corrected.
      if (this.#leading === true && held.some(({confirmed}) => confirmed)) continue;
      const got = written.filter((prefix) => prefix.family === family && this.#claim(prefix, name, {robbed, problems}));
      if (this.#leading === true && got.length === 0) continue;
      const next = got.map((prefix) => ({prefix, text: formatPrefix(prefix), confirmed: true}));
      for (const part of held) if (!next.some(({text}) => text === part.text)) this.#pools.release(part.prefix);
      parts = [...parts.filter((part) => !held.includes(part)), ...next];
    }
    this.#set(tables, name, {parts, error: problems.join('; ')});
    return robbed;
  }

  #claim(prefix: Prefix, name: string, {robbed, problems}: {readonly robbed: Set<string>; readonly problems: string[]}): boolean {
    for (;;) {
      const owner = this.#pools.claim(prefix, name);
      if (owner === null) return true;
      if (!this.#giveWay(owner, prefix.family)) {
        problems.push(`PodCIDR ${formatPrefix(prefix)} overlaps that of node ${owner}`);
        return false;
      }
      robbed.add(owner);
    }
  }

  /** What was only asked for by another node, and is written as this node's, is this node's. */
  #giveWay(owner: string, family: Family): boolean {
    const share = this.#shares.get(owner) ?? NOTHING;
    const asked = share.parts.filter(({confirmed, prefix}) => !confirmed && prefix.family === family);
    for (const part of asked) this.#pools.release(part.prefix);
    if (asked.length === 0) return false;
    this.#shares.set(owner, {...share, parts: share.parts.filter((part) => !asked.includes(part))});
    this.#wanting.add(owner);
    return true;
  }

  /** Either all that the node lacks, or nothing. */
  #complete(name: string): void {
    const share = this.#shares.get(name) ?? NOTHING;
    const given: Part[] = [];
    for (const family of this.#lacking(share)) {
      const prefix = this.#pools.allocate(family, name);
      if (prefix === null) {
        for (const part of given) this.#pools.release(part.prefix);
        this.#shares.set(name, {...share, error: this.#pools.exhaustion(family)});
        return;
      }
      given.push({prefix, text: formatPrefix(prefix), confirmed: false});
    }
    this.#shares.set(name, {...share, parts: [...share.parts, ...given]});
    this.#wanting.delete(name);
  }

  #set(tables: Tables, name: string, share: Share): void {
    const isThere = tables.bareNodes.has(name);
    if (!isThere && share.parts.length === 0) {
      this.#shares.delete(name);
      this.#wanting.delete(name);
      return;
    }
    this.#shares.set(name, share);
    if (isThere && this.#lacking(share).length > 0) this.#wanting.add(name);
    else this.#wanting.delete(name);
  }

  #lacking({parts}: Share): readonly Family[] {
    return this.#pools.families.filter((family) => !parts.some(({prefix}) => prefix.family === family));
  }

  #row(tables: Tables, name: string): NodeFact | null {
    const bare = tables.bareNodes.get(name);
    if (bare === undefined) return null;
    const {parts, error} = this.#shares.get(name) ?? NOTHING;
    const sorted = [...parts].sort((a, b) => a.prefix.family - b.prefix.family);
    return {
      ...bare, podCidrs: sorted.filter(({confirmed}) => confirmed).map(({text}) => text),
      assigned: {podCidrs: sorted.map(({text}) => text), error},
    };
  }
}

/** The Nodes as they would be once all is written and read back, for who compiles without a cluster. */
export function assignedNodes(tables: Tables, pools: readonly ClusterPool[]): readonly RowChange<NodeFact>[] {
  const {tables: assigned} = new PodCidrs(pools).update({tables, changed: {}}, true);
  return [...assigned.nodes].map(([name, node]) => [name, {...node, podCidrs: node.assigned?.podCidrs ?? []}]);
}

/** The Nodes with the PodCIDRs that their CiliumNodes have, for who does not know the operator's IPAM mode: they say them in each. */
export function writtenNodes(tables: Tables): readonly RowChange<NodeFact>[] {
  return [...tables.nodes].flatMap(([name, node]): RowChange<NodeFact>[] => {
    const podCidrs = tables.ciliumNodes.get(name)?.podCidrs ?? [];
    return podCidrs.length === 0 ? [] : [[name, {...node, podCidrs}]];
  });
}
