// Pools: addresses for LoadBalancer Services, addresses for pods.

import type {ObjectRef, Rejection} from '../core/errors.js';
import type {Labels} from './labels.js';
import type {Selector} from './selector.js';

export interface PoolBlock {
  readonly family: 4 | 6;
  /** Canonical addresses, both included. */
  readonly first: string;
  readonly last: string;
  /** Written as a prefix: its ends may be kept out. */
  readonly isPrefix: boolean;
}

export interface LbPool {
  readonly ref: ObjectRef;
  readonly apiVersion: string;
  readonly createdAt: string;
  readonly generation: number;
  readonly labels: Labels;
  readonly disabled: boolean;
  readonly allowFirstLastIps: boolean;
  /** null = every Service. */
  readonly serviceSelector: Selector | null;
  readonly blocks: readonly PoolBlock[];
  /** Parts that mean nothing. */
  readonly rejections: readonly Rejection[];
}

/** A CiliumPodIPPool: which prefixes of it a node has is in the CiliumNode. */
export interface PodIpPool {
  readonly ref: ObjectRef;
  /** The pool's own, and `io.cilium.podippool.name` and `.namespace`. */
  readonly labels: Labels;
}
