// Dual stack in the lab, native and through the tunnel: three nodes of two families, one of IPv6 alone; packets are the proof.

import {readFileSync} from 'node:fs';
import {join} from 'node:path';
import {afterAll, beforeAll, describe, expect, test} from '@jest/globals';
import {parse} from 'yaml';
import {Capture} from '../harness/capture.js';
import {Lab, type LabPod} from '../harness/lab.js';
import {RunDirectory} from '../harness/run-dir.js';
import {run, until} from '../harness/shell.js';
import {NODES} from '../harness/topology.js';
import {twin, WORLD6} from '../harness/topology6.js';
import {ping, seenAddress, tcp, udp, type Place} from '../harness/traffic.js';
import {getText} from '../harness/unix-http.js';

const MINUTE = 60_000;

const [FIRST, NEIGHBOUR, OTHER_RACK, ALONE] = NODES.map(({name}) => name) as [string, string, string, string];
const PODS = {client: FIRST, server: FIRST, neighbour: NEIGHBOUR, far: OTHER_RACK, alone: ALONE};

function podText(name: string, nodeName: string): string {
  return JSON.stringify({
    apiVersion: 'v1', kind: 'Pod', metadata: {name, namespace: 'default', uid: `uid-${name}`, labels: {app: name, suite: 'ipv6'}},
    spec: {nodeName, containers: [{name: 'main'}]},
  });
}

