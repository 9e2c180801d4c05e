// The demo: the reference articles' manifests applied to the lab, each step proved with packets, routes and the API.

import * as bgp from '../harness/checks/bgp.js';
import {check} from '../harness/checks/check.js';
import * as crash from '../harness/checks/crash.js';
import * as masquerade from '../harness/checks/masquerade.js';
import * as pods from '../harness/checks/pods.js';
import * as policy from '../harness/checks/policy.js';
import type {Lab, LabPod} from '../harness/lab.js';
import {nowMs, until} from '../harness/shell.js';
import {NODES} from '../harness/topology.js';
import type {Output} from './output.js';

const API_DOWN_SECONDS = 30;

export async function runDemo(lab: Lab, output: Output): Promise<void> {
  const app = await showBgpLab(lab, output);
  await showPolicies(lab, output);
  await showMasquerade(lab, output, at(app, 0));
  output.heading('a node changes its rack: kubectl label node');
  await output.show(bgp.relabel(lab));
  await showCrashes(lab, output, app);
  await showTunnel(lab, output);
}

async function showBgpLab(lab: Lab, output: Output): Promise<readonly LabPod[]> {
  output.heading('the BGP lab article: DaemonSet and CiliumBGPPeeringPolicies, unchanged');
  await output.show(bgp.fabricSessions(lab));
  const app = await startApp(lab, output);
  const applied = await bgp.applyPeering(lab);
  await output.show(bgp.nodeSessions(lab, applied));
  await output.show(bgp.leafRoutes(lab));
  for (const line of [() => pods.pingMatrix(app), () => pods.sourcesUnchanged(app), () => pods.noVxlan(lab, app), () => pods.bothUplinks(lab, app)]) await output.show(line());
  return app;
}

async function startApp(lab: Lab, output: Output): Promise<readonly LabPod[]> {
  const started = nowMs();
  await lab.objects.apply(lab.manifest('bgp-lab/daemonset.yaml'));
  let app: readonly LabPod[] = [];
  await output.show(check('the DaemonSet gives four running pods', async () => {
    app = await lab.podsReady(['app', 'app'], NODES.length);
    const own = app.filter((pod) => pod.address.startsWith(lab.podCidr(pod.node).replace('.0/24', '.')));
    return {ok: own.length === NODES.length, value: `${app.length} after ${((nowMs() - started) / 1000).toFixed(1)} s: ${app.map((pod) => pod.address).join(' ')}`};
  }));
  if (app.length !== NODES.length) throw new Error('without pods there is nothing to show');
  return app;
}

async function startShips(lab: Lab): Promise<void> {
  await lab.objects.apply(lab.manifest('overview/pods.yaml'));
  for (const [key, value, count] of SHIPS) await lab.podsReady([key, value], count);
}

const SHIPS = [['org', 'empire', 2], ['org', 'alliance', 2], ['app', 'myService', 1]] as const;

async function showPolicies(lab: Lab, output: Output): Promise<void> {
  output.heading('the overview article: L3/L4 policy and CIDR policy, unchanged');
  await startShips(lab);
  await output.show(policy.openBefore(lab));
  await output.show(policy.applyL3L4(lab));
  await output.show(policy.l3l4Verdicts(lab));
  await output.show(policy.deleteStopsStream(lab));
  await output.show(policy.cidrPolicy(lab));
}

async function showMasquerade(lab: Lab, output: Output, pod: LabPod): Promise<void> {
  output.heading('masquerading and the ConfigMap ip-masq-agent');
  await output.show(masquerade.sourceOutside(lab, pod));
  await output.show(masquerade.editConfigMap(lab, pod));
  await output.show(masquerade.articleEntries(lab));
  await masquerade.removeConfigMap(lab);
}

async function traffic(lab: Lab, app: readonly LabPod[]): Promise<crash.Traffic> {
  await lab.objects.apply(lab.manifest('overview/l3-l4-policy.yaml'));
  await until('rule1 holds', {timeoutMs: 10_000}, async () => (await policy.l3l4Verdicts(lab)).verdict === 'ok' ? true : null).catch(() => undefined);
  const deathstar = lab.pod('deathstar');
  return {allowed: [at(app, 0), appOn(app, deathstar.node)], denied: [lab.pod('xwing'), deathstar]};
}

async function showCrashes(lab: Lab, output: Output, app: readonly LabPod[]): Promise<void> {
  output.heading('parts die under 100 packets/s');
  const packets = await traffic(lab, app);
  await output.show(crash.agentKilled(lab, lab.pod('deathstar').node, packets));
  await output.show(crash.operatorKilled(lab, packets));
}

async function showTunnel(lab: Lab, output: Output): Promise<void> {
  output.heading('the same lab in tunnel mode');
  await lab.objects.delete({kind: 'ciliumnetworkpolicy', namespace: 'default', name: 'rule1'});
  for (const name of ['deathstar', 'tiefighter', 'xwing', 'ywing', 'myservice']) await lab.objects.delete({kind: 'pod', namespace: 'default', name});
  await lab.objects.delete({kind: 'daemonset', namespace: 'default', name: 'app'});
  await lab.noPods();
  await lab.restartStentor('tunnel');
  const app = await startApp(lab, output);
  await output.show(pods.pingMatrix(app));
  await output.show(pods.sourcesUnchanged(app));
  await output.show(pods.vniIsIdentity(lab, app));
  await startShips(lab);
  const packets = await traffic(lab, app);
  await output.show(policy.l3l4Verdicts(lab));
  if (lab.controlPlane === null) output.add({name: `API server stopped for ${API_DOWN_SECONDS} s`, value: '–', verdict: 'not in this mode'});
  else await output.show(crash.apiServerStopped(lab, packets, API_DOWN_SECONDS));
}

function at(app: readonly LabPod[], index: number): LabPod {
  const pod = app[index];
  if (pod === undefined) throw new Error(`there is no pod number ${index}`);
  return pod;
}

function appOn(app: readonly LabPod[], node: string): LabPod {
  const pod = app.find((item) => item.node === node);
  if (pod === undefined) throw new Error(`there is no pod on ${node}`);
  return pod;
}
