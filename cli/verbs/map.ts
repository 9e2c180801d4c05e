// map list|get: any pinned map.

import {ctAny6Codec, ctAnyCodec, ctTcp6Codec, ctTcpCodec} from '../../agent/maps/ct.js';
import {policyEpochCodec} from '../../agent/maps/epoch.js';
import {endpointConfigCodec, ifToEndpointCodec, lxcCodec} from '../../agent/maps/endpoint.js';
import {fragment6Codec, fragmentCodec} from '../../agent/maps/frag.js';
import {ipcacheCodec} from '../../agent/maps/ipcache.js';
import type {MapCodec} from '../../agent/maps/layout.js';
import {announced6Codec, announcedCodec, ipmasq6Codec, ipmasqCodec} from '../../agent/maps/masq.js';
import {forwardedCodec, metricsCodec} from '../../agent/maps/metrics.js';
import {snat6Codec, snatCodec} from '../../agent/maps/nat.js';
import {policySlotCodec} from '../../agent/maps/policy.js';
import {MAPS} from '../../agent/maps/registry.js';
import {runtimeConfigCodec} from '../../agent/maps/runtime-config.js';
import type {Verb} from '../context.js';
import {usage} from '../errors.js';
import {listMaps, readMap, readRaw} from '../pins.js';
import {argument, list as printList} from './common.js';

interface Row {
  readonly key: unknown;
  readonly value: unknown;
}

const READERS: ReadonlyMap<string, (bpfRoot: string) => readonly Row[]> = new Map([
  reader(ipcacheCodec), reader(lxcCodec), reader(endpointConfigCodec, (value) => value !== null), reader(ifToEndpointCodec), reader(ctTcpCodec), reader(ctAnyCodec),
  reader(ctTcp6Codec), reader(ctAny6Codec), reader(snat6Codec), reader(ipmasq6Codec), reader(fragment6Codec),
  reader(snatCodec), reader(ipmasqCodec), reader(announcedCodec), reader(announced6Codec), reader(metricsCodec), reader(forwardedCodec), reader(fragmentCodec),
  reader(policySlotCodec, (value) => value !== 0), reader(policyEpochCodec), reader(runtimeConfigCodec),
]);

/** `worth`: slots of an array that hold something. */
function reader<K, V>(codec: MapCodec<K, V>, worth: (value: V) => boolean = () => true): [string, (bpfRoot: string) => readonly Row[]] {
  return [codec.map, (bpfRoot) => readMap(bpfRoot, codec).filter(([, value]) => worth(value)).map(([key, value]) => ({key, value}))];
}

export const list: Verb = (context) => printList(context, {
  items: listMaps(context.common.bpfRoot),
  columns: [
    {title: 'NAME', cell: ({name}) => name},
    {title: 'TYPE', cell: ({type}) => type},
    {title: 'ENTRIES', cell: ({entries, pinned}) => (pinned ? (entries ?? '-') : 'not pinned'), right: true},
    {title: 'MAX', cell: ({maxEntries}) => maxEntries, right: true},
  ],
  name: ({name}) => name,
  empty: 'no maps',
});

export const get: Verb = (context) => {
  const given = argument(context, 0, 'the map');
  const name = [...MAPS.keys()].find((known) => known === given || known === `cilium_${given}`);
  if (name === undefined) throw usage(`no such map: ${given}; there are ${[...MAPS.keys()].join(', ')}`);
  const {bpfRoot} = context.common;
  const items: readonly Row[] = READERS.get(name)?.(bpfRoot) ?? readRaw(bpfRoot, name);
  return printList(context, {
    items,
    columns: [{title: 'KEY', cell: ({key}) => text(key)}, {title: 'VALUE', cell: ({value}) => text(value)}],
    name: ({key}) => text(key),
    empty: `${name} is empty`,
  });
};

/** `identity=1 tunnelEndpoint=10.0.0.1` of an object, the plain text of anything else. */
function text(value: unknown): string {
  if (value === null || value === undefined) return '';
  if (typeof value !== 'object') return scalar(value);
  return Object.entries(value).map(([name, one]) => `${name}=${scalar(one)}`).join(' ');
}

function scalar(value: unknown): string {
  return typeof value === 'string' ? value : typeof value === 'bigint' ? value.toString() : JSON.stringify(value);
}
