// Random histories of nodes that come and go, with an API server between two operators: watches that lag, writes that arrive late, operators
// that die, users who write into CiliumNodes. Never do two nodes have PodCIDRs in force that overlap, and what a node has it keeps.

import {expect, test} from '@jest/globals';
import {contains, parsePrefix} from '../../lib/core/ip.js';
import {parseClusterPools, type ClusterPool} from '../../lib/ipam/cluster-pools.js';
import {pick, random} from '../../lib/testing/seed.js';
import {applyRows, emptyTables, type Tables} from '../model/tables.js';
import {PodCidrs} from './pod-cidrs.js';
import type {CiliumNodeFact, NodeFact} from '../model/facts.js';

const HISTORIES = Number(process.env['STENTOR_IPAM_HISTORIES'] ?? 300);
const STEPS = 80;
const NAMES = ['a', 'b', 'c', 'd', 'e', 'f', 'g'];
const POOLS: readonly (readonly ClusterPool[])[] = [[['10.0.0.0/22'], ['24'], []], [['10.0.0.0/24', '10.1.0.0/24'], ['26', '25'], ['fd00::/62']], [['10.0.0.0/20'], ['24'], ['fd00::/60']]]
  .map(([four = [], masks = [], six = []]) => [...poolsOf(4, four, masks), ...poolsOf(6, six, ['64'])]);
const FORGED = ['10.0.0.0/24', '10.0.0.64/26', '10.0.0.0/20', '192.168.0.0/24', 'fd00::/64', 'fd00::/60'];

function poolsOf(family: 4 | 6, prefixes: readonly string[], masks: readonly string[]): readonly ClusterPool[] {
  const pools = parseClusterPools(family, prefixes, masks);
  if (typeof pools === 'string') throw new Error(pools);
  return pools;
}

const nodeFact = (name: string): NodeFact => ({name, uid: name, labels: {}, annotations: {}, addresses: [], podCidrs: []});
const nodeObject = (name: string, podCidrs: readonly string[]): CiliumNodeFact => ({name, routerAddress: null, podCidrs, pools: []});

/** Two watches, one for each kind: what one shows says nothing about the other. */
class Operator {
  readonly podCidrs: PodCidrs;
  tables: Tables = emptyTables();
  seen = {nodes: 0, objects: 0};

  constructor(pools: readonly ClusterPool[]) {
    this.podCidrs = new PodCidrs(pools);
  }
}

class World {
  readonly #next: () => number;
  readonly #pools: readonly ClusterPool[];
  readonly #meddling: boolean;
  readonly #nodeLog: (readonly [string, NodeFact | null])[] = [];
  readonly #objectLog: (readonly [string, CiliumNodeFact | null])[] = [];
  readonly #nodes = new Set<string>();
  readonly objects = new Map<string, readonly string[]>();
  #leader: Operator;
  #standby: Operator;

  constructor(seed: number, meddling: boolean) {
    this.#next = random(seed);
    this.#pools = pick(POOLS, this.#next);
    this.#meddling = meddling;
    this.#leader = this.#started();
    this.#standby = this.#started();
  }

