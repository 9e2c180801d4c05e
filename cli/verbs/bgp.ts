// bgp peers|routes: sessions with their reasons, and what is known or told.

import type {BgpPeerStatus} from '../../lib/domain/bgp.js';
import type {Verb} from '../context.js';
import {usage} from '../errors.js';
import {agentOf, durationText, list} from './common.js';

export const peers: Verb = async (context) => {
  const items = await agentOf(context.common).get('/v1/bgp/peers');
  return list<BgpPeerStatus>(context, {
    items,
    columns: [
      {title: 'LOCAL AS', cell: ({localAsn}) => localAsn},
      {title: 'PEER AS', cell: ({peerAsn}) => peerAsn},
      {title: 'PEER', cell: ({address, port}) => (address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`)},
      {title: 'SESSION', cell: ({session}) => session},
      {title: 'UPTIME', cell: ({uptimeSeconds}) => durationText(uptimeSeconds)},
      {title: 'FAMILY', cell: ({families}) => families.map(({family}) => family)},
      {title: 'RECEIVED', cell: ({families}) => families.map(({received}) => String(received))},
      {title: 'ADVERTISED', cell: ({families}) => families.map(({advertised}) => String(advertised))},
      {title: 'REASON', cell: ({reason}) => reason},
      {title: 'INSTANCE', cell: ({instance}) => instance, wide: true},
    ],
    name: ({instance, address}) => `${instance}/${address}`,
    empty: 'no peers: no BGP policy selects this node',
  });
};

export const routes: Verb = async (context) => {
  const [type = 'available', afi = 'ipv4', safi = 'unicast'] = context.args;
  if (type !== 'available' && type !== 'advertised') throw usage(`routes are available or advertised, not ${type}`);
  if ((afi !== 'ipv4' && afi !== 'ipv6') || safi !== 'unicast') throw usage(`the family is ipv4 unicast or ipv6 unicast, not ${afi} ${safi}`);
  const {peer, vrouter} = context.options;
  const items = await agentOf(context.common).get('/v1/bgp/routes', {
    type, family: `${afi}-${safi}`, ...(typeof peer === 'string' ? {peer} : {}), ...(typeof vrouter === 'string' ? {vrouter} : {}),
  });
  return list(context, {
    items,
    columns: [
      {title: 'VROUTER', cell: ({vrouter: asn}) => asn},
      ...(type === 'advertised' ? [{title: 'PEER', cell: (route: (typeof items)[number]) => route.peer ?? ''}] : []),
      {title: 'PREFIX', cell: ({prefix}) => prefix},
      {title: 'NEXT HOP', cell: ({nextHop}) => nextHop},
      {title: 'AGE', cell: ({ageSeconds}) => durationText(ageSeconds)},
      {title: 'ATTRIBUTES', cell: ({attrs}) => attrs.join(' ')},
    ],
    name: ({prefix}) => prefix,
    empty: `no ${type} ${afi} routes`,
  });
};
