// ICMP types by the names that policies may use (IANA's, in CamelCase).

const ICMP_TYPES: Readonly<Record<string, number>> = {
  EchoReply: 0, DestinationUnreachable: 3, Redirect: 5, Echo: 8, EchoRequest: 8, RouterAdvertisement: 9, RouterSelection: 10,
  TimeExceeded: 11, ParameterProblem: 12, Timestamp: 13, TimestampReply: 14, Photuris: 40, ExtendedEchoRequest: 42, ExtendedEchoReply: 43,
};

const ICMPV6_TYPES: Readonly<Record<string, number>> = {
  DestinationUnreachable: 1, PacketTooBig: 2, TimeExceeded: 3, ParameterProblem: 4, EchoRequest: 128, EchoReply: 129,
  MulticastListenerQuery: 130, MulticastListenerReport: 131, MulticastListenerDone: 132, RouterSolicitation: 133,
  RouterAdvertisement: 134, NeighborSolicitation: 135, NeighborAdvertisement: 136, RedirectMessage: 137, RouterRenumbering: 138,
  ICMPNodeInformationQuery: 139, ICMPNodeInformationResponse: 140, InverseNeighborDiscoverySolicitation: 141,
  InverseNeighborDiscoveryAdvertisement: 142, HomeAgentAddressDiscoveryRequest: 144, HomeAgentAddressDiscoveryReply: 145,
  MobilePrefixSolicitation: 146, MobilePrefixAdvertisement: 147, DuplicateAddressRequestCodeSuffix: 157,
  DuplicateAddressConfirmationCodeSuffix: 158, ExtendedEchoRequest: 160, ExtendedEchoReply: 161,
};

/** A number 0..255, its decimal text, or a name of the family. Null when it is none of them. */
export function icmpTypeOf(family: 4 | 6, json: unknown): number | null {
  if (typeof json === 'number') return Number.isInteger(json) && json >= 0 && json <= 255 ? json : null;
  if (typeof json !== 'string') return null;
  if (/^(0|[1-9]\d{0,2})$/.test(json)) return Number(json) <= 255 ? Number(json) : null;
  const names = family === 4 ? ICMP_TYPES : ICMPV6_TYPES;
  return Object.hasOwn(names, json) ? (names[json] ?? null) : null;
}
