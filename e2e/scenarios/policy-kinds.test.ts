// Every kind of policy and of peer: what the policy library says of all flows between five pods in two namespaces, a node, the API server and the
// world, compared with packets. Beside the library each policy names some flows by hand, so that a shared mistake shows.

import {afterAll, afterEach, beforeAll, describe, expect, test} from '@jest/globals';
import type {KubeClient} from '../../lib/kube/client.js';
import * as bgp from '../harness/checks/bgp.js';
import {addressEnd, differences, expectations, flowsBetween, podEnd, type End, type Flow} from '../harness/checks/truth-table.js';
import {conditionsOf, ENFORCED, holds, watchUntil} from '../harness/enforced.js';
import {Lab} from '../harness/lab.js';
import {policyOracle} from '../harness/policy-oracle.js';
import {parseManifests} from '../harness/pod-store.js';
import {RunDirectory} from '../harness/run-dir.js';
import {until} from '../harness/shell.js';
import {API_ADDRESS, API_PORT, EXT_ADDRESS} from '../harness/topology.js';
import type {KnownKind} from '../../lib/kube/resources.js';

const MINUTE = 60_000;
const POD_SERVES = ['TCP/80', 'TCP/81', 'UDP/80', 'ICMP/8'];
let lab: Lab;
let client: KubeClient;
let flows: readonly Flow[];
const applied: {kind: string; namespace: string | null; name: string}[] = [];

function podManifest(namespace: string, name: string, spec: {node: string; labels: Readonly<Record<string, string>>; http: number}): object {
  const port = (number: number): object => ({containerPort: number, protocol: 'TCP', name: number === spec.http ? 'http' : 'alt'});
  return {
    apiVersion: 'v1', kind: 'Pod', metadata: {name, namespace, labels: {...spec.labels, test: 'kinds'}},
    spec: {nodeName: spec.node, terminationGracePeriodSeconds: 1, containers: [{name: 'c', image: 'lab/echo', ports: [port(80), port(81), {containerPort: 80, protocol: 'UDP'}]}]},
  };
}

const PODS = [
  podManifest('default', 'web', {node: 'cilium-bgp-worker2', labels: {app: 'web', tier: 'front'}, http: 80}),
  podManifest('default', 'db', {node: 'cilium-bgp-worker3', labels: {app: 'db', tier: 'back'}, http: 81}),
  podManifest('default', 'client', {node: 'cilium-bgp-worker', labels: {app: 'client', role: 'dev'}, http: 80}),
  podManifest('other', 'client', {node: 'cilium-bgp-control-plane', labels: {app: 'client', role: 'ops'}, http: 80}),
  podManifest('other', 'web', {node: 'cilium-bgp-worker2', labels: {app: 'web', tier: 'front'}, http: 80}),
];

beforeAll(async () => {
  lab = await Lab.start({api: 'real', leaf: 'bird', routingMode: 'native'}, RunDirectory.create('k'), () => undefined);
  if (lab.client === null) throw new Error('no API server');
  ({client} = lab);
  await lab.objects.apply(JSON.stringify({apiVersion: 'v1', kind: 'Namespace', metadata: {name: 'other', labels: {team: 'blue'}}}));
  await until('the namespace has its ServiceAccount', {timeoutMs: 20_000}, () => lab.kubectl(['get', 'serviceaccount', 'default', '-n', 'other']));
  for (const pod of PODS) await lab.objects.apply(JSON.stringify(pod));
  await bgp.applyPeering(lab);
  const pods = await lab.podsReady(['test', 'kinds'], PODS.length);
  expect(await bgp.leafRoutes(lab, 20_000)).toMatchObject({verdict: 'ok'});
  flows = flowsBetween([...pods.map((pod) => podEnd(pod, POD_SERVES)), ...outside()]);
  expect(flows.length).toBeGreaterThan(100);
  await open();
}, 3 * MINUTE);

