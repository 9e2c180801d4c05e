// policy explain SRC DST [PORT/PROTO]: both directions, what decided, and for a denial the nearest miss and the change that
// would allow it.

import {stringify} from 'yaml';
import {Reachability, partiesOf, type Party} from '../../lib/policy/compare.js';
import {FlowJudge, type Flow} from '../../lib/policy/flows.js';
import type {Verb, VerbContext} from '../context.js';
import {EXIT, usage} from '../errors.js';
import {printValue} from '../output.js';
import {argument} from '../verbs/common.js';
import type {Change, Step} from './change.js';
import {coloursOf, type Colours} from './colours.js';
import {endOf, flowOf, formatL4, l4Of} from './flow-args.js';
import {explainSide, type ExplainedRule, type ExplainedSide} from './explain-side.js';
import {listOption, loadWorld, sayProblems, stringOption} from './input.js';
import {compileWorld, RulePlaces, type World} from './world.js';

export const explain: Verb = async (context) => {
  const [source, destination] = [argument(context, 0, 'SRC'), argument(context, 1, 'DST')];
  const [, , l4Text, ...rest] = context.args;
  // Paths may follow where a port is not asked for.
  const l4 = l4Text === undefined ? null : l4Of(l4Text);
  if (typeof l4 === 'string') throw usage(l4);
  if (rest.length > 0) throw usage(`${rest[0] ?? ''}: manifests are given with --input`);
  const namespace = stringOption(context, 'namespace') ?? 'default';
  const world = await loadWorld(context);
  const partial = sayProblems(context, {...world, warnings: listOption(context, 'input').length > 0 ? world.warnings : []});
  if (l4 === null) await explainReach(context, world, [source, destination]);
  else {
    const flow = flowOf(endOf(source, namespace), endOf(destination, namespace), l4);
    if (typeof flow === 'string') throw usage(flow);
    await explainFlow(context, world, {flow, title: `${source} → ${destination} ${formatL4(l4)}`});
  }
  return partial ? EXIT.partial : EXIT.ok;
};

async function explainFlow({common, io}: VerbContext, world: World, {flow, title}: {readonly flow: Flow; readonly title: string}): Promise<void> {
  const compiled = compileWorld(world);
  const judged = new FlowJudge(compiled).judge(flow);
  if (judged.error !== null) throw usage(judged.error);
  const places = new RulePlaces(world.policies);
  const sides = [judged.egress, judged.ingress].filter((side) => side !== null).map((side) => explainSide({world, compiled, places}, side, flow));
  if (common.format === 'table' || common.format === 'wide') io.out(flowText(title, judged.verdict, sides, coloursOf(io)));
  else await printValue(io, common.format, {verdict: judged.verdict, sides: sides.map(jsonOf)});
}

function jsonOf(side: ExplainedSide): unknown {
  const {change} = side;
  return {...side, change: change === null ? null : {...change, others: change.others.map(otherText)}};
}

function otherText({direction, subject, peer, gained, lost}: Change['others'][number]): string {
  return `${direction} of ${subject.name}, peer ${peer.name}: ${[gained.text === 'none' ? '' : `+${gained.text}`, lost.text === 'none' ? '' : `-${lost.text}`].filter((text) => text !== '').join(' ')}`;
}

function flowText(title: string, verdict: string, sides: readonly ExplainedSide[], colours: Colours): string {
  const answer = verdict === 'deny' ? colours.bad('denied') : colours.good('allowed');
  const both = sides.filter(({change}) => change !== null).length > 1 ? '\nboth changes are needed: each side is asked\n' : '';
  return `${colours.bold(title)}: ${answer}\n${sides.map((side) => sideText(side, colours)).join('')}${both}`;
}

function sideText(side: ExplainedSide, colours: Colours): string {
  const answer = side.verdict === 'deny' ? colours.bad('denied') : colours.good('allowed');
  const lines = [`\n${side.direction} of ${side.subject}: ${answer}, ${reasonOf(side)}\n`];
  const shown = side.decidedBy.length > 0 ? side.decidedBy : side.verdict === 'deny' ? side.rules : [];
  for (const rule of shown) lines.push(ruleText(rule, side, colours));
  if (side.change !== null) lines.push(changeText(side.change, colours));
  else if (side.verdict === 'deny') lines.push('  no change of a policy was found that would allow it\n');
  return lines.join('');
}

