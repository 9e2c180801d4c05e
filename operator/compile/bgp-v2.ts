// CiliumBGPClusterConfig, with the peer configs, advertisements and the override that concern it → the instances of one node.

import {matches} from '../../lib/domain/selector.js';
import type {BgpPeer, SpeakerHold} from '../../lib/domain/bgp.js';
import type {BgpAdvertisementFact, BgpClusterConfigFact, BgpInstanceFact, BgpInstancePeerFact, BgpOverrideFact, BgpPeerConfigFact} from '../model/bgp-facts.js';
import {DEFAULT_PEER_CONFIG} from '../model/decode/bgp-v2.js';
import {defaultRouterId, type BgpFinding, type BgpInputs, type InstancePlan, type SpeakerPlan} from './bgp-plan.js';
import type {NodeContext, PeerPlan, PlannedAnnouncement} from './bgp-routes.js';

type Override = BgpOverrideFact['instances'][number];

/** Collects what cannot be made, and says what becomes of it. */
class Trouble {
  readonly holds: SpeakerHold[] = [];
  readonly findings: BgpFinding[] = [];
  readonly #config: BgpClusterConfigFact;

  constructor(config: BgpClusterConfigFact) {
    this.#config = config;
  }

  hold(hold: SpeakerHold): void {
    this.holds.push(hold);
    const reason = hold.peer === null ? 'BGPRouterInvalid' : 'BGPPeerHeld';
    this.say(reason, `${hold.reason}; its session${hold.peer === null ? 's' : ''} and routes stay as they are`);
  }

  say(reason: BgpFinding['reason'], message: string): void {
    this.findings.push({object: this.#config.ref, apiVersion: this.#config.apiVersion, reason, message});
  }
}

export function planClusterConfig(config: BgpClusterConfigFact, {node}: NodeContext, inputs: BgpInputs): SpeakerPlan {
  const trouble = new Trouble(config);
  const override = inputs.overrides.get(node.name);
  const peerNames = new Map<string, string>();
  if (override !== undefined && override.invalid !== null) {
    trouble.hold({instance: null, peer: null, reason: `node ${node.name}: its CiliumBGPNodeConfigOverride is invalid: ${override.invalid}`});
    return {instances: [], holds: trouble.holds, findings: trouble.findings, peerNames};
  }
  const instances = config.instances.flatMap((instance): InstancePlan[] => {
    const own = override?.instances.find(({name}) => name === instance.name);
    const asn = own?.localAsn ?? instance.localAsn;
    const routerId = own?.routerId ?? defaultRouterId(node);
    const where = `node ${node.name}: instance ${instance.name}`;
    if (asn === null || routerId === null) {
      const reason = asn === null ? `${where} has no localASN` : `${where}: the node has no IPv4 InternalIP and no routerID in a CiliumBGPNodeConfigOverride`;
      trouble.hold({instance: instance.name, peer: null, reason});
      return [];
    }
    for (const {name, address} of instance.peers) if (address !== null) peerNames.set(peerNameKey(instance.name, address), name);
    const peers = instance.peers.flatMap((peer) => planPeer(peer, {where, instance, own, inputs, trouble}) ?? []);
    return [{name: instance.name, asn, routerId, listenPort: own?.localPort ?? instance.localPort ?? -1, peers}];
  });
  return {instances, holds: trouble.holds, findings: trouble.findings, peerNames};
}

export function peerNameKey(instance: string, address: string): string {
  return `${instance} ${address}`;
}

interface PeerContext {
  readonly where: string;
  readonly instance: BgpInstanceFact;
  readonly own: Override | undefined;
  readonly inputs: BgpInputs;
  readonly trouble: Trouble;
}

/** null = none, or it is held. */
function planPeer(fact: BgpInstancePeerFact, {where, instance, own, inputs, trouble}: PeerContext): PeerPlan | null {
  const {name, address, asn} = fact;
  if (address === null) {
    trouble.say('BGPPeerInvalid', `${where}: peer ${name} has no peerAddress`);
    return null;
  }
  const hold = (reason: string): null => {
    trouble.hold({instance: instance.name, peer: address, reason: `${where}: peer ${name}: ${reason}`});
    return null;
  };
  const config = fact.peerConfig === null ? DEFAULT_PEER_CONFIG : inputs.peerConfigs.get(fact.peerConfig);
  if (config === undefined) return hold(`there is no CiliumBGPPeerConfig ${fact.peerConfig ?? ''}`);
  if (config.invalid !== null) return hold(`the CiliumBGPPeerConfig ${config.ref.name} is invalid: ${config.invalid}`);
  const selected = selectedAdvertisements(config, inputs.advertisements);
  const broken = selected.find(({advertisement}) => advertisement.invalid !== null);
  if (broken !== undefined) return hold(`the CiliumBGPAdvertisement ${broken.advertisement.ref.name} is invalid: ${broken.advertisement.invalid ?? ''}`);
  const {localAddress = null, localPort = null} = own?.peers.find((peer) => peer.name === name) ?? {};
  const peer: BgpPeer = {
    address, asn, ...config.settings, families: config.families.map(({family}) => family), ...(localAddress === null ? {} : {localAddress}),
    ...(localPort === null ? {} : {localPort}),
  };
  return {peer, announcements: selected.flatMap(announcementsOf)};
}

interface Selected {
  readonly advertisement: BgpAdvertisementFact;
  readonly afi: 'ipv4' | 'ipv6';
}

function selectedAdvertisements(config: BgpPeerConfigFact, all: Iterable<BgpAdvertisementFact>): Selected[] {
  const advertisements = [...all];
  return config.families.flatMap(({family, advertisements: selector}) =>
    (selector === null ? [] : advertisements.filter(({labels}) => matches(selector, labels)).map((advertisement) => ({advertisement, afi: family.afi}))));
}

function announcementsOf({advertisement, afi}: Selected): PlannedAnnouncement[] {
  return advertisement.announcements.map(({what, attributes}) => ({what, afis: [afi], attributes: [{from: 'any', selector: null, attributes}]}));
}
