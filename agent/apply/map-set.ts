// The node's pinned maps: opened as they are found, created where they are missing, refused when their layout is another.

import {existsSync, readdirSync} from 'node:fs';
import {StentorError} from '../../lib/core/errors.js';
import type {Log} from '../../lib/run/log.js';
import {BpfMap, type MapInfo} from '../kernel/bpf.js';
import {unpin} from '../kernel/fd.js';
import {MAPS, pinName, PLACEHOLDER_ENTRIES, POLICY_INNER_MAP, withSizes, type MapDefinition, type MapName, type MapSizes} from '../maps/registry.js';

export interface MapSetOptions {
  /** `<bpf-root>`: maps are pinned in `maps/`. */
  readonly root: string;
  readonly sizes: MapSizes;
}

export type MapSet = ReadonlyMap<MapName, BpfMap>;

/** Nothing is opened when one is refused. */
export function openMapSet(options: MapSetOptions, parts: {readonly log: Log}): MapSet {
  refuseNewer(options.root);
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

interface OtherLayout {
  readonly name: MapName;
  readonly layoutVersion: number;
  readonly path: string;
}

/** Pins of our maps in layouts that are not this version's. */
function otherLayouts(root: string): readonly OtherLayout[] {
  if (!existsSync(`${root}/maps`)) return [];
  return readdirSync(`${root}/maps`).flatMap((pin) => [...MAPS.values()].flatMap(({name, layoutVersion: ours}) => {
    // A name may end like a version itself, as `cilium_ipmasq_v4`.
    const found = pin === name ? '1' : pin.startsWith(`${name}_v`) ? pin.slice(name.length + 2) : '';
    if (!/^[1-9]\d{0,5}$/.test(found) || Number(found) === ours) return [];
    return [{name, layoutVersion: Number(found), path: `${root}/maps/${pin}`}];
  }));
}

/** Programs of the newer version may be attached, with a state that this one cannot read: nothing is touched. */
function refuseNewer(root: string): void {
  const newer = otherLayouts(root).find(({name, layoutVersion}) => layoutVersion > (MAPS.get(name)?.layoutVersion ?? 0));
  if (newer === undefined) return;
  throw new StentorError('MAP_LAYOUT_NEWER', `a newer version of the agent has worked on this node: ${newer.path} has layout ${newer.layoutVersion}, this version knows ${MAPS.get(newer.name)?.layoutVersion ?? 0}`,
    {path: newer.path, hint: 'start that version again, or drain the node, run its stentorctl node uninstall, and start this one'});
}

/** Once the programs that read them are gone. What they held was written anew from the desired state. */
export function removeOlderLayouts(root: string, log: Log): void {
  for (const {name, layoutVersion, path} of otherLayouts(root)) {
    unpin(path);
    log.info('map of a former layout removed', {map: name, layoutVersion});
  }
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
