import {describe, expect, test} from '@jest/globals';
import {formatPrefix, parsePrefix, subnetAt, subnetIndex, type Prefix} from '../core/ip.js';
import {ClusterPools, parseClusterPools, type ClusterPool} from './cluster-pools.js';

function prefix(text: string): Prefix {
  const parsed = parsePrefix(text);
  if (parsed === null) throw new Error(`${text} is no prefix`);
  return parsed;
}

function poolsOf(...all: readonly [string, number][]): ClusterPools {
  return new ClusterPools(all.map(([text, maskSize]): ClusterPool => ({prefix: prefix(text), maskSize})));
}

function given(pools: ClusterPools, family: 4 | 6, count: number): (string | null)[] {
  return Array.from({length: count}, (_, i) => {
    const part = pools.allocate(family, `n${i}`);
    return part === null ? null : formatPrefix(part);
  });
}

describe('ClusterPools', () => {
  test('pools are used in their order, each cut by its own mask', () => {
    expect(given(poolsOf(['10.0.0.0/23', 24], ['10.1.0.0/25', 26], ['fd00::/47', 48]), 4, 5)).toEqual(['10.0.0.0/24', '10.0.1.0/24', '10.1.0.0/26', '10.1.0.64/26', null]);
    expect(given(poolsOf(['fd00:0:0:8000::/49', 64]), 6, 3)).toEqual(['fd00:0:0:8000::/64', 'fd00:0:0:8001::/64', 'fd00:0:0:8002::/64']);
  });

  test('what was given back comes again as late as possible', () => {
    const pools = poolsOf(['10.0.0.0/22', 24]);
    given(pools, 4, 2);
    pools.release(prefix('10.0.0.0/24'));
    expect(given(pools, 4, 4)).toEqual(['10.0.2.0/24', '10.0.3.0/24', '10.0.0.0/24', null]);
  });

  test('what nodes have already is not given out, in whatever size it is', () => {
    const pools = poolsOf(['10.0.0.0/22', 24]);
    expect(pools.claim(prefix('10.0.0.128/25'), 'a')).toBeNull();
    expect(pools.claim(prefix('10.0.2.0/23'), 'b')).toBeNull();
    expect(pools.claim(prefix('192.168.0.0/24'), 'c')).toBeNull();
    expect(given(pools, 4, 2)).toEqual(['10.0.1.0/24', null]);
    expect(pools.use()).toEqual([{pool: '10.0.0.0/22', total: 4, used: 4}]);
    expect(pools.exhaustion(4)).toBe('no IPv4 PodCIDR is left: 10.0.0.0/22 has 4 of /24');
  });

  test('a claim that overlaps another node’s names that node', () => {
    const pools = poolsOf(['10.0.0.0/22', 24]);
    expect(pools.claim(prefix('10.0.1.0/24'), 'a')).toBeNull();
    expect(['10.0.1.0/24', '10.0.1.128/25', '10.0.0.0/22'].map((text) => pools.claim(prefix(text), 'b'))).toEqual(['a', 'a', 'a']);
    expect(pools.claim(prefix('10.0.1.0/24'), 'a')).toBeNull();
  });

  test('a taken-over pool goes on behind what is in use', () => {
    const pools = poolsOf(['10.0.0.0/21', 24]);
    for (const text of ['10.0.1.0/24', '10.0.4.0/24']) expect(pools.claim(prefix(text), text)).toBeNull();
    expect(given(pools, 4, 1)).toEqual(['10.0.5.0/24']);
  });

  test('5,000 nodes at once', () => {
    const pools = poolsOf(['10.0.0.0/8', 24]);
    const all = given(pools, 4, 5000);
    expect(new Set(all).size).toBe(5000);
    expect(all[4999]).toBe('10.19.135.0/24');
  });
});

describe('the options', () => {
  test.each<[string, string[], string[], string]>([
    ['one mask for all', ['10.0.0.0/8', '172.16.0.0/12'], ['24'], '10.0.0.0/8:24 172.16.0.0/12:24'],
    ['one for each', ['10.0.0.0/8', '172.16.0.0/12'], ['24', '26'], '10.0.0.0/8:24 172.16.0.0/12:26'],
    ['lists as Helm writes them', ['10.0.0.0/8 172.16.0.0/12'], ['24'], '10.0.0.0/8:24 172.16.0.0/12:24'],
    ['none', [], ['24'], ''],
  ])('%s', (_what, prefixes, masks, expected) => {
    const pools = parseClusterPools(4, prefixes, masks);
    expect(typeof pools === 'string' ? pools : pools.map((pool) => `${formatPrefix(pool.prefix)}:${pool.maskSize}`).join(' ')).toBe(expected);
  });

  test.each<[string, 4 | 6, string[], string[], RegExp]>([
    ['no prefix', 4, ['10.0.0.0/33'], ['24'], /no IPv4 prefix/], ['host bits', 4, ['10.0.0.1/8'], ['24'], /no IPv4 prefix/],
    ['the other family', 4, ['fd00::/64'], ['112'], /no IPv4 prefix/], ['a mask shorter than the pool', 4, ['10.0.0.0/16'], ['8'], /16 to 30/],
    ['a mask without room for a pod', 4, ['10.0.0.0/16'], ['31'], /16 to 30/], ['more parts than can be counted', 6, ['fd00::/8'], ['64'], /8 to 32/],
    ['no number', 4, ['10.0.0.0/16'], ['x'], /cannot be cut/], ['overlapping pools', 4, ['10.0.0.0/8', '10.1.0.0/16'], ['24'], /overlaps 10.0.0.0\/8/],
    ['three masks for two pools', 4, ['10.0.0.0/16', '10.1.0.0/16'], ['24', '24', '24'], /one for each/],
  ])('%s is refused', (...[, family, prefixes, masks, message]) => {
    expect(parseClusterPools(family, prefixes, masks)).toEqual(expect.stringMatching(message));
  });
});

test('a subnet and its index', () => {
  for (const [pool, length, index, text] of [['10.0.0.0/8', 24, 256, '10.1.0.0/24'], ['fd00::/104', 112, 255, 'fd00::ff:0/112'], ['10.0.0.0/24', 24, 0, '10.0.0.0/24']] as const) {
    expect(formatPrefix(subnetAt(prefix(pool), length, index))).toBe(text);
    expect(subnetIndex(prefix(pool), length, prefix(text))).toBe(index);
  }
});
