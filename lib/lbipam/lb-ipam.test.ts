// What LB-IPAM promises, statement by statement (docs/design/lbipam.md), each with the reason that a user reads.

import {describe, expect, test} from '@jest/globals';
import type {ExposedService} from '../domain/exposed-service.js';
import type {LbPool} from '../domain/lb-pool.js';
import type {DemandOptions} from './demand.js';
import {LbIpam} from './lb-ipam.js';
import {byKey, byName, pool, service} from './testing/builders.js';

const OPTIONS: DemandOptions = {families: [4, 6], defaultIpam: true, classes: new Set(['io.cilium/bgp-control-plane'])};

class Cluster {
  readonly ipam: LbIpam;

  constructor(pools: readonly LbPool[], services: readonly ExposedService[] = [], options: Partial<DemandOptions> = {}) {
    this.ipam = new LbIpam({...OPTIONS, ...options});
    this.ipam.update(byKey(services), byName(pools));
  }

  set(...services: readonly ExposedService[]): this {
    this.ipam.update(byKey(services));
    return this;
  }

  gone(...keys: readonly string[]): this {
    this.ipam.update(new Map(keys.map((key) => [key, null])));
    return this;
  }

  pools(...pools: readonly LbPool[]): this {
    this.ipam.update(new Map(), byName(pools));
    return this;
  }

  /** The addresses, and why there are not more: `10.0.0.1 10.0.0.2`, `! no_pool`; `-` = none of ours, `cleared`. */
  of(key: string): string {
    const assignment = this.ipam.assignment(key);
    if (assignment === undefined) return '-';
    if (assignment.kind === 'released') return 'cleared';
    return [...assignment.addresses, ...assignment.shortfalls.map(({reason}) => `! ${reason}`)].join(' ');
  }

  use(name: string): string {
    const use = this.ipam.poolUse().get(name);
    return use === undefined ? '-' : `${use.total} ${use.available} ${use.used}${use.conflict === null ? '' : ` ${use.conflict}`}`;
  }
}

const FOUR = pool('four', ['10.0.0.0/30']);
const A = service('default/a');
const B = service('default/b');

describe('whose Services they are', () => {
  test.each([
    ['no class', {}, '10.0.0.0'],
    ['the class of BGP', {loadBalancerClass: 'io.cilium/bgp-control-plane'}, '10.0.0.0'],
    ['the class of L2 announcements, which we do not make', {loadBalancerClass: 'io.cilium/l2-announcer'}, '-'],
    ['somebody else’s class', {loadBalancerClass: 'metallb.io/metallb', ingress: ['10.0.0.3'], hasCondition: false}, '-'],
    ['a ClusterIP', {type: 'ClusterIP'}, '-'],
    ['a NodePort', {type: 'NodePort'}, '-'],
  ] as const)('%s', (_what, more, expected) => expect(new Cluster([FOUR], [service('default/a', more)]).of('default/a')).toBe(expected));

  test('default-lb-service-ipam other than lbipam leaves Services without a class alone', () => {
    const cluster = new Cluster([FOUR], [A, service('default/b', {loadBalancerClass: 'io.cilium/bgp-control-plane'})], {defaultIpam: false});
    expect([cluster.of('default/a'), cluster.of('default/b')]).toEqual(['-', '10.0.0.0']);
  });

  test('as long as there is no pool nothing is said of any Service, nor taken from it', () => {
    const cluster = new Cluster([], [service('default/a', {ingress: ['192.0.2.1']})]);
    expect(cluster.of('default/a')).toBe('-');
    expect(cluster.pools(FOUR).of('default/a')).toBe('10.0.0.0');
    expect(cluster.pools().of('default/a')).toBe('! no_pool');
    expect(cluster.set(B).of('default/b')).toBe('-');
  });

  test('a Service that is not ours any more is cleared once, its address free when that is seen', () => {
    const cluster = new Cluster([pool('one', ['10.0.0.7/32'])], [A]).set(service('default/a', {ingress: ['10.0.0.7'], hasCondition: true}));
    cluster.set(service('default/a', {type: 'ClusterIP', ingress: ['10.0.0.7'], hasCondition: true}), B);
    expect([cluster.of('default/a'), cluster.of('default/b')]).toEqual(['cleared', '! out_of_ips']);
    cluster.set(service('default/a', {type: 'ClusterIP'}));
    expect([cluster.of('default/a'), cluster.of('default/b')]).toEqual(['-', '10.0.0.7']);
    expect(cluster.set(A).of('default/a')).toBe('! out_of_ips');
  });
});

