// Policy: the overview article's manifests, unchanged, proved with packets. A denied client times out; it is never reset.

import {watchEnforced, type ObjectAddress} from '../enforced.js';
import type {Lab, LabPod} from '../lab.js';
import {nowMs, pause, until} from '../shell.js';
import {startPace, startStream, tcp, udp, type ProbeResult} from '../traffic.js';
import {check, checkWithApi, ms, type CheckLine, type Measured} from './check.js';

const PACE = 100;
const PROBE_MS = 700;
/** From `kubectl apply` to the first dropped packet. */
const DROP_LIMIT_MS = 3_000;
const STREAM_LIMIT_MS = 3_000;

/** Without an API server there is no namespace that an object without one could mean, but `default`. */
const RULE1: ObjectAddress = {kind: 'CiliumNetworkPolicy', namespace: 'default', name: 'rule1'};
const CIDR_RULE: ObjectAddress = {kind: 'CiliumNetworkPolicy', namespace: 'default', name: 'cidr-rule'};

export interface Expectation {
  readonly text: string;
  readonly probe: () => Promise<ProbeResult>;
  readonly allowed: boolean;
}

/** Allowed ones must be answered, denied ones must time out: refused, reset and unreachable are failures too. */
export async function judge(expectations: readonly Expectation[]): Promise<Measured> {
  const results = await Promise.all(expectations.map(async (item) => ({item, result: (await item.probe()).result})));
  const wrong = results.filter(({item, result}) => result !== (item.allowed ? 'ok' : 'timeout'));
  const allowed = results.filter(({item}) => item.allowed).length;
  return {
    ok: wrong.length === 0 && results.length > 0,
    value: wrong.length === 0 ? `${allowed} allowed pass, ${results.length - allowed} denied time out` : wrong.map(({item, result}) => `${item.text}: ${result}`).join('; '),
  };
}

export function expectTcp(from: LabPod, to: {readonly name: string; readonly address: string}, port: number, allowed: boolean): Expectation {
  return {text: `${from.name}→${to.name}:${port}/TCP ${allowed ? 'allowed' : 'denied'}`, allowed, probe: () => tcp(from, to.address, port, {timeoutMs: PROBE_MS})};
}

export function expectUdp(from: LabPod, to: {readonly name: string; readonly address: string}, port: number, allowed: boolean): Expectation {
  return {text: `${from.name}→${to.name}:${port}/UDP ${allowed ? 'allowed' : 'denied'}`, allowed, probe: () => udp(from, to.address, port, {timeoutMs: PROBE_MS})};
}

interface Ships {
  readonly deathstar: LabPod;
  readonly tiefighter: LabPod;
  readonly xwing: LabPod;
  readonly ywing: LabPod;
}

function ships(lab: Lab): Ships {
  return {deathstar: lab.pod('deathstar'), tiefighter: lab.pod('tiefighter'), xwing: lab.pod('xwing'), ywing: lab.pod('ywing')};
}

export function openBefore(lab: Lab): Promise<CheckLine> {
  return check('no policy: every client reaches deathstar', () => {
    const {deathstar, tiefighter, xwing, ywing} = ships(lab);
    return judge([tiefighter, xwing, ywing].map((client) => expectTcp(client, deathstar, 80, true)));
  });
}

/** Applies rule1 under traffic: the time to `Enforced`, and to the first packet that does not come back. */
export async function applyL3L4(lab: Lab): Promise<readonly CheckLine[]> {
  const {deathstar, xwing} = ships(lab);
  const pace = startPace(xwing, deathstar.address, 80, PACE);
  await pace.first();
  const started = nowMs();
  let enforcedAt = started;
  const lines: CheckLine[] = [];
  await lab.objects.apply(lab.manifest('overview/l3-l4-policy.yaml'));
  lines.push(await checkWithApi(lab, 'rule1: kubectl apply → Enforced=True', async () => {
    if (lab.client === null) throw new Error('no API server');
    enforcedAt = (await watchEnforced(lab.client, RULE1)).atMs;
    return {ok: true, value: `${ms(enforcedAt - started)} with kubectl's own start`};
  }));
  lines.push(await check('rule1: kubectl apply → first dropped packet', async () => {
    const silentSince = await until('silence', {timeoutMs: 2 * DROP_LIMIT_MS, intervalMs: 20}, () => {
      const {last} = pace;
      return last !== null && last.received > 0 && last.silentMs > 300 ? nowMs() - last.silentMs : null;
    });
    const tookMs = silentSince - started;
    return {ok: tookMs <= DROP_LIMIT_MS, value: `${ms(tookMs)}${lab.client === null ? '' : ` (${tookMs <= enforcedAt - started ? 'before' : 'AFTER'} Enforced)`}`};
  }));
  await pace.stop();
  return lines;
}

