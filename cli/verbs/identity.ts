// identity list|get: numbers and the labels they stand for.

import {RESERVED_IDENTITIES} from '../../lib/domain/identity.js';
import type {AgentIdentity} from '../../lib/domain/agent-api.js';
import type {Verb, VerbContext} from '../context.js';
import {CliError, EXIT, type ExitCode} from '../errors.js';
import {printValue} from '../output.js';
import {agentOrPins, argument, labelLines, list as printList} from './common.js';

export async function identities(context: VerbContext): Promise<{readonly value: readonly AgentIdentity[]; readonly exit: ExitCode}> {
  const {value, exit} = await agentOrPins(context, '/v1/identities', async () => {
    const {readMap} = await import('../pins.js');
    const {ipcacheCodec} = await import('../../agent/maps/ipcache.js');
    const known = new Map([...RESERVED_IDENTITIES].map(([id, labels]) => [Number(id), labels]));
    for (const [, {identity}] of readMap(context.common.bpfRoot, ipcacheCodec)) known.set(identity, known.get(identity) ?? []);
    return [...known].map(([id, labels]) => ({id, labels}));
  });
  return {value: [...value].sort((a, b) => a.id - b.id), exit};
}

export const list: Verb = async (context) => {
  const {value, exit} = await identities(context);
  const columns = [{title: 'ID', cell: ({id}: AgentIdentity) => id}, {title: 'LABELS', cell: ({labels}: AgentIdentity) => labelLines(labels)}];
  return printList(context, {items: value, columns, name: ({id}) => `identity/${id}`, empty: 'no identities'}, exit);
};

export const get: Verb = async (context) => {
  const wanted = Number(argument(context, 0, 'the identity'));
  const {value, exit} = await identities(context);
  const found = value.find(({id}) => id === wanted);
  if (found === undefined) throw new CliError(EXIT.findings, `no identity ${context.args[0] ?? ''} is known on this node`);
  await printValue(context.io, context.common.format, found);
  return exit;
};
