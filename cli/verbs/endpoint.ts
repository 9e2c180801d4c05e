// endpoint list|get: the pods of this node.

import type {AgentEndpoint} from '../../lib/domain/agent-api.js';
import type {Verb, VerbContext} from '../context.js';
import {CliError, EXIT, type ExitCode} from '../errors.js';
import {printValue} from '../output.js';
import {pinnedEndpoints} from '../rows.js';
import type {Column} from '../table.js';
import {agentOrPins, argument, labelLines, list as printList, namesFor} from './common.js';

const COLUMNS: readonly Column<AgentEndpoint>[] = [
  {title: 'ENDPOINT', cell: ({id}) => id},
  {title: 'POD', cell: ({namespace, name}) => (name === '' ? '-' : `${namespace}/${name}`)},
  {title: 'INGRESS', cell: ({policy}) => (policy.ingress ? 'enforced' : 'open')},
  {title: 'EGRESS', cell: ({policy}) => (policy.egress ? 'enforced' : 'open')},
  {title: 'IDENTITY', cell: ({identity}) => identity},
  {title: 'LABELS', cell: ({labels}) => labelLines(labels)},
  {title: 'IPV4', cell: ({ipv4}) => ipv4},
  {title: 'IPV6', cell: ({ipv6}) => ipv6, wide: true},
  {title: 'INTERFACE', cell: ({ifname}) => ifname, wide: true},
  {title: 'MAC', cell: ({mac}) => mac, wide: true},
  {title: 'CONTAINER', cell: ({containerId}) => containerId, wide: true},
  {title: 'STATE', cell: ({state}) => state},
];

export async function endpoints(context: VerbContext): Promise<{readonly value: readonly AgentEndpoint[]; readonly exit: ExitCode}> {
  const {value, exit} = await agentOrPins(context, '/v1/endpoints', async () => {
    const {readMap} = await import('../pins.js');
    const {endpointConfigCodec} = await import('../../agent/maps/endpoint.js');
    return pinnedEndpoints(readMap(context.common.bpfRoot, endpointConfigCodec), await namesFor({...context.common, pinned: true}));
  });
  return {value: [...value].sort((a, b) => a.id - b.id), exit};
}

export const list: Verb = async (context) => {
  const {value, exit} = await endpoints(context);
  return printList(context, {items: value, columns: COLUMNS, name: ({id}) => `endpoint/${id}`, empty: 'no endpoints'}, exit);
};

/** By number, `namespace/name` or address. */
export const get: Verb = async (context) => {
  const wanted = argument(context, 0, 'the endpoint');
  const {value, exit} = await endpoints(context);
  const found = value.find((one) => String(one.id) === wanted || `${one.namespace}/${one.name}` === wanted || one.ipv4 === wanted || one.ipv6 === wanted);
  if (found === undefined) throw new CliError(EXIT.findings, `no endpoint ${wanted} on this node`);
  await printValue(context.io, context.common.format, found);
  return exit;
};
