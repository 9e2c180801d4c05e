// Why a flow passes or does not: the gates of the datapath in the order in which a packet meets them, on the nodes of both ends.

import {dropReasonText} from '../lib/domain/drop-reasons.js';
import {IDENTITY_HOST, identityId, type IdentityId} from '../lib/domain/identity.js';
import type {Direction} from '../lib/domain/policy.js';
import {lookup} from '../lib/policy/verdict.js';
import {masqueradeAnswer} from './masquerade.js';
import type {NodeView} from './node-view.js';
import {longestOf, portText, protocolName} from './rows.js';
import type {PolicyOriginsOf} from '../lib/domain/agent-api.js';

export interface FlowQuestion {
  readonly source: string;
  readonly destination: string;
  readonly protocol: number;
  /** For ICMP the type. */
  readonly port: number;
}

export interface Gate {
  readonly node: string;
  readonly side: Direction;
  readonly gate: string;
  /** Null: not known here. */
  readonly open: boolean | null;
  readonly detail: string;
  /** Cilium's number of the drop, of a closed gate that drops. */
  readonly reason: number | null;
  readonly derivedFrom: PolicyOriginsOf['origins'];
  /** What to do about it; empty where nothing is closed. */
  readonly next: string;
}

interface Side {
  readonly view: NodeView;
  readonly side: Direction;
  readonly flow: FlowQuestion;
}

type Verdict = Pick<Gate, 'gate' | 'open' | 'detail'> & Partial<Pick<Gate, 'reason' | 'derivedFrom' | 'next'>>;

export interface WhyAnswer extends FlowQuestion {
  /** Null: nothing is closed, but something is not known. */
  readonly passes: boolean | null;
  readonly closed: Gate | null;
  readonly gates: readonly Gate[];
}

/** `views`: the nodes that can be looked at, in any order. */
export async function whyAnswer(views: readonly NodeView[], flow: FlowQuestion): Promise<WhyAnswer> {
  const from = views.find((view) => isPod(view, flow.source));
  const to = views.find((view) => isPod(view, flow.destination));
  const gates = [
    ...(from === undefined ? [] : await egressGates({view: from, side: 'egress', flow})),
    ...(to === undefined ? elsewhere(views, flow, from) : ingressGates({view: to, side: 'ingress', flow})),
  ];
  const closed = gates.find(({open}) => open === false) ?? null;
  return {...flow, passes: closed !== null ? false : gates.length === 0 || gates.some(({open}) => open === null) ? null : true, closed, gates};
}

function isPod(view: NodeView, address: string): boolean {
  return view.local(address)?.host === false;
}

function gateOf({view, side}: Side, verdict: Verdict): Gate {
  return {node: view.name, side, reason: null, derivedFrom: [], next: '', ...verdict};
}

async function egressGates(side: Side): Promise<readonly Gate[]> {
  const {view, flow} = side;
  const remote = view.local(flow.destination)?.identity ?? view.ipcache(flow.destination)?.value.identity ?? null;
  const verdicts = [
    endpointGate(side, flow.source), policySlotGate(side, flow.source), identityGate(side, flow.destination), connectionGate(side),
    policyGate(side, flow.source, remote), deliveryGate(side), await routeGate(side), masqueradeGate(side),
  ];
  return verdicts.filter((verdict) => verdict !== null).map((verdict) => gateOf(side, verdict));
}

function ingressGates(side: Side): readonly Gate[] {
  const {view, flow} = side;
  const remote = view.local(flow.source)?.identity ?? view.ipcache(flow.source)?.value.identity ?? null;
  const verdicts = [
    forgeryGate(side), endpointGate(side, flow.destination), policySlotGate(side, flow.destination), identityGate(side, flow.source), connectionGate(side),
    policyGate(side, flow.destination, remote),
  ];
  return verdicts.filter((verdict) => verdict !== null).map((verdict) => gateOf(side, verdict));
}

/** 203 and 132: the endpoint is there, and it is the one behind its device. */
function endpointGate({view, side}: Side, address: string): Verdict {
  const local = view.local(address);
  const config = local === null ? null : view.config(local.endpointId);
  const known = view.endpoints.find(({id}) => id === local?.endpointId);
  const name = known === undefined ? `endpoint ${local?.endpointId ?? 0}` : `${known.namespace}/${known.name}, endpoint ${known.id}`;
  const restart = 'look at `stentorctl endpoint list` and the agent’s log: the pod is not attached to the end';
  if (local === null || config === null) return {gate: 'endpoint', open: false, detail: `${name} has no configuration`, reason: 203, next: restart};
  if (side === 'egress' && view.endpointBehind(local.ifindex) !== local.endpointId) {
    return {gate: 'endpoint', open: false, detail: `${name}: its device (ifindex ${local.ifindex}) is not known to be its own`, reason: 203, next: restart};
  }
  if (config.identity !== local.identity) {
    return {gate: 'endpoint', open: null, detail: `${name} is just changing its identity from ${local.identity} to ${config.identity}`};
  }
  const labels = known?.labels ?? view.names.labels(local.identity);
  return {gate: 'endpoint', open: true, detail: `${name}, identity ${local.identity}${labels.length === 0 ? '' : ` (${labels.join(' ')})`}`};
}

