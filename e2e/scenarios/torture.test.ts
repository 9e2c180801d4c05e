// Packets that hurt: payloads around the MTU and up to the largest datagram, in pieces that are in order, reversed or there twice, with offloads on and
// off, on a node and between nodes, native and through the tunnel, in both families. What comes back is compared byte for byte; what does not come back
// is counted and told; and no connection hangs at a hop that is too narrow.

import {spawn} from 'node:child_process';
import {createInterface} from 'node:readline';
import {afterAll, beforeAll, describe, expect, test} from '@jest/globals';
import {Capture} from '../harness/capture.js';
import {HELPER, STENTORCTL} from '../harness/helper.js';
import {Lab, type LabPod} from '../harness/lab.js';
import {RunDirectory} from '../harness/run-dir.js';
import {must, run, startDaemon, until, type Daemon} from '../harness/shell.js';
import {LINKS, NODES} from '../harness/topology.js';
import {WORLD6} from '../harness/topology6.js';
import {startVolley, tcp, type Place} from '../harness/traffic.js';

const MINUTE = 60_000;
const [FIRST, , OTHER_RACK] = NODES.map(({name}) => name) as [string, string, string];
const PODS = {client: FIRST, near: FIRST, far: OTHER_RACK};
const MIRROR = 9000;
const CLOSED = 81;
/** `serve` of the harness listens there, too. */
const WORLD4 = '20.1.1.1';
const BULK_BYTES = 10_000_000;
const NARROW = 1300;
const FRAGMENT_NOT_FOUND = 175;
/** Sizes × protocols whole, and all but the empty ones in three orders of pieces. */
const CASES = 10 * 3 + 9 * 2 * 3;

interface Case {
  readonly protocol: string;
  readonly size: number;
  readonly order: string;
  readonly result: string;
}

interface DropRow {
  readonly reason: number;
  readonly direction: string;
  readonly packets: number;
}

