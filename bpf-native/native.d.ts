// The addon's exports, in the order of the tables in src/*.c (bpf, object, link, ring, netlink, watch, memory, cpus).
// Numbers are results or -errno. A wrong argument throws a TypeError. Lengths of keys and values are the caller's: it knows the map.

declare const opaque: unique symbol;

/** What `objectOpen`, `ringOpen` and `watchOpen` return; good for the functions of the same group only. */
export interface NativeObject { readonly [opaque]: 'object' }
export interface NativeRing { readonly [opaque]: 'ring' }
export interface NativeWatch { readonly [opaque]: 'watch' }

export interface Native {
  mapCreate(type: number, keySize: number, valueSize: number, maxEntries: number, flags: number, innerFd: number, name: string): number;
  mapLookup(fd: number, key: Uint8Array, value: Uint8Array): number;
  mapUpdate(fd: number, key: Uint8Array, value: Uint8Array, flags: number): number;
  mapDelete(fd: number, key: Uint8Array): number;
  mapNextKey(fd: number, key: Uint8Array | null, next: Uint8Array): number;
  /** `count`: u32, room in, filled out. -ENOENT = this was the last part. */
  mapLookupBatch(fd: number, cursorIn: Uint8Array | null, cursorOut: Uint8Array, keys: Uint8Array, values: Uint8Array, count: Uint8Array): number;
  /** `count`: u32, wanted in, done out. */
  mapUpdateBatch(fd: number, keys: Uint8Array, values: Uint8Array, count: Uint8Array, flags: number): number;
  mapDeleteBatch(fd: number, keys: Uint8Array, count: Uint8Array): number;
  /** Copies what it is given; resolves with the number written. */
  mapUpdateBatchAsync(fd: number, keys: Uint8Array, values: Uint8Array, count: number, flags: number): Promise<number>;
  mapDeleteAsync(fd: number, key: Uint8Array): Promise<number>;
  objPin(fd: number, path: string): number;
  objGet(path: string): number;
  /** struct bpf_map_info, bpf_prog_info or bpf_link_info; the bytes that were filled. */
  objInfo(fd: number, out: Uint8Array): number;
  /** kind: 0 program, 1 map, 2 link. */
  fdById(kind: number, id: number): number;
  programLoad(type: number, expectedAttachType: number, instructions: Uint8Array, license: string, name: string): number;
  /** `result`: u32 × 4: return value, nanoseconds, bytes of data out, bytes of context out. */
  programTestRun(fd: number, data: Uint8Array, dataOut: Uint8Array | null, context: Uint8Array | null,
    contextOut: Uint8Array | null, repeat: number, result: Uint8Array): number;
  possibleCpus(): number;

  objectOpen(bytes: Uint8Array, name: string): NativeObject | number;
  objectVariableSize(object: NativeObject, name: string): number;
  objectSetVariable(object: NativeObject, name: string, value: Uint8Array): number;
  /** `out`: u32 × 5: type, key size, value size, max entries, flags. */
  objectMapSpec(object: NativeObject, map: string, out: Uint8Array): number;
  objectReuseMap(object: NativeObject, map: string, fd: number): number;
  objectSetAutoload(object: NativeObject, program: string, autoload: boolean): number;
  objectLoad(object: NativeObject): number;
  objectLoadAsync(object: NativeObject): Promise<number>;
  objectLog(object: NativeObject): string | number;
  objectPrograms(object: NativeObject): string[] | number;
  objectMaps(object: NativeObject): string[] | number;
  objectProgramFd(object: NativeObject, program: string): number;
  objectMapFd(object: NativeObject, map: string): number;
  objectClose(object: NativeObject): number;

  /** `netnsFd` -1 = the caller's own namespace. */
  linkCreate(programFd: number, target: number, attachType: number, netnsFd: number): number;
  linkCreateAsync(programFd: number, target: number, attachType: number, netnsFd: number): Promise<number>;
  /** With `oldProgramFd` ≥ 0 only if that program is attached. */
  linkUpdate(linkFd: number, programFd: number, oldProgramFd: number): number;
  linkDetach(linkFd: number): number;
  programQuery(target: number, attachType: number, netnsFd: number, programIds: Uint8Array): number;

  ringOpen(fd: number, size: number): NativeRing | number;
  ringAvailable(ring: NativeRing): number;
  /** Per record: u32 length, 4 bytes of zero, the record padded to 8. */
  ringDrain(ring: NativeRing, out: Uint8Array): number;
  ringClose(ring: NativeRing): number;

  netlinkOpen(netnsFd: number, protocol: number, groups: number): number;
  /** One exchange per socket at a time; `requests` = messages with NLM_F_ACK or NLM_F_DUMP. */
  netlinkExchange(fd: number, messages: Uint8Array, requests: number): Promise<Uint8Array | number>;
  netlinkReceive(fd: number, out: Uint8Array): number;
  setns(fd: number): number;

  /** `callback` must read until there is nothing, or it is called again at once. */
  watchOpen(fd: number, callback: (status: number) => void): NativeWatch | number;
  watchClose(watch: NativeWatch): number;

  /** At most `arenas` arenas of malloc for all threads; free memory at the top beyond `trim` bytes goes back to the kernel. */
  mallocSettings(arenas: number, trim: number): number;
  /** Gives back what is free inside. 1 = there was something. */
  mallocTrim(): number;

  /** 0 = a thread of this process has run on every CPU that was online, and no program can be preempted by one. -E2BIG: more than `most`. */
  cpusVisit(most: number): number;
}