function policyText(name: string, spec: unknown): string {
  return JSON.stringify({apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', metadata: {name, namespace: 'default', uid: `uid-${name}`}, spec});
}

const of = (app: string): {matchLabels: Record<string, string>} => ({matchLabels: {app}});

function six(pod: LabPod): string {
  const address = pod.addresses.find((item) => item.includes(':'));
  if (address === undefined) throw new Error(`${pod.name} has no IPv6 address`);
  return address;
}

describe.each(['native', 'tunnel'] as const)('%s routing', (routingMode) => {
  let lab: Lab;
  const pod = (name: keyof typeof PODS): LabPod => lab.pod(name);
  const nodeOf = (name: keyof typeof PODS): Place => lab.node(PODS[name]);

  /** The client's address as the server saw it, or what happened instead. */
  async function seen(from: Place, address: string, kind: typeof tcp = tcp): Promise<string> {
    const result = await kind(from, address, 80, {timeoutMs: 400});
    return seenAddress(result) ?? result.result;
  }

  beforeAll(async () => {
    lab = await Lab.start({api: 'files', leaf: 'bird', routingMode, ipv6: true}, RunDirectory.create('6'), () => undefined);
    for (const [name, node] of Object.entries(PODS)) await lab.objects.apply(podText(name, node));
    await lab.podsReady(['suite', 'ipv6'], Object.keys(PODS).length, 20_000);
  }, MINUTE);

  afterAll(async () => {
    expect(await lab.stop()).toEqual([]);
  }, MINUTE);

  test('pods have an address of every family that their node has, and their objects say so', async () => {
    expect(pod('client').addresses).toEqual([expect.stringMatching(/^10\.98\.0\./), expect.stringMatching(/^fd00:10:98::/)]);
    expect(pod('alone').addresses).toEqual([expect.stringMatching(/^fd00:10:98:3::/)]);
    for (const name of ['client', 'alone'] as const) {
      const pair = pod(name).addresses.map((ip) => (ip.includes(':') ? {ipv6: ip} : {ipv4: ip}));
      await until(`the CiliumEndpoint of ${name}`, {timeoutMs: 5_000}, () => {
        const {status} = parse(readFileSync(join(lab.outputFolder, 'ciliumendpoints', 'default', `${name}.yaml`), 'utf8')) as {readonly status: {readonly networking: unknown}};
        expect(status.networking).toMatchObject({addressing: [Object.assign({}, ...pair)]});
        return true;
      });
    }
  });

  test('every pod reaches every other, and is seen as itself', async () => {
    const names = Object.keys(PODS) as (keyof typeof PODS)[];
    const pairs = names.flatMap((from) => names.filter((to) => to !== from).map((to) => [from, to] as const));
    const wrong = await Promise.all(pairs.map(async ([from, to]) => {
      const answers = [await seen(pod(from), six(pod(to))), await seen(pod(from), six(pod(to)), udp)];
      return answers.every((answer) => answer === six(pod(from))) ? [] : [{from, to, answers}];
    }));
    expect(wrong.flat()).toEqual([]);
    expect(await seen(pod('client'), pod('server').address)).toBe(pod('client').address);
    if (routingMode === 'tunnel') expect(await seen(pod('client'), pod('far').address)).toBe(pod('client').address);
  });

  test('on the wire between nodes', async () => {
    const capture = await Capture.start(nodeOf('client'), {device: 'net0', filter: 'ip6 or udp port 8472', name: 'ipv6'}, lab.run);
    expect(await ping(pod('client'), six(pod('far')))).toBe(true);
    await capture.settle();
    const packets = await capture.stop();
    const between = {source: six(pod('client')), destination: six(pod('far'))};
    const plain = packets.filter(({source, destination}) => source === between.source && destination === between.destination);
    const tunnelled = packets.flatMap(({vxlan}) => (vxlan === null ? [] : [vxlan])).filter(({source, destination}) => source === between.source && destination === between.destination);
    expect([plain.length > 0, tunnelled.length > 0]).toEqual(routingMode === 'native' ? [true, false] : [false, true]);
    if (routingMode === 'tunnel') expect(tunnelled.every(({vni}) => vni >= 256)).toBe(true);
  });

  test('datagrams bigger than the MTU, on a node and between nodes', async () => {
    const big = async (from: LabPod, to: LabPod): Promise<number | null> => (await run(['ping', '-n', '-c', '1', '-W', '2', '-s', '4000', six(to)], {netns: from.netnsPath})).code;
    expect(await Promise.all([big(pod('client'), pod('server')), big(pod('client'), pod('far')), big(pod('alone'), pod('client'))])).toEqual([0, 0, 0]);
  });

  test('pods and nodes', async () => {
    const address = twin(NODES[0]?.address ?? '');
    expect(await ping(pod('client'), address)).toBe(true);
    expect(await ping(nodeOf('client'), six(pod('client')))).toBe(true);
    expect(await ping(nodeOf('client'), six(pod('far')))).toBe(true);
    expect(await ping(pod('far'), address)).toBe(true);
  });

  test('the world sees the node; what is not masqueraded it sees as it is', async () => {
    expect([await seen(pod('client'), WORLD6), await seen(pod('client'), WORLD6, udp)]).toEqual([twin('10.1.5.10'), twin('10.1.5.10')]);
    expect(await seen(pod('alone'), WORLD6)).toBe(twin(NODES[3]?.address ?? ''));
    expect(await ping(pod('client'), WORLD6)).toBe(true);
    // Only the fabric of native routing leads from outside to pods.
    if (routingMode === 'native') expect(await seen(lab.ext, six(pod('client')))).toBe(twin('172.31.0.10'));
  });

  test('the ip-masq-agent ConfigMap takes IPv6 prefixes', async () => {
    const config = (text: string): string => JSON.stringify({apiVersion: 'v1', kind: 'ConfigMap', metadata: {name: 'ip-masq-agent', namespace: 'kube-system', uid: 'masq'}, data: {config: text}});
    const client = pod('client');
    await lab.objects.apply(config(`nonMasqueradeCIDRs: ["${WORLD6}/128"]`));
    // Through the tunnel's fabric no answer finds a pod: then it is the silence that shows.
    await until('the pod’s own address leaves', {timeoutMs: 5_000, intervalMs: 50}, async () => (
      await seen(client, WORLD6) === (routingMode === 'native' ? six(client) : 'timeout') ? true : null));
    await lab.objects.delete({kind: 'configmap', namespace: 'kube-system', name: 'ip-masq-agent'});
    await until('the node’s address leaves', {timeoutMs: 5_000, intervalMs: 50}, async () => (await seen(client, WORLD6) === twin('10.1.5.10') ? true : null));
  }, MINUTE);

  test('policy: who, which port, which ICMPv6, and what is outside', async () => {
    const [client, far, server] = [pod('client'), pod('far'), pod('server')];
    await lab.objects.apply(policyText('server', {endpointSelector: of('server'), ingress: [{fromEndpoints: [of('far')], toPorts: [{ports: [{port: '80', protocol: 'TCP'}]}]}]}));
    await until('others are denied', {timeoutMs: 5_000, intervalMs: 50}, async () => (await seen(client, six(server)) === 'timeout' ? true : null));
    expect(await Promise.all([seen(far, six(server)), seen(far, six(server), udp), ping(far, six(server))])).toEqual([six(far), 'timeout', false]);
    if (routingMode === 'tunnel') expect(await Promise.all([seen(client, server.address), seen(far, server.address)])).toEqual(['timeout', far.address]);

    await lab.objects.apply(policyText('echo', {endpointSelector: of('server'), ingress: [{icmps: [{fields: [{family: 'IPv6', type: 'EchoRequest'}]}]}]}));
    await until('echoes are allowed', {timeoutMs: 5_000, intervalMs: 50}, async () => (await ping(client, six(server)) ? true : null));

    await lab.objects.apply(policyText('outside', {endpointSelector: of('client'), egress: [{toCIDR: [`${WORLD6}/128`]}]}));
    await until('the cluster is denied', {timeoutMs: 5_000, intervalMs: 50}, async () => (await seen(client, six(far)) === 'timeout' ? true : null));
    expect(await seen(client, WORLD6)).toBe(twin('10.1.5.10'));
    await lab.objects.apply(policyText('outside', {endpointSelector: of('client'), egress: [{toCIDRSet: [{cidr: '2001:db8::/32', except: [`${WORLD6}/128`]}]}]}));
    await until('what is excepted is denied', {timeoutMs: 5_000, intervalMs: 50}, async () => (await seen(client, WORLD6) === 'timeout' ? true : null));
    for (const name of ['server', 'echo', 'outside']) await lab.objects.delete({kind: 'ciliumnetworkpolicy', namespace: 'default', name});
    await until('all is open again', {timeoutMs: 5_000, intervalMs: 50}, async () => (await seen(client, six(server)) === six(client) && await seen(client, WORLD6) !== 'timeout' ? true : null));
  }, MINUTE);

  test('an agent that comes back knows both addresses of its pods', async () => {
    const before = [...pod('client').addresses, ...pod('server').addresses];
    await lab.stentor.killAgent(PODS.client);
    expect(await seen(pod('far'), six(pod('client')))).toBe(six(pod('far')));
    await lab.stentor.startAgent(PODS.client);
    await lab.stentor.agentReady(PODS.client);
    await lab.objects.apply(podText('late', PODS.client));
    await lab.podsReady(['app', 'late'], 1, 20_000);
    const late = lab.pod('late');
    expect(late.addresses.filter((address) => before.includes(address))).toEqual([]);
    expect(await Promise.all([seen(pod('far'), six(late)), seen(late, six(pod('client'))), seen(pod('client'), six(pod('far')))]))
      .toEqual([six(pod('far')), six(late), six(pod('client'))]);
  }, MINUTE);

  test('nobody speaks with another address, and nobody is told of a router', async () => {
    const {netnsPath} = pod('client');
    await run(['ip', '-6', 'addr', 'add', six(pod('server')).replace(/::.*$/, '::dead/128'), 'dev', 'eth0', 'nodad'], {netns: netnsPath});
    const spoofed = await run(['ping', '-n', '-c', '1', '-W', '1', '-I', six(pod('server')).replace(/::.*$/, '::dead'), six(pod('server'))], {netns: netnsPath});
    expect(spoofed.code).not.toBe(0);
    const settings = await run(['sysctl', '-n', 'net.ipv6.conf.eth0.accept_ra', 'net.ipv6.conf.eth0.disable_ipv6'], {netns: netnsPath});
    expect(settings.stdout.trim().split('\n')).toEqual(['0', '0']);
    expect(await getText(lab.stentor.agentMetrics(PODS.client), '/metrics')).toMatch(/cilium_drop_count_total\{[^}]*reason="Invalid source ip"[^}]*\} [1-9]/);
  });
});
