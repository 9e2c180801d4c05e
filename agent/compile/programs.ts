// Which program runs where, and the constants it is loaded with.

import type {ResourceName} from '../../lib/desired/node-state.js';
import type {ProgramConfig} from '../maps/program-config.js';
import {MAX_DEVICES, MAX_POD_CIDRS, encodeProgramConfig} from '../maps/program-config.js';
import {RUNTIME_CONFIG, runtimeConfigCodec} from '../maps/runtime-config.js';
import {endpointOwner} from '../model/local.js';
import type {CompileInput, Finding} from './input.js';
import {addressesOf, because, mapEntry, uplinks} from './input.js';
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
  readonly findings: readonly Finding[];
}

const NODE_CONFIG: ResourceName = {kind: 'node-config', key: 'node-config'};

export function compilePrograms(input: CompileInput): CompiledPrograms {
  const {config, options, facts} = input;
  const findings: Finding[] = [];
  const podCidrs = bounded(config.podCidrs.filter((cidr) => !cidr.includes(':')), MAX_POD_CIDRS, 'PodCIDRs', findings);
  const devices = bounded(uplinks(input), MAX_DEVICES, 'uplinks', findings);
  const program: ProgramConfig = {
    nodeIpv4: config.nodeAddress, routingMode: config.routingMode, tunnelPort: config.tunnelPort,
    overlayIfindex: config.routingMode === 'tunnel' ? (facts.links.get(OVERLAY_DEVICE)?.ifindex ?? 0) : 0,
    podCidrs,
    devices: devices.flatMap((link) => {
      const addresses = addressesOf(link);
      const ipv4 = addresses.includes(config.nodeAddress) ? config.nodeAddress : addresses[0];
      return ipv4 === undefined ? [] : [{ifindex: link.ifindex, ipv4, ipv6: null}];
    }),
    masquerade: config.enableIPv4Masquerade,
    masqueradeExclusions: config.ipv4NativeRoutingCidr === null ? podCidrs : [config.ipv4NativeRoutingCidr],
    masqueradeRemoteNodes: options.masqueradeRemoteNodes,
    snatPorts: options.snatPorts, timeouts: options.timeouts, captureBytes: options.captureBytes, ipv6: null,
  };
  return {config: encodeProgramConfig(program), findings};
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
