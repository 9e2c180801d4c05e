// bgp why: whether each node tells each peer a prefix, and if not, the first gate that is closed: from the object that selects the node
// to the session and what the peer was told.

import {formatRef} from '../../lib/core/errors.js';
import {contains, formatPrefix, parsePrefix, type Prefix} from '../../lib/core/ip.js';
import {compareStrings} from '../../lib/core/order.js';
import type {BgpInstance, BgpPeerStatus, BgpRouteStatus} from '../../lib/domain/bgp.js';
import {familyOf, peerPaths} from '../../lib/domain/bgp-advertisements.js';
import type {ExposedService} from '../../lib/domain/exposed-service.js';
import {matches} from '../../lib/domain/selector.js';
import type {CompiledSpeaker} from '../../operator/compile/bgp.js';
import type {Announcement, ServiceSelection} from '../../operator/model/bgp-facts.js';
import type {NodeFact} from '../../operator/model/facts.js';
import type {Verb, VerbContext} from '../context.js';
import {EXIT, usage} from '../errors.js';
import {printValue} from '../output.js';
import {stringOption} from '../policy/input.js';
import {table} from '../table.js';
import {agentOf} from '../verbs/common.js';
import {bgpWorld, readBgpInput, sayBgpProblems, type BgpWorld} from './world.js';

export const GATES = ['origin', 'selected', 'understood', 'instance', 'announcement', 'family', 'session', 'told'] as const;

export interface Verdict {
  readonly node: string;
  readonly instance: string;
  readonly peer: string;
  readonly prefix: string;
  readonly told: boolean | null;
  /** The first gate that is closed, or null; `told` null: all that is known is open. */
  readonly closed: (typeof GATES)[number] | null;
  readonly reason: string;
}

/** What is known of running sessions; null = nobody was asked. */
export interface Running {
  readonly node: string;
  readonly peers: readonly BgpPeerStatus[];
  readonly routes: readonly BgpRouteStatus[];
}

export const why: Verb = async (context) => {
  const {common, io} = context;
  const [about] = context.args;
  if (about === undefined) throw usage('what? bgp why <prefix|namespace/service>');
  const manifests = await readBgpInput(context, []);
  const world = bgpWorld(manifests.objects);
  const partial = sayBgpProblems(context, manifests, world);
  const node = stringOption(context, 'node');
  const running = await askAgent(context);
  const verdicts = whyNot(world, about, running).filter((verdict) => node === null || verdict.node === node);
  if (common.format === 'table' || common.format === 'wide') {
    io.out(table([
      {title: 'NODE', cell: (row) => row.node}, {title: 'PREFIX', cell: ({prefix}) => prefix}, {title: 'PEER', cell: ({peer}) => peer},
      {title: 'TOLD', cell: ({told}) => (told === null ? '?' : told ? 'yes' : 'no')}, {title: 'CLOSED GATE', cell: ({closed}) => closed ?? ''}, {title: 'BECAUSE', cell: ({reason}) => reason},
    ], verdicts, io.width));
  } else {
    await printValue(io, common.format, verdicts);
  }
  return verdicts.every(({told}) => told === false) ? EXIT.findings : partial ? EXIT.partial : EXIT.ok;
};

/** The agent of this machine, if there is one: it alone knows what its peers were told. */
async function askAgent(context: VerbContext): Promise<Running | null> {
  const agent = agentOf(context.common);
  const status = await agent.ask('/v1/status');
  if (status === null) return null;
  const [peers, v4, v6] = await Promise.all([
    agent.get('/v1/bgp/peers'), agent.get('/v1/bgp/routes', {type: 'advertised', family: 'ipv4-unicast'}), agent.get('/v1/bgp/routes', {type: 'advertised', family: 'ipv6-unicast'}),
  ]);
  return {node: status.node, peers, routes: [...v4, ...v6]};
}

export function whyNot(world: BgpWorld, about: string, running: Running | null): Verdict[] {
  const prefix = parsePrefix(about.includes('/') || !/[.:]/.test(about) ? about : `${about}/${about.includes(':') ? 128 : 32}`);
  const service = prefix === null ? world.tables.exposedServices.get(about.includes('/') ? about : `default/${about}`) : undefined;
  if (prefix === null && service === undefined) throw usage(`${about}: neither a prefix nor a Service of the input`);
  return [...world.tables.nodes.values()].sort((a, b) => compareStrings(a.name, b.name)).flatMap((node) => {
    const compiled = world.speakers.get(node.name);
    return compiled === undefined ? [] : nodeVerdicts({world, node, compiled, running: running?.node === node.name ? running : null}, prefix, service);
  });
}

interface NodeView {
  readonly world: BgpWorld;
  readonly node: NodeFact;
  readonly compiled: CompiledSpeaker;
  readonly running: Running | null;
}

function nodeVerdicts(view: NodeView, prefix: Prefix | null, service: ExposedService | undefined): Verdict[] {
  const {node, compiled} = view;
  const text = prefix === null ? service?.ingress[0] ?? '' : formatPrefix(prefix);
  const no = (closed: Verdict['closed'], reason: string, more: Partial<Verdict> = {}): Verdict => ({node: node.name, instance: '', peer: '', prefix: text, told: false, closed, reason, ...more});
  const {source, instances, holds = []} = compiled.speaker;
  if (source === null) return [no('selected', 'no CiliumBGPPeeringPolicy and no CiliumBGPClusterConfig selects the node')];
  const [whole] = holds.filter(({instance}) => instance === null);
  if (whole !== undefined) return [no('understood', `${whole.reason}; the node keeps what it has`)];
  const held = holds.map((hold) => no('understood', `${hold.reason}; it stays as it is`, {told: null, instance: hold.instance ?? '', peer: hold.peer ?? ''}));
  if (instances.length === 0) return held.length > 0 ? held : [no('instance', `${formatRef(source)} has no instance for the node`)];
  return [...held, ...instances.flatMap((instance) => instanceVerdicts(view, instance, {prefix, service, no}))];
}

