// Captures with tcpdump, and the few fields of a packet that the lab's checks look at.

import {spawn, type ChildProcess} from 'node:child_process';
import {existsSync, readFileSync, rmSync, statSync} from 'node:fs';
import {formatAddress, type Family} from '../../lib/core/ip.js';
import type {RunDirectory} from './run-dir.js';
import {pause, until} from './shell.js';
import type {Place} from './traffic.js';

export interface CaptureOptions {
  readonly device: string;
  /** In tcpdump's language. */
  readonly filter: string;
  readonly name: string;
  /** Bytes kept of each packet; 128 when absent, enough for its headers. */
  readonly snapLength?: number;
}

export interface Packet {
  readonly source: string;
  readonly destination: string;
  readonly protocol: number;
  readonly sourcePort: number;
  readonly destinationPort: number;
  /** Of a VXLAN packet: the VNI and the addresses inside. */
  readonly vxlan: {readonly vni: number; readonly source: string; readonly destination: string} | null;
}

export class Capture {
  readonly #child: ChildProcess;
  readonly file: string;
  #said = '';

  private constructor(child: ChildProcess, file: string) {
    this.#child = child;
    this.file = file;
    child.stderr?.on('data', (text: Buffer) => {
      this.#said += text.toString();
    });
  }

  /** Resolves when tcpdump listens. */
  static async start(place: Place, options: CaptureOptions, run: RunDirectory): Promise<Capture> {
    const file = run.file('captures', `${options.name}-${process.hrtime.bigint().toString(36)}.pcap`);
    const child = spawn('nsenter', [`--net=${place.netnsPath}`, '--', 'setpriv', '--pdeathsig', 'KILL', '--',
      'tcpdump', '-i', options.device, '-n', '-U', '--immediate-mode', '-s', String(options.snapLength ?? 128), '-Z', 'root', '-w', file, options.filter], {stdio: ['ignore', 'ignore', 'pipe']});
    const capture = new Capture(child, file);
    await until('tcpdump listens', {timeoutMs: 5_000, intervalMs: 10}, () => {
      if (child.exitCode !== null) throw new Error(capture.#said);
      return capture.#said.includes('listening on') ? true : null;
    });
    return capture;
  }

  /** All packets so far; the capture goes on. */
  packets(): readonly Packet[] {
    return existsSync(this.file) ? readPcap(readFileSync(this.file)) : [];
  }

  /** Resolves when the file has not grown for a moment: what was sent before has been written. */
  async settle(): Promise<void> {
    for (let size = -1; size !== this.#size();) {
      size = this.#size();
      await pause(100);
    }
  }

  #size(): number {
    return existsSync(this.file) ? statSync(this.file).size : 0;
  }

  async stop(): Promise<readonly Packet[]> {
    const closed = new Promise<void>((resolve) => {
      this.#child.once('close', () => resolve());
    });
    if (this.#child.exitCode === null) {
      this.#child.kill('SIGTERM');
      await closed;
    }
    const packets = this.packets();
    rmSync(this.file, {force: true});
    return packets;
  }
}

/** Bytes before the IP header, by pcap link type: Ethernet, Linux cooked v1, Linux cooked v2, raw. */
export const LINK_HEADER: Readonly<Record<number, number>> = {1: 14, 113: 16, 276: 20, 101: 0};
const VXLAN_PORT = 8472;
const VXLAN_HEADERS = 8 + 8 + 14;

export function readPcap(data: Buffer): readonly Packet[] {
  if (data.length < 24 || data.readUInt32LE(0) !== 0xa1b2c3d4) return [];
  const header = LINK_HEADER[data.readUInt32LE(20)] ?? 14;
  const packets: Packet[] = [];
  for (let at = 24; at + 16 <= data.length;) {
    const length = data.readUInt32LE(at + 8);
    const packet = decodePacket(data.subarray(at + 16 + header, at + 16 + length));
    if (packet !== null) packets.push(packet);
    at += 16 + length;
  }
  return packets;
}

interface Header {
  readonly source: string;
  readonly destination: string;
  readonly protocol: number;
  /** Bytes before what it carries; extension headers are not looked behind. */
  readonly length: number;
}

function decodeHeader(ip: Buffer): Header | null {
  const version = (ip[0] ?? 0) >> 4;
  if (version === 4 && ip.length >= 20) {
    return {source: address(ip, 12, 4), destination: address(ip, 16, 4), protocol: ip[9] ?? 0, length: ((ip[0] ?? 0) & 15) * 4};
  }
  if (version === 6 && ip.length >= 40) return {source: address(ip, 8, 6), destination: address(ip, 24, 6), protocol: ip[6] ?? 0, length: 40};
  return null;
}

function decodePacket(ip: Buffer): Packet | null {
  const header = decodeHeader(ip);
  if (header === null) return null;
  const {length, ...ends} = header;
  const ports = (ends.protocol === 6 || ends.protocol === 17) && ip.length >= length + 4;
  const destinationPort = ports ? ip.readUInt16BE(length + 2) : 0;
  const isVxlan = ends.protocol === 17 && destinationPort === VXLAN_PORT && ip.length >= length + VXLAN_HEADERS;
  const inner = isVxlan ? decodeHeader(ip.subarray(length + VXLAN_HEADERS)) : null;
  return {
    ...ends, sourcePort: ports ? ip.readUInt16BE(length) : 0, destinationPort,
    vxlan: inner === null ? null : {vni: ip.readUIntBE(length + 12, 3), source: inner.source, destination: inner.destination},
  };
}

function address(data: Buffer, at: number, family: Family): string {
  return formatAddress({family, bytes: data.subarray(at, at + (family === 4 ? 4 : 16))});
}