function policySlotGate({view}: Side, address: string): Verdict {
  const slot = view.policy(view.local(address)?.endpointId ?? 0);
  if (slot === null) return {gate: 'policy-map', open: false, detail: 'the endpoint has no policy map yet', reason: 203, next: 'look at `stentorctl status`: the policy could not be installed'};
  return {gate: 'policy-map', open: true, detail: `${slot.entries.length} entries`};
}

/** What the other end is taken for; without an entry it is world. */
function identityGate({view}: Side, address: string): Verdict {
  const local = view.local(address);
  const found = view.ipcache(address);
  if (local !== null) return {gate: 'identity', open: true, detail: `${address} is ${local.host ? 'this node' : `endpoint ${local.endpointId} of this node`}, identity ${local.identity}`};
  if (found === null) return {gate: 'identity', open: true, detail: `${address} is in no prefix of the ipcache: world`};
  const {identity, tunnelEndpoint} = found.value;
  const labels = view.names.labels(identity).join(' ');
  return {gate: 'identity', open: true, detail: `${address} is identity ${identity}${labels === '' ? '' : ` (${labels})`} by ${found.prefix}${tunnelEndpoint === null ? '' : `, behind ${tunnelEndpoint}`}`};
}

/** Connections of this flow's kind that are known; answers to them meet no policy. */
function connectionGate({view, side, flow}: Side): Verdict {
  const {source, destination, port} = flow;
  const protocol = protocolName(flow.protocol);
  const own = side === 'egress' ? 'out' : 'in';
  const isIcmp = protocol.startsWith('ICMP');
  const alive = view.connections.filter((row) => !row.related && row.expiresSeconds >= 0 && row.protocol === protocol);
  const same = alive.filter((row) => row.direction === own && row.source === source && row.destination === destination && (isIcmp || row.destinationPort === port));
  const answered = alive.filter((row) => row.direction !== own && row.source === destination && row.destination === source && (isIcmp || row.sourcePort === port));
  const parts = [
    ...(same.length > 0 ? [`${same.length} of this flow${same.every(({closing}) => closing) ? ', closing' : ''}: policy is asked again for each packet`] : []),
    ...(answered.length > 0 ? [`${answered.length} that the destination has opened: answers to them pass whatever the policy says`] : []),
  ];
  return {gate: 'conntrack', open: true, detail: parts.length === 0 ? 'none is known: a packet opens a new one' : parts.join('; ')};
}

function policyGate({view, side, flow}: Side, address: string, remote: IdentityId | null): Verdict {
  const gate = `${side}-policy`;
  const slot = view.policy(view.local(address)?.endpointId ?? 0);
  if (slot === null) return {gate, open: false, detail: 'there is no policy map', reason: 203};
  const identity = remote ?? identityId(2);
  const entries = slot.entries.map(([key, value]) => ({...key, deny: value.deny, precedence: value.precedence, proxyPort: value.proxyPort, cookie: value.cookie, origins: []}));
  const {entry, matchType} = lookup(entries, {direction: side, identity, protocol: flow.protocol, port: flow.port});
  const chosen = entries.find((each) => each === entry);
  const what = `${portText({protocol: flow.protocol, port: flow.port, portPrefixLen: 16})} ${side === 'ingress' ? 'from' : 'to'} identity ${identity}`;
  if (chosen === undefined) {
    const by = view.endpoints.find(({id}) => id === slot.id)?.isolatedBy?.[side] ?? [];
    return {
      gate, open: false, detail: `no entry lets ${what} through`, reason: 133, derivedFrom: by,
      next: `allow it in a rule: \`stentorctl policy explain ${flow.source} ${flow.destination} ${flow.port}/${protocolName(flow.protocol)}\` proposes one`,
    };
  }
  const derivedFrom = chosen.cookie === 0 ? [] : view.names.origins(slot.identity, chosen.cookie);
  if (chosen.deny) return {gate, open: false, detail: `an entry denies ${what} (${matchType})`, reason: 181, derivedFrom, next: 'a deny is above every allow: change the rule that is named'};
  if (chosen.proxyPort !== 0) return {gate, open: false, detail: `an entry sends ${what} to a proxy, and none serves this node`, reason: 178, derivedFrom, next: 'take the rules for L7 out of the policy that is named'};
  return {gate, open: true, detail: `an entry allows ${what} (${matchType})`, derivedFrom};
}