describe.each(['native', 'tunnel'] as const)('%s routing', (routingMode) => {
  let lab: Lab;
  const daemons: Daemon[] = [];
  const pod = (name: keyof typeof PODS): LabPod => lab.pod(name);
  const addressOf = (name: keyof typeof PODS, family: 4 | 6): string => {
    const address = pod(name).addresses.find((one) => one.includes(':') === (family === 6));
    if (address === undefined) throw new Error(`${name} has no IPv${family} address`);
    return address;
  };

  function mirror(name: string, place: Place): void {
    daemons.push(startDaemon({name, netns: place.netnsPath, logFile: lab.run.log(name), command: [HELPER, 'mirror', String(MIRROR)]}));
  }

  beforeAll(async () => {
    lab = await Lab.start({api: 'files', leaf: 'bird', routingMode, ipv6: true}, RunDirectory.create('t'), () => undefined);
    for (const [name, nodeName] of Object.entries(PODS)) {
      await lab.objects.apply(JSON.stringify({
        apiVersion: 'v1', kind: 'Pod', metadata: {name, namespace: 'default', uid: `uid-${name}`, labels: {app: name, suite: 'torture'}}, spec: {nodeName, containers: [{name: 'main'}]},
      }));
    }
    await lab.podsReady(['suite', 'torture'], Object.keys(PODS).length, 20_000);
    // The mirrors are open to the client, and every packet to them meets a policy.
    await lab.objects.apply(JSON.stringify({
      apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', metadata: {name: 'mirrors', namespace: 'default', uid: 'uid-mirrors'},
      spec: {
        endpointSelector: {matchExpressions: [{key: 'app', operator: 'In', values: ['near', 'far']}]},
        ingress: [{fromEndpoints: [{matchLabels: {app: 'client'}}], toPorts: [{ports: [{port: String(MIRROR), protocol: 'ANY'}]}]},
          {fromEndpoints: [{matchLabels: {app: 'client'}}], icmps: [{fields: [{type: 8, family: 'IPv4'}, {type: 128, family: 'IPv6'}]}]}],
      },
    }));
    if (routingMode === 'native') await routePods(lab);
    for (const name of ['near', 'far'] as const) mirror(`mirror-${name}`, pod(name));
    mirror('mirror-world', lab.ext);
    await until('mirrors answer, and the policy is in force', {timeoutMs: 20_000}, async () => {
      for (const address of [addressOf('near', 4), addressOf('near', 6), addressOf('far', 4), addressOf('far', 6), WORLD4, WORLD6]) {
        if ((await tcp(pod('client'), address, MIRROR, {timeoutMs: 300})).result !== 'ok') return null;
      }
      return (await tcp(pod('client'), addressOf('near', 4), CLOSED, {timeoutMs: 100})).result === 'timeout' ? true : null;
    });
  }, MINUTE);

  afterAll(async () => {
    await Promise.all(daemons.splice(0).map((daemon) => daemon.stop('SIGKILL')));
    expect(await lab.stop()).toEqual([]);
  }, MINUTE);

  async function torture(to: keyof typeof PODS, family: 4 | 6): Promise<readonly Case[]> {
    // Of the pod's routes: in a tunnel there is less room, on the own node too.
    const mtu = routingMode === 'native' ? 1500 : 1450;
    const text = await must([HELPER, '--netns', pod('client').netnsPath, 'torture', addressOf(to, family), String(MIRROR), String(mtu), '3000'], {timeoutMs: MINUTE});
    return text.trimEnd().split('\n').map((line) => JSON.parse(line) as Case);
  }

  async function drops(node: string): Promise<readonly DropRow[]> {
    return JSON.parse(await must([STENTORCTL, 'drops', '--pinned', '--bpf-root', lab.stentor.bpfRoot(node), '-o', 'json'])) as readonly DropRow[];
  }

  /** Everywhere that a packet of these pods passes. Not every device has every offload. */
  async function offloads(state: 'on' | 'off'): Promise<void> {
    const places: readonly (readonly [string, readonly string[]])[] = [
      ...Object.keys(PODS).map((name) => [pod(name as keyof typeof PODS).netnsPath, ['eth0']] as const),
      ...await Promise.all([FIRST, OTHER_RACK].map(async (name) => [lab.node(name).netnsPath, await devices(lab.node(name))] as const)),
    ];
    const words = ['rx', 'tx', 'sg', 'tso', 'gso', 'gro'].flatMap((feature) => [feature, state]);
    await Promise.all(places.flatMap(([netns, names]) => names.map((name) => run(['ethtool', '-K', name, ...words], {netns}))));
  }

  test.each(['on', 'off'] as const)('offloads %s: every size, protocol and order of pieces', async (state) => {
    await offloads(state);
    const features = await must(['ethtool', '-k', 'eth0'], {netns: pod('client').netnsPath});
    for (const feature of ['tx-checksumming', 'tcp-segmentation-offload', 'generic-segmentation-offload']) expect(features).toMatch(new RegExp(`^${feature}: ${state}`, 'm'));
    const before = await Promise.all([FIRST, OTHER_RACK].map(drops));
    const ways = (['near', 'far'] as const).flatMap((to) => ([4, 6] as const).map((family) => ({to, family})));
    const results = await Promise.all(ways.map(async ({to, family}) => (await torture(to, family)).map((each) => ({...each, to, family}))));
    for (const cases of results) expect(cases).toHaveLength(CASES);
    // Pieces that come before the first are nobody's yet: either all of them are let through, or the datagram is not there.
    const bad = results.flat().filter(({order, result}) => (order === 'reversed' ? !['ok', 'timeout'].includes(result) : result !== 'ok'));
    expect(bad).toEqual([]);
    const lostCases = results.flat().filter(({result}) => result === 'timeout');
    const after = await Promise.all([FIRST, OTHER_RACK].map(drops));
    const grown = after.flatMap((rows, i) => rows.map(({reason, direction, packets}) =>
      ({reason, packets: packets - (before[i]?.find((row) => row.reason === reason && row.direction === direction)?.packets ?? 0)})).filter(({packets}) => packets > 0));
    expect(new Set(grown.map(({reason}) => reason))).toEqual(new Set(lostCases.length === 0 ? [] : [FRAGMENT_NOT_FOUND]));
    expect(grown.reduce((sum, {packets}) => sum + packets, 0)).toBeGreaterThanOrEqual(lostCases.length);
  }, MINUTE);

  test('each dropped packet is counted once and told once, as many as the capture has', async () => {
    const node = lab.node(FIRST);
    const client = pod('client');
    const ifname = await hostDevice(FIRST, 'client');
    const monitor = spawn(STENTORCTL, ['monitor', '--types', 'drop', '-o', 'jsonl', '--api-socket', lab.stentor.agentSocket(FIRST)], {stdio: ['ignore', 'pipe', 'ignore'], detached: true});
    const told: {readonly type: string; readonly reason?: number; readonly direction: string; readonly count?: number; readonly protocol: string}[] = [];
    createInterface({input: monitor.stdout}).on('line', (line) => told.push(JSON.parse(line) as typeof told[number]));
    try {
      await until('the monitor listens', {timeoutMs: 10_000, intervalMs: 100}, async () => {
        await tcp(client, addressOf('near', 4), CLOSED, {timeoutMs: 50});
        return told.length > 0 ? true : null;
      });
      const capture = await Capture.start(node, {device: ifname, filter: `udp dst port ${CLOSED}`, name: 'drops'}, lab.run);
      const before = await drops(FIRST);
      const volley = startVolley(client, 200, ([4, 6] as const).map((family) => ({address: addressOf('near', family), port: CLOSED})));
      await until('packets were sent', {timeoutMs: 20_000, intervalMs: 50}, () => (volley.last?.targets.reduce((sum, {sent}) => sum + sent, 0) ?? 0) >= 300 ? true : null);
      const {targets} = await volley.stop();
      const sent = targets.reduce((sum, each) => sum + each.sent, 0);
      await capture.settle();
      const captured = (await capture.stop()).length;
      const grown = (await drops(FIRST)).map(({reason, direction, packets}) =>
        ({reason, direction, packets: packets - (before.find((row) => row.reason === reason && row.direction === direction)?.packets ?? 0)})).filter(({packets}) => packets > 0);
      const events = (): number => told.filter(({type, protocol, reason, direction}) => type === 'drop' && protocol === 'UDP' && reason === 133 && direction === 'ingress').length;
      const lost = (): number => told.reduce((sum, {type, count}) => sum + (type === 'lost' ? count ?? 0 : 0), 0);
      await until('the monitor has told it all', {timeoutMs: 10_000, intervalMs: 50}, () => events() + lost() >= sent ? true : null);
      expect({captured, counted: grown, told: events() + lost()}).toEqual({captured: sent, counted: [{reason: 133, direction: 'ingress', packets: sent}], told: sent});
    } finally {
      if (monitor.pid !== undefined) process.kill(-monitor.pid, 'SIGTERM');
    }
  }, MINUTE);

  test(`TCP: ${BULK_BYTES / 1e6} MB both ways through a hop of ${NARROW} bytes`, async () => {
    await narrow(NARROW);
    const capture = await Capture.start(pod('client'), {device: 'eth0', filter: '(icmp and icmp[0] == 3 and icmp[1] == 4) or (icmp6 and ip6[40] == 2)', name: 'pmtu'}, lab.run);
    try {
      const ways: readonly (readonly [keyof typeof PODS, string])[] = [
        ['client', addressOf('far', 4)], ['client', addressOf('far', 6)], ['client', WORLD4], ['client', WORLD6],
      ];
      const results = await Promise.all(ways.map(async ([from, to]) => {
        const {stdout} = await run([HELPER, '--netns', pod(from).netnsPath, 'bulk', to, String(MIRROR), String(BULK_BYTES), '30000'], {timeoutMs: MINUTE});
        return {to, result: (JSON.parse(stdout) as {readonly result: string}).result};
      }));
      expect(results).toEqual(ways.map(([, to]) => ({to, result: 'ok'})));
      await capture.settle();
      // The control: somebody said that packets were too big, and the pod was told, also where it was masqueraded.
      const errors = capture.packets().map(({source}) => source.includes(':'));
      expect({ipv4: errors.includes(false), ipv6: errors.includes(true)}).toEqual({ipv4: true, ipv6: true});
    } finally {
      await capture.stop();
      await narrow(1500);
    }
  }, 2 * MINUTE);

  /** Between the racks, and to the world: the two uplinks of the first rack. */
  async function narrow(mtu: number): Promise<void> {
    for (const link of LINKS.filter(({a}) => a === 'leaf0')) {
      await lab.fabric.router(link.a).netns.ip([`link set ${link.aDevice} mtu ${mtu}`]);
      await lab.fabric.router(link.b).netns.ip([`link set ${link.bDevice} mtu ${mtu}`]);
    }
  }

  async function hostDevice(node: string, name: string): Promise<string> {
    const rows = JSON.parse(await must([STENTORCTL, 'endpoint', 'list', '--api-socket', lab.stentor.agentSocket(node), '-o', 'json'])) as readonly {readonly name: string; readonly ifname: string}[];
    return rows.find((row) => row.name === name)?.ifname ?? '';
  }
});

