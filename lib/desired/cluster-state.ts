// ClusterState: what Kubernetes should hold because of us. Level-triggered: `operator/apply` makes it so.

import type {ObjectRef} from '../core/errors.js';
import type {IdentityId} from '../domain/identity.js';

/** One entry of `status.conditions`. `lastTransitionTime` is set by the writer and moves only when `status` flips. */
export interface Condition {
  readonly type: string;
  readonly status: 'True' | 'False' | 'Unknown';
  readonly reason: string;
  readonly message: string;
  readonly observedGeneration: number;
}

/** A CiliumIdentity that should exist. A number is used on the wire only after its object was read back. */
export interface DesiredIdentity {
  readonly id: IdentityId;
  /** `source:key` → value: the object's `security-labels`. */
  readonly securityLabels: Readonly<Record<string, string>>;
}

/** A CiliumNode: `labels` and `spec` as in the object. Owner: the Node. */
export interface DesiredCiliumNode {
  readonly name: string;
  readonly nodeUid: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly spec: Readonly<Record<string, unknown>>;
  /** `status.ipam.operator-status.error`, empty = none; absent where the operator gives out no PodCIDRs. */
  readonly ipamError?: string;
}

/** A CiliumEndpoint: `status` as in the object. Owner: the Pod. */
export interface DesiredCiliumEndpoint {
  readonly namespace: string;
  readonly name: string;
  readonly podUid: string;
  readonly status: Readonly<Record<string, unknown>>;
}

/** Addresses of a LoadBalancer Service, and whether they are what it asks for; `condition` null = both are to be cleared. */
export interface DesiredServiceStatus {
  readonly object: ObjectRef;
  readonly addresses: readonly string[];
  readonly condition: Condition | null;
}

/** Conditions of an object that users write: policies, pools, BGP objects. (NetworkPolicy has none and is left out.) */
export interface DesiredPolicyStatus {
  readonly object: ObjectRef;
  readonly apiVersion: string;
  readonly conditions: readonly Condition[];
}

/** An Event on the user's object; written once per distinct value, repeated ones are counted. */
export interface DesiredEvent {
  readonly object: ObjectRef;
  readonly apiVersion: string;
  readonly type: 'Normal' | 'Warning';
  readonly reason: string;
  readonly message: string;
}

/** A CiliumBGPNodeConfig. Owner: the object in force on the node. */
export interface DesiredBgpNodeConfig {
  readonly name: string;
  readonly owner: ObjectRef;
  readonly spec: Readonly<Record<string, unknown>>;
  /** Without conditions; null = not known yet, what is there stays. */
  readonly status: Readonly<Record<string, unknown>> | null;
  readonly conditions: readonly Condition[];
}

/** What was let through of BGP objects, and which changes wait: a ConfigMap keeps it. */
export interface DesiredBgpAccepted {
  readonly record: {
    /** By `kind/name`. */
    readonly manifests: ReadonlyMap<string, object>;
    readonly held: readonly {readonly id: string; readonly hash: string; readonly gone: boolean}[];
  };
}

export interface ClusterState {
  /** By number in decimal. What is missing here and marked ours is deleted after a delay. */
  readonly identities: ReadonlyMap<string, DesiredIdentity>;
  readonly nodes: ReadonlyMap<string, DesiredCiliumNode>;
  /** By `namespace/name`. */
  readonly endpoints: ReadonlyMap<string, DesiredCiliumEndpoint>;
  /** By `namespace/name`: those whose addresses are ours to give. */
  readonly services: ReadonlyMap<string, DesiredServiceStatus>;
  /** By node. */
  readonly bgpNodeConfigs?: ReadonlyMap<string, DesiredBgpNodeConfig>;
  readonly bgpAccepted?: DesiredBgpAccepted;
  /** By uid. */
  readonly policyStatuses: ReadonlyMap<string, DesiredPolicyStatus>;
  /** By uid + reason + message. */
  readonly events: ReadonlyMap<string, DesiredEvent>;
}
