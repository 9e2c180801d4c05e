// The BGP verbs: of the node at hand, of the cluster, or of manifests.

import {ACCEPTED_CONFIG_MAP} from '../../lib/domain/bgp-names.js';
import type {VerbSpec} from '../context.js';

const INPUT = ['--input <path...>', 'manifests: files, folders, - (default: the cluster)'] as const;
const INPUTS = ['--input <path>', 'manifests: file, folder, -; may be repeated (default: the cluster)', 'repeat'] as const;
const PATHS = ['[path...]', 'manifests: files, folders, - (default: the cluster)'] as const;
const CLUSTER = ['--cluster', 'every node, as the CiliumBGPNodeConfigs of the cluster say'] as const;

export const BGP_VERBS: readonly VerbSpec[] = [
  {
    path: 'bgp peers', summary: 'BGP sessions: state, uptime, prefixes, and the reason when one is down; of this node, or of all',
    options: [CLUSTER], examples: ['stentorctl bgp peers', 'stentorctl bgp peers --cluster', 'stentorctl bgp peers -o json'],
    load: async () => (await import('./peers.js')).peers,
  },
  {
    path: 'bgp routes', summary: 'routes known (available) or told to peers (advertised)',
    args: [['[type]', 'available (default) or advertised'], ['[afi]', 'ipv4 (default) or ipv6'], ['[safi]', 'unicast']],
    options: [['--peer <address>', 'only what this peer was told'], ['--vrouter <asn>', 'only the instance with this AS number']],
    examples: ['stentorctl bgp routes', 'stentorctl bgp routes advertised ipv4 unicast --peer 10.1.5.1'],
    load: async () => (await import('./routes.js')).routes,
  },
  {
    path: 'bgp policies', summary: 'which prefixes go to which peers with which attributes, as this node was told', examples: ['stentorctl bgp policies', 'stentorctl bgp policies -o json'],
    load: async () => (await import('./policies.js')).policies,
  },
  {
    path: 'bgp compile', summary: 'the instances, peers and paths of every node; exit code 1 when objects are broken or contend', args: [PATHS],
    options: [INPUT, ['--node <name>', 'only this node']],
    examples: ['stentorctl bgp compile --input cluster/ -o json', 'stentorctl bgp compile cluster/ --node node1'],
    load: async () => (await import('./compile.js')).compile,
  },
  {
    path: 'bgp why', summary: 'whether each node tells each peer a prefix or a Service, and if not, the first gate that is closed',
    args: [['<what>', 'prefix, address, or Service (namespace/name)']], options: [INPUTS, ['--node <name>', 'only this node']],
    examples: ['stentorctl bgp why 10.98.1.0/24', 'stentorctl bgp why shop/frontend --node node1', 'stentorctl bgp why 10.20.0.1 --input cluster/'],
    load: async () => (await import('./why.js')).why,
  },
  {
    path: 'bgp plan', summary: 'what manifests would announce, withdraw and reset, node by node; exit code 1 when more than a share would be withdrawn',
    args: [['<path...>', 'manifests: files, folders, -']],
    options: [
      ['--base <path>', 'what is there now: manifests; may be repeated (default: the cluster)', 'repeat'], ['--max-withdraw <share>', 'of the paths told to peers (default: 20%)'],
      ['--prune', 'BGP objects that are not in the manifests are gone'], ['--yes', 'that much is meant'],
    ],
    examples: ['stentorctl bgp plan bgp/', 'stentorctl bgp plan bgp/ --base cluster/ --max-withdraw 5% -o json', 'stentorctl bgp plan bgp/ --prune --yes'],
    load: async () => (await import('./plan.js')).plan,
  },
  {
    path: 'bgp drain', summary: 'announces the routes of a node with GRACEFUL_SHUTDOWN and withdraws them later, or takes that back; without a node, which are drained',
    args: [['[node]', 'the node']],
    options: [
      ['--undo', 'the node is no longer drained'], ['--withdraw <what>', 'at the end: never, redundant (what a node that stays announces as well), all (default: --bgp-drain-withdraw of the operator)'],
      ['--wait [time]', 'until the routes are withdrawn, or (with --undo) are as before; at most this long (default: 5m)'],
    ],
    examples: ['stentorctl bgp drain', 'stentorctl bgp drain node1 --wait', 'stentorctl bgp drain node1 --undo --wait 10s', 'stentorctl bgp drain node1 --withdraw all'],
    load: async () => (await import('./drain.js')).drain,
  },
  {
    path: 'bgp confirm', summary: 'changes that wait because they would withdraw too much, or that one of them is meant; exit code 1 when some wait',
    args: [['[object]', 'such as CiliumBGPClusterConfig/rack0']],
    options: [['--change <hash>', 'which change of it is meant'], ['--configmap <namespace/name>', `what the operator remembers it in (default: ${ACCEPTED_CONFIG_MAP})`]],
    examples: ['stentorctl bgp confirm', 'stentorctl bgp confirm CiliumBGPClusterConfig/rack0 --change 0123456789ab'],
    load: async () => (await import('./confirm.js')).confirm,
  },
  {
    path: 'bgp convert', summary: 'CiliumBGPPeeringPolicies as BGPv2 kinds, with the proof that the speakers of all nodes are equal; exit code 1 without it', args: [PATHS],
    options: [INPUT], examples: ['stentorctl bgp convert > bgp-v2.yaml', 'stentorctl bgp convert policies.yaml nodes.yaml'],
    load: async () => (await import('./convert.js')).convert,
  },
];