/** Of a node only what it answers itself: pings. It sends to its own pod (as host) and to those of others (as remote-node). */
function outside(): readonly End[] {
  return [
    addressEnd('node', '10.1.5.11', {place: lab.node('cilium-bgp-worker'), serves: ['ICMP/8']}),
    addressEnd('apiserver', API_ADDRESS, {serves: [`TCP/${API_PORT}`], speaks: false}),
    addressEnd('world', EXT_ADDRESS, {place: lab.ext, serves: ['TCP/80', 'ICMP/8']}),
    addressEnd('20.1.1.1', '20.1.1.1', {serves: ['TCP/80']}),
    addressEnd('20.1.1.2', '20.1.1.2', {serves: ['TCP/80']}),
  ];
}

/** Without a policy everything passes: the state before each test, and the table's control. */
async function open(): Promise<void> {
  const everything = new Map(flows.map((flow) => [flow.text, true]));
  await until('everything passes', {timeoutMs: 40_000}, async () => {
    const found = await differences(flows, everything);
    if (found.length > 0) throw new Error(JSON.stringify(found.slice(0, 5)));
    return true;
  });
}

afterEach(async () => {
  for (const object of applied.splice(0)) await lab.objects.delete(object);
  await open();
}, MINUTE);

afterAll(async () => {
  expect(await lab.stop()).toEqual([]);
}, MINUTE);

async function apply(text: string): Promise<void> {
  await lab.objects.apply(text);
  for (const object of parseManifests(text)) {
    const kind = String(object['kind']) as KnownKind;
    const namespace = kind === 'CiliumClusterwideNetworkPolicy' ? null : object.metadata.namespace ?? 'default';
    applied.push({kind: kind.toLowerCase(), namespace, name: object.metadata.name});
    if (kind !== 'NetworkPolicy') await watchUntil(client, {kind, namespace, name: object.metadata.name}, 30_000, (item) => holds(item, ENFORCED, 'True'));
  }
}

interface ByHand {
  readonly allowed: readonly string[];
  readonly denied: readonly string[];
}

/** `isHard`: a client has seen Enforced, so the very first packet counts. */
async function compare({allowed, denied}: ByHand, isHard: boolean): Promise<void> {
  const expected = expectations(flows, await policyOracle(lab));
  expect({allowed: allowed.filter((text) => expected.get(text) !== true), denied: denied.filter((text) => expected.get(text) !== false)}).toEqual({allowed: [], denied: []});
  if (isHard) {
    expect(await differences(flows, expected)).toEqual([]);
    return;
  }
  await until('packets do what the library says', {timeoutMs: 30_000}, async () => {
    const found = await differences(flows, expected);
    if (found.length > 0) throw new Error(JSON.stringify(found.slice(0, 5)));
    return true;
  });
}

const CNP = 'apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: p, namespace: default}\n';
const CCNP = 'apiVersion: cilium.io/v2\nkind: CiliumClusterwideNetworkPolicy\nmetadata: {name: p}\n';
const NP = 'apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p, namespace: default}\n';
const WEB = 'endpointSelector: {matchLabels: {app: web}}';
const CLIENT = 'endpointSelector: {matchLabels: {app: client}}';

