// What `./lab` needs to know of a running lab, as a file: places by name, sockets, kubeconfig.

import type {Lab} from '../harness/lab.js';
import {NODES} from '../harness/topology.js';

export function writeLabInfo(lab: Lab | null): void {
  if (lab === null) return;
  const routers = [...lab.fabric.leaves, ...lab.fabric.spines];
  const places: Record<string, string> = {ctl: lab.fabric.ctl.path, ext: lab.fabric.ext.path};
  for (const router of routers) places[router.spec.name] = router.netns.path;
  for (const node of NODES) places[node.name] = lab.node(node.name).netnsPath;
  const addresses: Record<string, string> = Object.fromEntries(NODES.map((node) => [node.name, node.address]));
  for (const pod of lab.pods()) {
    for (const name of [`${pod.namespace}/${pod.name}`, ...(pod.namespace === 'default' ? [pod.name] : [])]) {
      places[name] = pod.netnsPath;
      addresses[name] = pod.address;
    }
  }
  lab.run.writeJson('lab.json', {
    prefix: lab.run.prefix, path: lab.run.path, api: lab.options.api, routingMode: lab.stentor.options.routingMode,
    kubeconfig: lab.controlPlane?.kubeconfig ?? null, input: lab.inputFolder, output: lab.outputFolder, operatorSocket: lab.stentor.operatorHttp, places, addresses,
    nodes: Object.fromEntries(NODES.map((node) => [node.name, {
      agentSocket: lab.stentor.agentSocket(node.name), metricsSocket: lab.stentor.agentMetrics(node.name), bpfRoot: lab.stentor.bpfRoot(node.name),
    }])),
    pods: lab.pods().map(({namespace, name, node, address}) => ({namespace, name, node, address})),
  });
}
