// Exit codes and the errors that end a command with one of them.

/** Stable: other programs branch on them. */
export const EXIT = {ok: 0, findings: 1, usage: 2, unreachable: 3, timeout: 4, partial: 5} as const;
export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

/** Ends the command with its message on stderr. */
export class CliError extends Error {
  override readonly name = 'CliError';
  readonly exit: ExitCode;

  constructor(exit: ExitCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.exit = exit;
  }
}

export function usage(message: string): CliError {
  return new CliError(EXIT.usage, message);
}
