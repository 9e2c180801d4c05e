// Pod → PodFact.

import {PROTOCOL_NUMBERS} from '../../../lib/domain/policy.js';
import type {KubeObject} from '../../watch/feed-types.js';
import type {NamedPort, PodFact} from '../facts.js';
import {list, number, record, sharedStringMap, sharedText, text} from './json.js';

export function decodePod(object: KubeObject): PodFact {
  const spec = record(object['spec']);
  const phase = text(record(object['status'])['phase']);
  const nodeName = sharedText(spec['nodeName']);
  return {
    namespace: sharedText(object.metadata.namespace),
    name: object.metadata.name,
    uid: object.metadata.uid ?? '',
    labels: sharedStringMap(object.metadata.labels),
    serviceAccount: sharedText(spec['serviceAccountName']),
    nodeName: nodeName === '' ? null : nodeName,
    hostNetwork: spec['hostNetwork'] === true,
    ended: phase === 'Succeeded' || phase === 'Failed',
    namedPorts: namedPorts(spec),
  };
}

const NO_PORTS: Readonly<Record<string, NamedPort>> = {};

/** The first container that has the name wins, as in Kubernetes' endpoint controller. */
function namedPorts(spec: Readonly<Record<string, unknown>>): Readonly<Record<string, NamedPort>> {
  const ports: Record<string, NamedPort> = {};
  for (const container of [...list(spec['initContainers']), ...list(spec['containers'])]) {
    for (const item of list(record(container)['ports'])) {
      const {name, containerPort, protocol} = record(item);
      const key = text(name).toLowerCase();
      const port = number(containerPort);
      if (key === '' || port === null || Object.hasOwn(ports, key)) continue;
      ports[key] = {port, protocol: protocolNumber(text(protocol))};
    }
  }
  return Object.keys(ports).length === 0 ? NO_PORTS : ports;
}

function protocolNumber(name: string): number {
  if (name === 'UDP') return PROTOCOL_NUMBERS.UDP;
  return name === 'SCTP' ? PROTOCOL_NUMBERS.SCTP : PROTOCOL_NUMBERS.TCP;
}
