// A way from the machine's loopback into a namespace of the lab, without a link between the two.

import {recordProcess} from './cleanup.js';
import {HELPER} from './helper.js';
import type {Netns} from './netns.js';
import type {RunDirectory} from './run-dir.js';
import {must, startDaemon, until, type Daemon} from './shell.js';

export interface Relay {
  readonly daemon: Daemon;
  /** On 127.0.0.1. */
  readonly port: number;
}

export async function startRelay(netns: Netns, to: {readonly address: string; readonly port: number}, run: RunDirectory): Promise<Relay> {
  const logFile = run.log(`relay-${netns.name}-${to.port}`);
  const daemon = startDaemon({name: 'relay', logFile, command: [HELPER, 'relay', netns.path, to.address, String(to.port)]});
  recordProcess(run, daemon.pid, 'relay');
  const port = await until('the relay listens', {timeoutMs: 5_000, intervalMs: 10}, async () => (await must(['cat', logFile])).trim() || null);
  return {daemon, port: Number(port)};
}