describe('families', () => {
  const BOTH = [pool('v4', ['10.0.0.0/24']), pool('v6', ['2001:db8::/64'])];
  test.each([
    ['nothing said: the first enabled one', {}, [4, 6], '10.0.0.0'],
    ['nothing said, IPv6 alone enabled', {}, [6], '2001:db8::'],
    ['the first of ipFamilies', {ipFamilies: [6, 4]}, [4, 6], '2001:db8::'],
    ['SingleStack', {ipFamilyPolicy: 'SingleStack'}, [4, 6], '10.0.0.0'],
    ['SingleStack with a family', {ipFamilyPolicy: 'SingleStack', ipFamilies: [6]}, [4, 6], '2001:db8::'],
    ['PreferDualStack', {ipFamilyPolicy: 'PreferDualStack'}, [4, 6], '10.0.0.0 2001:db8::'],
    ['PreferDualStack, one enabled', {ipFamilyPolicy: 'PreferDualStack', ipFamilies: [4, 6]}, [4], '10.0.0.0'],
    ['PreferDualStack with one family', {ipFamilyPolicy: 'PreferDualStack', ipFamilies: [6]}, [4, 6], '2001:db8::'],
    ['RequireDualStack', {ipFamilyPolicy: 'RequireDualStack', ipFamilies: [6, 4]}, [4, 6], '10.0.0.0 2001:db8::'],
  ] as const)('%s', (_what, more, families, expected) => {
    expect(new Cluster(BOTH, [service('default/a', more)], {families}).of('default/a')).toBe(expected);
  });

  test('a family that no pool has is missing, the other one is given', () => {
    expect(new Cluster([FOUR], [service('default/a', {ipFamilyPolicy: 'RequireDualStack'})]).of('default/a')).toBe('10.0.0.0 ! no_pool');
  });

  test('a family that is not asked for any more is taken back', () => {
    const cluster = new Cluster(BOTH, [service('default/a', {ipFamilyPolicy: 'RequireDualStack'})]);
    const both = {ingress: ['10.0.0.0', '2001:db8::'], hasCondition: true};
    expect(cluster.set(service('default/a', {ipFamilies: [6], ...both})).of('default/a')).toBe('2001:db8::');
  });
});

