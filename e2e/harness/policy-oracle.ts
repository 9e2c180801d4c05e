// What the policy library says about flows of a lab: as `stentorctl policy verdict` does, from the objects that the API server holds now.

import {readCluster} from '../../cli/policy/cluster-source.js';
import {DEFAULT_SETTINGS} from '../../cli/policy/settings.js';
import {compileWorld, worldOf} from '../../cli/policy/world.js';
import {FlowJudge} from '../../lib/policy/flows.js';
import type {Lab} from './lab.js';

/** As the lab's operator is started. */
const CLUSTER_NAME = 'cilium-bgp';

export async function policyOracle(lab: Lab): Promise<FlowJudge> {
  if (lab.controlPlane === null) throw new Error('there is no API server in this mode');
  const {routingMode} = lab.stentor.options;
  const common = {kubeconfig: lab.controlPlane.kubeconfig, timeoutMs: 20_000};
  const manifests = await readCluster(common, AbortSignal.timeout(common.timeoutMs));
  return new FlowJudge(compileWorld(worldOf(manifests, {...DEFAULT_SETTINGS, clusterName: CLUSTER_NAME, routingMode})));
}
