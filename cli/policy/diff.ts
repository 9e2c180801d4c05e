// policy diff A B: which pods gain or lose access to which, and on which ports; by label sets rather than by text.

import {changesOf, type Party, type ReachChange} from '../../lib/policy/compare.js';
import type {CompiledCluster} from '../../lib/policy/offline.js';
import type {Reach} from '../../lib/policy/reach.js';
import {stat} from 'node:fs/promises';
import type {Verb, VerbContext} from '../context.js';
import {EXIT, usage} from '../errors.js';
import {printValue} from '../output.js';
import {table} from '../table.js';
import {coloursOf} from './colours.js';
import {listOption, loadSettings, sayProblems} from './input.js';
import {partyText} from './names.js';
import {readManifests, readRevision, type Manifests} from './sources.js';
import {comparable} from './union.js';
import {compileWorld, worldOf} from './world.js';

/** Names in one cell of the table. */
const NAMES_MAX = 4;

export const diff: Verb = async (context) => {
  const {common, io} = context;
  const [a, b] = sidesOf(context.args);
  const settings = await loadSettings(context);
  const both = await readManifests(listOption(context, 'input'));
  const folders = listOption(context, 'path');
  const sides = await Promise.all([a, b].map(async (side) => joined(await readSide(side, folders), both)));
  // Either side's pods are in both, and so are their families.
  const enableIPv6 = settings.enableIPv6 ?? sides.some((manifests) => worldOf(manifests, settings).settings.enableIPv6 === true);
  const worlds = sides.map((manifests) => worldOf(manifests, {...settings, enableIPv6}));
  const [before, after] = worlds;
  if (before === undefined || after === undefined) throw usage('two sides are needed');
  const partial = worlds.map((world) => sayProblems(context, {...world, warnings: []})).includes(true);
  const clusters = comparable(before, after).map(compileWorld);
  const [old, now] = clusters;
  if (old === undefined || now === undefined) throw usage('two sides are needed');
  const changes = changesOf(old, now);
  if (common.format === 'table' || common.format === 'wide') printTable(changes, clusters, context);
  else await printValue(io, common.format, common.format === 'jsonl' ? changes.map((change) => jsonOf(change, clusters)) : {changes: changes.map((change) => jsonOf(change, clusters))});
  return changes.length > 0 ? EXIT.findings : partial ? EXIT.partial : EXIT.ok;
};

/** `A B`, or `main..HEAD` (an empty side is HEAD). */
function sidesOf(args: readonly string[]): readonly [string, string] {
  const [first = '', second, third] = args;
  if (third !== undefined) throw usage(`${third}: two folders or revisions are compared, or one range such as main..HEAD`);
  if (second !== undefined) return [first, second];
  const dots = first.indexOf('..');
  if (dots < 0) throw usage('two folders or revisions are needed, or one range such as main..HEAD');
  return [first.slice(0, dots) || 'HEAD', first.slice(dots).replace(/^\.{2,3}/, '') || 'HEAD'];
}

async function readSide(side: string, folders: readonly string[]): Promise<Manifests> {
  const exists = side === '-' || await stat(side).then(() => true, () => false);
  return exists ? readManifests([side]) : readRevision(side, folders.length > 0 ? folders : ['.']);
}

function joined(a: Manifests, b: Manifests): Manifests {
  return {objects: [...a.objects, ...b.objects], others: [...a.others, ...b.others], problems: [...a.problems, ...b.problems]};
}

function jsonOf({source, destination, gained, lost}: ReachChange, clusters: readonly CompiledCluster[]): unknown {
  const party = (one: Party): object => ({name: one.name, kind: one.kind, labels: one.kind === 'pods' ? partyText(one, clusters) : null, pods: one.pods});
  const reach = ({ranges, text}: Reach): object => ({text, ranges});
  return {from: party(source), to: party(destination), gained: reach(gained), lost: reach(lost)};
}

interface Row {
  readonly from: string[];
  readonly to: string;
  readonly gained: string;
  readonly lost: string;
}

/** Sources that gain and lose the same at one destination share a row. */
function printTable(changes: readonly ReachChange[], clusters: readonly CompiledCluster[], {common, io}: VerbContext): void {
  const rows = new Map<string, Row>();
  for (const {source, destination, gained, lost} of changes) {
    const row = {from: [], to: partyText(destination, clusters), gained: gained.text === 'none' ? '' : gained.text, lost: lost.text === 'none' ? '' : lost.text};
    const key = JSON.stringify([destination.name, row]);
    const held: Row = rows.get(key) ?? row;
    held.from.push(partyText(source, clusters));
    rows.set(key, held);
  }
  if (rows.size === 0) {
    io.out('nobody gains or loses access\n');
    return;
  }
  const names = (all: readonly string[]): readonly string[] =>
    (common.format === 'wide' || all.length <= NAMES_MAX ? all : [...all.slice(0, NAMES_MAX - 1), `… and ${all.length - NAMES_MAX + 1} more`]);
  io.out(table<Row>([
    {title: 'FROM', cell: ({from}) => names(from)}, {title: 'TO', cell: ({to}) => to}, {title: 'GAINS', cell: ({gained}) => gained}, {title: 'LOSES', cell: ({lost}) => lost},
  ], [...rows.values()], common.format === 'wide' ? null : io.width));
  const colours = coloursOf(io);
  const count = (pick: (change: ReachChange) => Reach): number => changes.filter((change) => pick(change).ranges.length > 0).length;
  io.out(`\n${colours.good(`${count(({gained}) => gained)} pairs gain access`)}, ${colours.bad(`${count(({lost}) => lost)} lose access`)}\n`);
}
