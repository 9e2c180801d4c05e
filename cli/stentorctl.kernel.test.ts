// The programs themselves, on pinned maps in a bpffs and on a socket that answers as the agent does (root).

import {execFileSync, spawn, spawnSync} from 'node:child_process';
import {mkdirSync, mkdtempSync, rmSync, statfsSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterAll, beforeAll, describe, expect, test} from '@jest/globals';
import {identityId} from '../lib/domain/identity.js';
import {sendJson, startHttpServer, type HttpServerHandle} from '../lib/run/http.js';
import {BpfMap} from '../agent/kernel/bpf.js';
import {CT_ENTRY, CT_TUPLE} from '../agent/maps/ct.js';
import {endpointConfigCodec, ifToEndpointCodec, lxcCodec} from '../agent/maps/endpoint.js';
import {ipcacheCodec} from '../agent/maps/ipcache.js';
import {ipmasqCodec} from '../agent/maps/masq.js';
import {encodePolicyKey, encodePolicyValue, policySlotCodec} from '../agent/maps/policy.js';
import {MAPS, pinName, POLICY_INNER_MAP, SMALL_SIZES, withSizes, type MapName} from '../agent/maps/registry.js';

const ROOT = join(import.meta.dirname, '../..');
const BPFFS = '/sys/fs/bpf';
const bpfRoot = join(BPFFS, `cli-${process.pid}`);
const folder = mkdtempSync(join(tmpdir(), 'cli-'));
const socket = join(folder, 'agent.sock');
const BPF_FS_MAGIC = 0xcafe4a11;
const PREFIXES = ['10.0.0.0/8', '20.1.1.0/24', '169.254.0.0/16'];
const ENDPOINTS = [{id: 12, namespace: 'default', name: 'server', containerId: 'c', identity: 300, labels: ['k8s:app=server'], ipv4: '10.98.1.5', ipv6: '', ifname: 'lxc1', mac: '02:00:00:00:00:01', policy: {ingress: true, egress: false}, state: 'ready'}];
let server: HttpServerHandle;

interface Result {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

/** Blocking, so it is only for runs that do not ask the server of this process. */
function run(program: string, ...args: readonly string[]): Result {
  const {status, stdout, stderr} = spawnSync('sh', [join(ROOT, 'cli/stentorctl.sh'), ...args], {argv0: program, encoding: 'utf8', env: {...process.env, STENTOR_BPF_ROOT: bpfRoot, STENTOR_API_SOCKET: join(folder, 'none.sock')}});
  return {code: status, out: stdout, err: stderr};
}

function ask(file: string, ...args: readonly string[]): Promise<Result> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [join(ROOT, 'dist/cli', file), ...args], {env: {...process.env, STENTOR_BPF_ROOT: bpfRoot, STENTOR_API_SOCKET: socket}});
    const text = {out: '', err: ''};
    child.stdout.on('data', (data: Buffer) => (text.out += data.toString()));
    child.stderr.on('data', (data: Buffer) => (text.err += data.toString()));
    child.on('close', (code) => resolve({code, ...text}));
  });
}

