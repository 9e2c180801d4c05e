// Which labels make a pod's identity: Cilium's generated labels, then its label filter (pkg/labelsfilter/filter.go).

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

/** What matches at the start of a key counts by the length of the text that it matched. */
export interface FilterRule {
  readonly exclude: boolean;
  /** Null = any. */
  readonly source: string | null;
  /** 0 = no match. */
  length(key: string): number;
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

const DEFAULT_RULES: readonly FilterRule[] = [...INCLUDES.map((text) => defaultRule(text, false)), ...EXCLUDES.map((text) => defaultRule(text, true))];

function defaultRule(text: string, exclude: boolean): FilterRule {
  const pattern = new RegExp(`^(?:${text})`);
  return {exclude, source: null, length: (key) => pattern.exec(key)?.[0].length ?? 0};
}

const KNOWN_MAX = 10_000;

/** Cilium's default filter, with the rules of the option `labels` on top. */
export class LabelFilter {
  static readonly DEFAULT = new LabelFilter([]);

  readonly #rules: readonly FilterRule[];
  /** Somebody said which labels to keep: others are dropped. */
  readonly #isList: boolean;
  /** What was asked before: keys are few, and whatever label set is made asks for all of its own. */
  readonly #known = new Map<string, Map<string, boolean>>();

  private constructor(rules: readonly FilterRule[]) {
    this.#rules = [...DEFAULT_RULES, ...rules];
    this.#isList = rules.some(({exclude}) => !exclude);
  }

  /** The default filter with more rules. */
  static with(rules: readonly FilterRule[]): LabelFilter {
    return rules.length === 0 ? LabelFilter.DEFAULT : new LabelFilter(rules);
  }

  keeps(source: string, key: string): boolean {
    const ofSource = this.#known.get(source) ?? new Map<string, boolean>();
    const known = ofSource.get(key);
    if (known !== undefined) return known;
    const keeps = this.#decide(source, key);
    if (ofSource.size >= KNOWN_MAX) ofSource.clear();
    this.#known.set(source, ofSource.set(key, keeps));
    return keeps;
  }

  /** Longest include against shortest exclude; a key that nothing excludes is kept, unless the filter is a list of what to keep. */
  #decide(source: string, key: string): boolean {
    let include = 0;
    let exclude = Number.POSITIVE_INFINITY;
    for (const rule of this.#rules) {
      if (rule.source !== null && rule.source !== source) continue;
      const length = rule.length(key);
      if (length === 0) continue;
      if (rule.exclude) exclude = Math.min(exclude, length);
      else include = Math.max(include, length);
    }
    const isExcluded = exclude !== Number.POSITIVE_INFINITY;
    return (!this.#isList && !isExcluded) || include > (isExcluded ? exclude : 0);
  }
}

/** The labels that a pod's identity stands for. Labels that change with every pod are left out. */
export function identityLabels(sources: PodLabelSources, filter: LabelFilter = LabelFilter.DEFAULT): Labels {
  return Labels.union(ownLabels(sources.podLabels, filter), placeLabels(sources, filter));
}

/** Those of the pod itself. */
export function ownLabels(podLabels: PodLabelSources['podLabels'], filter: LabelFilter): Labels {
  const kept: Label[] = [];
  for (const [key, value] of Object.entries(podLabels)) {
    if (!key.startsWith('io.cilium.k8s.') && key !== LABEL_NAMESPACE && filter.keeps('k8s', key)) kept.push({source: 'k8s', key, value});
  }
  return new Labels(kept);
}

/** Those that follow from where it is: no two of them, and none of the pod's own, have the same key. */
export function placeLabels({namespace, namespaceLabels, serviceAccount, clusterName}: Omit<PodLabelSources, 'podLabels'>, filter: LabelFilter): Labels {
  const kept: Label[] = [];
  const keep = (key: string, value: string): void => {
    if (filter.keeps('k8s', key)) kept.push({source: 'k8s', key, value});
  };
  for (const [key, value] of Object.entries(namespaceLabels)) keep(`${LABEL_NAMESPACE_LABELS}.${key}`, value);
  if (serviceAccount !== '') keep(LABEL_SERVICE_ACCOUNT, serviceAccount);
  keep(LABEL_NAMESPACE, namespace);
  keep(LABEL_CLUSTER, clusterName);
  return new Labels(kept);
}
