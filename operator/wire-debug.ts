// What /debug shows: every table, what each node should hold, the sessions, the policies.

import {sortedEntries} from '../lib/core/order.js';
import {hidePasswords} from '../lib/core/redact.js';
import type {DesiredStore} from './desired/store.js';
import {renderState} from './desired/assemble.js';
import type {StreamServer} from './stream/server.js';
import type {ClusterSource} from './wire-source.js';
import type {Engine} from './wire-engine.js';

export interface DebugParts {
  readonly engine: Engine;
  readonly store: DesiredStore;
  readonly server: StreamServer;
  readonly source: ClusterSource;
}

/** null: there is no such thing. */
export function debugView(parts: DebugParts, path: string): unknown {
  const {engine, store, server} = parts;
  const slash = path.indexOf('/');
  const [what, name] = slash < 0 ? [path, ''] : [path.slice(0, slash), path.slice(slash + 1)];
  switch (what) {
    case 'tables': {
      if (name === '') return Object.fromEntries(Object.entries(engine.tables).map(([table, rows]) => [table, rows.size]));
      const table = Object.entries(engine.tables).find(([key]) => key === name)?.[1];
      return table === undefined ? null : visible(name, Object.fromEntries(sortedEntries<unknown>(table)));
    }
    case 'nodes':
      if (name === '') return store.nodeNames().sort();
      return store.nodeNames().includes(name) ? hidePasswords({revision: store.revision, ...renderState(store.nodeState(name))}) : null;
    case 'sessions':
      return server.sessions().map((session) => ({...session.status, peers: engine.peers.get(session.node) ?? []}));
    case 'policies':
      return Object.fromEntries(sortedEntries(engine.tables.policies).map(([key, fact]) => [key, policyView(engine, key, fact.generation)]));
    case 'cluster-state': {
      const {identities, nodes, endpoints, services, policyStatuses, events} = engine.clusterState;
      const problems = parts.source.applier?.problems() ?? [];
      return {problems, ...Object.fromEntries(Object.entries({identities, nodes, endpoints, services, policyStatuses, events}).map(([key, map]) => [key, Object.fromEntries(sortedEntries<unknown>(map))]))};
    }
    case 'bgp':
      return {findings: engine.compiler.speakers.findings(), drains: Object.fromEntries(sortedEntries(engine.tables.bgpDrains)), guard: engine.compiler.speakers.guard?.state ?? null};
    case 'feed':
      return parts.source.feedStatus();
    default:
      return null;
  }
}

/** Only this table holds secrets; the others are printed as they are. */
function visible(table: string, rows: unknown): unknown {
  return table === 'bgpSecrets' ? hidePasswords(rows) : rows;
}

function policyView(engine: Engine, key: string, generation: number): Readonly<Record<string, unknown>> {
  const subjects = [...engine.compiler.policies.subjectsOf(key)].sort((a, b) => a - b);
  const nodes = [...new Set(subjects.flatMap((id) => [...engine.compiler.nodesOf(id)]))].sort();
  return {generation, subjects, nodes, conditions: engine.enforcement.statusOf(key)?.conditions ?? []};
}
