// Random histories of a cluster with an API server between user and operator: watches that lag, writes that are refused when the
// Service has changed meanwhile, operators that die at any moment. Never may a write give a Service an address that another one
// has, unless the two may share it.

import {expect, test} from '@jest/globals';
import {deepEqual} from '../core/equal.js';
import type {ExposedService} from '../domain/exposed-service.js';
import type {LbPool} from '../domain/lb-pool.js';
import {pick, random} from '../testing/seed.js';
import {isResponsible, whyNotShared, type DemandOptions} from './demand.js';
import {LbIpam} from './lb-ipam.js';
import {byName, pool, service} from './testing/builders.js';

const HISTORIES = Number(process.env['STENTOR_LBIPAM_HISTORIES'] ?? 300);
const STEPS = 60;
const OPTIONS: DemandOptions = {families: [4, 6], defaultIpam: true, classes: new Set(['ours'])};
const KEYS = ['a/1', 'a/2', 'a/3', 'b/1', 'b/2', 'b/3', 'b/4'];
const BLOCKS = ['10.0.0.0/30', '10.0.0.2-10.0.0.5', '10.0.0.4/31', '2001:db8::/126', '10.0.0.1', '2001:db8::2-2001:db8::9'];
const ADDRESSES = ['10.0.0.0', '10.0.0.1', '10.0.0.2', '10.0.0.4', '2001:db8::1', '192.0.2.1'];

interface Stored {
  readonly service: ExposedService;
  readonly version: number;
}

class World {
  readonly #next: () => number;
  readonly #api = new Map<string, Stored>();
  #pools: ReadonlyMap<string, LbPool> = new Map();
  /** Keys with news that the operator has not seen, and whether the pools have changed. */
  readonly #unseen = new Set<string>();
  #poolsUnseen = true;
  /** What the operator has seen. */
  #seen = new Map<string, Stored>();
  #ipam = new LbIpam(OPTIONS);
  #version = 0;
  #born = 0;
  writes = 0;

  constructor(seed: number) {
    this.#next = random(seed);
  }

  step(): void {
    const chance = this.#next();
    if (chance < 0.22) this.#userWrites();
    else if (chance < 0.27) this.#userDeletes();
    else if (chance < 0.37) this.#userChangesPools();
    else if (chance < 0.62) this.#watch();
    else if (chance < 0.95) this.#write();
    else if (chance < 0.98) this.#restart();
    else this.#ipam.adopt();
    this.#check();
  }

  /** Everything is seen and written: then each has what it asks for, or there is none for it. */
  settle(): void {
    for (let round = 0; round < 20; round++) {
      this.#watchAll();
      for (const key of this.#seen.keys()) this.#writeOne(key);
      this.#check();
    }
    expect(this.#pending()).toEqual([]);
    this.#checkNobodyShares();
  }

  /** A new operator finds everything as it should be. */
  restartChangesNothing(): void {
    const before = this.writes;
    this.#restart();
    expect(this.#pending()).toEqual([]);
    expect(this.writes).toBe(before);
  }

  #userWrites(): void {
    const key = this.#pick(KEYS);
    const before = this.#api.get(key)?.service;
    const next = service(key, {
      type: this.#next() < 0.9 ? 'LoadBalancer' : 'ClusterIP', loadBalancerClass: this.#next() < 0.85 ? null : this.#pick(['ours', 'theirs']),
      ipFamilyPolicy: this.#pick([null, null, 'PreferDualStack', 'RequireDualStack']), ipFamilies: this.#pick([[], [], [4], [6]]),
      requested: this.#next() < 0.65 ? [] : [this.#pick(ADDRESSES)],
      sharingKey: this.#pick(['', '', 'x', 'y']), sharingNamespaces: this.#pick([[], ['*'], ['a']]),
      ports: [{port: this.#pick([80, 443, 53]), protocol: 'TCP'}], externalTrafficPolicy: this.#pick(['Cluster', 'Cluster', 'Local'] as const),
      ...(this.#next() < 0.5 ? {color: 'red'} : {}),
      createdAt: before?.createdAt ?? String(++this.#born).padStart(6, '0'), ingress: before?.ingress ?? [], hasCondition: before?.hasCondition ?? false,
    });
    this.#store(key, next);
  }

  #userDeletes(): void {
    const key = this.#pick(KEYS);
    if (this.#api.delete(key)) this.#unseen.add(key);
  }

  #userChangesPools(): void {
    const pools = ['p', 'q', 'r'].filter(() => this.#next() < 0.6).map((name, i) => pool(name, BLOCKS.filter(() => this.#next() < 0.3), {
      disabled: this.#next() < 0.1, allowFirstLastIps: this.#next() < 0.8, createdAt: String(i), ...(this.#next() < 0.3 ? {color: 'red'} : {}),
    }));
    this.#pools = byName(pools);
    this.#poolsUnseen = true;
  }

  #store(key: string, next: ExposedService): void {
    this.#api.set(key, {service: next, version: ++this.#version});
    this.#unseen.add(key);
  }

  /** Kinds are watched apart: news of one object come in order, of different ones in any. */
  #watch(): void {
    const keys = [...this.#unseen].filter(() => this.#next() < 0.6);
    const pools = this.#poolsUnseen && this.#next() < 0.6;
    this.#deliver(keys, pools);
  }

  #watchAll(): void {
    this.#deliver([...this.#unseen], this.#poolsUnseen);
  }

  #deliver(keys: readonly string[], pools: boolean): void {
    const changes = new Map<string, ExposedService | null>();
    for (const key of keys) {
      this.#unseen.delete(key);
      const stored = this.#api.get(key);
      if (stored === undefined) this.#seen.delete(key);
      else this.#seen.set(key, stored);
      changes.set(key, stored?.service ?? null);
    }
    if (pools) this.#poolsUnseen = false;
    this.#ipam.update(changes, pools ? this.#pools : undefined);
  }

