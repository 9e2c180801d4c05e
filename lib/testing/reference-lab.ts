// A random world of the reference as a lab of the engine.

import {PROTOCOL_NUMBERS} from '../domain/policy.js';
import type {Protocol} from '../domain/policy.js';
import {Labels} from '../domain/labels.js';
import {pod, type LabSpec} from './builders.js';
import type {RefWorld} from './reference-world.js';

function labelsOf(source: string, labels: Readonly<Record<string, string>>): Labels {
  return new Labels(Object.entries(labels).map(([key, value]) => ({source, key, value})));
}

export function protocolNumber(name: string): number {
  return PROTOCOL_NUMBERS[name as Protocol];
}

/** Addresses of a family that the world has not are left out. */
export function labSpecOf(world: RefWorld): LabSpec {
  const known = (ip: string): boolean => world.ipv6 || !ip.includes(':');
  return {
    pods: world.pods.map(({namespace, name, labels, ips, node, ports}) => {
      const [ip = '', ...moreIps] = ips.filter(known);
      const namedPorts = ports.map((port) => ({...port, protocol: protocolNumber(port.protocol)}));
      return pod(`${namespace}/${name}`, {labels, namespaceLabels: world.namespaces[namespace] ?? {}, ip, moreIps, node, namedPorts});
    }),
    hostPods: world.hostPods, nodes: world.nodes, policies: world.policies, mode: world.mode, allowLocalhost: world.allowLocalhost,
    apiServerAddresses: world.apiServers, families: {ipv4: true, ipv6: world.ipv6},
    groups: world.groups.map(({name, labels, cidrs}) => ({name, prefixes: cidrs, labels: labelsOf('cidrgroup', labels)})),
    services: world.services.map(({namespace, name, labels, selector}) => ({namespace, name, selector, labels: labelsOf('k8s', labels)})),
    backends: Object.fromEntries(world.services.map(({namespace, name, backends}) => [`${namespace}/${name}`, backends])),
    names: world.names,
  };
}
