// Numbers as the bytes of a C variable.

import {invariant} from '../../lib/core/invariant.js';

/** Little-endian, as all machines are that this runs on. A value that does not fit is an error, never cut. */
export function encodeInteger(value: number | bigint, size: number): Uint8Array {
  invariant(size === 1 || size === 2 || size === 4 || size === 8, 'a number goes into a variable of 1, 2, 4 or 8 bytes', {size});
  const big = BigInt(value);
  invariant(big >= -(1n << BigInt(8 * size - 1)) && big < 1n << BigInt(8 * size), 'the number fits the variable', {value: String(value), size});
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt.asUintN(64, big), true);
  return bytes.slice(0, size);
}
