// A command line from a table of verbs: parses, loads the one verb that was called, runs it.

import {readFileSync} from 'node:fs';
import {join} from 'node:path';
import {Command, CommanderError} from 'commander';
import type {CommonOptions, VerbSpec} from './context.js';
import {EXIT, type ExitCode, usage} from './errors.js';
import {FORMATS, parseFormat, type Io} from './output.js';
import type {Program} from './run.js';

export interface ProgramSpec {
  readonly name: string;
  readonly about: string;
  readonly verbs: readonly VerbSpec[];
  /** Help of the words that only lead on to others, by their path. */
  readonly groups: Readonly<Record<string, string>>;
}

const EXITS = 'Exit codes: 0 ok, 1 findings, 2 usage, 3 cannot reach, 4 timeout, 5 partial.';

export function programOf(spec: ProgramSpec): Program {
  return async (argv, io, signal) => {
    const root = rootCommand(spec);
    const done: {exit: ExitCode} = {exit: EXIT.ok};
    for (const verb of spec.verbs) {
      define(root, verb, spec.groups).action(async (...given: unknown[]) => {
        const command = given.at(-1) as Command;
        const run = await verb.load();
        done.exit = await run({args: command.args, options: command.opts(), common: commonOf(root.opts(), verb), io, signal});
      });
    }
    configure(root, io);
    try {
      await root.parseAsync([...argv], {from: 'user'});
    } catch (error) {
      if (!(error instanceof CommanderError)) throw error;
      // Commander has said what is wrong already; help that was asked for is no mistake.
      return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
    }
    return done.exit;
  };
}

function rootCommand({name, about}: ProgramSpec): Command {
  return new Command(name).description(about).version(packageVersion(), '--version', 'the version')
    .option('-o, --output <format>', FORMATS.join(' | '), 'table')
    .option('--api-socket <path>', 'the agent’s socket', process.env['STENTOR_API_SOCKET'] ?? '/var/run/stentor/agent.sock')
    .option('--bpf-root <path>', 'where the maps are pinned', process.env['STENTOR_BPF_ROOT'] ?? '/sys/fs/bpf/stentor')
    .option('--pinned', 'read the maps only, do not ask the agent')
    .option('--kubeconfig <path>', 'for verbs that read the cluster', process.env['KUBECONFIG'])
    .option('--timeout <seconds>', 'how long to wait for an answer', '10')
    .addHelpText('after', `\n${EXITS}`);
}

function packageVersion(): string {
  const {version} = JSON.parse(readFileSync(join(import.meta.dirname, '../../package.json'), 'utf8')) as {version: string};
  return version;
}

/** A command inside its groups, which are made on the way. */
function define(root: Command, verb: VerbSpec, groups: Readonly<Record<string, string>>): Command {
  const words = verb.path.split(' ');
  const last = words.pop() ?? '';
  let at = root;
  for (const [i, word] of words.entries()) {
    at = at.commands.find((one) => one.name() === word) ?? at.command(word).description(groups[words.slice(0, i + 1).join(' ')] ?? '');
  }
  const command = at.command(last).description(verb.summary).aliases([...(verb.aliases ?? [])]);
  for (const [name, help] of verb.args ?? []) command.argument(name, help);
  for (const [flags, help, repeat] of verb.options ?? []) {
    if (repeat === undefined) command.option(flags, help);
    else command.option(flags, help, (value: string, before: readonly string[]) => [...before, value], [] as readonly string[]);
  }
  return command.addHelpText('after', `\nExamples:\n${verb.examples.map((example) => `  ${example}\n`).join('')}`);
}

function configure(command: Command, io: Io): void {
  command.exitOverride().showHelpAfterError('(--help tells more)').configureHelp({showGlobalOptions: true})
    .configureOutput({writeOut: (text) => io.out(text), writeErr: (text) => io.err(text)});
  for (const inner of command.commands) configure(inner, io);
}

function commonOf(options: Readonly<Record<string, unknown>>, {formats}: VerbSpec): CommonOptions {
  const {output, apiSocket, bpfRoot, pinned, kubeconfig, timeout} = options;
  const seconds = Number(timeout);
  if (!(seconds > 0 && seconds <= 3600)) throw usage(`--timeout: ${String(timeout)} is not a number of seconds within 0..3600`);
  return {
    format: parseFormat(String(output), formats), apiSocket: String(apiSocket), bpfRoot: String(bpfRoot), pinned: pinned === true,
    kubeconfig: typeof kubeconfig === 'string' && kubeconfig !== '' ? kubeconfig : null, timeoutMs: seconds * 1000,
  };
}
