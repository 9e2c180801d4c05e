// What the agent tells the operator: plain values of ours → messages of `session.proto`.

import type {ApplyError, EndpointReport, NodeReport, PeerReport} from '../../lib/domain/reports.js';
import type {stentor} from '../../proto/gen/session.js';

export type AgentMessage = stentor.v1.AgentMessage.$Properties;

/** With the identity that the kernel enforces: the operator knows better which it should be. */
export interface PodReport extends EndpointReport {
  readonly identity: number;
}

/** A message of an apply error is cut here: one broken object must not fill the stream. */
const MESSAGE_LENGTH_MAX = 1024;

export function ackMessage(sequence: number, version: string, errors: readonly ApplyError[]): AgentMessage {
  return {ack: {sequence, version, errors: errors.map((error) => ({...error, message: error.message.slice(0, MESSAGE_LENGTH_MAX)}))}};
}

export function nodeMessage(report: NodeReport): AgentMessage {
  return {nodeReport: {...report, routerAddress: report.routerAddress ?? '', routerAddress6: report.routerAddress6 ?? '', devices: [...report.devices], addresses: [...report.addresses], features: [...report.features]}};
}

export function endpointMessage(report: PodReport): AgentMessage {
  return {endpointReport: {...report, addresses: [...report.addresses]}};
}

export function peersMessage(peers: readonly PeerReport[]): AgentMessage {
  return {peerReport: {peers: peers.map((peer) => ({...peer, families: [...peer.families]}))}};
}
