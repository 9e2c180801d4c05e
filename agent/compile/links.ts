// Devices of this node that are ours, and the sysctls without which packets would not pass them.

import {maxLength} from '../../lib/core/ip.js';
import type {CompileInput} from './input.js';
import {deviceMtu, familyOf, ipv6Of, routerAddresses, uplinks} from './input.js';
import type {LinkSpec} from './kernel-state.js';
import {HOST_DEVICE} from './routes.js';

export const HOST_PEER = 'cilium_net';
export const OVERLAY_DEVICE = 'cilium_vxlan';

export function compileLinks(input: CompileInput): LinkSpec[] {
  const mtu = deviceMtu(input);
  // The host end has nobody to ask for a MAC address: the program on it delivers by address.
  const host: LinkSpec = {
    name: HOST_DEVICE, kind: 'veth', peer: HOST_PEER, mtu, addresses: routerAddresses(input).map((router) => `${router}/${maxLength(familyOf(router))}`), noArp: true,
  };
  if (input.config.routingMode === 'native') return [host];
  return [host, {name: OVERLAY_DEVICE, kind: 'vxlan', mtu, addresses: [], vxlanPort: input.config.tunnelPort}];
}

/** By dotted name. Source checks by reverse path would drop what the programs redirect. */
export function compileSysctls(input: CompileInput): Map<string, string> {
  const ours = compileLinks(input).flatMap(({name, peer}) => (peer === undefined ? [name] : [name, peer]));
  const sysctls = new Map([['net.ipv4.ip_forward', '1'], ['net.ipv4.conf.all.rp_filter', '0']]);
  for (const name of ours) {
    sysctls.set(`net.ipv4.conf.${name}.rp_filter`, '0');
    sysctls.set(`net.ipv4.conf.${name}.forwarding`, '1');
  }
  for (const {name} of uplinks(input)) sysctls.set(`net.ipv4.conf.${name}.forwarding`, '1');
  if (ipv6Of(input) === null) return sysctls;
  // For all: the kernel forwards no IPv6 without it, whatever a device says.
  sysctls.set('net.ipv6.conf.all.forwarding', '1');
  for (const name of ours) {
    sysctls.set(`net.ipv6.conf.${name}.disable_ipv6`, '0');
    sysctls.set(`net.ipv6.conf.${name}.accept_ra`, '0');
  }
  return sysctls;
}
