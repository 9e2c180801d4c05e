// cilium_ipmasq_v4: destinations that are not masqueraded, or the reason to leave the map as it is.

import {single} from '../../lib/desired/tables.js';
import {ipmasqCodec} from '../maps/masq.js';
import type {CompileInput} from './input.js';
import {because, mapEntry} from './input.js';
import type {MapContent, MapEntry} from './kernel-state.js';

/** What a node that has nothing uses while the configuration is broken: everything is masqueraded, but link-local. */
const CLOSED_DEFAULT = ['169.254.0.0/16'];

export interface CompiledMasquerade {
  readonly content: MapContent;
  /** Not null: keep what is installed; `content` is for a node that has nothing. */
  readonly hold: string | null;
}

export function compileMasquerade(input: CompileInput): CompiledMasquerade {
  const masquerade = single(input.tables, 'masquerade');
  const hold = masquerade === null ? 'the operator has not said what is masqueraded' : (masquerade.hold?.reason ?? null);
  const cidrs = masquerade === null || masquerade.hold !== null ? CLOSED_DEFAULT : masquerade.nonMasqueradeCidrs;
  const content = new Map<string, MapEntry>();
  for (const cidr of cidrs) {
    if (!cidr.includes(':')) content.set(...mapEntry(ipmasqCodec, cidr, null, because('masquerade', 'masquerade')));
  }
  return {content, hold};
}