describe('which address', () => {
  test('the lowest free one of the oldest pool, by creation, then by name', () => {
    const pools = [pool('b', ['10.2.0.0/31']), pool('a', ['10.1.0.0/32']), pool('old', ['10.9.0.0/32'], {createdAt: '2025-01-01T00:00:00Z'})];
    const services = ['1', '2', '3', '4', '5'].map((name) => service(`default/${name}`));
    const cluster = new Cluster(pools, services);
    expect(services.map(({ref}) => cluster.of(`default/${ref.name}`))).toEqual(['10.9.0.0', '10.1.0.0', '10.2.0.0', '10.2.0.1', '! out_of_ips']);
  });

  test('older Services choose first, whatever the order in which they came', () => {
    const young = service('default/a');
    const old = service('default/b', {createdAt: '2025-01-01T00:00:00Z'});
    for (const order of [[young, old], [old, young]]) {
      const cluster = new Cluster([FOUR], order);
      expect([cluster.of('default/b'), cluster.of('default/a')]).toEqual(['10.0.0.0', '10.0.0.1']);
    }
  });

  test.each([
    ['a prefix with host bits is the whole prefix', ['10.0.0.2/30'], true, '4 3 1', '10.0.0.0'],
    ['both ends are given out unless the pool says no', ['10.0.0.0/30'], true, '4 3 1', '10.0.0.0'],
    ['allowFirstLastIPs: No', ['10.0.0.0/30'], false, '2 1 1', '10.0.0.1'],
    ['No, of two addresses: both are given out', ['10.0.0.0/31'], false, '2 1 1', '10.0.0.0'],
    ['No, of one address', ['10.0.0.9/32'], false, '1 0 1', '10.0.0.9'],
    ['No, of a range: nothing is kept back', ['10.0.0.0-10.0.0.3'], false, '4 3 1', '10.0.0.0'],
    ['a range without an end is one address', ['10.0.0.5'], true, '1 0 1', '10.0.0.5'],
    ['an IPv4 pool of everything', ['0.0.0.0/0'], true, '4294967296 4294967295 1', '0.0.0.0'],
  ] as const)('%s', (...[, blocks, allowFirstLastIps, use, address]) => {
    const cluster = new Cluster([pool('p', blocks, {allowFirstLastIps})], [A]);
    expect([cluster.use('p'), cluster.of('default/a')]).toEqual([use, address]);
  });

  test('IPv6 pools are counted beyond 64 bits', () => {
    expect(new Cluster([pool('p', ['2001:db8::/32'])], [service('default/a', {ipFamilies: [6]})]).use('p'))
      .toBe('79228162514264337593543950336 79228162514264337593543950335 1');
  });

  test('ends that are given out stay when the pool begins to keep them back, and go with the Service', () => {
    const cluster = new Cluster([FOUR], [A]).pools({...FOUR, allowFirstLastIps: false});
    expect([cluster.of('default/a'), cluster.use('four')]).toEqual(['10.0.0.0', '2 2 1']);
    expect(cluster.gone('default/a').set(A).of('default/a')).toBe('10.0.0.1');
  });

  test('what a selector chooses: labels, and the name and namespace of the Service', () => {
    const red = pool('red', ['10.0.1.0/24'], {color: 'red'});
    const named = pool('named', ['10.0.2.0/24'], {serviceSelector: {requirements: [{source: 'k8s', key: 'io.kubernetes.service.name', operator: 'In', values: ['b']}]}});
    const cluster = new Cluster([red, named], [service('default/a', {color: 'red'}), B, service('default/c')]);
    expect(['a', 'b', 'c'].map((name) => cluster.of(`default/${name}`))).toEqual(['10.0.1.0', '10.0.2.0', '! no_pool']);
  });

  test('a disabled pool gives nothing more; what it gave stays, after a restart as well', () => {
    const cluster = new Cluster([FOUR], [A]).pools({...FOUR, disabled: true}).set(service('default/a', {ingress: ['10.0.0.0']}), B);
    expect([cluster.of('default/a'), cluster.of('default/b')]).toEqual(['10.0.0.0', '! no_pool']);
    cluster.ipam.adopt();
    expect(cluster.of('default/a')).toBe('10.0.0.0');
  });
});

