// Expansion: precedence and pruning, ranges as prefixes, the bound, and what the datapath's two lookups make of them.

import {describe, expect, test} from '@jest/globals';

import {identityId} from '../domain/identity.js';
import {PRECEDENCE_ALLOW, PRECEDENCE_DEFAULT_ALLOW, PRECEDENCE_DENY} from '../domain/policy.js';
import type {MapStateEntry, PolicyEntry, SubjectPolicy} from '../domain/policy.js';
import {shuffled} from '../testing/seed.js';
import {expandPolicy, ingressPortNames} from './entries.js';
import type {ExpandContext, Expansion} from './entries.js';
import {portPrefixes} from './port-prefixes.js';
import {lookup} from './verdict.js';

const A = identityId(1000);
const B = identityId(1001);
const LOCAL = identityId(16777217);

const CONTEXT: ExpandContext = {
  members: (selector) => ({
    identities: {A: [A], B: [B], AB: [A, B]}[selector] ?? [], prefixes: {net: ['10.0.0.0/8', '10.1.0.0/16'], host: ['10.0.0.0/8']}[selector] ?? [],
  }),
  numberOf: (prefix) => (prefix === '10.0.0.0/8' ? LOCAL : undefined),
  namedPort: (name, protocol) => (name === 'http' && protocol === 6 ? 8080 : undefined),
  peerNamedPorts: (name) => new Map(name === 'http' ? [[A, 81], [B, 82]] : []),
};

/** `allow A TCP/80`, `deny * UDP/0`, `allow A any`, `derived * any`; port as `80/15` for a prefix. */
function entry(text: string, extra: Partial<PolicyEntry> = {}): PolicyEntry {
  const [verb = '', selector = '', l4 = 'any'] = text.split(' ');
  const [protocol = '', port = '0', length = port === '0' ? '0' : '16'] = l4.split('/');
  const deny = verb === 'deny';
  const precedence = deny ? PRECEDENCE_DENY : verb === 'derived' ? PRECEDENCE_DEFAULT_ALLOW : PRECEDENCE_ALLOW;
  return {
    direction: 'ingress', deny, selector, protocol: {TCP: 6, UDP: 17, ICMP: 1}[protocol] ?? 0, port: Number(port), portPrefixLength: Number(length),
    precedence, origins: [{kind: 'K', namespace: 'n', name: text, uid: '', ruleIndex: 0}], ...extra,
  };
}

function expand(texts: readonly (string | PolicyEntry)[], context: Partial<ExpandContext> = {}): Expansion {
  const policy: SubjectPolicy = {ingressEnforced: true, egressEnforced: true, entries: texts.map((text) => (typeof text === 'string' ? entry(text) : text))};
  return expandPolicy(policy, {...CONTEXT, ...context});
}

function show({deny, identity, protocol, port, portPrefixLength}: MapStateEntry): string {
  return `${deny ? 'deny' : 'allow'} ${identity} ${protocol} ${port}/${portPrefixLength}`;
}