  #pending(): string[] {
    return [...this.#seen.keys()].filter((key) => this.#wanted(key) !== null);
  }

  /** The status that the operator would write; null = nothing to write. */
  #wanted(key: string): Pick<ExposedService, 'ingress' | 'hasCondition'> | null {
    const assignment = this.#ipam.assignment(key);
    const seen = this.#seen.get(key)?.service;
    if (assignment === undefined || seen === undefined) return null;
    const wanted = assignment.kind === 'released' ? {ingress: [], hasCondition: false} : {ingress: assignment.addresses, hasCondition: true};
    return deepEqual(wanted.ingress, seen.ingress) && wanted.hasCondition === seen.hasCondition ? null : wanted;
  }

  #write(): void {
    const keys = this.#next() < 0.8 ? this.#pending() : [...this.#seen.keys()];
    if (keys.length > 0) this.#writeOne(this.#pick(keys));
  }

  #writeOne(key: string): void {
    const wanted = this.#wanted(key);
    const seen = this.#seen.get(key);
    const stored = this.#api.get(key);
    // The version is a precondition.
    if (stored === undefined || stored.version !== seen?.version) return;
    if (wanted === null) {
      this.#ipam.settled(key);
      return;
    }
    const added = wanted.ingress.filter((address) => !stored.service.ingress.includes(address));
    for (const [other, {service: theirs}] of this.#api) {
      if (other === key) continue;
      const clash = added.find((address) => theirs.ingress.includes(address));
      if (clash !== undefined) expect({key, other, clash, why: whyNotShared(stored.service, this.#seen.get(other)?.service ?? theirs)}).toMatchObject({why: null});
    }
    this.#store(key, {...stored.service, ...wanted});
    this.writes++;
  }

  /** A new process lists everything. */
  #restart(): void {
    this.#ipam = new LbIpam(OPTIONS);
    this.#seen = new Map(this.#api);
    this.#unseen.clear();
    this.#poolsUnseen = false;
    this.#ipam.update(new Map([...this.#api].map(([key, stored]) => [key, stored.service])), this.#pools);
  }

  /** What the operator would give at this moment never clashes either, and the counts are right. */
  #check(): void {
    const held = new Map<string, ExposedService[]>();
    for (const [key, assignment] of this.#ipam.assignments) {
      const seen = this.#seen.get(key)?.service;
      if (assignment.kind !== 'assigned' || seen === undefined) continue;
      expect(isResponsible(seen, OPTIONS)).toBe(true);
      for (const address of assignment.addresses) held.set(address, [...held.get(address) ?? [], seen]);
    }
    for (const [address, all] of held) for (const [i, a] of all.entries()) for (const b of all.slice(i + 1)) expect({address, why: whyNotShared(a, b)}).toMatchObject({why: null});
    const used = [...this.#ipam.poolUse().values()].reduce((sum, use) => sum + use.used, 0n);
    expect(used).toBe(BigInt(held.size));
    for (const use of this.#ipam.poolUse().values()) expect(use.available >= 0n).toBe(true);
  }

  #checkNobodyShares(): void {
    const all = [...this.#api.values()].filter(({service: one}) => isResponsible(one, OPTIONS)).map(({service: one}) => one);
    for (const [i, a] of all.entries()) {
      for (const b of all.slice(i + 1)) {
        if (a.ingress.some((address) => b.ingress.includes(address))) expect(whyNotShared(a, b)).toBeNull();
      }
    }
  }

  #pick<T>(items: readonly T[]): T {
    return pick(items, this.#next);
  }
}

test(`${HISTORIES} random histories: no address is given twice by accident, and a restart changes nothing`, () => {
  const first = Number(process.env['STENTOR_SEED'] ?? 1);
  let writes = 0;
  for (let seed = first; seed < first + HISTORIES; seed++) {
    const world = new World(seed);
    try {
      for (let step = 0; step < STEPS; step++) world.step();
      world.settle();
      world.restartChangesNothing();
    } catch (error) {
      throw new Error(`STENTOR_SEED=${seed} STENTOR_LBIPAM_HISTORIES=1 replays it`, {cause: error});
    }
    writes += world.writes;
  }
  // Histories in which nothing happens prove nothing.
  expect(writes).toBeGreaterThan(HISTORIES);
});
