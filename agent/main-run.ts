// The agent's process: options, signals, exit codes. 0 = asked to stop, 1 = failed, 2 = options refused.

import {readFileSync} from 'node:fs';
import {join} from 'node:path';
import {StentorError} from '../lib/core/errors.js';
import {fatalLine} from '../lib/run/config.js';
import {programStarted} from '../lib/run/heap.js';
import {createLog, errorFields} from '../lib/run/log.js';
import {loadAgentConfig, logLevelOf} from './config.js';
import type {Agent} from './wire.js';
import {startAgent} from './wire.js';

const EXIT_FAILED = 1;
const EXIT_USAGE = 2;

async function main(): Promise<number> {
  const version = packageVersion();
  const loaded = await loadAgentConfig(process.argv.slice(2));
  if (loaded.kind === 'help') {
    process.stdout.write(loaded.text);
    return 0;
  }
  if (loaded.kind === 'version') {
    process.stdout.write(`${version}\n`);
    return 0;
  }
  const config = loaded.value;
  const log = createLog({level: logLevelOf(config), fields: {node: config['node-name']}});
  const asked = new Promise<string>((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => resolve(signal));
  });
  // Nothing is left half done by leaving at once: what the kernel holds stays, and the next process takes it over.
  process.on('unhandledRejection', (error) => leave(error));
  process.on('uncaughtException', (error) => leave(error));
  const agent: Agent = await startAgent(config, {version, log});
  programStarted();
  try {
    const signal = await Promise.race([asked, agent.failed]);
    log.info('stopping', {signal});
    return 0;
  } catch (error) {
    log.error('a part of the agent failed', errorFields(error));
    process.stderr.write(`${fatalLine(error)}\n`);
    return EXIT_FAILED;
  } finally {
    await agent.stop();
  }
}

function leave(error: unknown): void {
  process.stderr.write(`${fatalLine(error)}\n`);
  process.exit(EXIT_FAILED);
}

function packageVersion(): string {
  const text = readFileSync(join(import.meta.dirname, '../../package.json'), 'utf8');
  return String((JSON.parse(text) as {version?: unknown}).version);
}

export function runProcess(): void {
  main().then(
    (code) => process.exit(code),
    (error: unknown) => {
      process.stderr.write(`${fatalLine(error)}\n`);
      process.exit(error instanceof StentorError && error.code === 'CONFIG_INVALID' ? EXIT_USAGE : EXIT_FAILED);
    },
  );
}
