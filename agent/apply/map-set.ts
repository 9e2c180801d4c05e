// The node's pinned maps: opened as they are found, created where they are missing, refused when their layout is another.

import {StentorError} from '../../lib/core/errors.js';
import type {Log} from '../../lib/run/log.js';
import {BpfMap, type MapInfo} from '../kernel/bpf.js';
import {unpin} from '../kernel/fd.js';
import {pinName, PLACEHOLDER_ENTRIES, POLICY_INNER_MAP, withSizes, type MapDefinition, type MapName, type MapSizes} from '../maps/registry.js';

export interface MapSetOptions {
  /** `<bpf-root>`: maps are pinned in `maps/`. */
  readonly root: string;
  readonly sizes: MapSizes;
}

export type MapSet = ReadonlyMap<MapName, BpfMap>;

/** Nothing is opened when one is refused. */
export function openMapSet(options: MapSetOptions, parts: {readonly log: Log}): MapSet {
  const maps = new Map<MapName, BpfMap>();
  try {
    for (const definition of withSizes(options.sizes)) maps.set(definition.name, openMap(options.root, definition, parts.log));
    return maps;
  } catch (error) {
    closeMapSet(maps);
    throw error;
  }
}

export function closeMapSet(maps: MapSet): void {
  for (const map of maps.values()) map.close();
}

export function mapPinPath(root: string, definition: Pick<MapDefinition, 'name' | 'layoutVersion'>): string {
  return `${root}/maps/${pinName(definition)}`;
}

function openMap(root: string, definition: MapDefinition, log: Log): BpfMap {
  const path = mapPinPath(root, definition);
  const pinned = BpfMap.openPinned(path);
  if (pinned === null) return createMap(path, definition);
  const info = pinned.info();
  if (!hasLayout(info, definition)) {
    pinned.close();
    throw new StentorError('MAP_LAYOUT', `the map pinned at ${path} has another layout than this version: remove it, or run the version that made it`,
      {path, wanted: layoutOf(definition), has: layoutOf(info)});
  }
  if (info.maxEntries === PLACEHOLDER_ENTRIES && definition.maxEntries > PLACEHOLDER_ENTRIES) {
    pinned.close();
    unpin(path);
    return createMap(path, definition);
  }
  // Entries of a live node are worth more than another size: it changes when the pin is removed.
  if (info.maxEntries !== definition.maxEntries) {
    log.warn('map keeps its size', {map: definition.name, maxEntries: info.maxEntries, configured: definition.maxEntries});
  }
  return pinned;
}

function createMap(path: string, definition: MapDefinition): BpfMap {
  const inner = definition.type === 'array_of_maps' ? BpfMap.create(POLICY_INNER_MAP) : null;
  try {
    const map = BpfMap.create({...definition, ...(inner === null ? {} : {innerMap: inner})});
    try {
      map.pin(path);
      return map;
    } catch (error) {
      map.close();
      throw error;
    }
  } finally {
    inner?.close();
  }
}

type Layout = Pick<MapInfo, 'type' | 'keySize' | 'valueSize' | 'flags'>;

function layoutOf({type, keySize, valueSize, flags}: Layout): Layout {
  return {type, keySize, valueSize, flags};
}

function hasLayout(info: MapInfo, definition: MapDefinition): boolean {
  return info.type === definition.type && info.keySize === definition.keySize && info.valueSize === definition.valueSize &&
    info.flags === definition.flags;
}
