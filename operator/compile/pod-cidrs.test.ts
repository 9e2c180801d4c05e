import {describe, expect, test} from '@jest/globals';
import {parseClusterPools} from '../../lib/ipam/cluster-pools.js';
import type {CiliumNodeFact, NodeFact} from '../model/facts.js';
import {applyRows, emptyTables, type Applied} from '../model/tables.js';
import {assignedNodes, PodCidrs, writtenNodes} from './pod-cidrs.js';

function bareNode(name: string): NodeFact {
  return {name, uid: `uid-${name}`, labels: {}, annotations: {}, addresses: [], podCidrs: []};
}

function written(name: string, podCidrs: readonly string[]): CiliumNodeFact {
  return {name, routerAddress: null, podCidrs, pools: []};
}

class Bench {
  readonly podCidrs: PodCidrs;
  applied: Applied = {tables: emptyTables(), changed: {}};

  constructor(prefixes: readonly string[], masks: readonly string[] = ['24'], prefixes6: readonly string[] = []) {
    const pools = [parseClusterPools(4, prefixes, masks), parseClusterPools(6, prefixes6, ['64'])].flatMap((one) => (typeof one === 'string' ? [] : one));
    this.podCidrs = new PodCidrs(pools);
  }

  go(rows: {readonly nodes?: Record<string, boolean>; readonly ciliumNodes?: Record<string, readonly string[] | null>}, leading = true): this {
    const bare = applyRows(this.applied.tables, 'bareNodes', Object.entries(rows.nodes ?? {}).map(([name, there]) => [name, there ? bareNode(name) : null]));
    const both = applyRows(bare.tables, 'ciliumNodes', Object.entries(rows.ciliumNodes ?? {}).map(([name, cidrs]) => [name, cidrs === null ? null : written(name, cidrs)]));
    this.applied = this.podCidrs.update({tables: both.tables, changed: {...bare.changed, ...both.changed}}, leading);
    return this;
  }

  /** What its CiliumNode says is what it should say. */
  readBack(...names: readonly string[]): this {
    return this.go({ciliumNodes: Object.fromEntries(names.map((name) => [name, this.node(name)?.assigned?.podCidrs ?? []]))});
  }

  node(name: string): NodeFact | undefined {
    return this.applied.tables.nodes.get(name);
  }

  /** asked / in force / error. */
  told(name: string): string {
    const node = this.node(name);
    return `${node?.assigned?.podCidrs.join() ?? ''} / ${node?.podCidrs.join() ?? ''} / ${node?.assigned?.error ?? ''}`;
  }
}

