// CiliumIdentity → its number and label set. Only `security-labels` count; metadata.labels are for people.

import type {Rejection} from '../../../lib/core/errors.js';
import {CLUSTER_IDENTITY_MAX, CLUSTER_IDENTITY_MIN, identityId} from '../../../lib/domain/identity.js';
import {Labels, parseLabel} from '../../../lib/domain/labels.js';
import type {KubeObject} from '../../watch/feed-types.js';
import type {CiliumIdentityFact} from '../facts.js';
import {refOf, stringMap} from './json.js';

export function decodeCiliumIdentity(object: KubeObject): CiliumIdentityFact | Rejection {
  const name = object.metadata.name;
  const id = /^[1-9]\d{0,9}$/.test(name) ? Number(name) : 0;
  if (id < CLUSTER_IDENTITY_MIN || id > CLUSTER_IDENTITY_MAX) {
    return {object: refOf('CiliumIdentity', object), path: 'metadata.name', code: 'IDENTITY_RANGE',
      reason: `${name} is not a cluster identity (${CLUSTER_IDENTITY_MIN}..${CLUSTER_IDENTITY_MAX})`};
  }
  const labels = Object.entries(stringMap(object['security-labels'])).map(([name, value]) => {
    const {source, key} = parseLabel(name);
    return {source, key, value};
  });
  if (labels.length === 0) {
    return {object: refOf('CiliumIdentity', object), path: 'security-labels', code: 'IDENTITY_LABELS', reason: 'an identity without labels stands for nothing'};
  }
  return {id: identityId(id), labels: new Labels(labels), createdAt: object.metadata.creationTimestamp ?? ''};
}
