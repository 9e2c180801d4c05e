// The first bytes of a captured packet: addresses, protocol, ports. Whatever the bytes are, it answers or says null.

export interface PacketSummary {
  readonly source: string;
  readonly destination: string;
  readonly protocol: number;
  /** 0 where the protocol has none, or in a later fragment. */
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly icmpType: number | null;
}

const ETHERNET_BYTES = 14;
const ETHERTYPE_IPV4 = 0x0800;
const [ICMP, TCP, UDP, SCTP] = [1, 6, 17, 132];

/** Null when it is not IPv4 in Ethernet. */
export function summarisePacket(bytes: Uint8Array): PacketSummary | null {
  if (bytes.length < ETHERNET_BYTES + 20) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.getUint16(12) !== ETHERTYPE_IPV4 || view.getUint8(14) >> 4 !== 4) return null;
  const headerBytes = (view.getUint8(ETHERNET_BYTES) & 0xf) * 4;
  const payload = ETHERNET_BYTES + headerBytes;
  const protocol = view.getUint8(ETHERNET_BYTES + 9);
  const isLaterFragment = (view.getUint16(ETHERNET_BYTES + 6) & 0x1fff) !== 0;
  const hasPorts = (protocol === TCP || protocol === UDP || protocol === SCTP) && !isLaterFragment && bytes.length >= payload + 4;
  return {
    source: ipv4At(bytes, ETHERNET_BYTES + 12), destination: ipv4At(bytes, ETHERNET_BYTES + 16), protocol,
    sourcePort: hasPorts ? view.getUint16(payload) : 0, destinationPort: hasPorts ? view.getUint16(payload + 2) : 0,
    icmpType: protocol === ICMP && !isLaterFragment && bytes.length > payload ? view.getUint8(payload) : null,
  };
}

function ipv4At(bytes: Uint8Array, offset: number): string {
  return bytes.subarray(offset, offset + 4).join('.');
}
