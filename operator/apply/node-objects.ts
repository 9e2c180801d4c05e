// CiliumNode objects: labels and spec from what the node's agent reported; they go with their Node. Spec and status are written apart.

import type {DesiredCiliumNode} from '../../lib/desired/cluster-state.js';
import {isRecord, type KubeObject} from '../../lib/kube/object.js';
import {RESOURCES} from '../../lib/kube/resources.js';
import {isOurs, OURS} from './kube-target.js';
import {contains, NOTHING, withAppliedHash, type Plan} from './plan.js';

const resource = RESOURCES.CiliumNode;

export function planNode(desired: DesiredCiliumNode | undefined, observed: KubeObject | undefined): Plan {
  if (desired === undefined) return observed !== undefined && isOurs(observed) ? {verb: 'remove', resource, object: observed} : NOTHING;
  const object = specOf(desired);
  const {metadata, spec} = object as KubeObject & {readonly spec: unknown};
  if (observed !== undefined && contains(observed, {metadata, spec})) return NOTHING;
  // The status stays in the object: a file holds both, and the API server leaves it alone here.
  return {verb: 'apply', resource, object: {...object, ...(isRecord(observed?.['status']) ? {status: observed['status']} : {})}};
}

/** Why the node lacks a PodCIDR, where Cilium's operator says so. Not before there is such an object of ours. */
export function planNodeStatus(desired: DesiredCiliumNode | undefined, observed: KubeObject | undefined): Plan {
  if (desired?.ipamError === undefined || observed === undefined || !isOurs(observed)) return NOTHING;
  const error = desired.ipamError;
  if (errorIn(observed) === error) return NOTHING;
  return {verb: 'applyStatus', resource, object: {...specOf(desired), status: {ipam: {'operator-status': error === '' ? {} : {error}}}}};
}

function errorIn(observed: KubeObject): string {
  let at: unknown = observed;
  for (const member of ['status', 'ipam', 'operator-status', 'error']) at = isRecord(at) ? at[member] : undefined;
  return typeof at === 'string' ? at : '';
}

function specOf(desired: DesiredCiliumNode): KubeObject {
  return withAppliedHash({
    apiVersion: resource.apiVersion, kind: resource.kind,
    metadata: {
      name: desired.name, labels: {...desired.labels, ...OURS},
      ...(desired.nodeUid === '' ? {} : {ownerReferences: [{apiVersion: 'v1', kind: 'Node', name: desired.name, uid: desired.nodeUid}]}),
    },
    spec: desired.spec,
  });
}
