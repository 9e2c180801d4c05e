// Every change of a namespace's routes, as the kernel tells it: a route that came back between two looks is seen too.

import {spawn, type ChildProcess} from 'node:child_process';
import {createInterface} from 'node:readline';
import type {Netns} from './netns.js';
import {must, until} from './shell.js';

export interface RouteChange {
  readonly deleted: boolean;
  readonly prefix: string;
  readonly text: string;
}

export class RouteWatch {
  readonly #child: ChildProcess;
  readonly #changes: RouteChange[] = [];

  private constructor(child: ChildProcess) {
    this.#child = child;
    if (child.stdout !== null) {
      createInterface({input: child.stdout}).on('line', (line) => {
        const change = parseChange(line);
        if (change !== null) this.#changes.push(change);
      });
    }
  }

  /** Resolves when a change made here has been seen: from then on none is missed. */
  static async start(netns: Netns): Promise<RouteWatch> {
    const child = spawn('setpriv', ['--pdeathsig', 'KILL', '--', 'nsenter', `--net=${netns.path}`, '--', 'ip', '-o', 'monitor', 'route'], {stdio: ['ignore', 'pipe', 'ignore']});
    const watch = new RouteWatch(child);
    await until('the route monitor hears', {timeoutMs: 5_000, intervalMs: 20}, async () => {
      await must(['sh', '-c', `ip -n ${netns.fullName} route add blackhole ${MARK}; ip -n ${netns.fullName} route del blackhole ${MARK}`]);
      return watch.#changes.length > 0 ? true : null;
    });
    return watch;
  }

  changes(): readonly RouteChange[] {
    return this.#changes.filter((change) => change.prefix !== MARK);
  }

  stop(): void {
    this.#child.kill('SIGKILL');
  }
}

const MARK = '192.0.2.255';

/** `Deleted 10.98.1.0/24 via 10.1.5.11 dev rack-sw proto bird metric 32`. Broadcast and local routes of addresses are left out. */
function parseChange(line: string): RouteChange | null {
  const words = line.trim().split(/\s+/);
  const deleted = words[0] === 'Deleted';
  const rest = deleted ? words.slice(1) : words;
  const prefix = rest[0] === 'blackhole' || rest[0] === 'unicast' ? rest[1] : rest[0];
  return prefix === undefined || rest[0] === 'local' || rest[0] === 'broadcast' ? null : {deleted, prefix, text: line};
}
