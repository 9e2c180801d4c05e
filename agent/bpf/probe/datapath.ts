// The datapath for tests and `datapath run`: all maps, the probe build of all programs, one packet at a time through BPF_PROG_TEST_RUN.

import {readFileSync} from 'node:fs';
import {join} from 'node:path';

import {identityId} from '../../../lib/domain/identity.js';
import {PRECEDENCE_ALLOW, PRECEDENCE_DENY} from '../../../lib/domain/policy.js';
import type {Direction} from '../../../lib/domain/policy.js';
import {BpfMap, BpfObject} from '../../kernel/bpf.js';
import type {BpfProgram} from '../../kernel/bpf.js';
import {RingBuffer} from '../../kernel/ringbuf.js';
import {ctAny6Codec, ctAnyCodec, ctTcp6Codec, ctTcpCodec} from '../../maps/ct.js';
import {endpointConfigCodec, hostLxcEntry, ifToEndpointCodec, lxcCodec} from '../../maps/endpoint.js';
import {policyEpochCodec} from '../../maps/epoch.js';
import {decodeEvent} from '../../maps/events.js';
import type {DatapathEvent} from '../../maps/events.js';
import {ipcacheCodec} from '../../maps/ipcache.js';
import type {MapCodec} from '../../maps/layout.js';
import {announced6Codec, announcedCodec, ipmasq6Codec, ipmasqCodec} from '../../maps/masq.js';
import {forwardedCodec, metricsCodec} from '../../maps/metrics.js';
import {snat6Codec, snatCodec} from '../../maps/nat.js';
import {allowAll, encodePolicyKey, encodePolicyValue, POLICY_ENTRY, policySlotCodec} from '../../maps/policy.js';
import type {PolicyMapKey, PolicyMapValue} from '../../maps/policy.js';
import {encodeProgramConfig, PROGRAM_DEFAULTS} from '../../maps/program-config.js';
import type {ProgramConfig} from '../../maps/program-config.js';
import {POLICY_INNER_MAP, SMALL_SIZES, withSizes} from '../../maps/registry.js';
import type {MapName, MapSizes} from '../../maps/registry.js';
import {runtimeConfigCodec} from '../../maps/runtime-config.js';
import {MACS} from './macs.js';
import {ACTIONS, NO_PROBE, PROBE} from './probe.js';
import type {Probe} from './probe.js';

export const TC_ACT_OK = 0;
export const TC_ACT_SHOT = 2;
export const TC_ACT_REDIRECT = 7;

const OBJECTS = {
  cil_from_container: 'st_endpoint', cil_from_netdev: 'st_host', cil_to_netdev: 'st_host', cil_from_host: 'st_host', cil_to_host: 'st_host',
  cil_from_overlay: 'st_overlay', cil_to_overlay: 'st_overlay',
} as const;
export type ProgramName = keyof typeof OBJECTS;

/** How long lib/fib.h believes a route. */
export const ROUTE_JIFFIES = 16;

/** `lo`: the one device that every namespace has. Packets of tests come from it, so it plays the pod's veth and the uplink. */
export const LO = 1;
export const NODE = '10.1.5.10';

export const CONFIG: ProgramConfig = {
  ...PROGRAM_DEFAULTS, nodeIpv4: NODE, routingMode: 'native', overlayIfindex: 77, podCidrs: ['10.98.1.0/24'],
  devices: [{ifindex: LO, ipv4: NODE, ipv6: null}], masquerade: true, masqueradeExclusions: ['10.98.0.0/16'],
};

export interface PodSpec {
  readonly id: number;
  readonly ip: string;
  readonly identity: number;
  readonly ipv6?: string;
  /** Where its packets come from: `LO` for the pod under test. */
  readonly ifindex: number;
  readonly audit?: boolean;
  readonly macs?: {readonly mac: string; readonly nodeMac: string};
}

export const A = {id: 11, ip: '10.98.1.11', identity: 300, ifindex: LO} as const;
export const B = {id: 12, ip: '10.98.1.12', identity: 400, ifindex: 42} as const;
export const REMOTE = {ip: '10.98.2.21', identity: 500, node: '10.1.5.11'} as const;
export const ROUTER = '10.98.1.1';
export const WORLD = '198.18.0.7';

export interface PolicyRow {
  readonly direction: Direction;
  readonly identity: number;
  readonly protocol?: number;
  readonly port?: number;
  readonly portPrefixLength?: number;
  readonly deny?: boolean;
  readonly precedence?: number;
  readonly cookie?: number;
  readonly proxyPort?: number;
  readonly authType?: number;
}

