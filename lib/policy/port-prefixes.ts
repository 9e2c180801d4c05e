// A port range as the aligned prefixes that an LPM key can hold.

import {invariant} from '../core/invariant.js';

export interface PortPrefix {
  readonly port: number;
  /** Significant bits: 16 is one port, 0 is every port. */
  readonly portPrefixLength: number;
}

const PORT_MAX = 65535;

/** `first`..`last` inclusive, in ascending order: at most 30 prefixes. */
export function portPrefixes(first: number, last: number): PortPrefix[] {
  invariant(first >= 0 && first <= last && last <= PORT_MAX, 'a port range is within 0..65535', {first, last});
  const prefixes: PortPrefix[] = [];
  for (let port = first; port <= last; ) {
    let bits = 0;
    while (bits < 16 && port % 2 ** (bits + 1) === 0 && port + 2 ** (bits + 1) - 1 <= last) bits++;
    prefixes.push({port, portPrefixLength: 16 - bits});
    port += 2 ** bits;
  }
  return prefixes;
}
