// BTF of an object file, as bpftool prints it: sizes and offsets of structs, map definitions, sizes of variables.

import {execFileSync} from 'node:child_process';

interface BtfMember {
  readonly name: string;
  readonly type_id: number;
  readonly bits_offset: number;
  readonly bitfield_size?: number;
}

interface BtfType {
  readonly id: number;
  readonly kind: string;
  readonly name: string;
  readonly size?: number;
  readonly type_id?: number;
  readonly nr_elems?: number;
  readonly members?: readonly BtfMember[];
  readonly vars?: readonly {readonly type_id: number; readonly size: number}[];
  readonly values?: readonly {readonly name: string; readonly val: number}[];
}

export interface BtfField {
  readonly bitOffset: number;
  /** Of the member; of a bit-field its width. */
  readonly bits: number;
  readonly bitfield: boolean;
}

export interface BtfStruct {
  readonly size: number;
  readonly fields: ReadonlyMap<string, BtfField>;
}

const POINTER_BYTES = 8;

export class Btf {
  readonly #types: ReadonlyMap<number, BtfType>;

  constructor(objectFile: string) {
    const text = execFileSync('bpftool', ['btf', 'dump', 'file', objectFile, '-j'], {encoding: 'utf8', maxBuffer: 64 << 20});
    const {types} = JSON.parse(text) as {types: readonly BtfType[]};
    this.#types = new Map(types.map((type) => [type.id, type]));
  }

  struct(tag: string): BtfStruct | null {
    const type = this.#named('STRUCT', tag);
    if (type === undefined) return null;
    const fields = (type.members ?? []).map((member): [string, BtfField] => [member.name, {
      bitOffset: member.bits_offset, bitfield: (member.bitfield_size ?? 0) > 0,
      bits: member.bitfield_size !== undefined && member.bitfield_size > 0 ? member.bitfield_size : 8 * this.#size(member.type_id),
    }]);
    return {size: type.size ?? 0, fields: new Map(fields)};
  }

  enumerators(tag: string): ReadonlyMap<string, number> {
    return new Map((this.#named('ENUM', tag)?.values ?? []).map(({name, val}) => [name, val]));
  }

  /** Bytes of each global variable of a section, as `.rodata`. */
  variables(section: string): ReadonlyMap<string, number> {
    return new Map((this.#named('DATASEC', section)?.vars ?? []).map(({type_id: id}) => [this.#type(id).name, this.#size(this.#type(id).type_id ?? 0)]));
  }

  /** Of every map in `.maps`: its numeric attributes, and `key_size` and `value_size` also where types are given. */
  maps(): ReadonlyMap<string, ReadonlyMap<string, number>> {
    const variables = this.#named('DATASEC', '.maps')?.vars ?? [];
    return new Map(variables.map(({type_id: id}) => {
      const variable = this.#type(id);
      return [variable.name, this.#mapAttributes(this.#type(variable.type_id ?? 0))];
    }));
  }

  #mapAttributes(definition: BtfType): ReadonlyMap<string, number> {
    const attributes = new Map<string, number>();
    for (const {name, type_id: id} of definition.members ?? []) {
      const pointer = this.#type(id);
      if (pointer.kind !== 'PTR') continue;
      // `__uint(name, n)` is a pointer to an array of n; `__type(name, t)` is a pointer to t.
      const target = this.#type(pointer.type_id ?? 0);
      if (name === 'key' || name === 'value') attributes.set(`${name}_size`, this.#size(pointer.type_id ?? 0));
      else attributes.set(name, target.nr_elems ?? 0);
    }
    return attributes;
  }

  #named(kind: string, name: string): BtfType | undefined {
    return [...this.#types.values()].find((type) => type.kind === kind && type.name === name);
  }

  #type(id: number): BtfType {
    const type = this.#types.get(id);
    if (type === undefined) throw new Error(`no BTF type ${id}`);
    return type;
  }

  #size(id: number): number {
    if (id === 0) return 0;
    const type = this.#type(id);
    if (type.kind === 'PTR') return POINTER_BYTES;
    if (type.kind === 'ARRAY') return (type.nr_elems ?? 0) * this.#size(type.type_id ?? 0);
    return type.size ?? this.#size(type.type_id ?? 0);
  }
}
