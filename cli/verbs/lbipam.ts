// lbipam compile: which addresses pools would give to the Services of the manifests, by the operator's own allocation.

import {CrdSchemas} from '../../crds/schema.js';
import type {Condition} from '../../lib/desired/cluster-state.js';
import {BGP_CLASS, type ExposedService} from '../../lib/domain/exposed-service.js';
import type {LbPool} from '../../lib/domain/lb-pool.js';
import {compareStrings, sortedEntries} from '../../lib/core/order.js';
import {LbIpam} from '../../lib/lbipam/lb-ipam.js';
import {poolConditions, satisfiedCondition} from '../../operator/compile/lb-ipam.js';
import {decodeExposedService} from '../../operator/model/decode/exposed-service.js';
import {decodeLbPool} from '../../operator/model/decode/lb-pool.js';
import type {Verb, VerbContext} from '../context.js';
import {EXIT} from '../errors.js';
import {printValue} from '../output.js';
import {listOption, loadSettings} from '../policy/input.js';
import type {SourceObject} from '../policy/documents.js';
import {readManifests, type Manifests} from '../policy/sources.js';
import {table} from '../table.js';

interface ServiceJson {
  readonly namespace: string;
  readonly name: string;
  readonly addresses: readonly string[];
  readonly conditions: readonly Condition[];
}

interface PoolJson {
  readonly name: string;
  /** Texts where they do not fit a number of JavaScript. */
  readonly total: number | string;
  readonly available: number | string;
  readonly used: number | string;
  readonly conditions: readonly Condition[];
}

const KINDS = ['Service', 'CiliumLoadBalancerIPPool'] as const;

export const compile: Verb = async (context) => {
  const {common, io} = context;
  const settings = await loadSettings(context);
  const world = load(await read(context), (text) => io.err(`${text}\n`));
  const ipam = new LbIpam({families: settings.enableIPv6 === true ? [4, 6] : [4], defaultIpam: settings.defaultLbServiceIpam === 'lbipam', classes: new Set([BGP_CLASS])});
  ipam.update(world.services, world.pools);
  const services = servicesJson(ipam, world.services);
  const pools = poolsJson(ipam, world.pools);
  if (common.format === 'name') io.out(services.map(({namespace, name}) => `service/${namespace}/${name}\n`).join(''));
  else if (common.format === 'table' || common.format === 'wide') io.out(`${servicesTable(services)}\n${poolsTable(pools)}`);
  else await printValue(io, common.format, {services, pools});
  return world.partial ? EXIT.partial : EXIT.ok;
};

async function read(context: VerbContext): Promise<Manifests> {
  const paths = [...listOption(context, 'input'), ...context.args];
  if (paths.length > 0) return readManifests(paths);
  const {readCluster} = await import('../policy/cluster-source.js');
  return readCluster(context.common, context.signal, KINDS);
}

interface World {
  readonly services: ReadonlyMap<string, ExposedService>;
  readonly pools: ReadonlyMap<string, LbPool>;
  /** Something could not be read. */
  readonly partial: boolean;
}

function load(manifests: Manifests, say: (text: string) => void): World {
  const services = new Map<string, ExposedService>();
  const pools = new Map<string, LbPool>();
  const schemas = new CrdSchemas();
  for (const {place: {file, line, column}, message} of manifests.problems) say(`${file}:${line}:${column}: ${message}`);
  let partial = manifests.problems.length > 0;
  for (const item of manifests.objects) {
    const {apiVersion, kind, object, source} = item;
    if (apiVersion === 'v1' && kind === 'Service') {
      const service = decodeExposedService({...object, metadata: {...object.metadata, namespace: object.metadata.namespace ?? 'default'}});
      addFirst(services, `${service.ref.namespace}/${service.ref.name}`, service, {item, say});
    } else if (kind === 'CiliumLoadBalancerIPPool' && /^cilium\.io\/v2(alpha1)?$/.test(apiVersion)) {
      const admitted = schemas.admit(kind, object);
      if ('refused' in admitted) {
        say(`${source.file}: ${kind} ${object.metadata.name} is refused: ${admitted.refused}`);
        partial = true;
        continue;
      }
      const pool = decodeLbPool(admitted.object);
      for (const {path, reason} of pool.rejections) say(`${source.file}: ${kind} ${object.metadata.name} ${path}: ${reason}`);
      partial ||= pool.rejections.length > 0;
      addFirst(pools, object.metadata.name, pool, {item, say});
    }
  }
  return {services, pools, partial};
}

function addFirst<V>(into: Map<string, V>, key: string, value: V, {item, say}: {readonly item: SourceObject; readonly say: (text: string) => void}): void {
  if (into.has(key)) say(`warning: ${item.kind} ${key} in ${item.source.file} is there already: the first one counts`);
  else into.set(key, value);
}

function servicesJson(ipam: LbIpam, services: ReadonlyMap<string, ExposedService>): readonly ServiceJson[] {
  return [...services.values()].sort((a, b) => compareStrings(a.ref.namespace, b.ref.namespace) || compareStrings(a.ref.name, b.ref.name)).flatMap((service) => {
    const {namespace, name} = service.ref;
    const assignment = ipam.assignment(`${namespace}/${name}`);
    return assignment?.kind !== 'assigned' ? [] : [{namespace, name, addresses: assignment.addresses, conditions: [satisfiedCondition(service, assignment)]}];
  });
}

function poolsJson(ipam: LbIpam, pools: ReadonlyMap<string, LbPool>): readonly PoolJson[] {
  return sortedEntries(ipam.poolUse()).flatMap(([name, use]) => {
    const pool = pools.get(name);
    const {total, available, used} = use;
    return pool === undefined ? [] : [{name, total: count(total), available: count(available), used: count(used), conditions: poolConditions(pool, use)}];
  });
}

function count(value: bigint): number | string {
  return value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : String(value);
}

function servicesTable(services: readonly ServiceJson[]): string {
  return table([
    {title: 'SERVICE', cell: ({namespace, name}) => `${namespace}/${name}`}, {title: 'ADDRESSES', cell: ({addresses}) => (addresses.length === 0 ? '-' : addresses)},
    {title: 'SATISFIED', cell: ({conditions}) => conditions[0]?.status ?? ''}, {title: 'WHY NOT', cell: ({conditions}) => conditions[0]?.message ?? ''},
  ], services, null);
}

function poolsTable(pools: readonly PoolJson[]): string {
  return table([
    {title: 'POOL', cell: ({name}) => name}, {title: 'TOTAL', cell: ({total}) => total, right: true}, {title: 'AVAILABLE', cell: ({available}) => available, right: true},
    {title: 'USED', cell: ({used}) => used, right: true}, {title: 'CONFLICT', cell: ({conditions}) => conditions.find(({type}) => type === 'cilium.io/PoolConflict')?.message ?? ''},
  ], pools, null);
}
