// The matrix as data: parties in order, and for each pair everything, something or nothing.

import {Reachability, partiesOf, type Party} from '../../lib/policy/compare.js';
import type {CompiledCluster} from '../../lib/policy/offline.js';
import {partyText} from './names.js';

export interface MatrixParty {
  readonly name: string;
  /** Of pods. */
  readonly namespace: string;
  readonly label: string;
  readonly pods: readonly string[];
}

export interface Matrix {
  /** Rows are sources, columns destinations; the same parties in the same order. */
  readonly parties: readonly MatrixParty[];
  /** Distinct reaches; the first one is `none`, the second one `all`. */
  readonly reaches: readonly string[];
  /** By row and column an index of `reaches`; -1 where neither end is a pod. */
  readonly cells: readonly (readonly number[])[];
}

/** `byPod`: a row for each pod instead of one for all that cannot be told apart. */
export function matrixOf(cluster: CompiledCluster, byPod: boolean): Matrix {
  const all = partiesOf([cluster]);
  const parties = byPod ? all.flatMap((party) => (party.kind === 'pods' ? party.pods.map((pod): Party => ({...party, name: pod, pods: [pod]})) : [party])) : all;
  const reachability = new Reachability(cluster);
  const numbers = new Map<string, number>([['none', 0], ['all', 1]]);
  const number = (text: string): number => {
    const known = numbers.get(text) ?? numbers.size;
    numbers.set(text, known);
    return known;
  };
  const cells = parties.map((source) => parties.map((destination) =>
    (source.kind !== 'pods' && destination.kind !== 'pods' ? -1 : number(reachability.reach(source, destination).text))));
  return {parties: parties.map((party) => matrixParty(party, cluster, byPod)), reaches: [...numbers.keys()], cells};
}

function matrixParty(party: Party, cluster: CompiledCluster, byPod: boolean): MatrixParty {
  const [first = ''] = party.pods;
  const namespace = cluster.endpoints.get(first)?.endpoint.namespace ?? '';
  const label = byPod || party.kind !== 'pods' ? party.name : `${partyText(party, [cluster])}${party.pods.length > 1 ? ` ×${party.pods.length}` : ''}`;
  return {name: party.name, namespace, label, pods: party.pods};
}
