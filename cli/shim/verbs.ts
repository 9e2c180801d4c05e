// Cilium's read commands over our sources.

import {ipcacheCodec} from '../../agent/maps/ipcache.js';
import type {Verb, VerbContext} from '../context.js';
import {CliError, EXIT, type ExitCode, usage} from '../errors.js';
import {printValue} from '../output.js';
import {pinPath, readIpmasq, readMap, readPolicies, readRaw} from '../pins.js';
import {ipcacheRows, namesOf, policyRows, tunnelRows, type IpcacheRow} from '../rows.js';
import {routePoliciesOf} from '../bgp/policies.js';
import {agentOf, argument, namesFor} from '../verbs/common.js';
import * as json from './json.js';
import * as tables from './tables.js';

/** The table, or `json` in the format asked for. */
async function print(context: VerbContext, text: string, value: unknown): Promise<ExitCode> {
  if (context.common.format === 'table') context.io.out(text);
  else await printValue(context.io, context.common.format, value);
  return EXIT.ok;
}

function none(context: VerbContext): ExitCode {
  context.io.err('No entries found.\n');
  return EXIT.ok;
}

export const status: Verb = async (context) => {
  const answer = await agentOf(context.common).get('/v1/status');
  if (context.options['brief'] === true) context.io.out(answer.ok ? 'OK\n' : `error: ${answer.errors[0]?.message ?? 'degraded'}\n`);
  else await print(context, tables.status(answer, context.options['verbose'] === true), answer);
  return answer.ok ? EXIT.ok : EXIT.findings;
};

export const endpointList: Verb = async (context) => {
  const answer = await agentOf(context.common).get('/v1/endpoints');
  return print(context, tables.endpointList(answer), json.endpoints(answer));
};

export const endpointGet: Verb = async (context) => {
  const wanted = argument(context, 0, 'the endpoint');
  const answer = await agentOf(context.common).get('/v1/endpoints');
  const found = answer.filter((one) => String(one.id) === wanted || `pod-name:${one.namespace}:${one.name}` === wanted || `ipv4:${one.ipv4}` === wanted || `ipv6:${one.ipv6}` === wanted);
  if (found.length === 0) throw new CliError(EXIT.findings, `Cannot get endpoint ${wanted}: endpoint not found`);
  await printValue(context.io, context.common.format, json.endpoints(found));
  return EXIT.ok;
};

export const identityList: Verb = async (context) => {
  const answer = await agentOf(context.common).get('/v1/identities');
  return print(context, tables.identityList(answer), json.identities(answer));
};

export const identityGet: Verb = async (context) => {
  const wanted = Number(argument(context, 0, 'the identity'));
  const found = (await agentOf(context.common).get('/v1/identities')).filter(({id}) => id === wanted);
  if (found.length === 0) throw new CliError(EXIT.findings, `Cannot get identity for given ID ${context.args[0] ?? ''}: identity not found`);
  await printValue(context.io, context.common.format, json.identities(found));
  return EXIT.ok;
};

export const nodeList: Verb = async (context) => {
  const agent = agentOf(context.common);
  const [answer, about] = await Promise.all([agent.get('/v1/nodes'), agent.get('/v1/status')]);
  return print(context, tables.nodeList(answer, about.node), json.nodes(answer));
};

export const bgpPeers: Verb = async (context) => {
  const answer = await agentOf(context.common).get('/v1/bgp/peers');
  return print(context, tables.bgpPeers(answer), json.bgpPeers(answer));
};

/** `bgp routes <available|advertised> <afi> <safi> [vrouter <asn>] [peer|neighbor <address>]`. */
export const bgpRoutes: Verb = async (context) => {
  const {args, common, io} = context;
  if (args.length === 0 && common.format === 'table') io.out('(Defaulting to `available ipv4 unicast` routes, please see help for more options)\n\n');
  const [type = 'available', afi = 'ipv4', safi = 'unicast', ...rest] = args;
  if (type !== 'available' && type !== 'advertised') throw usage(`invalid routes type: ${type}`);
  if ((afi !== 'ipv4' && afi !== 'ipv6') || safi !== 'unicast') throw usage(`unknown address family: ${afi} ${safi}`);
  const named: Record<string, string> = {};
  for (let i = 0; i < rest.length; i += 2) {
    const [word = '', value] = rest.slice(i, i + 2);
    if (!['vrouter', 'peer', 'neighbor'].includes(word) || value === undefined) throw usage(`unexpected argument: ${word}`);
    named[word === 'vrouter' ? 'vrouter' : 'peer'] = value;
  }
  const answer = await agentOf(common).get('/v1/bgp/routes', {type, family: `${afi}-${safi}`, ...named});
  return print(context, tables.bgpRoutes(answer, type === 'advertised' && named['peer'] === undefined), json.bgpRoutes(answer));
};

export const bgpRoutePolicies: Verb = async (context) => {
  const policies = routePoliciesOf(await agentOf(context.common).get('/v1/state'));
  return print(context, tables.routePolicies(policies), policies);
};

export const ipmasqList: Verb = (context) => {
  const prefixes = readIpmasq(context.common.bpfRoot);
  return prefixes.length === 0 ? Promise.resolve(none(context)) : print(context, tables.ipmasq(prefixes), prefixes);
};

export const tunnelList: Verb = (context) => {
  const rows = tunnelRows(readMap(context.common.bpfRoot, ipcacheCodec));
  return rows.length === 0 ? Promise.resolve(none(context)) : print(context, tables.tunnels(rows), json.pairs(tables.tunnelEntries(rows)));
};

function ipcacheOf({common}: VerbContext): readonly IpcacheRow[] {
  return ipcacheRows(readMap(common.bpfRoot, ipcacheCodec), namesOf([], []));
}

export const ipcacheList: Verb = (context) => {
  const rows = ipcacheOf(context);
  if (rows.length === 0) return Promise.resolve(none(context));
  return print(context, tables.ipcache(rows), json.pairs(rows.map((row) => [row.prefix, tables.ipcacheValue(row)])));
};

export const mapGet: Verb = (context) => {
  const name = argument(context, 0, 'the map').replace(/_v2$/, '');
  const {bpfRoot} = context.common;
  const rows = name === 'cilium_ipcache'
    ? ipcacheOf(context).map((row) => [row.prefix, tables.ipcacheValue(row)] as const)
    : readRaw(bpfRoot, name).map(({key, value}) => [key, value] as const);
  if (rows.length === 0) {
    context.io.err('Cache is empty\n');
    return Promise.resolve(EXIT.ok);
  }
  return print(context, tables.mapEntries(rows), json.mapGet(pinPath(bpfRoot, name), rows));
};

export const policyGet: Verb = async (context) => {
  const [wanted] = context.args;
  const all = context.options['all'] === true;
  if (!all && (wanted === undefined || !/^\d+$/.test(wanted))) throw usage('an endpoint id, or --all');
  const slots = readPolicies(context.common.bpfRoot, all ? null : Number(wanted));
  const names = await namesFor(context.common);
  if (context.common.format !== 'table') {
    await printValue(context.io, context.common.format, policyRows(slots, names));
    return EXIT.ok;
  }
  if (slots.length === 0) context.io.err('Policy stats empty. Perhaps the policy enforcement is disabled?\n');
  for (const slot of slots) {
    if (all) context.io.out(`Endpoint ID: ${slot.id}\n`);
    context.io.out(`${tables.policyTable(policyRows([slot], names), context.options['numeric'] === true)}${all ? '\n' : ''}`);
  }
  return EXIT.ok;
};
