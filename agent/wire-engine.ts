// The loop in the middle: desired state and local facts in, compile, kernel and speaker out, what is installed reported.

import {StentorError} from '../lib/core/errors.js';
import {InvariantError} from '../lib/core/invariant.js';
import type {NodeConfigResource} from '../lib/desired/node-state.js';
import type {NodeTables} from '../lib/desired/tables.js';
import {single} from '../lib/desired/tables.js';
import type {Speaker} from '../lib/domain/bgp.js';
import {identityId} from '../lib/domain/identity.js';
import type {Clock} from '../lib/run/clock.js';
import type {Log} from '../lib/run/log.js';
import {errorFields} from '../lib/run/log.js';
import {LatestFile, readSealed} from '../lib/run/state-file.js';
import type {ApplyError} from '../lib/domain/reports.js';
import type {ApplyRound, KernelApply} from './apply/kernel.js';
import type {SpeakerSession} from './apply/speaker.js';
import type {Compiled} from './compile/compile.js';
import {CompileMemo, compileNode} from './compile/compile.js';
import type {CompileOptions} from './compile/input.js';
import {numberLocalIdentities} from './compile/ipcache.js';
import type {HeldDelta, HeldState} from './desired/held.js';
import {EMPTY_HELD} from './desired/held.js';
import type {StateStore} from './desired/store.js';
import type {LocalIdentities} from './model/local-identities.js';
import {NO_LOCAL_IDENTITIES} from './model/local-identities.js';
import type {LocalFacts} from './model/local.js';
import type {DesiredState, Installed} from './stream/session.js';
import type {EndpointTable} from './watch/endpoints.js';
import type {LinkWatch} from './watch/links.js';

export interface EngineOptions {
  readonly compile: CompileOptions;
  readonly localIdentitiesPath: string;
  readonly retryMaxMs: number;
  readonly resyncMs: number;
}

export interface EngineParts {
  readonly kernel: Pick<KernelApply, 'apply' | 'retry' | 'resync'>;
  /** Whether masquerade rules are installed: a hold keeps them, and only a node without any gets the default. */
  readonly hasMasquerade: () => boolean;
  readonly speaker: Pick<SpeakerSession, 'set' | 'failures'>;
  readonly endpoints: Pick<EndpointTable, 'all' | 'onChange'>;
  readonly links: Pick<LinkWatch, 'all' | 'onChange' | 'refresh'>;
  readonly store: Pick<StateStore, 'load' | 'save'>;
  readonly clock: Clock;
  readonly log: Log;
  readonly onInstalled: (installed: Installed, seconds: number | null) => void;
}

/** A speaker that this agent cannot read withdraws nothing. */
const UNREADABLE_SPEAKER: Speaker = {instances: [], source: null, holds: [{instance: null, peer: null, reason: 'the operator’s speaker cannot be read by this agent'}]};

export class NodeEngine implements DesiredState {
  readonly #options: EngineOptions;
  readonly #parts: EngineParts;
  readonly #memo = new CompileMemo();
  readonly #numbersFile: LatestFile;
  readonly #heldListeners = new Set<() => void>();
  #held: HeldState = EMPTY_HELD;
  #numbers: LocalIdentities = NO_LOCAL_IDENTITIES;
  /** The tables that the numbers were last looked for in. */
  #numberedFor: NodeTables | null = null;
  #compiled: Compiled | null = null;
  #round: ApplyRound | null = null;
  #errors: readonly ApplyError[] = [];
  #speaker: Speaker | null = null;
  #speakerBusy = false;
  /** Null until the map was looked at. */
  #hasMasquerade: boolean | null = null;
  #dirty = true;
  #wake: (() => void) | null = null;
  #alarm: {readonly dueMs: number; readonly cancel: AbortController} | null = null;
  #waiters: {readonly after: number; readonly done: () => void}[] = [];
  /** Rounds so far, and the last one that has ended. */
  #begun = 0;
  #ended = 0;
  /** When the oldest change that is not installed yet came. */
  #changedAtMs: number | null = null;

  constructor(options: EngineOptions, parts: EngineParts) {
    this.#options = options;
    this.#parts = parts;
    this.#numbersFile = new LatestFile({path: options.localIdentitiesPath}, parts);
    parts.endpoints.onChange(() => this.touch());
    parts.links.onChange(() => this.touch());
  }

  get held(): HeldState {
    return this.#held;
  }

