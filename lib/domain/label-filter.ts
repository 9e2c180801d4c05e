// Which labels make a pod's identity: Cilium's generated labels, then its label filter (pkg/labelsfilter/filter.go, defaults).

import {Labels} from './labels.js';
import type {Label} from './labels.js';

export interface PodLabelSources {
  readonly podLabels: Readonly<Record<string, string>>;
  readonly namespace: string;
  readonly namespaceLabels: Readonly<Record<string, string>>;
  /** Empty when the pod has none. */
  readonly serviceAccount: string;
  readonly clusterName: string;
}

export const LABEL_NAMESPACE = 'io.kubernetes.pod.namespace';
export const LABEL_NAMESPACE_LABELS = 'io.cilium.k8s.namespace.labels';
export const LABEL_CLUSTER = 'io.cilium.k8s.policy.cluster';
export const LABEL_SERVICE_ACCOUNT = 'io.cilium.k8s.policy.serviceaccount';

/** A pattern that matches at the start of a key. Its weight is the length of the text it matched. */
interface FilterRule {
  readonly exclude: boolean;
  readonly pattern: RegExp;
}

const INCLUDES = [
  'io\\.kubernetes\\.pod\\.namespace', 'io\\.cilium\\.k8s\\.namespace\\.labels', 'app\\.kubernetes\\.io',
  'io\\.cilium\\.k8s\\.policy\\.cluster', 'io\\.cilium\\.k8s\\.policy\\.serviceaccount',
];
const EXCLUDES = [
  'io\\.kubernetes', 'kubernetes\\.io', 'statefulset\\.kubernetes\\.io/pod-name', 'apps\\.kubernetes\\.io/pod-index',
  'batch\\.kubernetes\\.io/job-completion-index', 'batch\\.kubernetes\\.io/controller-uid', '.*beta\\.kubernetes\\.io',
  'k8s\\.io', 'pod-template-generation', 'pod-template-hash', 'controller-revision-hash', 'controller-uid',
  'annotation.*', 'etcd_node', 'topology\\.kubernetes\\.io',
];

const DEFAULT_RULES: readonly FilterRule[] = [
  ...INCLUDES.map((text) => ({exclude: false, pattern: new RegExp(`^(?:${text})`)})),
  ...EXCLUDES.map((text) => ({exclude: true, pattern: new RegExp(`^(?:${text})`)})),
];

/** The labels that a pod's identity stands for. Labels that change with every pod are left out. */
export function identityLabels(sources: PodLabelSources): Labels {
  const labels = new Map<string, string>();
  for (const [key, value] of Object.entries(sources.podLabels)) {
    if (!key.startsWith('io.cilium.k8s.')) labels.set(key, value);
  }
  for (const [key, value] of Object.entries(sources.namespaceLabels)) labels.set(`${LABEL_NAMESPACE_LABELS}.${key}`, value);
  if (sources.serviceAccount !== '') labels.set(LABEL_SERVICE_ACCOUNT, sources.serviceAccount);
  labels.set(LABEL_NAMESPACE, sources.namespace);
  labels.set(LABEL_CLUSTER, sources.clusterName);
  const kept: Label[] = [];
  for (const [key, value] of labels) if (isIdentityRelevant(key)) kept.push({source: 'k8s', key, value});
  return new Labels(kept);
}

/** What was asked before: keys are few, and whatever label set is made asks for all of its own. */
const RELEVANT = new Map<string, boolean>();
const RELEVANT_MAX = 10_000;

/** Longest include against shortest exclude; a key that nothing excludes is kept. */
export function isIdentityRelevant(key: string): boolean {
  const known = RELEVANT.get(key);
  if (known !== undefined) return known;
  const relevant = isRelevantByRules(key);
  if (RELEVANT.size >= RELEVANT_MAX) RELEVANT.clear();
  RELEVANT.set(key, relevant);
  return relevant;
}

function isRelevantByRules(key: string): boolean {
  let include = 0;
  let exclude = Number.POSITIVE_INFINITY;
  for (const rule of DEFAULT_RULES) {
    const length = rule.pattern.exec(key)?.[0].length ?? 0;
    if (length === 0) continue;
    if (rule.exclude) exclude = Math.min(exclude, length);
    else include = Math.max(include, length);
  }
  return exclude === Number.POSITIVE_INFINITY || include > exclude;
}
