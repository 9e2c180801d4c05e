// The CNI specification as values: request bytes → request or failure; attachment → result JSON. No effects.

import type {LocalEndpoint} from '../model/local.js';
import {endpointAddresses} from '../model/local.js';

export const CNI_VERSIONS: readonly string[] = ['0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'];

/** From which version of the specification on there is such a command; the others are in all of them. */
const SINCE: Readonly<Partial<Record<CniCommand, string>>> = {CHECK: '0.4.0', GC: '1.1.0', STATUS: '1.1.0'};

export type CniCommand = 'ADD' | 'DEL' | 'CHECK' | 'VERSION' | 'STATUS' | 'GC';
const COMMANDS: readonly string[] = ['ADD', 'DEL', 'CHECK', 'VERSION', 'STATUS', 'GC'];

/** Error codes of the specification; 100 and up are the plugin's own. */
export const CNI_CODES = {
  incompatibleVersion: 1, unknownContainer: 3, invalidEnvironment: 4, ioFailure: 5, decodeFailure: 6, invalidConfig: 7, tryAgain: 11,
  /** Of STATUS: no pod can be attached now; nor do those that are there reach everything. */
  notAvailable: 50, limitedConnectivity: 51,
  unhealthy: 101, internal: 999,
} as const;

export interface CniFailure {
  readonly kind: 'failure';
  readonly cniVersion: string;
  readonly code: number;
  readonly message: string;
  readonly details: string;
}

export interface PodName {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
}

export interface CniRequest {
  readonly kind: 'request';
  readonly command: CniCommand;
  readonly cniVersion: string;
  /** Name of the network: the configuration's. */
  readonly network: string;
  readonly containerId: string;
  readonly ifname: string;
  readonly netns: string;
  /** Null when the runtime does not name a pod. */
  readonly pod: PodName | null;
  readonly prevResult: unknown;
  /** GC only: attachments that are to stay. Null when the runtime gave none. */
  readonly validAttachments: readonly {readonly containerId: string; readonly ifname: string}[] | null;
}

/** What ADD made, and what CHECK compares with. */
export interface Attachment {
  readonly endpoint: LocalEndpoint;
  readonly routers: Routers;
  readonly mtu: number;
}

/** The node's router address of each family that it has. */
export interface Routers {
  readonly ipv4: string | null;
  readonly ipv6: string | null;
}

/** One family of an attachment, as addresses and routes need it. */
export interface FamilyAddress {
  readonly version: '4' | '6';
  readonly address: string;
  readonly length: number;
  readonly router: string;
  readonly everywhere: string;
}

/** IPv6 first, as Cilium's plugin lists them. */
export function familyAddresses({ipv4, ipv6}: Pick<LocalEndpoint, 'ipv4' | 'ipv6'>, routers: Routers): readonly FamilyAddress[] {
  const six: readonly FamilyAddress[] = ipv6 === null || routers.ipv6 === null ? []
    : [{version: '6', address: ipv6, length: 128, router: routers.ipv6, everywhere: '::/0'}];
  const four: readonly FamilyAddress[] = ipv4 === null || routers.ipv4 === null ? []
    : [{version: '4', address: ipv4, length: 32, router: routers.ipv4, everywhere: '0.0.0.0/0'}];
  return [...six, ...four];
}

export function failure(cniVersion: string, code: number, message: string, details = ''): CniFailure {
  return {kind: 'failure', cniVersion, code, message, details};
}

export function failureJson(value: CniFailure): string {
  return `${JSON.stringify({cniVersion: value.cniVersion, code: value.code, msg: value.message, details: value.details})}\n`;
}

/** The specification: `cniVersion` is what was asked with. */
export function versionJson(cniVersion: string): string {
  return `${JSON.stringify({cniVersion, supportedVersions: CNI_VERSIONS})}\n`;
}

/** `KEY=VALUE\0`…, one more `\0`, then stdin. */
export function parseCniBody(body: Buffer): CniRequest | CniFailure {
  const split = splitBody(body);
  if (split === null) return failure('1.0.0', CNI_CODES.decodeFailure, 'the request is not an environment followed by a configuration');
  const {environment, stdin} = split;
  const command = environment.get('CNI_COMMAND') ?? '';
  if (!isCommand(command)) return failure('1.0.0', CNI_CODES.invalidEnvironment, 'CNI_COMMAND is not a command', JSON.stringify(command.slice(0, 100)));
  const config = parseObject(stdin);
  if (config === null) return failure('1.0.0', CNI_CODES.decodeFailure, 'stdin is not a JSON object');
  const given = config['cniVersion'];
  const cniVersion = typeof given === 'string' ? given : '0.3.1';
  if (!CNI_VERSIONS.includes(cniVersion)) {
    return failure('1.1.0', CNI_CODES.incompatibleVersion, `cniVersion ${JSON.stringify(cniVersion.slice(0, 30))} is not supported`, `supported: ${CNI_VERSIONS.join(', ')}`);
  }
  const request: CniRequest = {
    kind: 'request', command, cniVersion, network: typeof config['name'] === 'string' ? config['name'] : '',
    containerId: environment.get('CNI_CONTAINERID') ?? '', ifname: environment.get('CNI_IFNAME') ?? '', netns: environment.get('CNI_NETNS') ?? '',
    pod: podOf(environment.get('CNI_ARGS') ?? ''), prevResult: config['prevResult'] ?? null,
    validAttachments: attachmentsOf(config['cni.dev/valid-attachments']),
  };
  return problemOf(request) ?? request;
}

