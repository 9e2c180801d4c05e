// One instance against its running gobgpd: policies, then paths, then peers, each by the difference to what it reports.

import {status} from '@grpc/grpc-js';
import {deepEqual} from '../../lib/core/equal.js';
import type {BgpInstance, SpeakerFailure} from '../../lib/domain/bgp.js';
import {peerPaths} from '../../lib/domain/bgp-advertisements.js';
import {collect} from '../../lib/run/grpc.js';
import {api} from '../../proto/gen/gobgp4.js';
import type {GoBgpClient} from '../../proto/gobgp.js';
import {EXPORT_POLICY_PREFIX, exportPolicy, observedPath, pathMessage, planPaths, type ExportPolicy, type PathIntent} from './gobgp-paths.js';
import {observedIntent, peerAddress, peerIntents, peerMessage, sessionState, type PeerIntent} from './gobgp-peers.js';

export interface AppliedCounts {
  readonly peersAdded: number;
  readonly peersUpdated: number;
  readonly peersRemoved: number;
  readonly pathsAdded: number;
  readonly pathsRemoved: number;
  readonly policiesChanged: number;
}

type Counts = {-readonly [K in keyof AppliedCounts]: AppliedCounts[K]};

interface Run {
  readonly client: GoBgpClient;
  readonly instance: BgpInstance;
  readonly restarted: boolean;
  readonly nowSeconds: number;
  readonly failures: SpeakerFailure[];
  readonly counts: Counts;
}

const IMPORT_POLICY = 'stentor-import-local';
const BATCH = 500;
const {TABLE_TYPE_GLOBAL} = api.TableType;
const {POLICY_DIRECTION_IMPORT, POLICY_DIRECTION_EXPORT} = api.PolicyDirection;
const {ROUTE_ACTION_ACCEPT, ROUTE_ACTION_REJECT} = api.RouteAction;

/** What is known of the time before: nothing, or an instance that was applied as a whole to this process. */
export interface Before {
  readonly instance: BgpInstance | null;
  readonly nowSeconds: number;
}

export async function applyInstance(
  gobgpd: {readonly client: GoBgpClient; readonly restarted: boolean},
  instance: BgpInstance,
  {instance: before, nowSeconds}: Before,
): Promise<{readonly failures: readonly SpeakerFailure[]; readonly counts: AppliedCounts}> {
  const peers = peerIntents(instance);
  const plan = planPaths(instance);
  const run: Run = {
    client: gobgpd.client,
    instance,
    restarted: gobgpd.restarted,
    nowSeconds,
    failures: [...peers.failures, ...plan.failures],
    counts: {peersAdded: 0, peersUpdated: 0, peersRemoved: 0, pathsAdded: 0, pathsRemoved: 0, policiesChanged: 0},
  };
  await rejectLearned(run);
  const running = await runningPeers(run);
  await removePeers(run, running, peers.intents);
  // Before the paths, so that none goes where it should not; what was sent already is sent anew under the new policy.
  const exportChanged = await setExport(run, exportPolicy(plan.exports));
  // Before the peers: the first update of a session then holds everything, and its End-of-RIB means it.
  await setPaths(run, plan.paths);
  await setPeers(run, running, peers.intents);
  if (exportChanged) await resend(run, running, changedPeers(before, instance));
  return {failures: run.failures, counts: run.counts};
}

/** Nothing that a router says is installed or passed on. */
async function rejectLearned(run: Run): Promise<void> {
  const {client} = run;
  const assignment = await assignmentOf(client, POLICY_DIRECTION_IMPORT);
  if (assignment?.defaultAction === ROUTE_ACTION_REJECT && deepEqual(policyNames(assignment), [IMPORT_POLICY])) return;
  if (!(await hasPolicy(client, IMPORT_POLICY))) {
    const conditions = {routeType: api.Conditions.RouteType.ROUTE_TYPE_LOCAL};
    await client.AddPolicy({policy: {name: IMPORT_POLICY, statements: [{name: IMPORT_POLICY, conditions, actions: {routeAction: ROUTE_ACTION_ACCEPT}}]}});
  }
  await client.SetPolicyAssignment({
    assignment: {name: 'global', direction: POLICY_DIRECTION_IMPORT, policies: [{name: IMPORT_POLICY}], defaultAction: ROUTE_ACTION_REJECT},
  });
  run.counts.policiesChanged++;
}

