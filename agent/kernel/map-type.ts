// Map types and flags of bpf(2), by the names bpftool prints.

export const MAP_TYPES = {
  hash: 1, array: 2, prog_array: 3, perf_event_array: 4, percpu_hash: 5, percpu_array: 6, stack_trace: 7, cgroup_array: 8,
  lru_hash: 9, lru_percpu_hash: 10, lpm_trie: 11, array_of_maps: 12, hash_of_maps: 13, devmap: 14, sockmap: 15, cpumap: 16,
  xskmap: 17, sockhash: 18, queue: 22, stack: 23, sk_storage: 24, devmap_hash: 25, ringbuf: 27,
} as const;

export type MapType = keyof typeof MAP_TYPES;

export const MAP_FLAG_NO_PREALLOC = 1;

const BY_NUMBER: ReadonlyMap<number, MapType> = new Map(
  Object.entries(MAP_TYPES).map(([name, number]): [number, MapType] => [number, name as MapType]),
);

export function mapTypeOf(number: number): MapType | null {
  return BY_NUMBER.get(number) ?? null;
}

/** Each CPU has its own value, padded to 8 bytes; user space reads and writes them all at once. */
export function isPerCpu(type: MapType): boolean {
  return type === 'percpu_hash' || type === 'percpu_array' || type === 'lru_percpu_hash';
}