export interface Outcome {
  readonly verdict: 'pass' | 'drop' | 'redirect' | number;
  /** Of the drop event; null when nothing was dropped. */
  readonly reason: number | null;
  readonly action: (typeof ACTIONS)[number];
  readonly probe: Probe;
  readonly packet: Uint8Array;
  readonly mark: number;
  readonly events: readonly DatapathEvent[];
}

/** What verdicts come from, beside the policies. */
const JUDGED_BY: ReadonlySet<string> = new Set([ipcacheCodec.map, lxcCodec.map, endpointConfigCodec.map, ifToEndpointCodec.map]);

const START_NS = 1_000_000_000_000n;
const ROOT = join(import.meta.dirname, '../../../..');

export class Datapath {
  readonly #config: ProgramConfig;
  readonly #build: string;
  readonly #maps = new Map<MapName, BpfMap>();
  readonly #objects = new Map<string, BpfObject>();
  readonly #programs = new Map<ProgramName, BpfProgram>();
  readonly #inner: BpfMap[] = [];
  readonly #probe: BpfMap | null;
  readonly #events: DatapathEvent[] = [];
  #ring: RingBuffer | null = null;
  readonly #slots = new Set<number>();
  #epoch = 0n;
  #probeIn: Probe = {...NO_PROBE, nowNs: START_NS, jiffies: 1};

  constructor(config: Partial<ProgramConfig> = {}, build: 'test' | 'production' = 'test', sizes: MapSizes = {}) {
    this.#config = {...CONFIG, ...config};
    this.#build = build === 'test' ? 'build/bpf/test' : 'build/bpf';
    const template = this.#newPolicy();
    for (const map of withSizes({...SMALL_SIZES, cilium_ct4_global: 1024, cilium_ct_any4_global: 1024, cilium_snat_v4_external: 4096,
      cilium_ct6_global: 1024, cilium_ct_any6_global: 1024, cilium_snat_v6_external: 4096, ...sizes})) {
      this.#maps.set(map.name, BpfMap.create({...map, ...(map.type === 'array_of_maps' ? {innerMap: template} : {})}));
    }
    this.#probe = build === 'test'
      ? BpfMap.create({name: 'st_probe', type: 'array', keySize: 4, valueSize: PROBE.size, maxEntries: 1, flags: 0}) : null;
  }

  map(name: MapName): BpfMap {
    const map = this.#maps.get(name);
    if (map === undefined) throw new Error(`no map ${name}`);
    return map;
  }

  put<K, V>(codec: MapCodec<K, V> & {map: string}, key: K, value: V): void {
    this.map(codec.map as MapName).update(codec.encodeKey(key), codec.encodeValue(value));
    if (JUDGED_BY.has(codec.map)) this.raiseEpoch();
  }

