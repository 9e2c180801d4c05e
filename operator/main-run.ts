// operator [run] | render | ca issue: parses options, runs until a signal. Exit 0 ok, 2 usage, 1 anything else.

import {StentorError} from '../lib/core/errors.js';
import {fatalLine} from '../lib/run/config.js';
import {programStarted} from '../lib/run/heap.js';
import {Lifecycle} from '../lib/run/lifecycle.js';
import {createLog, errorFields} from '../lib/run/log.js';
import {issueCommand} from './main-ca.js';
import {renderCommand} from './main-render.js';
import {loadOperatorConfig} from './config.js';
import {VERSION, wireOperator} from './wire.js';

const USAGE_CODES: ReadonlySet<string> = new Set(['CONFIG_INVALID']);

async function main(argv: readonly string[]): Promise<void> {
  const [command = '', ...rest] = argv;
  if (command === 'render') return renderCommand(rest);
  if (command === 'ca') return issueCommand(rest);
  return run(command === 'run' ? rest : argv);
}

async function run(argv: readonly string[]): Promise<void> {
  const result = await loadOperatorConfig(argv);
  if (result.kind !== 'config') {
    process.stdout.write(result.kind === 'help' ? result.text : `${VERSION}\n`);
    return;
  }
  const log = createLog({level: result.value['log-level'], fields: {program: 'operator'}});
  const lifecycle = new Lifecycle({log});
  let failed: unknown = null;
  const ended = new Promise<void>((resolve) => {
    const fail = (error: unknown): void => {
      failed ??= error;
      resolve();
    };
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => resolve());
    process.on('uncaughtException', fail);
    process.on('unhandledRejection', fail);
    wireOperator(result.value, {log, lifecycle, fail}).then(() => lifecycle.start()).then(programStarted).catch(fail);
  });
  await ended;
  await lifecycle.stop();
  if (failed !== null) {
    log.error('operator failed', errorFields(failed));
    throw failed;
  }
  log.info('operator stopped');
}

export function runProcess(): void {
  main(process.argv.slice(2)).then(() => process.exit(0), (error: unknown) => {
    process.stderr.write(`${fatalLine(error)}\n`);
    process.exit(error instanceof StentorError && USAGE_CODES.has(error.code) ? 2 : 1);
  });
}
