// The two failures that are not our own mistakes (rule 10): the outside failing, and bad input.

/** The outside failed. `code` is stable and ends in logs and metrics; `data` says what was tried. */
export class StentorError extends Error {
  override readonly name = 'StentorError';
  readonly code: string;
  readonly data: Readonly<Record<string, unknown>>;

  constructor(code: string, message: string, data: Readonly<Record<string, unknown>> = {}, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.data = data;
  }
}

/** A Kubernetes object, by what a user calls it. `namespace` is empty for cluster-scoped kinds. */
export interface ObjectRef {
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
}

/** Bad input, as a value: it ends in a status, an Event or a CLI finding, never in a thrown error. */
export interface Rejection {
  readonly object: ObjectRef;
  /** Path inside the object, as in `spec.ingress[0].toPorts[1].rules.http`. */
  readonly path: string;
  readonly code: string;
  readonly reason: string;
}

export function formatRef(ref: ObjectRef): string {
  return ref.namespace === '' ? `${ref.kind} ${ref.name}` : `${ref.kind} ${ref.namespace}/${ref.name}`;
}
