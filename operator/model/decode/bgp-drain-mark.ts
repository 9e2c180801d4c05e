// CiliumBGPNodeConfig → since when its node is drained: the operator's own note, for the operator after it.

import {DRAINING} from '../../../lib/domain/bgp-names.js';
import type {KubeObject} from '../../watch/feed-types.js';
import type {BgpDrainMark} from '../facts.js';
import {list, record, text} from './json.js';

export function decodeDrainMark(object: KubeObject): BgpDrainMark | null {
  const condition = list(record(object['status'])['conditions']).map(record).find(({type, status}) => type === DRAINING && status === 'True');
  const sinceMs = Date.parse(text(condition?.['lastTransitionTime']));
  return Number.isNaN(sinceMs) ? null : {sinceMs};
}
