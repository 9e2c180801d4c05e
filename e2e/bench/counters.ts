// What proves that a measurement went through Stentor: counters of its maps, read from outside, and the events that its agents hand on.

import {request} from 'node:http';
import {createInterface} from 'node:readline';
import {join} from 'node:path';
import {BpfMap} from '../../agent/kernel/bpf.js';
import {ctTcpCodec} from '../../agent/maps/ct.js';
import {forwardedCodec, metricsCodec} from '../../agent/maps/metrics.js';
import type {MonitorRecord, MonitorType} from '../../lib/domain/agent-api.js';
import {dropReasonText} from '../../lib/domain/drop-reasons.js';
import type {Lab} from '../harness/lab.js';
import {PORT} from './rr.js';

const FIRST_DROP_REASON = 130;

export interface PacketCounts {
  readonly forwarded: number;
  /** IPv4 packets by reason. */
  readonly dropped: ReadonlyMap<number, number>;
}

/** IPv6 of a namespace's own making (router solicitations), which the datapath does not carry: nothing of what is measured. */
const UNKNOWN_L3 = 139;

export function packetCounts(lab: Lab, node: string): PacketCounts {
  const forwarded = entries(lab, node, 'cilium_forwarded').reduce((sum, [, value]) => sum + Number(forwardedCodec.decodeValue(value).packets), 0);
  const dropped = new Map<number, number>();
  for (const [key, value] of entries(lab, node, 'cilium_metrics')) {
    const {reason} = metricsCodec.decodeKey(key);
    const packets = Number(metricsCodec.decodeValue(value).packets);
    if (reason >= FIRST_DROP_REASON && reason !== UNKNOWN_L3) dropped.set(reason, (dropped.get(reason) ?? 0) + packets);
  }
  return {forwarded, dropped};
}

/** What came on top, as `12 × Policy denied`; empty = nothing. */
export function newDrops(before: PacketCounts, after: PacketCounts): readonly string[] {
  return [...after.dropped].flatMap(([reason, packets]) => {
    const more = packets - (before.dropped.get(reason) ?? 0);
    return more === 0 ? [] : [`${more} × ${dropReasonText(reason)}`];
  });
}

export interface Connections {
  /** Entries of connections to the server. */
  readonly count: number;
  /** Of the busiest one. */
  readonly packetsMax: number;
}

export function connectionsTo(lab: Lab, node: string, serverAddress: string): Connections {
  let [count, packetsMax] = [0, 0];
  for (const [key, value] of entries(lab, node, ctTcpCodec.map)) {
    const tuple = ctTcpCodec.decodeKey(key);
    if (tuple.destination !== serverAddress || tuple.destinationPort !== PORT) continue;
    count++;
    packetsMax = Math.max(packetsMax, Number(ctTcpCodec.decodeValue(value).packets));
  }
  return {count, packetsMax};
}

function entries(lab: Lab, node: string, name: string): readonly (readonly [Uint8Array, Uint8Array])[] {
  const path = join(lab.stentor.bpfRoot(node), 'maps', name);
  const map = BpfMap.openPinned(path);
  if (map === null) throw new Error(`${path} is not there`);
  try {
    return map.entries();
  } finally {
    map.close();
  }
}

/** Follows `/v1/monitor` of a node's agent until `stop`. */
export class MonitorReader {
  readonly records: MonitorRecord[] = [];
  readonly #abort = new AbortController();
  readonly #connected: Promise<void>;

  constructor(lab: Lab, node: string, type: MonitorType) {
    this.#connected = new Promise((resolve, reject) => {
      const call = request({socketPath: lab.stentor.agentSocket(node), path: `/v1/monitor?types=${type}`, signal: this.#abort.signal}, (response) => {
        response.on('error', () => undefined);
        createInterface({input: response}).on('line', (line) => void this.records.push(JSON.parse(line) as MonitorRecord)).on('error', () => undefined);
        resolve();
      });
      call.on('error', reject);
      call.end();
    });
  }

  connected(): Promise<void> {
    return this.#connected;
  }

  stop(): void {
    this.#abort.abort();
  }
}
