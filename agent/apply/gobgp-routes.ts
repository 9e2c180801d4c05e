// Routes of a running gobgpd as a person reads them; attributes in GoBGP's own words.

import {api} from '../../proto/gen/gobgp4.js';
import {communityText, type BgpRouteStatus} from '../../lib/domain/bgp.js';

const ORIGINS: readonly string[] = ['i', 'e', '?'];

export function routeStatus(where: {readonly vrouter: number; readonly peer?: string; readonly nowSeconds: number}, prefix: string, path: api.Path.$Properties): BgpRouteStatus {
  const attributes = path.pattrs ?? [];
  const since = Number(path.age?.seconds ?? where.nowSeconds);
  return {
    vrouter: where.vrouter,
    ...(where.peer === undefined ? {} : {peer: where.peer}),
    prefix,
    nextHop: attributes.map((one) => one.nextHop?.nextHop ?? one.mpReach?.nextHops?.[0] ?? '').find((text) => text !== '') ?? '',
    ageSeconds: Math.max(0, Math.floor(where.nowSeconds - since)),
    attrs: attributes.flatMap((one) => attributeText(one) ?? []),
  };
}

function attributeText(one: api.Attribute.$Properties): string | null {
  if (one.origin) return `{Origin: ${ORIGINS[one.origin.origin ?? 0] ?? '?'}}`;
  if (one.asPath) return `{AsPath: ${(one.asPath.segments ?? []).map(segmentText).join(' ')}}`;
  if (one.nextHop) return `{Nexthop: ${one.nextHop.nextHop ?? ''}}`;
  if (one.multiExitDisc) return `{Med: ${one.multiExitDisc.med ?? 0}}`;
  if (one.localPref) return `{LocalPref: ${one.localPref.localPref ?? 0}}`;
  if (one.communities) return `{Communities: ${(one.communities.communities ?? []).map(communityText).join(', ')}}`;
  if (one.largeCommunities) {
    const texts = (one.largeCommunities.communities ?? []).map((large) => `${large.globalAdmin ?? 0}:${large.localData1 ?? 0}:${large.localData2 ?? 0}`);
    return `{LargeCommunity: [ ${texts.join(', ')}]}`;
  }
  if (one.originatorId) return `{Originator: ${one.originatorId.id ?? ''}}`;
  if (one.clusterList) return `{ClusterList: [${(one.clusterList.ids ?? []).join(' ')}]}`;
  if (one.mpReach) return mpReachText(one.mpReach);
  return null;
}

function mpReachText(reach: api.MpReachNLRIAttribute.$Properties): string {
  const family = reach.family?.afi === api.Family.Afi.AFI_IP6 ? 'ipv6-unicast' : 'ipv4-unicast';
  const nlris = (reach.nlris ?? []).map((nlri) => `${nlri.prefix?.prefix ?? ''}/${nlri.prefix?.prefixLen ?? 0}`);
  return `{MpReach(${family}): {Nexthop: ${reach.nextHops?.[0] ?? ''}, NLRIs: [${nlris.join(' ')}]}}`;
}

function segmentText(segment: api.AsSegment.$Properties): string {
  const numbers = segment.numbers ?? [];
  const {TYPE_AS_SET, TYPE_AS_CONFED_SEQUENCE, TYPE_AS_CONFED_SET} = api.AsSegment.Type;
  if (segment.type === TYPE_AS_SET) return `{${numbers.join(',')}}`;
  if (segment.type === TYPE_AS_CONFED_SEQUENCE) return `(${numbers.join(' ')})`;
  if (segment.type === TYPE_AS_CONFED_SET) return `[${numbers.join(',')}]`;
  return numbers.join(' ');
}
