// cilium_policy: one inner map per subject identity, shared by its endpoints unless their named ports differ.

import {contentHash} from '../../lib/core/hash.js';
import {canonicalJson} from '../../lib/core/order.js';
import type {NodeTables} from '../../lib/desired/tables.js';
import type {IdentityId} from '../../lib/domain/identity.js';
import type {Members, Origin} from '../../lib/domain/policy.js';
import type {MapStateEntry, SubjectPolicy} from '../../lib/domain/policy.js';
import type {ExpandContext} from '../../lib/policy/entries.js';
import {expandPolicy, ingressPortNames} from '../../lib/policy/entries.js';
import {encodePolicyKey, encodePolicyValue} from '../maps/policy.js';
import {toHex} from '../maps/layout.js';
import {endpointOwner} from '../model/local.js';
import type {CompileInput, Finding} from './input.js';
import {NO_ENTRIES, because, identityOf} from './input.js';
import type {MapEntry, PolicyMapContent} from './kernel-state.js';
import type {Memo} from './memo.js';

export interface CompiledPolicy {
  readonly content: PolicyMapContent;
  readonly entries: readonly MapStateEntry[];
  /** What each cookie in `content` stands for. */
  readonly origins: ReadonlyMap<number, readonly Origin[]>;
  readonly omitted: number;
}

export interface PolicySlots {
  /** By endpoint id. */
  readonly slots: ReadonlyMap<number, PolicyMapContent>;
  /** By subject; endpoints of one identity with other named ports come after each other. */
  readonly compiled: readonly CompiledPolicy[];
  readonly findings: readonly Finding[];
}

const NO_MEMBERS: Members = {identities: [], prefixes: []};
const NO_PORTS: ReadonlyMap<IdentityId, number> = new Map();

type NamedPorts = Readonly<Record<string, {readonly port: number; readonly protocol: number}>>;

export function compilePolicySlots(input: CompileInput, memo: Memo<CompiledPolicy>): PolicySlots {
  const slots = new Map<number, PolicyMapContent>();
  const compiled = new Map<string, CompiledPolicy>();
  for (const endpoint of input.facts.endpoints.values()) {
    const subject = identityOf(input.tables, endpoint);
    const policy = input.tables.policy.get(String(subject));
    const ports = input.tables.endpoint.get(endpointOwner(endpoint))?.value.namedPorts ?? {};
    const key = variantKey(subject, policy?.value, ports);
    const one = compiled.get(key) ?? compileSubject(input, memo, {key, subject, ports});
    compiled.set(key, one);
    slots.set(endpoint.id, one.content);
  }
  const findings = [...compiled.values()].filter(({omitted}) => omitted > 0).map(({content, omitted}): Finding => ({
    kind: 'policy', key: String(content.subject), code: 'POLICY_MAP_FULL',
    message: `${omitted} entries do not fit into the policy map: what they would allow is denied`,
  }));
  return {slots, compiled: [...compiled.values()], findings};
}

/** Endpoints of one identity share a map when the names that its ingress rules use resolve equally. */
function variantKey(subject: IdentityId, policy: SubjectPolicy | undefined, ports: NamedPorts): string {
  if (policy === undefined) return `${subject}`;
  const resolved = ingressPortNames(policy).map(({name, protocol}) => `${name}/${protocol}=${portOf(ports, name, protocol) ?? ''}`);
  return [`${subject}`, ...resolved].join(' ');
}

function portOf(ports: NamedPorts, name: string, protocol: number): number | undefined {
  const found = Object.hasOwn(ports, name) ? ports[name] : undefined;
  return found !== undefined && (protocol === 0 || found.protocol === protocol) ? found.port : undefined;
}


function compileSubject(input: CompileInput, memo: Memo<CompiledPolicy>, variant: {key: string; subject: IdentityId; ports: NamedPorts}): CompiledPolicy {
  const {subject, ports, key} = variant;
  const {tables, facts, options} = input;
  const policy = tables.policy.get(String(subject));
  // No policy resource is not "no rules": the operator has not said what holds. Closed.
  if (policy === undefined) return {content: {subject, entries: NO_ENTRIES}, entries: [], origins: new Map(), omitted: 0};
  const selectors = [...new Set(policy.value.entries.map(({selector}) => selector))];
  const inputs = [policy, options.policyEntriesMax, ...selectors.flatMap((id) => {
    const selector = tables.selector.get(id);
    return [selector, ...(selector?.value.prefixes ?? []).map((prefix) => facts.localIdentities.get(prefix))];
  }), ...(usesPeerNames(policy.value) ? [tables.identity] : [])];
  return memo.of(key, inputs, () => expandSubject(subject, policy.value, contextOf(input, ports)));
}

function usesPeerNames(policy: SubjectPolicy): boolean {
  return policy.entries.some(({direction, portName}) => direction === 'egress' && portName !== undefined);
}

function contextOf({tables, facts, options}: CompileInput, ports: NamedPorts): ExpandContext {
  return {
    members: (id) => tables.selector.get(id)?.value ?? NO_MEMBERS,
    numberOf: (prefix) => facts.localIdentities.get(prefix),
    namedPort: (name, protocol) => portOf(ports, name, protocol),
    peerNamedPorts: (name, protocol) => peerPorts(tables, name, protocol),
    entriesMax: options.policyEntriesMax,
  };
}

function peerPorts(tables: NodeTables, name: string, protocol: number): ReadonlyMap<IdentityId, number> {
  const found = new Map<IdentityId, number>();
  for (const {value} of tables.identity.values()) {
    const port = value.namedPorts?.find((named) => named.name === name && (protocol === 0 || named.protocol === protocol));
    if (port !== undefined) found.set(value.id, port.port);
  }
  return found.size === 0 ? NO_PORTS : found;
}

function expandSubject(subject: IdentityId, policy: SubjectPolicy, context: ExpandContext): CompiledPolicy {
  const {entries, omitted} = expandPolicy(policy, context);
  const blame = because('policy', String(subject));
  const origins = new Map<number, readonly Origin[]>();
  const cookies = new Map<readonly Origin[], number>();
  const content = new Map<string, MapEntry>();
  for (const entry of entries) {
    let cookie = cookies.get(entry.origins);
    if (cookie === undefined) {
      cookie = cookieOf(entry.origins);
      cookies.set(entry.origins, cookie);
      if (cookie !== 0) origins.set(cookie, entry.origins);
    }
    const key = encodePolicyKey(entry);
    const value = encodePolicyValue(entry, {deny: entry.deny, precedence: entry.precedence, cookie, proxyPort: 0});
    content.set(toHex(key), {key, value, because: blame});
  }
  return {content: {subject, entries: content}, entries, origins, omitted};
}

/** Follows from the origins alone, so that a restart writes the same bytes. 0 = nobody's rule. */
export function cookieOf(origins: readonly Origin[]): number {
  if (origins.length === 0) return 0;
  const cookie = Number.parseInt(contentHash(canonicalJson(origins)).slice(0, 8), 16);
  return cookie === 0 ? 1 : cookie;
}