beforeAll(async () => {
  if (statfsSync(BPFFS).type !== BPF_FS_MAGIC) execFileSync('mount', ['-t', 'bpf', 'bpf', BPFFS]);
  mkdirSync(join(bpfRoot, 'maps'), {recursive: true});
  const inner = BpfMap.create(POLICY_INNER_MAP);
  const key = {identity: identityId(301), direction: 'ingress', protocol: 6, port: 80, portPrefixLength: 16} as const;
  inner.update(encodePolicyKey(key), encodePolicyValue(key, {deny: false, precedence: 5, cookie: 9, proxyPort: 0}));
  const maps = new Map<MapName, BpfMap>();
  for (const definition of withSizes(SMALL_SIZES)) {
    const {name, type, keySize, valueSize, maxEntries, flags} = definition;
    const map = BpfMap.create({name, type, keySize, valueSize, maxEntries, flags, ...(type === 'array_of_maps' ? {innerMap: inner} : {})});
    map.pin(join(bpfRoot, 'maps', pinName(definition)));
    maps.set(name, map);
  }
  const put = (name: MapName, keyBytes: Uint8Array, value: Uint8Array): void => maps.get(name)?.update(keyBytes, value);
  for (const prefix of PREFIXES) put('cilium_ipmasq_v4', ipmasqCodec.encodeKey(prefix), ipmasqCodec.encodeValue(null));
  put('cilium_ipcache', ipcacheCodec.encodeKey('10.98.2.0/24'), ipcacheCodec.encodeValue({identity: identityId(3), tunnelEndpoint: '10.1.8.10', skipTunnel: false}));
  put('cilium_ipcache', ipcacheCodec.encodeKey('10.98.1.5/32'), ipcacheCodec.encodeValue({identity: identityId(300), tunnelEndpoint: null, skipTunnel: false}));
  put('cilium_ipcache', ipcacheCodec.encodeKey('10.98.2.7/32'), ipcacheCodec.encodeValue({identity: identityId(301), tunnelEndpoint: '10.1.8.10', skipTunnel: false}));
  put('cilium_ipcache', ipcacheCodec.encodeKey('10.98.2.8/32'), ipcacheCodec.encodeValue({identity: identityId(302), tunnelEndpoint: '10.1.8.10', skipTunnel: false}));
  put('cilium_lxc', lxcCodec.encodeKey('10.98.1.5'), lxcCodec.encodeValue({ifindex: 7, endpointId: 12, host: false, mac: '02:00:00:00:00:01', nodeMac: '02:00:00:00:00:02', identity: identityId(300)}));
  put('cilium_if_to_ep', ifToEndpointCodec.encodeKey(7), ifToEndpointCodec.encodeValue(12));
  put('cilium_ep_config', endpointConfigCodec.encodeKey(12), endpointConfigCodec.encodeValue({
    identity: identityId(300), ipv4: '10.98.1.5', ipv6: null, ifindex: 7, mac: '02:00:00:00:00:01', nodeMac: '02:00:00:00:00:02', ingressEnforced: true, egressEnforced: false, audit: false,
  }));
  put('cilium_policy', policySlotCodec.encodeKey(12), policySlotCodec.encodeValue(inner.fd));
  put('cilium_ct4_global', CT_TUPLE.encode({destination: '10.98.1.5', source: '10.98.2.7', destinationPort: 80, sourcePort: 4000, protocol: 6, flags: 1}), CT_ENTRY.encode({
    judged: 0n, backendId: 0n, packets: 3n, bytes: 180n, lifetime: 4_000_000_000, flags: 0, revNat: 0, ifindex: 7, txFlagsSeen: 2, rxFlagsSeen: 2, sourceIdentity: 301, lastTxReport: 0, lastRxReport: 0,
  }));
  for (const map of maps.values()) map.close();
  inner.close();
  server = await startHttpServer({listen: socket, routes: {
    'GET /v1/endpoints': (_request, response) => sendJson(response, 200, ENDPOINTS),
    'GET /v1/identities': (_request, response) => sendJson(response, 200, [{id: 301, labels: ['k8s:app=client']}]),
    'GET /v1/policy-origins': (_request, response) => sendJson(response, 200, [{subject: 300, cookie: 9, origins: [{kind: 'CiliumNetworkPolicy', namespace: 'default', name: 'p', uid: 'u', ruleIndex: 0}]}]),
    'GET /v1/bgp/routes': (_request, response, url) => sendJson(response, 400, {error: `asked for ${url.search}`}),
    'GET /v1/nodes': () => undefined,
    'GET /v1/status': () => undefined,
    'GET /v1/monitor': (_request, response) => {
      response.write(`${JSON.stringify({time: '2026-01-01T00:00:01.5Z', node: 'n', type: 'lost', direction: 'unknown', source: {}, destination: {}, protocol: '', endpointId: 0, ifindex: 0, derivedFrom: [], bytes: 0, count: 4})}\n`);
    },
  }});
});

afterAll(async () => {
  await server.close();
  rmSync(bpfRoot, {recursive: true, force: true});
  rmSync(folder, {recursive: true, force: true});
});

