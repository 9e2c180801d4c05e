// One instance against its gobgpd: policies, then paths, then peers, each by the difference to what it holds.

import {status} from '@grpc/grpc-js';
import {deepEqual} from '../../lib/core/equal.js';
import type {BgpInstance, PathAttributes, SpeakerFailure} from '../../lib/domain/bgp.js';
import {peerPaths} from '../../lib/domain/bgp-advertisements.js';
import {collect} from '../../lib/run/grpc.js';
import {api} from '../../proto/gen/gobgp4.js';
import type {GoBgpClient} from '../../proto/gobgp.js';
import {isSamePeer, type HeldState} from './gobgp-held.js';
import {EXPORT_POLICY_PREFIX, exportPolicy, pathMessage, planPaths, withdrawMessage, type ExportPolicy, type PathIntent} from './gobgp-paths.js';
import {peerAddress, peerIntents, peerMessage, sessionState, type PeerIntent} from './gobgp-peers.js';

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
  /** Changed with every call that gobgpd has answered. */
  readonly held: HeldState;
  readonly restarted: boolean;
  readonly nowSeconds: number;
  readonly refusals: SpeakerFailure[];
  readonly counts: Counts;
}

export interface Applied {
  /** What cannot be asked of gobgpd. */
  readonly invalid: readonly SpeakerFailure[];
  /** What it refused: then `held` may be wrong. */
  readonly refusals: readonly SpeakerFailure[];
  readonly counts: AppliedCounts;
}

const IMPORT_POLICY = 'stentor-import-local';
const IMPORTS_LOCAL = {names: [IMPORT_POLICY], rejects: true};
const BATCH = 500;
const {TABLE_TYPE_GLOBAL} = api.TableType;
const {POLICY_DIRECTION_IMPORT, POLICY_DIRECTION_EXPORT} = api.PolicyDirection;
const {ROUTE_ACTION_ACCEPT, ROUTE_ACTION_REJECT} = api.RouteAction;

/** `before`: what was applied last to this process; null when that is not known. */
export interface Before {
  readonly held: HeldState;
  readonly instance: BgpInstance | null;
  readonly nowSeconds: number;
}

export async function applyInstance(
  gobgpd: {readonly client: GoBgpClient; readonly restarted: boolean},
  instance: BgpInstance,
  {held, instance: before, nowSeconds}: Before,
): Promise<Applied> {
  const peers = peerIntents(instance);
  const plan = planPaths(instance);
  const run: Run = {
    client: gobgpd.client, instance, held, restarted: gobgpd.restarted, nowSeconds, refusals: [],
    counts: {peersAdded: 0, peersUpdated: 0, peersRemoved: 0, pathsAdded: 0, pathsRemoved: 0, policiesChanged: 0},
  };
  await rejectLearned(run);
  const running = [...held.peers.keys()];
  await removePeers(run, peers.intents);
  // Before the paths, so that none goes where it should not; what was sent already is sent anew under the new policy.
  const exportChanged = await setExport(run, exportPolicy(plan.exports));
  // Before the peers: the first update of a session then holds everything, and its End-of-RIB means it.
  await setPaths(run, plan.paths);
  await setPeers(run, peers.intents);
  if (exportChanged) await resend(run, running, changedPeers(before, instance));
  return {invalid: [...peers.failures, ...plan.failures], refusals: run.refusals, counts: run.counts};
}

/** Nothing that a router says is installed or passed on. */
async function rejectLearned(run: Run): Promise<void> {
  const {client, held} = run;
  if (deepEqual(held.importPolicies, IMPORTS_LOCAL)) return;
  if (!(await hasPolicy(client, IMPORT_POLICY))) {
    const conditions = {routeType: api.Conditions.RouteType.ROUTE_TYPE_LOCAL};
    await client.AddPolicy({policy: {name: IMPORT_POLICY, statements: [{name: IMPORT_POLICY, conditions, actions: {routeAction: ROUTE_ACTION_ACCEPT}}]}});
  }
  await client.SetPolicyAssignment({
    assignment: {name: 'global', direction: POLICY_DIRECTION_IMPORT, policies: [{name: IMPORT_POLICY}], defaultAction: ROUTE_ACTION_REJECT},
  });
  held.importPolicies = IMPORTS_LOCAL;
  // What came in under another policy goes.
  for (const address of held.peers.keys()) await client.ResetPeer({address, soft: true, direction: api.ResetPeerRequest.Direction.DIRECTION_IN});
  run.counts.policiesChanged++;
}

