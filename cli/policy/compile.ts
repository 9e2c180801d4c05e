// policy compile: the identities, the ipcache and the policy map entries of every endpoint, with the rule behind each.

import {formatCompile, type CompileJson} from '../../lib/policy/format.js';
import type {Verb} from '../context.js';
import {EXIT, usage} from '../errors.js';
import {printValue} from '../output.js';
import {table} from '../table.js';
import {loadWorld, sayProblems, stringOption} from './input.js';
import {compileWorld} from './world.js';

export const compile: Verb = async (context) => {
  const {common, io} = context;
  const world = await loadWorld(context, context.args);
  const node = stringOption(context, 'node');
  if (node !== null && !world.cluster.nodes.some(({name}) => name === node) && !world.cluster.endpoints.some((endpoint) => endpoint.node === node)) {
    throw usage(`--node ${node}: no node or pod of the input names it`);
  }
  const rejections = [...world.policies.flatMap((policy) => policy.rejections), ...world.rejections];
  const result = formatCompile(compileWorld(world), {rejections, warnings: world.warnings, node});
  const partial = sayProblems(context, {...world, warnings: common.format === 'table' || common.format === 'wide' ? result.warnings : []});
  if (common.format === 'table' || common.format === 'wide') io.out(summary(result));
  else if (common.format === 'name') io.out(result.endpoints.map(({namespace, name}) => `endpoint/${namespace}/${name}\n`).join(''));
  else await printValue(io, common.format, result);
  return partial ? EXIT.partial : EXIT.ok;
};

function summary(result: CompileJson): string {
  const endpoints = table([
    {title: 'ENDPOINT', cell: ({namespace, name}) => `${namespace}/${name}`}, {title: 'IDENTITY', cell: ({identity}) => identity, right: true},
    {title: 'INGRESS', cell: ({ingressEnforced}) => (ingressEnforced ? 'enforced' : 'open')},
    {title: 'EGRESS', cell: ({egressEnforced}) => (egressEnforced ? 'enforced' : 'open')},
    {title: 'ENTRIES', cell: ({entries}) => entries.length, right: true}, {title: 'NODE', cell: (endpoint) => endpoint.node},
  ], result.endpoints, null);
  const rejected = result.rejected.map(({object, path, reason}) => `rejected: ${object.kind} ${object.namespace === '' ? '' : `${object.namespace}/`}${object.name} ${path}: ${reason}\n`);
  return endpoints + rejected.join('');
}