describe('maps without an agent', () => {
  test('bpf ipmasq list, in every format', () => {
    expect(run('stentorctl', 'bpf', 'ipmasq', 'list')).toEqual({code: 0, out: 'PREFIX\n10.0.0.0/8\n20.1.1.0/24\n169.254.0.0/16\n', err: ''});
    expect(JSON.parse(run('stentorctl', 'bpf', 'ipmasq', 'ls', '-o', 'json').out)).toEqual(PREFIXES.map((prefix) => ({prefix})));
    expect(run('stentorctl', '-o', 'jsonl', 'bpf', 'ipmasq', 'list').out).toBe('{"prefix":"10.0.0.0/8"}\n{"prefix":"20.1.1.0/24"}\n{"prefix":"169.254.0.0/16"}\n');
    expect(run('stentorctl', 'bpf', 'ipmasq', 'list', '-o', 'yaml').out).toBe('- prefix: 10.0.0.0/8\n- prefix: 20.1.1.0/24\n- prefix: 169.254.0.0/16\n');
    expect(run('stentorctl', 'bpf', 'ipmasq', 'list', '-o', 'name').out).toBe('10.0.0.0/8\n20.1.1.0/24\n169.254.0.0/16\n');
  });

  test('policy, ipcache, conntrack, tunnels, maps', () => {
    const [entry] = JSON.parse(run('stentorctl', 'bpf', 'policy', 'list', '12', '-o', 'json').out) as readonly unknown[];
    expect(entry).toEqual({
      endpoint: 12, direction: 'ingress', identity: 301, labels: [], protocol: 6, port: 80, portPrefixLen: 16, deny: false, redirect: false, proxyPort: 0, precedence: 5, cookie: 9, derivedFrom: [],
    });
    expect(run('stentorctl', 'bpf', 'policy', 'list', '13').err).toContain('no policy map is set');
    expect(run('stentorctl', 'bpf', 'ipcache', 'list').out).toContain('10.98.2.0/24   unmanaged   10.1.8.10');
    expect(JSON.parse(run('stentorctl', 'bpf', 'ct', 'list', '-o', 'json').out)).toMatchObject([{direction: 'in', protocol: 'TCP', source: '10.98.2.7', destinationPort: 80, packets: 3, sourceIdentity: 301}]);
    expect(run('stentorctl', 'bpf', 'tunnel', 'list').out).toContain('10.98.2.0/24   10.1.8.10');
    expect(JSON.parse(run('stentorctl', 'map', 'list', '-o', 'json').out)).toHaveLength(MAPS.size);
    expect(run('stentorctl', 'map', 'get', 'cilium_ep_config').out).toMatch(/12 +identity=300 ipv4=10.98.1.5/);
    for (const verb of [['bpf', 'nat', 'list'], ['bpf', 'metrics', 'list'], ['bpf', 'endpoint', 'list'], ['drops']]) expect(run('stentorctl', ...verb).code).toBe(0);
  });

  test('why: every gate on the way in, and the first that is closed', () => {
    interface Answer {
      readonly passes: boolean | null;
      readonly closed: {readonly gate: string; readonly reason: number; readonly next: string} | null;
      readonly gates: readonly {readonly gate: string; readonly detail: string}[];
    }
    const why = (...words: readonly string[]): {readonly code: number | null; readonly answer: Answer} => {
      const {code, out} = run('stentorctl', 'why', ...words, '--pinned', '-o', 'json');
      return {code, answer: JSON.parse(out) as Answer};
    };
    const open = why('10.98.2.7', '10.98.1.5', '80/TCP');
    expect({code: open.code, passes: open.answer.passes}).toEqual({code: 0, passes: true});
    expect(open.answer.gates.map(({gate}) => gate)).toEqual(['endpoint', 'policy-map', 'identity', 'conntrack', 'ingress-policy']);
    expect(open.answer.gates.map(({detail}) => detail).join('\n')).toMatch(/identity 301 by 10\.98\.2\.7\/32, behind 10\.1\.8\.10\n1 of this flow[^]*an entry allows 80\/TCP from identity 301 \(L3-L4\)/);
    expect(why('10.98.2.7', '10.98.1.5', '81/TCP')).toMatchObject({code: 1, answer: {passes: false, closed: {gate: 'ingress-policy', reason: 133, next: expect.stringContaining('policy explain')}}});
    expect(why('10.98.2.8', '10.98.1.5', '80/TCP')).toMatchObject({code: 1, answer: {closed: {gate: 'ingress-policy', reason: 133}}});
    // The way out without an agent: its policy is known, the route is not.
    const away = why('10.98.1.5', '10.98.2.7', '80/TCP');
    expect(away).toMatchObject({code: 1, answer: {closed: {gate: 'egress-policy', reason: 133}}});
    expect(away.answer.gates.map(({gate}) => gate)).toEqual(['endpoint', 'policy-map', 'identity', 'conntrack', 'egress-policy', 'delivery', 'route', 'masquerade']);
    expect(run('stentorctl', 'why', '10.98.2.7', '10.98.1.5', '81/TCP', '--pinned').out).toMatch(/^10\.98\.2\.7 -> 10\.98\.1\.5 81\/TCP: Policy denied \(133\) at ingress-policy[^]*^Next: allow it in a rule[^]*^NODE +SIDE +GATE/m);
    expect(run('stentorctl', 'why', '10.9.9.9', '10.9.9.8', '--pinned')).toMatchObject({code: 1, err: expect.stringContaining('neither 10.9.9.9 nor 10.9.9.8 is a pod')});
    expect(run('stentorctl', 'why', '10.98.1.5', 'fd00::1', '--pinned').code).toBe(2);
    expect(run('stentorctl', 'why', '10.98.2.7', '10.98.1.5', 'x/TCP', '--pinned').code).toBe(2);
  });

  test('what the agent would tell is told from the maps, and the exit code says that it is a part', () => {
    const result = run('stentorctl', 'endpoint', 'list', '-o', 'json');
    expect(result.code).toBe(5);
    expect(result.err).toContain('cannot reach the agent');
    expect(JSON.parse(result.out)).toMatchObject([{id: 12, identity: 300, ipv4: '10.98.1.5', policy: {ingress: true, egress: false}}]);
    expect(run('stentorctl', 'endpoint', 'list', '--pinned').code).toBe(0);
    const status = run('stentorctl', 'status');
    expect(status.code).toBe(3);
    expect(status.out).toContain(`goes on with ${MAPS.size} of ${MAPS.size} maps pinned`);
  });

  test('wrong use and missing things have their exit codes', () => {
    expect(run('stentorctl', 'nonsense').code).toBe(2);
    expect(run('stentorctl', 'map', 'get', 'nonsense')).toMatchObject({code: 2, err: expect.stringContaining('no such map: nonsense; there are cilium_ipcache')});
    expect(run('stentorctl', 'bpf', 'ipcache', 'list', '--bpf-root', '/nowhere').code).toBe(3);
    expect(run('stentorctl', 'bgp', 'peers').code).toBe(3);
    expect(run('stentorctl', '--help').code).toBe(0);
    expect(run('stentorctl', 'completion', 'bash').out).toMatch(/^complete .*-F _stentorctl stentorctl/m);
  });
});