  step(): void {
    const [leader, before] = [this.#leader, this.inForce];
    this.#stepOnce();
    for (const operator of [this.#leader, this.#standby]) expectDisjoint([...operator.tables.nodes].map(([name, {podCidrs}]) => [name, podCidrs]));
    if (leader !== this.#leader) return;
    for (const [name, podCidrs] of before) if (this.inForce.has(name)) expect(this.inForce.get(name)).toEqual(expect.arrayContaining([...podCidrs]));
  }

  #stepOnce(): void {
    const chance = this.#next();
    if (chance < 0.15) this.#join(pick(NAMES, this.#next));
    else if (chance < 0.23) this.#leave(pick(NAMES, this.#next));
    else if (chance < 0.5) this.#watch(pick([this.#leader, this.#standby], this.#next));
    else if (chance < 0.9) this.#write(pick(NAMES, this.#next));
    else if (chance < 0.94) this.#leader = this.#started();
    else if (chance < 0.97) this.#takeOver();
    else if (this.#meddling) this.#meddle(pick(NAMES, this.#next));
  }

  settle(): void {
    for (let round = 0; round < 30; round++) {
      this.#watchAll(this.#leader);
      for (const name of NAMES) this.#write(name);
    }
    this.#watchAll(this.#leader);
  }

  get inForce(): ReadonlyMap<string, readonly string[]> {
    return new Map([...this.#leader.tables.nodes].map(([name, {podCidrs}]) => [name, podCidrs]));
  }

  get waiting(): number {
    return this.#leader.podCidrs.wanting;
  }

  get isFull(): boolean {
    return this.#leader.podCidrs.use.some(({total, used}) => total === used);
  }

  get families(): number {
    return new Set(this.#pools.map(({prefix}) => prefix.family)).size;
  }

  #started(): Operator {
    const operator = new Operator(this.#pools);
    this.#watchAll(operator);
    return operator;
  }

  #takeOver(): void {
    [this.#leader, this.#standby] = [this.#standby, this.#started()];
    this.#update(this.#leader, this.#leader.tables, {});
  }

  #join(name: string): void {
    if (this.#nodes.has(name)) return;
    this.#nodes.add(name);
    this.#nodeLog.push([name, nodeFact(name)]);
  }

  #leave(name: string): void {
    if (this.#nodes.delete(name)) this.#nodeLog.push([name, null]);
  }

  #meddle(name: string): void {
    if (this.objects.has(name)) this.#put(name, [pick(FORGED, this.#next)]);
  }

  #put(name: string, podCidrs: readonly string[] | null): void {
    if (podCidrs === null) this.objects.delete(name);
    else this.objects.set(name, podCidrs);
    this.#objectLog.push([name, podCidrs === null ? null : nodeObject(name, podCidrs)]);
  }

  /** What the applier does for one object, on what it has seen. */
  #write(name: string): void {
    const wanted = this.#leader.tables.nodes.get(name)?.assigned?.podCidrs;
    const known = this.#leader.tables.ciliumNodes.get(name)?.podCidrs;
    if (wanted === undefined && known !== undefined && this.objects.has(name)) this.#put(name, null);
    else if (wanted !== undefined && wanted.join() !== known?.join() && wanted.join() !== this.objects.get(name)?.join()) this.#put(name, wanted);
  }

  #watch(operator: Operator): void {
    if (this.#next() < 0.5) this.#see(operator, Math.min(this.#nodeLog.length, operator.seen.nodes + 2), operator.seen.objects);
    else this.#see(operator, operator.seen.nodes, Math.min(this.#objectLog.length, operator.seen.objects + 2));
  }

  #watchAll(operator: Operator): void {
    this.#see(operator, this.#nodeLog.length, this.#objectLog.length);
  }

  #see(operator: Operator, nodes: number, objects: number): void {
    const bare = applyRows(operator.tables, 'bareNodes', [...new Map(this.#nodeLog.slice(operator.seen.nodes, nodes))]);
    const both = applyRows(bare.tables, 'ciliumNodes', [...new Map(this.#objectLog.slice(operator.seen.objects, objects))]);
    operator.seen = {nodes, objects};
    this.#update(operator, both.tables, {...bare.changed, ...both.changed});
  }

  #update(operator: Operator, tables: Tables, changed: Parameters<PodCidrs['update']>[0]['changed']): void {
    operator.tables = operator.podCidrs.update({tables, changed}, operator === this.#leader).tables;
  }
}

function expectDisjoint(all: readonly (readonly [string, readonly string[]])[]): void {
  const parts = all.flatMap(([name, texts]) => texts.flatMap((text) => {
    const prefix = parsePrefix(text);
    return prefix === null ? [] : [{name, text, prefix}];
  }));
  for (const [i, a] of parts.entries()) {
    for (const b of parts.slice(i + 1)) {
      if (a.name !== b.name && (contains(a.prefix, b.prefix) || contains(b.prefix, a.prefix))) throw new Error(`${a.name} has ${a.text}, ${b.name} has ${b.text}`);
    }
  }
}

test.each([['by users who leave CiliumNodes alone', false], ['by users who write into them', true]])('%s', (_what, meddling) => {
  let served = 0;
  let unserved = 0;
  for (let seed = 1; seed <= HISTORIES; seed++) {
    try {
      const world = new World(seed, meddling);
      for (let i = 0; i < STEPS; i++) world.step();
      world.settle();
      // Whoever waits, waits for a full pool; all others have one of each family, and it is what is written.
      if (world.waiting > 0) expect(world.isFull).toBe(true);
      expectDisjoint([...world.objects]);
      for (const [name, podCidrs] of world.inForce) {
        if (podCidrs.length > 0) expect(world.objects.get(name)).toEqual(podCidrs);
        if (podCidrs.length === world.families) served++;
        else unserved++;
      }
      const before = world.inForce;
      world.settle();
      expect(world.inForce).toEqual(before);
    } catch (error) {
      throw new Error(`seed ${seed}: ${error instanceof Error ? error.message : String(error)}`, {cause: error});
    }
  }
  // Both happened.
  expect(served).toBeGreaterThan(HISTORIES);
  expect(unserved).toBeGreaterThan(0);
});
