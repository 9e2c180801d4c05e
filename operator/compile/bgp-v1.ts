// CiliumBGPPeeringPolicy → the instances of one node, one for each virtual router, with what the node's annotations say.

import {parseAddress} from '../../lib/core/ip.js';
import type {SpeakerHold} from '../../lib/domain/bgp.js';
import type {BgpPolicyFact, BgpRouterFact} from '../model/bgp-facts.js';
import type {NodeFact} from '../model/facts.js';
import {defaultRouterId, type BgpFinding, type InstancePlan, type SpeakerPlan} from './bgp-plan.js';
import type {NodeContext} from './bgp-routes.js';

const ANY_AFI = ['ipv4', 'ipv6'] as const;

export function planPolicy(policy: BgpPolicyFact, {node}: NodeContext): SpeakerPlan {
  const findings: BgpFinding[] = [];
  const holds: SpeakerHold[] = [];
  const about = {object: policy.ref, apiVersion: policy.apiVersion};
  const strange = strangeAnnotations(node);
  if (strange.length > 0) findings.push({...about, reason: 'BGPAnnotationInvalid', message: `node ${node.name}: no AS number in the annotation ${strange.join(', ')}`});
  const instances = policy.routers.flatMap((router): InstancePlan[] => {
    const instance = planRouter(router, node);
    if (typeof instance !== 'string') return [instance];
    holds.push({instance: instanceName(router), peer: null, reason: instance});
    findings.push({...about, reason: 'BGPRouterInvalid', message: `${instance}; its sessions and routes stay as they are`});
    return [];
  });
  return {instances, holds, findings, peerNames: new Map()};
}

export function instanceName({localAsn}: Pick<BgpRouterFact, 'localAsn'>): string {
  return `asn-${localAsn}`;
}

/** A text = why there is none. */
function planRouter(router: BgpRouterFact, node: NodeFact): InstancePlan | string {
  const options = routerOptions(node, router.localAsn);
  if (typeof options === 'string') return options;
  const routerId = options.routerId ?? defaultRouterId(node);
  if (routerId === null) return `node ${node.name} has no IPv4 InternalIP and no router-id annotation for ASN ${router.localAsn}`;
  return {
    name: instanceName(router), asn: router.localAsn, routerId, listenPort: options.localPort ?? -1,
    peers: router.neighbors.map(({peer, attributes}) => ({peer, announcements: router.announcements.map((what) => ({what, afis: ANY_AFI, attributes}))})),
  };
}

const ANNOTATION_PREFIX = 'cilium.io/bgp-virtual-router.';

function strangeAnnotations(node: NodeFact): string[] {
  return Object.keys(node.annotations).filter((key) => key.startsWith(ANNOTATION_PREFIX) && !/^\d{1,10}$/.test(key.slice(ANNOTATION_PREFIX.length)));
}

/** `cilium.io/bgp-virtual-router.65005: "router-id=1.2.3.4,local-port=1790"`. Unknown attributes are ignored, the last duplicate wins. */
function routerOptions(node: NodeFact, asn: number): {readonly routerId?: string; readonly localPort?: number} | string {
  const annotation = node.annotations[`${ANNOTATION_PREFIX}${asn}`];
  const options: {routerId?: string; localPort?: number} = {};
  for (const part of (annotation ?? '').split(',').map((item) => item.trim()).filter((item) => item !== '')) {
    const [name = '', value = ''] = part.split('=');
    if (name === 'router-id') {
      if (parseAddress(value)?.family !== 4) return `node ${node.name}: ${ANNOTATION_PREFIX}${asn}: router-id is not an IPv4 address: ${value}`;
      options.routerId = value;
    } else if (name === 'local-port') {
      const port = /^\d{1,5}$/.test(value) ? Number(value) : 0;
      if (port < 1 || port > 65535) return `node ${node.name}: ${ANNOTATION_PREFIX}${asn}: local-port is not in 1..65535: ${value}`;
      options.localPort = port;
    }
  }
  return options;
}
