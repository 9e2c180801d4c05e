// Every variant of the production programs loads, and what the verifier has to look at is recorded: growth is seen where it is made.

import {release} from 'node:os';

import {afterEach, expect, test} from '@jest/globals';

import type {ProgramConfig} from '../../maps/program-config.js';
import {Datapath} from '../probe/datapath.js';
import type {ProgramName} from '../probe/datapath.js';
import {CONFIG6} from './world6.js';

const PROGRAMS = ['cil_from_container', 'cil_from_netdev', 'cil_to_netdev', 'cil_from_host', 'cil_from_overlay'] as const satisfies readonly ProgramName[];
/** Thousands of instructions that the verifier of kernel 6.18 processes, in the order of PROGRAMS. To be written anew when a change is worth it. */
const RECORDED: Readonly<Record<string, readonly number[]>> = {
  'native, IPv4': [67.9, 39.8, 20.9, 38.3, 41],
  'native, dual stack': [166.4, 103, 46.4, 60.2, 63.3],
  'native, no masquerade': [166.4, 46.2, 2.5, 60.2, 63.3],
  'tunnel, IPv4': [68, 40.3, 21, 38.7, 41],
  'tunnel, dual stack': [164.9, 103.3, 46.5, 61, 63.3],
  'tunnel, no masquerade': [164.9, 46.8, 2.5, 61, 63.3],
};
const GROWTH_MAX = 1.05;
const COUNTED_KERNEL = '6.18.';

const VARIANTS: readonly (readonly [string, Partial<ProgramConfig>])[] = (['native', 'tunnel'] as const).flatMap((routingMode) => [
  [`${routingMode}, IPv4`, {routingMode}] as const, [`${routingMode}, dual stack`, {...CONFIG6, routingMode}] as const,
  [`${routingMode}, no masquerade`, {...CONFIG6, routingMode, masquerade: false, ipv6: {...CONFIG6.ipv6, masquerade: false}}] as const,
]);

let d: Datapath;
afterEach(() => d.close());

test.each(VARIANTS)('%s: loads, and is no more work than recorded', (name, config) => {
  d = new Datapath(config, 'production');
  const counts = PROGRAMS.map((program) => Math.round(d.program(program).info().verifiedInstructions / 100) / 10);
  expect(counts.every((count) => count > 0)).toBe(true);
  if (!release().startsWith(COUNTED_KERNEL)) return;
  const limits = RECORDED[name] ?? [];
  const grown = PROGRAMS.filter((_program, i) => (counts[i] ?? 0) > (limits[i] ?? 0) * GROWTH_MAX);
  expect({grown, counts}).toEqual({grown: [], counts});
});
