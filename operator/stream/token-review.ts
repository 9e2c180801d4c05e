// Which node a token speaks for: the API server says so, for a token that is bound to a pod of the agents' service account.

import {StentorError} from '../../lib/core/errors.js';
import type {KubeClient} from '../../lib/kube/client.js';
import {isRecord} from '../../lib/kube/object.js';
import {collectionPath, RESOURCES} from '../../lib/kube/resources.js';
import {isNodeName} from './authn.js';

export interface TokenReviewOptions {
  readonly audience: string;
  readonly serviceAccount: {readonly namespace: string; readonly name: string};
}

/** Kubernetes 1.30 and newer. */
const NODE_NAME_KEY = 'authentication.kubernetes.io/node-name';
/** A token is far smaller; the API server is not asked about anything larger. */
const TOKEN_BYTES_MAX = 16_384;

/** Throws `TOKEN_REFUSED`, `WRONG_SERVICE_ACCOUNT`, or `API_UNREACHABLE` when it cannot be known now. */
export async function nodeOfToken(options: TokenReviewOptions, client: KubeClient, token: string, signal: AbortSignal): Promise<string> {
  if (token === '' || token.length > TOKEN_BYTES_MAX) throw new StentorError('TOKEN_REFUSED', 'there is no token');
  const {audience, serviceAccount} = options;
  const status = await review(client, {token, audiences: [audience]}, signal);
  const audiences = Array.isArray(status['audiences']) ? status['audiences'] : [];
  if (status['authenticated'] !== true || !audiences.includes(audience)) {
    const reason = typeof status['error'] === 'string' && status['error'] !== '' ? `: ${status['error']}` : '';
    throw new StentorError('TOKEN_REFUSED', `the API server does not accept the token for the audience ${audience}${reason}`);
  }
  const user = isRecord(status['user']) ? status['user'] : {};
  const expected = `system:serviceaccount:${serviceAccount.namespace}:${serviceAccount.name}`;
  if (user['username'] !== expected) {
    throw new StentorError('WRONG_SERVICE_ACCOUNT', `the token is that of ${String(user['username'])}, not of ${expected}`, {username: user['username']});
  }
  const extra = isRecord(user['extra']) ? user['extra'][NODE_NAME_KEY] : undefined;
  const [node, ...more] = Array.isArray(extra) ? extra as readonly unknown[] : [];
  if (typeof node !== 'string' || more.length > 0 || !isNodeName(node)) {
    throw new StentorError('TOKEN_REFUSED', 'the token names no node: it is not bound to a pod, or the API server is older than 1.30');
  }
  return node;
}

async function review(client: KubeClient, spec: {readonly token: string; readonly audiences: readonly string[]}, signal: AbortSignal): Promise<Readonly<Record<string, unknown>>> {
  const {apiVersion, kind} = RESOURCES.TokenReview;
  let answer: unknown;
  try {
    answer = await client.createJson(collectionPath(RESOURCES.TokenReview), {apiVersion, kind, spec}, signal);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new StentorError('API_UNREACHABLE', `the API server cannot be asked about the token: ${reason}`, {}, {cause: error});
  }
  return isRecord(answer) && isRecord(answer['status']) ? answer['status'] : {};
}
