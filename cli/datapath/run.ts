// datapath run: packets of a pcap through the datapath's own programs, on maps that hold a given state. What they do beyond the packet is told by the
// probe build of the same sources.

import {readFileSync, writeFileSync} from 'node:fs';
import {formatAddress} from '../../lib/core/ip.js';
import {dropReasonText} from '../../lib/domain/drop-reasons.js';
import {IDENTITY_HOST, IDENTITY_WORLD, identityId} from '../../lib/domain/identity.js';
import {Datapath, hostPrefix, LO, type Outcome, type ProgramName} from '../../agent/bpf/probe/datapath.js';
import type {EndpointPlace} from './state.js';
import type {Verb, VerbContext} from '../context.js';
import {EXIT, usage} from '../errors.js';
import {printListing} from '../output.js';
import {longestOf} from '../rows.js';
import {readPcap, writePcap, type CapturedPacket} from './pcap.js';
import {decodeState, type DatapathState, type StateEndpoint} from './state.js';

const POINTS = ['from-container', 'to-container', 'from-overlay', 'to-overlay', 'from-netdev', 'to-netdev'] as const;
type Point = (typeof POINTS)[number];

export interface RunRow {
  readonly packet: number;
  /** The program that saw it. */
  readonly program: ProgramName;
  readonly source: string;
  readonly destination: string;
  readonly action: string;
  /** Where a redirect sends it: `endpoint` when it is one of the state's. */
  readonly redirect: {readonly how: string; readonly ifindex: number; readonly endpoint: string | null; readonly nexthop: string | null} | null;
  readonly tunnel: {readonly vni: number; readonly remote: string} | null;
  readonly dropReason: number | null;
  readonly dropText: string | null;
  readonly mark: number;
  readonly length: number;
}

export const run: Verb = async (context) => {
  const {program, state: statePath, pcap, out, node} = context.options;
  const point = POINTS.find((known) => known === program);
  if (point === undefined) throw usage(`--program: one of ${POINTS.join(', ')}`);
  if (typeof statePath !== 'string' || typeof pcap !== 'string') throw usage('--state and --pcap are needed');
  const state = decodeState(readFileSync(statePath, 'utf8'), typeof node === 'string' ? node : null);
  const packets = readPcap(readFileSync(pcap));
  const bench = new Bench(state, packets);
  try {
    const results = packets.map((packet, i) => bench.run(point, packet, i));
    if (typeof out === 'string') {
      writeFileSync(out, writePcap(results.flatMap(({outcome}, i) => (outcome.verdict === 'drop' ? [] : [{timeNs: packets[i]?.timeNs ?? 0n, frame: outcome.packet}]))));
    }
    return await print(context, results.map(({row}) => row));
  } finally {
    bench.close();
  }
};

async function print(context: VerbContext, rows: readonly RunRow[]): Promise<0> {
  await printListing(context.io, context.common.format, {
    items: rows,
    columns: [
      {title: '#', cell: ({packet}) => packet, right: true}, {title: 'SOURCE', cell: ({source}) => source}, {title: 'DESTINATION', cell: ({destination}) => destination},
      {title: 'ACTION', cell: ({action}) => action}, {title: 'TO', cell: ({redirect, tunnel}) => placeText(redirect, tunnel)},
      {title: 'DROP', cell: ({dropReason, dropText}) => (dropReason === null ? '' : `${dropText ?? ''} (${dropReason})`)},
      {title: 'PROGRAM', cell: (row) => row.program, wide: true}, {title: 'BYTES', cell: ({length}) => length, wide: true, right: true},
    ],
    name: ({packet, action}) => `${packet}/${action}`, empty: 'the pcap holds no packets',
  });
  return EXIT.ok;
}

function placeText(redirect: RunRow['redirect'], tunnel: RunRow['tunnel']): string {
  if (tunnel !== null) return `tunnel to ${tunnel.remote}, VNI ${tunnel.vni}`;
  if (redirect === null) return '';
  return redirect.endpoint ?? `ifindex ${redirect.ifindex}${redirect.nexthop === null ? '' : ` via ${redirect.nexthop}`}`;
}

