import {afterEach, describe, expect, test} from '@jest/globals';
import {mkdtempSync, readFileSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {diffStates, resource, stateVersion} from '../lib/desired/diff.js';
import type {NodeState, Resource} from '../lib/desired/node-state.js';
import {resourceId} from '../lib/desired/node-state.js';
import type {Speaker, SpeakerFailure} from '../lib/domain/bgp.js';
import {realClock} from '../lib/run/clock.js';
import {silentLog} from '../lib/run/log.js';
import {eventually} from '../lib/testing/netns.js';
import type {ApplyRound} from './apply/kernel.js';
import type {KernelState} from './compile/kernel-state.js';
import {HeldState} from './desired/held.js';
import type {LocalLink} from './model/local.js';
import type {Installed} from './stream/session.js';
import {NodeEngine} from './wire-engine.js';

const CONFIG = resource('node-config', 'node-config', {nodeName: 'n1', routingMode: 'native', podCidrs: ['10.98.0.0/24'], nodeAddress: '10.1.5.10',
  ipv4NativeRoutingCidr: null, enableIPv4Masquerade: true, tunnelPort: 8472, clusterName: 'd'});
const node = (name: string): Resource => resource('node', name, {name, addresses: [], podCidrs: [], routerAddress: null});
const cidr = (prefix: string): Resource => resource('ipcache', prefix, {prefix, identity: null, labels: [`cidr:${prefix}`], tunnelEndpoint: null, local: false});
const stateOf = (...items: Resource[]): NodeState => new Map(items.map((item) => [resourceId(item), item]));

/** A kernel whose rounds end when the test says so. */
class StepKernel {
  readonly states: KernelState[] = [];
  readonly #ends: ((round: ApplyRound) => void)[] = [];
  resyncs = 0;
  step = false;

  apply(state: KernelState): Promise<ApplyRound> {
    this.states.push(state);
    if (!this.step) return Promise.resolve({errors: [], writes: 0, retryAtMs: null});
    return new Promise((resolve) => this.#ends.push(resolve));
  }

  retry(): Promise<ApplyRound> {
    return Promise.resolve({errors: [], writes: 0, retryAtMs: null});
  }

  resync(): Promise<ApplyRound> {
    this.resyncs++;
    return this.retry();
  }

  end(round: Partial<ApplyRound> = {}): void {
    this.#ends.shift()?.({errors: [], writes: 0, retryAtMs: null, ...round});
  }
}

const LINK: LocalLink = {ifindex: 2, name: 'cilium_host', mac: '02:00:00:00:00:01', mtu: 1500, up: true, addresses: []};
const folder = mkdtempSync(join(tmpdir(), 'engine-'));
let stop = new AbortController();

function started(options: {readonly resyncMs?: number; readonly hasMasquerade?: boolean; readonly links?: Map<string, LocalLink>} = {}) {
  stop = new AbortController();
  const kernel = new StepKernel();
  const installed: Installed[] = [];
  const links = {all: options.links ?? new Map([['cilium_host', LINK]]), refresh: async () => undefined, onChange: () => undefined};
  let speakerDone = (): void => {};
  const speaker = {
    wanted: [] as Speaker[],
    set(all: Speaker): Promise<readonly SpeakerFailure[]> {
      this.wanted.push(all);
      return new Promise((resolve) => {
        speakerDone = () => resolve([]);
      });
    },
    failures: (): readonly SpeakerFailure[] => [],
  };
  const engine = new NodeEngine(
    {localIdentitiesPath: join(folder, 'local-identities.json'), retryMaxMs: 1000, resyncMs: options.resyncMs ?? 60_000, compile: {
      devices: [], policyEntriesMax: 100, monitorAggregation: 3, masqueradeRemoteNodes: false, snatPorts: {min: 32_768, max: 65_535},
      timeouts: {tcpSeconds: 1, tcpSynSeconds: 1, tcpCloseSeconds: 1, anySeconds: 1}, captureBytes: 128, mtu: 0, enableIpv6: false,
    }},
    {
      kernel, speaker, links, endpoints: {all: new Map(), onChange: () => undefined}, clock: realClock, log: silentLog,
      store: {load: async () => HeldState.of(), save: () => undefined}, hasMasquerade: () => options.hasMasquerade ?? false,
      onInstalled: (value) => installed.push(value),
    },
  );
  void engine.run(stop.signal);
  const become = (from: NodeState, to: NodeState): boolean => engine.apply({...diffStates(from, to), undecodable: []});
  return {engine, kernel, installed, speaker, become, endSpeaker: () => speakerDone()};
}

afterEach(() => {
  stop.abort(new Error('over'));
  rmSync(folder, {recursive: true, force: true});
});

const none: NodeState = new Map();
const [one, two] = [stateOf(CONFIG), stateOf(CONFIG, node('n2'))];

describe('NodeEngine', () => {
  test('nothing reaches the kernel before the node’s own configuration', async () => {
    const {kernel, installed, become} = started();
    become(none, stateOf(node('n2')));
    await eventually(() => installed.find(({version}) => version === stateVersion(stateOf(node('n2')))) ?? null);
    expect(kernel.states).toEqual([]);
  });

  test('a round reports what it was made from; a change meanwhile is for the next one', async () => {
    const {kernel, installed, become, endSpeaker, engine} = started();
    kernel.step = true;
    become(none, one);
    await eventually(() => (kernel.states.length === 1 ? true : null));
    endSpeaker();
    become(one, two);
    const settled = engine.nextRound();
    kernel.end();
    await eventually(() => (kernel.states.length === 2 ? true : null));
    expect(installed.map(({version}) => version).at(-1)).toBe(stateVersion(one));
    kernel.end();
    expect(await settled).toEqual([]);
    expect(installed.map(({version}) => version).at(-1)).toBe(stateVersion(two));
  });

  test('a round that began after a change is waited for, no other; one that has ended is not', async () => {
    const {kernel, become, engine} = started();
    kernel.step = true;
    const changes = engine.rounds;
    become(none, one);
    await eventually(() => (kernel.states.length === 1 ? true : null));
    const settled = engine.nextRound(changes);
    kernel.end();
    expect(await settled).not.toBeNull();
    await engine.nextRound(changes);
    expect(kernel.states).toHaveLength(1);
    // The control: changes until now are in none yet.
    const next = engine.nextRound(engine.rounds);
    await eventually(() => (kernel.states.length === 2 ? true : null));
    kernel.end();
    await next;
  });

  test('the speaker is reported as pending, and again when it is done; policies do not wait for it', async () => {
    const {installed, become, endSpeaker} = started();
    become(none, one);
    const first = await eventually(() => installed.find(({version}) => version === stateVersion(one)) ?? null);
    expect(first.errors.map(({kind, code}) => `${kind} ${code}`)).toEqual(['speaker PENDING']);
    endSpeaker();
    await eventually(() => (installed.at(-1)?.errors.length === 0 ? true : null));
  });

  test('errors of the kernel, of compile and of decoding are reported together', async () => {
    const {kernel, installed, become, endSpeaker, engine} = started();
    kernel.step = true;
    become(none, one);
    await eventually(() => (kernel.states.length === 1 ? true : null));
    endSpeaker();
    engine.apply({base: stateVersion(one), version: HeldState.of([CONFIG], [{kind: 'teapot', key: 'x', version: '1', reason: 'unknown kind'}]).version,
      upserts: [], undecodable: [{kind: 'teapot', key: 'x', version: '1', reason: 'unknown kind'}], removes: []});
    kernel.end();
    await eventually(() => (kernel.states.length === 2 ? true : null));
    kernel.end({errors: [{kind: 'policy', key: '256', code: 'E2BIG', message: 'full'}]});
    await eventually(() => (installed.at(-1)?.errors.length === 2 ? true : null));
    expect(installed.at(-1)?.errors.map(({kind, code}) => `${kind} ${code}`)).toEqual(['policy E2BIG', 'teapot UNDECODABLE']);
  });

  test('numbers of local identities are on disk before the kernel sees them', async () => {
    const {kernel, become} = started();
    become(none, stateOf(CONFIG, cidr('10.96.0.0/12')));
    await eventually(() => (kernel.states.length > 0 ? true : null));
    expect(readFileSync(join(folder, 'local-identities.json'), 'utf8')).toContain('"10.96.0.0/12":16777217');
  });

  test('a hold keeps what is installed; a node without any rules gets the default', async () => {
    const held = stateOf(CONFIG, resource('masquerade', 'masquerade', {hold: {reason: 'bad'}, nonMasqueradeCidrs: [], source: 'configmap'}));
    const fresh = started({hasMasquerade: false});
    fresh.become(none, held);
    await eventually(() => (fresh.kernel.states.length > 0 ? true : null));
    expect(fresh.kernel.states[0]?.holds).toEqual([]);
    stop.abort(new Error('next'));
    const running = started({hasMasquerade: true});
    running.become(none, held);
    await eventually(() => (running.kernel.states.length > 0 ? true : null));
    expect(running.kernel.states[0]?.holds).toEqual(['cilium_ipmasq_v4', 'cilium_ipmasq_v6'].map((map) => ({map, reason: 'bad'})));
  });

  test('what the kernel holds is read back from time to time', async () => {
    const {kernel, become} = started({resyncMs: 5});
    become(none, one);
    await eventually(() => (kernel.resyncs >= 3 ? true : null));
    expect(kernel.states.length).toBe(1);
  });
});