  /** As the agent does after each change: what was judged before is judged again. */
  raiseEpoch(): void {
    this.#epoch++;
    this.put(policyEpochCodec, 0, this.#epoch);
  }

  get<K, V>(codec: MapCodec<K, V> & {map: string}, key: K): V | null {
    const bytes = this.map(codec.map as MapName).lookup(codec.encodeKey(key));
    return bytes === null ? null : codec.decodeValue(bytes);
  }

  entries<K, V>(codec: MapCodec<K, V> & {map: string}): {key: K; value: V}[] {
    return this.map(codec.map as MapName).entries().map(([key, value]) => ({key: codec.decodeKey(key), value: codec.decodeValue(value)}));
  }

  /** A pod of this node, allowed everything until `policy` says otherwise. */
  pod(pod: PodSpec): void {
    const identity = identityId(pod.identity);
    const macs = pod.macs ?? {mac: MACS.pod, nodeMac: MACS.lxc};
    const addresses = [pod.ip, ...(pod.ipv6 === undefined ? [] : [pod.ipv6])];
    for (const address of addresses) this.put(lxcCodec, address, {...macs, ifindex: pod.ifindex, endpointId: pod.id, host: false, identity});
    this.put(endpointConfigCodec, pod.id, {...macs, identity, ipv4: pod.ip, ipv6: pod.ipv6 ?? null, ifindex: pod.ifindex, ingressEnforced: true, egressEnforced: true,
      audit: pod.audit ?? false});
    this.put(ifToEndpointCodec, pod.ifindex, pod.id);
    for (const address of addresses) this.ipcache(hostPrefix(address), pod.identity);
    this.policy(pod.id, 'open');
  }

  /** Packets of a device are the endpoint's from now on. */
  behind(ifindex: number, endpointId: number): void {
    this.put(ifToEndpointCodec, ifindex, endpointId);
  }

  /** Two pods of this node: what `A` sends enters through `lo`. And a pod of another node. */
  cluster(): void {
    this.pod(A);
    this.pod(B);
    this.host(NODE);
    this.host(ROUTER);
    this.ipcache(`${REMOTE.ip}/32`, REMOTE.identity, REMOTE.node);
    this.ipcache(`${REMOTE.node}/32`, 6);
  }

  /** An address of the node itself. */
  host(ip: string): void {
    this.put(lxcCodec, ip, hostLxcEntry());
    this.ipcache(hostPrefix(ip), 1);
  }

  ipcache(prefix: string, identity: number, tunnelEndpoint: string | null = null): void {
    this.put(ipcacheCodec, prefix, {identity: identityId(identity), tunnelEndpoint, skipTunnel: false});
  }

  ipmasq(...prefixes: readonly string[]): void {
    for (const prefix of prefixes) this.put(prefix.includes(':') ? ipmasq6Codec : ipmasqCodec, prefix, null);
  }

  announced(...prefixes: readonly string[]): void {
    for (const prefix of prefixes) this.put(prefix.includes(':') ? announced6Codec : announcedCodec, prefix, null);
  }

  /** Replaces what the endpoint's slot points to. `open`: both directions without enforcement. */
  policy(endpointId: number, rows: readonly PolicyRow[] | 'open'): void {
    const inner = this.#newPolicy();
    for (const [key, value, authType] of rows === 'open' ? openPolicy() : rows.map(policyEntry)) {
      const entry = POLICY_ENTRY.decode(encodePolicyValue(key, value));
      inner.update(encodePolicyKey(key), POLICY_ENTRY.encode({...entry, authType}));
    }
    this.map('cilium_policy').update(policySlotCodec.encodeKey(endpointId), policySlotCodec.encodeValue(inner.fd));
    this.#slots.add(endpointId);
    this.raiseEpoch();
  }

  aggregation(level: number): void {
    this.put(runtimeConfigCodec, 0, BigInt(level));
  }

  /** What the kernel answers from now on. Routes are remembered for a moment: it has passed, unless `jiffies` is given. */
  answers(probe: Partial<Probe>): void {
    this.#probeIn = {...this.#probeIn, jiffies: this.#probeIn.jiffies + ROUTE_JIFFIES, ...probe};
  }

  /** Lets time pass for remembered routes only. */
  jiffies(more: number): void {
    this.#probeIn = {...this.#probeIn, jiffies: this.#probeIn.jiffies + more};
  }

  seconds(now: number): void {
    this.answers({nowNs: BigInt(now) * 1_000_000_000n});
  }

  program(name: ProgramName): BpfProgram {
    const known = this.#programs.get(name);
    if (known !== undefined) return known;
    const program = this.#object(OBJECTS[name]).program(name);
    this.#programs.set(name, program);
    return program;
  }

  run(name: ProgramName, packet: Uint8Array, context: {ifindex?: number; ingressIfindex?: number; mark?: number} = {}): Outcome {
    const program = this.program(name);
    const zero = new Uint8Array(4);
    this.#probe?.update(zero, PROBE.encode(this.#probeIn));
    this.events();
    const input = new Uint8Array(192);
    const view = new DataView(input.buffer);
    view.setUint32(8, context.mark ?? 0, true);
    view.setUint32(36, context.ingressIfindex ?? 0, true);
    view.setUint32(40, context.ifindex ?? LO, true);
    const result = program.testRun({data: packet, context: input});
    const probe = PROBE.decode(this.#probe?.lookup(zero) ?? PROBE.encode(NO_PROBE));
    const events = this.events();
    const drops = events.filter((event) => event.kind === 'drop');
    return {
      verdict: verdictName(result.retval), reason: drops[0]?.message.subtype ?? null, action: ACTIONS[probe.action] ?? 'none', probe,
      packet: result.data, mark: new DataView(result.context.buffer, result.context.byteOffset).getUint32(8, true), events,
    };
  }

  /** What the ring holds now. */
  events(): DatapathEvent[] {
    this.#ring ??= RingBuffer.open(this.map('cilium_events'), (records) => {
      for (const record of records) {
        const event = decodeEvent(record);
        if (event !== null) this.#events.push(event);
      }
    });
    this.#ring.drain();
    return this.#events.splice(0);
  }

