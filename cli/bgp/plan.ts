// bgp plan: what manifests would announce, withdraw and reset, node by node, against the cluster or other manifests. It changes nothing.

import {canonicalJson, compareStrings} from '../../lib/core/order.js';
import type {BgpInstance, BgpPeer, PathAttributes} from '../../lib/domain/bgp.js';
import {peerPaths} from '../../lib/domain/bgp-advertisements.js';
import type {CompiledSpeaker} from '../../operator/compile/bgp.js';
import {isHeld} from '../../operator/compile/bgp-withdrawals.js';
import type {Verb} from '../context.js';
import {EXIT, usage} from '../errors.js';
import {printValue} from '../output.js';
import type {SourceObject} from '../policy/documents.js';
import {stringOption} from '../policy/input.js';
import {readManifests} from '../policy/sources.js';
import {table} from '../table.js';
import {bgpKind, bgpWorld, conflictsOf, readBgpInput, sayBgpProblems} from './world.js';

export interface PlannedChange {
  readonly node: string;
  readonly instance: string;
  readonly peer: string;
  readonly change: 'announce' | 'withdraw' | 'attributes' | 'session opens' | 'session ends' | 'session resets';
  /** Empty of sessions. */
  readonly prefix: string;
  readonly detail: string;
}

export interface Plan {
  readonly changes: readonly PlannedChange[];
  /** Paths told to peers before, and how many of them would be withdrawn. */
  readonly paths: number;
  readonly withdrawn: number;
}

export const plan: Verb = async (context) => {
  const {common, io} = context;
  if (context.args.length === 0) throw usage('which manifests? bgp plan <path...>');
  const limit = shareOf(stringOption(context, 'maxWithdraw') ?? '20%');
  const [before, files] = [await readBgpInput(context, [], 'base'), await readManifests(context.args)];
  const after = overlaid(before.objects, [...files.objects], context.options['prune'] === true);
  const [old, now] = [bgpWorld(before.objects, 'given'), bgpWorld(after, 'given')];
  const partial = [sayBgpProblems(context, before, old), sayBgpProblems(context, files, null)].includes(true);
  const result = planOf(old.speakers, now.speakers);
  const share = result.paths === 0 ? 0 : result.withdrawn / result.paths;
  const refused = share > limit && context.options['yes'] !== true;
  const known = new Set(conflictsOf(old).map((conflict) => canonicalJson(conflict)));
  const conflicts = conflictsOf(now).filter((conflict) => !known.has(canonicalJson(conflict)));
  if (common.format === 'table' || common.format === 'wide') {
    if (result.changes.length > 0) io.out(table([
      {title: 'NODE', cell: ({node}) => node}, {title: 'INSTANCE', cell: ({instance}) => instance}, {title: 'PEER', cell: ({peer}) => peer},
      {title: 'CHANGE', cell: ({change}) => change}, {title: 'PREFIX', cell: ({prefix}) => prefix}, {title: 'DETAIL', cell: ({detail}) => detail},
    ], result.changes, io.width));
    for (const {object, message} of conflicts) io.err(`${object}: ${message}\n`);
    io.err(`${result.changes.length} changes; ${result.withdrawn} of ${result.paths} paths withdrawn (${percent(share)})\n`);
  } else {
    await printValue(io, common.format, common.format === 'jsonl' ? result.changes : {...result, share, limit, refused, conflicts});
  }
  if (refused) io.err(`refused: more than ${percent(limit)} would be withdrawn; --yes or a larger --max-withdraw if that is meant\n`);
  return refused || conflicts.length > 0 ? EXIT.findings : partial ? EXIT.partial : EXIT.ok;
};

function shareOf(text: string): number {
  const number = Number(text.replace(/%$/, ''));
  if (!/^\d+(\.\d+)?%?$/.test(text) || number > 100) throw usage(`--max-withdraw ${text}: a share such as 20% is expected`);
  return number / 100;
}

function percent(share: number): string {
  return `${Math.round(share * 1000) / 10}%`;
}

/** The objects of `files` in place of those of the same name. `prune`: BGP objects that are not in the files are gone. */
export function overlaid(base: readonly SourceObject[], files: readonly SourceObject[], prune: boolean): SourceObject[] {
  const key = ({kind, object: {metadata: {namespace = '', name}}}: SourceObject): string => `${kind} ${namespace}/${name}`;
  const named = new Set(files.map(key));
  const isPruned = (item: SourceObject): boolean => prune && (bgpKind(item)?.startsWith('CiliumBGP') ?? false);
  return [...base.filter((item) => !named.has(key(item)) && !isPruned(item)), ...files.map((item) => asThere(item, base.find((one) => key(one) === key(item))))];
}