describe('pruning', () => {
  test.each<[string, string[], string[]]>([
    ['without a deny, narrower allows stay', ['allow A any', 'allow A TCP/80', 'allow * TCP/80'], ['allow 0 6 80/16', 'allow 1000 0 0/0', 'allow 1000 6 80/16']],
    ['an L3 deny takes the allows of that peer', ['deny A any', 'allow A TCP/80', 'allow B TCP/80'], ['deny 1000 0 0/0', 'allow 1001 6 80/16']],
    ['an L4 deny of every peer takes the allows of each', ['deny * TCP/80', 'allow A TCP/80', 'allow A TCP/81'], ['deny 0 6 80/16', 'allow 1000 6 81/16']],
    ['a deny on the key of an allow', ['deny A TCP/80', 'allow A TCP/80'], ['deny 1000 6 80/16']],
    ['a narrower deny beside a broader allow', ['deny A TCP/80', 'allow A any'], ['deny 1000 6 80/16', 'allow 1000 0 0/0']],
    ['a protocol deny takes its ports', ['deny A TCP/0', 'allow A TCP/80', 'allow A UDP/80'], ['deny 1000 6 0/0', 'allow 1000 17 80/16']],
    ['a range deny takes what lies inside', ['deny A TCP/80/12', 'allow A TCP/95', 'allow A TCP/96'], ['deny 1000 6 80/12', 'allow 1000 6 96/16']],
    ['allows stay beside broader allows', ['deny B any', 'allow A any', 'allow A TCP/80'], ['deny 1001 0 0/0', 'allow 1000 0 0/0', 'allow 1000 6 80/16']],
    ['those of a peer beside those of all', ['deny B any', 'allow * TCP/0', 'allow A TCP/80'], ['deny 1001 0 0/0', 'allow 0 6 0/0', 'allow 1000 6 80/16']],
    ['denies that a broader deny covers go', ['deny * any', 'deny A TCP/80', 'allow A any'], ['deny 0 0 0/0']],
    ['the derived allow gives way to a rule', ['derived * any', 'allow * any'], ['allow 0 0 0/0']],
    ['the derived allow prunes nothing', ['derived * any', 'allow A TCP/80', 'deny B any'], ['deny 1001 0 0/0', 'allow 0 0 0/0', 'allow 1000 6 80/16']],
  ])('%s', (_what, texts, expected) => {
    const entries = [...expand(texts).entries].filter((item) => item.direction === 'ingress');
    expect(entries.map(show)).toEqual(expected);
    for (const seed of [1, 2, 3]) {
      expect(expand(shuffled(texts, seed)).entries.filter((item) => item.direction === 'ingress')).toEqual(entries);
    }
  });
});

describe('precedence: a deny wins wherever both match', () => {
  const query = {direction: 'ingress', identity: A, protocol: 6, port: 80} as const;
  test.each<[string[], string, string]>([
    [['allow A TCP/80'], 'allow', 'L3-L4'],
    [['allow A TCP/0'], 'allow', 'L3-Proto'],
    [['allow A any'], 'allow', 'L3-Only'],
    [['allow * TCP/80'], 'allow', 'L4-Only'],
    [['allow * TCP/0'], 'allow', 'Proto-Only'],
    [['allow * any'], 'allow', 'all'],
    [['allow B any'], 'deny', 'none'],
    [['allow A UDP/80'], 'deny', 'none'],
    [['allow A any', 'allow * TCP/80'], 'allow', 'L4-Only'], // the longer prefix at equal precedence
    [['allow A TCP/80', 'allow * TCP/80'], 'allow', 'L3-L4'],
    [['allow A TCP/80', 'deny A any'], 'deny', 'L3-Only'],
    [['allow A TCP/80', 'deny * TCP/80'], 'deny', 'L4-Only'],
    [['allow A TCP/80', 'deny * any'], 'deny', 'all'],
    [['allow * TCP/80', 'deny A any'], 'deny', 'L3-Only'],
    [['allow * any', 'deny A TCP/80'], 'deny', 'L3-L4'],
    [['allow A any', 'deny * TCP/80/13'], 'deny', 'L4-Only'],
    [['derived * any'], 'allow', 'all'],
    [['derived * any', 'deny A TCP/80'], 'deny', 'L3-L4'],
    [['derived * any', 'deny * TCP/0'], 'deny', 'Proto-Only'],
  ])('%j: %s', (texts, verdict, matchType) => {
    const found = lookup(expand(texts).entries, query);
    expect([found.verdict, found.matchType]).toEqual([verdict, matchType]);
  });
});

test('a direction that is not enforced is one entry that allows all', () => {
  const {entries} = expandPolicy({ingressEnforced: false, egressEnforced: false, entries: []}, CONTEXT);
  expect(entries.map((item) => `${item.direction} ${show(item)}`)).toEqual(['ingress allow 0 0 0/0', 'egress allow 0 0 0/0']);
});

test('an enforced direction without entries denies', () => {
  const {entries} = expand([]);
  expect(entries).toEqual([]);
  expect(lookup(entries, {direction: 'egress', identity: A, protocol: 6, port: 80})).toEqual({verdict: 'deny', entry: null, matchType: 'none'});
});

