// Ends and ports of flows as people type them: `shop/api`, `10.0.0.1`, `world`, `#1234`; `80/TCP`, `icmp/8`, `53`.

import {decodeFlow, type Flow} from '../../lib/policy/flows.js';
import {PROTOCOL_NUMBERS} from '../../lib/domain/policy.js';
import {parseAddress} from '../../lib/core/ip.js';

/** What `decodeFlow` takes for one end. A bare word is an entity, else a pod of the namespace. */
export function endOf(text: string, namespace = 'default'): Readonly<Record<string, unknown>> {
  if (/^#\d+$/.test(text)) return {identity: Number(text.slice(1))};
  const prefix = /^(.*)\/\d+$/.exec(text);
  if (parseAddress(text) !== null) return {ip: text};
  // A prefix stands for its first address.
  if (prefix !== null && parseAddress(prefix[1] ?? '') !== null) return {ip: prefix[1]};
  if (text.includes('/')) return {pod: text};
  return ENTITIES.has(text) ? {entity: text} : {pod: `${namespace}/${text}`};
}

const ENTITIES: ReadonlySet<string> = new Set(['world', 'host', 'remote-node', 'kube-apiserver', 'unmanaged', 'health', 'init', 'ingress', 'world-ipv4', 'world-ipv6']);

export interface L4 {
  readonly protocol: number;
  readonly name: string;
  /** For ICMP the type. */
  readonly port: number;
}

/** A string says what is wrong. */
export function l4Of(text: string): L4 | string {
  const [first = '', second = ''] = text.split('/');
  const [portText, protocolText] = /^\d+$/.test(first) || second === '' && !isProtocol(first) ? [first, second === '' ? 'TCP' : second] : [second === '' ? '0' : second, first];
  const found = Object.entries(PROTOCOL_NUMBERS).find(([name, number]) => number > 0 && name.toLowerCase() === protocolText.toLowerCase());
  const port = Number(portText);
  if (found === undefined) return `${text}: ${protocolText} is not a protocol`;
  if (!/^\d+$/.test(portText) || port > 65535) return `${text}: write PORT/PROTOCOL, as in 80/TCP`;
  return {protocol: found[1], name: found[0], port};
}

function isProtocol(text: string): boolean {
  return Object.keys(PROTOCOL_NUMBERS).some((name) => name.toLowerCase() === text.toLowerCase());
}

export function formatL4({name, port}: L4): string {
  return `${port}/${name}`;
}

export function flowOf(source: Readonly<Record<string, unknown>>, destination: Readonly<Record<string, unknown>>, l4: L4): Flow | string {
  const port = l4.name.startsWith('ICMP') ? {icmpType: l4.port} : {port: l4.port};
  return decodeFlow({src: source, dst: destination, protocol: l4.name, ...port});
}