interface Question {
  readonly prefix: Prefix | null;
  readonly service: ExposedService | undefined;
  readonly no: (closed: Verdict['closed'], reason: string, more?: Partial<Verdict>) => Verdict;
}

function instanceVerdicts(view: NodeView, instance: BgpInstance, {prefix, service, no}: Question): Verdict[] {
  const told = peerPaths(instance);
  const concerns = (text: string): boolean => {
    const one = parsePrefix(text);
    if (one === null) return false;
    return prefix === null ? told.some(({prefix: other, origin}) => other === text && origin.kind === 'Service' && origin.uid === service?.ref.uid && origin.name === service.ref.name) : contains(one, prefix);
  };
  const found = [...new Set(told.map((path) => path.prefix).filter(concerns))].sort(compareStrings);
  if (found.length === 0) return [no(...missing(view, prefix, service), {instance: instance.name})];
  return found.flatMap((text) => instance.peers.map((peer): Verdict => {
    const where = {instance: instance.name, peer: peer.address, prefix: text};
    const afi = familyOf(text);
    if (!peer.families.some((family) => family.afi === afi)) return no('family', `the peer has no ${afi} unicast`, where);
    if (!told.some((path) => path.peer === peer.address && path.prefix === text)) return no('announcement', 'no advertisement of this peer selects it', where);
    return sessionVerdict(view, where, no);
  }));
}

function sessionVerdict({running}: NodeView, where: {readonly instance: string; readonly peer: string; readonly prefix: string}, no: Question['no']): Verdict {
  if (running === null) return no(null, 'announced; how its session stands only the node’s own agent knows', {...where, told: null});
  const session = running.peers.find(({instance, address}) => instance === where.instance && address === where.peer);
  if (session === undefined) return no('session', 'the agent has no such peer', where);
  if (session.session !== 'established') return no('session', `${session.session}: ${session.reason}`, where);
  const route = running.routes.find(({vrouter, peer, prefix}) => vrouter === session.localAsn && peer === where.peer && prefix === where.prefix);
  if (route === undefined) return no('told', 'the session is up and the prefix is not in what the peer was told', where);
  return no(null, `told with next hop ${route.nextHop}; whether the peer takes it only the peer knows`, {...where, told: true});
}

/** Why no announcement of the node gives the prefix, or the Service. */
function missing({world, node}: NodeView, prefix: Prefix | null, service: ExposedService | undefined): [Verdict['closed'], string] {
  if (service !== undefined) return serviceGate(world, node, service);
  const owner = [...world.tables.nodes.values()].find(({podCidrs}) => prefix !== null && podCidrs.some((cidr) => isSame(cidr, prefix)));
  if (owner !== undefined && owner.name !== node.name) return ['origin', `it is the PodCIDR of node ${owner.name}`];
  if (owner !== undefined) return ['announcement', 'it is the node’s PodCIDR, and none is exported'];
  const holder = [...world.tables.exposedServices.values()].find((one) => [...one.ingress, ...one.externalIps, ...one.clusterIps].some((address) => prefix !== null && isSame(address, prefix)));
  return holder === undefined ? ['origin', 'no PodCIDR, Service or pool of the input has it'] : serviceGate(world, node, holder);
}

function isSame(text: string, prefix: Prefix): boolean {
  const other = parsePrefix(text.includes('/') ? text : `${text}/${text.includes(':') ? 128 : 32}`);
  return other !== null && formatPrefix(other) === formatPrefix(prefix);
}

function serviceGate(world: BgpWorld, node: NodeFact, service: ExposedService): [Verdict['closed'], string] {
  const name = `Service ${service.ref.namespace}/${service.ref.name}`;
  const selections = announcementsOf(world).filter((one): one is ServiceSelection => one.kind === 'Service');
  const selecting = selections.filter(({selector}) => matches(selector, service.labels));
  if (selecting.length === 0) return ['announcement', `no serviceSelector or Service advertisement matches the labels of ${name}`];
  const types = new Set(selecting.flatMap(({addresses}) => addresses));
  if (types.has('LoadBalancerIP') && service.type === 'LoadBalancer' && service.ingress.length === 0) return ['origin', `${name} has no address in status.loadBalancer.ingress`];
  const offered = [
    ...(types.has('LoadBalancerIP') && service.type === 'LoadBalancer' ? ['Local' === service.externalTrafficPolicy] : []),
    ...(types.has('ExternalIP') && service.externalIps.length > 0 ? ['Local' === service.externalTrafficPolicy] : []),
    ...(types.has('ClusterIP') && service.clusterIps.length > 0 ? ['Local' === service.internalTrafficPolicy] : []),
  ];
  if (offered.length === 0) return ['announcement', `${name} (${service.type}) has no address of the announced kinds: ${[...types].join(', ')}`];
  if (offered.every(Boolean)) return ['announcement', `${name} has traffic policy Local and no ready endpoint on node ${node.name}`];
  return ['announcement', `${name} is of class ${service.loadBalancerClass ?? '(none)'}, which is not announced, or no peer's advertisement selects it`];
}

function announcementsOf({tables}: BgpWorld): readonly Announcement[] {
  return [
    ...[...tables.bgpPolicies.values()].flatMap(({routers}) => routers.flatMap(({announcements}) => announcements)),
    ...[...tables.bgpAdvertisements.values()].flatMap(({announcements}) => announcements.map(({what}) => what)),
  ];
}
