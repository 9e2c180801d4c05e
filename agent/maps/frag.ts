// cilium_ipv4_frag_datagrams, cilium_ipv6_frag_datagrams: ports of the first fragment, for the fragments after it. Twins in agent/bpf/lib/maps.h and maps6.h.

import {ipv4, ipv6, portBe, struct, structCodec, u32, u8} from './layout.js';

export const FRAGMENT_KEY = struct('ipv4_frag_id', 12, {
  destination: ipv4(0, 'daddr'),
  source: ipv4(4, 'saddr'),
  /** Network order, as in the packet. */
  id: portBe(8, 'id'),
  protocol: u8(10, 'proto'),
});

export const FRAGMENT_PORTS = struct('ipv4_frag_l4ports', 4, {
  sourcePort: portBe(0, 'sport'),
  destinationPort: portBe(2, 'dport'),
});

export const FRAGMENT_KEY6 = struct('ipv6_frag_id', 40, {
  destination: ipv6(0, 'daddr'),
  source: ipv6(16, 'saddr'),
  /** The bytes of the packet. */
  id: u32(32, 'id'),
  protocol: u8(36, 'proto'),
});

export const FRAGMENT_PORTS6 = struct('ipv6_frag_l4ports', 4, {
  sourcePort: portBe(0, 'sport'),
  destinationPort: portBe(2, 'dport'),
});

export const fragment6Codec = structCodec('cilium_ipv6_frag_datagrams', FRAGMENT_KEY6, FRAGMENT_PORTS6);
export const fragmentCodec = structCodec('cilium_ipv4_frag_datagrams', FRAGMENT_KEY, FRAGMENT_PORTS);
