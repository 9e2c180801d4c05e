// Where the lab's own small program and the built parts of Stentor lie.

import {existsSync} from 'node:fs';
import {join} from 'node:path';
import {ROOT} from './run-dir.js';

export const HELPER = join(ROOT, 'build', 'lab-helper');
export const CNI_PLUGIN = join(ROOT, 'build', 'stentor-cni');
export const STENTORCTL = join(ROOT, 'build', 'bin', 'stentorctl');
/** The Node that runs this also runs the operator and the agents. */
export const NODE = process.execPath;

/** Programs of the control plane and gobgpd, as `tools/*.sh` linked them. */
export function tool(name: string): string {
  const path = join(ROOT, 'build', 'bin', name);
  if (!existsSync(path)) throw new Error(`${path} is missing: run \`make tools\``);
  return path;
}
