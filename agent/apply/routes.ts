// Routes of ours: protocol 78, whatever table. Routes of anybody else are never touched.

import {formatAddress, formatPrefix, parseAddress, parsePrefix} from '../../lib/core/ip.js';
import {StentorError} from '../../lib/core/errors.js';
import {invariant} from '../../lib/core/invariant.js';
import type {ResourceName} from '../../lib/desired/node-state.js';
import type {RouteSpec} from '../compile/kernel-state.js';
import {replaceRouteMessage, type Netlink} from '../kernel/netlink.js';
import {RTPROT_STENTOR, RT_TABLE_MAIN, RTM, encodeRoute, type Route, type RouteInput} from '../kernel/rtnetlink.js';
import type {Message} from '../kernel/netlink-message.js';
import type {Failure, Target} from './target.js';

/** A route with its device's index: a device of the same name that was made anew is another. */
export interface RouteState {
  readonly spec: Omit<RouteSpec, 'device' | 'because'>;
  readonly device: string;
  /** Null while there is no such device. */
  readonly ifindex: number | null;
  readonly because: readonly ResourceName[];
}

export function routeKey(spec: Pick<RouteSpec, 'prefix' | 'table'>): string {
  return `${spec.table ?? RT_TABLE_MAIN}/${spec.prefix}`;
}

export class RoutesTarget implements Target<string, RouteState> {
  readonly name = 'routes';
  readonly #netlink: Netlink;

  constructor(parts: {readonly netlink: Netlink}) {
    this.#netlink = parts.netlink;
  }

  async load(): Promise<ReadonlyMap<string, RouteState>> {
    const routes = [
      ...await this.#netlink.routes({protocol: RTPROT_STENTOR, family: 4}),
      ...await this.#netlink.routes({protocol: RTPROT_STENTOR, family: 6}),
    ];
    return new Map(routes.map((route) => [routeKey(route), describe(route)]));
  }

  async upsert(entries: readonly (readonly [string, RouteState])[]): Promise<readonly Failure<string>[]> {
    const failures: Failure<string>[] = [];
    const messages: Message[] = [];
    const keys: string[] = [];
    for (const [key, route] of entries) {
      if (route.ifindex === null) {
        failures.push({key, error: new StentorError('ENODEV', `there is no device ${route.device}`, {device: route.device, prefix: route.spec.prefix})});
        continue;
      }
      keys.push(key);
      messages.push(replaceRouteMessage(encodable(route.spec, route.ifindex)));
    }
    return [...failures, ...await this.#send(keys, messages)];
  }

  async remove(keys: readonly string[]): Promise<readonly Failure<string>[]> {
    const messages = keys.map((key): Message => {
      const [table = '', ...prefix] = key.split('/');
      // Whatever the route looks like: ours, to that prefix, in that table.
      const route: RouteInput = {prefix: prefix.join('/'), table: Number(table), protocol: RTPROT_STENTOR, scope: 'nowhere', type: 0};
      return {type: RTM.DELROUTE, flags: 0, payload: encodeRoute(route), what: `RTM_DELROUTE ${route.prefix}`};
    });
    return (await this.#send(keys, messages)).filter(({error}) => error.code !== 'ESRCH');
  }

  equal(desired: RouteState, actual: RouteState): boolean {
    const [a, b] = [desired.spec, actual.spec];
    return desired.ifindex !== null && desired.ifindex === actual.ifindex && a.via === b.via && a.source === b.source && a.scope === b.scope &&
      a.mtu === b.mtu && (a.onLink ?? false) === (b.onLink ?? false);
  }

  owns(): boolean {
    return true;
  }

  because(route: RouteState): readonly ResourceName[] {
    return route.because;
  }

  async #send(keys: readonly string[], messages: readonly Message[]): Promise<readonly Failure<string>[]> {
    const errors = await this.#netlink.tryAll(messages);
    return errors.flatMap((error, i) => {
      const key = keys[i];
      return error === null || key === undefined ? [] : [{key, error}];
    });
  }
}

/** The canonical texts, so that what is read back compares equal. */
export function routeState(spec: RouteSpec, ifindex: number | null): RouteState {
  const {device, because, ...rest} = spec;
  return {
    spec: {...rest, prefix: canonicalPrefix(spec.prefix), via: canonicalAddress(spec.via), source: canonicalAddress(spec.source)},
    device, ifindex, because: because ?? [],
  };
}

function canonicalPrefix(text: string): string {
  const prefix = parsePrefix(text);
  invariant(prefix !== null, 'a route has a prefix', {text});
  return formatPrefix(prefix);
}

function canonicalAddress(text: string | null): string | null {
  if (text === null) return null;
  const address = parseAddress(text);
  invariant(address !== null, 'a route has IP addresses', {text});
  return formatAddress(address);
}

function encodable(spec: RouteState['spec'], ifindex: number): RouteInput {
  const {prefix, via, source, scope, mtu} = spec;
  return {prefix, via, source, scope, mtu, ifindex, table: spec.table ?? RT_TABLE_MAIN, protocol: RTPROT_STENTOR, onLink: spec.onLink ?? false};
}

function describe(route: Route): RouteState {
  const {prefix, via, source, mtu, table, onLink} = route;
  return {spec: {prefix, via, source, mtu, table, onLink, scope: route.scope === 'link' ? 'link' : 'global'}, device: '', ifindex: route.ifindex, because: []};
}