describe('with an agent', () => {
  test('labels and objects are added to numbers', async () => {
    const {out, code} = await ask('stentorctl.js', 'bpf', 'policy', 'list');
    expect(code).toBe(0);
    expect(out).toMatch(/12 +allow +ingress +301 +80\/TCP +k8s:app=client +CiliumNetworkPolicy default\/p rule 0/);
  });

  test('endpoints, a refusal, a silence, a stream', async () => {
    expect((await ask('stentorctl.js', 'endpoint', 'get', 'default/server')).out).toContain('"identity": 300');
    expect((await ask('stentorctl.js', 'endpoint', 'get', '99')).code).toBe(1);
    expect(await ask('stentorctl.js', 'bgp', 'routes', 'advertised', '--peer', '10.0.0.1')).toMatchObject({code: 3, err: expect.stringContaining('asked for ?type=advertised&family=ipv4-unicast&peer=10.0.0.1')});
    expect(await ask('stentorctl.js', 'bgp', 'routes', '--timeout', '0')).toMatchObject({code: 2});
    expect(await ask('cilium.js', 'node', 'list', '--timeout', '0.3')).toMatchObject({code: 4});
    const child = spawn(process.execPath, [join(ROOT, 'dist/cli/stentorctl.js'), 'monitor', '--types', 'drop'], {env: {...process.env, STENTOR_API_SOCKET: socket}});
    expect((await new Promise<Buffer>((resolve) => child.stdout.once('data', resolve))).toString()).toBe('00:00:01.5Z !! 4 events lost\n');
    child.kill('SIGINT');
    expect(await new Promise((resolve) => child.once('close', resolve))).toBe(0);
  });
});

describe('the cilium shim', () => {
  test('its tables come from the same maps', async () => {
    expect((await ask('cilium.js', 'bpf', 'ipmasq', 'list')).out).toBe('IP PREFIX/ADDRESS   \n10.0.0.0/8          \n20.1.1.0/24         \n169.254.0.0/16      \n');
    expect((await ask('cilium.js', 'bpf', 'tunnel', 'list')).out).toContain('10.98.2.0   10.1.8.10:0');
    expect((await ask('cilium.js', 'map', 'get', 'cilium_ipcache_v2')).out).toContain('10.98.2.0/24   identity=3 encryptkey=0 tunnelendpoint=10.1.8.10 flags=hastunnel');
    expect((await ask('cilium.js', 'endpoint', 'list')).out).toMatch(/12 +Enabled +Disabled +300 +k8s:app=server +10.98.1.5 +ready/);
    expect((await ask('cilium.js', 'bpf', 'policy', 'get', '12')).out).toMatch(/Allow +Ingress +k8s:app=client +80\/TCP +NONE +disabled +0 +0 +24/);
    expect((await ask('cilium.js', 'bpf', 'ipmasq', 'list', '-o', 'json')).out).toBe(`${JSON.stringify(PREFIXES, null, 2)}\n`);
  });
});

// 0.3 s on a quiet machine is about ten bare starts of Node; as a ratio it also holds on a busy one.
test('a call costs few times what Node costs to start', () => {
  const timed = (call: () => unknown): number => {
    const start = performance.now();
    call();
    return performance.now() - start;
  };
  const pairs = Array.from({length: 7}, () => ({
    bare: timed(() => spawnSync(process.execPath, ['-e', '0'])), call: timed(() => run('stentorctl', 'bpf', 'ipmasq', 'list')),
  }));
  const bare = Math.min(...pairs.map((pair) => pair.bare));
  const call = Math.min(...pairs.map((pair) => pair.call));
  console.info(`stentorctl bpf ipmasq list: ${Math.round(call)} ms, Node alone ${Math.round(bare)} ms`);
  expect(call / bare).toBeLessThan(8);
});
