// Objects that policies refer to by name or by labels.

import type {Labels} from './labels.js';

export interface CidrGroup {
  readonly name: string;
  /** Source `cidrgroup`. */
  readonly labels: Labels;
  /** Canonical. */
  readonly prefixes: readonly string[];
}

export interface PolicyService {
  readonly namespace: string;
  readonly name: string;
  readonly labels: Labels;
  /** Null = its backends are addresses that somebody wrote, not pods. */
  readonly selector: Readonly<Record<string, string>> | null;
}