  /** Packets counted under a reason, in one direction or both. */
  counted(reason: number, direction?: number): number {
    return [...this.entries(metricsCodec), ...this.entries(forwardedCodec)]
      .filter(({key}) => key.reason === reason && (direction === undefined || key.direction === direction))
      .reduce((sum, {value}) => sum + Number(value.packets), 0);
  }

  connections(): {key: ReturnType<typeof ctTcpCodec.decodeKey>; value: ReturnType<typeof ctTcpCodec.decodeValue>}[] {
    return [...this.entries(ctTcpCodec), ...this.entries(ctAnyCodec), ...this.entries(ctTcp6Codec), ...this.entries(ctAny6Codec)];
  }

  translations(): {key: ReturnType<typeof snatCodec.decodeKey>; value: ReturnType<typeof snatCodec.decodeValue>}[] {
    return [...this.entries(snatCodec), ...this.entries(snat6Codec)];
  }

  /** As newly opened: nothing in any map. Loading the programs is what takes long. */
  clear(): void {
    for (const [name, map] of this.#maps) {
      const {type} = map.info();
      if (type === 'ringbuf' || type === 'array_of_maps') continue;
      const keys = map.entries().map(([key]) => key);
      if (type === 'array' || type === 'percpu_array') for (const key of keys) map.update(key, new Uint8Array(map.valueBytes));
      else for (const key of keys) this.map(name).delete(key);
    }
    for (const id of this.#slots) this.map('cilium_policy').delete(policySlotCodec.encodeKey(id));
    for (const inner of this.#inner.splice(1)) inner.close();
    this.#slots.clear();
    this.#probeIn = {...NO_PROBE, nowNs: START_NS, jiffies: 1};
    this.events();
  }

  close(): void {
    this.#ring?.close();
    for (const program of this.#programs.values()) program.close();
    for (const object of this.#objects.values()) object.close();
    for (const map of [...this.#maps.values(), ...this.#inner]) map.close();
    this.#probe?.close();
  }

  #object(name: string): BpfObject {
    const known = this.#objects.get(name);
    if (known !== undefined) return known;
    const bytes = readFileSync(join(ROOT, this.#build, `${name}.bpf.o`));
    const object = BpfObject.open(bytes, {name, rodata: new Map(), maps: new Map()});
    for (const [variable, value] of encodeProgramConfig(this.#config)) if (object.hasVariable(variable)) object.setVariable(variable, value);
    const maps = new Set(object.mapNames());
    for (const [map, opened] of this.#maps) if (maps.has(map)) object.reuseMap(map, opened);
    if (this.#probe !== null) object.reuseMap('st_probe', this.#probe);
    object.load();
    this.#objects.set(name, object);
    return object;
  }

  #newPolicy(): BpfMap {
    const map = BpfMap.create({...POLICY_INNER_MAP});
    this.#inner.push(map);
    return map;
  }
}

export function hostPrefix(address: string): string {
  return `${address}/${address.includes(':') ? 128 : 32}`;
}

function verdictName(retval: number): Outcome['verdict'] {
  if (retval === TC_ACT_OK) return 'pass';
  if (retval === TC_ACT_SHOT) return 'drop';
  return retval === TC_ACT_REDIRECT ? 'redirect' : retval;
}

function openPolicy(): [PolicyMapKey, PolicyMapValue, number][] {
  return (['ingress', 'egress'] as const).map((direction) => {
    const {key, value} = allowAll(direction);
    return [key, value, 0];
  });
}

function policyEntry(row: PolicyRow): [PolicyMapKey, PolicyMapValue, number] {
  const protocol = row.protocol ?? 0;
  const port = row.port ?? 0;
  const deny = row.deny ?? false;
  return [
    {identity: identityId(row.identity), direction: row.direction, protocol, port,
      portPrefixLength: row.portPrefixLength ?? (row.port === undefined ? 0 : 16)},
    {deny, precedence: row.precedence ?? (deny ? PRECEDENCE_DENY : PRECEDENCE_ALLOW), cookie: row.cookie ?? 0, proxyPort: row.proxyPort ?? 0},
    row.authType ?? 0,
  ];
}
