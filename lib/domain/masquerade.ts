// Masquerading as a node's programs are set up for it.

export interface MasqueradeFamily {
  readonly enabled: boolean;
  /** Destinations that are never masqueraded: the native-routing CIDR, or the node's PodCIDRs without one. */
  readonly exclusions: readonly string[];
}

export interface MasqueradeSettings {
  readonly ipv4: MasqueradeFamily;
  readonly ipv6: MasqueradeFamily;
  /** Packets that leave through one of them take its address. Null: it has none of the family. */
  readonly uplinks: readonly {readonly name: string; readonly ipv4: string | null; readonly ipv6: string | null}[];
  /** Towards other nodes, too. */
  readonly remoteNodes: boolean;
}
