// Deployments and the like beside policies: one pod stands for all that each would have, unless its pods are given.

import {isKubeObject, isRecord, type KubeObject} from '../../lib/kube/object.js';
import type {PodFact} from '../../operator/model/facts.js';
import type {SourceObject} from './documents.js';

type Json = Readonly<Record<string, unknown>>;

const GROUPS: Readonly<Record<string, string>> = {
  Deployment: 'apps', StatefulSet: 'apps', DaemonSet: 'apps', ReplicaSet: 'apps', Job: 'batch', CronJob: 'batch', ReplicationController: '',
};

export function podsOfWorkloads(objects: readonly SourceObject[], given: readonly PodFact[], warnings: string[]): KubeObject[] {
  const taken = new Set(given.map(({namespace, name}) => `${namespace}/${name}`));
  const pods: KubeObject[] = [];
  for (const {apiVersion, kind, object} of objects) {
    const group = apiVersion.includes('/') ? apiVersion.split('/')[0] ?? '' : '';
    if (GROUPS[kind] !== group || isOwned(object)) continue;
    const namespace = object.metadata.namespace === undefined || object.metadata.namespace === '' ? 'default' : object.metadata.namespace;
    const pod = podOf(object, kind, namespace);
    const key = `${namespace}/${object.metadata.name}`;
    if (pod === null || taken.has(key) || given.some((fact) => fact.namespace === namespace && covers(pod, fact))) continue;
    taken.add(key);
    pods.push(pod);
    warnings.push(`${kind} ${key} has no pods here: one pod ${key} is taken for all of them`);
  }
  return pods;
}

/** A ReplicaSet of a Deployment, a Job of a CronJob: its owner speaks for it. */
function isOwned(object: KubeObject): boolean {
  const owners = (object.metadata as Json)['ownerReferences'];
  return Array.isArray(owners) && owners.length > 0;
}

function podOf(object: KubeObject, kind: string, namespace: string): KubeObject | null {
  const spec = kind === 'CronJob' ? record(record(record(object['spec'])['jobTemplate'])['spec']) : record(object['spec']);
  const template = record(spec['template']);
  const metadata = {...record(template['metadata']), namespace, name: object.metadata.name};
  const pod = {apiVersion: 'v1', kind: 'Pod', metadata, spec: record(template['spec'])};
  return isKubeObject(pod) ? pod : null;
}

/** The given pod has all labels of the template: it is one of the workload's. */
function covers(template: KubeObject, {labels}: PodFact): boolean {
  const wanted = Object.entries(template.metadata.labels ?? {});
  return wanted.length > 0 && wanted.every(([key, value]) => labels[key] === value);
}

function record(value: unknown): Json {
  return isRecord(value) ? value : {};
}
