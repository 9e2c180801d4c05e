// The recipes: manifests of the policies that people write, in the order of their page, each with some flows judged by hand.

import {readFileSync, readdirSync} from 'node:fs';
import {join} from 'node:path';
import type {KubeObject} from '../../lib/kube/object.js';
import {parseManifests} from '../harness/pod-store.js';
import {ROOT} from '../harness/run-dir.js';

export const RECIPES_PAGE = join(ROOT, 'docs', 'recipes.md');
const FOLDER = 'e2e/manifests/recipes';
/** Namespaces and pods. */
export const RECIPES_CLUSTER = join(ROOT, FOLDER, 'cluster');

export interface Recipe {
  readonly name: string;
  readonly title: string;
  /** One sentence or two. */
  readonly says: string;
  /** File. */
  readonly path: string;
  /** Its text without the head. */
  readonly manifest: string;
  readonly objects: readonly KubeObject[];
  /** Flows of the table, so that a mistake which library and datapath share shows. */
  readonly allowed: readonly string[];
  readonly denied: readonly string[];
}

/** Flows are `FROM -> TO PROTOCOL/PORT…`, several ports by commas. */
type ByHand = readonly [name: string, flows: {readonly allowed: readonly string[]; readonly denied: readonly string[]}];

const CHAPTERS: readonly (readonly [title: string, recipes: readonly ByHand[]])[] = [
  ['Deny and isolate', [
    ['deny-all-ingress', {
      // Its own host enters an isolated pod (allow-localhost); another node does not.
      allowed: ['shop/api -> edge/vpn TCP/8080', 'node1 -> shop/frontend TCP/8080', 'shop/db -> world UDP/53'],
      denied: ['shop/api -> shop/db TCP/8080,UDP/53,ICMP/8', 'edge/ingress -> shop/frontend TCP/53', 'node1 -> shop/api ICMP/8', 'world -> shop/db UDP/8080'],
    }],
    ['deny-all-egress', {
      allowed: ['edge/ingress -> shop/frontend TCP/8080', 'world -> shop/api UDP/53', 'node3 -> shop/batch ICMP/8'],
      denied: ['shop/api -> shop/db TCP/8080', 'shop/frontend -> kube-system/coredns UDP/53', 'shop/batch -> world TCP/53', 'shop/frontend -> node1 ICMP/8', 'shop/api -> apiserver TCP/6443'],
    }],
    ['deny-all', {
      allowed: ['edge/vpn -> shop/frontend TCP/53', 'shop/frontend -> world UDP/8080', 'shop/frontend -> edge/debug ICMP/8'],
      denied: ['shop/frontend -> shop/api TCP/8080', 'shop/api -> shop/frontend TCP/8080', 'edge/vpn -> shop/db TCP/53', 'shop/db -> kube-system/coredns UDP/53'],
    }],
    ['same-namespace', {
      allowed: ['shop/frontend -> shop/db TCP/53,UDP/8080,ICMP/8', 'shop/api -> edge/ingress TCP/8080', 'edge/vpn -> edge/debug TCP/53'],
      denied: ['edge/ingress -> shop/frontend TCP/8080', 'kube-system/metrics -> shop/api TCP/8080', 'world -> shop/batch TCP/53', 'node1 -> shop/db TCP/53'],
    }],
    ['namespace-and-dns', {
      allowed: ['shop/batch -> shop/db TCP/8080', 'shop/api -> kube-system/coredns UDP/53,TCP/53', 'edge/vpn -> world TCP/53'],
      denied: ['shop/api -> kube-system/coredns TCP/8080,ICMP/8', 'shop/api -> kube-system/metrics UDP/53', 'shop/frontend -> edge/ingress TCP/8080', 'edge/vpn -> shop/api TCP/53'],
    }],
    ['baseline', {
      allowed: ['edge/debug -> kube-system/coredns UDP/53', 'kube-system/coredns -> world UDP/53', 'kube-system/metrics -> kube-system/coredns ICMP/8', 'node3 -> edge/debug TCP/53'],
      denied: ['shop/frontend -> shop/api TCP/8080', 'kube-system/metrics -> shop/api TCP/8080', 'edge/ingress -> world TCP/8080', 'edge/vpn -> kube-system/coredns UDP/8080'],
    }],
    ['quarantine', {
      allowed: ['edge/ingress -> edge/vpn TCP/8080', 'shop/batch -> world TCP/53', 'node3 -> shop/batch TCP/53'],
      denied: ['edge/debug -> kube-system/coredns UDP/53', 'shop/batch -> edge/debug TCP/8080', 'edge/debug -> world TCP/53', 'node3 -> edge/debug ICMP/8', 'world -> edge/debug UDP/53'],
    }],
  ]],
  ['From whom', [
    ['from-ingress-namespace', {
      allowed: ['edge/ingress -> shop/frontend TCP/8080', 'edge/vpn -> shop/frontend TCP/8080', 'shop/api -> shop/db TCP/53'],
      denied: ['edge/ingress -> shop/frontend TCP/53,UDP/8080,ICMP/8', 'shop/api -> shop/frontend TCP/8080', 'world -> shop/frontend TCP/8080'],
    }],
    ['namespace-and-pod', {
      allowed: ['kube-system/metrics -> shop/db TCP/53,UDP/53,ICMP/8'],
      denied: ['kube-system/coredns -> shop/db TCP/53', 'shop/api -> shop/db TCP/53', 'edge/vpn -> shop/db TCP/8080'],
    }],
    ['namespace-or-pod', {
      allowed: ['kube-system/metrics -> shop/db TCP/53', 'kube-system/coredns -> shop/db UDP/8080', 'shop/api -> shop/db TCP/8080'],
      denied: ['shop/frontend -> shop/db TCP/53', 'edge/ingress -> shop/db TCP/8080', 'node1 -> shop/db TCP/53'],
    }],
    ['any-pod', {
      allowed: ['edge/vpn -> shop/api TCP/8080', 'kube-system/coredns -> shop/frontend ICMP/8', 'world -> edge/ingress TCP/8080'],
      denied: ['world -> shop/api TCP/8080', 'node1 -> shop/batch UDP/53'],
    }],
    ['expressions', {
      allowed: ['shop/frontend -> shop/api TCP/8080', 'shop/api -> shop/db UDP/53', 'shop/api -> shop/batch ICMP/8', 'edge/vpn -> shop/frontend TCP/53'],
      denied: ['shop/batch -> shop/api TCP/8080', 'shop/db -> shop/api TCP/53', 'edge/ingress -> shop/db TCP/53'],
    }],
    ['service-account', {
      allowed: ['shop/api -> shop/db TCP/8080'],
      denied: ['shop/frontend -> shop/db TCP/8080', 'kube-system/metrics -> shop/db TCP/53', 'world -> shop/db TCP/53'],
    }],
    ['namespace-labels', {
      allowed: ['edge/ingress -> shop/db TCP/8080', 'edge/debug -> shop/db ICMP/8'],
      denied: ['shop/api -> shop/db TCP/8080', 'kube-system/coredns -> shop/db UDP/53', 'world -> shop/db TCP/53'],
    }],
    ['from-nodes', {
      allowed: ['node1 -> shop/frontend TCP/8080', 'node1 -> shop/db ICMP/8', 'node3 -> shop/api UDP/53', 'shop/api -> edge/vpn TCP/53'],
      denied: ['shop/api -> shop/db TCP/8080', 'kube-system/metrics -> shop/api TCP/53', 'world -> shop/frontend TCP/8080'],
    }],
    ['reserved-labels', {
      allowed: ['world -> edge/ingress TCP/8080', 'node3 -> edge/ingress UDP/53', 'node1 -> edge/ingress TCP/53'],
      denied: ['shop/frontend -> edge/ingress TCP/8080', 'edge/vpn -> edge/ingress ICMP/8'],
    }],
    ['deny-over-allow', {
      allowed: ['shop/frontend -> shop/api TCP/8080', 'world -> shop/api UDP/53', 'shop/batch -> shop/db TCP/53', 'node3 -> shop/api ICMP/8'],
      denied: ['shop/batch -> shop/api TCP/8080,UDP/53,ICMP/8'],
    }],
    ['deny-without-isolation', {
      allowed: ['edge/ingress -> shop/db TCP/53', 'edge/vpn -> shop/api TCP/8080', 'world -> shop/db ICMP/8'],
      denied: ['edge/vpn -> shop/db TCP/53,UDP/8080,ICMP/8'],
    }],
  ]],
  ['To whom', [
    ['dns-only', {
      allowed: ['shop/frontend -> kube-system/coredns UDP/53,TCP/53', 'edge/vpn -> shop/api TCP/8080', 'edge/vpn -> world TCP/8080'],
      denied: ['shop/frontend -> kube-system/coredns UDP/8080,ICMP/8', 'shop/frontend -> kube-system/metrics UDP/53', 'shop/api -> shop/db TCP/53', 'shop/batch -> world UDP/53'],
    }],
    ['allow-without-isolation', {
      allowed: ['shop/batch -> kube-system/coredns UDP/53,TCP/53', 'shop/api -> shop/batch TCP/8080', 'shop/api -> world TCP/53', 'edge/vpn -> shop/db ICMP/8'],
      denied: ['shop/batch -> kube-system/coredns TCP/8080', 'shop/batch -> shop/db TCP/53', 'shop/batch -> world UDP/53'],
    }],
    ['to-service', {
      allowed: ['shop/frontend -> shop/api TCP/8080,UDP/53,ICMP/8', 'shop/batch -> shop/db TCP/53'],
      denied: ['shop/frontend -> shop/db TCP/8080', 'shop/frontend -> kube-system/coredns UDP/53', 'shop/frontend -> world TCP/8080'],
    }],
    ['kube-apiserver', {
      allowed: ['kube-system/metrics -> apiserver TCP/6443', 'shop/api -> kube-system/metrics TCP/8080', 'kube-system/coredns -> apiserver TCP/6443'],
      denied: ['kube-system/metrics -> kube-system/coredns UDP/53', 'kube-system/metrics -> world TCP/8080', 'kube-system/metrics -> node1 ICMP/8'],
    }],
    ['world-only', {
      allowed: ['edge/vpn -> world TCP/8080,UDP/53,ICMP/8', 'edge/vpn -> 20.1.1.1 TCP/8080', 'edge/ingress -> shop/frontend TCP/8080', 'edge/vpn -> apiserver TCP/6443'],
      denied: ['edge/vpn -> shop/api TCP/8080', 'edge/vpn -> node1 ICMP/8', 'edge/vpn -> edge/ingress TCP/53', 'edge/vpn -> kube-system/coredns UDP/53'],
    }],
    ['cluster-only', {
      allowed: ['shop/api -> edge/vpn TCP/8080', 'shop/api -> apiserver TCP/6443', 'shop/frontend -> node3 ICMP/8', 'node1 -> shop/db TCP/53', 'kube-system/coredns -> world UDP/53'],
      denied: ['shop/api -> world TCP/8080', 'world -> edge/ingress TCP/8080', 'edge/vpn -> 20.1.1.1 TCP/53'],
    }],
    ['internet-only', {
      allowed: ['shop/batch -> 20.1.1.1 TCP/8080', 'shop/batch -> 20.1.1.2 TCP/53', 'shop/api -> world TCP/8080'],
      denied: ['shop/batch -> 10.96.0.1 TCP/8080', 'shop/batch -> world TCP/8080', 'shop/batch -> shop/api TCP/8080', 'shop/batch -> kube-system/coredns UDP/53', 'shop/batch -> node3 ICMP/8'],
    }],
    ['cidr-except', {
      allowed: ['shop/api -> 20.1.1.1 TCP/8080', 'shop/api -> 10.96.0.1 TCP/53', 'shop/db -> 10.112.0.1 TCP/53'],
      // The pods' addresses are in 10.98.0.0/16, the nodes' in 10.1.0.0/16.
      denied: ['shop/api -> 20.1.1.2 TCP/8080', 'shop/api -> 10.112.0.1 TCP/53', 'shop/api -> shop/db TCP/53', 'shop/api -> node1 ICMP/8', 'shop/api -> world TCP/8080'],
    }],
    ['cidr-group', {
      allowed: ['shop/api -> 20.1.1.2 TCP/8080', 'shop/api -> 10.96.0.1 TCP/53', 'shop/db -> 20.1.1.1 TCP/53'],
      denied: ['shop/api -> 20.1.1.1 TCP/8080', 'shop/api -> 10.112.0.1 TCP/53', 'shop/api -> shop/db TCP/53'],
    }],
    ['block-address', {
      allowed: ['shop/api -> 20.1.1.1 TCP/8080', 'edge/vpn -> world TCP/53', 'shop/frontend -> shop/db ICMP/8', 'edge/ingress -> shop/frontend TCP/8080'],
      denied: ['shop/api -> 20.1.1.2 TCP/8080', 'kube-system/coredns -> 20.1.1.2 TCP/53', 'edge/debug -> 20.1.1.2 TCP/53'],
    }],
    ['from-cidr', {
      allowed: ['world -> shop/frontend TCP/8080', 'world -> shop/api TCP/53'],
      denied: ['world -> shop/frontend TCP/53,UDP/8080,ICMP/8', 'shop/api -> shop/frontend TCP/8080', 'node3 -> shop/frontend TCP/8080'],
    }],
  ]],
  ['On which ports', [
    ['port-range', {
      allowed: ['edge/vpn -> shop/api TCP/8080', 'world -> shop/frontend TCP/8080', 'shop/api -> edge/vpn UDP/53'],
      denied: ['edge/vpn -> shop/api TCP/53,UDP/8080,ICMP/8', 'shop/frontend -> shop/db UDP/53'],
    }],
    ['deny-low-ports', {
      allowed: ['shop/frontend -> shop/db TCP/8080,UDP/8080,ICMP/8', 'world -> shop/api TCP/8080', 'shop/api -> kube-system/coredns UDP/53'],
      // A deny of a port for everybody is one for the pod's own node, too.
      denied: ['shop/frontend -> shop/db TCP/53,UDP/53', 'world -> shop/api UDP/53', 'node3 -> shop/batch TCP/53'],
    }],
    ['named-port', {
      allowed: ['shop/frontend -> shop/api TCP/8080', 'shop/frontend -> shop/db TCP/53', 'shop/api -> edge/vpn TCP/53'],
      denied: ['shop/frontend -> shop/api TCP/53,UDP/8080', 'shop/frontend -> shop/db TCP/8080,ICMP/8', 'edge/ingress -> shop/api TCP/8080'],
    }],
    ['named-port-egress', {
      allowed: ['shop/api -> shop/frontend TCP/8080', 'shop/api -> shop/db TCP/53', 'shop/db -> shop/api TCP/53'],
      denied: ['shop/api -> shop/frontend TCP/53', 'shop/api -> shop/db TCP/8080', 'shop/api -> edge/ingress TCP/8080', 'shop/api -> kube-system/coredns UDP/53'],
    }],
    ['ping-only', {
      allowed: ['edge/vpn -> shop/api ICMP/8', 'world -> shop/db ICMP/8', 'shop/api -> edge/vpn TCP/53'],
      denied: ['edge/vpn -> shop/api TCP/8080', 'shop/api -> shop/db UDP/53', 'world -> shop/db TCP/53'],
    }],
    ['tiers', {
      allowed: ['edge/ingress -> shop/frontend TCP/8080', 'shop/frontend -> shop/api TCP/8080', 'shop/api -> shop/db TCP/53', 'edge/vpn -> shop/batch TCP/53'],
      denied: ['edge/vpn -> shop/frontend TCP/8080', 'edge/ingress -> shop/api TCP/8080', 'shop/frontend -> shop/db TCP/53', 'shop/api -> shop/db TCP/8080', 'shop/frontend -> shop/api TCP/53'],
    }],
  ]],
];

