// Routes of this node: its PodCIDRs, and in tunnel mode those of the others, lead to cilium_host. Native routing leaves the others to the fabric.

import {routerAddress} from '../model/pod-cidrs.js';
import type {CompileInput} from './input.js';
import {routeMtu} from './input.js';
import type {RouteSpec} from './kernel-state.js';

export const HOST_DEVICE = 'cilium_host';

export function compileRoutes(input: CompileInput): RouteSpec[] {
  const router = routerAddress(input.config.podCidrs);
  if (router === null) return [];
  const local = input.config.podCidrs.filter(isIPv4);
  const remote = input.config.routingMode === 'tunnel' ? remotePodCidrs(input) : [];
  const mtu = input.config.routingMode === 'tunnel' ? routeMtu(input) : null;
  return [
    ...local.map((prefix) => podRoute(prefix, router, null)),
    ...remote.filter((prefix) => !local.includes(prefix)).map((prefix) => podRoute(prefix, router, mtu)),
  ];
}

function podRoute(prefix: string, router: string, mtu: number | null): RouteSpec {
  return {prefix, device: HOST_DEVICE, via: null, source: router, scope: 'link', mtu};
}

function remotePodCidrs(input: CompileInput): string[] {
  const found = new Set<string>();
  for (const {value} of input.tables.node.values()) {
    if (value.name !== input.config.nodeName) for (const prefix of value.podCidrs) if (isIPv4(prefix)) found.add(prefix);
  }
  return [...found];
}

function isIPv4(prefix: string): boolean {
  return !prefix.includes(':');
}