async function setExport(run: Run, wanted: ExportPolicy | null): Promise<boolean> {
  const {client, held} = run;
  const names = wanted === null ? [] : [wanted.policy.name];
  if (deepEqual(held.exportPolicies, {names, rejects: false})) return false;
  if (wanted !== null && !(await hasPolicy(client, wanted.policy.name))) {
    for (const definedSet of wanted.sets) await client.AddDefinedSet({definedSet, replace: true});
    await client.AddPolicy({policy: wanted.policy});
  }
  await client.SetPolicyAssignment({
    assignment: {name: 'global', direction: POLICY_DIRECTION_EXPORT, policies: names.map((name) => ({name})), defaultAction: ROUTE_ACTION_ACCEPT},
  });
  held.exportPolicies = {names, rejects: false};
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

async function hasPolicy(client: GoBgpClient, name: string): Promise<boolean> {
  return (await collect(client.ListPolicy({name}))).some(({policy}) => policy?.name === name);
}

async function setPaths(run: Run, wanted: ReadonlyMap<string, PathIntent>): Promise<void> {
  const {held, nowSeconds} = run;
  const changes: PathChange[] = [];
  for (const [prefix, path] of wanted) {
    if (!deepEqual(held.paths.get(prefix), path)) changes.push({prefix, path, message: () => pathMessage(path, nowSeconds)});
  }
  for (const prefix of held.paths.keys()) if (!wanted.has(prefix)) changes.push({prefix, path: null, message: () => withdrawMessage(prefix)});
  for (let i = 0; i < changes.length; i += BATCH) await changePaths(run, changes.slice(i, i + BATCH));
}

interface PathChange {
  readonly prefix: string;
  /** null = withdrawn. */
  readonly path: PathIntent | null;
  readonly message: () => api.Path.$Properties;
}

/** One message for many; when GoBGP refuses it nothing of it is applied, and messages of one path each find out which is to blame. */
async function changePaths(run: Run, changes: readonly PathChange[]): Promise<void> {
  if (changes.length > 1) {
    try {
      return await sendPaths(run, changes);
    } catch (error) {
      if (isLost(error)) throw error;
    }
  }
  for (const change of changes) await attempt(run, {peer: '', prefix: change.prefix}, () => sendPaths(run, [change]));
}

async function sendPaths({client, held, counts}: Run, changes: readonly PathChange[]): Promise<void> {
  await client.AddPathStream([{tableType: TABLE_TYPE_GLOBAL, paths: changes.map(({message}) => message())}]);
  for (const {prefix, path} of changes) {
    if (path === null) {
      held.paths.delete(prefix);
      counts.pathsRemoved++;
    } else {
      held.paths.set(prefix, path);
      counts.pathsAdded++;
    }
  }
}

async function removePeers(run: Run, wanted: ReadonlyMap<string, PeerIntent>): Promise<void> {
  for (const address of run.held.peers.keys()) {
    if (wanted.has(address)) continue;
    await attempt(run, {peer: address, prefix: ''}, async () => {
      await run.client.DeletePeer({address});
      run.held.peers.delete(address);
      run.counts.peersRemoved++;
    });
  }
}

async function setPeers(run: Run, wanted: ReadonlyMap<string, PeerIntent>): Promise<void> {
  const {client, counts, held} = run;
  for (const [address, intent] of wanted) {
    const known = held.peers.get(address);
    if (known !== undefined && (known.isRead ? isSamePeer(intent, known.intent) : deepEqual(known.intent, intent))) {
      held.peers.set(address, {intent, isRead: false});
      continue;
    }
    await attempt(run, {peer: address, prefix: ''}, async () => {
      if (known === undefined) {
        await client.AddPeer({peer: peerMessage(intent, run.restarted)});
        counts.peersAdded++;
      } else {
        await client.UpdatePeer({peer: peerMessage(intent, false)});
        counts.peersUpdated++;
        if (onlyTimersOfTheOpen(known.intent, intent)) await client.ResetPeer({address, communication: 'timers changed'});
      }
      held.peers.set(address, {intent, isRead: false});
    });
  }
}

/** After the loss of a session GoBGP idles for five seconds, which no setting changes; a peer that is made anew connects at once. */
export async function reopenPeer(client: GoBgpClient, {peers}: HeldState, address: string): Promise<void> {
  const known = peers.get(address);
  const [found] = await collect(client.ListPeer({address}));
  if (known === undefined || !found?.peer || sessionState(found.peer) !== 'idle') return;
  await client.DeletePeer({address});
  peers.delete(address);
  await client.AddPeer({peer: peerMessage(known.intent, false)});
  peers.set(address, known);
}

/** Hold and keepalive are agreed on when a session opens: GoBGP takes new ones, but a running session keeps the old. */
function onlyTimersOfTheOpen(before: PeerIntent, after: PeerIntent): boolean {
  return isSamePeer(after, {...before, timers: after.timers}) && (before.timers.hold !== after.timers.hold || before.timers.keepalive !== after.timers.keepalive);
}

/** Peers that are told something else than before of a prefix that stays: a change for one is nothing to the others, and what comes or goes is told anyway. */
function changedPeers(before: BgpInstance | null, after: BgpInstance): (address: string) => boolean {
  if (before === null) return () => true;
  const [old, now] = [toldByPeer(before), toldByPeer(after)];
  const known = new Set(before.advertisements.map(({prefix}) => prefix));
  const stays = [...new Set(after.advertisements.map(({prefix}) => prefix))].filter((prefix) => known.has(prefix));
  return (address) => {
    const [told, tell] = [old.get(address), now.get(address)];
    return stays.some((prefix) => !deepEqual(told?.get(prefix), tell?.get(prefix)));
  };
}

function toldByPeer(instance: BgpInstance): ReadonlyMap<string, ReadonlyMap<string, PathAttributes>> {
  const told = new Map<string, Map<string, PathAttributes>>();
  for (const {peer, prefix, attributes} of peerPaths(instance)) {
    const ofPeer = told.get(peer) ?? new Map<string, PathAttributes>();
    told.set(peer, ofPeer);
    ofPeer.set(prefix, attributes);
  }
  return told;
}

/** Puts what was already sent under the new export policy. */
async function resend(run: Run, addresses: readonly string[], isChanged: (address: string) => boolean): Promise<void> {
  const changed = addresses.filter((address) => run.held.peers.has(address) && isChanged(address));
  if (changed.length === 0) return;
  const peers = await collect(run.client.ListPeer({}));
  const up = new Set(peers.flatMap(({peer}) => (peer && sessionState(peer) === 'established' ? [peerAddress(peer)] : [])));
  for (const address of changed) {
    if (!up.has(address)) continue;
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
    run.refusals.push({instance: run.instance.name, ...what, code: what.peer === '' ? 'BGP_PATH_REFUSED' : 'BGP_PEER_REFUSED', message});
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
