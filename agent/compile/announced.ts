// cilium_announced_v4, cilium_announced_v6: addresses of Services that this node announces. What is sent there and nobody on this node serves is dropped, or it
// would go back to the router, which sends it here again.

import {single} from '../../lib/desired/tables.js';
import {announced6Codec, announcedCodec} from '../maps/masq.js';
import type {CompileInput} from './input.js';
import {because, mapEntry} from './input.js';
import type {MapContent, MapEntry} from './kernel-state.js';

export interface CompiledAnnounced {
  readonly content: MapContent;
  readonly content6: MapContent;
  /** Not null: routes are held, and their addresses with them. */
  readonly hold: string | null;
}

export function compileAnnounced({tables}: Pick<CompileInput, 'tables'>): CompiledAnnounced {
  const speaker = single(tables, 'speaker');
  const content = new Map<string, MapEntry>();
  const content6 = new Map<string, MapEntry>();
  for (const {prefix, origin} of speaker?.instances.flatMap(({advertisements}) => advertisements) ?? []) {
    if (origin.kind !== 'Service') continue;
    if (prefix.includes(':')) content6.set(...mapEntry(announced6Codec, prefix, null, because('speaker', 'speaker')));
    else content.set(...mapEntry(announcedCodec, prefix, null, because('speaker', 'speaker')));
  }
  return {content, content6, hold: speaker?.holds?.[0]?.reason ?? null};
}