const NODE_ADDRESS = '10.0.0.1';
const FIRST_ENDPOINT = 1;
/** Of devices that the state does not name; tests run where only `lo` is sure to be. */
const FIRST_IFINDEX = 100;
const OVERLAY_IFINDEX = 90;
const UPLINK_IFINDEX = 91;
const NO_MAC = '00:00:00:00:00:00';

interface Local {
  readonly id: number;
  readonly endpoint: StateEndpoint;
  readonly ifindex: number;
}

/** Maps and programs for one run: connections live from one packet of the pcap to the next, and its clock is theirs. */
class Bench {
  readonly #datapath: Datapath;
  readonly #locals: readonly Local[];
  readonly #identityOf: (address: string) => {readonly value: number} | null;

  constructor(state: DatapathState, packets: readonly CapturedPacket[]) {
    const {settings, endpoints, ipcache} = state;
    const nodeIpv4 = settings.nodeAddress ?? NODE_ADDRESS;
    const family = (prefixes: readonly string[] | undefined, wanted: 4 | 6): readonly string[] => (prefixes ?? []).filter((prefix) => prefix.includes(':') === (wanted === 6));
    this.#datapath = new Datapath({
      nodeIpv4, routingMode: settings.routingMode ?? 'native', overlayIfindex: OVERLAY_IFINDEX, podCidrs: family(settings.podCidrs, 4),
      devices: [{ifindex: LO, ipv4: nodeIpv4, ipv6: settings.nodeAddressIpv6 ?? null}], masquerade: settings.masquerade ?? false,
      masqueradeExclusions: family(settings.masqueradeExclusions ?? settings.podCidrs, 4), masqueradeRemoteNodes: settings.masqueradeRemoteNodes ?? false,
      ipv6: {
        podCidrs: family(settings.podCidrs, 6), masquerade: settings.masquerade ?? false, masqueradeExclusions: family(settings.masqueradeExclusions ?? settings.podCidrs, 6),
        worldIpv4: worldOf(ipcache, '0.0.0.0/0'), worldIpv6: worldOf(ipcache, '::/0'),
      },
    });
    this.#identityOf = longestOf(ipcache.map(({prefix, identity}) => [prefix, identity] as const));
    this.#locals = endpoints.map((endpoint, i) => ({id: FIRST_ENDPOINT + i, endpoint, ifindex: endpoint.ifindex ?? FIRST_IFINDEX + i}));
    this.#fill(state, packets);
  }

  close(): void {
    this.#datapath.close();
  }

  run(point: Point, {timeNs, frame}: CapturedPacket, index: number): {readonly row: RunRow; readonly outcome: Outcome} {
    const [source, destination] = endsOf(frame);
    const program = this.#programOf(point, source);
    const remote = this.#identityOf(source)?.value ?? IDENTITY_WORLD;
    this.#datapath.answers({nowNs: timeNs, tunnelId: remote, tunnelRemote: NODE_ADDRESS});
    if (point === 'from-container') this.#comesFrom(source);
    const outcome = this.#datapath.run(program, frame);
    const {action, probe, reason, verdict, mark, packet} = outcome;
    const target = this.#locals.find(({ifindex}) => ifindex === probe.ifindex);
    const nexthop = probe.nexthop6 !== '::' ? probe.nexthop6 : probe.nexthop !== '0.0.0.0' ? probe.nexthop : null;
    return {outcome, row: {
      packet: index + 1, program, source, destination, action: String(verdict),
      redirect: action === 'none' ? null : {how: action, ifindex: probe.ifindex, endpoint: target === undefined ? null : `${target.endpoint.namespace}/${target.endpoint.name}`, nexthop},
      tunnel: probe.setTunnelId === 0 ? null : {vni: probe.setTunnelId, remote: addressOf(probe.setTunnelRemote)},
      dropReason: reason, dropText: reason === null ? null : dropReasonText(reason), mark, length: packet.length,
    }};
  }

  /** What is delivered to a pod is judged by whichever program brings it: from this node's stack, or from anywhere else. */
  #programOf(point: Point, source: string): ProgramName {
    switch (point) {
      case 'from-container': return 'cil_from_container';
      case 'to-container': return this.#identityOf(source)?.value === IDENTITY_HOST ? 'cil_from_host' : 'cil_from_netdev';
      case 'from-overlay': return 'cil_from_overlay';
      case 'to-overlay': return 'cil_to_overlay';
      case 'from-netdev': return 'cil_from_netdev';
      case 'to-netdev': return 'cil_to_netdev';
    }
  }

  #fill(state: DatapathState, packets: readonly CapturedPacket[]): void {
    const d = this.#datapath;
    const {settings} = state;
    for (const {prefix, identity, tunnelEndpoint} of state.ipcache) d.ipcache(prefix, identity, tunnelEndpoint);
    for (const address of [settings.nodeAddress ?? NODE_ADDRESS, settings.nodeAddressIpv6]) if (address !== undefined) d.host(address);
    d.ipmasq(...settings.nonMasqueradeCidrs ?? []);
    d.announced(...settings.announced ?? []);
    d.answers({fibIfindex: settings.route?.ifindex ?? UPLINK_IFINDEX, ...(settings.route?.via === undefined ? {} : {fibNexthop: settings.route.via})});
    for (const {id, endpoint, ifindex} of this.#locals) {
      const {ips, identity, entries} = endpoint;
      const ipv6 = ips.find((ip) => ip.includes(':'));
      d.pod({
        id, ip: ips.find((ip) => !ip.includes(':')) ?? '0.0.0.0', ...(ipv6 === undefined ? {} : {ipv6}), identity: identityId(identity), ifindex, macs: macsOf(endpoint, ips, packets),
      });
      // A pod's own address is what the state's ipcache says, not what the harness makes of it.
      for (const ip of ips) d.ipcache(hostPrefix(ip), this.#identityOf(ip)?.value ?? identity);
      d.policy(id, entries.map((entry) => ({
        direction: entry.direction === 'egress' ? 'egress' : 'ingress', identity: entry.identity, protocol: entry.protocol, port: entry.port, portPrefixLength: entry.portPrefixLen,
        deny: entry.deny, precedence: entry.precedence,
      })));
    }
  }

  /** Packets of a run come from `lo`: it is the device of whoever sends. Of a source that no endpoint has, the first one's. */
  #comesFrom(source: string): void {
    const sender = this.#locals.find(({endpoint}) => endpoint.ips.includes(source)) ?? this.#locals[0];
    if (sender === undefined) throw usage('the state has no endpoint of this node: nothing comes from a container');
    this.#datapath.behind(LO, sender.id);
  }
}

