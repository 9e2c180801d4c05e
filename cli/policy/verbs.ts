// The policy verbs: offline on manifests, or on the cluster of the current kubeconfig when no path is given.

import type {VerbSpec} from '../context.js';

const CONFIG = ['--config <file>', 'the operator’s options, or a ConfigMap such as cilium-config: enable-policy, allow-localhost, cluster-name, …'] as const;
const NAMES = ['--names <file>', 'what DNS answers, for toFQDNs: YAML or JSON, addresses by name'] as const;
const INPUT = ['--input <path...>', 'manifests: files, folders, - (default: the cluster)'] as const;
const INPUTS = ['--input <path>', 'manifests: file, folder, -; may be repeated (default: the cluster)', 'repeat'] as const;
const PATHS = ['[path...]', 'manifests: files, folders, - (default: the cluster)'] as const;

export const POLICY_VERBS: readonly VerbSpec[] = [
  {
    path: 'policy validate', summary: 'schema, semantics and lint of policies, each finding with file:line and a fix; exit code 1 when there is one',
    args: [PATHS], options: [INPUT, CONFIG, ['--least <severity>', 'what counts for the exit code: error, warning (default) or note']],
    examples: ['stentorctl policy validate policies/', 'kustomize build . | stentorctl policy validate -', 'stentorctl policy validate policies/ -o sarif > policies.sarif'],
    formats: ['sarif', 'junit'],
    load: async () => (await import('./validate.js')).validate,
  },
  {
    path: 'policy compile', summary: 'identities, ipcache and the policy map entries of every endpoint, with the rule behind each', args: [PATHS],
    options: [INPUT, CONFIG, NAMES, ['--node <name>', 'only the endpoints of this node']],
    examples: ['stentorctl policy compile --input cluster/ -o json', 'stentorctl policy compile --input cluster/ --node node1 -o yaml'],
    load: async () => (await import('./compile.js')).compile,
  },
  {
    path: 'policy verdict', summary: 'what happens to flows: one line of JSON in, one out', args: [PATHS],
    options: [INPUT, CONFIG, NAMES, ['--flows <file>', 'JSON lines: {"src":{"pod":"ns/name"},"dst":{"ip":"10.0.0.1"},"protocol":"TCP","port":443}; - for standard input']],
    examples: [
      'stentorctl policy verdict --input cluster/ --flows flows.jsonl',
      'echo \'{"src":{"pod":"default/client"},"dst":{"pod":"default/web"},"protocol":"TCP","port":80}\' | stentorctl policy verdict --input cluster/ --flows -',
    ],
    load: async () => (await import('./verdict.js')).verdict,
  },
  {
    path: 'policy explain', summary: 'why a flow is let through or not: both directions, the rules with file:line, the nearest miss and the change that would allow it',
    args: [['<src>', 'pod (ns/name), address, entity or #identity'], ['<dst>', 'the same'], ['[port/proto]', '80/TCP, 53/UDP, ICMP/8; without it everything that passes']],
    options: [INPUTS, CONFIG, NAMES, ['-n, --namespace <name>', 'of pods that are named without one']],
    examples: ['stentorctl policy explain shop/frontend shop/db 5432/TCP --input cluster/', 'stentorctl policy explain shop/api world 443/TCP', 'stentorctl policy explain shop/frontend shop/api'],
    load: async () => (await import('./explain.js')).explain,
  },
  {
    path: 'policy test', summary: 'assertions in YAML beside the manifests: from, to, ports, expect: allow|deny, because: policy; exit code 1 when one fails',
    args: [['[dir...]', 'manifests and assertions: files, folders, -']], options: [INPUT, CONFIG, NAMES], formats: ['junit'],
    examples: ['stentorctl policy test policies/', 'stentorctl policy test policies/ -o junit > results.xml', 'stentorctl policy test --input cluster/ tests/'],
    load: async () => (await import('./test.js')).test,
  },
  {
    path: 'policy diff', summary: 'who gains and who loses access between two folders or git revisions, by label sets; exit code 1 when anybody does',
    args: [['<a>', 'folder, file or revision; or a range such as main..HEAD'], ['[b]', 'the same']],
    options: [CONFIG, NAMES, ['--input <path>', 'objects that both sides have (pods, namespaces, nodes); may be repeated', 'repeat'], ['--path <folder>', 'where the manifests are in a revision (default: .); may be repeated', 'repeat']],
    examples: ['stentorctl policy diff main..HEAD --path policies', 'stentorctl policy diff policies-before/ policies-after/ --input cluster/', 'stentorctl policy diff HEAD policies/ --path policies'],
    load: async () => (await import('./diff.js')).diff,
  },
  {
    path: 'policy coverage', summary: 'pods that nothing isolates, and rules that do nothing; exit code 1 when there are any', args: [PATHS], options: [INPUT, CONFIG],
    examples: ['stentorctl policy coverage cluster/', 'stentorctl policy coverage -o json'],
    load: async () => (await import('./coverage.js')).coverage,
  },
  {
    path: 'policy show', summary: 'the rules in force for one pod, with file:line; or the entries of its policy map', args: [['<pod>', 'namespace/name']],
    options: [INPUTS, CONFIG, NAMES, ['--compiled', 'the entries of the policy map'], ['-n, --namespace <name>', 'of a pod that is named without one']],
    examples: ['stentorctl policy show shop/api --input cluster/', 'stentorctl policy show shop/api --compiled'],
    load: async () => (await import('./show.js')).show,
  },
  {
    path: 'policy matrix', summary: 'a picture of who may talk to whom, for the terminal or (-o html, -o svg) for a browser', args: [PATHS],
    options: [INPUT, CONFIG, NAMES, ['--by-pod', 'a row for each pod instead of one for all that are alike']], formats: ['html', 'svg'],
    examples: ['stentorctl policy matrix cluster/', 'stentorctl policy matrix -o html > matrix.html'],
    load: async () => (await import('./matrix.js')).matrix,
  },
];
