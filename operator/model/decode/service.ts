// Service → ServiceFact: what policies need of it.

import {Labels} from '../../../lib/domain/labels.js';
import type {KubeObject} from '../../watch/feed-types.js';
import type {ServiceFact} from '../facts.js';
import {record, stringMap} from './json.js';

/** An empty selector is none: its backends are what somebody wrote. */
export function decodeService(object: KubeObject): ServiceFact {
  const selector = stringMap(record(object['spec'])['selector']);
  const labels = Object.entries(stringMap(object.metadata.labels)).map(([key, value]) => ({source: 'k8s', key, value}));
  return {
    namespace: object.metadata.namespace ?? '', name: object.metadata.name, labels: new Labels(labels),
    selector: Object.keys(selector).length === 0 ? null : selector,
  };
}
