// why: the gates that a flow meets in the datapath, and the first that is closed.

import {parseAddress} from '../../lib/core/ip.js';
import type {Verb, VerbContext} from '../context.js';
import {CliError, EXIT, usage} from '../errors.js';
import {nodePlace, readNode, type NodePlace, type NodeView} from '../node-view.js';
import {printValue} from '../output.js';
import {formatL4, l4Of} from '../policy/flow-args.js';
import {table} from '../table.js';
import {reasonOf, whyAnswer, type Gate, type WhyAnswer} from '../why.js';
import {argument, monotonicSeconds, originText} from './common.js';

export const why: Verb = async (context) => {
  const {common, io, args} = context;
  const views = await Promise.all(placesOf(context).map((place) => readNode(place, monotonicSeconds())));
  const source = addressOf(views, argument(context, 0, 'the source'), null);
  const destination = addressOf(views, argument(context, 1, 'the destination'), source.includes(':'));
  const l4 = l4Of(args[2] ?? (source.includes(':') ? '128/ICMPv6' : '8/ICMP'));
  if (typeof l4 === 'string') throw usage(l4);
  if (source.includes(':') !== destination.includes(':')) throw usage(`${source} and ${destination} are of two families`);
  const answer = await whyAnswer(views, {source, destination, protocol: l4.protocol, port: l4.port});
  if (answer.gates.length === 0) throw new CliError(EXIT.findings, `neither ${source} nor ${destination} is a pod of ${views.map(({name}) => name).join(' or ')}`);
  if (common.format === 'name') io.out(`${answer.closed?.gate ?? (answer.passes === null ? 'unknown' : 'open')}\n`);
  else if (common.format !== 'table' && common.format !== 'wide') await printValue(io, common.format, answer);
  else io.out(whyText(answer, formatL4(l4), common.format === 'wide' ? null : io.width));
  return answer.passes === null ? EXIT.partial : answer.passes ? EXIT.ok : EXIT.findings;
};

function placesOf({common, options}: VerbContext): readonly NodePlace[] {
  const {timeoutMs, pinned} = common;
  const peers = Array.isArray(options['peer']) ? (options['peer'] as readonly string[]) : [];
  return [nodePlace(common), ...peers.map((text) => {
    const [bpfRoot = '', apiSocket = ''] = text.split(',');
    return {bpfRoot, apiSocket: pinned || apiSocket === '' ? null : apiSocket, timeoutMs};
  })];
}

/** `isIpv6`: the family of the other end; null when there is none yet. */
function addressOf(views: readonly NodeView[], text: string, isIpv6: boolean | null): string {
  if (parseAddress(text) !== null) return text;
  const name = text.includes('/') ? text : `default/${text}`;
  const found = views.flatMap(({endpoints}) => endpoints).find((one) => `${one.namespace}/${one.name}` === name);
  if (found === undefined) throw new CliError(EXIT.findings, `no pod ${name} on ${views.map((view) => view.name).join(' or ')}: give its address`);
  const address = isIpv6 === true || (isIpv6 === null && found.ipv4 === '') ? found.ipv6 : found.ipv4;
  if (address === '') throw new CliError(EXIT.findings, `${name} has no address of this family`);
  return address;
}

function whyText(answer: WhyAnswer, l4: string, width: number | null): string {
  const {source, destination, closed, passes, gates} = answer;
  const by = closed === null || closed.derivedFrom.length === 0 ? '' : ` (${originText(closed.derivedFrom).join(', ')})`;
  const verdict = closed !== null ? `${reasonOf(closed)} at ${closed.gate} of ${closed.node}: ${closed.detail}${by}` : passes === null ? 'nothing is closed, but not everything is known' : 'every gate is open';
  const unknown = gates.find(({open}) => open === null);
  const next = closed?.next ?? unknown?.next ?? '';
  return `${source} -> ${destination} ${l4}: ${verdict}\n${next === '' ? '' : `Next: ${next}\n`}\n${table<Gate>([
    {title: 'NODE', cell: ({node}) => node}, {title: 'SIDE', cell: ({side}) => side}, {title: 'GATE', cell: ({gate}) => gate},
    {title: 'OPEN', cell: ({open}) => (open === null ? '?' : open ? 'yes' : 'NO')},
    {title: 'WHAT', cell: (gate) => [gate.detail, ...originText(gate.derivedFrom).map((origin) => `by ${origin}`)]},
  ], gates, width)}`;
}
