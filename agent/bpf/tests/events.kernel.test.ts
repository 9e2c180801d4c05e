import {readFileSync} from 'node:fs';
import {join} from 'node:path';

import {afterEach, beforeEach, describe, expect, test} from '@jest/globals';

import {SOURCE_FILES} from '../../../lib/domain/drop-reasons.js';
import {eventsLost, OBSERVATION_POINTS, TRACE_REASONS} from '../../maps/events.js';
import {metricsCodec} from '../../maps/metrics.js';
import {MONITOR_AGGREGATION, RUNTIME_CONFIG, runtimeConfigCodec} from '../../maps/runtime-config.js';
import {A, B, Datapath, LO, NODE, REMOTE, WORLD} from '../probe/datapath.js';
import type {Outcome} from '../probe/datapath.js';
import {echo, ethernet, reversed, tcp, TCP_FLAGS} from './packets.js';

const {SYN, ACK, FIN, RST} = TCP_FLAGS;
const FLOW = {source: A.ip, destination: B.ip, sourcePort: 40_000, destinationPort: 80};
const BPF = join(import.meta.dirname, '../../../../agent/bpf');

let d: Datapath;
beforeEach(() => reopen());
afterEach(() => d.close());

function reopen(...options: ConstructorParameters<typeof Datapath>): void {
  d = new Datapath(...options);
  d.cluster();
  d.answers({fibIfindex: 9});
  d.aggregation(MONITOR_AGGREGATION.medium);
}

/** `point state` of every trace. */
const traces = (outcome: Outcome): string[] => outcome.events.flatMap((event) => (event.kind === 'trace'
  ? [`${OBSERVATION_POINTS[event.message.subtype]} ${TRACE_REASONS[event.message.reason]}`] : []));

describe('drop events', () => {
  test('say who, where, why and by which entry', () => {
    d.policy(B.id, [{direction: 'ingress', identity: A.identity, deny: true, cookie: 4711}]);
    const packet = tcp(FLOW, SYN, {payload: new Uint8Array(500).fill(9)});
    const [event] = d.run('cil_from_container', packet).events.filter(({kind}) => kind === 'drop');
    expect(event?.message).toMatchObject({
      type: 1, subtype: 181, source: B.id, sourceIdentity: A.identity, destinationIdentity: B.identity, destinationEndpoint: B.id, ifindex: LO,
      cookie: 4711, direction: 1, originalLength: packet.length, capturedLength: 128, version: 3, extensionVersion: 1,
    });
    expect(event?.packet).toEqual(packet.slice(0, 128));
  });

  test('name the line that dropped', () => {
    const [event] = d.run('cil_from_container', tcp({...FLOW, source: B.ip}, SYN)).events;
    if (event?.kind !== 'drop') throw new Error('no drop');
    const file = SOURCE_FILES.get(event.message.file) ?? '';
    const line = readFileSync(join(BPF, file), 'utf8').split('\n')[event.message.line - 1];
    expect([file, line?.trim()]).toEqual(['st_endpoint.bpf.c', 'return DROP(p, DROP_INVALID_SIP);']);
  });

  test.each([14, 60, 128])('capture %i bytes when told so', (captureBytes) => {
    d.close();
    reopen({captureBytes});
    const packet = tcp({...FLOW, source: B.ip}, SYN, {payload: new Uint8Array(300)});
    expect(d.run('cil_from_container', packet).events[0]?.packet).toEqual(packet.slice(0, captureBytes));
  });

  test('capture no more than there is', () => {
    const packet = ethernet(0x88cc, new Uint8Array(10));
    expect(d.run('cil_from_container', packet).events[0]?.packet).toEqual(packet);
  });

  test('that find no room are counted as lost, the drop all the same', () => {
    d.close();
    reopen({}, 'test', {cilium_events: 4096});
    const program = d.program('cil_from_container');
    const packet = tcp({...FLOW, source: B.ip}, SYN);
    d.run('cil_from_container', packet);
    const context = new Uint8Array(192);
    context[40] = LO;
    program.testRun({data: packet, context, repeat: 100});
    const told = d.events().length;
    const lost = eventsLost(d.map('cilium_events_lost'));
    expect(told).toBeGreaterThan(5);
    expect(told + lost.drop).toBe(100);
    expect(lost).toEqual({'drop': lost.drop, 'trace': 0, 'policy-verdict': 0});
    expect(d.counted(132)).toBe(101);
  });
});

