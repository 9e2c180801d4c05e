// `datapath run` as its users call it, at every hook; and against the verdicts of the compiler (root).

import {mkdtempSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterAll, describe, expect, test} from '@jest/globals';
import {parse, TCP_FLAGS, tcp, udp} from '../../agent/bpf/tests/packets.js';
import {SHOP, stentorctl} from '../policy/testing/run.js';
import {readPcap, writePcap} from './pcap.js';
import type {RunRow} from './run.js';

const folder = mkdtempSync(join(tmpdir(), 'datapath-run-'));
afterAll(() => rmSync(folder, {recursive: true, force: true}));

const {SYN, ACK} = TCP_FLAGS;
const NODE = '10.1.5.10';
const A = '10.98.1.11';
const B = '10.98.1.12';
const REMOTE = '10.98.2.21';
const WORLD = '20.1.1.1';
const allowAll = (direction: string): object => ({direction, identity: 0, protocol: 0, port: 0, portPrefixLen: 0, deny: false, precedence: 1, derivedFrom: []});
const STATE = {
  identities: [],
  ipcache: [
    {prefix: '0.0.0.0/0', identity: 2, tunnelEndpoint: null}, {prefix: `${NODE}/32`, identity: 1, tunnelEndpoint: null}, {prefix: `${A}/32`, identity: 300, tunnelEndpoint: null},
    {prefix: `${B}/32`, identity: 400, tunnelEndpoint: null}, {prefix: `${REMOTE}/32`, identity: 500, tunnelEndpoint: '10.1.5.11'},
  ],
  endpoints: [
    {namespace: 'x', name: 'a', ips: [A], node: 'n1', identity: 300, ingressEnforced: false, egressEnforced: false, entries: [allowAll('ingress'), allowAll('egress')]},
    {namespace: 'x', name: 'b', ips: [B], node: 'n1', identity: 400, ingressEnforced: true, egressEnforced: false, entries: [
      allowAll('egress'), ...[300, 500].map((identity) => ({direction: 'ingress', identity, protocol: 6, port: 80, portPrefixLen: 16, deny: false, precedence: 1, derivedFrom: []})),
    ]},
    {namespace: 'x', name: 'far', ips: [REMOTE], node: 'n2', identity: 500, ingressEnforced: false, egressEnforced: false, entries: []},
  ],
  datapath: {nodeAddress: NODE, podCidrs: ['10.98.1.0/24'], masquerade: true, masqueradeExclusions: ['10.98.0.0/16'], nonMasqueradeCidrs: ['20.2.0.0/16']},
};

let number = 0;

function datapathRun(program: string, packets: readonly Uint8Array[], state: unknown = STATE, ...more: readonly string[]): {readonly rows: readonly RunRow[]; readonly out: readonly Uint8Array[]} {
  const [stateFile, pcap, out] = ['state.json', 'in.pcap', 'out.pcap'].map((name) => join(folder, `${++number}-${name}`)) as [string, string, string];
  writeFileSync(stateFile, JSON.stringify(state));
  writeFileSync(pcap, writePcap(packets.map((frame, i) => ({timeNs: 1_000_000_000_000n + BigInt(i) * 1_000_000n, frame}))));
  const {code, out: text, err} = stentorctl(['datapath', 'run', '--program', program, '--state', stateFile, '--pcap', pcap, '--out', out, '-o', 'json', ...more]);
  if (code !== 0) throw new Error(`exit code ${code ?? 'none'}: ${err}`);
  return {rows: JSON.parse(text) as readonly RunRow[], out: readPcap(readFileSync(out)).map(({frame}) => frame)};
}

const flow = (source: string, destination: string, destinationPort = 80): {source: string; destination: string; sourcePort: number; destinationPort: number} => ({source, destination, sourcePort: 40_000, destinationPort});
const tunnelled = {...STATE, datapath: {...STATE.datapath, routingMode: 'tunnel'}};

