// bgp routes: what is known, or what peers were told.

import type {Verb} from '../context.js';
import {usage} from '../errors.js';
import {agentOf, durationText, list} from '../verbs/common.js';

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
