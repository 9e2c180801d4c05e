// What the agent's socket says of the node's routes.

import type {RouteAnswer} from '../lib/domain/agent-api.js';
import type {Netlink} from './kernel/netlink.js';
import type {LinkWatch} from './watch/links.js';

export async function routeAnswer(netlink: Netlink, links: LinkWatch, to: string): Promise<RouteAnswer> {
  const route = await netlink.routeTo(to);
  const ifindex = route?.ifindex ?? route?.nextHops[0]?.ifindex ?? null;
  const device = ifindex === null ? '' : ([...links.all.values()].find((link) => link.ifindex === ifindex)?.name ?? (await netlink.link(ifindex))?.name ?? '');
  return {device, via: route?.via ?? route?.nextHops[0]?.via ?? null, mtu: route?.mtu ?? null};
}
