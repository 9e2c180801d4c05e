import {describe, expect, test} from '@jest/globals';
import fc from 'fast-check';
import {request} from 'node:http';
import {mkdtempSync, rmSync, statSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {Writable} from 'node:stream';
import type {AgentStatus, MonitorRecord, MonitorType} from '../../lib/domain/agent-api.js';
import {realClock} from '../../lib/run/clock.js';
import {startHttpServer} from '../../lib/run/http.js';
import {DROP_MESSAGE, EVENT_DROP, EVENT_POLICY_VERDICT, EVENT_TRACE, TRACE_MESSAGE, VERDICT_MESSAGE} from '../maps/events.js';
import type {ApiSources} from './api.js';
import {apiRoutes} from './api.js';
import type {EventNames} from './events.js';
import {Monitor} from './monitor.js';
import {summarisePacket} from './packet.js';

const NAMES: EventNames = {
  node: 'n1', labelsOf: (id) => (id === 256 ? ['k8s:app=web'] : []), podAt: (ip) => (ip === '10.98.0.2' ? 'default/web' : null),
  isolatorsOf: (endpointId, direction) => (endpointId === 0 ? [] : [{kind: 'CiliumNetworkPolicy', namespace: 'default', name: `isolates-${direction}`, uid: 'i', ruleIndex: 0}]),
  identityOfEndpoint: () => 256, originsOf: (cookie) => (cookie === 7 ? [{kind: 'NetworkPolicy', namespace: 'default', name: 'deny', uid: 'u', ruleIndex: 2}] : []),
};

/** Ethernet, IPv4 10.98.0.3 → 10.98.0.2, then `l4`. */
function packet(protocol: number, l4: readonly number[], fragment = 0): Uint8Array {
  const ip = [0x45, 0, 0, 40, 0, 0, fragment >> 8, fragment & 0xff, 64, protocol, 0, 0, 10, 98, 0, 3, 10, 98, 0, 2];
  return Uint8Array.from([...Array.from({length: 12}, () => 2), 8, 0, ...ip, ...l4]);
}

const HEADER = {hash: 0, originalLength: 98, version: 1, extensionVersion: 1};

function drop(bytes: Uint8Array, cookie = 7, reason = 181): Uint8Array {
  const message = DROP_MESSAGE.encode({...HEADER, type: EVENT_DROP, subtype: reason, source: 5, capturedLength: bytes.length, sourceIdentity: 257, destinationIdentity: 256,
    destinationEndpoint: 5, line: 1, file: 1, extendedError: 0, ifindex: 9, flags: 0, ipTraceId: 0n, cookie, direction: 1});
  return Uint8Array.from([...message, ...bytes]);
}

function verdict(direction: number, value: number): Uint8Array {
  const bytes = packet(6, [0x9c, 0x40, 0, 80]);
  const message = VERDICT_MESSAGE.encode({...HEADER, type: EVENT_POLICY_VERDICT, subtype: 0, source: 5, capturedLength: bytes.length, remoteIdentity: 257, verdict: value,
    destinationPort: 80, protocol: 6, direction, ipv6: 0, matchType: 2, audited: 0, authType: 0, cookie: 0});
  return Uint8Array.from([...message, ...bytes]);
}

/** A reader that takes nothing until `release` is called. */
class SlowReader extends Writable {
  readonly lines: MonitorRecord[] = [];
  readonly #held: (() => void)[] = [];
  open: boolean;

  constructor(open: boolean) {
    super({highWaterMark: 1});
    this.open = open;
  }

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    for (const line of chunk.toString().trim().split('\n')) this.lines.push(JSON.parse(line) as MonitorRecord);
    if (this.open) done();
    else this.#held.push(done);
  }

  release(): void {
    this.open = true;
    for (const done of this.#held.splice(0)) done();
  }
}

describe('packets', () => {
  test('ports, ICMP types, later fragments', () => {
    expect(summarisePacket(packet(6, [0x9c, 0x40, 0, 80]))).toEqual(
      {source: '10.98.0.3', destination: '10.98.0.2', protocol: 6, sourcePort: 40000, destinationPort: 80, icmpType: null});
    expect(summarisePacket(packet(1, [8, 0]))).toMatchObject({protocol: 1, icmpType: 8, sourcePort: 0});
    expect(summarisePacket(packet(17, [1, 2, 3, 4], 5))).toMatchObject({protocol: 17, sourcePort: 0, destinationPort: 0});
  });

  test('IPv6: ports behind extension headers, later fragments, what is cut off', () => {
    const flow = {source: 'fd00:98::3', destination: 'fd00:98::2'};
    const header = (protocol: number, ...payload: readonly number[]): Uint8Array => {
      const bytes = new Uint8Array(54 + payload.length);
      bytes.set([0x86, 0xdd, 0x60], 12);
      bytes[20] = protocol;
      bytes.set([0xfd, 0, 0, 0x98], 22);
      bytes.set([3, 0xfd, 0, 0, 0x98], 37);
      bytes.set([2, ...payload], 53);
      return bytes;
    };
    const ports = [0x9c, 0x40, 0, 80];
    const tcp = {...flow, protocol: 6, sourcePort: 40000, destinationPort: 80, icmpType: null};
    expect(summarisePacket(header(6, ...ports))).toEqual(tcp);
    expect(summarisePacket(header(0, 60, 0, 1, 4, 0, 0, 0, 0, 6, 0, 1, 4, 0, 0, 0, 0, ...ports))).toEqual(tcp);
    expect(summarisePacket(header(44, 6, 0, 0, 1, 0, 0, 0, 9, ...ports))).toEqual(tcp);
    expect(summarisePacket(header(44, 6, 0, 0, 8, 0, 0, 0, 9, ...ports))).toEqual({...tcp, sourcePort: 0, destinationPort: 0});
    expect(summarisePacket(header(58, 128, 0))).toMatchObject({...flow, protocol: 58, icmpType: 128});
    expect(summarisePacket(header(6).subarray(0, 50))).toBeNull();
  });

  test('no bytes whatever make it throw', () => {
    fc.assert(fc.property(fc.uint8Array({maxLength: 80}), fc.constantFrom(null, 0x0800, 0x86dd), (bytes, type) => {
      if (type !== null && bytes.length > 15) bytes.set([type >> 8, type & 0xff, type === 0x0800 ? 0x45 : 0x60], 12);
      expect(() => summarisePacket(bytes)).not.toThrow();
    }));
  });
});

describe('Monitor', () => {
  function started(queueMax = 100) {
    return new Monitor({queueMax}, {names: NAMES, clock: {...realClock, now: () => 0}});
  }

  test('a drop says what, who, and which rule', () => {
    const monitor = started();
    const reader = new SlowReader(true);
    monitor.follow(new Set(['drop']), reader);
    monitor.take([drop(packet(6, [0x9c, 0x40, 0, 80])), verdict(1, 0)]);
    expect(reader.lines).toEqual([{
      time: '1970-01-01T00:00:00.000Z', node: 'n1', type: 'drop', reason: 181, reasonText: 'Policy denied by denylist', direction: 'ingress',
      source: {identity: 257, labels: [], ip: '10.98.0.3', port: 40000}, destination: {identity: 256, labels: ['k8s:app=web'], ip: '10.98.0.2', port: 80, pod: 'default/web'},
      protocol: 'TCP', endpointId: 5, ifindex: 9, bytes: 98, derivedFrom: [{kind: 'NetworkPolicy', namespace: 'default', name: 'deny', ruleIndex: 2}],
    }]);
  });

  test('a drop that no entry decided names the rules that isolate the endpoint', () => {
    const monitor = started();
    const reader = new SlowReader(true);
    monitor.follow(new Set(['drop']), reader);
    const bytes = packet(6, [0x9c, 0x40, 0, 80]);
    monitor.take([drop(bytes, 0, 133), drop(bytes, 0, 132)]);
    expect(reader.lines.map((line) => [line.reason, line.derivedFrom.map(({name}) => name)])).toEqual([[133, ['isolates-ingress']], [132, []]]);
  });

  test('a verdict names the endpoint’s own identity on its side; a trace its point', () => {
    const monitor = started();
    const reader = new SlowReader(true);
    monitor.follow(new Set(), reader);
    const bytes = packet(17, [0, 1, 0, 53]);
    const trace = TRACE_MESSAGE.encode({...HEADER, type: EVENT_TRACE, subtype: 0, source: 5, capturedLength: bytes.length, sourceIdentity: 257, destinationIdentity: 256,
      destinationEndpoint: 5, reason: 2, flags: 0, ifindex: 9, originalAddress: '0.0.0.0', ipTraceId: 0n});
    monitor.take([verdict(1, 0), verdict(2, -133), Uint8Array.from([...trace, ...bytes]), Uint8Array.of(99, 1, 2)]);
    expect(reader.lines).toMatchObject([
      {type: 'policy-verdict', verdict: 'allowed', direction: 'ingress', matchType: 'L3-L4', source: {identity: 257}, destination: {identity: 256}},
      {type: 'policy-verdict', verdict: 'denied', reason: 133, direction: 'egress', source: {identity: 256}, destination: {identity: 257}},
      {type: 'trace', point: 'to-endpoint', reasonText: 'reply', protocol: 'UDP'},
    ]);
  });

  test('a slow reader loses what its queue has no room for, is told how much, and holds nobody else up', async () => {
    const monitor = started(3);
    const [slow, fast] = [new SlowReader(false), new SlowReader(true)];
    monitor.follow(new Set(), slow);
    monitor.follow(new Set(), fast);
    for (let i = 0; i < 10; i++) {
      monitor.take([drop(packet(6, [0, i, 0, 80]))]);
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(fast.lines.length).toBe(10);
    slow.release();
    await new Promise((resolve) => setImmediate(resolve));
    monitor.take([drop(packet(6, [0, 99, 0, 80]))]);
    const ports = slow.lines.map(({type, source, count}) => (type === 'lost' ? `lost ${count ?? 0}` : source.port));
    expect(ports).toEqual([0, 1, 2, 3, 'lost 6', 99]);
    expect(monitor.counts).toEqual({readers: 2, received: 11, lost: 6});
  });

  test('what the ring had no room for is told to those who would have got it', () => {
    const monitor = new Monitor({queueMax: 3}, {names: NAMES, clock: {...realClock, now: () => 0}});
    const told = (types: readonly MonitorType[]): number[] => {
      const counts: number[] = [];
      const out = new Writable({write: (line: Buffer, _encoding, done) => {
        counts.push((JSON.parse(line.toString()) as {count: number}).count);
        done();
      }});
      monitor.follow(new Set(types), out);
      return counts;
    };
    const [all, drops, traces] = [told([]), told(['drop']), told(['trace'])];
    monitor.ringLost({'drop': 2, 'trace': 0, 'policy-verdict': 5});
    expect([all, drops, traces]).toEqual([[7], [2], []]);
  });
});

describe('the socket', () => {
  const STATUS: AgentStatus = {
    ok: true, node: 'n', version: '0', operator: {connected: true, address: '', version: null, lastAckSequence: null, stateVersion: ''}, certificate: null, routingMode: null, devices: [],
    masquerade: {enabled: false, mode: 'bpf', entries: 0, source: null, hold: null, revision: null, settings: null}, ipam: {podCidrs: [], allocated: 0, capacity: 0, addresses: []}, endpoints: {total: 0, ready: 0},
    maps: [], bgp: [], features: [], errors: [], controllers: [],
  };
  const sources: ApiSources = {
    status: () => STATUS, endpoints: () => [], identities: () => [], nodes: () => [], bgpPeers: () => Promise.resolve([]),
    bgpRoutes: ({peer, vrouter}) => Promise.resolve([{vrouter: vrouter ?? 0, ...(peer === null ? {} : {peer}), prefix: '10.98.0.0/24', nextHop: '10.1.5.10', ageSeconds: 1, attrs: []}]),
    policyOrigins: () => [], route: (to) => Promise.resolve({device: 'net0', via: to, mtu: null}), state: () => ({}), stateDiff: () => Promise.resolve({maps: []}),
    cni: (body) => Promise.resolve({exit: 1, stdout: `${body.length}`}),
  };

  async function ask(path: string, body?: Buffer): Promise<{status: number; text: string; exit: string | undefined}> {
    const folder = mkdtempSync(join(tmpdir(), 'api-'));
    const socketPath = join(folder, 'deep', 'agent.sock');
    const server = await startHttpServer({listen: socketPath, routes: apiRoutes(sources, new Monitor({queueMax: 1}, {names: NAMES, clock: {...realClock, now: () => 0}}))});
    try {
      expect(statSync(socketPath).mode & 0o777).toBe(0o600);
      return await new Promise((resolve, reject) => {
        const call = request({socketPath, path, method: body === undefined ? 'GET' : 'POST'}, (response) => {
          let text = '';
          response.on('data', (data: Buffer) => (text += data.toString()));
          response.on('end', () => resolve({status: response.statusCode ?? 0, text, exit: String(response.headers['x-cni-exit'])}));
        });
        call.on('error', reject);
        call.end(body);
      });
    } finally {
      await server.close();
      rmSync(folder, {recursive: true});
    }
  }

  test.each([
    ['/v1/status?x=1', 400, 'unknown parameter'], ['/v1/monitor?types=all', 400, 'drop, trace, policy-verdict'], ['/v1/bgp/routes?type=x', 400, 'available or advertised'],
    ['/v1/bgp/routes?family=l2vpn-evpn', 400, 'ipv4-unicast'], ['/v1/bgp/routes?peer=x', 400, 'address'], ['/v1/bgp/routes?vrouter=-1', 400, 'AS number'],
    ['/v2/status', 404, 'no such endpoint'], ['//:x', 400, 'no valid path'], ['/v1/status', 200, '"ok":true'],
    ['/v1/bgp/routes?type=advertised&peer=10.1.5.1', 200, '"peer":"10.1.5.1"'],
  ])('%s is answered with %d', async (path, status, text) => {
    const answer = await ask(path);
    expect(answer.status).toBe(status);
    expect(answer.text).toContain(text);
  });

  test('CNI answers carry the exit code beside the output', async () => {
    expect(await ask('/v1/cni', Buffer.alloc(10))).toEqual({status: 200, text: '10', exit: '1'});
    expect((await ask('/v1/cni', Buffer.alloc(3 << 20))).status).toBe(400);
  });
});
