// Reads manifests: files, folders, standard input, and folders as they were in a git revision.

import {execFile} from 'node:child_process';
import {readdir, readFile, stat} from 'node:fs/promises';
import {join} from 'node:path';
import {promisify} from 'node:util';
import {compareStrings} from '../../lib/core/order.js';
import {CliError, EXIT, usage} from '../errors.js';
import {parseDocuments, type DocumentProblem, type Documents, type OtherDocument, type SourceObject} from './documents.js';

/** Manifests of one folder beyond which something else was meant. */
const FILES_MAX = 50_000;
const MANIFEST = /\.(ya?ml|json|jsonl)$/;
const GIT_BYTES_MAX = 256 << 20;

export interface Manifests {
  readonly objects: readonly SourceObject[];
  readonly others: readonly OtherDocument[];
  readonly problems: readonly DocumentProblem[];
}

interface Text {
  readonly file: string;
  readonly text: string;
  /** Named by the user, not found in a folder. */
  readonly named: boolean;
}

export async function readManifests(paths: readonly string[]): Promise<Manifests> {
  const texts: Text[] = [];
  for (const path of paths) texts.push(...await textsOf(path));
  return parseTexts(texts);
}

function parseTexts(texts: readonly Text[]): Manifests {
  const parsed = texts.map(({file, text, named}) => ({...parseDocuments(text, file), named}));
  return {
    objects: parsed.flatMap(({objects}) => objects),
    others: parsed.flatMap(({others}) => others),
    problems: parsed.flatMap((documents) => [...documents.problems, ...(documents.named ? notObjects(documents) : [])]),
  };
}

/** Folders hold values and kustomizations as well; a file that was named should hold objects. */
function notObjects({others}: Documents): DocumentProblem[] {
  return others.filter(({value}) => !isAssertions(value)).map(({source}) => (
    {place: source.locate(''), code: 'NotAnObject', message: 'not a Kubernetes object: apiVersion or kind is missing'}));
}

/** Documents of `policy test`. */
export function isAssertions(value: unknown): boolean {
  if (Array.isArray(value)) return value.some(isAssertions);
  if (typeof value !== 'object' || value === null) return false;
  const {kind, tests, from, to} = value as Readonly<Record<string, unknown>>;
  return kind === 'PolicyTest' || (kind === undefined && (Array.isArray(tests) || (from !== undefined && to !== undefined)));
}

async function textsOf(path: string): Promise<Text[]> {
  if (path === '-') return [{file: '<stdin>', text: await readStdin(), named: true}];
  const kind = await stat(path).catch(() => null);
  if (kind === null) throw usage(`${path}: there is no such file or folder`);
  if (!kind.isDirectory()) return [{file: path, text: await readFile(path, 'utf8'), named: true}];
  const files = await manifestsIn(path);
  return Promise.all(files.map(async (file) => ({file, text: await readFile(file, 'utf8'), named: false})));
}

async function manifestsIn(folder: string): Promise<string[]> {
  const files: string[] = [];
  const entries = await readdir(folder, {withFileTypes: true});
  for (const entry of entries.sort((a, b) => compareStrings(a.name, b.name))) {
    if (entry.name.startsWith('.')) continue;
    const path = join(folder, entry.name);
    const isFolder = entry.isDirectory();
    if (isFolder) files.push(...await manifestsIn(path));
    else if (MANIFEST.test(entry.name) && (entry.isFile() || (await stat(path).catch(() => null))?.isFile() === true)) files.push(path);
    if (files.length > FILES_MAX) throw usage(`${folder}: more than ${FILES_MAX} manifests`);
  }
  return files;
}

async function readStdin(): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of process.stdin) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString('utf8');
}

const run = promisify(execFile);

async function git(args: readonly string[]): Promise<string> {
  try {
    return (await run('git', [...args], {maxBuffer: GIT_BYTES_MAX})).stdout;
  } catch (error) {
    const {stderr} = error as {readonly stderr?: string};
    throw new CliError(EXIT.usage, `git ${args.slice(0, 2).join(' ')}: ${stderr?.trim() ?? String(error)}`, {cause: error});
  }
}

/** The manifests below `folders`, as the revision has them. */
export async function readRevision(revision: string, folders: readonly string[]): Promise<Manifests> {
  if (revision.startsWith('-')) throw usage(`${revision}: not a revision`);
  const listing = await git(['ls-tree', '-r', '-z', '--name-only', revision, '--', ...folders]);
  const paths = listing.split('\0').filter((path) => MANIFEST.test(path) && !path.split('/').some((part) => part.startsWith('.') && part !== '.' && part !== '..'));
  const texts: Text[] = [];
  for (const path of paths) texts.push({file: `${revision}:${path}`, text: await git(['show', `${revision}:./${path}`]), named: false});
  return parseTexts(texts);
}
