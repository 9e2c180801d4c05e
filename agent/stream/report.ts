// What the agent tells the operator: plain values of ours → messages of `session.proto`.

import type {stentor} from '../../proto/gen/session.js';

export type AgentMessage = stentor.v1.AgentMessage.$Properties;

/** Something that is desired and not so. Ends in an acknowledgement, in `/v1/status` and in a metric. */
export interface ApplyError {
  /** A kind of resource; of one that could not be decoded, whatever the operator called it. */
  readonly kind: string;
  readonly key: string;
  readonly code: string;
  readonly message: string;
}

export interface NodeReport {
  readonly devices: readonly string[];
  /** Of the devices, without lengths. */
  readonly addresses: readonly string[];
  readonly routerAddress: string;
  readonly routerMac: string;
  readonly kernel: string;
  /** Names of what is available. */
  readonly features: readonly string[];
}

export interface EndpointReport {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly containerId: string;
  readonly endpointId: number;
  readonly addresses: readonly string[];
  readonly identity: number;
  readonly state: 'creating' | 'ready' | 'disconnected';
}

export interface PeerReport {
  readonly instance: string;
  readonly localAsn: number;
  readonly address: string;
  readonly peerAsn: number;
  readonly session: string;
  readonly reason: string;
  readonly received: number;
  readonly advertised: number;
  readonly uptimeSeconds: number;
}

/** A message of an apply error is cut here: one broken object must not fill the stream. */
const MESSAGE_LENGTH_MAX = 1024;

export function ackMessage(sequence: number, version: string, errors: readonly ApplyError[]): AgentMessage {
  return {ack: {sequence, version, errors: errors.map((error) => ({...error, message: error.message.slice(0, MESSAGE_LENGTH_MAX)}))}};
}

export function nodeMessage(report: NodeReport): AgentMessage {
  return {nodeReport: {...report, devices: [...report.devices], addresses: [...report.addresses], features: [...report.features]}};
}

export function endpointMessage(report: EndpointReport): AgentMessage {
  return {endpointReport: {...report, addresses: [...report.addresses]}};
}

export function peersMessage(peers: readonly PeerReport[]): AgentMessage {
  return {peerReport: {peers: [...peers]}};
}
