// What one object's write would be: pure comparison of what should be with what was observed.

import {contentHash} from '../../lib/core/hash.js';
import {canonicalJson} from '../../lib/core/order.js';
import {isRecord, type KubeObject} from '../../lib/kube/object.js';
import type {ApiResource} from '../../lib/kube/resources.js';

export type Plan =
  | {readonly verb: 'create' | 'apply' | 'applyStatus' | 'merge' | 'mergeStatus'; readonly resource: ApiResource; readonly object: KubeObject}
  | {readonly verb: 'remove'; readonly resource: ApiResource; readonly object: KubeObject}
  | {readonly verb: 'nothing'; readonly why?: string};

export const NOTHING: Plan = {verb: 'nothing'};

/** Hash of what was applied last: fields that we once set and do not want any more show in it, without remembering them. */
export const APPLIED_ANNOTATION = 'stentor.io/applied';

/** `object` with the hash of itself. */
export function withAppliedHash(object: KubeObject): KubeObject {
  const annotations = {...object.metadata.annotations, [APPLIED_ANNOTATION]: contentHash(canonicalJson(object))};
  return {...object, metadata: {...object.metadata, annotations}};
}

/** True when every member of `wanted` is in `actual` with that value. Lists are compared whole, owner references one by one. */
export function contains(actual: unknown, wanted: unknown): boolean {
  if (isRecord(wanted)) {
    return isRecord(actual) && Object.entries(wanted).every(([key, value]) => {
      if (value === undefined) return true;
      if (key !== 'ownerReferences') return contains(actual[key], value);
      const owners: readonly unknown[] = Array.isArray(actual[key]) ? actual[key] : [];
      return Array.isArray(value) && value.every((owner) => owners.some((other) => contains(other, owner)));
    });
  }
  return canonicalJson(actual) === canonicalJson(wanted);
}
