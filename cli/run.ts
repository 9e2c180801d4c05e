// Runs a command line program: output, signals, closed pipes, exit codes.

import {CliError, EXIT, type ExitCode} from './errors.js';
import type {Io} from './output.js';

export type Program = (argv: readonly string[], io: Io, signal: AbortSignal) => Promise<ExitCode>;

export async function runMain(program: Program): Promise<void> {
  const stop = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stop.abort());
  // `stentorctl … | head` is no failure.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? EXIT.ok : EXIT.unreachable));
  const {stdout} = process;
  const io: Io = {
    out: (text) => void stdout.write(text),
    err: (text) => void process.stderr.write(text),
    drained: () => (stdout.writableNeedDrain ? new Promise((resolve) => void stdout.once('drain', () => resolve())) : Promise.resolve()),
    width: stdout.isTTY ? stdout.columns : null,
  };
  try {
    process.exitCode = await program(process.argv.slice(2), io, stop.signal);
  } catch (error) {
    const ours = error instanceof CliError;
    io.err(`error: ${ours ? error.message : describe(error)}\n`);
    process.exitCode = ours ? error.exit : EXIT.unreachable;
  }
}

/** What nobody foresaw is told in full. */
function describe(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
