// drops: packets dropped on this node by reason and direction, once or again and again.

import {setTimeout as sleep} from 'node:timers/promises';
import {metricsCodec} from '../../agent/maps/metrics.js';
import type {Verb, VerbContext} from '../context.js';
import {EXIT, usage} from '../errors.js';
import {printValue} from '../output.js';
import {readEventsLost, readMap} from '../pins.js';
import {dropRows, type DropRow} from '../rows.js';
import type {Column} from '../table.js';
import {table} from '../table.js';
import {agentOf, list} from './common.js';

const COLUMNS: readonly Column<DropRow>[] = [
  {title: 'NODE', cell: ({node}) => (node === '' ? '-' : node)},
  {title: 'REASON', cell: ({reasonText}) => reasonText},
  {title: 'DIRECTION', cell: ({direction}) => direction},
  {title: 'PACKETS', cell: ({packets}) => packets, right: true},
  {title: 'BYTES', cell: ({bytes}) => bytes, right: true},
  {title: 'CODE', cell: ({reason}) => reason, wide: true, right: true},
  {title: 'AT', cell: ({places}) => places.map(({file, line, packets}) => `${file}:${line} ${packets}`), wide: true},
];

/** The counters themselves, so it is equal to `cilium_drop_count_total`; what nobody could be told is said on stderr. */
export const drops: Verb = async (context) => {
  const {common, io, options} = context;
  const node = common.pinned ? '' : ((await agentOf(common).ask('/v1/status'))?.node ?? '');
  if (options['watch'] === true) return watch(context, node);
  const lost = readEventsLost(common.bpfRoot).drop;
  if (lost > 0) io.err(`${lost} drops could not be told: they are counted here and not in the monitor\n`);
  return list(context, {items: read(context, node), columns: COLUMNS, name: ({reason, direction}) => `${reason}/${direction}`, empty: 'nothing was dropped'});
};

function read({common}: VerbContext, node: string): readonly DropRow[] {
  return dropRows(readMap(common.bpfRoot, metricsCodec), node);
}

/** Until it is interrupted: what has grown since the look before. */
async function watch(context: VerbContext, node: string): ReturnType<Verb> {
  const {common: {format}, io, signal} = context;
  const seconds = Number(context.options['interval'] ?? '1');
  if (!(seconds >= 0.1 && seconds <= 3600)) throw usage('--interval takes seconds within 0.1..3600');
  const isTable = format === 'table' || format === 'wide';
  if (isTable) io.err('Press Ctrl-C to quit\n');
  let before = read(context, node);
  while (!signal.aborted) {
    await sleep(seconds * 1000, undefined, {signal}).catch(() => undefined);
    const now = read(context, node);
    const grown = growth(before, now);
    before = now;
    if (grown.length === 0) continue;
    const time = new Date().toISOString();
    if (isTable) io.out(`${time.slice(11, 19)}\n${table(COLUMNS.filter(({wide}) => format === 'wide' || wide !== true), grown, format === 'wide' ? null : io.width)}`);
    else for (const row of grown) await printValue(io, 'jsonl', {time, ...row});
  }
  return EXIT.ok;
}

/** Rows that grew, with what they grew by. */
export function growth(before: readonly DropRow[], now: readonly DropRow[]): readonly DropRow[] {
  return now.flatMap((row) => {
    const known = before.find(({reason, direction}) => reason === row.reason && direction === row.direction);
    const packets = row.packets - (known?.packets ?? 0);
    if (packets <= 0) return [];
    const places = row.places.flatMap(({file, line, packets: count}) => {
      const added = count - (known?.places.find((place) => place.file === file && place.line === line)?.packets ?? 0);
      return added > 0 ? [{file, line, packets: added}] : [];
    });
    return [{...row, packets, bytes: row.bytes - (known?.bytes ?? 0), places}];
  });
}
