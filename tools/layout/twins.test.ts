import {readFileSync} from 'node:fs';
import {join} from 'node:path';

import {describe, expect, test} from '@jest/globals';

import {PROBE} from '../../agent/bpf/probe/probe.js';
import {CT_ENTRY, CT_TUPLE, CT_TUPLE6} from '../../agent/maps/ct.js';
import {ENDPOINT_CONFIG, ENDPOINT_INFO, ENDPOINT_KEY} from '../../agent/maps/endpoint.js';
import {DROP_MESSAGE, EVENT_CAPTURE_MAX, TRACE_MESSAGE, VERDICT_MESSAGE} from '../../agent/maps/events.js';
import {FRAGMENT_KEY, FRAGMENT_KEY6, FRAGMENT_PORTS, FRAGMENT_PORTS6} from '../../agent/maps/frag.js';
import {IPCACHE_KEY, IPCACHE_VALUE} from '../../agent/maps/ipcache.js';
import type {AnyStruct} from '../../agent/maps/layout.js';
import {IPMASQ_KEY, IPMASQ_KEY6} from '../../agent/maps/masq.js';
import {METRICS_KEY, METRICS_VALUE} from '../../agent/maps/metrics.js';
import {NAT_ENTRY, NAT_ENTRY6} from '../../agent/maps/nat.js';
import {POLICY_ENTRY, POLICY_KEY} from '../../agent/maps/policy.js';
import {MAX_DEVICES, MAX_POD_CIDRS, PROGRAM_DEFAULTS, PROGRAM_VARIABLES} from '../../agent/maps/program-config.js';
import {BPF_MAP_TYPES, MAPS, POLICY_INNER_MAP} from '../../agent/maps/registry.js';
import {RUNTIME_CONFIG} from '../../agent/maps/runtime-config.js';
import {Btf} from './btf.js';

const ROOT = join(import.meta.dirname, '../../..');
const NAMES = ['st_endpoint', 'st_host', 'st_overlay'] as const;
const OBJECTS = NAMES.flatMap((name) => [`build/bpf/${name}.bpf.o`, `build/bpf/test/${name}.bpf.o`]);
const BTF = new Map(OBJECTS.map((file) => [file, new Btf(join(ROOT, file))]));
const CONFIG_H = readFileSync(join(ROOT, 'agent/bpf/lib/config.h'), 'utf8');

const STRUCTS: readonly AnyStruct[] = [IPCACHE_KEY, IPCACHE_VALUE, ENDPOINT_KEY, ENDPOINT_INFO, ENDPOINT_CONFIG, POLICY_KEY, POLICY_ENTRY, CT_TUPLE, CT_TUPLE6,
  CT_ENTRY, NAT_ENTRY, NAT_ENTRY6, IPMASQ_KEY, IPMASQ_KEY6, FRAGMENT_KEY, FRAGMENT_KEY6, FRAGMENT_PORTS, FRAGMENT_PORTS6, METRICS_KEY, METRICS_VALUE, DROP_MESSAGE, TRACE_MESSAGE, VERDICT_MESSAGE, PROBE];

/** A member that the codec describes, as the object must have it. */
function expected(struct: AnyStruct): Record<string, {bitOffset: number; bits: number; bitfield: boolean}> {
  return Object.fromEntries(Object.values(struct.fields).map((field) => [field.member, field.bits === undefined
    ? {bitOffset: 8 * field.offset, bits: 8 * field.size, bitfield: false}
    : {bitOffset: field.bits.offset, bits: field.bits.width, bitfield: true}]));
}

describe('structs', () => {
  test.each(STRUCTS.map((struct) => [struct.tag, struct] as const))('struct %s lies in C as in TypeScript', (tag, struct) => {
    const found = [...BTF].flatMap(([file, btf]) => {
      const twin = btf.struct(tag);
      return twin === null ? [] : [{file, twin}];
    });
    expect(found.map(({file}) => file)).not.toEqual([]);
    for (const {file, twin} of found) {
      const members = Object.keys(expected(struct));
      const fields = Object.fromEntries([...twin.fields].filter(([name]) => members.includes(name)));
      expect({file, size: twin.size, fields}).toEqual({file, size: struct.size, fields: expected(struct)});
    }
  });

  test('the comparison can fail', () => {
    const twin = BTF.get('build/bpf/st_host.bpf.o')?.struct('policy_entry');
    expect(twin?.fields.get('deny')).toEqual({bitOffset: 16, bits: 1, bitfield: true});
    expect(twin?.fields.get('cookie')).not.toEqual(expected(POLICY_ENTRY)['precedence']);
  });
});

