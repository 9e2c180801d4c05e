// Every BPF map of the datapath: name, type, sizes, flags. Twin of the map definitions in agent/bpf/lib/maps.h.

import {invariant} from '../../lib/core/invariant.js';

/** `enum bpf_map_type` of the kernel, the types we use. */
export const BPF_MAP_TYPES = {
  hash: 1, array: 2, percpu_hash: 5, percpu_array: 6, lru_hash: 9, lpm_trie: 11, array_of_maps: 12, ringbuf: 27,
} as const;
export type BpfMapType = keyof typeof BPF_MAP_TYPES;

export const BPF_F_NO_PREALLOC = 1;

export interface MapDefinition {
  /** Cilium's, in full: the pin's name and the C symbol. The kernel's own name is cut to 15 bytes. */
  readonly name: MapName;
  readonly type: BpfMapType;
  readonly keySize: number;
  readonly valueSize: number;
  /** Bytes for a ring buffer. */
  readonly maxEntries: number;
  readonly flags: number;
  /** Goes up when the bytes change meaning; the old map is then left behind, never read. */
  readonly layoutVersion: number;
}

const DEFINITIONS = [
  lpm('cilium_ipcache', 24, 24, 512_000),
  map('cilium_lxc', 'hash', {keySize: 20, valueSize: 48, maxEntries: 65_535}),
  map('cilium_policy', 'array_of_maps', {keySize: 4, valueSize: 4, maxEntries: 65_536}),
  {...map('cilium_ep_config', 'array', {keySize: 4, valueSize: 56, maxEntries: 65_536}), layoutVersion: 2},
  map('cilium_policy_epoch', 'array', {keySize: 4, valueSize: 8, maxEntries: 1}),
  map('cilium_if_to_ep', 'hash', {keySize: 4, valueSize: 4, maxEntries: 65_536}),
  map('cilium_ct4_global', 'lru_hash', {keySize: 14, valueSize: 56, maxEntries: 524_288}),
  map('cilium_ct_any4_global', 'lru_hash', {keySize: 14, valueSize: 56, maxEntries: 262_144}),
  map('cilium_ct6_global', 'lru_hash', {keySize: 38, valueSize: 56, maxEntries: 524_288}),
  map('cilium_ct_any6_global', 'lru_hash', {keySize: 38, valueSize: 56, maxEntries: 262_144}),
  map('cilium_snat_v4_external', 'lru_hash', {keySize: 14, valueSize: 40, maxEntries: 524_288}),
  map('cilium_snat_v4_alloc_retries', 'percpu_array', {keySize: 4, valueSize: 4, maxEntries: 33}),
  map('cilium_snat_v6_external', 'lru_hash', {keySize: 38, valueSize: 56, maxEntries: 524_288}),
  map('cilium_snat_v6_alloc_retries', 'percpu_array', {keySize: 4, valueSize: 4, maxEntries: 33}),
  lpm('cilium_ipmasq_v4', 8, 1, 16_384),
  lpm('cilium_ipmasq_v6', 20, 1, 16_384),
  lpm('cilium_announced_v4', 8, 1, 65_536),
  lpm('cilium_announced_v6', 20, 1, 65_536),
  map('cilium_ipv4_frag_datagrams', 'lru_hash', {keySize: 12, valueSize: 4, maxEntries: 8_192}),
  map('cilium_ipv6_frag_datagrams', 'lru_hash', {keySize: 40, valueSize: 4, maxEntries: 8_192}),
  map('cilium_routes_v4', 'percpu_array', {keySize: 4, valueSize: 32, maxEntries: 1024}),
  map('cilium_metrics', 'percpu_hash', {keySize: 8, valueSize: 16, maxEntries: 1_024}),
  map('cilium_forwarded', 'percpu_array', {keySize: 4, valueSize: 16, maxEntries: 3}),
  map('cilium_events', 'ringbuf', {keySize: 0, valueSize: 0, maxEntries: 8 << 20}),
  map('cilium_events_lost', 'percpu_array', {keySize: 4, valueSize: 8, maxEntries: 8}),
  map('cilium_runtime_config', 'array', {keySize: 4, valueSize: 8, maxEntries: 16}),
] as const;

