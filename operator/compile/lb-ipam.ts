// Pools × Services → statuses: the addresses and the condition of each LoadBalancer Service, the conditions of each pool, and Events.

import {deepEqual} from '../../lib/core/equal.js';
import {Table, type RowChange} from '../../lib/core/table.js';
import type {Condition, DesiredEvent, DesiredPolicyStatus, DesiredServiceStatus} from '../../lib/desired/cluster-state.js';
import {SATISFIED_CONDITION, type ExposedService} from '../../lib/domain/exposed-service.js';
import type {LbPool} from '../../lib/domain/lb-pool.js';
import type {DemandOptions} from '../../lib/lbipam/demand.js';
import {LbIpam, type Assignment, type LbIpamChanges, type PoolUse} from '../../lib/lbipam/lb-ipam.js';
import type {ChangedKeys, Tables} from '../model/tables.js';

export interface LbStatusChanges {
  /** By uid, as other conditions. */
  readonly pools: readonly RowChange<DesiredPolicyStatus>[];
  /** What there is to say of a Service or a pool now, by what it is about. */
  readonly events: ReadonlyMap<string, readonly DesiredEvent[]>;
}

/** What a change that was worked off consisted of, as Cilium counts it. */
export interface LbEvent {
  readonly event: 'upsert' | 'delete';
  readonly resource: 'pool' | 'service';
}

/** Runs `body`, and notes how long it took to work these off. */
export type LbTimer = <T>(events: readonly LbEvent[], body: () => T) => T;

const NO_CHANGES: LbStatusChanges = {pools: [], events: new Map()};

export class LbStatuses {
  readonly ipam: LbIpam;
  #services = Table.empty<DesiredServiceStatus>();
  readonly #pools = new Map<string, DesiredPolicyStatus>();
  readonly #timed: LbTimer;

  constructor(options: DemandOptions, parts: {readonly timed?: LbTimer} = {}) {
    this.ipam = new LbIpam(options);
    this.#timed = parts.timed ?? ((_, body) => body());
  }

  /** By `namespace/name`. */
  get services(): ReadonlyMap<string, DesiredServiceStatus> {
    return this.#services;
  }

  update(tables: Tables, changed: ChangedKeys): LbStatusChanges {
    if (changed.exposedServices === undefined && changed.lbPools === undefined) return NO_CHANGES;
    return this.#timed(eventsOf(tables, changed), () => {
      const services = new Map([...changed.exposedServices ?? []].map((key) => [key, tables.exposedServices.get(key) ?? null] as const));
      const changes = this.ipam.update(services, changed.lbPools === undefined ? undefined : tables.lbPools);
      return this.#publish(tables, changes, changed);
    });
  }

  /** For who begins to write what somebody else has written so far. */
  adopt(tables: Tables): LbStatusChanges {
    return this.#publish(tables, this.ipam.adopt(), {});
  }

  /** The Service's status holds what is said here. */
  settled(tables: Tables, key: string): LbStatusChanges {
    const changes = this.ipam.settled(key);
    return changes.poolsChanged ? this.#publish(tables, changes, {}) : NO_CHANGES;
  }

  #publish(tables: Tables, changes: LbIpamChanges, changed: ChangedKeys): LbStatusChanges {
    const keys = new Set([...changes.services, ...changed.exposedServices ?? []]);
    const events = new Map<string, readonly DesiredEvent[]>();
    this.#services = this.#services.with([...keys].map((key): RowChange<DesiredServiceStatus> => {
      const service = tables.exposedServices.get(key);
      const assignment = this.ipam.assignment(key);
      events.set(`lbipam Service ${key}`, service === undefined || assignment === undefined ? [] : serviceEvents(service, assignment));
      const next = service === undefined || assignment === undefined ? null : serviceStatus(service, assignment);
      const before = this.#services.get(key);
      return [key, before !== undefined && deepEqual(before, next) ? before : next];
    }));
    return {pools: changes.poolsChanged ? this.#publishPools(tables, events) : [], events};
  }

  #publishPools(tables: Tables, events: Map<string, readonly DesiredEvent[]>): readonly RowChange<DesiredPolicyStatus>[] {
    const rows: RowChange<DesiredPolicyStatus>[] = [];
    const use = this.ipam.poolUse();
    for (const [name, before] of this.#pools) {
      if (tables.lbPools.get(name)?.ref.uid === before.object.uid) continue;
      this.#pools.delete(name);
      rows.push([before.object.uid, null]);
      events.set(`lbipam pool ${name}`, []);
    }
    for (const [name, pool] of tables.lbPools) {
      const of = use.get(name);
      if (of === undefined) continue;
      const next = poolStatus(pool, of);
      events.set(`lbipam pool ${name}`, poolEvents(pool, of));
      if (deepEqual(next, this.#pools.get(name))) continue;
      this.#pools.set(name, next);
      rows.push([pool.ref.uid, next]);
    }
    return rows;
  }
}

