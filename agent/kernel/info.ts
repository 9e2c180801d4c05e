// What the kernel says about a map or a program: struct bpf_map_info and bpf_prog_info, decoded.

import {native} from '../../bpf-native/index.js';
import {StentorError} from '../../lib/core/errors.js';
import {check} from './errno.js';
import type {Fd} from './fd.js';
import {mapTypeOf, type MapType} from './map-type.js';

export interface MapInfo {
  readonly id: number;
  readonly type: MapType;
  readonly keySize: number;
  readonly valueSize: number;
  readonly maxEntries: number;
  readonly flags: number;
  readonly name: string;
}

export interface ProgramInfo {
  readonly id: number;
  /** enum bpf_prog_type */
  readonly type: number;
  /** Hash of the instructions, in hex: equal code, equal tag (.rodata not counted). */
  readonly tag: string;
  readonly name: string;
  readonly verifiedInstructions: number;
}

/** struct bpf_map_info */
export function readMapInfo(fd: Fd): MapInfo {
  const bytes = new Uint8Array(88);
  check(native().objInfo(fd.number, bytes), 'BPF_OBJ_GET_INFO_BY_FD');
  const view = new DataView(bytes.buffer);
  const type = mapTypeOf(view.getUint32(0, true));
  if (type === null) throw new StentorError('UNKNOWN_MAP_TYPE', 'the map is of a type this version does not know', {type: view.getUint32(0, true)});
  return {
    type,
    id: view.getUint32(4, true),
    keySize: view.getUint32(8, true),
    valueSize: view.getUint32(12, true),
    maxEntries: view.getUint32(16, true),
    flags: view.getUint32(20, true),
    name: readName(bytes, 24),
  };
}

function readName(bytes: Uint8Array, offset: number): string {
  const name = bytes.subarray(offset, offset + 16);
  const end = name.indexOf(0);
  return Buffer.from(end < 0 ? name : name.subarray(0, end)).toString('latin1');
}

/** struct bpf_prog_info */
export function readProgramInfo(fd: Fd): ProgramInfo {
  const bytes = new Uint8Array(224);
  check(native().objInfo(fd.number, bytes), 'BPF_OBJ_GET_INFO_BY_FD');
  const view = new DataView(bytes.buffer);
  return {
    type: view.getUint32(0, true),
    id: view.getUint32(4, true),
    tag: Buffer.from(bytes.subarray(8, 16)).toString('hex'),
    name: readName(bytes, 64),
    verifiedInstructions: view.getUint32(216, true),
  };
}
