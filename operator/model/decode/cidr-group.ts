// CiliumCIDRGroup → CidrGroup, for policies that name it or select it by labels.

import {formatPrefix, parsePrefix} from '../../../lib/core/ip.js';
import {compareStrings} from '../../../lib/core/order.js';
import {Labels} from '../../../lib/domain/labels.js';
import type {KubeObject} from '../../watch/feed-types.js';
import type {CidrGroupFact} from '../facts.js';
import {record, stringMap, strings} from './json.js';

/** Host bits are cut off; what is no prefix is none (the schema does not let it through). */
export function decodeCidrGroup(object: KubeObject): CidrGroupFact {
  const prefixes = strings(record(object['spec'])['externalCIDRs']).flatMap((text) => {
    const prefix = parsePrefix(text);
    return prefix === null ? [] : [formatPrefix(prefix)];
  });
  const labels = Object.entries(stringMap(object.metadata.labels)).map(([key, value]) => ({source: 'cidrgroup', key, value}));
  return {name: object.metadata.name, labels: new Labels(labels), prefixes: [...new Set(prefixes)].sort(compareStrings)};
}