const CASES: readonly (readonly [string, string, ByHand])[] = [
  ['a default deny of one namespace', `${CNP}spec: {endpointSelector: {}, ingress: [{}]}`, {
    // Its own host enters an isolated pod (allow-localhost); another node does not.
    allowed: ['default/web -> other/web TCP/80', 'node -> default/client TCP/80', 'default/web -> 20.1.1.1 TCP/80'],
    denied: ['default/client -> default/web TCP/80', 'other/web -> default/web ICMP/8', 'node -> default/web TCP/80', 'world -> default/web TCP/80'],
  }],
  ['NetworkPolicy: namespaceSelector and podSelector, a port', `${NP}spec:
  podSelector: {matchLabels: {app: web}}
  ingress:
  - from: [{namespaceSelector: {matchLabels: {team: blue}}, podSelector: {matchLabels: {role: ops}}}]
    ports: [{port: 80, protocol: TCP}]`, {
    allowed: ['other/client -> default/web TCP/80', 'default/client -> other/web TCP/80', 'default/client -> default/db TCP/80'],
    denied: ['other/client -> default/web TCP/81', 'other/web -> default/web TCP/80', 'default/client -> default/web TCP/80', 'other/client -> default/web UDP/80'],
  }],
  ['NetworkPolicy: egress to an ipBlock with an exception, a named port and a port range', `${NP}spec:
  podSelector: {matchLabels: {app: client}}
  policyTypes: [Egress]
  egress:
  - to: [{ipBlock: {cidr: 0.0.0.0/0, except: [20.1.1.2/32]}}]
    ports: [{port: 79, endPort: 82, protocol: TCP}]
  - to: [{podSelector: {matchExpressions: [{key: tier, operator: In, values: [back, front]}]}}]
    ports: [{port: http, protocol: TCP}]`, {
    allowed: ['default/client -> 20.1.1.1 TCP/80', 'default/client -> default/web TCP/80', 'default/client -> default/db TCP/81', 'other/client -> 20.1.1.2 TCP/80'],
    // An ipBlock never means a pod; \`http\` is another number in db.
    denied: ['default/client -> 20.1.1.2 TCP/80', 'default/client -> default/db TCP/80', 'default/client -> default/web TCP/81', `default/client -> apiserver TCP/${API_PORT}`],
  }],
  ['matchExpressions and a range of ports', `${CNP}spec:
  endpointSelector: {matchExpressions: [{key: app, operator: In, values: [web, db]}]}
  ingress:
  - fromEndpoints: [{matchExpressions: [{key: role, operator: Exists}, {key: app, operator: NotIn, values: [db]}, {key: tier, operator: DoesNotExist}]}]
    toPorts: [{ports: [{port: "81", endPort: 90, protocol: TCP}]}]`, {
    allowed: ['default/client -> default/web TCP/81', 'default/client -> default/db TCP/81'],
    denied: ['default/client -> default/web TCP/80', 'default/db -> default/web TCP/81', 'other/client -> default/web TCP/81'],
  }],
  ['a named port at ingress, each pod its own number', `${CNP}spec:
  endpointSelector: {matchExpressions: [{key: tier, operator: Exists}]}
  ingress: [{toPorts: [{ports: [{port: http, protocol: TCP}]}]}]`, {
    allowed: ['other/client -> default/web TCP/80', 'other/client -> default/db TCP/81', 'world -> default/db TCP/81'],
    denied: ['other/client -> default/web TCP/81', 'other/client -> default/db TCP/80'],
  }],
  ['ingressDeny wins over an allow of everything', `${CNP}spec:
  ${WEB}
  ingress: [{fromEntities: [all]}]
  ingressDeny:
  - fromEndpoints: [{matchLabels: {role: dev}}]
    toPorts: [{ports: [{port: "80", protocol: ANY}]}]`, {
    allowed: ['default/client -> default/web TCP/81', 'default/client -> default/web ICMP/8', 'other/client -> default/web TCP/80', 'world -> default/web TCP/80'],
    denied: ['default/client -> default/web TCP/80', 'default/client -> default/web UDP/80'],
  }],
  ['egressDeny by CIDR within an allowed world', `${CNP}spec:
  ${CLIENT}
  egress: [{toEntities: [world, cluster]}]
  egressDeny: [{toCIDR: [20.1.1.0/31]}, {toEndpoints: [{matchLabels: {app: db}}]}]`, {
    allowed: ['default/client -> 20.1.1.2 TCP/80', 'default/client -> default/web TCP/80', 'default/client -> world TCP/80', 'other/client -> default/db TCP/80'],
    denied: ['default/client -> 20.1.1.1 TCP/80', 'default/client -> default/db TCP/80', 'default/client -> default/db ICMP/8'],
  }],
  ['a cluster-wide policy: one namespace only from itself', `${CCNP}spec:
  endpointSelector: {matchLabels: {"k8s:io.kubernetes.pod.namespace": other}}
  ingress: [{fromEndpoints: [{matchLabels: {"k8s:io.kubernetes.pod.namespace": other}}]}]`, {
    allowed: ['other/client -> other/web TCP/80', 'other/web -> default/web TCP/80'],
    denied: ['default/web -> other/web TCP/80', 'world -> other/web TCP/80', 'node -> other/client TCP/80'],
  }],
  ['peers of a namespace with labels', `${CCNP}spec:
  endpointSelector: {matchLabels: {app: db}}
  ingress: [{fromEndpoints: [{matchLabels: {"k8s:io.cilium.k8s.namespace.labels.team": blue}}]}]`, {
    allowed: ['other/client -> default/db TCP/80', 'other/web -> default/db UDP/80'],
    denied: ['default/client -> default/db TCP/80', 'world -> default/db TCP/80'],
  }],
  ['entities at ingress: remote-node and world', `${CNP}spec: {${WEB}, ingress: [{fromEntities: [remote-node]}, {fromEntities: [world], toPorts: [{ports: [{port: "81"}]}]}]}`, {
    allowed: ['node -> default/web TCP/80', 'world -> default/web TCP/81'],
    denied: ['world -> default/web TCP/80', 'default/client -> default/web TCP/80', 'default/client -> default/web TCP/81'],
  }],
  ['entities at egress: host and cluster', `${CNP}spec: {${CLIENT}, egress: [{toEntities: [host]}]}\n---\n${CNP.replace('name: p', 'name: q')}spec:
  endpointSelector: {matchLabels: {app: db}}
  egress: [{toEntities: [cluster]}]`, {
    allowed: ['default/client -> node ICMP/8', 'default/db -> node ICMP/8', 'default/db -> other/web TCP/80'],
    denied: ['default/client -> default/web TCP/80', 'default/db -> world TCP/80', 'default/client -> 20.1.1.1 TCP/80'],
  }],
  ['kube-apiserver: its address and nothing else', `${CNP}spec: {${CLIENT}, egress: [{toEntities: [kube-apiserver]}]}`, {
    allowed: [`default/client -> apiserver TCP/${API_PORT}`, 'default/web -> default/client TCP/80'],
    denied: ['default/client -> world TCP/80', 'default/client -> 20.1.1.1 TCP/80', 'default/client -> node ICMP/8', 'default/client -> default/web TCP/80'],
  }],
  ['ICMP echo, and nothing beside it', `${CNP}spec: {${WEB}, ingress: [{fromEndpoints: [{}], icmps: [{fields: [{type: EchoRequest, family: IPv4}]}]}]}`, {
    allowed: ['default/client -> default/web ICMP/8'],
    denied: ['default/client -> default/web TCP/80', 'other/client -> default/web ICMP/8', 'world -> default/web ICMP/8'],
  }],
];

