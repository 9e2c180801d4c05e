// Namespace → NamespaceFact.

import type {KubeObject} from '../../watch/feed-types.js';
import type {NamespaceFact} from '../facts.js';
import {stringMap} from './json.js';

export function decodeNamespace(object: KubeObject): NamespaceFact {
  return {name: object.metadata.name, labels: stringMap(object.metadata.labels)};
}