/** The Services as they would be read back, for who compiles without a cluster. */
export function assignedServices(tables: Tables, options: DemandOptions): readonly RowChange<ExposedService>[] {
  const ipam = new LbIpam(options);
  ipam.update(new Map(tables.exposedServices), tables.lbPools);
  return [...tables.exposedServices].flatMap(([key, service]): RowChange<ExposedService>[] => {
    const assignment = ipam.assignment(key);
    return assignment?.kind === 'assigned' ? [[key, {...service, ingress: assignment.addresses, hasCondition: true}]] : [];
  });
}

export function satisfiedCondition(service: ExposedService, assignment: Assignment & {readonly kind: 'assigned'}): Condition {
  const {shortfalls} = assignment;
  const [first] = shortfalls;
  const common = {type: SATISFIED_CONDITION, observedGeneration: service.generation};
  if (first === undefined) return {...common, status: 'True', reason: 'satisfied', message: ''};
  return {...common, status: 'False', reason: first.reason, message: [...new Set(shortfalls.map(({message}) => message))].join('; ')};
}

/** The counts are texts: those of IPv6 pools do not fit a number. */
export function poolConditions(pool: LbPool, {total, available, used, conflict}: PoolUse): readonly Condition[] {
  const condition = (type: string, status: Condition['status'], [reason, message]: readonly [string, string]): Condition =>
    ({type: `cilium.io/${type}`, status, reason, message, observedGeneration: pool.generation});
  return [
    conflict === null ? condition('PoolConflict', 'False', ['resolved', '']) : condition('PoolConflict', 'True', ['cidr_overlap', conflict]),
    condition('IPsTotal', 'Unknown', ['noreason', String(total)]),
    condition('IPsAvailable', 'Unknown', ['noreason', String(available)]),
    condition('IPsUsed', 'Unknown', ['noreason', String(used)]),
  ];
}

function serviceStatus(service: ExposedService, assignment: Assignment): DesiredServiceStatus {
  if (assignment.kind === 'released') return {object: service.ref, addresses: [], condition: null};
  return {object: service.ref, addresses: assignment.addresses, condition: satisfiedCondition(service, assignment)};
}

function poolStatus(pool: LbPool, use: PoolUse): DesiredPolicyStatus {
  return {object: pool.ref, apiVersion: pool.apiVersion, conditions: poolConditions(pool, use)};
}

function serviceEvents(service: ExposedService, assignment: Assignment): DesiredEvent[] {
  if (assignment.kind === 'released') return [];
  const warning = (reason: string, message: string): DesiredEvent => ({object: service.ref, apiVersion: 'v1', type: 'Warning', reason, message});
  const {status, message} = satisfiedCondition(service, assignment);
  return [
    ...(status === 'False' ? [warning('LBIPAMUnsatisfied', message)] : []),
    ...service.unreadable.map((text) => warning('LBIPAMRequestInvalid', `not an address: ${text}`)),
  ];
}

function poolEvents(pool: LbPool, {conflict}: PoolUse): DesiredEvent[] {
  const warning = (reason: string, message: string): DesiredEvent => ({object: pool.ref, apiVersion: pool.apiVersion, type: 'Warning', reason, message});
  return [
    ...(conflict === null ? [] : [warning('LBIPPoolConflict', conflict)]),
    ...pool.rejections.map(({code, path, reason}) => warning(code, `${path}: ${reason}`)),
  ];
}

/** Each kind once, however many of it there are in the batch. */
function eventsOf(tables: Tables, changed: ChangedKeys): readonly LbEvent[] {
  const of = (resource: LbEvent['resource'], keys: Iterable<string> | undefined, table: ReadonlyMap<string, unknown>): LbEvent[] => {
    const kinds = new Set([...keys ?? []].map((key): LbEvent['event'] => (table.has(key) ? 'upsert' : 'delete')));
    return [...kinds].map((event) => ({event, resource}));
  };
  return [...of('pool', changed.lbPools, tables.lbPools), ...of('service', changed.exposedServices, tables.exposedServices)];
}
