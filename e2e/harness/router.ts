// What the lab needs of a router, whichever program it is.

import type {Netns} from './netns.js';
import type {RouterSpec} from './topology.js';

export interface BgpSession {
  readonly neighbour: string;
  readonly asn: number;
  readonly established: boolean;
  /** The router's own word for the state. */
  readonly state: string;
  /** A session with a Kubernetes node. */
  readonly node: boolean;
}

export interface Router {
  readonly spec: RouterSpec;
  readonly netns: Netns;
  readonly program: 'bird' | 'frr';
  start(): Promise<void>;
  stop(): Promise<void>;
  sessions(): Promise<readonly BgpSession[]>;
}

export interface KernelRoute {
  readonly prefix: string;
  /** Gateways, sorted. */
  readonly nextHops: readonly string[];
  readonly protocol: string;
}

interface IpRoute {
  readonly dst: string;
  readonly gateway?: string;
  readonly protocol?: string;
  readonly nexthops?: readonly {readonly gateway?: string}[];
}

/** The kernel's routes in a namespace: what packets really follow. */
export async function kernelRoutes(netns: Netns): Promise<readonly KernelRoute[]> {
  const routes = await netns.ipJson<readonly IpRoute[]>(['route', 'show', 'table', 'main']);
  return routes.map((route) => ({
    prefix: route.dst.includes('/') || route.dst === 'default' ? route.dst : `${route.dst}/32`,
    nextHops: [...(route.nexthops ?? []).flatMap((hop) => hop.gateway ?? []), ...(route.gateway === undefined ? [] : [route.gateway])].sort(),
    protocol: route.protocol ?? '',
  }));
}
