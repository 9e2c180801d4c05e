// Packets from and to pcap files: Ethernet frames, or IP packets that get a header of Ethernet.

import {usage} from '../errors.js';

export interface CapturedPacket {
  /** Nanoseconds since 1970. */
  readonly timeNs: bigint;
  /** With an Ethernet header; of a raw packet its addresses are zero. */
  readonly frame: Uint8Array;
}

const MAGICS: ReadonlyMap<number, {readonly littleEndian: boolean; readonly nanoseconds: boolean}> = new Map([
  [0xd4c3b2a1, {littleEndian: true, nanoseconds: false}], [0xa1b2c3d4, {littleEndian: false, nanoseconds: false}],
  [0x4d3cb2a1, {littleEndian: true, nanoseconds: true}], [0xa1b23c4d, {littleEndian: false, nanoseconds: true}],
]);
const HEADER = 24;
const RECORD = 16;
const LINK_ETHERNET = 1;
const LINK_RAW: readonly number[] = [101, 12, 228, 229];
const [ETH_IPV4, ETH_IPV6] = [0x0800, 0x86dd];

export function readPcap(bytes: Uint8Array): readonly CapturedPacket[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const kind = bytes.length < HEADER ? undefined : MAGICS.get(view.getUint32(0));
  if (kind === undefined) throw usage('not a pcap file (pcapng: `tcpdump -r in.pcapng -w out.pcap` makes one)');
  const u32 = (at: number): number => view.getUint32(at, kind.littleEndian);
  const link = u32(20) & 0xffff;
  if (link !== LINK_ETHERNET && !LINK_RAW.includes(link)) throw usage(`a pcap of link type ${link}: Ethernet (1) or raw IP (101) is needed`);
  const packets: CapturedPacket[] = [];
  for (let at = HEADER; at + RECORD <= bytes.length;) {
    const [captured, original] = [u32(at + 8), u32(at + 12)];
    if (at + RECORD + captured > bytes.length) throw usage(`the pcap ends inside packet ${packets.length + 1}`);
    if (captured < original) throw usage(`packet ${packets.length + 1} was cut to ${captured} of ${original} bytes: capture with -s 0`);
    const data = bytes.slice(at + RECORD, at + RECORD + captured);
    packets.push({timeNs: BigInt(u32(at)) * 1_000_000_000n + BigInt(u32(at + 4)) * (kind.nanoseconds ? 1n : 1000n), frame: link === LINK_ETHERNET ? data : withEthernet(data)});
    at += RECORD + captured;
  }
  return packets;
}

function withEthernet(packet: Uint8Array): Uint8Array {
  const frame = new Uint8Array(14 + packet.length);
  frame.set(packet, 14);
  new DataView(frame.buffer).setUint16(12, (packet[0] ?? 0) >> 4 === 6 ? ETH_IPV6 : ETH_IPV4);
  return frame;
}

export function writePcap(packets: readonly CapturedPacket[]): Uint8Array {
  const bytes = new Uint8Array(HEADER + packets.reduce((sum, {frame}) => sum + RECORD + frame.length, 0));
  const view = new DataView(bytes.buffer);
  view.setUint32(0, 0xa1b23c4d, true);
  view.setUint16(4, 2, true);
  view.setUint16(6, 4, true);
  view.setUint32(16, 0xffff, true);
  view.setUint32(20, LINK_ETHERNET, true);
  let at = HEADER;
  for (const {timeNs, frame} of packets) {
    view.setUint32(at, Number(timeNs / 1_000_000_000n), true);
    view.setUint32(at + 4, Number(timeNs % 1_000_000_000n), true);
    view.setUint32(at + 8, frame.length, true);
    view.setUint32(at + 12, frame.length, true);
    bytes.set(frame, at + RECORD);
    at += RECORD + frame.length;
  }
  return bytes;
}
