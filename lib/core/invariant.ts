// Broken invariants are our own mistakes: they stop the process and are never caught by a retry.

export class InvariantError extends Error {
  override readonly name = 'InvariantError';
  readonly data: Readonly<Record<string, unknown>>;

  constructor(message: string, data: Readonly<Record<string, unknown>> = {}) {
    super(`${message} ${JSON.stringify(data)}`);
    this.data = data;
  }
}

export function invariant(
  condition: unknown,
  message: string,
  data: Readonly<Record<string, unknown>> = {},
): asserts condition {
  if (!condition) throw new InvariantError(message, data);
}

/** The branch that the type checker says cannot be taken. */
export function unreachable(value: never, message = 'unreachable'): never {
  throw new InvariantError(message, {value});
}
