// The speaker: makes the running gobgpd processes say what a Speaker says. It reads before it writes; an equal state needs no call.

import type {BgpInstance, BgpPeerStatus, BgpRouteStatus, FamilyName, Speaker, SpeakerFailure} from '../../lib/domain/bgp.js';
import {join} from 'node:path';
import {backoffMs} from '../../lib/core/backoff.js';
import {deepEqual} from '../../lib/core/equal.js';
import {StentorError} from '../../lib/core/errors.js';
import {comparePrefixes, parseAddress, parsePrefix} from '../../lib/core/ip.js';
import type {Clock} from '../../lib/run/clock.js';
import {collect} from '../../lib/run/grpc.js';
import {decodeResource} from '../../lib/desired/decode.js';
import {errorFields, type Log} from '../../lib/run/log.js';
import {LatestFile, readSealed} from '../../lib/run/state-file.js';
import {api} from '../../proto/gen/gobgp4.js';
import {canonicalAddress, familyMessage, peerAddress, peerStatus, within} from './gobgp-peers.js';
import {routeStatus} from './gobgp-routes.js';
import {applyInstance, isLost, reopenPeer, setVerbose, type Applied, type AppliedCounts} from './gobgp-apply.js';
import {auditHeld, readHeld, type HeldState} from './gobgp-held.js';
import {needsNode, withNode, type NodeFacts} from './speaker-local.js';
import {resolveHolds} from './speaker-holds.js';
import {GobgpdProcesses, type Gobgpd} from './gobgpd.js';

export interface SpeakerSessionOptions {
  /** `<state-dir>/gobgpd`. */
  readonly directory: string;
  /** `['build/bin/gobgpd']`; a namespace wrapper may go before it. */
  readonly command: readonly string[];
  readonly answerMs?: number;
  readonly logLimitBytes?: number;
}

export interface SpeakerSessionParts {
  readonly clock: Clock;
  readonly log: Log;
  readonly random?: () => number;
  /** After each instance that was brought up to date, or was not. */
  readonly onReconciled?: (instance: string, errors: number, seconds: number) => void;
  /** For peers that are to be found, or have a source interface; absent = nothing is known. */
  readonly node?: () => Promise<NodeFacts>;
}

export interface RouteQuery {
  readonly type: 'available' | 'advertised';
  readonly family: FamilyName;
  /** Only with `advertised`; null = every peer. */
  readonly peer: string | null;
  /** AS number; null = every instance. */
  readonly vrouter: number | null;
}

const ANSWER_MS = 2000;
const LOG_LIMIT_BYTES = 1 << 20;
const CHECK_MS = 1000;
/** How often some of what a gobgpd is known to hold is compared with what it holds, and how many paths at a time. */
const AUDIT_MS = 5000;
const AUDIT_PATHS = 500;
const RETRY = {baseMs: 1000, maxMs: 30_000};
/** Failures that only another Speaker can mend. */
const FINAL = /_INVALID$|^BGP_HELD$|^BGP_SECRET_MISSING$/;
const NO_FACTS: NodeFacts = {gateways: {ipv4: null, ipv6: null}, interfaces: new Map()};
const NOTHING: Speaker = {instances: [], source: null};

interface Known {
  readonly gobgpd: Gobgpd;
  /** As applied last. */
  readonly instance: BgpInstance;
  readonly held: HeldState;
  /** How far the audit has come in `held.paths`. */
  auditedTo: number;
}

export class SpeakerSession {
  readonly #parts: SpeakerSessionParts;
  readonly #processes: GobgpdProcesses;
  readonly #asns = new Map<string, number>();
  /** What each process holds, as long as that is certain. */
  readonly #known = new Map<string, Known>();
  readonly #lastPath: string;
  readonly #lastFile: LatestFile;
  #wanted: Speaker = NOTHING;
  /** What was applied last, by this process or one before; null = not read yet. */
  #last: Speaker | null = null;
  #node: NodeFacts = NO_FACTS;
  #failures: readonly SpeakerFailure[] = [];
  #turn: Promise<unknown> = Promise.resolve();
  #wake = new AbortController();

