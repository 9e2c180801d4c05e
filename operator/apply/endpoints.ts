// CiliumEndpoint objects: named like the pod and owned by it. The CRD has no status subresource: `status` is an ordinary field.

import type {DesiredCiliumEndpoint} from '../../lib/desired/cluster-state.js';
import type {KubeObject} from '../../lib/kube/object.js';
import {RESOURCES} from '../../lib/kube/resources.js';
import {isOurs, OURS} from './kube-target.js';
import {contains, NOTHING, withAppliedHash, type Plan} from './plan.js';

export function planEndpoint(desired: DesiredCiliumEndpoint | undefined, observed: KubeObject | undefined): Plan {
  const resource = RESOURCES.CiliumEndpoint;
  if (desired === undefined) return observed !== undefined && isOurs(observed) ? {verb: 'remove', resource, object: observed} : NOTHING;
  const {namespace, name, podUid, status} = desired;
  const object = withAppliedHash({
    apiVersion: resource.apiVersion, kind: resource.kind,
    metadata: {
      name, namespace, labels: OURS,
      ...(podUid === '' ? {} : {ownerReferences: [{apiVersion: 'v1', kind: 'Pod', name, uid: podUid}]}),
    },
    status,
  });
  const {metadata, status: wanted} = object;
  return observed !== undefined && contains(observed, {metadata, status: wanted}) ? NOTHING : {verb: 'apply', resource, object};
}
