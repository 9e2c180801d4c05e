// What a policy verb works on: the manifests that were named, or the cluster when none was; and the settings.

import {usage} from '../errors.js';
import type {VerbContext} from '../context.js';
import {readManifests, type Manifests} from './sources.js';
import {readNames, readSettings, type Settings} from './settings.js';
import {worldOf, type World} from './world.js';

export function stringOption(context: VerbContext, name: string): string | null {
  const value = context.options[name];
  return typeof value === 'string' && value !== '' ? value : null;
}

export function listOption(context: VerbContext, name: string): readonly string[] {
  const value = context.options[name];
  if (typeof value === 'string') return [value];
  return typeof value === 'object' ? value : [];
}

/** `--input PATH…` and the paths among the arguments. */
export async function readInput(context: VerbContext, args: readonly string[]): Promise<Manifests> {
  const paths = [...listOption(context, 'input'), ...args];
  if (paths.filter((path) => path === '-').length > 1) throw usage('standard input can be read once only');
  if (paths.length > 0) return readManifests(paths);
  const {readCluster} = await import('./cluster-source.js');
  return readCluster(context.common, context.signal);
}

/** `--config` and `--names`. */
export async function loadSettings(context: VerbContext): Promise<Settings> {
  const names = stringOption(context, 'names');
  const settings = await readSettings(stringOption(context, 'config'));
  return names === null ? settings : {...settings, names: await readNames(names)};
}

export async function loadWorld(context: VerbContext, args: readonly string[] = []): Promise<World> {
  const settings = await loadSettings(context);
  return worldOf(await readInput(context, args), settings);
}

/** What could not be read is said on stderr; the answer is then about the rest, and the exit code says so. */
export function sayProblems({io}: VerbContext, {manifests, warnings}: World): boolean {
  for (const {place: {file, line, column}, message} of manifests.problems) io.err(`${file}:${line}:${column}: ${message}\n`);
  for (const warning of warnings) io.err(`warning: ${warning}\n`);
  return manifests.problems.length > 0;
}
