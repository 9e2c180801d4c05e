// node list: the nodes that this one knows.

import {compareStrings} from '../../lib/core/order.js';
import type {AgentNode} from '../../lib/domain/agent-api.js';
import type {Verb, VerbContext} from '../context.js';
import type {ExitCode} from '../errors.js';
import {tunnelRows} from '../rows.js';
import {agentOrPins, list as printList} from './common.js';

export async function nodes(context: VerbContext): Promise<{readonly value: readonly AgentNode[]; readonly exit: ExitCode}> {
  const {value, exit} = await agentOrPins(context, '/v1/nodes', async () => {
    const {readMap} = await import('../pins.js');
    const {ipcacheCodec} = await import('../../agent/maps/ipcache.js');
    return tunnelRows(readMap(context.common.bpfRoot, ipcacheCodec)).map(({prefix, tunnelEndpoint}) => ({name: '-', ipv4: tunnelEndpoint, podCidr: prefix, routerAddress: '-'}));
  });
  return {value: [...value].sort((a, b) => compareStrings(a.name, b.name)), exit};
}

export const list: Verb = async (context) => {
  const {value, exit} = await nodes(context);
  return printList<AgentNode>(context, {
    items: value,
    columns: [
      {title: 'NAME', cell: ({name}) => name}, {title: 'IPV4', cell: ({ipv4}) => ipv4}, {title: 'POD CIDR', cell: ({podCidr}) => podCidr},
      {title: 'ROUTER', cell: ({routerAddress}) => routerAddress ?? '-'},
    ],
    name: ({name}) => `node/${name}`,
    empty: 'no nodes',
  }, exit);
};
