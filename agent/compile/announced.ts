// cilium_announced_v4, cilium_announced_v6: addresses of Services that this node announces. What is sent there and nobody on this node serves is dropped, or it
// would go back to the router, which sends it here again.

import type {Advertisement} from '../../lib/domain/bgp.js';
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

/** Advertisements that stay the same from one speaker to the next are encoded once. */
const ENTRIES = new WeakMap<Advertisement, readonly [string, MapEntry]>();

function entryOf(advertisement: Advertisement): readonly [string, MapEntry] {
  const {prefix} = advertisement;
  const made = ENTRIES.get(advertisement) ?? mapEntry(prefix.includes(':') ? announced6Codec : announcedCodec, prefix, null, because('speaker', 'speaker'));
  ENTRIES.set(advertisement, made);
  return made;
}

export function compileAnnounced({tables}: Pick<CompileInput, 'tables'>): CompiledAnnounced {
  const speaker = single(tables, 'speaker');
  const content = new Map<string, MapEntry>();
  const content6 = new Map<string, MapEntry>();
  for (const one of speaker?.instances.flatMap(({advertisements}) => advertisements) ?? []) {
    if (one.origin.kind === 'Service') (one.prefix.includes(':') ? content6 : content).set(...entryOf(one));
  }
  return {content, content6, hold: speaker?.holds?.[0]?.reason ?? null};
}
