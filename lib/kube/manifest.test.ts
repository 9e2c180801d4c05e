import {describe, expect, test} from '@jest/globals';
import {parseManifests} from './manifest.js';

const names = (text: string): string[] => parseManifests(text).manifests.map(({kind, object}) => `${kind}/${object.metadata.name}`);

describe('manifests', () => {
  test('YAML documents, JSON, Lists, comments and empty documents', () => {
    expect(names('# nothing\n')).toEqual([]);
    expect(names('')).toEqual([]);
    expect(names('---\napiVersion: v1\nkind: Pod\nmetadata: {name: a}\n---\n---\n# c\napiVersion: v1\nkind: Node\nmetadata:\n  name: b\n...\n')).toEqual(['Pod/a', 'Node/b']);
    expect(names('{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "j"}}')).toEqual(['Pod/j']);
    expect(names('apiVersion: v1\nkind: PodList\nitems:\n- {apiVersion: v1, kind: Pod, metadata: {name: x}}\n- {apiVersion: v1, kind: Pod, metadata: {name: y}}')).toEqual(['Pod/x', 'Pod/y']);
  });

  test('a broken document is a finding with its place; the others count', () => {
    const {manifests, problems} = parseManifests('apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n---\nkind: [\n---\napiVersion: v1\nkind: Pod\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: 7}\n');
    expect(manifests).toMatchObject([{kind: 'Pod', document: 1, line: 1}]);
    expect(problems.map(({document}) => document)).toEqual([2, 3, 4]);
    expect(problems[0]?.line).toBeGreaterThanOrEqual(5);
    expect(problems[1]?.message).toContain('metadata.name');
  });

  test('a key that is there twice is refused, not decided by its place', () => {
    expect(parseManifests('apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {}\nspec: {x: 1}\n')).toMatchObject({manifests: [], problems: [{document: 1}]});
  });

  test('an alias bomb ends as a finding', () => {
    const bomb = `a: &a [x,x,x,x,x,x,x,x,x]\n${'bcdefgh'.split('').map((key, i) => `${key}: &${key} [${Array.from({length: 9}, () => `*${'abcdefgh'[i] ?? ''}`).join(',')}]`).join('\n')}\n`;
    expect(parseManifests(bomb)).toMatchObject({manifests: [], problems: [{document: 1}]});
  });
});
