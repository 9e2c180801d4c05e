// cilium_ipv4_frag_datagrams: ports of the first fragment, for the fragments after it. Twins in agent/bpf/lib/maps.h.

import {ipv4, portBe, struct, structCodec, u8} from './layout.js';

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

export const fragmentCodec = structCodec('cilium_ipv4_frag_datagrams', FRAGMENT_KEY, FRAGMENT_PORTS);
