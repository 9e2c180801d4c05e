// policy coverage: pods that nothing isolates, policies and rules that do nothing.

import type {Verb} from '../context.js';
import {EXIT} from '../errors.js';
import {printValue} from '../output.js';
import {table} from '../table.js';
import {loadWorld, sayProblems} from './input.js';
import {lintWorld, type Lint} from './lint.js';
import {compileWorld} from './world.js';

const IDLE: ReadonlySet<string> = new Set(['SubjectSelectsNothing', 'PeerSelectsNothing', 'ShadowedRule', 'DuplicateRule']);

interface IdleRule {
  readonly code: string;
  readonly policy: string;
  readonly path: string;
  readonly place: string;
  readonly reason: string;
}

export const coverage: Verb = async (context) => {
  const {common, io} = context;
  const world = await loadWorld(context, context.args);
  const partial = sayProblems(context, {...world, warnings: []});
  const pods = [...compileWorld(world).endpoints].map(([pod, {policy}]) => ({pod, ingress: policy.ingressEnforced, egress: policy.egressEnforced}));
  const open = pods.filter(({ingress, egress}) => !ingress || !egress);
  const idle = lintWorld(world).filter(({code}) => IDLE.has(code)).map(idleRule);
  const isolated = {pods: pods.length, ingress: pods.filter(({ingress}) => ingress).length, egress: pods.filter(({egress}) => egress).length};
  if (common.format === 'table' || common.format === 'wide') {
    const width = common.format === 'wide' ? null : io.width;
    io.out(`${isolated.ingress} of ${isolated.pods} pods are isolated for ingress, ${isolated.egress} for egress\n`);
    if (open.length > 0) {
      io.out(`\n${table([
        {title: 'POD', cell: ({pod}) => pod}, {title: 'INGRESS', cell: ({ingress}) => (ingress ? 'isolated' : 'open')}, {title: 'EGRESS', cell: ({egress}) => (egress ? 'isolated' : 'open')},
      ], open, width)}`);
    }
    if (idle.length > 0) {
      io.out(`\n${table<IdleRule>([
        {title: 'IDLE RULE', cell: ({policy, path}) => `${policy} ${path}`}, {title: 'WHERE', cell: ({place}) => place}, {title: 'WHY', cell: ({code, reason}) => `${code}: ${reason}`},
      ], idle, width)}`);
    }
  } else await printValue(io, common.format, {isolated, open, idle});
  return open.length > 0 || idle.length > 0 ? EXIT.findings : partial ? EXIT.partial : EXIT.ok;
};

function idleRule({policy, path, code, reason}: Lint): IdleRule {
  const {file, line} = policy.from.source.locate(path);
  const {kind, namespace, name} = policy.ref;
  return {code, policy: `${kind} ${namespace === '' ? '' : `${namespace}/`}${name}`, path, place: file === '' ? '' : `${file}:${line}`, reason};
}