export function readRecipes(): readonly Recipe[] {
  return CHAPTERS.flatMap(([, recipes]) => recipes.map(readRecipe));
}

/** Manifests that no chapter names. */
export function forgottenManifests(): readonly string[] {
  const named = new Set(CHAPTERS.flatMap(([, recipes]) => recipes.map(([name]) => `${name}.yaml`)));
  return readdirSync(join(ROOT, FOLDER)).filter((file) => file.endsWith('.yaml') && !named.has(file));
}

function readRecipe([name, {allowed, denied}]: ByHand): Recipe {
  const path = join(ROOT, FOLDER, `${name}.yaml`);
  const [title = '', says = '', ...manifest] = readFileSync(path, 'utf8').split('\n');
  if (!title.startsWith('# ') || !says.startsWith('# ')) throw new Error(`${name}.yaml does not begin with its title and what it says`);
  const text = manifest.join('\n');
  return {name, title: title.slice(2), says: says.slice(2), path, manifest: text, objects: parseManifests(text), allowed: spread(allowed), denied: spread(denied)};
}

function spread(flows: readonly string[]): readonly string[] {
  return flows.flatMap((flow) => {
    const end = flow.lastIndexOf(' ');
    return flow.slice(end + 1).split(',').map((l4) => `${flow.slice(0, end)} ${l4}`);
  });
}

