// Rows of endpoints that are gone: kept as long as their pods are, then dropped.

import type {EndpointReportFact} from './model/facts.js';
import {applyRows, type Applied, type Tables} from './model/tables.js';

/** As long as a pod is there its CiliumEndpoint may be, too: the row says that the endpoint is not. Without a pod there is nothing to say. */
export function goneRow({pods}: Tables, node: string, pod: string): EndpointReportFact | null {
  const fact = pods.get(pod);
  if (fact === undefined) return null;
  return {node, namespace: fact.namespace, name: fact.name, uid: fact.uid, endpointId: 0, addresses: [], containerId: '', state: 'disconnected'};
}

/** Drops what is kept of endpoints that are gone when their pods are gone, too. */
export function forgetEnded(applied: Applied): Applied {
  const gone = [...applied.changed.pods ?? []].filter((key) => !applied.tables.pods.has(key))
    .flatMap((key) => [...applied.tables.endpointReports.keysBy('pod', key)])
    .filter((key) => applied.tables.endpointReports.get(key)?.state === 'disconnected');
  if (gone.length === 0) return applied;
  const {tables, changed} = applyRows(applied.tables, 'endpointReports', gone.map((key) => [key, null]));
  return {tables, changed: {...applied.changed, ...changed}};
}