async function devices(place: Place): Promise<readonly string[]> {
  const text = await must(['ip', '-j', 'link', 'show'], {netns: place.netnsPath});
  return (JSON.parse(text) as readonly {readonly ifname: string}[]).map(({ifname}) => ifname).filter((name) => name !== 'lo');
}

/** Without BGP from the nodes the fabric is told where pods are. IPv6 it knows already. */
async function routePods(lab: Lab): Promise<void> {
  const ip = async (router: string, prefix: string, via: string): Promise<void> => lab.fabric.router(router).netns.ip([`route replace ${prefix} via ${via}`]);
  const uplink = (leaf: string): {readonly near: string; readonly far: string} => {
    const link = LINKS.find(({a, b}) => a === leaf && b === 'spine1');
    return {near: (link?.aAddress ?? '').split('/')[0] ?? '', far: (link?.bAddress ?? '').split('/')[0] ?? ''};
  };
  const nodes = NODES.map((node, i) => ({...node, prefix: `10.98.${i}.0/24`}));
  for (const {leaf, address, prefix} of nodes) {
    await ip(leaf, prefix, address);
    await ip('spine1', prefix, uplink(leaf).near);
    await ip(leaf === 'leaf0' ? 'leaf1' : 'leaf0', prefix, uplink(leaf === 'leaf0' ? 'leaf1' : 'leaf0').far);
  }
}
