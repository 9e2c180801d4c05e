// Waits for a condition of an object as a client of the API does: by watching it.

import type {KubeClient} from '../../lib/kube/client.js';
import type {KubeObject} from '../../lib/kube/object.js';
import {collectionPath, RESOURCES, type KnownKind} from '../../lib/kube/resources.js';
import {DeadlinePassed, nowMs} from './shell.js';

export interface ConditionView {
  readonly type: string;
  readonly status: string;
  readonly reason?: string;
  readonly message?: string;
  readonly observedGeneration?: number;
}

export interface ObjectAddress {
  readonly kind: KnownKind;
  readonly namespace: string | null;
  readonly name: string;
}

export const ENFORCED = 'stentor.io/Enforced';

export function conditionsOf(object: KubeObject): readonly ConditionView[] {
  const status = object['status'] as {readonly conditions?: readonly ConditionView[]} | undefined;
  return status?.conditions ?? [];
}

/** True for the object's present generation only. */
export function holds(object: KubeObject, type: string, status: string): boolean {
  const condition = conditionsOf(object).find((item) => item.type === type);
  return condition?.status === status && (condition.observedGeneration ?? object.metadata.generation) === object.metadata.generation;
}

/** Resolves with the monotonic time at which the watch told that `test` holds for the object. */
export async function watchUntil(client: KubeClient, address: ObjectAddress, timeoutMs: number, test: (object: KubeObject) => boolean): Promise<{readonly atMs: number; readonly object: KubeObject}> {
  const path = collectionPath(RESOURCES[address.kind], address.namespace);
  const fieldSelector = `metadata.name=${address.name}`;
  const found = new AbortController();
  const signal = AbortSignal.any([found.signal, AbortSignal.timeout(timeoutMs)]);
  let result: {readonly atMs: number; readonly object: KubeObject} | null = null;
  let last = 'it does not exist';
  const look = (object: KubeObject): void => {
    last = conditionsOf(object).map((item) => `${item.type}=${item.status} (${item.reason ?? ''} ${item.message ?? ''})`).join(', ') || 'it has no conditions';
    if (result !== null || !test(object)) return;
    result = {atMs: nowMs(), object};
    found.abort();
  };
  try {
    const page = await client.listAll(path, {fieldSelector}, signal);
    for (const item of page.items) look(item);
    while (result === null) {
      await client.watch(path, {fieldSelector, resourceVersion: page.resourceVersion, timeoutSeconds: 60, silenceLimitMs: 0}, (events) => {
        for (const event of events) if (event.type !== 'BOOKMARK' && event.type !== 'DELETED') look(event.object);
      }, signal);
    }
  } catch (error) {
    if (result === null) {
      if (signal.aborted) throw new DeadlinePassed(`${address.kind} ${address.name}: not within ${timeoutMs} ms: ${last}`);
      throw error;
    }
  }
  if (result === null) throw new DeadlinePassed(`${address.kind} ${address.name}: the watch ended`);
  return result;
}

export function watchEnforced(client: KubeClient, address: ObjectAddress, timeoutMs = 20_000): Promise<{readonly atMs: number; readonly object: KubeObject}> {
  return watchUntil(client, address, timeoutMs, (object) => holds(object, ENFORCED, 'True'));
}
