// policy show POD: the rules in force for one pod; with --compiled the entries of its policy map.

import {matches} from '../../lib/domain/selector.js';
import {formatEntry, type EntryJson} from '../../lib/policy/format.js';
import type {CompiledCluster, CompiledEndpoint} from '../../lib/policy/offline.js';
import type {Verb, VerbContext} from '../context.js';
import {CliError, EXIT} from '../errors.js';
import {printValue} from '../output.js';
import {table} from '../table.js';
import {argument, originText} from '../verbs/common.js';
import {loadWorld, sayProblems, stringOption} from './input.js';
import {labelsText, peerText, portsText} from './names.js';
import {protocolName} from './peer-yaml.js';
import {compileWorld, RulePlaces, type World} from './world.js';

interface ShownRule {
  readonly direction: string;
  readonly verdict: 'allow' | 'deny';
  readonly peers: readonly string[];
  readonly ports: string;
  readonly policy: string;
  readonly path: string;
  readonly place: string;
}

export const show: Verb = async (context) => {
  const {common, io, options} = context;
  const name = argument(context, 0, 'POD');
  const key = name.includes('/') ? name : `${stringOption(context, 'namespace') ?? 'default'}/${name}`;
  const world = await loadWorld(context);
  const partial = sayProblems(context, {...world, warnings: []});
  const compiled = compileWorld(world);
  const found = compiled.endpoints.get(key);
  if (found === undefined) throw new CliError(EXIT.findings, `there is no pod ${key} (pods of the host network and pods that have ended have no policy)`);
  const {identity, policy, entries} = found;
  const {ingressEnforced, egressEnforced} = policy;
  const rules = rulesOf(found, world);
  const isTable = common.format === 'table' || common.format === 'wide';
  if (!isTable) {
    const body = options['compiled'] === true ? {entries: entries.map(formatEntry)} : {rules};
    await printValue(io, common.format, {pod: key, identity, labels: found.endpoint.labels.format(), ingressEnforced, egressEnforced, ...body});
  } else {
    io.out(`${key}  identity ${identity}  ${labelsText(found.endpoint.labels)}\ningress ${ingressEnforced ? 'isolated' : 'open'}, egress ${egressEnforced ? 'isolated' : 'open'}\n\n`);
    io.out(options['compiled'] === true ? entriesText(entries.map(formatEntry), compiled, context) : rulesText(rules, context));
  }
  return partial ? EXIT.partial : EXIT.ok;
};

function rulesOf({endpoint}: CompiledEndpoint, world: World): ShownRule[] {
  const places = new RulePlaces(world.policies);
  return world.cluster.rules.filter(({subject}) => matches(subject, endpoint.labels)).map(({direction, deny, peers, ports, origin}) => ({
    direction, verdict: deny ? 'deny' : 'allow', peers: peers.length === 0 ? ['nobody'] : peers.map(peerText), ports: portsText(ports),
    policy: `${origin.kind} ${origin.namespace === '' ? '' : `${origin.namespace}/`}${origin.name}`, path: places.policy(origin)?.paths[origin.ruleIndex] ?? '', place: places.text(origin),
  }));
}

function rulesText(rules: readonly ShownRule[], {common, io}: VerbContext): string {
  if (rules.length === 0) return 'no policy selects it\n';
  return table<ShownRule>([
    {title: 'DIRECTION', cell: ({direction}) => direction}, {title: 'VERDICT', cell: ({verdict}) => verdict}, {title: 'PEER', cell: ({peers}) => peers},
    {title: 'PORTS', cell: ({ports}) => ports}, {title: 'POLICY', cell: ({policy}) => policy}, {title: 'WHERE', cell: ({place, path}) => (place === '' ? path : place)},
  ], rules, common.format === 'wide' ? null : io.width);
}

function entriesText(entries: readonly EntryJson[], compiled: CompiledCluster, {common, io}: VerbContext): string {
  const labels = new Map<number, string>([...compiled.identities].map(([id, set]) => [id, labelsText(set)]));
  return table<EntryJson>([
    {title: 'DIRECTION', cell: ({direction}) => direction}, {title: 'VERDICT', cell: ({deny}) => (deny ? 'deny' : 'allow')},
    {title: 'IDENTITY', cell: ({identity}) => identity, right: true}, {title: 'PEER', cell: ({identity}) => (identity === 0 ? 'any' : labels.get(identity) ?? '')},
    {title: 'PORT', cell: ({protocol, port, portPrefixLen}) => (protocol === 0 ? 'any' : `${portPrefixLen === 0 ? 'any' : portPrefixLen === 16 ? port : `${port}-${port + 2 ** (16 - portPrefixLen) - 1}`}/${protocolName(protocol) ?? protocol}`)},
    {title: 'FROM', cell: ({derived, derivedFrom}) => (derived === null || derivedFrom.length > 0 ? originText(derivedFrom) : derived)},
  ], entries, common.format === 'wide' ? null : io.width);
}
