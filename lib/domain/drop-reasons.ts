// Drop reasons: code → Cilium's text. The codes that the datapath uses are defined in agent/bpf/lib/drop.h; a test compares the two.

/** Reasons as counted in metrics and told in events. 0 is not a drop. */
export const DROP_REASONS: ReadonlyMap<number, string> = new Map([
  [132, 'Invalid source ip'],
  [133, 'Policy denied'],
  [134, 'Invalid packet'],
  [135, 'CT: Truncated or invalid header'],
  [136, 'Fragmentation needed'],
  [137, 'CT: Unknown L4 protocol'],
  [139, 'Unsupported L3 protocol'],
  [140, 'Missed tail call'],
  [141, 'Error writing to packet'],
  [142, 'Unknown L4 protocol'],
  [147, 'Error retrieving tunnel key'],
  [150, 'Unknown L3 target address'],
  [151, 'Stale or unroutable IP'],
  [153, 'Error while correcting L3 checksum'],
  [154, 'Error while correcting L4 checksum'],
  [155, 'CT: Map insertion failed'],
  [156, 'Invalid IPv6 extension header'],
  [157, 'IP fragmentation not supported'],
  [158, 'Service backend not found'],
  [160, 'No tunnel/encapsulation endpoint (datapath BUG!)'],
  [162, 'Reached EDT rate-limiting drop horizon'],
  [163, 'Unknown connection tracking state'],
  [166, 'Unsupported L2 protocol'],
  [167, 'No mapping for NAT masquerade'],
  [168, 'Unsupported protocol for NAT masquerade'],
  [169, 'FIB lookup failed'],
  [170, 'Encapsulation traffic is prohibited'],
  [171, 'Invalid identity'],
  [172, 'Unknown sender'],
  [174, 'Is a ClusterIP'],
  [175, 'First logical datagram fragment not found'],
  [176, 'Forbidden ICMPv6 message'],
  [177, 'Denied by LB src range check'],
  [178, 'Socket lookup failed'],
  [179, 'Socket assign failed'],
  [180, 'Proxy redirection not supported for protocol'],
  [181, 'Policy denied by denylist'],
  [184, 'Failed to update or lookup TC buffer'],
  [189, 'Authentication required'],
  [196, 'TTL exceeded'],
  [202, 'Host datapath not ready'],
  [203, 'Endpoint policy program not available'],
]);

/** Reasons of metrics below the drops. */
const OTHER_REASONS: ReadonlyMap<number, string> = new Map([[0, 'Success']]);

/** Cilium's text; a number nobody knows as `reason N`. */
export function dropReasonText(code: number): string {
  return DROP_REASONS.get(code) ?? OTHER_REASONS.get(code) ?? `reason ${code}`;
}

/** Source files by the number in events and metrics (`SOURCE_FILE` in drop.h). */
export const SOURCE_FILES: ReadonlyMap<number, string> = new Map([
  [1, 'st_endpoint.bpf.c'],
  [2, 'st_host.bpf.c'],
  [3, 'st_overlay.bpf.c'],
  [4, 'packet.h'],
  [6, 'policy.h'],
  [7, 'deliver.h'],
  [8, 'encap.h'],
  [9, 'fib.h'],
  [12, 'arp.h'],
  [13, 'ipv6.h'],
  [16, 'nd6.h'],
  [17, 'fib6.h'],
  [18, 'nat6.h'],
  [20, 'ct_family.h'],
  [21, 'deliver_family.h'],
  [22, 'forward_family.h'],
  [23, 'host_family.h'],
  [24, 'overlay_family.h'],
  [25, 'nat_family.h'],
  [26, 'nat_icmp_family.h'],
  [27, 'masquerade_family.h'],
  [28, 'nat4.h'],
]);
