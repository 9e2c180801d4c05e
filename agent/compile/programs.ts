// Which program runs where, and the constants it is loaded with.

import type {ResourceName} from '../../lib/desired/node-state.js';
import type {MasqueradeSettings} from '../../lib/domain/masquerade.js';
import type {Family} from '../../lib/core/ip.js';
import {hasFamily, worldIdentity} from '../../lib/domain/identity.js';
import type {Ipv6ProgramConfig, ProgramConfig} from '../maps/program-config.js';
import {MAX_DEVICES, MAX_POD_CIDRS, encodeProgramConfig} from '../maps/program-config.js';
import {RUNTIME_CONFIG, runtimeConfigCodec} from '../maps/runtime-config.js';
import type {LocalLink} from '../model/local.js';
import {endpointOwner} from '../model/local.js';
import type {CompileInput, Finding} from './input.js';
import {addressesOf, because, familiesOf, ipv6Of, mapEntry, podCidrsOf, uplinks} from './input.js';
import type {Attachment, KernelState, MapContent} from './kernel-state.js';
import {HOST_PEER, OVERLAY_DEVICE} from './links.js';
import {HOST_DEVICE} from './routes.js';

export function compileAttachments(input: CompileInput): Attachment[] {
  const pods = [...input.facts.endpoints.values()].map((endpoint): Attachment => ({
    device: endpoint.hostIfname, direction: 'ingress', program: 'cil_from_container', because: because('endpoint', endpointOwner(endpoint)),
  }));
  const fabric = uplinks(input).flatMap(({name}): Attachment[] => [
    {device: name, direction: 'ingress', program: 'cil_from_netdev'}, {device: name, direction: 'egress', program: 'cil_to_netdev'},
  ]);
  const overlay: Attachment[] = input.config.routingMode === 'native' ? [] : [
    {device: OVERLAY_DEVICE, direction: 'ingress', program: 'cil_from_overlay'}, {device: OVERLAY_DEVICE, direction: 'egress', program: 'cil_to_overlay'},
  ];
  return [
    {device: HOST_DEVICE, direction: 'egress', program: 'cil_from_host'}, {device: HOST_PEER, direction: 'ingress', program: 'cil_to_host'},
    ...overlay, ...fabric, ...pods,
  ];
}

export interface CompiledPrograms {
  readonly config: KernelState['programConfig'];
  readonly masquerade: MasqueradeSettings;
  readonly findings: readonly Finding[];
}

const NODE_CONFIG: ResourceName = {kind: 'node-config', key: 'node-config'};

export function compilePrograms(input: CompileInput): CompiledPrograms {
  const {config, options, facts} = input;
  const findings: Finding[] = [];
  const podCidrs = bounded(podCidrsOf(input, 4), MAX_POD_CIDRS, 'PodCIDRs', findings);
  const devices = bounded(uplinks(input), MAX_DEVICES, 'uplinks', findings);
  const program: ProgramConfig = {
    nodeIpv4: config.nodeAddress, routingMode: config.routingMode, tunnelPort: config.tunnelPort,
    overlayIfindex: config.routingMode === 'tunnel' ? (facts.links.get(OVERLAY_DEVICE)?.ifindex ?? 0) : 0,
    podCidrs,
    devices: devices.map((link) => ({ifindex: link.ifindex, ipv4: masqueradeAddress(input, link, 4), ipv6: masqueradeAddress(input, link, 6)}))
      .filter(({ipv4, ipv6}) => ipv4 !== null || ipv6 !== null),
    masquerade: config.enableIPv4Masquerade,
    masqueradeExclusions: config.ipv4NativeRoutingCidr === null ? podCidrs : [config.ipv4NativeRoutingCidr],
    masqueradeRemoteNodes: options.masqueradeRemoteNodes,
    snatPorts: options.snatPorts, timeouts: options.timeouts, captureBytes: options.captureBytes, ipv6: compileIpv6(input, findings),
  };
  return {config: encodeProgramConfig(program), masquerade: masqueradeSettings(input, program), findings};
}

/** What the programs are loaded with, for whoever wants to know why a packet is masqueraded. */
function masqueradeSettings(input: CompileInput, {ipv6, ...program}: ProgramConfig): MasqueradeSettings {
  const names = new Map(uplinks(input).map(({ifindex, name}) => [ifindex, name]));
  return {
    ipv4: {enabled: program.masquerade, exclusions: program.masqueradeExclusions},
    ipv6: {enabled: ipv6?.masquerade ?? false, exclusions: ipv6?.masqueradeExclusions ?? []},
    uplinks: program.devices.map((device) => ({name: names.get(device.ifindex) ?? '', ipv4: device.ipv4, ipv6: device.ipv6})),
    remoteNodes: program.masqueradeRemoteNodes,
  };
}

function compileIpv6(input: CompileInput, findings: Finding[]): Ipv6ProgramConfig | null {
  const ipv6 = ipv6Of(input);
  if (input.config.ipv6 !== undefined && ipv6 === null) {
    findings.push({...NODE_CONFIG, code: 'IPV6_OFF', message: 'IPv6 is on in the cluster and off in this agent (enable-ipv6): pods of this node have none'});
  }
  if (ipv6 === null) return null;
  const families = familiesOf(input);
  const podCidrs = bounded(podCidrsOf(input, 6), MAX_POD_CIDRS, 'IPv6 PodCIDRs', findings);
  return {
    podCidrs, masquerade: ipv6.enableMasquerade, masqueradeExclusions: ipv6.nativeRoutingCidr === null ? podCidrs : [ipv6.nativeRoutingCidr],
    worldIpv4: worldIdentity(families, 4), worldIpv6: worldIdentity(families, 6),
  };
}

/** The node's own address where the uplink has it, else its first. */
function masqueradeAddress(input: CompileInput, link: LocalLink, family: Family): string | null {
  if (!hasFamily(familiesOf(input), family)) return null;
  const addresses = addressesOf(link, family);
  const own = [input.config.nodeAddress, ...(input.tables.node.get(input.config.nodeName)?.value.addresses ?? [])];
  return own.find((address) => addresses.includes(address)) ?? addresses[0] ?? null;
}

function bounded<T>(items: readonly T[], max: number, what: string, findings: Finding[]): readonly T[] {
  if (items.length > max) {
    findings.push({...NODE_CONFIG, code: 'LIMIT', message: `the programs have room for ${max} ${what}, the node has ${items.length}: the others are left out`});
  }
  return items.slice(0, max);
}

export function compileRuntimeConfig(input: CompileInput): MapContent {
  const value = BigInt(input.options.monitorAggregation);
  return new Map([mapEntry(runtimeConfigCodec, RUNTIME_CONFIG.monitorAggregation, value, because('node-config', 'node-config'))]);
}
