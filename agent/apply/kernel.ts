// KernelState made true: every target in the order of effects, failures by resource, nothing written that is already so.

import type {Backoff} from '../../lib/core/backoff.js';
import {keepLast} from '../../lib/core/keep-last.js';
import {StentorError} from '../../lib/core/errors.js';
import type {ResourceKind, ResourceName} from '../../lib/desired/node-state.js';
import {resourceId} from '../../lib/desired/node-state.js';
import type {Clock} from '../../lib/run/clock.js';
import type {Log} from '../../lib/run/log.js';
import type {Attachment, KernelState, MapEntry, ReconciledMap} from '../compile/kernel-state.js';
import {programsEnded} from '../kernel/bpf.js';
import type {Netlink} from '../kernel/netlink.js';
import type {LinkChanges} from '../kernel/netlink-watch.js';
import type {NetnsHandle} from '../kernel/netns.js';
import {attachmentKey, AttachmentsTarget, type AttachMode, type AttachmentState} from './attachments.js';
import {BpfMapTarget} from './bpf-map.js';
import {LinksTarget} from './links.js';
import {removeOlderLayouts, type MapSet} from './map-set.js';
import {STAGES, STAGES_REVERSED, type Stage} from './order.js';
import {PolicyEpoch} from './policy-epoch.js';
import {PolicyMapsTarget} from './policy-maps.js';
import {ProgramSets, type ObjectFile, type ProgramSet} from './programs.js';
import {asStentorError, Reconciler, type TargetError, type TargetStatus} from './reconciler.js';
import {routeKey, RoutesTarget, routeState, type RouteState} from './routes.js';
import {SysctlsTarget} from './sysctls.js';
import type {Target} from './target.js';

export interface KernelApplyOptions {
  /** `<bpf-root>`: `maps/`, `progs/`, `links/`. */
  readonly root: string;
  readonly backoff: Backoff;
  readonly attachMode: (device: string) => AttachMode;
}

export interface KernelApplyParts {
  readonly maps: MapSet;
  readonly objects: readonly ObjectFile[];
  readonly netlink: Netlink;
  readonly clock: Pick<Clock, 'monotonicMs'>;
  readonly random: () => number;
  readonly log: Log;
  /** Only when it is not the process's own. */
  readonly netns?: NetnsHandle;
}

export interface ApplyError {
  readonly kind: ResourceKind;
  readonly key: string;
  readonly code: string;
  readonly message: string;
}

export interface ApplyRound {
  readonly errors: readonly ApplyError[];
  /** Keys written and removed. */
  readonly writes: number;
  /** On the monotonic clock: when to call `retry`; null when nothing waits. */
  readonly retryAtMs: number | null;
}

const RECONCILED_MAPS: readonly ReconciledMap[] = ['cilium_runtime_config', 'cilium_ep_config', 'cilium_ipcache', 'cilium_ipmasq_v4', 'cilium_ipmasq_v6', 'cilium_announced_v4', 'cilium_announced_v6', 'cilium_lxc', 'cilium_if_to_ep'];

/** What they desire follows from the stages before them, or others follow from them. */
const STAGES_WITH_MORE: ReadonlySet<Stage> = new Set(['programs', 'links', 'attachments', 'routes']);

/** What a verdict comes from: not a packet is judged by what was remembered before one of these changed. */
const JUDGED_BY: ReadonlySet<ReconciledMap> = new Set(['cilium_ep_config', 'cilium_ipcache', 'cilium_lxc', 'cilium_if_to_ep']);

/** A retry that was due in this round and not made (no prune yet) does not spin. */
const RETRY_PAUSE_MS = 10;

/** Who is to blame for what no resource names: the node's configuration asked for it. */
const NODE_CONFIG: ResourceName = {kind: 'node-config', key: 'node-config'};

/** Pods' devices come and go by the hundred and a clsact filter costs 0.05 ms; the node's few devices get a link of their own (12 ms). */
export function defaultAttachMode(device: string): AttachMode {
  return device.startsWith('lxc') ? 'clsact' : 'tcx';
}

interface Last {
  readonly state: KernelState;
  readonly prune: boolean;
}

