// state get|diff: what the operator wants of this node, and where the kernel differs.

import type {Verb} from '../context.js';
import {EXIT} from '../errors.js';
import {printValue} from '../output.js';
import {agentOf} from './common.js';

export const get: Verb = async ({common, io}) => {
  await printValue(io, common.format, await agentOf(common).get('/v1/state'));
  return EXIT.ok;
};

/** Exit code 1 when something differs. */
export const diff: Verb = async ({common, io}) => {
  const value = await agentOf(common).get('/v1/state/diff');
  const differs = holdsSomething(value);
  if (!differs && (common.format === 'table' || common.format === 'wide')) io.out('the kernel holds what is desired\n');
  else await printValue(io, common.format, value);
  return differs ? EXIT.findings : EXIT.ok;
};

/** The difference is lists of entries, by target: empty all through means none. */
export function holdsSomething(value: unknown): boolean {
  if (Array.isArray(value)) return value.length > 0;
  if (value === null || typeof value !== 'object') return false;
  return Object.values(value).some(holdsSomething);
}