/** Where the packet goes once it may. */
function deliveryGate({view, flow}: Side): Verdict {
  const local = view.local(flow.destination);
  if (local !== null) return {gate: 'delivery', open: true, detail: local.host ? 'to this node’s own stack' : `into endpoint ${local.endpointId} of this node`};
  const mode = view.status?.routingMode ?? null;
  const entry = view.ipcache(flow.destination)?.value ?? null;
  if (inOwnPodCidr(view, flow.destination)) {
    return {gate: 'delivery', open: false, detail: 'an address of this node’s PodCIDR that no pod has', reason: 151, next: 'the pod is gone, or not there yet: look at `stentorctl endpoint list`'};
  }
  if (mode === null) return {gate: 'delivery', open: null, detail: 'the agent does not answer: native routing or a tunnel', next: 'ask again when the agent runs'};
  const tunnel = mode === 'tunnel' && entry !== null && !entry.skipTunnel ? entry.tunnelEndpoint : null;
  return {gate: 'delivery', open: true, detail: tunnel === null ? 'by the node’s routes' : `through the tunnel to ${tunnel}`};
}

function inOwnPodCidr(view: NodeView, address: string): boolean {
  const own = view.status?.ipam.podCidrs ?? [];
  return isInside(own, address);
}

async function routeGate({view, flow}: Side): Promise<Verdict | null> {
  if (view.local(flow.destination) !== null) return null;
  const entry = view.ipcache(flow.destination)?.value ?? null;
  const tunnelled = view.status?.routingMode === 'tunnel' && entry !== null && !entry.skipTunnel ? entry.tunnelEndpoint : null;
  const to = tunnelled ?? flow.destination;
  const route = await view.route(to);
  if (route === null) return {gate: 'route', open: null, detail: 'the agent does not answer'};
  if (route.device === '') return {gate: 'route', open: false, detail: `the node has no route to ${to}`, reason: 169, next: 'give the node a route, or look at `stentorctl bgp peers` of the node that has the pod'};
  return {gate: 'route', open: true, detail: `${to} by ${route.device}${route.via === null ? '' : ` via ${route.via}`}${route.mtu === null ? '' : `, MTU ${route.mtu}`}`};
}

function masqueradeGate({view, flow}: Side): Verdict | null {
  if (view.local(flow.destination) !== null) return null;
  const answer = masqueradeAnswer(view.masquerade, flow.source, flow.destination);
  if (answer.masqueraded === null) return {gate: 'masquerade', open: null, detail: 'the agent does not answer'};
  if (!answer.masqueraded) return {gate: 'masquerade', open: true, detail: `not masqueraded: ${answer.decidedBy}${answer.prefix === null ? '' : ` ${answer.prefix}`}`};
  if (answer.addresses.length === 0) {
    return {gate: 'masquerade', open: false, detail: 'no uplink has an address of this family', reason: 167, next: 'give an uplink an address of this family'};
  }
  const known = view.translations.filter((row) => row.direction === 'out' && row.source === flow.source && row.destination === flow.destination);
  return {gate: 'masquerade', open: true, detail: `as ${answer.addresses.map(({address}) => address).join(' or ')}, ${known.length} translations to there`};
}

/** Nobody outside is this node: 132. */
function forgeryGate({view, flow}: Side): Verdict | null {
  const local = view.local(flow.source);
  if (local !== null) return null;
  const forged = view.ipcache(flow.source)?.value.identity === IDENTITY_HOST;
  return forged ? {gate: 'source', open: false, detail: `${flow.source} is this node: from outside it is a forgery`, reason: 132, next: 'find who sends with this address'} : null;
}

/** The destination is no pod of a node that is looked at: one more gate when some other node has it. */
function elsewhere(views: readonly NodeView[], {destination}: FlowQuestion, from: NodeView | undefined): readonly Gate[] {
  const [view] = views;
  const host = from?.local(destination)?.host === true;
  if (view === undefined || host) return [];
  const node = view.nodes.find(({podCidr}) => podCidr !== '' && isInside([podCidr], destination));
  if (node === undefined || node.name === view.name) return [];
  return [{
    node: node.name, side: 'ingress', gate: 'other-node', open: null, reason: null, derivedFrom: [],
    detail: `${destination} is a pod of ${node.name}, which is not looked at`, next: `ask on ${node.name} as well, or give its maps with --peer`,
  }];
}

function isInside(prefixes: readonly string[], address: string): boolean {
  return longestOf(prefixes.map((prefix) => [prefix, null] as const))(address) !== null;
}

/** `Policy denied (133)`. */
export function reasonOf({reason}: Gate): string {
  return reason === null ? '' : `${dropReasonText(reason)} (${reason})`;
}
