// Every verb of stentorctl: words, help, and where its code lies. Nothing of a verb is loaded before it is called.

import {BGP_VERBS} from './bgp/verbs.js';
import type {Verb, VerbSpec} from './context.js';
import {POLICY_VERBS} from './policy/verbs.js';

type BpfVerb = 'policy' | 'ipcache' | 'ct' | 'nat' | 'ipmasq' | 'tunnel' | 'endpoint' | 'metrics';
const bpf = (name: BpfVerb) => async (): Promise<Verb> => (await import('./verbs/bpf.js'))[name];

export const VERBS: readonly VerbSpec[] = [
  {
    path: 'status', summary: 'the node at a glance: operator, routing, addresses, endpoints, BGP, errors; exit code 1 when degraded',
    options: [['--verbose', 'also addresses, maps, features and controllers']],
    examples: ['stentorctl status', 'stentorctl status --verbose', 'stentorctl status -o json'],
    load: async () => (await import('./verbs/status.js')).status,
  },
  {
    path: 'endpoint list', aliases: ['ls'], summary: 'the pods of this node: identity, addresses, enforcement',
    examples: ['stentorctl endpoint list', 'stentorctl endpoint list -o wide', 'stentorctl endpoint list --pinned'],
    load: async () => (await import('./verbs/endpoint.js')).list,
  },
  {
    path: 'endpoint get', summary: 'one endpoint', args: [['<endpoint>', 'its number, namespace/name or address']],
    examples: ['stentorctl endpoint get 12', 'stentorctl endpoint get default/server'],
    load: async () => (await import('./verbs/endpoint.js')).get,
  },
  {
    path: 'identity list', aliases: ['ls'], summary: 'identities known on this node, with their labels', examples: ['stentorctl identity list'],
    load: async () => (await import('./verbs/identity.js')).list,
  },
  {
    path: 'identity get', summary: 'the labels of one identity', args: [['<number>', 'the identity']], examples: ['stentorctl identity get 15773'],
    load: async () => (await import('./verbs/identity.js')).get,
  },
  {
    path: 'node list', aliases: ['ls'], summary: 'the nodes of the cluster, with their PodCIDRs', examples: ['stentorctl node list'],
    load: async () => (await import('./verbs/node.js')).list,
  },
  {
    path: 'node uninstall', summary: 'takes everything of the agent off this node; refuses while an agent runs or pods have their network from it',
    options: [
      ['--dry-run', 'only say what would go'], ['--force', 'also the network of pods that are there'], ['--state-dir <path>', 'the agent’s, /var/lib/stentor unless given'],
      ['--cni-conf <path>', '/etc/cni/net.d/05-stentor.conflist unless given'], ['--cni-plugin <path>', '/opt/cni/bin/stentor-cni unless given'],
    ],
    examples: ['stentorctl node uninstall --dry-run', 'stentorctl node uninstall --force -o json'],
    load: async () => (await import('./verbs/node-uninstall.js')).uninstall,
  },
  {
    path: 'bpf policy list', aliases: ['ls', 'get'], summary: 'policy maps: what each endpoint lets in and out, and which object says so',
    args: [['[endpoint]', 'only this endpoint']], examples: ['stentorctl bpf policy list', 'stentorctl bpf policy list 12 -o json'], load: bpf('policy'),
  },
  {path: 'bpf ipcache list', aliases: ['ls'], summary: 'prefix to identity and tunnel', examples: ['stentorctl bpf ipcache list'], load: bpf('ipcache')},
  {path: 'bpf ct list', aliases: ['ls'], summary: 'connections tracked', examples: ['stentorctl bpf ct list -o wide'], load: bpf('ct')},
  {path: 'bpf nat list', aliases: ['ls'], summary: 'flows that are masqueraded', examples: ['stentorctl bpf nat list'], load: bpf('nat')},
  {path: 'bpf ipmasq list', aliases: ['ls'], summary: 'destinations that are not masqueraded', examples: ['stentorctl bpf ipmasq list -o name'], load: bpf('ipmasq')},
  {path: 'bpf tunnel list', aliases: ['ls'], summary: 'PodCIDRs behind tunnels', examples: ['stentorctl bpf tunnel list'], load: bpf('tunnel')},
  {path: 'bpf endpoint list', aliases: ['ls'], summary: 'local addresses and the interfaces behind them', examples: ['stentorctl bpf endpoint list'], load: bpf('endpoint')},
  {path: 'bpf metrics list', aliases: ['ls'], summary: 'packets counted by reason and direction', examples: ['stentorctl bpf metrics list -o wide'], load: bpf('metrics')},
  {
    path: 'map list', aliases: ['ls'], summary: 'the pinned maps and how full they are', examples: ['stentorctl map list'],
    load: async () => (await import('./verbs/map.js')).list,
  },
  {
    path: 'map get', summary: 'the entries of one map', args: [['<name>', 'cilium_ipcache, cilium_lxc, …']], examples: ['stentorctl map get cilium_ipcache'],
    load: async () => (await import('./verbs/map.js')).get,
  },
  ...BGP_VERBS,
  {
    path: 'lbipam compile', summary: 'which addresses the pools give to LoadBalancer Services, and why one gets none',
    args: [['[path...]', 'manifests: files, folders, - (default: the cluster)']],
    options: [['--input <path...>', 'manifests: files, folders, - (default: the cluster)'], ['--config <file>', 'the operator’s options, or a ConfigMap such as cilium-config: enable-ipv6, default-lb-service-ipam']],
    examples: ['stentorctl lbipam compile --input cluster/', 'kubectl get svc,ippools -A -o yaml | stentorctl lbipam compile - -o json'],
    load: async () => (await import('./verbs/lbipam.js')).compile,
  },
  {
    path: 'masq list', aliases: ['ls'], summary: 'destinations that pods reach with their own address, and what says so',
    examples: ['stentorctl masq list', 'stentorctl masq list -o name'],
    load: async () => (await import('./verbs/masq.js')).list,
  },
  {
    path: 'masq compile', summary: 'the exceptions that every node of the manifests would run; exit code 1 when the ConfigMap is broken', args: [['[path...]', 'manifests: files, folders, -']],
    options: [['--input <path...>', 'manifests: files, folders, -'], ['--config <file>', 'the operator’s options, or a ConfigMap such as cilium-config: enable-ipv6, enable-ipv4-masquerade']],
    examples: ['stentorctl masq compile --input cluster/ -o json'],
    load: async () => (await import('./verbs/masq-compile.js')).compile,
  },
  {
    path: 'masq check', summary: 'whether a pod’s packets to an address are masqueraded: every exclusion in its order, and the first that matched',
    args: [['<pod>', 'namespace/name or address, of this node'], ['<destination>', 'an address']],
    examples: ['stentorctl masq check default/client 20.1.1.1', 'stentorctl masq check 10.98.1.5 10.95.0.1 -o json'],
    load: async () => (await import('./verbs/masq.js')).check,
  },
  {
    path: 'masq status', summary: 'how this node masquerades, and which list it runs; with an operator, the list of every node (exit code 1 when one lags)',
    options: [['--operator <address>', 'host:port or socket of the operator’s HTTP (STENTOR_OPERATOR_HTTP)']],
    examples: ['stentorctl masq status', 'stentorctl masq status --operator 127.0.0.1:9963', 'stentorctl masq status --operator 127.0.0.1:9963 -o json'],
    load: async () => (await import('./verbs/masq.js')).status,
  },
  {
    path: 'drops', summary: 'packets dropped on this node by reason and direction: the drop counters themselves',
    options: [['-w, --watch', 'what grows, until interrupted'], ['--interval <seconds>', 'between two looks (default: 1)']],
    examples: ['stentorctl drops', 'stentorctl drops -o wide', 'stentorctl drops --watch', 'stentorctl drops --watch -o jsonl'],
    load: async () => (await import('./verbs/drops.js')).drops,
  },
  {
    path: 'why', summary: 'every gate that a flow meets in the datapath, and the first that is closed, with the policy and a next step; exit code 1 when one is',
    args: [['<source>', 'a pod (namespace/name) or an address'], ['<destination>', 'the same'], ['[port]', '80/TCP, 53/UDP, 8/ICMP (default: an echo)']],
    options: [['--peer <bpf-root[,socket]>', 'another node’s maps and agent, to look at both ends', 'repeat']],
    examples: ['stentorctl why default/client default/server 80/TCP', 'stentorctl why default/client 20.1.1.1 443/TCP -o json'],
    load: async () => (await import('./verbs/why.js')).why,
  },
  {
    path: 'datapath run', summary: 'packets of a pcap through the datapath’s programs, on maps filled from a state (root)',
    options: [
      ['--program <name>', 'from-container, to-container, from-overlay, to-overlay, from-netdev, to-netdev'], ['--state <file>', 'what `policy compile -o json` prints; `datapath` in it is the node'],
      ['--pcap <file>', 'packets to run, in order'], ['--out <file>', 'what became of those that were not dropped'], ['--node <name>', 'whose endpoints are local (default: the state’s, or the first endpoint’s)'],
    ],
    examples: ['stentorctl datapath run --program from-container --state state.json --pcap in.pcap --out out.pcap -o json'],
    load: async () => (await import('./datapath/run.js')).run,
  },
  {
    path: 'monitor', summary: 'drops, policy verdicts and traces as they happen',
    options: [
      ['-t, --types <list>', 'drop, trace, policy-verdict (default: all)'], ['--type <list>', 'the same'], ['--endpoint <number>', 'only this endpoint'],
      ['--identity <number>', 'only packets from or to this identity'], ['--ip <address>', 'only packets from or to this address'], ['--pod <namespace/name>', 'only packets from or to this pod'],
    ],
    examples: ['stentorctl monitor --types drop', 'stentorctl monitor --pod default/server -o jsonl'],
    load: async () => (await import('./verbs/monitor.js')).monitor,
  },
  {
    path: 'state get', summary: 'the desired state that this node holds', examples: ['stentorctl state get -o yaml'],
    load: async () => (await import('./verbs/state.js')).get,
  },
  {
    path: 'state diff', summary: 'where the kernel differs from the desired state; exit code 1 when it does', examples: ['stentorctl state diff'],
    load: async () => (await import('./verbs/state.js')).diff,
  },
  {
    path: 'policy status', summary: 'policies in the cluster: valid, enforced; exit code 1 when one is not', options: [['-n, --namespace <name>', 'only this namespace']],
    examples: ['stentorctl policy status', 'stentorctl policy status -n default -o json'],
    load: async () => (await import('./verbs/policy-status.js')).status,
  },
  ...POLICY_VERBS,
  {
    path: 'completion', summary: 'a completion script for the shell', args: [['[shell]', 'bash (default), zsh or fish']],
    examples: ['source <(stentorctl completion bash)', 'stentorctl completion fish > ~/.config/fish/completions/stentorctl.fish'],
    load: async () => (await import('./verbs/completion.js')).completion,
  },
];
