// What every verb is given, and the table that says which verbs there are.

import type {ExitCode} from './errors.js';
import type {ExtraFormat, Format, Io} from './output.js';

export interface CommonOptions {
  readonly format: Format;
  readonly apiSocket: string;
  readonly bpfRoot: string;
  readonly timeoutMs: number;
  /** Read the maps only, whether the agent answers or not. */
  readonly pinned: boolean;
  readonly kubeconfig: string | null;
}

export interface VerbContext {
  readonly args: readonly string[];
  readonly options: Readonly<Record<string, string | boolean | readonly string[] | undefined>>;
  readonly common: CommonOptions;
  readonly io: Io;
  readonly signal: AbortSignal;
}

export type Verb = (context: VerbContext) => Promise<ExitCode>;

export interface VerbSpec {
  /** `bpf policy list`. */
  readonly path: string;
  readonly aliases?: readonly string[];
  readonly summary: string;
  /** As commander takes them: `[endpoint]`, `<name>`. */
  readonly args?: readonly (readonly [name: string, help: string])[];
  /** `repeat`: may be given several times; where `<path...>` would swallow the arguments after it. */
  readonly options?: readonly (readonly [flags: string, help: string, repeat?: 'repeat'])[];
  readonly examples: readonly string[];
  /** What `-o` takes besides the usual formats. */
  readonly formats?: readonly ExtraFormat[];
  /** Loaded when it is called: a command costs only its own imports. */
  load(): Promise<Verb>;
}
