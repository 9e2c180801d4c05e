// NodeState and local facts → KernelState. Equal inputs give equal outputs; an input that did not change gives the same object.

import {single} from '../../lib/desired/tables.js';
import type {NodeTables} from '../../lib/desired/tables.js';
import type {Speaker} from '../../lib/domain/bgp.js';
import type {MasqueradeSettings} from '../../lib/domain/masquerade.js';
import type {LocalFacts} from '../model/local.js';
import {compileAnnounced} from './announced.js';
import type {CompiledAnnounced} from './announced.js';
import {compileEndpoints, enforcementOf} from './endpoints.js';
import type {EndpointEntries, EndpointMaps} from './endpoints.js';
import type {CompileInput, CompileOptions, Finding} from './input.js';
import {compileIpcache} from './ipcache.js';
import type {KernelState, MapContent, MapEntry, ReconciledMap} from './kernel-state.js';
import {compileLinks, compileSysctls} from './links.js';
import {compileMasquerade} from './masquerade.js';
import type {CompiledMasquerade} from './masquerade.js';
import {Memo} from './memo.js';
import {compilePolicySlots} from './policy.js';
import type {CompiledPolicy} from './policy.js';
import {compileAttachments, compilePrograms, compileRuntimeConfig} from './programs.js';
import type {CompiledPrograms} from './programs.js';
import {compileRoutes} from './routes.js';

export interface Compiled {
  readonly kernel: KernelState;
  /** What could not be expressed; it ends in the acknowledgement. */
  readonly findings: readonly Finding[];
  readonly policies: readonly CompiledPolicy[];
  readonly masquerade: MasqueradeSettings;
}

const MASQUERADE_MAPS: readonly ReconciledMap[] = ['cilium_ipmasq_v4', 'cilium_ipmasq_v6'];
const ANNOUNCED_MAPS: readonly ReconciledMap[] = ['cilium_announced_v4', 'cilium_announced_v6'];
const NO_SPEAKER: Speaker = {instances: [], source: null};

/** What earlier runs made, so that a run costs what changed. Holds values only: a new one gives the same results. */
export class CompileMemo {
  readonly ipcacheEntries = new Memo<readonly [string, MapEntry] | null>();
  readonly ipcache = new Memo<MapContent>();
  readonly endpointEntries = new Memo<EndpointEntries>();
  readonly endpoints = new Memo<EndpointMaps>();
  readonly masquerade = new Memo<CompiledMasquerade>();
  readonly announced = new Memo<CompiledAnnounced>();
  readonly policies = new Memo<CompiledPolicy>();
  readonly devices = new Memo<CompiledDevices>();
}

/** What follows from the node's configuration and what is on the node, not from policies and peers. */
interface CompiledDevices extends Pick<KernelState, 'links' | 'routes' | 'sysctls' | 'attachments'> {
  readonly programs: CompiledPrograms;
  readonly runtimeConfig: MapContent;
}

/** Null while the node's own configuration is not there: then nothing outside is touched. */
export function compileNode(tables: NodeTables, facts: LocalFacts, options: CompileOptions, memo: CompileMemo): Compiled | null {
  const config = single(tables, 'node-config');
  if (config === null) return null;
  const input: CompileInput = {config, tables, facts, options};
  const ipcache = memo.ipcache.of('', [config, tables.ipcache, tables.endpoint, facts.endpoints, facts.localIdentities], () => {
    const content = compileIpcache(input, memo.ipcacheEntries);
    memo.ipcacheEntries.sweep();
    return content;
  });
  const endpoints = memo.endpoints.of('', [config, tables.ipcache, tables.endpoint, enforcementOf(input), facts.endpoints, facts.links], () => {
    const maps = compileEndpoints(input, memo.endpointEntries);
    memo.endpointEntries.sweep();
    return maps;
  });
  const masquerade = memo.masquerade.of('', [config, tables.masquerade], () => compileMasquerade(input));
  const announced = memo.announced.of('', [tables.speaker], () => compileAnnounced(input));
  const policy = compilePolicySlots(input, memo.policies);
  const {programs, runtimeConfig, ...devices} = memo.devices.of('', [config, tables.node, facts.endpoints, facts.links], () => compileDevices(input));
  for (const each of [memo.ipcache, memo.endpoints, memo.masquerade, memo.announced, memo.policies, memo.devices]) each.sweep();
  return {
    kernel: {
      maps: new Map<keyof EndpointMaps | 'cilium_ipcache' | 'cilium_ipmasq_v4' | 'cilium_ipmasq_v6' | 'cilium_announced_v4' | 'cilium_announced_v6' | 'cilium_runtime_config', MapContent>([
        ['cilium_ipcache', ipcache], ['cilium_lxc', endpoints.cilium_lxc], ['cilium_ep_config', endpoints.cilium_ep_config],
        ['cilium_if_to_ep', endpoints.cilium_if_to_ep], ['cilium_ipmasq_v4', masquerade.content], ['cilium_ipmasq_v6', masquerade.content6],
        ['cilium_announced_v4', announced.content], ['cilium_announced_v6', announced.content6], ['cilium_runtime_config', runtimeConfig],
      ]),
      policySlots: policy.slots,
      ...devices,
      programConfig: programs.config,
      speaker: single(tables, 'speaker') ?? NO_SPEAKER,
      holds: [...heldMaps(MASQUERADE_MAPS, masquerade.hold), ...heldMaps(ANNOUNCED_MAPS, announced.hold)],
    },
    findings: [...policy.findings, ...programs.findings],
    policies: policy.compiled,
    masquerade: programs.masquerade,
  };
}

function heldMaps(maps: readonly ReconciledMap[], reason: string | null): KernelState['holds'] {
  return reason === null ? [] : maps.map((map) => ({map, reason}));
}

function compileDevices(input: CompileInput): CompiledDevices {
  return {
    links: compileLinks(input), routes: compileRoutes(input), sysctls: compileSysctls(input), attachments: compileAttachments(input),
    programs: compilePrograms(input), runtimeConfig: compileRuntimeConfig(input),
  };
}
