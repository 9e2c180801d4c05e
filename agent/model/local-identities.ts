// Numbers of local-scope identities (CIDR peers, an API server outside the cluster): stable, never on the wire.

import {compareStrings} from '../../lib/core/order.js';
import type {IdentityId} from '../../lib/domain/identity.js';
import {LOCAL_IDENTITY_MAX, LOCAL_IDENTITY_MIN, identityId} from '../../lib/domain/identity.js';

/** An immutable assignment prefix → number. */
export interface LocalIdentities {
  readonly byPrefix: ReadonlyMap<string, IdentityId>;
  /** Where the search for a free number goes on: a number given up is used again as late as possible. */
  readonly next: number;
}

export const NO_LOCAL_IDENTITIES: LocalIdentities = {byPrefix: new Map(), next: LOCAL_IDENTITY_MIN};

/**
 * Numbers for exactly `prefixes`: those that have one keep it, others get the next free number in the order of their
 * text. Prefixes past the end of the range stay without a number, so nothing that names them is allowed.
 */
export function assignLocalIdentities(before: LocalIdentities, prefixes: Iterable<string>): LocalIdentities {
  const wanted = new Set(prefixes);
  const byPrefix = new Map([...before.byPrefix].filter(([prefix]) => wanted.has(prefix)));
  if (byPrefix.size === wanted.size && byPrefix.size === before.byPrefix.size) return before;
  const used = new Set(byPrefix.values());
  let next = before.next;
  for (const prefix of [...wanted].sort(compareStrings)) {
    if (byPrefix.has(prefix)) continue;
    const free = firstFree(used, next);
    if (free === null) break;
    byPrefix.set(prefix, free);
    used.add(free);
    next = after(free);
  }
  return {byPrefix, next};
}

function firstFree(used: ReadonlySet<IdentityId>, from: number): IdentityId | null {
  if (used.size > LOCAL_IDENTITY_MAX - LOCAL_IDENTITY_MIN) return null;
  let n = from;
  while (used.has(identityId(n))) n = after(n);
  return identityId(n);
}

function after(n: number): number {
  return n >= LOCAL_IDENTITY_MAX ? LOCAL_IDENTITY_MIN : n + 1;
}
