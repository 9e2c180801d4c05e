// masq: what is masqueraded, and why so.

import type {Verb} from '../context.js';
import {EXIT} from '../errors.js';
import {printValue} from '../output.js';
import {readIpmasq} from '../pins.js';
import {tabwriter} from '../tabwriter.js';
import {agentOf} from './common.js';

export const masq: Verb = async ({common, io}) => {
  const answer = common.pinned ? null : await agentOf(common).ask('/v1/status');
  const nonMasqueradeCidrs = readIpmasq(common.bpfRoot);
  const value = {...(answer === null ? {} : {node: answer.node, routingMode: answer.routingMode, ...answer.masquerade}), nonMasqueradeCidrs};
  const exit = answer === null && !common.pinned ? EXIT.partial : EXIT.ok;
  if (common.format === 'name') io.out(nonMasqueradeCidrs.map((prefix) => `${prefix}\n`).join(''));
  else if (common.format !== 'table' && common.format !== 'wide') await printValue(io, common.format, value);
  else {
    const {enabled, mode, source, hold} = answer?.masquerade ?? {enabled: null, mode: '', source: null, hold: null};
    io.out(tabwriter([
      ['Masquerading:', enabled === null ? 'unknown: the agent does not answer' : enabled ? mode : 'disabled'],
      ...(source === null ? [] : [['Exceptions from:', source]]),
      ...(hold === null ? [] : [['Held:', hold]]),
      ['Exceptions:', nonMasqueradeCidrs[0] ?? 'none'],
      ...nonMasqueradeCidrs.slice(1).map((prefix) => ['', prefix]),
    ], {minWidth: 0, padding: 3}));
  }
  return exit;
};
