// The cilium shim: Cilium's read commands with Cilium's layouts, for runbooks and fingers that know them.

import type {VerbSpec} from './context.js';
import {programOf} from './program.js';
import {runMain} from './run.js';
import type * as shim from './shim/verbs.js';

type Name = keyof typeof shim;

function verb(path: string, name: Name, summary: string, more: Partial<VerbSpec> = {}): VerbSpec {
  return {path, summary, examples: [`cilium ${path}`], load: async () => (await import('./shim/verbs.js'))[name], ...more};
}

const LS = {aliases: ['ls']};

const VERBS: readonly VerbSpec[] = [
  verb('status', 'status', 'status of the agent', {options: [['--verbose', 'also addresses and controllers'], ['--brief', 'one line']]}),
  verb('endpoint list', 'endpointList', 'the pods of this node', LS),
  verb('endpoint get', 'endpointGet', 'one endpoint', {args: [['<endpoint>', 'id, pod-name:namespace:name or ipv4:address']]}),
  verb('identity list', 'identityList', 'identities and their labels', LS),
  verb('identity get', 'identityGet', 'one identity', {args: [['<number>', 'the identity']]}),
  verb('node list', 'nodeList', 'the nodes of the cluster', LS),
  verb('bgp peers', 'bgpPeers', 'BGP sessions'),
  verb('bgp routes', 'bgpRoutes', 'BGP routes', {args: [['[words...]', '<available|advertised> <afi> <safi> [vrouter <asn>] [peer <address>]']]}),
  verb('bgp route-policies', 'bgpRoutePolicies', 'what goes to which peer with which attributes'),
  verb('bpf ipmasq list', 'ipmasqList', 'destinations that are not masqueraded', LS),
  verb('bpf tunnel list', 'tunnelList', 'PodCIDRs behind tunnels', LS),
  verb('bpf ipcache list', 'ipcacheList', 'prefix to identity and tunnel', LS),
  verb('bpf policy get', 'policyGet', 'the policy map of an endpoint', {
    aliases: ['list'], args: [['[endpoint]', 'its id']], options: [['--all', 'every endpoint'], ['-n, --numeric', 'identities as numbers']],
  }),
  verb('map get', 'mapGet', 'the entries of a map', {args: [['<name>', 'cilium_ipcache, …']]}),
  {
    path: 'monitor', summary: 'what the datapath does with packets', examples: ['cilium monitor --type drop'],
    options: [['-t, --type <list>', 'drop, trace, policy-verdict'], ['--endpoint <number>', 'only this endpoint']],
    load: async () => (await import('./verbs/monitor.js')).monitor,
  },
];

await runMain(programOf({
  name: 'cilium',
  about: 'Reads a node as `cilium` does in Cilium’s agent. The same and more: stentorctl.',
  verbs: VERBS,
  groups: {
    endpoint: 'pods of this node', identity: 'identities', node: 'nodes', bgp: 'BGP', bpf: 'the pinned maps', map: 'the pinned maps',
    'bpf policy': 'policy maps', 'bpf ipmasq': 'destinations that are not masqueraded', 'bpf tunnel': 'PodCIDRs behind tunnels', 'bpf ipcache': 'prefix to identity and tunnel',
  },
}));
