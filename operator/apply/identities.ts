// CiliumIdentity objects: created when wanted, deleted some time after the last use.

import type {DesiredIdentity} from '../../lib/desired/cluster-state.js';
import {canonicalJson} from '../../lib/core/order.js';
import type {KubeObject} from '../../lib/kube/object.js';
import {RESOURCES} from '../../lib/kube/resources.js';
import {isOurs, OURS} from './kube-target.js';
import {NOTHING, type Plan} from './plan.js';

const NAMESPACE_LABEL = 'io.kubernetes.pod.namespace';

/** `expired`: nobody has wanted it for the whole delay. Numbers are never reused for other labels by overwriting. */
export function planIdentity(desired: DesiredIdentity | undefined, observed: KubeObject | undefined, expired: boolean): Plan {
  const resource = RESOURCES.CiliumIdentity;
  if (desired === undefined) {
    return observed !== undefined && isOurs(observed) && expired ? {verb: 'remove', resource, object: observed} : NOTHING;
  }
  if (observed !== undefined) {
    const same = canonicalJson(observed['security-labels']) === canonicalJson(desired.securityLabels);
    return same ? NOTHING : {verb: 'nothing', why: `CiliumIdentity ${desired.id} has other labels: another number will be chosen`};
  }
  return {verb: 'create', resource, object: identityObject(desired)};
}

function identityObject(desired: DesiredIdentity): KubeObject {
  const namespace = desired.securityLabels[`k8s:${NAMESPACE_LABEL}`];
  return {
    apiVersion: RESOURCES.CiliumIdentity.apiVersion, kind: 'CiliumIdentity',
    metadata: {name: String(desired.id), labels: {...OURS, ...(namespace === undefined ? {} : {[NAMESPACE_LABEL]: namespace})}},
    'security-labels': desired.securityLabels,
  };
}
