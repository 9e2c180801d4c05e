// Which decoder turns which kind into rows of which table.

import type {KubeObject, WatchedKind} from '../watch/feed-types.js';
import {prepareRules} from '../../lib/policy/resolve.js';
import {decodeBgpAccepted} from './decode/bgp-accepted.js';
import {decodeBgpPeeringPolicy} from './decode/bgp-peering-policy.js';
import {decodeDrainMark} from './decode/bgp-drain-mark.js';
import {decodeBgpSecret} from './decode/bgp-secret.js';
import {decodeBgpAdvertisement, decodeBgpClusterConfig, decodeBgpOverride, decodeBgpPeerConfig} from './decode/bgp-v2.js';
import {decodeCiliumEndpoint} from './decode/cilium-endpoint.js';
import {decodeCiliumIdentity} from './decode/cilium-identity.js';
import {decodeCiliumNetworkPolicy} from './decode/cilium-network-policy.js';
import {decodeCiliumNode} from './decode/cilium-node.js';
import {decodeCidrGroup} from './decode/cidr-group.js';
import {decodeBackends, decodeEndpointSlice} from './decode/endpoint-slice.js';
import {decodeExposedService} from './decode/exposed-service.js';
import {decodeIpMasq} from './decode/ip-masq.js';
import {refOf, text} from './decode/json.js';
import {decodeLbPool} from './decode/lb-pool.js';
import {decodeNamespace} from './decode/namespace.js';
import {decodeNetworkPolicy} from './decode/network-policy.js';
import {decodeNode, decodeNodeHealth} from './decode/node.js';
import {decodePod} from './decode/pod.js';
import {decodePodIpPool} from './decode/pod-ip-pool.js';
import type {DecodeContext, DecodedPolicy} from './decode/policy-common.js';
import {decodeService} from './decode/service.js';
import type {PolicyFact} from './facts.js';
import type {Decoder, Decoders, TableName} from './tables.js';

export interface DecoderOptions extends DecodeContext {
  /** The ConfigMap with the masquerading rules. */
  readonly masquerade: {readonly namespace: string; readonly name: string};
  /** The ConfigMap with what was let through of BGP objects; absent: none is read. */
  readonly bgpAccepted?: {readonly namespace: string; readonly name: string};
  /** What becomes of a policy that was refused: its subjects stay isolated, or it is as if it were not there. */
  readonly invalidPolicy: 'isolate' | 'ignore';
  /** Who gives out PodCIDRs: Kubernetes (unless said), or this operator. */
  readonly ipam?: 'kubernetes' | 'cluster-pool';
}

export const ACCEPTED_ROW = 'accepted';
export const MASQUERADE_ROW = 'ip-masq-agent';

export function decoders(options: DecoderOptions): Decoders {
  const accepted = options.bgpAccepted === undefined ? '' : `${options.bgpAccepted.namespace}/${options.bgpAccepted.name}`;
  const masquerade = `${options.masquerade.namespace}/${options.masquerade.name}`;
  return {
    Pod: plain('pods', decodePod),
    Namespace: plain('namespaces', decodeNamespace),
    Node: {...plain(options.ipam === 'cluster-pool' ? 'bareNodes' : 'nodes', decodeNode), also: plain('nodeHealth', decodeNodeHealth)},
    CiliumEndpoint: plain('endpoints', decodeCiliumEndpoint),
    CiliumNode: plain('ciliumNodes', decodeCiliumNode),
    CiliumCIDRGroup: plain('cidrGroups', decodeCidrGroup),
    CiliumLoadBalancerIPPool: plain('lbPools', decodeLbPool),
    CiliumPodIPPool: plain('podIpPools', decodePodIpPool),
    Service: {...plain('services', decodeService), also: plain('exposedServices', decodeExposedService)},
    EndpointSlice: {...plain('slices', decodeEndpointSlice), also: plain('backends', decodeBackends)},
    CiliumBGPPeeringPolicy: plain('bgpPolicies', decodeBgpPeeringPolicy),
    CiliumBGPClusterConfig: plain('bgpClusterConfigs', decodeBgpClusterConfig),
    CiliumBGPPeerConfig: plain('bgpPeerConfigs', decodeBgpPeerConfig),
    CiliumBGPAdvertisement: plain('bgpAdvertisements', decodeBgpAdvertisement),
    CiliumBGPNodeConfigOverride: plain('bgpOverrides', decodeBgpOverride),
    // Ours: compared where it is written. What it remembers is read.
    CiliumBGPNodeConfig: plain('bgpDrainMarks', decodeDrainMark),
    Secret: {table: 'bgpSecrets', key: (key) => key.slice(key.indexOf('/') + 1), decode: ({object}) => ({value: decodeBgpSecret(object)})},
    CiliumIdentity: {
      table: 'identities', key: (key) => key,
      decode: ({object}) => {
        const decoded = decodeCiliumIdentity(object);
        return 'id' in decoded ? {value: decoded} : {value: null, rejection: decoded};
      },
    },
    ConfigMap: {
      table: 'masquerade', key: (key) => (key === masquerade ? MASQUERADE_ROW : key),
      decode: ({key, object}) => ({value: key === masquerade ? decodeIpMasq(object) : null}),
      also: {
        table: 'bgpAccepted', key: (key) => (key === accepted ? ACCEPTED_ROW : key),
        decode: ({key, object}) => ({value: key === accepted ? decodeBgpAccepted(object) : null}),
      },
    },
    NetworkPolicy: policy('NetworkPolicy', 'networking.k8s.io/v1', options, decodeNetworkPolicy),
    CiliumNetworkPolicy: policy('CiliumNetworkPolicy', 'cilium.io/v2', options, decodeCiliumNetworkPolicy),
    CiliumClusterwideNetworkPolicy: policy('CiliumClusterwideNetworkPolicy', 'cilium.io/v2', options, decodeCiliumNetworkPolicy),
  };
}

function plain(table: TableName, decode: (object: KubeObject) => unknown): Decoder {
  return {table, key: (key) => key, decode: ({object}) => ({value: decode(object)})};
}

type DecodePolicy = (object: KubeObject, context: DecodeContext) => DecodedPolicy;

function policy(kind: WatchedKind, apiVersion: string, options: DecoderOptions, decode: DecodePolicy): Decoder {
  return {
    table: 'policies', key: (key) => `${kind} ${key}`,
    decode: ({object}) => {
      const decoded = decode({...object, kind}, options);
      const {rejections} = decoded;
      const rules = rejections.length > 0 && options.invalidPolicy === 'ignore' ? [] : decoded.rules;
      const fact: PolicyFact = {
        ref: refOf(kind, object), apiVersion: text(object['apiVersion']) === '' ? apiVersion : text(object['apiVersion']),
        generation: object.metadata.generation ?? 0,
        rules, subjects: prepareRules(rules), rejections,
      };
      return {value: fact};
    },
  };
}