  constructor(options: SpeakerSessionOptions, parts: SpeakerSessionParts) {
    this.#parts = parts;
    this.#processes = new GobgpdProcesses(
      {directory: options.directory, command: options.command, answerMs: options.answerMs ?? ANSWER_MS, logLimitBytes: options.logLimitBytes ?? LOG_LIMIT_BYTES},
      parts,
    );
    this.#lastPath = join(options.directory, 'speaker.json');
    this.#lastFile = new LatestFile({path: this.#lastPath}, parts);
  }

  /** Makes `all` true and answers with what is not. Calls run one after the other; nothing of it throws for a reason outside. */
  set(all: Speaker): Promise<readonly SpeakerFailure[]> {
    this.#wanted = all;
    return this.#inTurn(() => this.#apply());
  }

  /** What of the last `set` is not in force. */
  failures(): readonly SpeakerFailure[] {
    return this.#failures;
  }

  /** Whether the log of `instance` says why connections fail. */
  async explain(instance: string, verbose: boolean): Promise<void> {
    const running = this.#processes.running().find((gobgpd) => gobgpd.instance === instance);
    if (running !== undefined) await setVerbose(running.client, verbose);
  }

  /** Running instances, for who watches their events. */
  instances(): readonly {readonly name: string; readonly client: Gobgpd['client']; readonly logPath: string}[] {
    return this.#processes.running().map(({instance, client, logPath}) => ({name: instance, client, logPath}));
  }

  /** Sorted by AS number and address. `reason` says why a session is down: GoBGP's API does not. */
  async peers(reason: (instance: string, address: string) => string): Promise<readonly BgpPeerStatus[]> {
    const seconds = this.#parts.clock.now() / 1000;
    const lists = await Promise.all(this.#processes.running().map(async ({instance, client}) => {
      const asn = this.#asns.get(instance) ?? 0;
      const peers = await collect(client.ListPeer({enableAdvertised: true}));
      return peers.flatMap(({peer}) => (peer ? [peerStatus({name: instance, asn}, peer, {seconds, reason: reason(instance, peerAddress(peer))})] : []));
    }));
    return lists.flat().sort((a, b) => a.localAsn - b.localAsn || compareAddresses(a.address, b.address));
  }

  async routes(query: RouteQuery): Promise<readonly BgpRouteStatus[]> {
    const nowSeconds = this.#parts.clock.now() / 1000;
    const family = familyMessage(`${query.family.afi}/${query.family.safi}`);
    const routes: BgpRouteStatus[] = [];
    for (const {instance, client} of this.#processes.running()) {
      const vrouter = this.#asns.get(instance) ?? 0;
      if (query.vrouter !== null && query.vrouter !== vrouter) continue;
      const tables = query.type === 'available' ? [undefined] : await this.#peersOf(client, query.peer);
      for (const peer of tables) {
        const table = peer === undefined ? {tableType: api.TableType.TABLE_TYPE_GLOBAL} : {tableType: api.TableType.TABLE_TYPE_ADJ_OUT, name: peer};
        const found = await collect(client.ListPath({...table, family}));
        const where = {vrouter, nowSeconds, ...(peer === undefined ? {} : {peer})};
        const rows = found.flatMap(({destination}) => (destination?.paths ?? []).map((path) => routeStatus(where, destination?.prefix ?? '', path)));
        routes.push(...rows.sort((a, b) => comparePrefixTexts(a.prefix, b.prefix)));
      }
    }
    return routes;
  }

  /** Brings back a gobgpd that has died and retries what failed, until `signal` aborts. */
  async supervise(signal: AbortSignal): Promise<void> {
    const {clock, log} = this.#parts;
    let attempt = 0;
    let notBefore = 0;
    let auditAt = clock.monotonicMs() + AUDIT_MS;
    while (!signal.aborted) {
      await clock.sleep(CHECK_MS, AbortSignal.any([signal, this.#wake.signal])).catch(() => undefined);
      this.#wake = new AbortController();
      if (signal.aborted) return;
      if (clock.monotonicMs() >= auditAt) {
        auditAt = clock.monotonicMs() + AUDIT_MS;
        await this.#inTurn(() => this.#audit());
      }
      await this.#processes.boundLogs().catch((error: unknown) => log.warn('the log of gobgpd was not cut', errorFields(error)));
      const failing = this.#failures.some(({code}) => !FINAL.test(code));
      const lost = await this.#lostInstance();
      if (await this.#nodeMoved()) await this.#inTurn(() => this.#apply());
      if (lost === null && !failing) attempt = 0;
      if ((lost === null && !failing) || clock.monotonicMs() < notBefore) continue;
      if (lost !== null) log.warn('gobgpd has gone', {instance: lost});
      notBefore = clock.monotonicMs() + backoffMs(RETRY, attempt++, (this.#parts.random ?? Math.random)());
      await this.#inTurn(() => this.#apply());
    }
  }

  /** A session that was up is lost. */
  reopen(instance: string, address: string): Promise<void> {
    return this.#inTurn(async () => {
      const known = this.#known.get(instance);
      if (known === undefined) return;
      try {
        await reopenPeer(known.gobgpd.client, known.held, address);
      } catch (error) {
        this.#parts.log.warn('a peer was not made anew', {instance, peer: address, ...errorFields(error)});
        this.#known.delete(instance);
        await this.#apply();
      }
    });
  }

  /** A process may have ended: the next look is now. */
  look(): void {
    this.#wake.abort();
  }

  /** Lets go of everything; the processes and their sessions go on. */
  close(): void {
    this.#processes.close();
  }

  #inTurn<T>(body: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(body);
    this.#turn = done.catch(() => undefined);
    return done;
  }

  async #apply(): Promise<readonly SpeakerFailure[]> {
    this.#last ??= speakerOf(await readSealed(this.#lastPath, this.#parts.log));
    const resolved = resolveHolds(await this.#found(), this.#last);
    const {instances} = resolved.speaker;
    // What is held comes from what ran before, so that is on disk before anything else runs: after a crash of both gobgpd and the agent a hold still knows
    // what to keep. Without holds all of it comes from the operator's speaker, which the agent's state has on disk; then no route waits for this file.
    const isHeld = resolved.failures.length > 0;
    if (isHeld) await this.#remember(resolved.speaker);
    const failures: SpeakerFailure[] = [...resolved.failures];
    const names = new Set(instances.map(({name}) => name));
    for (const name of await this.#processes.known()) {
      if (names.has(name) || resolved.leaves(name)) continue;
      this.#asns.delete(name);
      this.#known.delete(name);
      await this.#processes.end(name);
    }
    await Promise.all(instances.map(async (instance) => {
      const startedMs = this.#parts.clock.monotonicMs();
      const problem = instanceProblem(instance, instances);
      const found = problem === null ? await this.#applyOne(instance) : [about(instance, 'BGP_INSTANCE_INVALID', problem)];
      failures.push(...found);
      this.#parts.onReconciled?.(instance.name, found.length, (this.#parts.clock.monotonicMs() - startedMs) / 1000);
    }));
    this.#failures = failures;
    if (!isHeld) void this.#remember(resolved.speaker);
    return failures;
  }

  /** What is wanted, with what only the node knows. */
  async #found(): Promise<Speaker> {
    if (!needsNode(this.#wanted)) return this.#wanted;
    this.#node = await this.#readNode();
    return withNode(this.#wanted, this.#node);
  }

  /** What cannot be read is not known, and holds. */
  async #readNode(): Promise<NodeFacts> {
    return await this.#parts.node?.().catch((error: unknown) => {
      this.#parts.log.warn('routes and addresses were not read', errorFields(error));
      return NO_FACTS;
    }) ?? NO_FACTS;
  }

  async #nodeMoved(): Promise<boolean> {
    return needsNode(this.#wanted) && !deepEqual(withNode(this.#wanted, await this.#readNode()), withNode(this.#wanted, this.#node));
  }

  async #remember(speaker: Speaker): Promise<void> {
    if (deepEqual(this.#last, speaker)) return;
    this.#last = speaker;
    this.#lastFile.write(() => JSON.stringify(speaker));
    await this.#lastFile.flushed();
  }

  async #applyOne(instance: BgpInstance): Promise<readonly SpeakerFailure[]> {
    const {log} = this.#parts;
    try {
      const {invalid, refusals, counts} = await this.#bring(instance).catch((error: unknown) => {
        // It died or hung in the middle: a second look finds that out and starts anew.
        if (!isLost(error)) throw error;
        log.warn('gobgpd was lost', {instance: instance.name, ...errorFields(error)});
        return this.#bring(instance);
      });
      if (Object.values(counts).some((count) => count > 0)) log.info('speaker changed', {instance: instance.name, ...changed(counts)});
      const failures = [...invalid, ...refusals];
      for (const failure of failures) log.warn('speaker refused', {...failure});
      return failures;
    } catch (error) {
      const {code} = errorFields(error) as {code?: unknown};
      log.warn('speaker failed', {instance: instance.name, ...errorFields(error)});
      return [about(instance, error instanceof StentorError && typeof code === 'string' ? code : 'BGP_SPEAKER_FAILED', error instanceof Error ? error.message : String(error))];
    }
  }

  /** What is known costs one call per change. What is not, or was refused on such knowledge, is read first. */
  async #bring(instance: BgpInstance): Promise<Applied> {
    const known = this.#known.get(instance.name);
    this.#known.delete(instance.name);
    if (known !== undefined && sameGlobal(known.instance, instance) && this.#processes.isRunning(known.gobgpd)) {
      const done = await this.#change(known, instance);
      if (done !== null && done.refusals.length === 0) return done;
    }
    const gobgpd = await this.#withGlobal(instance);
    this.#asns.set(instance.name, instance.asn);
    const before = known?.gobgpd === gobgpd ? known.instance : null;
    const held = await readHeld(gobgpd.client);
    const done = await applyInstance(gobgpd, instance, {held, instance: before, nowSeconds: this.#parts.clock.now() / 1000});
    if (done.refusals.length === 0) this.#known.set(instance.name, {gobgpd, instance, held, auditedTo: 0});
    return done;
  }

  /** Null when the process is not the one that is known. */
  async #change(known: Known, instance: BgpInstance): Promise<Applied | null> {
    const {gobgpd, held} = known;
    const done = await applyInstance(gobgpd, instance, {held, instance: known.instance, nowSeconds: this.#parts.clock.now() / 1000});
    // Nothing to say: then that it lives and is started has to be asked for.
    const isEqual = Object.values(done.counts).every((count) => count === 0);
    if (isEqual && (await gobgpd.client.GetBgp({})).global?.asn !== instance.asn) return null;
    if (done.refusals.length === 0) this.#known.set(instance.name, {...known, instance});
    return done;
  }

  /** A gobgpd with the right AS number, router id and port; these cannot be changed in a running one. */
  async #withGlobal(instance: BgpInstance): Promise<Gobgpd> {
    const {name, asn, routerId, listenPort} = instance;
    const gobgpd = await this.#processes.ensure(name);
    const {global} = await gobgpd.client.GetBgp({});
    if (global?.asn === asn && global.routerId === routerId && global.listenPort === listenPort) return gobgpd;
    if ((global?.asn ?? 0) === 0) {
      await gobgpd.client.StartBgp({global: {asn, routerId, listenPort}});
      return gobgpd;
    }
    this.#parts.log.info('gobgpd starts anew with other global settings', {instance: name});
    await this.#processes.stop(name);
    const next = await this.#processes.ensure(name);
    await next.client.StartBgp({global: {asn, routerId, listenPort}});
    return next;
  }

  /** What a gobgpd holds against what it is known to hold; a difference has it read as a whole and put right. */
  async #audit(): Promise<void> {
    const {log} = this.#parts;
    let isOther = false;
    for (const [name, known] of this.#known) {
      const {gobgpd, held} = known;
      try {
        const problem = await auditHeld(gobgpd.client, held, {from: known.auditedTo, count: AUDIT_PATHS});
        known.auditedTo = known.auditedTo + AUDIT_PATHS >= held.paths.size ? 0 : known.auditedTo + AUDIT_PATHS;
        if (problem === null) continue;
        log.warn('gobgpd does not hold what it was told', {instance: name, problem});
        this.#known.delete(name);
        isOther = true;
      } catch (error) {
        // Whether it is lost is looked at elsewhere.
        log.debug('gobgpd was not audited', {instance: name, ...errorFields(error)});
      }
    }
    if (isOther) await this.#apply();
  }

  async #lostInstance(): Promise<string | null> {
    const running = new Map(this.#processes.running().map((gobgpd) => [gobgpd.instance, gobgpd]));
    for (const {name} of this.#wanted.instances) {
      const gobgpd = running.get(name);
      if (gobgpd !== undefined && !(await this.#processes.alive(gobgpd))) return name;
    }
    return null;
  }

  async #peersOf(client: Gobgpd['client'], only: string | null): Promise<readonly string[]> {
    const wanted = only === null ? null : canonicalAddress(only);
    const peers = await collect(client.ListPeer({}));
    return peers.flatMap(({peer}) => (peer ? [peerAddress(peer)] : [])).filter((address) => wanted === null || address === wanted).sort(compareAddresses);
  }
}

