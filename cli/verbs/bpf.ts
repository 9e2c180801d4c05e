// bpf … list: the pinned maps as they are, with or without an agent.

import {ctAny6Codec, ctAnyCodec, ctTcp6Codec, ctTcpCodec} from '../../agent/maps/ct.js';
import {lxcCodec} from '../../agent/maps/endpoint.js';
import {ipcacheCodec} from '../../agent/maps/ipcache.js';
import {forwardedCodec, metricsCodec} from '../../agent/maps/metrics.js';
import {snat6Codec, snatCodec} from '../../agent/maps/nat.js';
import type {Verb} from '../context.js';
import {usage} from '../errors.js';
import {readIpmasq, readMap, readPolicies} from '../pins.js';
import {addressText, ctRows, ipcacheRows, lxcRows, metricRows, natRows, policyRows, portText, tunnelRows} from '../rows.js';
import {durationText, identityText, labelLines, list, monotonicSeconds, namesFor, originText} from './common.js';

export const policy: Verb = async (context) => {
  const [wanted] = context.args;
  if (wanted !== undefined && !/^\d+$/.test(wanted)) throw usage('the endpoint is a number: see `stentorctl endpoint list`');
  const rows = policyRows(readPolicies(context.common.bpfRoot, wanted === undefined ? null : Number(wanted)), await namesFor(context.common));
  return list(context, {
    items: rows,
    columns: [
      {title: 'ENDPOINT', cell: ({endpoint}) => endpoint},
      {title: 'VERDICT', cell: ({deny, redirect}) => (deny ? 'deny' : redirect ? 'redirect' : 'allow')},
      {title: 'DIRECTION', cell: ({direction}) => direction},
      {title: 'IDENTITY', cell: ({identity}) => (identity === 0 ? 'ANY' : identityText(identity))},
      {title: 'PORT/PROTO', cell: portText},
      {title: 'LABELS', cell: ({labels}) => labels},
      {title: 'BY', cell: ({derivedFrom}) => originText(derivedFrom)},
      {title: 'PRECEDENCE', cell: ({precedence}) => precedence, wide: true, right: true},
      {title: 'COOKIE', cell: ({cookie}) => cookie, wide: true, right: true},
    ],
    name: (row) => `${row.endpoint}/${row.direction}/${row.identity}/${portText(row)}`,
    empty: 'no policy map is set: no endpoints on this node',
  });
};

export const ipcache: Verb = async (context) => {
  const rows = ipcacheRows(readMap(context.common.bpfRoot, ipcacheCodec), await namesFor(context.common));
  return list(context, {
    items: rows,
    columns: [
      {title: 'PREFIX', cell: ({prefix}) => prefix},
      {title: 'IDENTITY', cell: ({identity}) => identityText(identity)},
      {title: 'TUNNEL', cell: ({tunnelEndpoint}) => tunnelEndpoint ?? '-'},
      {title: 'LABELS', cell: ({labels}) => labelLines(labels)},
    ],
    name: ({prefix}) => prefix,
    empty: 'the ipcache is empty',
  });
};

export const ct: Verb = (context) => {
  const now = monotonicSeconds();
  const {bpfRoot} = context.common;
  const rows = [ctTcpCodec, ctAnyCodec, ctTcp6Codec, ctAny6Codec].flatMap((codec) => ctRows(codec.map, readMap(bpfRoot, codec), now));
  return list(context, {
    items: rows,
    columns: [
      {title: 'PROTO', cell: ({protocol}) => protocol},
      {title: 'DIR', cell: ({direction}) => direction},
      {title: 'FLOW', cell: flowText},
      {title: 'IDENTITY', cell: ({sourceIdentity}) => identityText(sourceIdentity)},
      {title: 'EXPIRES', cell: ({expiresSeconds}) => (expiresSeconds < 0 ? 'over' : durationText(expiresSeconds)), right: true},
      {title: 'PACKETS', cell: ({packets}) => packets, right: true},
      {title: 'BYTES', cell: ({bytes}) => bytes, right: true},
      {title: 'STATE', cell: ({closing, related}) => (related ? 'related' : closing ? 'closing' : 'open')},
      {title: 'FLAGS', cell: ({flags}) => `0x${flags.toString(16)}`, wide: true},
      {title: 'IFINDEX', cell: ({ifindex}) => ifindex, wide: true, right: true},
    ],
    name: (row) => `${row.protocol} ${row.direction} ${flowText(row)}`,
    empty: 'no connections',
  });
};