async function setExport(run: Run, wanted: ExportPolicy | null): Promise<boolean> {
  const {client} = run;
  const assignment = await assignmentOf(client, POLICY_DIRECTION_EXPORT);
  const names = wanted === null ? [] : [wanted.policy.name];
  const rejects = assignment?.defaultAction === ROUTE_ACTION_REJECT;
  if (!rejects && deepEqual(policyNames(assignment), names)) return false;
  if (wanted !== null && !(await hasPolicy(client, wanted.policy.name))) {
    for (const definedSet of wanted.sets) await client.AddDefinedSet({definedSet, replace: true});
    await client.AddPolicy({policy: wanted.policy});
  }
  await client.SetPolicyAssignment({
    assignment: {name: 'global', direction: POLICY_DIRECTION_EXPORT, policies: names.map((name) => ({name})), defaultAction: ROUTE_ACTION_ACCEPT},
  });
  await dropOldExports(client, names);
  run.counts.policiesChanged++;
  return true;
}

async function dropOldExports(client: GoBgpClient, keep: readonly string[]): Promise<void> {
  const policies = await collect(client.ListPolicy({}));
  for (const {policy} of policies) {
    const name = policy?.name ?? '';
    if (name.startsWith(EXPORT_POLICY_PREFIX) && !keep.includes(name)) await client.DeletePolicy({policy: {name}, all: true});
  }
  for (const definedType of [api.DefinedType.DEFINED_TYPE_PREFIX, api.DefinedType.DEFINED_TYPE_NEIGHBOR]) {
    for (const {definedSet} of await collect(client.ListDefinedSet({definedType}))) {
      const name = definedSet?.name ?? '';
      const kept = keep.some((policy) => name.startsWith(`${policy}-`));
      if (name.startsWith(EXPORT_POLICY_PREFIX) && !kept) await client.DeleteDefinedSet({definedSet: {definedType, name}, all: true});
    }
  }
}

async function assignmentOf(client: GoBgpClient, direction: api.PolicyDirection): Promise<api.PolicyAssignment.$Properties | null> {
  const [first] = await collect(client.ListPolicyAssignment({name: 'global', direction}));
  return first?.assignment ?? null;
}

function policyNames(assignment: api.PolicyAssignment.$Properties | null): readonly string[] {
  return (assignment?.policies ?? []).map(({name}) => name ?? '');
}

async function hasPolicy(client: GoBgpClient, name: string): Promise<boolean> {
  return (await collect(client.ListPolicy({name}))).some(({policy}) => policy?.name === name);
}

async function setPaths(run: Run, wanted: ReadonlyMap<string, PathIntent>): Promise<void> {
  const {client, counts} = run;
  const running = await runningPaths(client);
  const add = [...wanted.values()].filter((path) => !deepEqual(running.get(path.prefix), path));
  for (let i = 0; i < add.length; i += BATCH) await addPaths(run, add.slice(i, i + BATCH));
  for (const prefix of running.keys()) {
    if (wanted.has(prefix)) continue;
    const path = pathMessage({prefix, localPreference: null, communities: [], largeCommunities: []}, run.nowSeconds);
    await attempt(run, {peer: '', prefix}, async () => {
      await client.DeletePath({tableType: TABLE_TYPE_GLOBAL, ...(path.family ? {family: path.family} : {}), path});
      counts.pathsRemoved++;
    });
  }
}

/** A path without a neighbour was added over the API; learned ones are rejected and never get here. */
async function runningPaths(client: GoBgpClient): Promise<ReadonlyMap<string, PathIntent>> {
  const paths = new Map<string, PathIntent>();
  for (const afi of [api.Family.Afi.AFI_IP, api.Family.Afi.AFI_IP6]) {
    const found = await collect(client.ListPath({tableType: TABLE_TYPE_GLOBAL, family: {afi, safi: api.Family.Safi.SAFI_UNICAST}}));
    for (const {destination} of found) {
      const own = (destination?.paths ?? []).find((path) => (path.neighborIp ?? '') === '');
      if (own === undefined) continue;
      const path = observedPath(destination?.prefix ?? '', own);
      paths.set(path.prefix, path);
    }
  }
  return paths;
}

/** One message for many; when GoBGP refuses it nothing of it is applied, and single calls find out which path is to blame. */
async function addPaths(run: Run, paths: readonly PathIntent[]): Promise<void> {
  const {client, counts} = run;
  if (paths.length > 1) {
    try {
      await client.AddPathStream([{tableType: TABLE_TYPE_GLOBAL, paths: paths.map((path) => pathMessage(path, run.nowSeconds))}]);
      counts.pathsAdded += paths.length;
      return;
    } catch {
      // The loop below names the path.
    }
  }
  for (const path of paths) {
    await attempt(run, {peer: '', prefix: path.prefix}, async () => {
      await client.AddPath({tableType: TABLE_TYPE_GLOBAL, path: pathMessage(path, run.nowSeconds)});
      counts.pathsAdded++;
    });
  }
}

