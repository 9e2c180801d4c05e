// state get|diff: what the operator wants of this node, and where the kernel differs.

import type {StateDiff} from '../../lib/domain/agent-api.js';
import type {Verb} from '../context.js';
import {EXIT} from '../errors.js';
import {printValue} from '../output.js';
import {agentOf, list} from './common.js';

export const get: Verb = async ({common, io}) => {
  await printValue(io, common.format, await agentOf(common).get('/v1/state'));
  return EXIT.ok;
};

/** Exit code 1 when something differs. */
export const diff: Verb = async (context) => {
  const {maps} = await agentOf(context.common).get('/v1/state/diff');
  return list(context, {
    items: maps,
    columns: [
      {title: 'MAP', cell: ({name}) => name},
      {title: 'MISSING', cell: ({missing}) => missing.length, right: true},
      {title: 'DIFFERENT', cell: ({different}) => different.length, right: true},
      {title: 'EXTRA', cell: ({extra}) => extra.length, right: true},
      {title: 'STATE', cell: (map) => (map.held ? 'held' : differs(map) ? 'differs' : 'same')},
      {title: 'KEYS', cell: ({missing, different, extra}) => [...missing, ...different, ...extra], wide: true},
    ],
    name: ({name}) => name,
    empty: 'there is no desired state yet',
  }, maps.some((map) => !map.held && differs(map)) ? EXIT.findings : EXIT.ok);
};

export function differs({missing, different, extra}: StateDiff['maps'][number]): boolean {
  return missing.length + different.length + extra.length > 0;
}
