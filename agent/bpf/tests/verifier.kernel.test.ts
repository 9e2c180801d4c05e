// Every variant of the production programs loads, and what the verifier has to look at is recorded: growth is seen where it is made.

import {release} from 'node:os';

import {afterEach, expect, test} from '@jest/globals';

import type {ProgramConfig} from '../../maps/program-config.js';
import {Datapath} from './datapath.js';
import type {ProgramName} from './datapath.js';
import {CONFIG6} from './world6.js';

const PROGRAMS = ['cil_from_container', 'cil_from_netdev', 'cil_to_netdev', 'cil_from_host', 'cil_from_overlay'] as const satisfies readonly ProgramName[];
/** Thousands of instructions that the verifier of kernel 6.18 processes, in the order of PROGRAMS. To be written anew when a change is worth it. */
const RECORDED: Readonly<Record<string, readonly number[]>> = {
  'native, IPv4': [51.1, 24.3, 27.2, 20.9, 22.6],
  'native, dual stack': [81.4, 44.8, 52.4, 30.2, 31.9],
  'native, no masquerade': [81.4, 21.5, 2.5, 30.2, 31.9],
  'tunnel, IPv4': [52, 24.3, 27.1, 21.3, 22.6],
  'tunnel, dual stack': [82.9, 44.8, 52.5, 31, 31.9],
  'tunnel, no masquerade': [82.9, 21.5, 2.5, 31, 31.9],
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
