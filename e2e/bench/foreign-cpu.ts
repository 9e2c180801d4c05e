// How much of the machine others use while something is measured: all busy time less that of this process and everything it started.

import {readdirSync, readFileSync} from 'node:fs';

interface Sample {
  /** Clock ticks of all processors. */
  readonly busy: number;
  readonly total: number;
  /** Of this process, its descendants, and those of them that have ended. */
  readonly own: number;
}

/** Above this share times are not comparable with those of other runs. */
export const FOREIGN_MAX = 0.1;

export class ForeignCpu {
  readonly #start = sample();

  /** 0..1 of the machine, since this object was made. */
  share(): number {
    const end = sample();
    const total = end.total - this.#start.total;
    return total === 0 ? 0 : Math.max(0, end.busy - this.#start.busy - (end.own - this.#start.own)) / total;
  }
}

export function foreignText(what: string, share: number): string {
  return `other programs used ${(100 * share).toFixed(0)} % of the machine during ${what}${share > FOREIGN_MAX ? ': its times are not comparable with other runs' : ''}`;
}

function sample(): Sample {
  const [, ...ticks] = (readFileSync('/proc/stat', 'utf8').split('\n')[0] ?? '').trim().split(/\s+/).map(Number);
  const [user = 0, nice = 0, system = 0, idle = 0, iowait = 0, irq = 0, softirq = 0, steal = 0] = ticks;
  const busy = user + nice + system + irq + softirq + steal;
  return {busy, total: busy + idle + iowait, own: ownTicks()};
}

interface ProcessTicks {
  readonly pid: number;
  readonly parent: number;
  readonly ticks: number;
}

function ownTicks(): number {
  const all = readdirSync('/proc').filter((name) => /^\d+$/.test(name)).flatMap((name) => processTicks(Number(name)));
  const children = Map.groupBy(all, (item) => item.parent);
  const sum = (item: ProcessTicks): number => item.ticks + (children.get(item.pid) ?? []).reduce((ticks, child) => ticks + sum(child), 0);
  return all.filter((item) => item.pid === process.pid).reduce((ticks, item) => ticks + sum(item), 0);
}

/** Empty when it ended meanwhile. Times include those of children that were waited for. */
function processTicks(pid: number): readonly ProcessTicks[] {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/^.*\) /s, '').split(' ').map(Number);
    const ticks = [11, 12, 13, 14].reduce((total, at) => total + (fields[at] ?? 0), 0);
    return [{pid, parent: fields[1] ?? 0, ticks}];
  } catch {
    return [];
  }
}
