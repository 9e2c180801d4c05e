import {describe, expect, test} from '@jest/globals';
import fc from 'fast-check';
import {StentorError} from '../../lib/core/errors.js';
import {inPodCidrs, routerAddress} from '../model/pod-cidrs.js';
import {Ipam} from './ipam.js';

function ipamFor(...podCidrs: string[]): Ipam {
  const ipam = new Ipam();
  ipam.setPodCidrs(podCidrs);
  return ipam;
}

/** The IPv4 address of a pod on a node without IPv6. */
function allocate(ipam: Ipam, owner: string): string {
  const {ipv4, ipv6} = ipam.allocate(owner);
  expect(ipv6).toBeNull();
  return ipv4 ?? '';
}

function codeOf(body: () => unknown): string {
  try {
    body();
  } catch (error) {
    return error instanceof StentorError ? error.code : String(error);
  }
  return 'no error';
}

describe('Ipam', () => {
  test('network, router and broadcast are never given out, everything else once', () => {
    const ipam = ipamFor('10.98.1.0/29');
    const given = Array.from({length: 5}, (_, i) => allocate(ipam, `ns/p${i}`));
    expect(given).toEqual(['10.98.1.2', '10.98.1.3', '10.98.1.4', '10.98.1.5', '10.98.1.6']);
    expect(ipam.router(4)).toBe('10.98.1.1');
    expect(codeOf(() => allocate(ipam, 'ns/p'))).toBe('IPAM_EXHAUSTED');
    expect(ipam.status()).toMatchObject({allocated: 5, capacity: 5});
  });

  test('a released address comes again only after the others', () => {
    const ipam = ipamFor('10.98.1.0/29');
    const first = allocate(ipam, 'a/a');
    ipam.release(first);
    const later = Array.from({length: 5}, () => allocate(ipam, 'a/b'));
    expect(later.indexOf(first)).toBe(4);
  });

  test('without a PodCIDR there is nothing to give', () => {
    expect(codeOf(() => ipamFor().allocate('a/a'))).toBe('IPAM_NO_POD_CIDR');
    expect(ipamFor().router(4)).toBeNull();
  });

  test('a second PodCIDR is used when the first is full', () => {
    const ipam = ipamFor('10.0.0.0/30', '10.0.1.0/30');
    expect([allocate(ipam, 'a/a'), allocate(ipam, 'a/b')]).toEqual(['10.0.0.2', '10.0.1.2']);
  });

  test('claimed addresses are not given out, and cannot be claimed by another owner', () => {
    const ipam = ipamFor('10.0.0.0/29');
    ipam.claim('10.0.0.2', 'a/a');
    ipam.claim('10.0.0.2', 'a/a');
    expect(codeOf(() => ipam.claim('10.0.0.2', 'a/b'))).toBe('IPAM_IN_USE');
    expect(allocate(ipam, 'a/b')).toBe('10.0.0.3');
  });

  test('a change of the PodCIDRs keeps what is in use', () => {
    const ipam = ipamFor('10.0.0.0/29');
    const before = allocate(ipam, 'a/a');
    ipam.setPodCidrs(['10.0.1.0/29']);
    expect(allocate(ipam, 'a/b')).toBe('10.0.1.2');
    expect(ipam.status().addresses.map(({ip}) => ip)).toEqual([before, '10.0.1.2']);
  });

  test('any walk of allocations and releases gives distinct usable addresses', () => {
    fc.assert(fc.property(fc.array(fc.boolean(), {maxLength: 200}), (walk) => {
      const ipam = ipamFor('10.98.1.0/28');
      const held: string[] = [];
      for (const add of walk) {
        if (add && held.length < 13) held.push(allocate(ipam, 'x/y'));
        else if (!add && held.length > 0) ipam.release(held.shift() ?? '');
        expect(new Set(held).size).toBe(held.length);
        expect(held.some((ip) => ['10.98.1.0', '10.98.1.1', '10.98.1.15'].includes(ip))).toBe(false);
        expect(held.every((ip) => inPodCidrs(['10.98.1.0/28'], ip))).toBe(true);
      }
    }));
  });
});

describe('two families', () => {
  test('a pod has an address of each', () => {
    const ipam = ipamFor('10.98.1.0/29', 'fd00:98:1::/64');
    expect([ipam.allocate('a/a'), ipam.allocate('a/b')]).toEqual([{ipv4: '10.98.1.2', ipv6: 'fd00:98:1::2'}, {ipv4: '10.98.1.3', ipv6: 'fd00:98:1::3'}]);
    expect([ipam.router(4), ipam.router(6)]).toEqual(['10.98.1.1', 'fd00:98:1::1']);
    expect(ipam.status()).toMatchObject({allocated: 2, capacity: 5});
  });

  test('IPv6 alone', () => {
    const ipam = ipamFor('fd00:98:1::/64');
    expect(ipam.allocate('a/a')).toEqual({ipv4: null, ipv6: 'fd00:98:1::2'});
    expect([ipam.router(4), ipam.router(6)]).toEqual([null, 'fd00:98:1::1']);
  });

  test('when one family has none left, the address of the other is not kept', () => {
    const ipam = ipamFor('10.98.1.0/24', 'fd00:98:1::/126');
    expect([ipam.allocate('a/a').ipv6, ipam.allocate('a/b').ipv6]).toEqual(['fd00:98:1::2', 'fd00:98:1::3']);
    expect(codeOf(() => ipam.allocate('a/c'))).toBe('IPAM_EXHAUSTED');
    expect(ipam.status().addresses.map(({owner}) => owner)).not.toContain('a/c');
    ipam.release('fd00:98:1::2');
    expect(ipam.allocate('a/d').ipv6).toBe('fd00:98:1::2');
  });
});

test('the router of PodCIDRs', () => {
  expect([routerAddress(['10.98.0.0/24']), routerAddress(['fd00::/64', '10.1.0.0/16']), routerAddress(['10.0.0.0/31']), routerAddress([]), routerAddress(['10.1.0.0/16', 'fd00:98::/64'], 6), routerAddress(['fd00::/127'], 6)])
    .toEqual(['10.98.0.1', '10.1.0.1', null, null, 'fd00:98::1', null]);
});