describe('addresses by name', () => {
  const RED = pool('red', ['10.0.1.0/24'], {color: 'red'});
  test.each([
    ['what is free', ['10.0.0.2'], '10.0.0.2'],
    ['two of them', ['10.0.0.2', '10.0.0.1'], '10.0.0.2 10.0.0.1'],
    ['of no pool', ['192.0.2.1'], '! no_pool'],
    ['of a pool that does not select it', ['10.0.1.7'], '! pool_selector_mismatch'],
    ['somebody’s', ['10.0.0.0'], '! already_allocated'],
    ['one of two', ['10.0.0.0', '10.0.0.3'], '10.0.0.3 ! already_allocated'],
  ] as const)('%s', (_what, requested, expected) => {
    expect(new Cluster([FOUR, RED], [A]).set(service('default/b', {requested})).of('default/b')).toBe(expected);
  });

  test('of Services that come together those that ask by name choose first', () => {
    const named = service('default/z', {requested: ['10.0.0.0'], createdAt: '2026-03-01T00:00:00Z'});
    const cluster = new Cluster([FOUR], [A, named]);
    expect([cluster.of('default/a'), cluster.of('default/z')]).toEqual(['10.0.0.1', '10.0.0.0']);
  });

  test('an end that the pool keeps back is not given by name either', () => {
    expect(new Cluster([{...FOUR, allowFirstLastIps: false}], [service('default/a', {requested: ['10.0.0.0']})]).of('default/a')).toBe('! already_allocated');
  });

  test('another one than it has: the old one is given back; none any more: it keeps what it has', () => {
    const cluster = new Cluster([FOUR], [A]).set(service('default/a', {requested: ['10.0.0.3'], ingress: ['10.0.0.0']}));
    expect(cluster.of('default/a')).toBe('10.0.0.3');
    expect(cluster.set(service('default/a', {ingress: ['10.0.0.3']})).of('default/a')).toBe('10.0.0.3');
  });

  test('it is given when the one who had it goes', () => {
    const cluster = new Cluster([FOUR], [service('default/a', {ingress: ['10.0.0.0']}), service('default/b', {requested: ['10.0.0.0']})]);
    expect(cluster.of('default/b')).toBe('! already_allocated');
    expect(cluster.gone('default/a').of('default/b')).toBe('10.0.0.0');
  });

  test('it is not given as long as the status of who gives it up shows it', () => {
    const cluster = new Cluster([FOUR], [service('default/a', {ingress: ['10.0.0.0']}), service('default/b', {requested: ['10.0.0.0']})]);
    cluster.set(service('default/a', {ingress: ['10.0.0.0'], requested: ['10.0.0.2']}));
    expect([cluster.of('default/a'), cluster.of('default/b')]).toEqual(['10.0.0.2', '! already_allocated']);
    cluster.set(service('default/a', {ingress: ['10.0.0.2'], requested: ['10.0.0.2']}));
    expect(cluster.of('default/b')).toBe('10.0.0.0');
  });
});

describe('sharing', () => {
  const key = {sharingKey: 'x'};
  const https = {ports: [{port: 443, protocol: 'TCP'}]};
  const local = {externalTrafficPolicy: 'Local'} as const;
  test.each([
    ['different ports', key, {...key, ...https}, true],
    ['the same port of another protocol', key, {...key, ports: [{port: 80, protocol: 'UDP'}]}, true],
    ['the same port', key, key, false],
    ['another key', key, {sharingKey: 'y', ...https}, false],
    ['no key', key, https, false],
    ['another traffic policy', key, {...key, ...https, ...local}, false],
    ['Local with the same pods', {...key, ...local, selector: {app: 'w'}}, {...key, ...https, ...local, selector: {app: 'w'}}, true],
    ['Local with other pods', {...key, ...local, selector: {app: 'w'}}, {...key, ...https, ...local, selector: {app: 'v'}}, false],
    ['Local without a selector', {...key, ...local, selector: null}, {...key, ...https, ...local, selector: null}, false],
  ])('%s', (_what, a, b, shared) => {
    const cluster = new Cluster([FOUR], [service('default/a', a), service('default/b', b)]);
    expect([cluster.of('default/a'), cluster.of('default/b')]).toEqual(['10.0.0.0', shared ? '10.0.0.0' : '10.0.0.1']);
    const byName = new Cluster([FOUR], [service('default/a', a)]).set(service('default/b', {...b, requested: ['10.0.0.0']}));
    expect(byName.of('default/b')).toBe(shared ? '10.0.0.0' : 'sharingKey' in b ? '! already_allocated_incompatible_service' : '! already_allocated');
  });

  test.each([
    ['neither permits', [], [], false],
    ['one permits', ['other'], [], false],
    ['both permit', ['other'], ['default'], true],
    ['everything', ['*'], ['*'], true],
    ['another namespace', ['third'], ['*'], false],
  ])('across namespaces: %s', (_what, a, b, shared) => {
    const cluster = new Cluster([FOUR], [service('default/a', {...key, sharingNamespaces: a}), service('other/b', {...key, ...https, sharingNamespaces: b})]);
    expect(cluster.of('other/b')).toBe(shared ? '10.0.0.0' : '10.0.0.1');
  });

  test('an address is counted once, and free when the last one goes', () => {
    const cluster = new Cluster([pool('one', ['10.0.0.0/32'])], [service('default/a', key), service('default/b', {...key, ...https})]);
    expect(cluster.use('one')).toBe('1 0 1');
    expect(cluster.gone('default/a').set(service('default/c')).of('default/c')).toBe('! out_of_ips');
    expect(cluster.gone('default/b').of('default/c')).toBe('10.0.0.0');
  });

  test('who stops fitting gets another address; the others stay', () => {
    const cluster = new Cluster([FOUR], [service('default/a', key), service('default/b', {...key, ...https})]);
    const ingress = ['10.0.0.0'];
    cluster.set(service('default/a', {...key, ingress})).set(service('default/b', {...key, ingress}));
    expect([cluster.of('default/a'), cluster.of('default/b')]).toEqual(['10.0.0.0', '10.0.0.1']);
  });

  test('who was about to share, and does not show it yet, does not wait for the other one to leave', () => {
    const cluster = new Cluster([FOUR], [service('default/a', key), service('default/b', {...key, ...https})]);
    cluster.set(service('default/a', {ingress: ['10.0.0.0'], requested: ['10.0.0.3']}));
    expect([cluster.of('default/a'), cluster.of('default/b')]).toEqual(['10.0.0.3', '10.0.0.1']);
  });

  test('a group whose first address is full of ports goes on at the next one', () => {
    const cluster = new Cluster([FOUR], [service('default/a', key), service('default/b', key), service('default/c', {...key, ...https})]);
    expect(['a', 'b', 'c'].map((name) => cluster.of(`default/${name}`))).toEqual(['10.0.0.0', '10.0.0.1', '10.0.0.0']);
  });
});

