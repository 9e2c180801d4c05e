// Routes of this node: its PodCIDRs, and in tunnel mode those of the others, lead to cilium_host. Native routing leaves the others to the fabric.

import type {Family} from '../../lib/core/ip.js';
import type {CompileInput} from './input.js';
import {familyOf, podCidrsOf, routeMtu, routerAddresses} from './input.js';
import type {RouteSpec} from './kernel-state.js';

export const HOST_DEVICE = 'cilium_host';

export function compileRoutes(input: CompileInput): RouteSpec[] {
  return routerAddresses(input).flatMap((router) => routesOf(input, familyOf(router), router));
}

function routesOf(input: CompileInput, family: Family, router: string): RouteSpec[] {
  const local = podCidrsOf(input, family);
  const remote = input.config.routingMode === 'tunnel' ? remotePodCidrs(input, family) : [];
  const mtu = input.config.routingMode === 'tunnel' ? routeMtu(input) : null;
  return [
    ...local.map((prefix) => podRoute(prefix, router, null)),
    ...remote.filter((prefix) => !local.includes(prefix)).map((prefix) => podRoute(prefix, router, mtu)),
  ];
}

/** IPv6 routes have no scope. */
function podRoute(prefix: string, router: string, mtu: number | null): RouteSpec {
  return {prefix, device: HOST_DEVICE, via: null, source: router, scope: familyOf(prefix) === 4 ? 'link' : 'global', mtu};
}

function remotePodCidrs(input: CompileInput, family: Family): string[] {
  const found = new Set<string>();
  for (const {value} of input.tables.node.values()) {
    if (value.name !== input.config.nodeName) for (const prefix of value.podCidrs) if (familyOf(prefix) === family) found.add(prefix);
  }
  return [...found];
}
