// Conditions of the user's policies and pools, through the status subresource. Only what differs is written.

import type {Condition, DesiredPolicyStatus} from '../../lib/desired/cluster-state.js';
import {isRecord, type KubeObject} from '../../lib/kube/object.js';
import {RESOURCES, type ApiResource} from '../../lib/kube/resources.js';
import {NOTHING, type Plan} from './plan.js';

/** Kinds with conditions; NetworkPolicy has none. */
export const POLICY_RESOURCES: Readonly<Record<string, ApiResource>> = {
  CiliumNetworkPolicy: RESOURCES.CiliumNetworkPolicy, CiliumClusterwideNetworkPolicy: RESOURCES.CiliumClusterwideNetworkPolicy,
  CiliumBGPPeeringPolicy: RESOURCES.CiliumBGPPeeringPolicy, CiliumLoadBalancerIPPool: RESOURCES.CiliumLoadBalancerIPPool,
  CiliumBGPClusterConfig: RESOURCES.CiliumBGPClusterConfig, CiliumBGPPeerConfig: RESOURCES.CiliumBGPPeerConfig,
};

/** `now` is RFC 3339 in whole seconds, as Kubernetes writes times. Another object of the same name is left alone. */
export function planPolicyStatus(desired: DesiredPolicyStatus | undefined, observed: KubeObject | undefined, now: string): Plan {
  if (desired === undefined || observed === undefined || observed.metadata.uid !== desired.object.uid) return NOTHING;
  const resource = POLICY_RESOURCES[desired.object.kind];
  if (resource === undefined) return {verb: 'nothing', why: `${desired.object.kind} has no status subresource`};
  const current = conditionsOf(observed);
  if (desired.conditions.every((condition) => isSame(current.get(condition.type), condition))) return NOTHING;
  const {name, namespace} = desired.object;
  const conditions = desired.conditions.map((condition) => stamped(condition, current.get(condition.type), now));
  const object = {
    apiVersion: desired.apiVersion, kind: desired.object.kind,
    metadata: {name, ...(namespace === '' ? {} : {namespace}), ...precondition(observed)}, status: {conditions},
  };
  return {verb: 'applyStatus', resource, object};
}

/** The time moves only when the status flips. */
export function stamped(condition: Condition, before: Readonly<Record<string, unknown>> | undefined, now: string): Condition & {readonly lastTransitionTime: string} {
  const kept = before?.['status'] === condition.status ? before['lastTransitionTime'] : undefined;
  return {...condition, lastTransitionTime: typeof kept === 'string' ? kept : now};
}

/**
 * A policy that was deleted and made anew since we looked must not get the conditions of the old one, not even for a moment: the
 * version has to be the one we saw. (The API server does not compare uids when a status is applied.)
 */
export function precondition(observed: KubeObject): {readonly uid?: string; readonly resourceVersion?: string} {
  const {uid, resourceVersion} = observed.metadata;
  return {...(uid === undefined ? {} : {uid}), ...(resourceVersion === undefined ? {} : {resourceVersion})};
}

export function conditionsOf(object: KubeObject): ReadonlyMap<string, Readonly<Record<string, unknown>>> {
  const status = isRecord(object['status']) ? object['status'] : {};
  const list: readonly unknown[] = Array.isArray(status['conditions']) ? status['conditions'] : [];
  return new Map(list.filter(isRecord).map((condition) => [String(condition['type']), condition]));
}

/** The API server leaves a generation of 0 out: Services have none. */
export function isSame(current: Readonly<Record<string, unknown>> | undefined, wanted: Condition): boolean {
  return current !== undefined && current['status'] === wanted.status && current['reason'] === wanted.reason
    && current['message'] === wanted.message && (current['observedGeneration'] ?? 0) === wanted.observedGeneration;
}
