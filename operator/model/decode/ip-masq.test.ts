// The ip-masq-agent's file: what it means here is what it means to Cilium's agent.

import {describe, expect, test} from '@jest/globals';
import {DUAL_STACK, IPV4_ONLY, type Families} from '../../../lib/domain/identity.js';
import {compileMasquerade} from '../../compile/masquerade.js';
import {decodeIpMasq} from './ip-masq.js';

const DEFAULTS = [
  '10.0.0.0/8', '100.64.0.0/10', '172.16.0.0/12', '192.0.0.0/24', '192.0.2.0/24', '192.88.99.0/24', '192.168.0.0/16', '198.18.0.0/15', '198.51.100.0/24', '203.0.113.0/24', '240.0.0.0/4',
];

function compiled(data: Readonly<Record<string, string>> | null, families: Families = DUAL_STACK): unknown {
  const fact = data === null ? null : decodeIpMasq({apiVersion: 'v1', kind: 'ConfigMap', metadata: {name: 'ip-masq-agent', namespace: 'kube-system'}, data});
  return compileMasquerade(fact, families).value;
}

const cidrs = (...nonMasqueradeCidrs: readonly string[]): unknown => expect.objectContaining({hold: null, nonMasqueradeCidrs});
const broken = (reason: string): unknown => ({hold: {reason: expect.stringContaining(reason)}, nonMasqueradeCidrs: [], source: 'configmap'});
const sorted = (...list: readonly string[]): readonly string[] => [...list].sort((a, b) => (a < b ? -1 : 1));

test.each([
  ['no ConfigMap', null], ['another key', {other: 'nonMasqueradeCIDRs: [1.2.3.0/24]'}], ['zero bytes', {config: ''}],
])('%s: the defaults and both link-local prefixes', (_what, data) => {
  const {nonMasqueradeCidrs, source} = compiled(data) as {readonly nonMasqueradeCidrs: readonly string[]; readonly source: string};
  expect(sorted(...nonMasqueradeCidrs)).toEqual(sorted(...DEFAULTS, '169.254.0.0/16', 'fe80::/10'));
  expect(source).toBe('defaults');
});

describe('a file', () => {
  test.each([
    ['without prefixes: link-local alone, no defaults', 'resyncInterval: 60s', cidrs('169.254.0.0/16', 'fe80::/10')],
    ['with an empty list', 'nonMasqueradeCIDRs: []', cidrs('169.254.0.0/16', 'fe80::/10')],
    ['of comments', '# nothing', cidrs('169.254.0.0/16', 'fe80::/10')],
    ['as YAML, with unknown fields', 'nonMasqueradeCIDRs:\n- 10.0.0.0/8\n- fd00::/8\nresyncInterval: 60s\n', cidrs('10.0.0.0/8', '169.254.0.0/16', 'fd00::/8', 'fe80::/10')],
    ['as JSON', '{"nonMasqueradeCIDRs":["10.0.0.0/8"],"masqLinkLocal":true,"masqLinkLocalIPv6":true}', cidrs('10.0.0.0/8')],
    ['masqLinkLocal', 'masqLinkLocal: true', cidrs('fe80::/10')],
    ['masqLinkLocalIPv6', 'masqLinkLocalIPv6: true', cidrs('169.254.0.0/16')],
    ['host bits, and the same prefix twice', 'nonMasqueradeCIDRs: [10.1.2.3/8, 10.9.9.9/8, "fd00::1/8"]\nmasqLinkLocal: true\nmasqLinkLocalIPv6: true', cidrs('10.0.0.0/8', 'fd00::/8')],
    ['names in another case', 'nonmasqueradecidrs: [10.0.0.0/8]\nMASQLINKLOCAL: true\nmasqlinklocalipv6: true', cidrs('10.0.0.0/8')],
    ['an exact name before another case', 'NonMasqueradeCIDRs: [1.0.0.0/8]\nnonMasqueradeCIDRs: [10.0.0.0/8]\nmasqLinkLocal: true\nmasqLinkLocalIPv6: true', cidrs('10.0.0.0/8')],
  ])('%s', (_what, config, expected) => expect(compiled({config})).toEqual(expected));

  test.each([
    ['an address instead of a prefix', 'nonMasqueradeCIDRs: [10.0.0.1]', 'nonMasqueradeCIDRs[0] is not a prefix'],
    ['a number instead of a text', 'nonMasqueradeCIDRs: [10.0.0.0/8, 5]', 'nonMasqueradeCIDRs[1] is not a prefix'],
    ['no list', 'nonMasqueradeCIDRs: 10.0.0.0/8', 'nonMasqueradeCIDRs is not a list'],
    ['a text for a switch', 'masqLinkLocal: "yes"', 'masqLinkLocal is neither true nor false'],
    ['no YAML', '{', 'config is neither YAML nor JSON'],
    ['a list', '- 10.0.0.0/8', 'config is not an object'],
  ])('%s is broken as a whole, and says why', (_what, config, reason) => expect(compiled({config})).toEqual(broken(reason)));

  test('a family that is off is left out', () => expect(compiled({config: 'nonMasqueradeCIDRs: [10.0.0.0/8, fd00::/8]'}, IPV4_ONLY)).toEqual(cidrs('10.0.0.0/8', '169.254.0.0/16')));
});
