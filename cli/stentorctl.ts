// stentorctl: reads a node, its maps and the cluster.

import {programOf} from './program.js';
import {runMain} from './run.js';
import {VERBS} from './verbs.js';

await runMain(programOf({
  name: 'stentorctl',
  about: 'Reads a node of Stentor: its agent, its maps, its BGP sessions; and the policies of the cluster.',
  verbs: VERBS,
  groups: {
    endpoint: 'pods of this node', identity: 'identities and their labels', node: 'nodes of the cluster', bpf: 'the pinned maps, with or without an agent',
    policy: 'policies of the cluster', map: 'any pinned map', bgp: 'BGP sessions and routes', lbipam: 'addresses of LoadBalancer Services', state: 'desired against installed',
    datapath: 'the datapath’s programs, one packet at a time',
    masq: 'masquerading: what leaves with the node’s address',
    'bpf policy': 'what each endpoint lets in and out', 'bpf ipcache': 'prefix to identity and tunnel', 'bpf ct': 'connections tracked', 'bpf nat': 'flows that are masqueraded',
    'bpf ipmasq': 'destinations that are not masqueraded', 'bpf tunnel': 'PodCIDRs behind tunnels', 'bpf endpoint': 'local addresses and their interfaces',
    'bpf metrics': 'packets counted by reason and direction',
  },
}));