test('prefixes become the numbers that the node gave them; one without a number is left out', () => {
  expect(expand(['allow net any']).entries.map(show)).toEqual([`allow ${LOCAL} 0 0/0`]);
});

test('origins of equal entries are merged', () => {
  const {entries} = expand(['allow A TCP/80', 'allow AB TCP/80']);
  expect(entries.map(({identity, origins}) => [identity, origins.map(({name}) => name)])).toEqual([
    [A, ['allow A TCP/80', 'allow AB TCP/80']], [B, ['allow AB TCP/80']],
  ]);
});

describe('named ports', () => {
  test('at ingress the number is the subject’s own, up to endPort', () => {
    expect(expand([entry('allow A TCP', {portName: 'http'})]).entries.map(show)).toEqual(['allow 1000 6 8080/16']);
    expect(expand([entry('allow A TCP', {portName: 'http', endPort: 8081})]).entries.map(show)).toEqual(['allow 1000 6 8080/15']);
    expect(expand([entry('allow A UDP', {portName: 'http'})]).entries).toEqual([]);
  });

  test('at egress it is each peer’s', () => {
    const named = {direction: 'egress', portName: 'http'} as const;
    expect(expand([entry('allow A TCP', named)]).entries.map(show)).toEqual(['allow 1000 6 81/16']);
    expect(expand([entry('allow * TCP', named)]).entries.map(show)).toEqual(['allow 1000 6 81/16', 'allow 1001 6 82/16']);
  });

  test('the names that ingress asks for are known', () => {
    const entries = [entry('allow A TCP', {portName: 'http'}), entry('allow B TCP', {portName: 'http'}), entry('allow A TCP', {direction: 'egress', portName: 'x'})];
    expect(ingressPortNames({ingressEnforced: true, egressEnforced: true, entries})).toEqual([{name: 'http', protocol: 6}]);
  });
});

describe('port ranges', () => {
  test.each([
    [80, 80, ['80/16']], [0, 65535, ['0/0']], [1, 65535, 16], [80, 81, ['80/15']], [80, 90, ['80/13', '88/15', '90/16']], [1, 65534, 30],
  ])('%d..%d', (first, last, expected) => {
    const prefixes = portPrefixes(first, last);
    if (typeof expected === 'number') expect(prefixes).toHaveLength(expected);
    else expect(prefixes.map(({port, portPrefixLength}) => `${port}/${portPrefixLength}`)).toEqual(expected);
    const size = prefixes.reduce((sum, {portPrefixLength}) => sum + 2 ** (16 - portPrefixLength), 0);
    expect(size).toBe(last - first + 1);
  });

  test('backwards is our own mistake', () => {
    expect(() => portPrefixes(81, 80)).toThrow('port range');
  });
});

describe('the bound', () => {
  const many = (verb: string, count: number): PolicyEntry[] => Array.from({length: count}, (_, i) => entry(`${verb} A TCP/${1000 + i}`));

  test('allow entries of single peers go first, deny entries stay', () => {
    const {entries, omitted} = expand([...many('allow', 20), entry('deny B any'), entry('allow * UDP/53')], {entriesMax: 10});
    expect([entries.length, omitted]).toEqual([10, 12]);
    expect(entries[0]).toMatchObject({deny: true, identity: B});
    expect(entries).toContainEqual(expect.objectContaining({identity: 0, protocol: 17, port: 53}));
  });

  test('deny entries that do not fit close their direction', () => {
    const open = {...entry('allow A TCP/80'), direction: 'egress' as const};
    const {entries, omitted} = expand([...many('deny', 20), entry('allow * any'), open], {entriesMax: 10});
    expect(entries.map((item) => item.direction)).toEqual(['egress']);
    expect(omitted).toBe(21);
    expect(lookup(entries, {direction: 'ingress', identity: B, protocol: 6, port: 80}).verdict).toBe('deny');
  });
});