function reasonOf({enforced, entry, verdict, rules}: ExplainedSide): string {
  if (!enforced) return 'no policy isolates it in this direction';
  if (entry === null) return rules.length === 0 ? 'policies are enforced always, and no rule selects it' : 'no entry matches';
  if (entry.derived === 'allow-localhost') return 'the node’s own host reaches its pods';
  if (entry.derived === 'allow-any') return 'its policies have enableDefaultDeny off';
  const peer = entry.identity === 0 ? 'any peer' : `identity ${entry.identity}`;
  const port = entry.protocol === 0 ? 'any port' : `port ${entry.port}${entry.portPrefixLen < 16 ? `/${entry.portPrefixLen} (prefix)` : ''} of protocol ${entry.protocol}`;
  return `by the ${verdict === 'deny' ? 'deny' : 'allow'} entry for ${peer}, ${port}`;
}

function ruleText(rule: ExplainedRule, {verdict, nearest}: ExplainedSide, colours: Colours): string {
  const near = verdict === 'deny' && nearest?.policy === rule.policy && nearest.path === rule.path ? '  (nearest miss)' : '';
  const head = `  ${rule.deny ? 'deny ' : ''}${rule.policy} ${rule.path}${rule.place === '' ? '' : `  ${colours.dim(rule.place)}`}${near}\n`;
  if (rule.peerMatches && rule.portMatches) return head;
  const peer = rule.peerMatches ? 'matches' : rule.misses.length === 0 ? 'this rule names no peers: it only isolates' : rule.misses.join('; ');
  return `${head}    peer  ${peer}\n    port  ${rule.portMatches ? 'matches' : 'is not among its ports'}\n`;
}

function changeText(change: Change, colours: Colours): string {
  const {more, others} = change;
  const also = others.length === 0 ? '' : `  it changes ${others.length} other verdicts as well:\n${others.slice(0, 5).map((other) => `    ${otherText(other)}\n`).join('')}`;
  return `  ${colours.bold('smallest change')}: ${stepText(change, colours)}${more.map((step) => `  ${colours.bold('and then')}: ${stepText(step, colours)}`).join('')}${also}`;
}

function stepText({object, file, line, edit}: Step, colours: Colours): string {
  const name = `${object.kind} ${object.namespace === '' ? '' : `${object.namespace}/`}${object.name}`;
  const where = file === '' ? '' : ` (${file}:${line})`;
  const what = edit.op === 'create' ? 'a new object' : edit.op === 'remove' ? `${name}${where}: take out ${edit.path}` : `${name}${where}: append to ${edit.path}`;
  const yaml = edit.op === 'remove' ? '' : stringify(edit.op === 'append' ? [edit.value] : edit.value).split('\n').filter((text) => text !== '').map((text) => `    ${text}\n`).join('');
  return `${what}\n${colours.good(yaml)}`;
}

/** Without a port: everything that passes. */
async function explainReach({common, io}: VerbContext, world: World, names: readonly [string, string]): Promise<void> {
  const compiled = compileWorld(world);
  const reachability = new Reachability(compiled);
  const parties = partiesOf([compiled]);
  const [source, destination] = names.map((name) => partyOf(name, parties));
  if (source === undefined || destination === undefined) throw usage('without a port both ends are pods, entities or prefixes that a policy names');
  const sides = {
    egress: reachability.sideOf('egress', source, destination).text, ingress: reachability.sideOf('ingress', destination, source).text,
    both: reachability.reach(source, destination).text,
  };
  if (common.format !== 'table' && common.format !== 'wide') return printValue(io, common.format, sides);
  io.out(`${names[0]} → ${names[1]}: ${sides.both}\n  egress of ${names[0]} lets out: ${sides.egress}\n  ingress of ${names[1]} lets in: ${sides.ingress}\n`);
}

function partyOf(name: string, parties: readonly Party[]): Party | undefined {
  const full = name.includes('/') ? name : `default/${name}`;
  return parties.find((party) => party.name === name || party.pods.includes(full));
}