/** What cannot be read counts as nothing: then a hold leaves alone what runs. */
function speakerOf(stored: unknown): Speaker {
  const {resource} = decodeResource('speaker', 'speaker', '', stored);
  return resource?.kind === 'speaker' ? resource.value : NOTHING;
}

function instanceProblem(instance: BgpInstance, all: readonly BgpInstance[]): string | null {
  const {asn, routerId, listenPort, name} = instance;
  if (name === '' || all.filter((one) => one.name === name).length > 1) return `the instance's name ${JSON.stringify(name)} is empty or used twice`;
  if (!within(asn, 1, 0xffffffff)) return `AS number ${asn} is not within 1..4294967295`;
  if (parseAddress(routerId)?.family !== 4) return `router id ${routerId} is not an IPv4 address`;
  return listenPort === -1 || within(listenPort, 1, 65535) ? null : `port ${listenPort} is neither -1 nor within 1..65535`;
}

/** What a running gobgpd cannot change. */
function sameGlobal(a: BgpInstance, b: BgpInstance): boolean {
  return a.asn === b.asn && a.routerId === b.routerId && a.listenPort === b.listenPort;
}

function about(instance: BgpInstance, code: string, message: string): SpeakerFailure {
  return {instance: instance.name, peer: '', prefix: '', code, message};
}

function changed(counts: AppliedCounts): Readonly<Record<string, number>> {
  return Object.fromEntries(Object.entries(counts).filter(([, count]) => count > 0));
}

function compareAddresses(a: string, b: string): number {
  const [x, y] = [parseAddress(a), parseAddress(b)];
  if (x === null || y === null) return a < b ? -1 : 1;
  return x.family - y.family || Buffer.compare(x.bytes, y.bytes);
}

function comparePrefixTexts(a: string, b: string): number {
  const [x, y] = [parsePrefix(a), parsePrefix(b)];
  return x === null || y === null ? 0 : comparePrefixes(x, y);
}
