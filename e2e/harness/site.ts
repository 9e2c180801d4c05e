// What a lab is built on: nodes, address plan and fabric. Unless another one is given, the reference article's two racks.

import {buildFabric, fabricEstablished, type Fabric, type FabricOptions} from './fabric.js';
import type {RunDirectory} from './run-dir.js';
import {API_ADDRESS, FIRST_SERVICE_ADDRESS, NODES, POD_CIDR, SERVICE_CIDR, type NodeSpec} from './topology.js';

export interface AddressPlan {
  readonly nodes: readonly NodeSpec[];
  /** Where the API server and the operator are found. */
  readonly apiAddress: string;
  readonly podCidr: string;
  readonly serviceCidr: string;
  readonly firstServiceAddress: string;
  readonly nativeRoutingCidr: string;
  readonly clusterName: string;
}

export interface Site extends AddressPlan {
  build(run: RunDirectory): Promise<Fabric>;
  /** Resolves with the number of sessions between routers when all are up. */
  established(fabric: Fabric, timeoutMs: number): Promise<number>;
}

export const RACK_PLAN: AddressPlan = {
  nodes: NODES, apiAddress: API_ADDRESS, podCidr: POD_CIDR, serviceCidr: SERVICE_CIDR, firstServiceAddress: FIRST_SERVICE_ADDRESS, nativeRoutingCidr: '10.0.0.0/8',
  clusterName: 'cilium-bgp',
};

export function racks(options: FabricOptions): Site {
  return {...RACK_PLAN, build: (run) => buildFabric(options, run), established: fabricEstablished};
}
