// What the verbs share: the agent, the names it knows, and the maps when it does not answer.

import {RESERVED_IDENTITIES} from '../../lib/domain/identity.js';
import {AgentClient} from '../agent-client.js';
import type {AgentAnswers} from '../../lib/domain/agent-api.js';
import type {CommonOptions, VerbContext} from '../context.js';
import {CliError, EXIT, type ExitCode, usage} from '../errors.js';
import {printListing, type Listing} from '../output.js';
import {namesOf, type Names} from '../rows.js';

export function agentOf(common: CommonOptions): AgentClient {
  return new AgentClient({socket: common.apiSocket, timeoutMs: common.timeoutMs});
}

/** Labels and origins, as far as an agent answers; reserved labels always. */
export async function namesFor(common: CommonOptions): Promise<Names> {
  if (common.pinned) return namesOf([], []);
  const agent = agentOf(common);
  const [identities, origins] = await Promise.all([agent.ask('/v1/identities'), agent.ask('/v1/policy-origins')]);
  return namesOf(identities ?? [], origins ?? []);
}

/** The agent's answer, or what the maps tell when there is none: then the exit code says that it is a part. */
export async function agentOrPins<P extends keyof AgentAnswers, T>(
  context: VerbContext,
  path: P,
  fromPins: () => Promise<T>,
): Promise<{readonly value: AgentAnswers[P] | T; readonly exit: ExitCode}> {
  const {common, io} = context;
  if (common.pinned) return {value: await fromPins(), exit: EXIT.ok};
  try {
    return {value: await agentOf(common).get(path), exit: EXIT.ok};
  } catch (error) {
    if (!(error instanceof CliError)) throw error;
    const value = await fromPins().catch(() => {
      throw error;
    });
    io.err(`${error.message}; this is what the maps tell\n`);
    return {value, exit: EXIT.partial};
  }
}

export async function list<T>(context: VerbContext, listing: Listing<T>, exit: ExitCode = EXIT.ok): Promise<ExitCode> {
  await printListing(context.io, context.common.format, listing);
  return exit;
}

export function argument(context: VerbContext, index: number, name: string): string {
  const value = context.args[index];
  if (value === undefined) throw usage(`${name} is missing`);
  return value;
}

export function numberOption(context: VerbContext, name: string): number | null {
  const text = context.options[name];
  if (text === undefined) return null;
  if (typeof text !== 'string' || !/^\d+$/.test(text)) throw usage(`--${name} takes a number`);
  return Number(text);
}

/** CLOCK_MONOTONIC, as the datapath counts. */
export function monotonicSeconds(): number {
  return Number(process.hrtime.bigint()) / 1e9;
}

export function labelLines(labels: readonly string[]): readonly string[] {
  return labels.length === 0 ? ['no labels'] : labels;
}

/** `reserved:host` or the number: short enough for a line. */
export function identityText(identity: number): string {
  return ([...RESERVED_IDENTITIES].find(([id]) => Number(id) === identity)?.[1][0] ?? String(identity)).replace(/^reserved:/, '');
}

export function durationText(seconds: number): string {
  const [hours, minutes, rest] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, Math.round(seconds) % 60];
  return hours > 0 ? `${hours}h${minutes}m${rest}s` : minutes > 0 ? `${minutes}m${rest}s` : `${rest}s`;
}

export function originText(origins: readonly {readonly kind: string; readonly namespace: string; readonly name: string; readonly ruleIndex: number}[]): readonly string[] {
  return origins.map(({kind, namespace, name, ruleIndex}) => `${kind} ${namespace === '' ? name : `${namespace}/${name}`} rule ${ruleIndex}`);
}
