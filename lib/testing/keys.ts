// Tests only: key material of a small CA, made by the operator's own code.

import type {IssuedKeys} from '../../operator/stream/ca.js';
import {createCa, issueNode, issueServer} from '../../operator/stream/ca.js';

export interface TestKeys {
  node(name: string): Promise<IssuedKeys>;
  server(names: readonly string[]): Promise<IssuedKeys>;
}

export type {IssuedKeys};

export async function makeTestCa(): Promise<TestKeys> {
  const options = {nowMs: Date.now(), validityMs: 86_400_000};
  const ca = await createCa(options);
  return {node: (name) => issueNode(ca, name, options), server: (names) => issueServer(ca, names, options)};
}