describe('conflicts', () => {
  const YOUNG = pool('young', ['10.0.0.0/24', '10.9.0.0/24'], {createdAt: '2026-02-01T00:00:00Z'});

  test('the younger pool gives nothing out, and says with whom it overlaps', () => {
    const cluster = new Cluster([YOUNG, FOUR], ['1', '2', '3', '4', '5'].map((name) => service(`default/${name}`)));
    expect(cluster.of('default/5')).toBe('! out_of_ips');
    expect(cluster.use('young')).toBe("512 512 0 Pool conflicts since range '10.0.0.0 - 10.0.0.255' overlaps range '10.0.0.0 - 10.0.0.3' from IP Pool 'four'");
    expect(cluster.use('four')).toBe('4 0 4');
    expect(cluster.pools(YOUNG).use('young')).toBe('512 507 5');
    expect(cluster.of('default/5')).toBe('10.0.0.4');
  });

  test('of equal age the later name is the younger', () => {
    const cluster = new Cluster([pool('b', ['10.0.0.0/24']), pool('a', ['10.0.0.128/25'])]);
    expect([cluster.use('a'), cluster.use('b')]).toEqual(['128 128 0', expect.stringContaining("from IP Pool 'a'")]);
  });

  test('a pool that overlaps itself', () => {
    expect(new Cluster([pool('a', ['10.0.0.0/24', '10.0.0.9-10.0.1.9'])]).use('a')).toContain("overlaps range '10.0.0.9 - 10.0.1.9' from IP Pool 'a'");
  });

  test('with a pool in conflict there is no conflict', () => {
    const third = pool('z', ['10.9.0.0/25'], {createdAt: '2026-03-01T00:00:00Z'});
    expect(new Cluster([FOUR, YOUNG, third]).use('z')).toBe('128 128 0');
  });

  test('addresses that a pool gave before it came into conflict stay', () => {
    const cluster = new Cluster([YOUNG], [A, B]).pools(YOUNG, FOUR);
    expect([cluster.of('default/a'), cluster.of('default/b')]).toEqual(['10.0.0.0', '10.0.0.1']);
  });
});

