// The objects we write, as last seen: through the feed, or in the answer to our own write, whichever is newer.

import {objectKey, type KubeObject} from '../../lib/kube/object.js';

/** What the feed says about one object; null = gone. (The watch stage's Change, named here so that stages stay apart.) */
export interface ObservedChange {
  readonly kind: string;
  readonly key: string;
  readonly object: KubeObject | null;
}

/** Of each kind only the members that plans look at are kept. */
const KEPT: Readonly<Record<string, readonly string[]>> = {
  CiliumIdentity: ['security-labels'], CiliumNode: ['spec', 'status'], CiliumEndpoint: ['status'],
  CiliumNetworkPolicy: ['status'], CiliumClusterwideNetworkPolicy: ['status'], CiliumBGPPeeringPolicy: ['status'],
  CiliumLoadBalancerIPPool: ['status'], Service: ['status'],
  CiliumBGPClusterConfig: ['status'], CiliumBGPPeerConfig: ['status'], CiliumBGPNodeConfig: ['spec', 'status'], ConfigMap: ['data'],
};

export class ObservedObjects {
  readonly #objects = new Map<string, KubeObject>();

  get(kind: string, key: string): KubeObject | undefined {
    return this.#objects.get(`${kind}/${key}`);
  }

  /** Keys of one kind. */
  keys(kind: string): readonly string[] {
    const head = `${kind}/`;
    return [...this.#objects.keys()].filter((id) => id.startsWith(head)).map((id) => id.slice(head.length));
  }

  /** The object before and after, or null when the kind is not ours to write or the change is older than what is held. */
  observe(change: ObservedChange): {readonly before: KubeObject | undefined; readonly after: KubeObject | undefined} | null {
    const kept = KEPT[change.kind];
    if (kept === undefined) return null;
    const id = `${change.kind}/${change.key}`;
    const before = this.#objects.get(id);
    if (change.object === null) {
      this.#objects.delete(id);
      return {before, after: undefined};
    }
    if (before !== undefined && isOlder(change.object, before)) return null;
    const after: KubeObject = {
      metadata: change.object.metadata,
      ...Object.fromEntries(kept.filter((member) => member in (change.object ?? {})).map((member) => [member, change.object?.[member]])),
    };
    this.#objects.set(id, after);
    return {before, after};
  }

  /** The answer to a write. Without a resourceVersion (files) it is no evidence: the feed will bring the object. */
  answered(kind: string, object: KubeObject): void {
    if (object.metadata.resourceVersion === undefined) return;
    this.observe({kind, key: objectKey(object), object});
  }
}

/** Versions of one object grow; an event that was on its way while we wrote must not undo what the answer showed. */
function isOlder(a: KubeObject, b: KubeObject): boolean {
  if (a.metadata.uid !== b.metadata.uid) return false;
  return Number(a.metadata.resourceVersion ?? NaN) < Number(b.metadata.resourceVersion ?? NaN);
}