function splitBody(body: Buffer): {environment: ReadonlyMap<string, string>; stdin: string} | null {
  const environment = new Map<string, string>();
  for (let at = 0; ;) {
    const end = body.indexOf(0, at);
    if (end < 0) return null;
    if (end === at) return {environment, stdin: body.toString('utf8', at + 1)};
    const entry = body.toString('utf8', at, end);
    const equals = entry.indexOf('=');
    if (equals < 1) return null;
    environment.set(entry.slice(0, equals), entry.slice(equals + 1));
    at = end + 1;
  }
}

function isCommand(text: string): text is CniCommand {
  return COMMANDS.includes(text);
}

function parseObject(text: string): Readonly<Record<string, unknown>> | null {
  try {
    const value: unknown = JSON.parse(text);
    return value !== null && typeof value === 'object' && !Array.isArray(value) ? {...value} : null;
  } catch {
    return null;
  }
}

/** In the order of the specification's releases. */
function isBefore(cniVersion: string, since: string): boolean {
  return CNI_VERSIONS.indexOf(cniVersion) < CNI_VERSIONS.indexOf(since);
}

/** `CNI_ARGS`: `K=V;K=V`. */
function podOf(args: string): PodName | null {
  const values = new Map(args.split(';').map((pair) => [pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1)]));
  const [namespace, name] = [values.get('K8S_POD_NAMESPACE') ?? '', values.get('K8S_POD_NAME') ?? ''];
  return namespace === '' || name === '' ? null : {namespace, name, uid: values.get('K8S_POD_UID') ?? ''};
}

/** Null also when one item cannot be read: what it names would be taken for gone. */
function attachmentsOf(value: unknown): CniRequest['validAttachments'] {
  if (!Array.isArray(value)) return null;
  const all: {readonly containerId: string; readonly ifname: string}[] = [];
  for (const item of value as readonly unknown[]) {
    const {containerID, ifname} = (item ?? {}) as {containerID?: unknown; ifname?: unknown};
    if (typeof containerID !== 'string' || typeof ifname !== 'string') return null;
    all.push({containerId: containerID, ifname});
  }
  return all;
}

/** What the specification asks of the environment, by command. */
function problemOf(request: CniRequest): CniFailure | null {
  const {command, cniVersion} = request;
  const invalid = (message: string, details = ''): CniFailure => failure(cniVersion, CNI_CODES.invalidEnvironment, message, details);
  const since = SINCE[command];
  if (since !== undefined && isBefore(cniVersion, since)) {
    return failure(cniVersion, CNI_CODES.incompatibleVersion, `cniVersion ${cniVersion} does not know ${command}`, `it is there from ${since} on`);
  }
  if (command === 'GC') {
    if (request.validAttachments === null) return failure(cniVersion, CNI_CODES.invalidConfig, 'cni.dev/valid-attachments is missing or cannot be read');
    return null;
  }
  if (command === 'VERSION' || command === 'STATUS') return null;
  if (!/^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}$/.test(request.containerId)) return invalid('CNI_CONTAINERID is not a container id');
  if (!/^[^\s/:]{1,15}$/.test(request.ifname) || request.ifname === '.' || request.ifname === '..') return invalid('CNI_IFNAME is not an interface name');
  if (command === 'DEL') return null;
  if (!request.netns.startsWith('/')) return invalid('CNI_NETNS is not a path', request.netns.slice(0, 200));
  if (command === 'CHECK') return request.prevResult === null ? failure(cniVersion, CNI_CODES.invalidConfig, 'CHECK needs prevResult') : null;
  if (request.pod === null) return invalid('CNI_ARGS names no pod', 'K8S_POD_NAMESPACE and K8S_POD_NAME are needed');
  if (request.prevResult !== null) return failure(cniVersion, CNI_CODES.invalidConfig, 'plugin chaining is not supported: prevResult must be absent');
  return null;
}

/** The result of ADD in the shape of the configuration's version. */
export function resultJson(cniVersion: string, attachment: Attachment): string {
  const {endpoint, routers, mtu} = attachment;
  const families = familyAddresses(endpoint, routers);
  const legacy = cniVersion.startsWith('0.');
  const sized = cniVersion === '1.1.0' ? {mtu} : {};
  return `${JSON.stringify({
    cniVersion,
    interfaces: [
      {name: endpoint.hostIfname, mac: endpoint.hostMac, ...sized},
      {name: endpoint.containerIfname, mac: endpoint.mac, ...sized, sandbox: endpoint.netns},
    ],
    ips: families.map(({version, address, length, router}) => ({...(legacy ? {version} : {}), address: `${address}/${length}`, gateway: router, interface: 1})),
    routes: families.flatMap(({router, length, everywhere}) => [{dst: `${router}/${length}`}, {dst: everywhere, gw: router}]),
    dns: {},
  })}\n`;
}

/** Null when `prevResult` is what `endpoint` has; else what differs. */
export function checkPrevResult(prevResult: unknown, endpoint: LocalEndpoint): string | null {
  const {interfaces, ips} = (prevResult ?? {}) as {interfaces?: unknown; ips?: unknown};
  const names = namesOf(interfaces, 'name');
  if (!names.includes(endpoint.containerIfname)) return `prevResult has no interface ${endpoint.containerIfname}`;
  if (!names.includes(endpoint.hostIfname)) return `prevResult has no interface ${endpoint.hostIfname}`;
  const addresses = namesOf(ips, 'address').map((text) => text.split('/')[0]);
  const missing = endpointAddresses(endpoint).find((address) => !addresses.includes(address));
  return missing === undefined ? null : `prevResult does not have the address ${missing}`;
}

function namesOf(list: unknown, member: string): string[] {
  if (!Array.isArray(list)) return [];
  return list.flatMap((item: unknown) => {
    const value: unknown = item !== null && typeof item === 'object' ? (item as Record<string, unknown>)[member] : null;
    return typeof value === 'string' ? [value] : [];
  });
}
