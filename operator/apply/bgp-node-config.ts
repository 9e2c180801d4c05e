// CiliumBGPNodeConfig objects: owned by the object in force on the node; spec and status are written apart.

import type {DesiredBgpNodeConfig} from '../../lib/desired/cluster-state.js';
import {isRecord, type KubeObject} from '../../lib/kube/object.js';
import {RESOURCES} from '../../lib/kube/resources.js';
import {isOurs, OURS} from './kube-target.js';
import {contains, NOTHING, withAppliedHash, type Plan} from './plan.js';
import {conditionsOf, stamped} from './policy-status.js';

const resource = RESOURCES.CiliumBGPNodeConfig;

export function planBgpNodeConfig(desired: DesiredBgpNodeConfig | undefined, observed: KubeObject | undefined): Plan {
  if (desired === undefined) return observed !== undefined && isOurs(observed) ? {verb: 'remove', resource, object: observed} : NOTHING;
  const object = specOf(desired);
  const {metadata, spec} = object as KubeObject & {readonly spec: unknown};
  // The status stays in the object: a file holds both, and the API server leaves it alone here.
  const held = isRecord(observed?.['status']) ? {status: observed['status']} : {};
  return observed !== undefined && contains(observed, {metadata, spec}) ? NOTHING : {verb: 'apply', resource, object: {...object, ...held}};
}

/** Not before there is such an object of ours. */
export function planBgpNodeStatus(desired: DesiredBgpNodeConfig | undefined, observed: KubeObject | undefined, now: string): Plan {
  if (desired?.status === undefined || desired.status === null || observed === undefined || !isOurs(observed)) return NOTHING;
  const current = conditionsOf(observed);
  const conditions = desired.conditions.map((condition) => stamped(condition, current.get(condition.type), now));
  const status = {...desired.status, conditions};
  return contains(observed, {status}) ? NOTHING : {verb: 'applyStatus', resource, object: {...specOf(desired), status}};
}

function specOf(desired: DesiredBgpNodeConfig): KubeObject {
  const {kind, name, uid} = desired.owner;
  return withAppliedHash({
    apiVersion: resource.apiVersion, kind: resource.kind,
    metadata: {
      name: desired.name, labels: OURS,
      ...(uid === '' ? {} : {ownerReferences: [{apiVersion: kind === 'CiliumBGPPeeringPolicy' ? RESOURCES.CiliumBGPPeeringPolicy.apiVersion : RESOURCES.CiliumBGPClusterConfig.apiVersion, kind, name, uid, controller: true}]}),
    },
    spec: desired.spec,
  });
}