describe('the library and the packets agree', () => {
  test.each(CASES)('%s', async (_what, text, byHand) => {
    await apply(text);
    await compare(byHand, !text.includes('kind: NetworkPolicy'));
  }, 2 * MINUTE);
});

test('an L7 rule: Valid=False with its path, an Event, and what it would have allowed is denied', async () => {
  const text = `${CNP}spec:
  ${WEB}
  ingress:
  - fromEndpoints: [{matchLabels: {app: client}}]
    toPorts: [{ports: [{port: "80", protocol: TCP}], rules: {http: [{method: POST, path: /v1/request-landing}]}}]`;
  await apply(text);
  const {object} = await watchUntil(client, {kind: 'CiliumNetworkPolicy', namespace: 'default', name: 'p'}, 20_000, (item) => holds(item, 'Valid', 'False'));
  expect(conditionsOf(object).find(({type}) => type === 'Valid')).toMatchObject({reason: 'UnsupportedL7', message: expect.stringMatching(/^spec\.ingress\[0\]\.toPorts\[0\]\.rules/)});
  await until('an Event', {timeoutMs: 10_000}, async () =>
    (await lab.kubectl(['get', 'events', '--field-selector', 'involvedObject.name=p,type=Warning', '-o', 'jsonpath={.items[*].message}'])).includes('toPorts[0].rules') ? true : null);
  await compare({allowed: ['other/client -> other/web TCP/80'], denied: ['default/client -> default/web TCP/80', 'default/client -> default/web TCP/81']}, true);
}, 2 * MINUTE);