interface RunningPeer {
  readonly intent: PeerIntent;
  readonly established: boolean;
}

async function runningPeers(run: Run): Promise<Map<string, RunningPeer>> {
  const peers = await collect(run.client.ListPeer({}));
  return new Map(peers.flatMap(({peer}) => (peer ? [[peerAddress(peer), {intent: observedIntent(peer), established: sessionState(peer) === 'established'}]] : [])));
}

async function removePeers(run: Run, running: Map<string, RunningPeer>, wanted: ReadonlyMap<string, PeerIntent>): Promise<void> {
  for (const address of running.keys()) {
    if (wanted.has(address)) continue;
    await attempt(run, {peer: address, prefix: ''}, async () => {
      await run.client.DeletePeer({address});
      run.counts.peersRemoved++;
    });
    running.delete(address);
  }
}

async function setPeers(run: Run, running: ReadonlyMap<string, RunningPeer>, wanted: ReadonlyMap<string, PeerIntent>): Promise<void> {
  const {client, counts} = run;
  for (const [address, intent] of wanted) {
    const known = running.get(address);
    const before = known === undefined ? undefined : asWanted(known.intent, intent);
    if (before !== undefined && deepEqual(before, intent)) continue;
    await attempt(run, {peer: address, prefix: ''}, async () => {
      if (before === undefined) {
        await client.AddPeer({peer: peerMessage(intent, run.restarted)});
        counts.peersAdded++;
        return;
      }
      await client.UpdatePeer({peer: peerMessage(intent, false)});
      counts.peersUpdated++;
      if (onlyTimersOfTheOpen(before, intent)) await client.ResetPeer({address, communication: 'timers changed'});
    });
  }
}

/** GoBGP names the address that a session uses, also where none was asked for. */
function asWanted(observed: PeerIntent, wanted: PeerIntent): PeerIntent {
  return wanted.localAddress === '' ? {...observed, localAddress: ''} : observed;
}

/** Hold and keepalive are agreed on when a session opens: GoBGP takes new ones, but a running session keeps the old. */
function onlyTimersOfTheOpen(before: PeerIntent, after: PeerIntent): boolean {
  const same = deepEqual({...before, timers: after.timers}, after);
  return same && (before.timers.hold !== after.timers.hold || before.timers.keepalive !== after.timers.keepalive);
}

/** Peers that are told something else than before: a change for one is nothing to the others. */
function changedPeers(before: BgpInstance | null, after: BgpInstance): (address: string) => boolean {
  if (before === null) return () => true;
  const told = (instance: BgpInstance, address: string): unknown => peerPaths(instance).filter(({peer}) => peer === address).map(({prefix, attributes}) => ({prefix, attributes}));
  return (address) => !deepEqual(told(before, address), told(after, address));
}

/** Puts what was already sent under the new export policy. */
async function resend(run: Run, running: ReadonlyMap<string, RunningPeer>, isChanged: (address: string) => boolean): Promise<void> {
  for (const [address, {established}] of running) {
    if (!established || !isChanged(address)) continue;
    await attempt(run, {peer: address, prefix: ''}, async () => {
      await run.client.ResetPeer({address, soft: true, direction: api.ResetPeerRequest.Direction.DIRECTION_OUT});
    });
  }
}

/** GoBGP answers nearly every refusal with the same code; the words are what a person needs. A lost process is another matter. */
async function attempt(run: Run, what: {readonly peer: string; readonly prefix: string}, call: () => Promise<void>): Promise<void> {
  try {
    await call();
  } catch (error) {
    if (isLost(error)) throw error;
    const {details} = error as {details?: unknown};
    const message = typeof details === 'string' ? details : String(error);
    run.failures.push({instance: run.instance.name, ...what, code: what.peer === '' ? 'BGP_PATH_REFUSED' : 'BGP_PEER_REFUSED', message});
  }
}

/** Why a connection fails GoBGP says only in its debug log, which is too much for every day. */
export async function setVerbose(client: GoBgpClient, verbose: boolean): Promise<void> {
  const {LEVEL_DEBUG, LEVEL_INFO} = api.SetLogLevelRequest.Level;
  await client.SetLogLevel({level: verbose ? LEVEL_DEBUG : LEVEL_INFO});
}

/** The process did not answer, as against: it refused. */
export function isLost(error: unknown): boolean {
  const {code} = error as {code?: unknown};
  return code === status.UNAVAILABLE || code === status.DEADLINE_EXCEEDED || code === status.CANCELLED;
}
