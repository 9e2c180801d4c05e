// Writes crds/*.yaml from the schemas in this folder: `make crds`.

import {writeFile} from 'node:fs/promises';
import {join} from 'node:path';
import {stringify} from 'yaml';
import {
  ciliumBGPAdvertisement, ciliumBGPClusterConfig, ciliumBGPNodeConfig, ciliumBGPNodeConfigOverride, ciliumBGPPeerConfig, ciliumBGPPeeringPolicy,
} from './bgp-schemas.js';
import {ciliumCIDRGroup, ciliumEndpoint, ciliumIdentity, ciliumNode} from './kind-schemas.js';
import {ciliumLoadBalancerIPPool, ciliumPodIPPool} from './pool-schemas.js';
import {ciliumClusterwideNetworkPolicy, ciliumNetworkPolicy} from './rule-schema.js';
import type {Schema} from './schema-parts.js';

const CRDS: Readonly<Record<string, Schema>> = {
  'ciliumbgpadvertisements.yaml': ciliumBGPAdvertisement,
  'ciliumbgpclusterconfigs.yaml': ciliumBGPClusterConfig,
  'ciliumbgpnodeconfigoverrides.yaml': ciliumBGPNodeConfigOverride,
  'ciliumbgpnodeconfigs.yaml': ciliumBGPNodeConfig,
  'ciliumbgppeerconfigs.yaml': ciliumBGPPeerConfig,
  'ciliumbgppeeringpolicies.yaml': ciliumBGPPeeringPolicy,
  'ciliumcidrgroups.yaml': ciliumCIDRGroup,
  'ciliumclusterwidenetworkpolicies.yaml': ciliumClusterwideNetworkPolicy,
  'ciliumendpoints.yaml': ciliumEndpoint,
  'ciliumidentities.yaml': ciliumIdentity,
  'ciliumloadbalancerippools.yaml': ciliumLoadBalancerIPPool,
  'ciliumnetworkpolicies.yaml': ciliumNetworkPolicy,
  'ciliumnodes.yaml': ciliumNode,
  'ciliumpodippools.yaml': ciliumPodIPPool,
};

/** File name → content. */
export function renderCrds(): ReadonlyMap<string, string> {
  return new Map(Object.entries(CRDS).map(([file, schema]) => [file, `# Written by \`make crds\` from crds/*-schema*.ts.\n${
    stringify(schema, {compat: 'yaml-1.1', lineWidth: 0, aliasDuplicateObjects: false})}`]));
}

const [, program, dir] = process.argv;
if (program !== undefined && program.endsWith('crds/render.js') && dir !== undefined) {
  for (const [file, content] of renderCrds()) await writeFile(join(dir, file), content);
}