  get config(): NodeConfigResource | null {
    return single(this.#held.tables, 'node-config');
  }

  get compiled(): Compiled | null {
    return this.#compiled;
  }

  get localIdentities(): LocalIdentities['byPrefix'] {
    return this.#numbers.byPrefix;
  }

  get errors(): readonly ApplyError[] {
    return this.#errors;
  }

  /** Calls back after every change of the desired state; returns how to end it. */
  onHeld(listener: () => void): () => void {
    this.#heldListeners.add(listener);
    return () => this.#heldListeners.delete(listener);
  }

  /** What a process before this one held. */
  async restore(): Promise<void> {
    this.#numbers = numbersOf(await readSealed(this.#options.localIdentitiesPath, this.#parts.log));
    this.#held = await this.#parts.store.load();
    for (const listener of this.#heldListeners) listener();
  }

  apply(delta: HeldDelta): boolean {
    const next = this.#held.apply(delta);
    if (next === null) return false;
    const changed = next.version !== this.#held.version;
    this.#held = next;
    if (changed) {
      this.#parts.store.save(next, delta);
      this.#changedAtMs ??= this.#parts.clock.monotonicMs();
      for (const listener of this.#heldListeners) listener();
    }
    this.touch();
    return true;
  }

  touch(): void {
    this.#dirty = true;
    this.#wake?.();
  }

  /** Changes made until now are in every round with a higher number. */
  get rounds(): number {
    return this.#begun;
  }

  /** Resolves after a round with a higher number than `after`, at once when there was one; the errors are then those of that round or a later one. */
  nextRound(after = this.#begun): Promise<readonly ApplyError[]> {
    if (this.#ended > after) return Promise.resolve(this.#errors);
    return new Promise((resolve) => {
      this.#waiters.push({after, done: () => resolve(this.#errors)});
      if (this.#begun <= after) this.touch();
    });
  }

  /** Ends when `signal` aborts; throws only for broken invariants. */
  async run(signal: AbortSignal): Promise<void> {
    const {clock} = this.#parts;
    let resyncAtMs = clock.monotonicMs() + this.#options.resyncMs;
    while (!signal.aborted) {
      if (this.#dirty) {
        await this.#runRound();
        continue;
      }
      const dueMs = Math.min(resyncAtMs, this.#round?.retryAtMs ?? Infinity);
      if (clock.monotonicMs() < dueMs) {
        await this.#sleepUntil(dueMs, signal);
        continue;
      }
      const isResync = clock.monotonicMs() >= resyncAtMs;
      if (isResync) resyncAtMs = clock.monotonicMs() + this.#options.resyncMs;
      await this.#again(isResync);
    }
  }

  /** Or until `touch`. The alarm stays set meanwhile: most sleeps end before it, and the next is for the same time. */
  #sleepUntil(dueMs: number, signal: AbortSignal): Promise<void> {
    const {clock} = this.#parts;
    if (dueMs !== this.#alarm?.dueMs) {
      this.#alarm?.cancel.abort(new Error('another time'));
      const cancel = new AbortController();
      this.#alarm = {dueMs, cancel};
      clock.sleep(dueMs - clock.monotonicMs(), AbortSignal.any([signal, cancel.signal])).catch(() => undefined).finally(() => {
        if (this.#alarm?.cancel !== cancel) return;
        this.#alarm = null;
        this.#wake?.();
      });
    }
    return new Promise((resolve) => {
      this.#wake = () => {
        this.#wake = null;
        resolve();
      };
    });
  }

  /** One compile and apply. Changes that come meanwhile are for the next one. */
  async #runRound(): Promise<void> {
    this.#dirty = false;
    const number = ++this.#begun;
    const held = this.#held;
    const sinceMs = this.#changedAtMs;
    this.#changedAtMs = null;
    try {
      const whole = await this.#compileAndApply(held);
      if (whole) this.#report(held, sinceMs);
      else this.#changedAtMs = sinceMs;
    } catch (error) {
      if (error instanceof InvariantError) throw error;
      this.#failed(error);
    }
    this.#ended = number;
    const waiting = this.#waiters;
    this.#waiters = waiting.filter(({after}) => after >= number);
    for (const {after, done} of waiting) if (after < number) done();
  }

  /** False when another round must follow before `held` is installed. */
  async #compileAndApply(held: HeldState): Promise<boolean> {
    const {endpoints, links, kernel} = this.#parts;
    await this.#numberIdentities(held);
    const facts: LocalFacts = {endpoints: endpoints.all, links: links.all, localIdentities: this.#numbers.byPrefix};
    const compiled = compileNode(held.tables, facts, this.#options.compile, this.#memo);
    this.#compiled = compiled;
    if (compiled === null) {
      this.#round = null;
      return true;
    }
    this.#setSpeaker(held.undecodable.has('speaker/speaker') ? UNREADABLE_SPEAKER : compiled.kernel.speaker);
    const {holds} = compiled.kernel;
    this.#hasMasquerade ??= this.#parts.hasMasquerade();
    const state = this.#hasMasquerade ? compiled.kernel : {...compiled.kernel, holds: holds.filter(({map}) => map !== 'cilium_ipmasq_v4' && map !== 'cilium_ipmasq_v6')};
    this.#round = await kernel.apply(state, {prune: true});
    this.#hasMasquerade ||= !holds.some(({map}) => map === 'cilium_ipmasq_v4');
    // A device that this round has made has an index that the programs need: then the round counts only with the next one.
    if (compiled.kernel.links.every(({name}) => links.all.has(name))) return true;
    await links.refresh();
    return !this.#dirty;
  }

  /** On disk before in the kernel: a restart must never give another prefix a number that a policy map names. */
  async #numberIdentities(held: HeldState): Promise<void> {
    const {ipcache, 'node-config': config} = held.tables;
    if (ipcache === this.#numberedFor?.ipcache && config === this.#numberedFor['node-config']) return;
    this.#numberedFor = held.tables;
    const numbers = numberLocalIdentities(this.#numbers, held.tables);
    if (numbers === this.#numbers) return;
    this.#numbers = numbers;
    this.#numbersFile.write(() => JSON.stringify({next: numbers.next, byPrefix: Object.fromEntries(numbers.byPrefix)}));
    await this.#numbersFile.flushed();
  }

  async #again(isResync: boolean): Promise<void> {
    try {
      this.#round = await (isResync ? this.#parts.kernel.resync() : this.#parts.kernel.retry());
      if (!this.#dirty) this.#report(this.#held, null);
    } catch (error) {
      if (error instanceof InvariantError) throw error;
      this.#failed(error);
    }
  }

  #failed(error: unknown): void {
    const {clock, log} = this.#parts;
    log.error('the kernel cannot be brought up to date', errorFields(error));
    const code = error instanceof StentorError ? error.code : 'UNEXPECTED';
    this.#round = {
      errors: [{kind: 'node-config', key: 'node-config', code, message: error instanceof Error ? error.message : String(error)}],
      writes: 0, retryAtMs: clock.monotonicMs() + this.#options.retryMaxMs,
    };
    this.#report(this.#held, null);
  }

  #report(held: HeldState, sinceMs: number | null): void {
    this.#errors = this.#allErrors(held);
    const seconds = sinceMs === null ? null : (this.#parts.clock.monotonicMs() - sinceMs) / 1000;
    this.#parts.onInstalled({version: held.version, errors: this.#errors}, seconds);
  }

  #allErrors(held: HeldState): readonly ApplyError[] {
    const undecodable = [...held.undecodable.values()].map(({kind, key, reason}) => ({kind, key, code: 'UNDECODABLE', message: reason}));
    const speaker = this.#parts.speaker.failures().map(({instance, peer, prefix, code, message}) => (
      {kind: 'speaker', key: 'speaker', code, message: `${[instance, peer, prefix].filter((part) => part !== '').join(' ')}: ${message}`}));
    const pending = this.#speakerBusy ? [{kind: 'speaker', key: 'speaker', code: 'PENDING', message: 'the BGP speaker is still being changed'}] : [];
    return [...this.#round?.errors ?? [], ...this.#compiled?.findings ?? [], ...undecodable, ...speaker, ...pending];
  }

  /** Beside the round: a slow speaker must not hold up a policy. Its acknowledgement follows. */
  #setSpeaker(speaker: Speaker): void {
    if (speaker === this.#speaker) return;
    this.#speaker = speaker;
    this.#speakerBusy = true;
    this.#parts.speaker.set(speaker).catch((error: unknown) => this.#parts.log.error('the speaker cannot be changed', errorFields(error))).finally(() => {
      if (this.#speaker !== speaker) return;
      this.#speakerBusy = false;
      if (!this.#dirty) this.#report(this.#held, null);
    });
  }
}

function numbersOf(stored: unknown): LocalIdentities {
  const {next, byPrefix} = (stored ?? {}) as {next?: unknown; byPrefix?: unknown};
  if (typeof next !== 'number' || byPrefix === null || typeof byPrefix !== 'object') return NO_LOCAL_IDENTITIES;
  return {next, byPrefix: new Map(Object.entries(byPrefix).map(([prefix, number]) => [prefix, identityId(Number(number))]))};
}
