// CiliumNode objects: labels and spec from what the node's agent reported; they go with their Node.

import type {DesiredCiliumNode} from '../../lib/desired/cluster-state.js';
import type {KubeObject} from '../../lib/kube/object.js';
import {RESOURCES} from '../../lib/kube/resources.js';
import {isOurs, OURS} from './kube-target.js';
import {contains, NOTHING, withAppliedHash, type Plan} from './plan.js';

export function planNode(desired: DesiredCiliumNode | undefined, observed: KubeObject | undefined): Plan {
  const resource = RESOURCES.CiliumNode;
  if (desired === undefined) return observed !== undefined && isOurs(observed) ? {verb: 'remove', resource, object: observed} : NOTHING;
  const object = withAppliedHash({
    apiVersion: resource.apiVersion, kind: resource.kind,
    metadata: {
      name: desired.name, labels: {...desired.labels, ...OURS},
      ...(desired.nodeUid === '' ? {} : {ownerReferences: [{apiVersion: 'v1', kind: 'Node', name: desired.name, uid: desired.nodeUid}]}),
    },
    spec: desired.spec,
  });
  const {metadata, spec: wanted} = object;
  return observed !== undefined && contains(observed, {metadata, spec: wanted}) ? NOTHING : {verb: 'apply', resource, object};
}
