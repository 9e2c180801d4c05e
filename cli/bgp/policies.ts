// bgp policies: what the node's speaker was told to tell, as Cilium's route policies: prefixes, peers, attributes.

import {communityText} from '../../lib/domain/bgp.js';
import {decodeResource} from '../../lib/desired/decode.js';
import {isRecord} from '../../lib/kube/object.js';
import type {Verb} from '../context.js';
import {agentOf, list} from '../verbs/common.js';

export interface RoutePolicy {
  readonly vrouter: number;
  readonly prefix: string;
  readonly type: 'export';
  /** Empty = all of the instance. */
  readonly peers: readonly string[];
  readonly action: 'accept';
  /** Cilium's words: `SetLocalPreference: 150`. */
  readonly pathActions: readonly string[];
}

export const policies: Verb = async (context) => list(context, {
  items: routePoliciesOf(await agentOf(context.common).get('/v1/state')),
  columns: [
    {title: 'VROUTER', cell: ({vrouter}) => vrouter}, {title: 'TYPE', cell: ({type}) => type}, {title: 'PEERS', cell: ({peers}) => (peers.length === 0 ? 'all' : peers)},
    {title: 'PREFIX', cell: ({prefix}) => prefix}, {title: 'ACTION', cell: ({action}) => action}, {title: 'PATH ACTIONS', cell: ({pathActions}) => pathActions},
  ],
  name: ({vrouter, prefix}) => `${vrouter}/${prefix}`,
  empty: 'nothing is announced',
});

export function routePoliciesOf(state: unknown): RoutePolicy[] {
  const resources = isRecord(state) && Array.isArray(state['resources']) ? state['resources'] as readonly unknown[] : [];
  return resources.filter(isRecord).flatMap((item) => {
    if (item['kind'] !== 'speaker') return [];
    const {resource} = decodeResource('speaker', 'speaker', '', item['value']);
    if (resource?.kind !== 'speaker') return [];
    return resource.value.instances.flatMap(({asn, advertisements}) => advertisements.map(({prefix, peers, localPreference, communities, largeCommunities}): RoutePolicy => ({
      vrouter: asn, prefix, type: 'export', peers, action: 'accept',
      pathActions: [
        ...(localPreference === null ? [] : [`SetLocalPreference: ${localPreference}`]), ...(communities.length === 0 ? [] : [`AddCommunities: [${communities.map(communityText).join(' ')}]`]),
        ...(largeCommunities.length === 0 ? [] : [`AddLargeCommunities: [${largeCommunities.join(' ')}]`]),
      ],
    })));
  });
}