describe('maps', () => {
  test.each(OBJECTS)('%s has the maps of the registry', (file) => {
    const maps = BTF.get(file)?.maps() ?? new Map<string, ReadonlyMap<string, number>>();
    expect([...maps.keys()].filter((name) => name !== 'st_probe').sort()).toEqual([...MAPS.keys()].sort());
    for (const [name, definition] of MAPS) {
      const attributes = maps.get(name);
      expect({name, type: attributes?.get('type'), key: attributes?.get('key_size') ?? 0, value: attributes?.get('value_size') ?? 0,
        max: attributes?.get('max_entries'), flags: attributes?.get('map_flags') ?? 0})
        .toEqual({name, type: BPF_MAP_TYPES[definition.type], key: definition.keySize, value: definition.valueSize, max: definition.maxEntries,
          flags: definition.flags});
    }
  });

  test('inner policy maps hold a policy entry by policy key', () => {
    expect([POLICY_INNER_MAP.keySize, POLICY_INNER_MAP.valueSize]).toEqual([POLICY_KEY.size, POLICY_ENTRY.size]);
  });
});

describe('values set before load', () => {
  test.each(NAMES)('%s knows no variable that the agent does not, and each has its size', (name) => {
    const variables = BTF.get(`build/bpf/${name}.bpf.o`)?.variables('.rodata') ?? new Map<string, number>();
    expect(variables.size).toBeGreaterThan(0);
    const known: Readonly<Record<string, {size: number}>> = PROGRAM_VARIABLES;
    expect(Object.fromEntries(variables)).toEqual(Object.fromEntries([...variables.keys()].map((key) => [key, known[key]?.size])));
  });

  test('config.h declares them in the same order with the same words', () => {
    const declared = [...CONFIG_H.matchAll(/^CONFIG\([^,]+, (\w+), "([^"]+)"\)/gm)].map(([, name = '', text = '']) => [`config_${name}`, text]);
    expect(declared).toEqual(Object.entries(PROGRAM_VARIABLES).map(([name, {description}]) => [name, description]));
  });

  test('limits and defaults are the same', () => {
    const constant = (name: string): number => Number(new RegExp(`#define ${name} (\\d+)`).exec(CONFIG_H)?.[1]);
    const initial = (name: string): number => Number(new RegExp(`CONFIG\\([^,]+, ${name}, [^)]*\\) = (\\d+);`).exec(CONFIG_H)?.[1]);
    expect([constant('MAX_POD_CIDRS'), constant('MAX_DEVICES')]).toEqual([MAX_POD_CIDRS, MAX_DEVICES]);
    const {tunnelPort, snatPorts, timeouts, captureBytes} = PROGRAM_DEFAULTS;
    expect(['tunnel_port', 'snat_port_min', 'snat_port_max', 'ct_tcp_timeout', 'ct_syn_timeout', 'ct_close_timeout', 'ct_any_timeout', 'capture_bytes']
      .map(initial)).toEqual([tunnelPort, snatPorts.min, snatPorts.max, timeouts.tcpSeconds, timeouts.tcpSynSeconds, timeouts.tcpCloseSeconds,
      timeouts.anySeconds, captureBytes]);
    expect(captureBytes).toBeLessThanOrEqual(EVENT_CAPTURE_MAX);
  });

  test('indexes of the runtime configuration', () => {
    expect(CONFIG_H).toContain(`RUNTIME_MONITOR_AGGREGATION = ${RUNTIME_CONFIG.monitorAggregation}`);
    expect(CONFIG_H).toContain(`RUNTIME_POLICY_VERDICT_OFF = ${RUNTIME_CONFIG.policyVerdictOff}`);
    expect(CONFIG_H).toContain(`RUNTIME_AGENT_ALIVE = ${RUNTIME_CONFIG.agentAlive}`);
  });
});
