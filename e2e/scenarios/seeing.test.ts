// What there is to see, through the front door: `make lab` in a process of its own, every read command through `./lab` as a table and as JSON,
// also with the agent dead; metrics; the monitor; and `make lab-down`, which leaves nothing.

import {spawn, type ChildProcess} from 'node:child_process';
import {cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {createInterface} from 'node:readline';
import {afterAll, beforeAll, describe, expect, test} from '@jest/globals';
import {leftovers} from '../harness/cleanup.js';
import {ARTICLE_ENTRIES} from '../harness/checks/masquerade.js';
import {ROOT, RunDirectory} from '../harness/run-dir.js';
import {must, run, until, type RunResult} from '../harness/shell.js';
import {tcp, udp, type Place} from '../harness/traffic.js';
import {getText} from '../harness/unix-http.js';

const MINUTE = 60_000;
/** Runs deathstar, ywing and one pod of the DaemonSet. */
const NODE = 'cilium-bgp-worker2';
const DENY = JSON.stringify({
  apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', metadata: {name: 'deny-alliance', namespace: 'default'},
  spec: {endpointSelector: {matchLabels: {class: 'deathstar'}}, ingressDeny: [{fromEndpoints: [{matchLabels: {org: 'alliance'}}]}]},
});

interface LabInfo {
  readonly prefix: string;
  readonly path: string;
  readonly operatorSocket: string;
  readonly nodes: Readonly<Record<string, {readonly agentSocket: string; readonly metricsSocket: string; readonly bpfRoot: string}>>;
  readonly places: Readonly<Record<string, string>>;
  readonly addresses: Readonly<Record<string, string>>;
}

/** Of its own, so that neither a lab of the user nor one of another test is met. */
const base = mkdtempSync(join(tmpdir(), 'stentor-seeing-'));
const runs = join(base, 'runs');
const env = {STENTOR_LAB_RUNS: runs};
let info: LabInfo;

function runLab(command: string): Promise<RunResult> {
  return run([join(ROOT, 'tools', 'run-lab.sh'), command], {env, timeoutMs: 3 * MINUTE});
}

function front(words: string, input?: string): Promise<RunResult> {
  return run([join(ROOT, 'lab'), ...words.split(' ')], {env, ...(input === undefined ? {} : {input})});
}

async function out(words: string, input?: string): Promise<string> {
  const result = await front(words, input);
  if (result.code !== 0) throw new Error(`./lab ${words}: ${result.code ?? 'killed'}: ${result.stderr}${result.stdout}`);
  return result.stdout;
}

async function json(words: string): Promise<unknown> {
  return JSON.parse(await out(`${words} -o json`));
}

function place(name: string): Place {
  const netnsPath = info.places[name];
  if (netnsPath === undefined) throw new Error(`the lab has no ${name}`);
  return {netnsPath};
}

function addressOf(name: string): string {
  return info.addresses[name] ?? '';
}

beforeAll(async () => {
  const up = await runLab('up');
  expect(up).toMatchObject({code: 0, stdout: expect.stringContaining('The lab is up.')});
  info = JSON.parse(readFileSync(join(runs, 'current', 'lab.json'), 'utf8')) as LabInfo;
  await out('kubectl apply -f e2e/manifests/overview/l3-l4-policy.yaml');
  await out('kubectl apply -f -', DENY);
  await out('kubectl create configmap ip-masq-agent --from-file=e2e/manifests/ip-masq/agent-config -n kube-system');
  await out('kubectl wait --for=condition=stentor.io/Enforced cnp/rule1 cnp/deny-alliance --timeout=20s');
  // Something to see in the connection and translation maps.
  expect(await tcp(place('tiefighter'), addressOf('deathstar'), 80)).toMatchObject({result: 'ok'});
  expect(await tcp(place('ywing'), '20.1.1.1', 80)).toMatchObject({result: 'ok'});
}, 4 * MINUTE);

afterAll(async () => {
  if (existsSync(join(runs, 'current'))) await runLab('down');
  rmSync(base, {recursive: true, force: true});
}, 2 * MINUTE);

const some = (fields: Readonly<Record<string, unknown>>): unknown => expect.arrayContaining([expect.objectContaining(fields)]);
const lines = (text: string): readonly string[] => text.split('\n').map((line) => line.trim()).filter((line) => line !== '');

/** Words, what the table must show, and what the JSON must hold. */
const READS: readonly (readonly [string, readonly RegExp[], () => unknown])[] = [
  ['status', [/Status:\s+OK/, /connected to 10\.1\.1\.10/, /IPAM:\s+3\/253/, /Endpoints:\s+3\/3 ready/, /AS 65008: 1\/1 established/],
    () => expect.objectContaining({ok: true, node: NODE, routingMode: 'native', endpoints: {total: 3, ready: 3}, errors: []})],
  ['endpoint list', [/^ENDPOINT\s+POD/, /default\/deathstar\s+enforced\s+open/, /default\/ywing\s+open\s+open/],
    () => some({namespace: 'default', name: 'deathstar', ipv4: addressOf('deathstar'), policy: {ingress: true, egress: false}, state: 'ready'})],
  ['identity list', [/1\s+reserved:host/, /k8s:class=deathstar/, /reserved:kube-apiserver/], () => some({id: 1, labels: ['reserved:host']})],
  ['node list', [/cilium-bgp-control-plane\s+10\.1\.5\.10\s+10\.98\.\d+\.0\/24/], () => some({name: NODE, ipv4: '10.1.8.10'})],
  ['bpf policy list', [/deny\s+ingress.*CiliumNetworkPolicy default\/deny-alliance rule 0/, /allow\s+ingress.*80\/TCP.*CiliumNetworkPolicy default\/rule1 rule 0/],
    () => some({direction: 'ingress', deny: true, derivedFrom: some({kind: 'CiliumNetworkPolicy', namespace: 'default', name: 'deny-alliance', ruleIndex: 0})})],
  ['bpf ipcache list', [/^PREFIX\s+IDENTITY/, /10\.1\.8\.10\/32\s+host/, /0\.0\.0\.0\/0\s+world/], () => some({prefix: `${addressOf('xwing')}/32`, labels: expect.arrayContaining(['k8s:class=xwing'])})],
  ['bpf ct list', [/^PROTO\s+DIR/, /TCP\s+in\s+10\.98\.\d+\.\d+:\d+ -> 10\.98\.\d+\.\d+:80/],
    () => some({protocol: 'TCP', direction: 'in', source: addressOf('tiefighter'), destination: addressOf('deathstar'), destinationPort: 80})],
  ['bpf nat list', [/TCP\s+out\s+10\.98\.\d+\.\d+:\d+ -> 20\.1\.1\.1:80\s+from 10\.1\.8\.10:/],
    () => some({direction: 'out', source: addressOf('ywing'), destination: '20.1.1.1', destinationPort: 80, toAddress: '10.1.8.10'})],
  ['bpf ipmasq list', [/^PREFIX/, /11\.11\.248\.0\/21/], () => ARTICLE_ENTRIES.map((prefix) => ({prefix}))],
  ['bpf endpoint list', [/10\.98\.\d+\.1\s+host/], () => some({ip: addressOf('ywing'), host: false})],
  ['bpf metrics list', [/Success\s+ingress/], () => some({reasonText: 'Success', direction: 'ingress'})],
  ['map list', [/cilium_ipcache\s+lpm_trie/, /cilium_policy\s+array_of_maps/], () => some({name: 'cilium_ipmasq_v4', entries: 12})],
  ['map get cilium_lxc', [/KEY\s+VALUE/], () => expect.arrayContaining([expect.objectContaining({key: addressOf('deathstar')})])],
  ['masq list', [/^10\.0\.0\.0\/8\s+native-routing-cidr/, /^11\.8\.37\.4\/32\s+ip-masq-agent\s+configmap/], () => some({prefix: '169.254.0.0/16', exclusion: 'ip-masq-agent'})],
  ['masq check default/ywing 20.1.1.1', [/masqueraded as 10\.1\.8\.10 \(net0\)/, /8\s+ip-masq-agent\s+no/], () => expect.objectContaining({masqueraded: true, decidedBy: 'local-pod', source: addressOf('ywing')})],
  ['masq check default/ywing 11.11.249.7', [/not masqueraded: ip-masq-agent 11\.11\.248\.0\/21/, /yes, decides\s+11\.11\.248\.0\/21/], () => expect.objectContaining({masqueraded: false, decidedBy: 'ip-masq-agent', prefix: '11.11.248.0/21'})],
  ['masq status', [/^IPv4:\s+bpf, but not towards 10\.0\.0\.0\/8/, /Exceptions:\s+12 installed/, /Uplinks:\s+net0 10\.1\.8\.10/], () => expect.objectContaining({enabled: true, installed: 12, hold: null})],
  ['bgp peers', [/65008\s+65008\s+10\.1\.8\.1:179\s+established/, /ipv4\/unicast/], () => some({localAsn: 65008, address: '10.1.8.1', session: 'established'})],
  ['bgp routes', [/65008\s+10\.98\.\d+\.0\/24/], () => some({vrouter: 65008, nextHop: '0.0.0.0'})],
  ['bgp routes advertised', [/65008\s+10\.1\.8\.1\s+10\.98\.\d+\.0\/24\s+10\.1\.8\.10/], () => some({vrouter: 65008, peer: '10.1.8.1', nextHop: '10.1.8.10'})],
  ['policy status', [/CiliumNetworkPolicy\s+default\s+rule1\s+True\s+True\s+Enforced\s+1\/1/], () => some({kind: 'CiliumNetworkPolicy', name: 'deny-alliance', valid: 'True', enforced: 'True'})],
  ['state diff', [/cilium_ipcache\s+0\s+0\s+0\s+same/, /cilium_policy\s+0\s+0\s+0\s+same/],
    () => some({name: 'cilium_policy', missing: [], different: [], extra: []})],
];

/** Cilium's own words and layouts. */
const SHIM: readonly (readonly [string, readonly RegExp[], () => unknown])[] = [
  ['status', [/Kubernetes:\s+Ok/, /IPAM:\s+IPv4: 3\/253/, /Routing:\s+Network: Native/, /Masquerading:\s+BPF/], () => expect.objectContaining({ok: true})],
  ['bgp peers', [/^Local AS\s+Peer AS\s+Peer Address\s+Session/, /65008\s+65008\s+10\.1\.8\.1:179\s+established/], () => some({'peer-address': '10.1.8.1', 'session-state': 'established'})],
  ['bgp routes available ipv4 unicast', [/^VRouter\s+Prefix\s+NextHop/, /65008\s+10\.98\.\d+\.0\/24\s+0\.0\.0\.0/], () => some({'router-asn': 65008})],
  ['bgp routes advertised ipv4 unicast peer 10.1.8.1', [/65008\s+10\.98\.\d+\.0\/24\s+10\.1\.8\.10/], () => some({neighbor: '10.1.8.1'})],
  ['bpf ipmasq list', [/^IP PREFIX\/ADDRESS/, /11\.8\.37\.4\/32/], () => ARTICLE_ENTRIES],
  ['node list', [/^Name\s+IPv4 Address\s+Endpoint CIDR/, new RegExp(`${NODE}\\s+10\\.1\\.8\\.10\\s+10\\.98\\.\\d+\\.0/24\\s+local`)], () => some({name: NODE})],
  ['map get cilium_ipcache', [/^Key\s+Value\s+State/, /10\.1\.8\.10\/32\s+identity=1 .*sync/], () => ({path: expect.stringContaining('cilium_ipcache'), cache: some({key: '0.0.0.0/0'})})],
  ['endpoint list', [/^ENDPOINT\s+POLICY \(ingress\)/, /Enabled\s+Disabled/], () => some({status: expect.objectContaining({state: 'ready'})})],
  ['bpf ipcache list', [/^IP PREFIX\/ADDRESS\s+IDENTITY/], () => expect.objectContaining({'0.0.0.0/0': [expect.stringContaining('identity=2')]})],
];

describe('stentorctl', () => {
  test.each(READS)('%s', async (words, table, value) => {
    const text = await out(`stentorctl --node ${NODE} ${words}`);
    for (const wanted of table) expect(text).toMatch(new RegExp(wanted.source, 'm'));
    expect(await json(`stentorctl --node ${NODE} ${words}`)).toEqual(value());
  }, MINUTE);
});

describe('cilium', () => {
  test.each(SHIM)('%s', async (words, table, value) => {
    const text = await out(`cilium --node ${NODE} ${words}`);
    for (const wanted of table) expect(text).toMatch(new RegExp(wanted.source, 'm'));
    expect(await json(`cilium --node ${NODE} ${words}`)).toEqual(value());
  }, MINUTE);
});

interface Why {
  readonly passes: boolean | null;
  readonly closed: {readonly gate: string; readonly reason: number | null; readonly next: string; readonly derivedFrom: readonly {readonly kind: string; readonly name: string}[]} | null;
  readonly gates: readonly {readonly node: string; readonly gate: string; readonly detail: string}[];
}

describe('why', () => {
  const peers = (): string => Object.values(info.nodes).map(({bpfRoot, agentSocket}) => `--peer ${bpfRoot},${agentSocket}`).join(' ');
  const why = async (words: string): Promise<{readonly code: number | null; readonly answer: Why}> => {
    const {code, stdout, stderr} = await front(`stentorctl --node ${NODE} why ${words} -o json`);
    if (stdout === '') throw new Error(stderr);
    return {code, answer: JSON.parse(stdout) as Why};
  };

  test('each pair of pods on each port: what it says is what packets do', async () => {
    const clients = ['tiefighter', 'xwing', 'ywing', 'myservice'];
    for (const client of clients) {
      for (const port of [80, 81]) {
        const {code, answer} = await why(`default/${client} default/deathstar ${port}/TCP ${peers()}`);
        const {result} = await tcp(place(client), addressOf('deathstar'), port, {timeoutMs: 300});
        // Nobody listens on 81: a packet that gets in is refused.
        expect({client, port, passes: answer.passes, code}).toEqual({client, port, passes: result === 'ok' || result === 'refused', code: answer.passes === true ? 0 : 1});
      }
    }
    const names = (answer: Why): readonly string[] => (answer.closed?.derivedFrom ?? []).map(({kind, name}) => `${kind} ${name}`);
    const denied = (await why('default/ywing default/deathstar 80/TCP')).answer;
    expect(denied.closed).toMatchObject({gate: 'ingress-policy', reason: 181, next: expect.stringContaining('a deny is above every allow')});
    expect(names(denied)).toEqual(['CiliumNetworkPolicy deny-alliance']);
    const isolated = (await why(`default/myservice default/deathstar 80/TCP ${peers()}`)).answer;
    expect(isolated.closed).toMatchObject({gate: 'ingress-policy', reason: 133, next: expect.stringContaining('stentorctl policy explain')});
    expect(names(isolated)).toContain('CiliumNetworkPolicy rule1');
  }, MINUTE);

  test('the way out: route and masquerading; a pod that is not there; a node that is not looked at', async () => {
    const {code, answer} = await why('default/ywing 20.1.1.1 80/TCP');
    expect({code, passes: answer.passes}).toEqual({code: 0, passes: true});
    expect(answer.gates.map(({gate, detail}) => `${gate}: ${detail}`)).toEqual(expect.arrayContaining([
      expect.stringMatching(/^route: 20\.1\.1\.1 by net0 via 10\.1\.8\.1/), expect.stringMatching(/^masquerade: as 10\.1\.8\.10, \d+ translations/),
    ]));
    const gone = addressOf('ywing').replace(/\.\d+$/, '.200');
    expect((await why(`default/ywing ${gone} 80/TCP`)).answer.closed).toMatchObject({gate: 'delivery', reason: 151});
    const other = await why(`default/ywing ${addressOf('xwing')} 80/TCP`);
    expect({code: other.code, last: other.answer.gates.at(-1)?.gate}).toEqual({code: 5, last: 'other-node'});
    expect(await out(`stentorctl --node ${NODE} why default/ywing 20.1.1.1 80/TCP`)).toMatch(/every gate is open[^]*^\S+\s+egress\s+egress-policy\s+yes/m);
    expect((await front(`stentorctl --node ${NODE} why 10.9.9.9 10.9.9.8`)).code).toBe(1);
  }, MINUTE);
});

describe('masq', () => {
  const masq = async (): Promise<readonly {readonly node: string; readonly revision: string; readonly state: string; readonly reason: string}[]> =>
    JSON.parse((await front(`stentorctl --node ${NODE} masq status -o json --operator ${info.operatorSocket}`)).stdout) as Awaited<ReturnType<typeof masq>>;
  const states = async (wanted: string): Promise<Awaited<ReturnType<typeof masq>>> => until(`all nodes are ${wanted}`, {timeoutMs: 10_000}, async () => {
    const rows = await masq();
    if (rows.length === 0 || !rows.every(({state}) => state === wanted)) throw new Error(JSON.stringify(rows));
    return rows;
  });
  const config = (text: string): Promise<string> => out('kubectl apply -f -', JSON.stringify({apiVersion: 'v1', kind: 'ConfigMap', metadata: {name: 'ip-masq-agent', namespace: 'kube-system'}, data: {config: text}}));

  test('status of every node; a broken ConfigMap keeps the old list on all of them and says so; a good one replaces it', async () => {
    const before = await states('installed');
    expect(new Set(before.map(({revision}) => revision)).size).toBe(1);
    expect(before.map(({node}) => node)).toContain(NODE);
    expect(await json(`stentorctl --node ${NODE} masq status`)).toMatchObject({revision: before[0]?.revision});

    await config('nonMasqueradeCIDRs: [not-a-prefix]');
    const held = await states('held');
    expect(held[0]?.reason).toContain('nonMasqueradeCIDRs[0] is not a prefix: "not-a-prefix"');
    expect((await front(`stentorctl --node ${NODE} masq status --operator ${info.operatorSocket}`)).code).toBe(1);
    expect(await out(`stentorctl --node ${NODE} masq status`)).toMatch(/Held:\s+nonMasqueradeCIDRs\[0\] is not a prefix.*: what was installed before is kept/);
    expect(await json(`stentorctl --node ${NODE} bpf ipmasq list`)).toEqual(ARTICLE_ENTRIES.map((prefix) => ({prefix})));

    // JSON, host bits, both link-local switches.
    await config('{"nonMasqueradeCIDRs": ["20.1.1.9/24", "20.1.1.0/24"], "masqLinkLocal": true, "masqLinkLocalIPv6": true}');
    const after = await states('installed');
    expect(after[0]?.revision).not.toBe(before[0]?.revision);
    expect(await json(`stentorctl --node ${NODE} bpf ipmasq list`)).toEqual([{prefix: '20.1.1.0/24'}]);
    await out('kubectl delete configmap ip-masq-agent -n kube-system');
    const listed = (count: number): Promise<boolean> => until(`${count} prefixes`, {timeoutMs: 10_000}, async () => {
      const rows = await json(`stentorctl --node ${NODE} bpf ipmasq list`) as readonly unknown[];
      if (rows.length !== count) throw new Error(JSON.stringify(rows));
      return true;
    });
    // The eleven defaults and link-local; then as before.
    await listed(12);
    expect(await json(`stentorctl --node ${NODE} masq status`)).toMatchObject({source: 'defaults', hold: null});
    await out('kubectl create configmap ip-masq-agent --from-file=e2e/manifests/ip-masq/agent-config -n kube-system');
    await until('the list is that of the beginning', {timeoutMs: 10_000}, async () => {
      const rows = await states('installed');
      if (rows[0]?.revision !== before[0]?.revision) throw new Error(JSON.stringify(rows));
      return true;
    });
  }, MINUTE);
});

test('control: state diff sees an entry that somebody else took out of a policy map', async () => {
  const pinned = join(info.nodes[NODE]?.bpfRoot ?? '', 'maps', 'cilium_policy');
  const slots = JSON.parse(await must(['bpftool', '-j', 'map', 'dump', 'pinned', pinned])) as readonly {readonly key: readonly string[]; readonly inner_map_id?: number; readonly value?: readonly string[]}[];
  const inner = slots.map((slot) => slot.inner_map_id ?? Number.parseInt([...(slot.value ?? [])].reverse().map((byte) => byte.slice(2)).join(''), 16)).filter((id) => id > 0);
  const [first] = inner;
  if (first === undefined) throw new Error('no policy map is set');
  const [entry] = JSON.parse(await must(['bpftool', '-j', 'map', 'dump', 'id', String(first)])) as readonly {readonly key: readonly string[]; readonly value: readonly string[]}[];
  if (entry === undefined) throw new Error('the policy map is empty');
  await must(['bpftool', 'map', 'delete', 'id', String(first), 'key', ...entry.key]);
  const result = await front(`stentorctl --node ${NODE} state diff`);
  await must(['bpftool', 'map', 'update', 'id', String(first), 'key', ...entry.key, 'value', ...entry.value]);
  // Endpoints of one identity share a map, and each of them misses the entry.
  const users = inner.filter((id) => id === first).length;
  expect(result).toMatchObject({code: 1, stdout: expect.stringMatching(new RegExp(`cilium_policy\\s+${users}\\s+0\\s+0\\s+differs`))});
  expect((await front(`stentorctl --node ${NODE} state diff`)).code).toBe(0);
}, MINUTE);

describe('kubectl', () => {
  test('columns', async () => {
    const [head = '', ...rows] = lines(await out('kubectl get cnp'));
    expect(head).toMatch(/^NAME\s+AGE\s+VALID\s+ENFORCED$/);
    expect(rows.sort()).toEqual([expect.stringMatching(/^deny-alliance\s+\S+\s+True\s+True$/), expect.stringMatching(/^rule1\s+\S+\s+True\s+True$/)]);
    expect(await out('kubectl get ciliumendpoint deathstar')).toContain(addressOf('deathstar'));
    expect(await out('kubectl get ciliumnode')).toMatch(/cilium-bgp-worker\s+10\.98\.\d+\.1\s+10\.1\.5\.11/);
    expect(lines(await out('kubectl get ciliumidentities')).length).toBeGreaterThan(6);
  }, MINUTE);

  test('crds/ applies server-side over what the operator installed', async () => {
    const text = await out('kubectl apply --server-side --validate=strict -f crds/');
    expect(lines(text)).toHaveLength(readdirSync(join(ROOT, 'crds')).filter((name) => name.endsWith('.yaml')).length);
    expect(text).not.toContain('conflict');
  }, MINUTE);
});

/** Prometheus text → value by `name{label="x",…}` with labels sorted; comments dropped. */
async function metrics(socket: string): Promise<ReadonlyMap<string, number>> {
  const text = await getText(socket, '/metrics');
  return new Map(lines(text).filter((line) => !line.startsWith('#')).map((line) => {
    const [, name = '', labels = '', value = ''] = /^([a-z_0-9]+)(?:\{(.*)\})? (\S+)$/i.exec(line) ?? [];
    return [`${name}{${labels.split(/,(?=\w+=")/).sort().join(',')}}`, Number(value)];
  }));
}

describe('metrics', () => {
  const agent = (): Promise<ReadonlyMap<string, number>> => metrics(info.nodes[NODE]?.metricsSocket ?? '');

  test.each([
    ['Policy denied by denylist', 'xwing', 7],
    ['Policy denied', 'myservice', 5],
  ])('cilium_drop_count_total: %s counts the probes of %s', async (reason, client, probes) => {
    const key = `cilium_drop_count_total{direction="INGRESS",reason="${reason}"}`;
    const before = (await agent()).get(key) ?? 0;
    // One datagram each; the answer never comes.
    const results = await Promise.all(Array.from({length: probes}, () => udp(place(client), addressOf('deathstar'), 80, {timeoutMs: 300})));
    expect(new Set(results.map(({result}) => result))).toEqual(new Set(['timeout']));
    expect((await agent()).get(key)).toBe(before + probes);
  }, MINUTE);

  test('drops is equal to the drop counters, by reason and direction, and --watch shows what grows', async () => {
    const child = spawn(join(ROOT, 'lab'), ['stentorctl', '--node', NODE, 'drops', '--watch', '--interval', '0.2', '-o', 'jsonl'], {env: {...process.env, ...env}, stdio: ['ignore', 'pipe', 'ignore'], detached: true});
    const grown: {readonly reasonText: string; readonly packets: number}[] = [];
    createInterface({input: child.stdout}).on('line', (line) => grown.push(JSON.parse(line) as typeof grown[number]));
    try {
      await until('the drops are watched', {timeoutMs: 20_000}, async () => {
        await udp(place('myservice'), addressOf('deathstar'), 80, {timeoutMs: 100});
        return grown.some(({reasonText, packets}) => reasonText === 'Policy denied' && packets > 0) ? true : null;
      });
    } finally {
      if (child.pid !== undefined) process.kill(-child.pid, 'SIGTERM');
    }
    // Nothing of the lab is dropped by itself: both are read while the counters stand still.
    const rows = await json(`stentorctl --node ${NODE} drops`) as readonly {readonly node: string; readonly reasonText: string; readonly direction: string; readonly packets: number}[];
    const counters = [...await agent()].filter(([key, value]) => key.startsWith('cilium_drop_count_total{d') && value > 0);
    expect(new Map(rows.map(({reasonText, direction, packets}) => [`cilium_drop_count_total{direction="${direction.toUpperCase()}",reason="${reasonText}"}`, packets]))).toEqual(new Map(counters));
    expect(new Set(rows.map(({node}) => node))).toEqual(new Set([NODE]));
    expect(rows.length).toBeGreaterThan(1);
  }, MINUTE);

  test('of an agent: endpoints, policies, identities, BGP', async () => {
    const values = await agent();
    expect(values.get('cilium_endpoint{}')).toBe(3);
    expect(values.get('cilium_endpoint_state{endpoint_state="ready"}')).toBe(3);
    expect(values.get('cilium_policy{}')).toBeGreaterThan(0);
    expect(values.get('cilium_policy_endpoint_enforcement_status{enforcement="ingress"}')).toBe(1);
    expect(values.get('cilium_nodes_all_num{}')).toBe(4);
    expect(values.get('cilium_controllers_failing{}')).toBe(0);
    const sessions = [...values].filter(([key]) => key.startsWith('cilium_bgp_control_plane_session_state'));
    expect(sessions).toEqual([[expect.stringContaining('neighbor="10.1.8.1"'), 1]]);
    expect([...values].find(([key]) => key.startsWith('cilium_bgp_control_plane_advertised_routes{afi="ipv4"'))?.[1]).toBe(1);
  }, MINUTE);

  test('of the operator', async () => {
    const values = await metrics(info.operatorSocket);
    expect(values.get('stentor_operator_sessions{}')).toBe(4);
    expect(values.get('stentor_operator_policies_pending{}')).toBe(0);
    expect(values.get('stentor_operator_table_rows{table="pods"}')).toBe(9);
    expect(values.get('cilium_operator_process_resident_memory_bytes{}')).toBeGreaterThan(0);
  }, MINUTE);
});

describe('monitor', () => {
  /** Lines of a monitor that follows while `probe` is repeated, until one fits. */
  async function seen(words: string, probe: () => Promise<unknown>, fits: (line: string) => boolean): Promise<string> {
    const child: ChildProcess = spawn(join(ROOT, 'lab'), words.split(' '), {env: {...process.env, ...env}, stdio: ['ignore', 'pipe', 'ignore']});
    const found: string[] = [];
    if (child.stdout !== null) createInterface({input: child.stdout}).on('line', (line) => found.push(line));
    try {
      return await until('the monitor tells', {timeoutMs: 20_000}, async () => {
        await probe();
        return found.find(fits) ?? null;
      });
    } finally {
      child.kill('SIGTERM');
    }
  }
  const denied = (client: string) => (): Promise<unknown> => tcp(place(client), addressOf('deathstar'), 80, {timeoutMs: 200});

  test('a denied packet as JSON: reason, identities, 5-tuple, the policy that decided', async () => {
    const line = await seen(`stentorctl --node ${NODE} monitor --types drop -o jsonl`, denied('xwing'), (text) => text.includes(`"${addressOf('xwing')}"`));
    const identityOf = async (pod: string): Promise<number> => Number(await out(`kubectl get ciliumendpoint ${pod} -o jsonpath={.status.identity.id}`));
    expect(JSON.parse(line)).toMatchObject({
      type: 'drop', node: NODE, reason: 181, reasonText: 'Policy denied by denylist', direction: 'ingress', protocol: 'TCP',
      source: {identity: await identityOf('xwing'), ip: addressOf('xwing'), port: expect.any(Number), labels: expect.arrayContaining(['k8s:org=alliance'])},
      destination: {identity: await identityOf('deathstar'), ip: addressOf('deathstar'), port: 80, pod: 'default/deathstar'},
      derivedFrom: [{kind: 'CiliumNetworkPolicy', namespace: 'default', name: 'deny-alliance', ruleIndex: 0}],
    });
  }, MINUTE);

  test('as a line of text; where no rule allows it, it says so', async () => {
    const line = await seen(`stentorctl --node ${NODE} monitor --types drop`, denied('myservice'), (text) => text.includes(addressOf('myservice')));
    expect(line).toMatch(/xx drop \(Policy denied\) to endpoint \d+, .* identity \d+->\d+: \S+ -> \S+:80 \(default\/deathstar\) tcp isolated by .*CiliumNetworkPolicy default\/rule1 rule 0, no rule allows it/);
    const other = await seen(`cilium --node ${NODE} monitor --type drop`, denied('xwing'), (text) => text.includes(addressOf('xwing')));
    expect(other).toContain('by CiliumNetworkPolicy default/deny-alliance rule 0');
  }, MINUTE);
});

describe('./lab', () => {
  test('shell runs a command in a pod, a node, a router', async () => {
    const [shown] = JSON.parse(await out('shell tiefighter -- ip -j -4 address show eth0')) as readonly {readonly addr_info: readonly {readonly local: string}[]}[];
    expect(shown?.addr_info[0]?.local).toBe(addressOf('tiefighter'));
    expect(await out(`shell tiefighter -- curl -s -m 2 http://${addressOf('deathstar')}/`)).toContain(addressOf('tiefighter'));
    expect((await front(`shell xwing -- curl -s -m 1 http://${addressOf('deathstar')}/`)).code).toBe(28);
    expect(await out('shell leaf0 -- ip route')).toMatch(/10\.98\.\d+\.0\/24 via 10\.1\.5\.1[01]/);
    expect(lines(await out('address deathstar'))).toEqual([addressOf('deathstar')]);
    expect(await front('shell nobody -- true')).toMatchObject({code: 2, stderr: expect.stringContaining('there are:')});
  }, MINUTE);

  test('status and logs', async () => {
    const text = await out('status');
    expect(text).toMatch(/default\/deathstar\s+10\.98\.\d+\.\d+\s+cilium-bgp-worker2/);
    expect(text.match(/agent ok=true operator=true/g)).toHaveLength(4);
    expect(await out('logs operator')).toMatch(/in sync/);
    expect(await front('logs nothing')).toMatchObject({code: 2, stderr: expect.stringContaining('there are:')});
  }, MINUTE);
});

describe('with the agent killed', () => {
  const maps = ['policy', 'ipcache', 'ct', 'nat', 'ipmasq'];
  let before: ReadonlyMap<string, readonly string[]>;

  /** The keys of the rows; labels and origins are the agent's to give. */
  async function keys(): Promise<ReadonlyMap<string, readonly string[]>> {
    return new Map(await Promise.all(maps.map(async (map) => [map, lines(await out(`stentorctl --node ${NODE} bpf ${map} list -o name`)).toSorted()] as const)));
  }

  beforeAll(async () => {
    before = await keys();
    const records = lines(readFileSync(join(info.path, 'processes'), 'utf8')).map((line) => JSON.parse(line) as {readonly pid: number; readonly name: string});
    const agent = records.find(({name}) => name === `agent-${NODE}`);
    if (agent === undefined) throw new Error('the agent is not on record');
    process.kill(agent.pid, 'SIGKILL');
    await until('it is gone', {timeoutMs: 5_000}, async () => (await front(`stentorctl --node ${NODE} status`)).code === 0 ? null : true);
  }, MINUTE);

  test('bpf … list shows the same from the pinned maps', async () => {
    const after = await keys();
    // Connections come and go by themselves.
    for (const map of ['policy', 'ipcache', 'ipmasq']) expect(after.get(map)).toEqual(before.get(map));
    for (const map of maps) expect(after.get(map)?.length).toBeGreaterThan(0);
    expect(await json(`stentorctl --node ${NODE} bpf policy list`)).toEqual(some({direction: 'ingress', deny: true, derivedFrom: []}));
    expect(lines(await out(`cilium --node ${NODE} bpf ipmasq list`)).slice(1)).toEqual(ARTICLE_ENTRIES);
  }, MINUTE);

  test('endpoint list tells what the maps know and says that it is a part', async () => {
    expect(await front(`stentorctl --node ${NODE} endpoint list`)).toMatchObject({code: 5, stdout: expect.stringContaining(addressOf('deathstar')), stderr: expect.stringContaining('this is what the maps tell')});
  }, MINUTE);

  test('status says that the datapath goes on; it does', async () => {
    expect(await front(`stentorctl --node ${NODE} status`)).toMatchObject({code: 3, stdout: expect.stringMatching(/Agent:\s+does not answer[\s\S]*goes on with \d+ of \d+ maps/)});
    expect(await out('status')).toContain('the agent does not answer');
    expect(await tcp(place('tiefighter'), addressOf('deathstar'), 80)).toMatchObject({result: 'ok'});
    expect(await tcp(place('xwing'), addressOf('deathstar'), 80, {timeoutMs: 500})).toMatchObject({result: 'timeout'});
  }, MINUTE);
});

test('lab-down leaves nothing', async () => {
  // The run's own records go with it.
  const copy = new RunDirectory(info.prefix, join(base, 'records'));
  cpSync(info.path, copy.path, {recursive: true, filter: (source) => !source.includes('/etcd') && !source.endsWith('.sock') && !source.endsWith('.ctl')});
  expect((await leftovers(copy)).length).toBeGreaterThan(20);
  const down = await runLab('down');
  expect(down).toMatchObject({code: 0, stdout: `${info.prefix}: nothing is left\n`});
  expect(await leftovers(copy)).toEqual([]);
  expect(existsSync(info.path)).toBe(false);
  expect(await front('status')).toMatchObject({code: 3, stderr: expect.stringContaining('no lab is up')});
}, 2 * MINUTE);