export const nat: Verb = (context) => {
  const rows = [snatCodec, snat6Codec].flatMap((codec) => natRows(readMap(context.common.bpfRoot, codec), monotonicSeconds()));
  return list(context, {
    items: rows,
    columns: [
      {title: 'PROTO', cell: ({protocol}) => protocol},
      {title: 'DIR', cell: ({direction}) => direction},
      {title: 'FLOW', cell: flowText},
      {title: 'BECOMES', cell: ({direction, toAddress, toPort}) => `${direction === 'out' ? 'from' : 'to'} ${toAddress}:${toPort}`},
      {title: 'AGE', cell: ({ageSeconds}) => durationText(ageSeconds), right: true},
    ],
    name: (row) => `${row.protocol} ${row.direction} ${flowText(row)}`,
    empty: 'nothing is masqueraded',
  });
};

interface Flow {
  readonly source: string;
  readonly sourcePort: number;
  readonly destination: string;
  readonly destinationPort: number;
}

function flowText({source, sourcePort, destination, destinationPort}: Flow): string {
  return `${addressText(source)}:${sourcePort} -> ${addressText(destination)}:${destinationPort}`;
}

export const ipmasq: Verb = (context) => {
  const items = readIpmasq(context.common.bpfRoot).map((prefix) => ({prefix}));
  return list(context, {
    items, columns: [{title: 'PREFIX', cell: ({prefix}) => prefix}], name: ({prefix}) => prefix,
    empty: 'no exceptions: everything that leaves the pod networks is masqueraded',
  });
};

export const tunnel: Verb = (context) => list(context, {
  items: tunnelRows(readMap(context.common.bpfRoot, ipcacheCodec)),
  columns: [{title: 'POD CIDR', cell: ({prefix}) => prefix}, {title: 'TUNNEL', cell: ({tunnelEndpoint}) => tunnelEndpoint}],
  name: ({prefix}) => prefix,
  empty: 'no tunnels: the ipcache names no tunnel endpoint for a PodCIDR',
});

export const endpoint: Verb = (context) => list(context, {
  items: lxcRows(readMap(context.common.bpfRoot, lxcCodec)),
  columns: [
    {title: 'ADDRESS', cell: ({ip}) => ip},
    {title: 'ENDPOINT', cell: ({endpoint: id, host}) => (host ? 'host' : id)},
    {title: 'IDENTITY', cell: ({identity}) => identityText(identity)},
    {title: 'IFINDEX', cell: ({ifindex}) => ifindex, right: true},
    {title: 'MAC', cell: ({mac}) => mac},
    {title: 'NODE MAC', cell: ({nodeMac}) => nodeMac, wide: true},
  ],
  name: ({ip}) => ip,
  empty: 'no local endpoints',
});

export const metrics: Verb = (context) => list(context, {
  items: metricRows([...readMap(context.common.bpfRoot, metricsCodec), ...readMap(context.common.bpfRoot, forwardedCodec)]),
  columns: [
    {title: 'REASON', cell: ({reasonText}) => reasonText},
    {title: 'DIRECTION', cell: ({direction}) => direction},
    {title: 'PACKETS', cell: ({packets}) => packets, right: true},
    {title: 'BYTES', cell: ({bytes}) => bytes, right: true},
    {title: 'CODE', cell: ({reason}) => reason, wide: true, right: true},
    {title: 'AT', cell: ({file, line}) => (file === '' ? '' : `${file}:${line}`), wide: true},
  ],
  name: ({reason, direction}) => `${reason}/${direction}`,
  empty: 'nothing was counted',
});