describe('PodCIDRs from cluster pools', () => {
  test('count once they were read back', () => {
    const bench = new Bench(['10.0.0.0/22'], ['24'], ['fd00::/60']).go({nodes: {b: true, a: true}});
    expect([bench.told('a'), bench.told('b')]).toEqual(['10.0.0.0/24,fd00::/64 /  / ', '10.0.1.0/24,fd00:0:0:1::/64 /  / ']);
    bench.readBack('a');
    expect(bench.node('a')?.podCidrs).toEqual(['10.0.0.0/24', 'fd00::/64']);
    expect(bench.applied.changed.nodes).toEqual(new Set(['a']));
    expect(bench.readBack('a').applied.changed.nodes).toBeUndefined();
  });

  test('of an operator before this one are kept, in a pool or not, before anything is given out', () => {
    const bench = new Bench(['10.0.0.0/22']).go({nodes: {a: true, b: true, c: true}, ciliumNodes: {b: ['10.0.0.0/24'], c: ['192.168.3.0/24'], strange: ['10.0.1.0/24']}});
    expect([bench.told('a'), bench.told('b'), bench.told('c')]).toEqual(['10.0.2.0/24 /  / ', '10.0.0.0/24 / 10.0.0.0/24 / ', '192.168.3.0/24 / 192.168.3.0/24 / ']);
  });

  test('full pools are said, and who waits is served when something is given back', () => {
    const bench = new Bench(['10.0.0.0/23']).go({nodes: {a: true, b: true}}).readBack('a', 'b').go({nodes: {c: true}});
    expect(bench.told('c')).toBe(' /  / no IPv4 PodCIDR is left: 10.0.0.0/23 has 2 of /24');
    expect(bench.podCidrs.wanting).toBe(1);
    // The Node alone is gone: its CiliumNode still says that it has the prefix.
    bench.go({nodes: {a: false}});
    expect(bench.told('c')).toContain('no IPv4');
    bench.go({ciliumNodes: {a: null}});
    expect(bench.told('c')).toBe('10.0.0.0/24 /  / ');
    expect(bench.podCidrs.wanting).toBe(0);
  });

  test('of two families both are given, or none', () => {
    const bench = new Bench(['10.0.0.0/22'], ['24'], ['fd00::/64']).go({nodes: {a: true, b: true}});
    expect(bench.told('b')).toBe(' /  / no IPv6 PodCIDR is left: fd00::/64 has 1 of /64');
    expect(bench.podCidrs.use.map(({used}) => used)).toEqual([1, 1]);
  });

  test('a family that is switched on is added to what nodes have', () => {
    const bench = new Bench(['10.0.0.0/22'], ['24'], ['fd00::/60']).go({nodes: {a: true}, ciliumNodes: {a: ['10.0.1.0/24']}});
    expect(bench.told('a')).toBe('10.0.1.0/24,fd00::/64 / 10.0.1.0/24 / ');
  });

  test('who changes or empties the CiliumNode of a node changes nothing', () => {
    const bench = new Bench(['10.0.0.0/22']).go({nodes: {a: true}}).readBack('a');
    for (const edit of [['10.0.3.0/24'], [], null]) expect(bench.go({ciliumNodes: {a: edit}}).told('a')).toBe('10.0.0.0/24 / 10.0.0.0/24 / ');
  });

  test('two CiliumNodes with one prefix: the first by name keeps it, the other is given another one', () => {
    const bench = new Bench(['10.0.0.0/22']).go({nodes: {a: true, b: true}, ciliumNodes: {a: ['10.0.0.0/24'], b: ['10.0.0.0/25']}});
    expect([bench.told('a'), bench.told('b')]).toEqual(['10.0.0.0/24 / 10.0.0.0/24 / ', '10.0.1.0/24 /  / PodCIDR 10.0.0.0/25 overlaps that of node a']);
    expect(bench.readBack('b').told('b')).toBe('10.0.1.0/24 / 10.0.1.0/24 / ');
  });

  test('a replica that does not lead follows what is written, and gives out only when it leads', () => {
    const bench = new Bench(['10.0.0.0/22']).go({nodes: {a: true, b: true}, ciliumNodes: {a: ['10.0.2.0/24']}}, false);
    expect([bench.told('a'), bench.told('b')]).toEqual(['10.0.2.0/24 / 10.0.2.0/24 / ', ' /  / ']);
    bench.go({ciliumNodes: {a: ['10.0.3.0/24']}}, false);
    expect(bench.told('a')).toBe('10.0.3.0/24 / 10.0.3.0/24 / ');
    bench.go({}, true);
    expect([bench.told('a'), bench.told('b')]).toEqual(['10.0.3.0/24 / 10.0.3.0/24 / ', '10.0.0.0/24 /  / ']);
  });
});

test('compiled without a cluster', () => {
  const bench = new Bench(['10.0.0.0/22']).go({nodes: {a: true}, ciliumNodes: {b: ['10.0.0.0/24']}});
  const pools = parseClusterPools(4, ['10.0.0.0/22'], ['24']);
  if (typeof pools === 'string') throw new Error(pools);
  expect(assignedNodes(bench.applied.tables, pools)).toMatchObject([['a', {podCidrs: ['10.0.1.0/24']}]]);
  const kubernetes = applyRows(applyRows(emptyTables(), 'nodes', [['a', {...bareNode('a'), podCidrs: ['10.9.0.0/24']}], ['b', bareNode('b')]]).tables, 'ciliumNodes', [['a', written('a', ['10.0.0.0/24'])]]);
  expect(writtenNodes(kubernetes.tables)).toMatchObject([['a', {podCidrs: ['10.0.0.0/24']}]]);
});
