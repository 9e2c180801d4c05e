// Nodes, as the other nodes and as they themselves need to know them.

import {resource} from '../../lib/desired/diff.js';
import type {NodeIpv6, Resource} from '../../lib/desired/node-state.js';
import {DUAL_STACK, IPV4_ONLY, type Families} from '../../lib/domain/identity.js';
import type {Tables} from '../model/tables.js';
import type {NodeView} from './ipcache.js';

export interface NodeOptions {
  readonly clusterName: string;
  readonly routingMode: 'native' | 'tunnel';
  readonly ipv4NativeRoutingCidr: string | null;
  readonly enableIPv4Masquerade: boolean;
  readonly tunnelPort: number;
  /** Absent: off. */
  readonly ipv6?: NodeIpv6;
}

export function familiesOf({ipv6}: Pick<NodeOptions, 'ipv6'>): Families {
  return ipv6 === undefined ? IPV4_ONLY : DUAL_STACK;
}

/** The router address comes from the agent; before it has reported again, from its CiliumNode. */
export function nodeView(tables: Tables, name: string): NodeView | null {
  const fact = tables.nodes.get(name);
  if (fact === undefined) return null;
  const report = tables.nodeReports.get(name);
  const known = tables.ciliumNodes.get(name);
  const address = fact.addresses.find(({type, ip}) => type === 'InternalIP' && !ip.includes(':')) ?? fact.addresses[0];
  return {
    fact,
    routerAddress: report === undefined ? known?.routerAddress ?? null : report.routerAddress,
    routerAddress6: (report ?? known)?.routerAddress6 ?? null,
    address: address?.ip ?? '',
  };
}

export function nodeResource({fact, routerAddress}: NodeView): Resource {
  return resource('node', fact.name, {name: fact.name, addresses: fact.addresses.map(({ip}) => ip), podCidrs: fact.podCidrs, routerAddress});
}

export const NODE_CONFIG_KEY = 'node-config';

export function nodeConfigResource({fact, address}: NodeView, options: NodeOptions): Resource {
  return resource('node-config', NODE_CONFIG_KEY, {
    nodeName: fact.name,
    routingMode: options.routingMode,
    podCidrs: fact.podCidrs,
    nodeAddress: address,
    ipv4NativeRoutingCidr: options.ipv4NativeRoutingCidr,
    enableIPv4Masquerade: options.enableIPv4Masquerade,
    tunnelPort: options.tunnelPort,
    clusterName: options.clusterName,
    ...(options.ipv6 === undefined ? {} : {ipv6: options.ipv6}),
  });
}
