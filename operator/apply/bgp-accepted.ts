// The ConfigMap that says which versions of BGP objects were let through, for the operator after this one. Read in operator/model/decode/bgp-accepted.ts.

import type {DesiredBgpAccepted} from '../../lib/desired/cluster-state.js';
import {canonicalJson} from '../../lib/core/order.js';
import {WAITING_KEY} from '../../lib/domain/bgp-names.js';
import type {KubeObject} from '../../lib/kube/object.js';
import {RESOURCES} from '../../lib/kube/resources.js';
import {OURS} from './kube-target.js';
import {contains, NOTHING, withAppliedHash, type Plan} from './plan.js';

const resource = RESOURCES.ConfigMap;
/** A ConfigMap has 1 MiB at most. Objects beyond are not recorded: a restarted operator lets them through as they are. */
const BYTES_MAX = 900_000;

export function planBgpAccepted(desired: DesiredBgpAccepted | undefined, observed: KubeObject | undefined, key: string): Plan {
  if (desired === undefined) return NOTHING;
  const [namespace = '', name = ''] = key.split('/');
  const {manifests, held} = desired.record;
  const waiting = JSON.stringify(held.map(({id, hash, gone}) => ({id, hash, gone})));
  const data: Record<string, string> = {[WAITING_KEY]: waiting};
  let bytes = waiting.length;
  for (const [id, manifest] of manifests) {
    const text = canonicalJson(manifest);
    bytes += id.length + Buffer.byteLength(text);
    if (bytes > BYTES_MAX) break;
    data[id.replace('/', '.')] = text;
  }
  const object = withAppliedHash({apiVersion: resource.apiVersion, kind: resource.kind, metadata: {name, namespace, labels: OURS}, data});
  return observed !== undefined && contains(observed, object) ? NOTHING : {verb: 'apply', resource, object};
}