describe('every hook', () => {
  test('from-container: delivered, denied, routed, spoofed; the packets that go on are in the pcap', () => {
    const {rows, out} = datapathRun('from-container', [
      tcp(flow(A, B), SYN), tcp(flow(A, B, 81), SYN), tcp(flow(A, WORLD), SYN), tcp(flow('10.98.1.99', B), SYN), tcp(flow(A, '10.98.1.77'), SYN),
    ]);
    expect(rows.map(({action, dropReason, redirect}) => ({action, dropReason, to: redirect?.endpoint ?? null}))).toEqual([
      {action: 'redirect', dropReason: null, to: 'x/b'}, {action: 'drop', dropReason: 133, to: null}, {action: 'redirect', dropReason: null, to: null},
      {action: 'drop', dropReason: 132, to: null}, {action: 'drop', dropReason: 151, to: null},
    ]);
    expect(rows[0]).toMatchObject({packet: 1, program: 'cil_from_container', source: A, destination: B, redirect: {how: 'redirect_peer'}});
    expect(out.map(parse).map(({destination}) => destination)).toEqual([B, WORLD]);
    expect(parse(out[0] ?? new Uint8Array())).toMatchObject({checksumsRight: true});
  });

  test('from-container through the tunnel: VNI and remote', () => {
    expect(datapathRun('from-container', [tcp(flow(A, REMOTE), SYN)], tunnelled).rows[0]?.tunnel).toEqual({vni: 300, remote: '10.1.5.11'});
  });

  test('a pcap is a conversation: the answer passes because of the question', () => {
    const question = tcp(flow(A, B), SYN);
    const answer = tcp({source: B, destination: A, sourcePort: 80, destinationPort: 40_000}, SYN | ACK);
    const isolated = {...STATE, endpoints: STATE.endpoints.map((endpoint) => (endpoint.name === 'a' ? {...endpoint, entries: [allowAll('egress')]} : endpoint))};
    expect(datapathRun('from-container', [question, answer], isolated).rows.map(({dropReason}) => dropReason)).toEqual([null, null]);
    expect(datapathRun('from-container', [answer], isolated).rows.map(({dropReason}) => dropReason)).toEqual([133]);
  });

  test('to-container: by policy, from wherever it comes', () => {
    const {rows} = datapathRun('to-container', [tcp(flow(REMOTE, B), SYN), tcp(flow(WORLD, B), SYN), tcp(flow(NODE, A), SYN)]);
    expect(rows.map(({program, action, dropReason}) => [program, action, dropReason])).toEqual([
      ['cil_from_netdev', 'redirect', null], ['cil_from_netdev', 'drop', 133], ['cil_from_host', 'redirect', null],
    ]);
  });

  test('from-overlay: the identity is the VNI’s', () => {
    const {rows} = datapathRun('from-overlay', [tcp(flow(REMOTE, B), SYN), tcp(flow(REMOTE, B, 81), SYN), tcp(flow(NODE, B), SYN)], tunnelled);
    expect(rows.map(({action, dropReason}) => [action, dropReason])).toEqual([['redirect', null], ['drop', 133], ['drop', 171]]);
  });

  test('to-overlay marks', () => expect(datapathRun('to-overlay', [tcp(flow(A, REMOTE), SYN)], tunnelled).rows[0]).toMatchObject({action: 'pass', mark: 0x400}));

  test('from-netdev: to a pod, to the node, to nobody, a forgery', () => {
    const {rows} = datapathRun('from-netdev', [tcp(flow(WORLD, A), SYN), udp(flow(WORLD, NODE)), tcp(flow(WORLD, '10.98.1.77'), SYN), tcp(flow(NODE, A), SYN)]);
    expect(rows.map(({action, dropReason}) => [action, dropReason])).toEqual([['redirect', null], ['pass', null], ['drop', 151], ['drop', 132]]);
  });

  test('to-netdev: masqueraded, and not', () => {
    const {rows, out} = datapathRun('to-netdev', [tcp(flow(A, WORLD), SYN), tcp(flow(A, '20.2.0.1'), SYN), tcp(flow(A, REMOTE), SYN)]);
    expect(rows.map(({action}) => action)).toEqual(['pass', 'pass', 'pass']);
    expect(out.map(parse).map(({source, checksumsRight}) => [source, checksumsRight])).toEqual([[NODE, true], [A, true], [A, true]]);
  });
});

test('what `policy compile` prints is a state, and the programs judge as its entries say', () => {
  const compiled = JSON.parse(stentorctl(['policy', 'compile', '--input', SHOP, '-o', 'json']).out) as {readonly endpoints: readonly {readonly namespace: string; readonly name: string; readonly ips: readonly string[]; readonly node: string}[]};
  let denied = 0;
  for (const node of new Set(compiled.endpoints.map((endpoint) => endpoint.node))) {
    const targets = compiled.endpoints.filter((endpoint) => endpoint.node === node);
    const asked = compiled.endpoints.filter((endpoint) => endpoint.node !== node).flatMap((from) => targets.flatMap((to) => [80, 5432, 8080, 9090].map((port) => ({from, to, port}))));
    const flows = asked.map(({from, to, port}) => JSON.stringify({src: {pod: `${from.namespace}/${from.name}`}, dst: {pod: `${to.namespace}/${to.name}`}, protocol: 'TCP', port}));
    const verdicts = stentorctl(['policy', 'verdict', '--input', SHOP, '--flows', '-'], {input: flows.join('\n')}).out.trimEnd().split('\n').map((line) => JSON.parse(line) as {readonly ingress: string});
    const {rows} = datapathRun('to-container', asked.map(({from, to, port}, i) => tcp({...flow(from.ips[0] ?? '', to.ips[0] ?? '', port), sourcePort: 20_000 + i}, SYN)), compiled, '--node', node);
    expect(rows.map(({action}) => (action === 'drop' ? 'deny' : 'allow'))).toEqual(verdicts.map(({ingress}) => ingress));
    denied += verdicts.filter(({ingress}) => ingress === 'deny').length;
  }
  expect(denied).toBeGreaterThan(5);
});

test('wrong use says what is wrong', () => {
  const file = join(folder, 'wrong');
  writeFileSync(file, 'no pcap');
  const call = (...args: readonly string[]): string => stentorctl(['datapath', 'run', ...args]).err;
  expect(call('--program', 'xdp', '--state', file, '--pcap', file)).toContain('--program: one of from-container');
  expect(call('--program', 'to-netdev', '--state', file)).toContain('--state and --pcap are needed');
  expect(call('--program', 'to-netdev', '--state', file, '--pcap', file)).toContain('--state is not JSON');
  writeFileSync(join(folder, 'state.json'), JSON.stringify(STATE));
  expect(call('--program', 'to-netdev', '--state', join(folder, 'state.json'), '--pcap', file)).toContain('not a pcap file');
});
