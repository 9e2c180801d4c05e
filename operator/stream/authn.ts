// Which node a client is: the name in its certificate, never what its messages say.

import type {PeerCertificate} from 'node:tls';
import {StentorError} from '../../lib/core/errors.js';
import {NODE_CN_PREFIX, NODE_ORGANISATION} from '../../lib/run/certificate.js';

const NODE_NAME = /^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$/;

export function isNodeName(text: string): boolean {
  return NODE_NAME.test(text);
}

/** Throws `NOT_A_NODE` when the certificate, which TLS has already verified, is not that of a node. */
export function nodeOfCertificate(certificate: PeerCertificate | undefined): string {
  const subject = certificate?.subject as {readonly CN?: string | string[]; readonly O?: string | string[]} | undefined;
  const {CN: name, O: organisation} = subject ?? {};
  if (typeof name !== 'string' || !name.startsWith(NODE_CN_PREFIX)) {
    throw new StentorError('NOT_A_NODE', `the client certificate is not that of a node: CN is ${JSON.stringify(name ?? null)}, not ${NODE_CN_PREFIX}NAME`);
  }
  const organisations = Array.isArray(organisation) ? organisation : [organisation];
  if (!organisations.includes(NODE_ORGANISATION)) throw new StentorError('NOT_A_NODE', `the client certificate of ${name} lacks O=${NODE_ORGANISATION}`);
  const node = name.slice(NODE_CN_PREFIX.length);
  if (!isNodeName(node)) throw new StentorError('NOT_A_NODE', `not a node name: ${JSON.stringify(node)}`);
  return node;
}
