// Tests only: key material of a small CA, made by the operator's own code.

import type {IssuedKeys} from '../../operator/stream/ca.js';
import {createCa, issueNode, issueServer, signNode} from '../../operator/stream/ca.js';

export interface Life {
  readonly nowMs: number;
  readonly validityMs: number;
}

export interface TestKeys {
  node(name: string, life?: Life): Promise<IssuedKeys>;
  server(names: readonly string[]): Promise<IssuedKeys>;
  /** As the operator answers a request. */
  sign(node: string, request: Uint8Array, life?: Life): Promise<Buffer>;
}

export type {IssuedKeys};

export async function makeTestCa(): Promise<TestKeys> {
  const options = {nowMs: Date.now(), validityMs: 86_400_000};
  const ca = await createCa(options);
  return {
    node: (name, life = options) => issueNode(ca, name, life), server: (names) => issueServer(ca, names, options),
    sign: (node, request, life = options) => signNode(ca, node, request, life),
  };
}