/** With two families there are two worlds: the state says so. */
function worldOf(ipcache: DatapathState['ipcache'], prefix: string): number {
  return ipcache.find((entry) => entry.prefix === prefix)?.identity ?? IDENTITY_WORLD;
}

/** Where the state does not say it, a pod has the MAC with which it sends. */
function macsOf({mac, nodeMac}: EndpointPlace, ips: readonly string[], packets: readonly CapturedPacket[]): {readonly mac: string; readonly nodeMac: string} {
  const own = packets.find(({frame}) => ips.includes(endsOf(frame)[0]));
  return {mac: mac ?? (own === undefined ? NO_MAC : macText(own.frame.subarray(6, 12))), nodeMac: nodeMac ?? NO_MAC};
}

function macText(bytes: Uint8Array): string {
  return [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join(':');
}

function endsOf(frame: Uint8Array): readonly [string, string] {
  const type = ((frame[12] ?? 0) << 8) | (frame[13] ?? 0);
  const address = (at: number, family: 4 | 6): string => formatAddress({family, bytes: frame.subarray(at, at + (family === 4 ? 4 : 16))});
  if (type === 0x0800 && frame.length >= 34) return [address(26, 4), address(30, 4)];
  if (type === 0x86dd && frame.length >= 54) return [address(22, 6), address(38, 6)];
  return ['', ''];
}

/** Of struct bpf_tunnel_key: host order. */
function addressOf(value: number): string {
  return [24, 16, 8, 0].map((shift) => (value >>> shift) & 255).join('.');
}
