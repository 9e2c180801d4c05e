// cilium_ipmasq_v4, cilium_ipmasq_v6: destinations that are not masqueraded, or the reason to leave the maps as they are.

import type {Family} from '../../lib/core/ip.js';
import {single} from '../../lib/desired/tables.js';
import type {MapCodec} from '../maps/layout.js';
import {ipmasq6Codec, ipmasqCodec} from '../maps/masq.js';
import type {CompileInput} from './input.js';
import {because, familyOf, isActive, mapEntry} from './input.js';
import type {MapContent} from './kernel-state.js';

/** What a node that has nothing uses while the configuration is broken: everything is masqueraded, but link-local. */
const CLOSED_DEFAULT = ['169.254.0.0/16', 'fe80::/10'];

export interface CompiledMasquerade {
  readonly content: MapContent;
  readonly content6: MapContent;
  /** Not null: keep what is installed; `content` is for a node that has nothing. */
  readonly hold: string | null;
}

export function compileMasquerade(input: CompileInput): CompiledMasquerade {
  const masquerade = single(input.tables, 'masquerade');
  const hold = masquerade === null ? 'the operator has not said what is masqueraded' : (masquerade.hold?.reason ?? null);
  const cidrs = masquerade === null || masquerade.hold !== null ? CLOSED_DEFAULT : masquerade.nonMasqueradeCidrs;
  const blame = because('masquerade', 'masquerade');
  const contentOf = (codec: MapCodec<string, null>, family: Family): MapContent => new Map(cidrs
    .filter((cidr) => familyOf(cidr) === family && isActive(input, cidr)).map((cidr) => mapEntry(codec, cidr, null, blame)));
  return {content: contentOf(ipmasqCodec, 4), content6: contentOf(ipmasq6Codec, 6), hold};
}
