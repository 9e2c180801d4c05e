// Changes of objects as data: where, and what is put there or taken away. Applied to copies.

import {isRecord} from '../../lib/kube/object.js';

export type Edit =
  /** At the end of the list, which is made when it is missing. */
  | {readonly op: 'append'; readonly path: string; readonly value: unknown}
  | {readonly op: 'remove'; readonly path: string}
  /** A new object. */
  | {readonly op: 'create'; readonly path: ''; readonly value: unknown};

type Json = Record<string, unknown>;

export function applyEdit<T>(object: T, edit: Edit): T {
  const copy = structuredClone(object);
  if (edit.op === 'create') return edit.value as T;
  const steps = stepsOf(edit.path);
  const last = steps.pop();
  const holder = steps.reduce<unknown>((at, step) => memberOf(at, step), copy);
  if (last === undefined) return copy;
  if (edit.op === 'remove') {
    if (Array.isArray(holder)) holder.splice(Number(last), 1);
    return copy;
  }
  const list = memberOf(holder, last);
  if (Array.isArray(list)) list.push(edit.value);
  else if (isRecord(holder)) (holder as Json)[last] = [edit.value];
  return copy;
}

/** The value at a path; undefined when it is not there. */
export function valueAt(object: unknown, path: string): unknown {
  return stepsOf(path).reduce<unknown>((at, step) => memberOf(at, step), object);
}

function memberOf(value: unknown, step: string): unknown {
  if (Array.isArray(value)) return (value as readonly unknown[])[Number(step)];
  return isRecord(value) ? value[step] : undefined;
}

/** `a.b[0].c` → a, b, 0, c. */
export function stepsOf(path: string): string[] {
  return path.split(/[.[\]]+/).filter((step) => step !== '');
}