export class KernelApply {
  readonly #options: KernelApplyOptions;
  readonly #parts: KernelApplyParts;
  readonly #maps = new Map<ReconciledMap, Reconciler<string, MapEntry>>();
  readonly #policy: Reconciler<number, KernelState['policySlots'] extends ReadonlyMap<number, infer V> ? V : never>;
  readonly #policyTarget: PolicyMapsTarget;
  readonly #epoch: PolicyEpoch;
  readonly #links: Reconciler<string, KernelState['links'][number]>;
  readonly #routes: Reconciler<string, RouteState>;
  readonly #sysctls: Reconciler<string, string>;
  readonly #attachments: Reconciler<string, AttachmentState>;
  readonly #sets: ProgramSets;
  readonly #linksByName = keepLast((links: KernelState['links']) => new Map(links.map((link) => [link.name, link])));
  readonly #routeStates = keepLast(routeStates);
  readonly #attachmentStates: (...inputs: AttachmentInputs) => ReadonlyMap<string, AttachmentState>;
  #set: ProgramSet | null = null;
  /** The set whose predecessors are gone. */
  #sweptFor: ProgramSet | null = null;
  readonly #linkChanges: LinkChanges;
  /** By name; read again when links have changed. */
  #ifindexes: ReadonlyMap<string, number> | null = null;
  #setError: StentorError | null = null;
  #last: Last | null = null;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(options: KernelApplyOptions, parts: KernelApplyParts) {
    this.#options = options;
    this.#parts = parts;
    this.#linkChanges = parts.netlink.linkChanges();
    this.#attachmentStates = keepLast((...inputs: AttachmentInputs) => attachmentStates(options.attachMode, ...inputs));
    const {maps, netlink, netns} = parts;
    this.#epoch = new PolicyEpoch({map: required(maps, 'cilium_policy_epoch'), programsEnded, monotonicNs: () => process.hrtime.bigint()});
    const onWrite = (): void => this.#epoch.close();
    for (const name of RECONCILED_MAPS) {
      const target = new BpfMapTarget({name}, {map: required(maps, name)});
      this.#maps.set(name, this.#reconciler(target, JUDGED_BY.has(name) ? {onWrite} : {}));
    }
    this.#policyTarget = new PolicyMapsTarget({outer: required(maps, 'cilium_policy'), programsEnded});
    this.#policy = this.#reconciler(this.#policyTarget, {onWrite});
    this.#links = this.#reconciler(new LinksTarget({netlink, ...(netns === undefined ? {} : {netns})}));
    this.#routes = this.#reconciler(new RoutesTarget({netlink}));
    this.#sysctls = this.#reconciler(new SysctlsTarget(netns === undefined ? {} : {netns}));
    this.#sets = new ProgramSets({root: options.root}, {objects: parts.objects, maps, log: parts.log});
    this.#attachments = this.#reconciler(new AttachmentsTarget({root: options.root}, {
      netlink, program: (name) => this.#set?.programs.get(name)?.program ?? null, ...(netns === undefined ? {} : {netns}),
    }), {onWrite});
  }

  /** One round. `prune`: `state` is complete, so what is ours and not in it may go. Rounds wait for each other. */
  apply(state: KernelState, {prune}: {readonly prune: boolean}): Promise<ApplyRound> {
    return this.#inTurn(() => this.#round({state, prune}));
  }

  /** The last state again: what failed and is due. */
  retry(): Promise<ApplyRound> {
    return this.#inTurn(() => (this.#last === null ? Promise.resolve({errors: [], writes: 0, retryAtMs: null}) : this.#round(this.#last)));
  }

  /** The last state again, after reading everything back: for what others may have changed. */
  resync(): Promise<ApplyRound> {
    for (const reconciler of this.#all()) reconciler.invalidate();
    this.#ifindexes = null;
    return this.retry();
  }

  status(): readonly TargetStatus[] {
    return [...this.#all()].map((reconciler) => reconciler.status());
  }

  /** The kernel keeps everything. */
  async close(): Promise<void> {
    await this.#turn;
    this.#linkChanges.close();
    this.#policyTarget.close();
    this.#sets.close();
  }

  #inTurn(body: () => Promise<ApplyRound>): Promise<ApplyRound> {
    const round = this.#turn.then(body);
    this.#turn = round.catch(() => undefined);
    return round;
  }

  async #round(next: Last): Promise<ApplyRound> {
    this.#last = next;
    const {state} = next;
    for (const [name, content] of state.maps) this.#maps.get(name)?.setDesired(content);
    this.#policy.setDesired(state.policySlots);
    this.#links.setDesired(this.#linksByName(state.links));
    this.#sysctls.setDesired(state.sysctls);
    const held = new Set<Stage>(state.holds.map((hold) => hold.map));
    let writes = 0;
    for (const stage of STAGES) {
      if (!held.has(stage) && !this.#isInPlace(stage)) writes += await this.#upsertStage(stage, state);
    }
    if (next.prune) {
      for (const stage of STAGES_REVERSED) {
        const reconciler = this.#reconcilerOf(stage);
        if (reconciler !== null && !held.has(stage) && !reconciler.isSettled) writes += await reconciler.prune();
      }
    }
    this.#sweepSets();
    await this.#raiseEpoch();
    return {errors: this.#errors(state), writes, retryAtMs: this.#retryAtMs()};
  }

  /** Of the stages that have nothing to do but to reconcile: most rounds concern one of them, and are waited for. */
  #isInPlace(stage: Stage): boolean {
    return !STAGES_WITH_MORE.has(stage) && (this.#reconcilerOf(stage)?.isSettled ?? false);
  }

  /** While it cannot be raised every packet is judged anew, which is slower and nothing else: the next round tries again. */
  async #raiseEpoch(): Promise<void> {
    try {
      await this.#epoch.raise();
    } catch (error) {
      const {code, message} = asStentorError(error);
      this.#parts.log.warn('verdicts are not remembered', {code, error: message});
    }
  }

  async #upsertStage(stage: Stage, state: KernelState): Promise<number> {
    if (stage === 'programs') return this.#ensureSet(state);
    if (stage === 'attachments' && this.#set !== null) {
      this.#attachments.setDesired(this.#attachmentStates(state.attachments, this.#set, this.#ifindexes));
    }
    if (stage === 'routes') this.#routes.setDesired(this.#routeStates(state.routes, this.#ifindexes));
    const written = await (this.#reconcilerOf(stage)?.upsert() ?? 0);
    if (stage === 'links') await this.#afterLinks(written, state);
    return written;
  }

  /** With a device go its programs, routes and settings, and no message says so. */
  async #afterLinks(written: number, state: KernelState): Promise<void> {
    const changed = this.#linkChanges.take();
    if (written > 0) for (const dependent of [this.#attachments, this.#routes, this.#sysctls]) dependent.invalidate();
    if (this.#ifindexes !== null && written === 0 && changed !== null && changed.size === 0) return;
    const before = this.#ifindexes;
    this.#ifindexes = new Map((await this.#parts.netlink.links()).map((link) => [link.name, link.ifindex]));
    const isRouteDevice = ({device}: {readonly device: string}): boolean => changed === null || changed.has(before?.get(device) ?? 0);
    if (state.routes.some(isRouteDevice)) this.#routes.invalidate();
  }

  /** Null for what is not reconciled by key, or cannot be yet. */
  #reconcilerOf(stage: Stage): Reconciler<string, unknown> | Reconciler<number, unknown> | null {
    if (stage === 'programs') return null;
    if (stage === 'attachments') return this.#set === null ? null : this.#attachments;
    if (stage === 'cilium_policy') return this.#policy;
    if (stage === 'links') return this.#links;
    if (stage === 'sysctls') return this.#sysctls;
    if (stage === 'routes') return this.#routes;
    return this.#maps.get(stage) ?? null;
  }

  /** While a set cannot be loaded the one before stays attached. */
  async #ensureSet(state: KernelState): Promise<number> {
    const before = this.#sets.loads;
    try {
      this.#set = await this.#sets.ensure(state.programConfig);
      this.#setError = null;
      return this.#sets.loads - before;
    } catch (error) {
      const failure = asStentorError(error);
      if (this.#setError?.message !== failure.message) this.#parts.log.error('programs not loaded', {code: failure.code, error: failure.message, ...failure.data});
      this.#setError = failure;
      return 0;
    }
  }

  #sweepSets(): void {
    const isSettled = this.#set !== null && this.#setError === null && this.#attachments.status().pending === 0;
    if (!isSettled || this.#last?.prune !== true || this.#set === this.#sweptFor) return;
    this.#sets.removeOthers();
    removeOlderLayouts(this.#options.root, this.#parts.log);
    this.#sweptFor = this.#set;
  }

  *#all(): Generator<Reconciler<string, unknown> | Reconciler<number, unknown>> {
    for (const stage of STAGES) {
      const reconciler = stage === 'attachments' ? this.#attachments : this.#reconcilerOf(stage);
      if (reconciler !== null) yield reconciler;
    }
  }

  #errors(state: KernelState): readonly ApplyError[] {
    const errors: TargetError[] = [...this.#all()].flatMap((reconciler) => [...reconciler.errors()]);
    if (this.#setError !== null) {
      const because = state.attachments.flatMap((attachment) => attachment.because ?? []);
      errors.push({target: 'programs', because: [NODE_CONFIG, ...because], error: this.#setError});
    }
    return byResource(errors);
  }

  #retryAtMs(): number | null {
    let next: number | null = this.#setError === null ? null : this.#parts.clock.monotonicMs() + this.#options.backoff.maxMs;
    for (const reconciler of this.#all()) {
      const due = reconciler.nextRetryMs();
      if (due !== null) next = Math.min(next ?? due, due);
    }
    return next === null ? null : Math.max(next, this.#parts.clock.monotonicMs() + RETRY_PAUSE_MS);
  }

  #reconciler<K extends string | number, V>(target: Target<K, V>, extra: {readonly onWrite?: () => void} = {}): Reconciler<K, V> {
    const {clock, random} = this.#parts;
    return new Reconciler({backoff: this.#options.backoff}, {target, clock, random, ...extra});
  }
}

type Ifindexes = ReadonlyMap<string, number> | null;
type AttachmentInputs = readonly [attachments: readonly Attachment[], set: ProgramSet, ifindexes: Ifindexes];

function attachmentStates(mode: (device: string) => AttachMode, ...[attachments, set, ifindexes]: AttachmentInputs): ReadonlyMap<string, AttachmentState> {
  return new Map(attachments.map((attachment) => [attachmentKey(attachment), {
    device: attachment.device,
    direction: attachment.direction,
    ifindex: ifindexes?.get(attachment.device) ?? null,
    mode: mode(attachment.device),
    programName: attachment.program,
    programId: set.programs.get(attachment.program)?.id ?? 0,
    because: attachment.because ?? [],
  }]));
}

function routeStates(routes: KernelState['routes'], ifindexes: Ifindexes): ReadonlyMap<string, RouteState> {
  const states = routes.map((route) => routeState(route, ifindexes?.get(route.device) ?? null));
  return new Map(states.map((state) => [routeKey(state.spec), state]));
}

/** One error per resource and code: the first, and how many more there are. */
function byResource(errors: readonly TargetError[]): readonly ApplyError[] {
  const found = new Map<string, {name: ResourceName; code: string; message: string; count: number}>();
  for (const {target, because, error} of errors) {
    for (const name of because.length === 0 ? [NODE_CONFIG] : because) {
      const id = `${resourceId(name)} ${error.code}`;
      const entry = found.get(id);
      if (entry === undefined) found.set(id, {name, code: error.code, message: `${target}: ${error.message}`, count: 1});
      else entry.count++;
    }
  }
  return [...found.values()].map(({name, code, message, count}) => ({
    kind: name.kind, key: name.key, code, message: count === 1 ? message : `${message} (and ${count - 1} more)`,
  }));
}

function required<K, V>(map: ReadonlyMap<K, V>, key: K): V {
  const value = map.get(key);
  if (value === undefined) throw new StentorError('NO_MAP', `the map ${String(key)} is not open`, {map: key});
  return value;
}
