// How an address of the operator is reached: whose certificate is believed, which name is sent, and what this node shows of itself.

import {isIP} from 'node:net';
import {checkServerIdentity} from 'node:tls';
import * as grpc from '@grpc/grpc-js';
import {StentorError} from '../../lib/core/errors.js';

export interface ChannelKeys {
  readonly ca: Buffer;
  /** null: this node has none yet. */
  readonly cert: Buffer | null;
  readonly key: Buffer | null;
}

/** What is sent as the server's name when it is reached by address. */
const SERVER_NAME = 'stentor-operator';

/** `serverName`: in the operator's certificate; empty = the host of the address. */
export function operatorChannel(address: string, serverName: string, {ca, cert, key}: ChannelKeys): {readonly credentials: grpc.ChannelCredentials; readonly options: grpc.ChannelOptions} {
  const name = serverName === '' ? hostOf(address).replace(/^\[|\]$/g, '') : serverName;
  return {
    credentials: grpc.credentials.createSsl(ca, key, cert, {checkServerIdentity: (_host, peer) => checkServerIdentity(name, peer)}),
    options: {
      'grpc.use_local_subchannel_pool': 1,
      // An address must not be sent as a server name (RFC 6066): the certificate is checked against `name` all the same.
      'grpc.ssl_target_name_override': isIP(name) === 0 ? name : SERVER_NAME,
    },
  };
}

/** Of `host:port` or `[host]:port`. */
export function hostOf(address: string): string {
  return address.slice(0, address.lastIndexOf(':'));
}

export function callError(what: string, error: Error & {readonly code?: number; readonly details?: string}, address: string): StentorError {
  const name = error.code === undefined ? 'UNKNOWN' : (grpc.status[error.code] ?? 'UNKNOWN');
  return new StentorError(`GRPC_${name}`, `${what}: ${error.details ?? error.message}`, {address}, {cause: error});
}