export function l3l4Verdicts(lab: Lab): Promise<CheckLine> {
  return check('rule1: org=empire on 80/TCP passes, everything else times out', () => {
    const {deathstar, tiefighter, xwing, ywing} = ships(lab);
    return judge([
      expectTcp(tiefighter, deathstar, 80, true), expectTcp(tiefighter, deathstar, 81, false), expectUdp(tiefighter, deathstar, 80, false),
      expectTcp(xwing, deathstar, 80, false), expectUdp(xwing, deathstar, 80, false), expectTcp(ywing, deathstar, 80, false),
      // Other pods are not isolated.
      expectTcp(xwing, tiefighter, 80, true), expectTcp(deathstar, xwing, 80, true),
    ]);
  });
}

/** Isolates deathstar without allowing anything: what is left when the allow rule goes. */
const ISOLATE = `
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: isolate-deathstar, namespace: default}
spec:
  endpointSelector: {matchLabels: {class: deathstar}}
  ingress: [{}]
`;

/** An established connection of an allowed client ends when the rule that allowed it is deleted. rule1 is gone afterwards. */
export async function deleteStopsStream(lab: Lab): Promise<CheckLine> {
  const {deathstar, tiefighter} = ships(lab);
  return check('deleting the allow rule stops an established TCP stream', async () => {
    await lab.objects.apply(ISOLATE);
    if (lab.client !== null) await watchEnforced(lab.client, {...RULE1, name: 'isolate-deathstar'});
    else await pause(1_000);
    const stream = startStream(tiefighter, deathstar.address, 80, 20);
    try {
      await until('the stream flows', {timeoutMs: 5_000, intervalMs: 20}, () => (stream.last?.bytesBack ?? 0) > 200 ? true : null);
      const started = nowMs();
      await lab.objects.delete({kind: 'ciliumnetworkpolicy', namespace: 'default', name: 'rule1'});
      const lastReplyAt = await until('silence', {timeoutMs: 2 * STREAM_LIMIT_MS, intervalMs: 20}, () => {
        const {last} = stream;
        if (last?.state !== 'open') throw new Error(`the stream is ${last?.state ?? 'gone'}, not silent`);
        return (last.silentMs ?? 0) > 500 ? nowMs() - (last.silentMs ?? 0) : null;
      });
      const before = stream.last?.bytesBack ?? 0;
      await pause(1_000);
      const {state, bytesBack = 0} = await stream.stop();
      return {ok: state === 'open' && bytesBack === before && lastReplyAt - started <= STREAM_LIMIT_MS, value: `silent ${ms(Math.max(0, lastReplyAt - started))} after kubectl delete, not reset`};
    } finally {
      await stream.stop().catch(() => undefined);
      await lab.objects.delete({kind: 'ciliumnetworkpolicy', namespace: 'default', name: 'isolate-deathstar'});
    }
  });
}

export async function cidrPolicy(lab: Lab): Promise<readonly CheckLine[]> {
  const client = lab.pod('myservice');
  const world = (address: string): {name: string; address: string} => ({name: address, address});
  const borders: readonly [string, boolean][] = [
    ['20.1.1.1', true], ['20.1.1.2', false], ['10.95.255.255', true], ['10.96.0.1', false], ['10.111.255.254', false], ['10.112.0.1', true],
  ];
  const lines = [await check('cidr-rule before: all outside addresses answer', () => judge(borders.map(([address]) => expectTcp(client, world(address), 80, true))))];
  const started = nowMs();
  await lab.objects.apply(lab.manifest('overview/cidr-policy.yaml'));
  lines.push(await checkWithApi(lab, 'cidr-rule: kubectl apply → Enforced=True', async () => {
    if (lab.client === null) throw new Error('no API server');
    return {ok: true, value: ms((await watchEnforced(lab.client, CIDR_RULE)).atMs - started)};
  }));
  if (lab.client === null) await pause(1_000);
  lines.push(await check('cidr-rule: 20.1.1.1, 10.95.255.255, 10.112.0.1 pass; 20.1.1.2, 10.96.0.1, 10.111.255.254 and pods do not', () => judge([
    ...borders.map(([address, allowed]) => expectTcp(client, world(address), 80, allowed)),
    // A CIDR rule never matches a pod, though 10.98.0.0/16 lies in 10.0.0.0/8 (and in its exception).
    expectTcp(client, lab.pod('deathstar'), 80, false),
  ])));
  await lab.objects.delete({kind: 'ciliumnetworkpolicy', namespace: 'default', name: 'cidr-rule'});
  return lines;
}
