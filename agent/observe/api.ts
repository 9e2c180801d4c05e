// The agent's socket: who asks, gets what the agent knows as JSON. Input that makes no sense is refused with the reason.

import type {ServerResponse} from 'node:http';
import type {AgentAnswers, MonitorType} from '../../lib/domain/agent-api.js';
import type {HttpHandler} from '../../lib/run/http.js';
import {badRequest, readBody, sendJson} from '../../lib/run/http.js';
import {parseAddress} from '../../lib/core/ip.js';
import type {Monitor} from './monitor.js';

export interface RouteQuestion {
  readonly type: 'available' | 'advertised';
  readonly afi: 'ipv4' | 'ipv6';
  readonly peer: string | null;
  readonly vrouter: number | null;
}

/** What the handlers ask; every answer is plain data. */
export interface ApiSources {
  status(): AgentAnswers['/v1/status'];
  endpoints(): AgentAnswers['/v1/endpoints'];
  identities(): AgentAnswers['/v1/identities'];
  nodes(): AgentAnswers['/v1/nodes'];
  bgpPeers(): Promise<AgentAnswers['/v1/bgp/peers']>;
  bgpRoutes(question: RouteQuestion): Promise<AgentAnswers['/v1/bgp/routes']>;
  policyOrigins(): AgentAnswers['/v1/policy-origins'];
  route(to: string): Promise<AgentAnswers['/v1/route']>;
  state(): AgentAnswers['/v1/state'];
  stateDiff(): Promise<AgentAnswers['/v1/state/diff']>;
  cni(body: Buffer, gone: AbortSignal): Promise<{readonly exit: 0 | 1; readonly stdout: string}>;
}

/** Environment and network configuration of one CNI call. */
const CNI_BODY_BYTES_MAX = 2 << 20;
const MONITOR_TYPES: readonly MonitorType[] = ['drop', 'trace', 'policy-verdict'];

export function apiRoutes(sources: ApiSources, monitor: Monitor): Readonly<Record<string, HttpHandler>> {
  const answer = (body: () => unknown): HttpHandler => async (_request, response, url) => {
    takeParameters(url, []);
    sendJson(response, 200, await body());
  };
  return {
    'GET /v1/status': answer(() => sources.status()),
    'GET /v1/endpoints': answer(() => sources.endpoints()),
    'GET /v1/identities': answer(() => sources.identities()),
    'GET /v1/nodes': answer(() => sources.nodes()),
    'GET /v1/bgp/peers': answer(() => sources.bgpPeers()),
    'GET /v1/bgp/routes': async (_request, response, url) => sendJson(response, 200, await sources.bgpRoutes(routeQuestion(url))),
    'GET /v1/policy-origins': answer(() => sources.policyOrigins()),
    'GET /v1/route': async (_request, response, url) => {
      const {to = ''} = takeParameters(url, ['to']);
      if (parseAddress(to) === null) throw badRequest('to is not an address');
      sendJson(response, 200, await sources.route(to));
    },
    'GET /v1/state': answer(() => sources.state()),
    'GET /v1/state/diff': answer(() => sources.stateDiff()),
    'GET /v1/monitor': (_request, response, url) => follow(monitor, response, url),
    'POST /v1/cni': async (request, response) => {
      const gone = new AbortController();
      response.once('close', () => gone.abort(new Error('the connection is closed')));
      const result = await sources.cni(await readBody(request, CNI_BODY_BYTES_MAX), gone.signal);
      const body = Buffer.from(result.stdout);
      response.writeHead(200, {'content-type': 'application/json', 'content-length': body.length, 'x-cni-exit': String(result.exit)});
      response.end(body);
    },
  };
}

function follow(monitor: Monitor, response: ServerResponse, url: URL): void {
  const {types} = takeParameters(url, ['types']);
  const wanted = types === undefined || types === '' ? [] : types.split(',');
  for (const type of wanted) if (!isMonitorType(type)) throw badRequest(`types: ${JSON.stringify(type.slice(0, 40))} is not one of ${MONITOR_TYPES.join(', ')}`);
  response.writeHead(200, {'content-type': 'application/jsonl'});
  response.flushHeaders();
  monitor.follow(new Set(wanted.filter(isMonitorType)), response);
}

function isMonitorType(text: string): text is MonitorType {
  return (MONITOR_TYPES as readonly string[]).includes(text);
}

function routeQuestion(url: URL): RouteQuestion {
  const {type = 'available', family = 'ipv4-unicast', peer, vrouter} = takeParameters(url, ['type', 'family', 'peer', 'vrouter']);
  if (type !== 'available' && type !== 'advertised') throw badRequest('type is available or advertised');
  if (family !== 'ipv4-unicast' && family !== 'ipv6-unicast') throw badRequest('family is ipv4-unicast or ipv6-unicast');
  if (peer !== undefined && parseAddress(peer) === null) throw badRequest('peer is not an address');
  if (vrouter !== undefined && !/^\d{1,10}$/.test(vrouter)) throw badRequest('vrouter is not an AS number');
  return {type, afi: family === 'ipv4-unicast' ? 'ipv4' : 'ipv6', peer: peer ?? null, vrouter: vrouter === undefined ? null : Number(vrouter)};
}

function takeParameters<const N extends string>(url: URL, known: readonly N[]): {readonly [K in N]?: string} {
  const values: {[K in N]?: string} = {};
  for (const [name, value] of url.searchParams) {
    const match = known.find((candidate) => candidate === name);
    if (match === undefined) throw badRequest(`unknown parameter ${JSON.stringify(name.slice(0, 40))}${known.length === 0 ? '' : `: known are ${known.join(', ')}`}`);
    values[match] = value;
  }
  return values;
}