describe('metrics', () => {
  test('of a drop: reason, direction, place, bytes', () => {
    const packet = tcp({...FLOW, source: B.ip}, SYN);
    for (let i = 0; i < 3; i++) d.run('cil_from_container', packet);
    const entries = d.entries(metricsCodec);
    expect(entries.length).toBe(1);
    expect(entries[0]).toMatchObject({key: {reason: 132, direction: 2, file: 1}, value: {packets: 3n, bytes: BigInt(3 * packet.length)}});
  });

  test('of what passes: once out of the pod, once into one', () => {
    const count = (): number[] => [d.counted(0, 1), d.counted(0, 2)];
    d.run('cil_from_container', tcp(FLOW, SYN));
    expect(count()).toEqual([1, 1]);
    d.run('cil_from_container', tcp({...FLOW, destination: WORLD}, SYN));
    expect(count()).toEqual([1, 2]);
    d.run('cil_from_container', echo({source: A.ip, destination: NODE}, 1));
    expect(count()).toEqual([1, 3]);
    d.run('cil_from_netdev', tcp({...FLOW, source: REMOTE.ip, destination: A.ip}, SYN));
    d.run('cil_from_host', tcp({...FLOW, source: NODE, destination: A.ip}, SYN));
    expect(count()).toEqual([3, 3]);
  });

  test('a packet whose second half is denied is a drop of the receiver', () => {
    d.policy(B.id, []);
    d.run('cil_from_container', tcp(FLOW, SYN));
    expect([d.counted(0, 2), d.counted(0, 1), d.counted(133, 1), d.counted(133, 2)]).toEqual([1, 0, 1, 0]);
  });
});

describe('traces', () => {
  const toWorld = {...FLOW, destination: WORLD};
  const run = (packet: Uint8Array): string[] => traces(d.run('cil_from_container', packet));

  test('medium: the first packet and the ends of a connection', () => {
    expect(run(tcp(toWorld, SYN))).toEqual(['to-network new']);
    expect(run(tcp(toWorld, ACK))).toEqual([]);
    expect(run(tcp(toWorld, ACK))).toEqual([]);
    expect(run(tcp(toWorld, FIN | ACK))).toEqual(['to-network established']);
    expect(run(tcp(toWorld, FIN | ACK))).toEqual([]);
    expect(traces(d.run('cil_from_netdev', tcp(reversed(toWorld), ACK)))).toEqual([]);
    expect(traces(d.run('cil_from_netdev', tcp(reversed(toWorld), FIN | ACK)))).toEqual(['to-endpoint reply']);
    expect(run(tcp({...toWorld, sourcePort: 1}, RST))).toEqual(['to-network new']);
  });

  test('between two pods: at the one that receives', () => {
    const [trace] = d.run('cil_from_container', tcp(FLOW, SYN)).events.filter(({kind}) => kind === 'trace');
    expect(trace?.message).toMatchObject({subtype: 0, source: B.id, sourceIdentity: A.identity, destinationIdentity: B.identity, destinationEndpoint: B.id,
      originalAddress: A.ip, ifindex: LO, version: 2, reason: 0});
  });

  test('none: every packet, where it came from and where it goes', () => {
    d.aggregation(MONITOR_AGGREGATION.none);
    expect(run(tcp(toWorld, SYN))).toEqual(['from-endpoint new', 'to-network new']);
    expect(run(tcp(toWorld, ACK))).toEqual(['from-endpoint new', 'to-network established']);
    expect(run(tcp(FLOW, SYN))).toEqual(['from-endpoint new', 'to-endpoint new']);
    expect(traces(d.run('cil_from_netdev', tcp(reversed(toWorld), ACK)))).toEqual(['from-network reply', 'to-endpoint reply']);
    expect(traces(d.run('cil_from_host', tcp({...FLOW, source: NODE, destination: A.ip}, SYN)))).toEqual(['from-host new', 'to-endpoint new']);
  });

  test('low: where it goes', () => {
    d.aggregation(MONITOR_AGGREGATION.low);
    expect(run(tcp(toWorld, SYN))).toEqual(['to-network new']);
    expect(run(tcp(toWorld, ACK))).toEqual(['to-network established']);
  });

  test('every way out has its point', () => {
    expect(run(echo({source: A.ip, destination: NODE}, 1))).toEqual(['to-host new']);
    d.answers({fibResult: 4});
    expect(run(tcp(toWorld, SYN))).toEqual(['to-stack new']);
    d.close();
    reopen({routingMode: 'tunnel'});
    expect(run(tcp({...FLOW, destination: REMOTE.ip}, SYN))).toEqual(['to-overlay new']);
    d.answers({tunnelId: REMOTE.identity});
    d.aggregation(MONITOR_AGGREGATION.none);
    expect(traces(d.run('cil_from_overlay', tcp({...FLOW, source: REMOTE.ip, destination: A.ip}, SYN)))).toEqual(['from-overlay new', 'to-endpoint new']);
  });

  test('verdict events can be turned off', () => {
    d.put(runtimeConfigCodec, RUNTIME_CONFIG.policyVerdictOff, 1n);
    expect(d.run('cil_from_container', tcp(FLOW, SYN)).events.map(({kind}) => kind)).toEqual(['trace']);
  });
});