describe('adoption after a restart', () => {
  test.each([
    ['its address stays', {ingress: ['10.0.0.2']}, '10.0.0.2'],
    ['of no pool: another one', {ingress: ['192.0.2.1']}, '10.0.0.0'],
    ['of a family that it does not ask for', {ingress: ['2001:db8::1']}, '10.0.0.0'],
    ['several: all of them stay, in their order', {ingress: ['10.0.0.3', '10.0.0.1']}, '10.0.0.3 10.0.0.1'],
    ['not the one that it asks for', {ingress: ['10.0.0.1'], requested: ['10.0.0.2']}, '10.0.0.2'],
  ])('%s', (_what, more, expected) => {
    expect(new Cluster([FOUR, pool('v6', ['2001:db8::/64'], {color: 'no'})], [service('default/a', more)]).of('default/a')).toBe(expected);
  });

  test('who has no address yet takes none that somebody has, however much older it is', () => {
    const old = service('default/old', {createdAt: '2020-01-01T00:00:00Z'});
    const cluster = new Cluster([FOUR], [old, service('default/a', {ingress: ['10.0.0.0']})]);
    expect([cluster.of('default/old'), cluster.of('default/a')]).toEqual(['10.0.0.1', '10.0.0.0']);
  });

  test('of two with one address, by whatever accident, the older keeps it', () => {
    const ingress = {ingress: ['10.0.0.2']};
    const cluster = new Cluster([FOUR], [service('default/b', ingress), service('default/a', ingress)]);
    expect([cluster.of('default/a'), cluster.of('default/b')]).toEqual(['10.0.0.2', '10.0.0.0']);
  });

  test('the address of a Service that is not ours is nobody’s to give', () => {
    const foreign = service('default/foreign', {loadBalancerClass: 'other', ingress: ['10.0.0.0']});
    expect(new Cluster([FOUR], [foreign, A]).of('default/a')).toBe('10.0.0.1');
  });

  test('a full pool: the same again, and nothing is another one', () => {
    const services = Array.from({length: 256}, (_, i) => service(`default/s${i}`, {ingress: [`10.0.0.${255 - i}`]}));
    const cluster = new Cluster([pool('p', ['10.0.0.0/24'])], services);
    for (const {ref, ingress} of services) expect(cluster.of(`default/${ref.name}`)).toBe(ingress[0]);
    expect(cluster.ipam.update(byKey(services)).services.size).toBe(0);
    expect(cluster.use('p')).toBe('256 0 256');
  });
});

test('a pool or a range that goes takes its addresses with it', () => {
  const both = pool('both', ['10.0.0.0/32', '10.0.1.0/31']);
  const cluster = new Cluster([both], [A, B]);
  expect([cluster.of('default/a'), cluster.of('default/b')]).toEqual(['10.0.0.0', '10.0.1.0']);
  cluster.pools(pool('both', ['10.0.1.0/31']));
  expect([cluster.of('default/a'), cluster.of('default/b')]).toEqual(['10.0.1.1', '10.0.1.0']);
});

test('a label that the selector asks for goes: another pool’s address', () => {
  const cluster = new Cluster([pool('red', ['10.0.1.0/24'], {color: 'red'}), pool('zall', ['10.0.2.0/24'])], [service('default/a', {color: 'red'})]);
  expect(cluster.of('default/a')).toBe('10.0.1.0');
  expect(cluster.set(service('default/a', {ingress: ['10.0.1.0']})).of('default/a')).toBe('10.0.2.0');
});

test('10,000 Services from an empty pool: each has its own address, in less than a second of CPU time', () => {
  const services = byKey(Array.from({length: 10_000}, (_, i) => service(`default/s${i}`)));
  const started = process.cpuUsage();
  const ipam = new LbIpam(OPTIONS);
  ipam.update(services, byName([pool('p', ['10.0.0.0/16'])]));
  const {user, system} = process.cpuUsage(started);
  expect(user + system).toBeLessThan(1_000_000);
  expect(new Set([...ipam.assignments.values()].flatMap((one) => (one.kind === 'assigned' ? one.addresses : []))).size).toBe(10_000);
});