export type MapName =
  | 'cilium_ipcache' | 'cilium_lxc' | 'cilium_policy' | 'cilium_ep_config' | 'cilium_if_to_ep' | 'cilium_ct4_global'
  | 'cilium_ct_any4_global' | 'cilium_snat_v4_external' | 'cilium_snat_v4_alloc_retries' | 'cilium_ipmasq_v4'
  | 'cilium_ct6_global' | 'cilium_ct_any6_global' | 'cilium_snat_v6_external' | 'cilium_snat_v6_alloc_retries' | 'cilium_ipmasq_v6' | 'cilium_announced_v4' | 'cilium_announced_v6'
  | 'cilium_ipv4_frag_datagrams' | 'cilium_ipv6_frag_datagrams' | 'cilium_routes_v4' | 'cilium_policy_epoch' | 'cilium_metrics' | 'cilium_forwarded' | 'cilium_events' | 'cilium_events_lost' | 'cilium_runtime_config';

/** In creation order; all are pinned by name. */
export const MAPS: ReadonlyMap<MapName, MapDefinition> = new Map(DEFINITIONS.map((definition) => [definition.name, definition]));

/** What a slot of `cilium_policy` points to: one per subject identity, not pinned. Every inner map must have these sizes and flags. */
export const POLICY_INNER_MAP = {
  name: 'cilium_policy_in', type: 'lpm_trie', keySize: 12, valueSize: 16, maxEntries: 16_384, flags: BPF_F_NO_PREALLOC,
} as const;

/** Of the pin. A new layout has a new name: the old bytes are left behind, never read. */
export function pinName({name, layoutVersion}: Pick<MapDefinition, 'name' | 'layoutVersion'>): string {
  return layoutVersion === 1 ? name : `${name}_v${layoutVersion}`;
}

/** A map of one entry holds nothing of worth: it gives way to one of another size. */
export const PLACEHOLDER_ENTRIES = 1;

export type MapSizes = Readonly<Partial<Record<MapName, number>>>;

/** For labs and tests, where many nodes share one machine's memory. */
export const SMALL_SIZES: MapSizes = {
  cilium_ipcache: 16_384, cilium_lxc: 1_024, cilium_policy: 1_024, cilium_ep_config: 1_024, cilium_if_to_ep: 1_024, cilium_ct4_global: 16_384,
  cilium_ct_any4_global: 16_384, cilium_snat_v4_external: 16_384, cilium_ipv4_frag_datagrams: 1_024, cilium_ct6_global: 16_384,
  cilium_ct_any6_global: 16_384, cilium_snat_v6_external: 16_384, cilium_ipv6_frag_datagrams: 1_024, cilium_events: 1 << 20,
};

/** While IPv6 is off: its maps are there, because programs name them, and take no room. */
export const IPV6_OFF_SIZES: MapSizes = {
  cilium_ct6_global: PLACEHOLDER_ENTRIES, cilium_ct_any6_global: PLACEHOLDER_ENTRIES, cilium_snat_v6_external: PLACEHOLDER_ENTRIES,
  cilium_ipv6_frag_datagrams: PLACEHOLDER_ENTRIES,
};

/** The definitions with `sizes` in place of the defaults. */
export function withSizes(sizes: MapSizes): readonly MapDefinition[] {
  return [...MAPS.values()].map((definition) => {
    const maxEntries = sizes[definition.name] ?? definition.maxEntries;
    invariant(Number.isInteger(maxEntries) && maxEntries > 0, 'a map has room', {name: definition.name, maxEntries});
    return {...definition, maxEntries};
  });
}

function map(name: MapName, type: BpfMapType, sizes: {keySize: number; valueSize: number; maxEntries: number}): MapDefinition {
  return {name, type, ...sizes, flags: 0, layoutVersion: 1};
}

/** Longest-prefix tries must not be preallocated (the kernel refuses). */
function lpm(name: MapName, keySize: number, valueSize: number, maxEntries: number): MapDefinition {
  return {name, type: 'lpm_trie', keySize, valueSize, maxEntries, flags: BPF_F_NO_PREALLOC, layoutVersion: 1};
}
