// One node as its pinned maps and, where it answers, its agent show it: what the questions about one flow read.

import {ctAny6Codec, ctAnyCodec, ctTcp6Codec, ctTcpCodec} from '../agent/maps/ct.js';
import {endpointConfigCodec, ifToEndpointCodec, lxcCodec, type EndpointConfig, type LxcEntry} from '../agent/maps/endpoint.js';
import {ipcacheCodec, type IpcacheEntry} from '../agent/maps/ipcache.js';
import {snat6Codec, snatCodec} from '../agent/maps/nat.js';
import type {AgentEndpoint, AgentNode, AgentStatus, RouteAnswer} from '../lib/domain/agent-api.js';
import {AgentClient} from './agent-client.js';
import type {CommonOptions} from './context.js';
import type {MasqueradeFacts} from './masquerade.js';
import {readIpmasq, readMap, readPolicies} from './pins.js';
import {ctRows, longestOf, namesOf, natRows, type Names, type PolicySlot} from './rows.js';

export interface NodePlace {
  readonly bpfRoot: string;
  /** Null: the maps only. */
  readonly apiSocket: string | null;
  readonly timeoutMs: number;
}

export function nodePlace({bpfRoot, apiSocket, pinned, timeoutMs}: CommonOptions): NodePlace {
  return {bpfRoot, apiSocket: pinned ? null : apiSocket, timeoutMs};
}

export interface NodeView {
  /** The agent's name of it, else where its maps are pinned. */
  readonly name: string;
  readonly status: AgentStatus | null;
  readonly endpoints: readonly AgentEndpoint[];
  readonly nodes: readonly AgentNode[];
  readonly names: Names;
  readonly local: (address: string) => LxcEntry | null;
  readonly config: (endpoint: number) => EndpointConfig | null;
  /** The endpoint whose packets come from a device. */
  readonly endpointBehind: (ifindex: number) => number | null;
  /** Null: the slot is empty, and the endpoint drops. */
  readonly policy: (endpoint: number) => PolicySlot | null;
  readonly ipcache: (address: string) => {readonly prefix: string; readonly value: IpcacheEntry} | null;
  readonly connections: ReturnType<typeof ctRows>;
  readonly translations: ReturnType<typeof natRows>;
  /** Null: the agent does not answer. */
  readonly route: (address: string) => Promise<RouteAnswer | null>;
  readonly masquerade: MasqueradeFacts;
}

export async function readNode(place: NodePlace, nowSeconds: number): Promise<NodeView> {
  const {bpfRoot, apiSocket, timeoutMs} = place;
  const agent = apiSocket === null ? null : new AgentClient({socket: apiSocket, timeoutMs});
  const [status = null, endpoints = null, nodes = null, identities = null, origins = null] = agent === null ? [] : await Promise.all(
    [agent.ask('/v1/status'), agent.ask('/v1/endpoints'), agent.ask('/v1/nodes'), agent.ask('/v1/identities'), agent.ask('/v1/policy-origins')] as const);
  const local = new Map(readMap(bpfRoot, lxcCodec));
  const configs = new Map(readMap(bpfRoot, endpointConfigCodec));
  const behind = new Map(readMap(bpfRoot, ifToEndpointCodec));
  const ipcache = longestOf(readMap(bpfRoot, ipcacheCodec));
  const connections = [ctTcpCodec, ctAnyCodec, ctTcp6Codec, ctAny6Codec].flatMap((codec) => ctRows(codec.map, readMap(bpfRoot, codec), nowSeconds));
  return {
    name: status?.node ?? bpfRoot, status, endpoints: endpoints ?? [], nodes: nodes ?? [], names: namesOf(identities ?? [], origins ?? []), connections, ipcache,
    local: (address) => local.get(address) ?? null, config: (id) => configs.get(id) ?? null, endpointBehind: (ifindex) => behind.get(ifindex) ?? null,
    policy: (id) => readPolicies(bpfRoot, id)[0] ?? null,
    translations: [snatCodec, snat6Codec].flatMap((codec) => natRows(readMap(bpfRoot, codec), nowSeconds)),
    route: async (address) => (agent === null ? null : agent.ask('/v1/route', {to: address})),
    masquerade: {
      settings: status?.masquerade.settings ?? null, routingMode: status?.routingMode ?? null, nonMasqueradeCidrs: readIpmasq(bpfRoot),
      local: (address) => local.get(address) ?? null, remote: (address) => ipcache(address)?.value ?? null,
      opened: (destination, pod) => connections.filter((row) => row.direction === 'in' && !row.related && row.source === destination && row.destination === pod).length,
    },
  };
}