/** A manifest has neither age nor uid: those of the object that it changes count. One that is new is the youngest. */
function asThere(item: SourceObject, there: SourceObject | undefined): SourceObject {
  const {creationTimestamp = '9999-12-31T23:59:59Z', uid = ''} = there?.object.metadata ?? item.object.metadata;
  return {...item, object: {...item.object, metadata: {...item.object.metadata, creationTimestamp, uid}}};
}

/** What is held stays: it is no change. */
export function planOf(before: ReadonlyMap<string, CompiledSpeaker>, after: ReadonlyMap<string, CompiledSpeaker>): Plan {
  const changes: PlannedChange[] = [];
  let paths = 0;
  for (const node of [...new Set([...before.keys(), ...after.keys()])].sort(compareStrings)) {
    const [old, now] = [before.get(node)?.speaker, after.get(node)?.speaker];
    const names = new Set([...old?.instances ?? [], ...now?.instances ?? []].map(({name}) => name));
    for (const name of [...names].sort(compareStrings)) {
      const [a, b] = [old, now].map((speaker) => speaker?.instances.find((instance) => instance.name === name));
      paths += a === undefined ? 0 : peerPaths(a).length;
      changes.push(...instanceChanges(a, b).filter(({peer}) => !isHeld(now?.holds, name, peer)).map((change) => ({node, instance: name, ...change})));
    }
  }
  return {changes, paths, withdrawn: changes.filter(({change}) => change === 'withdraw').length};
}

type InstanceChange = Omit<PlannedChange, 'node' | 'instance'>;

function instanceChanges(before: BgpInstance | undefined, after: BgpInstance | undefined): InstanceChange[] {
  const anew = before !== undefined && after !== undefined && (before.asn !== after.asn || before.routerId !== after.routerId || before.listenPort !== after.listenPort);
  const peers = new Set([...before?.peers ?? [], ...after?.peers ?? []].map(({address}) => address));
  const sessions = [...peers].sort(compareStrings).flatMap((address): InstanceChange[] => {
    const [a, b] = [before, after].map((instance) => instance?.peers.find((peer) => peer.address === address));
    if (a === undefined) return [{peer: address, change: 'session opens', prefix: '', detail: `AS ${b?.asn ?? 0}`}];
    if (b === undefined) return [{peer: address, change: 'session ends', prefix: '', detail: `AS ${a.asn}`}];
    const detail = anew ? 'AS number, router id or port of the instance' : differingFields(a, b).join(', ');
    return detail === '' ? [] : [{peer: address, change: 'session resets', prefix: '', detail}];
  });
  return [...sessions, ...pathChanges(before, after)];
}

const WITHOUT_RESET: ReadonlySet<keyof BgpPeer> = new Set(['connectRetrySeconds', 'bfd']);

function differingFields(a: BgpPeer, b: BgpPeer): string[] {
  const names = [...new Set([...Object.keys(a), ...Object.keys(b)])] as (keyof BgpPeer)[];
  return names.filter((name) => !WITHOUT_RESET.has(name) && canonicalJson(a[name] ?? null) !== canonicalJson(b[name] ?? null)).sort(compareStrings);
}

function pathChanges(before: BgpInstance | undefined, after: BgpInstance | undefined): InstanceChange[] {
  const told = (instance: BgpInstance | undefined): Map<string, {readonly peer: string; readonly prefix: string; readonly attributes: PathAttributes}> =>
    new Map((instance === undefined ? [] : peerPaths(instance)).map((path) => [`${path.prefix} ${path.peer}`, path]));
  const [old, now] = [told(before), told(after)];
  return [...new Set([...old.keys(), ...now.keys()])].sort(compareStrings).flatMap((key): InstanceChange[] => {
    const [a, b] = [old.get(key), now.get(key)];
    const {peer, prefix} = a ?? b ?? {peer: '', prefix: ''};
    if (a === undefined) return [{peer, prefix, change: 'announce', detail: ''}];
    if (b === undefined) return [{peer, prefix, change: 'withdraw', detail: ''}];
    return canonicalJson(a.attributes) === canonicalJson(b.attributes) ? [] : [{peer, prefix, change: 'attributes', detail: canonicalJson(b.attributes)}];
  });
}