/** docs/recipes.md as it has to be: written with UPDATE=1 by the test that compares it. */
export function recipesPage(): string {
  const chapters = CHAPTERS.map(([title, recipes]) => {
    const sections = recipes.map(readRecipe).map((recipe) => `### ${recipe.title}\n\n${recipe.says}\n\n\`\`\`yaml\n# ${recipe.name}.yaml\n${recipe.manifest}\`\`\`\n`);
    return `## ${title}\n\n${sections.join('\n')}`;
  });
  return `${PAGE_HEAD}\n${chapters.join('\n')}`;
}

const PAGE_HEAD = `# Recipes

Policies that people write, ready to copy. They lie in [${FOLDER}](../${FOLDER}), and an end-to-end test applies each of them to a cluster with
[nine pods](../${FOLDER}/cluster/pods.yaml) in the namespaces shop, edge and kube-system. There every packet, between all pods and from and to nodes, the API server and the world,
has to do what \`stentorctl policy verdict\` says. To see what a recipe does, without a cluster:

    stentorctl policy matrix --by-pod ${FOLDER}/cluster ${FOLDER}/same-namespace.yaml

What to know first: a pod is open in a direction until a policy selects it there, then everything that no policy allows is denied; policies add up, a deny beats every allow;
answers always pass; a pod's own node enters it unless a rule denies that; a denied packet gets no answer.
`;
