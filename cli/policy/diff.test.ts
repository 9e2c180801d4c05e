// diff, coverage and show as processes; diff also between revisions of a repository.

import {execFileSync} from 'node:child_process';
import {mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterAll, describe, expect, test} from '@jest/globals';
import {ROOT, SHOP, stentorctl} from './testing/run.js';

const folder = mkdtempSync(join(tmpdir(), 'policy-diff-'));
afterAll(() => rmSync(folder, {recursive: true, force: true}));
const POLICIES = readFileSync(join(ROOT, SHOP, 'policies.yaml'), 'utf8');
const CLUSTER = readFileSync(join(ROOT, SHOP, 'cluster.yaml'), 'utf8');

/** A folder with the policies as `edit` makes them. */
function variant(name: string, edit: (text: string) => string): string {
  const path = join(folder, name);
  mkdirSync(path);
  writeFileSync(join(path, 'policies.yaml'), edit(POLICIES));
  return path;
}

describe('diff', () => {
  test('the same by other words is no difference', () => {
    const b = variant('same', (text) => text.replace('        tier: web', '        tier: web\n        app: frontend').replace('    - ports:\n      - port: "8080"\n        protocol: TCP', '    - ports:\n      - {port: "8080", endPort: 8080, protocol: TCP}'));
    expect(stentorctl(['policy', 'diff', SHOP, b, '--input', `${SHOP}/cluster.yaml`])).toEqual({code: 0, out: 'nobody gains or loses access\n', err: ''});
  });

  test('who gains and who loses, by label sets', () => {
    const b = variant('port', (text) => text.replace('"8080"', '"8081"').replace('          app: api\n', '          app: frontend\n'));
    const {code, out} = stentorctl(['policy', 'diff', `${SHOP}/policies.yaml`, b, '--input', `${SHOP}/cluster.yaml`]);
    expect(code).toBe(1);
    expect(out).toBe(`FROM                          TO                           GAINS      LOSES
shop: app=api,tier=backend    shop: app=db,tier=data                  5432/TCP
shop: app=frontend,tier=web   shop: app=api,tier=backend   8081/TCP   8080/TCP
shop: app=frontend,tier=web   shop: app=db,tier=data       5432/TCP

2 pairs gain access, 2 lose access
`);
    const {changes} = JSON.parse(stentorctl(['policy', 'diff', `${SHOP}/policies.yaml`, b, '--input', `${SHOP}/cluster.yaml`, '-o', 'json']).out) as {changes: unknown[]};
    expect(changes[1]).toMatchObject({
      from: {kind: 'pods', labels: 'shop: app=frontend,tier=web', pods: ['shop/frontend']}, to: {labels: 'shop: app=api,tier=backend'},
      gained: {text: '8081/TCP', ranges: [{protocol: 6, first: 8081, last: 8081}]}, lost: {text: '8080/TCP'},
    });
  });

  test('a label of a pod that changes is a change, too', () => {
    const cluster = join(folder, 'relabelled.yaml');
    writeFileSync(cluster, CLUSTER.replace('labels: {app: frontend, tier: web}', 'labels: {app: frontend, tier: old}'));
    const both = join(folder, 'both');
    mkdirSync(both);
    writeFileSync(join(both, 'all.yaml'), `${readFileSync(cluster, 'utf8')}---\n${POLICIES}`);
    expect(stentorctl(['policy', 'diff', SHOP, both]).out).toContain('shop: app=frontend,tier=web ⇒ shop: app=frontend,tier=old   shop: app=api,tier=backend           8080/TCP\n');
  });

  test('without pods, selectors stand for them', () => {
    const b = variant('selectors', (text) => text.replace('        tier: web', '        tier: edge'));
    const {out} = stentorctl(['policy', 'diff', `${SHOP}/policies.yaml`, b]);
    expect(out).toContain('shop: tier=edge   shop: app=api   8080/TCP');
    expect(out).toMatch(/shop: tier=web +shop: app=api +8080\/TCP/);
  });

  test('revisions of a repository', () => {
    const repository = join(folder, 'repository');
    mkdirSync(join(repository, 'policies'), {recursive: true});
    const git = (...args: readonly string[]): void => void execFileSync('git', ['-c', 'user.name=t', '-c', 'user.email=t@localhost', '-c', 'commit.gpgsign=false', ...args], {cwd: repository, stdio: 'pipe'});
    const write = (text: string): void => writeFileSync(join(repository, 'policies', 'p.yaml'), text);
    git('init', '-q', '-b', 'main');
    writeFileSync(join(repository, 'cluster.yaml'), CLUSTER);
    write(POLICIES);
    git('add', '.');
    git('commit', '-qm', 'first');
    write(POLICIES.replace('"8080"', '"8081"'));
    git('commit', '-qam', 'second');
    const diff = (...args: readonly string[]): ReturnType<typeof stentorctl> => stentorctl(['policy', 'diff', ...args], {cwd: repository});
    const range = diff('HEAD~1..HEAD');
    expect(range.code).toBe(1);
    expect(range.out).toContain('shop: app=frontend,tier=web   shop: app=api,tier=backend   8081/TCP   8080/TCP\n');
    expect(diff('HEAD~1..', '--path', 'policies', '--input', 'cluster.yaml').out).toBe(range.out);
    expect(diff('main', 'policies', '--path', 'policies')).toMatchObject({code: 0});
    write(POLICIES);
    expect(diff('HEAD~1', 'policies', '--path', 'policies')).toMatchObject({code: 0});
    expect(diff('nowhere', 'policies').code).toBe(2);
    expect(diff('policies').code).toBe(2);
  });
});

describe('coverage', () => {
  test('open pods and idle rules', () => {
    const {code, out} = stentorctl(['policy', 'coverage', SHOP]);
    expect(code).toBe(1);
    expect(out).toBe(`2 of 5 pods are isolated for ingress, 1 for egress

POD                     INGRESS    EGRESS
shop/frontend           open       open
shop/db                 isolated   open
monitoring/prometheus   open       open
kube-system/coredns     open       open
`);
    const idle = (JSON.parse(stentorctl(['policy', 'coverage', 'cli/policy/testing/faulty.yaml', '-o', 'json']).out) as {idle: {code: string; path: string}[]}).idle;
    expect(idle.map(({code: what, path}) => `${what} ${path}`)).toEqual([
      'SubjectSelectsNothing spec.podSelector', 'PeerSelectsNothing spec.ingress[1]', 'PeerSelectsNothing spec.ingress[2]', 'ShadowedRule spec.ingress[1]',
    ]);
  });
});

describe('show', () => {
  test('rules and entries of a pod', () => {
    const {code, out} = stentorctl(['policy', 'show', 'db', '-n', 'shop', '--input', SHOP]);
    expect(code).toBe(0);
    expect(out).toMatch(/^shop\/db {2}identity \d+ {2}shop: app=db,tier=data\ningress isolated, egress open\n/);
    expect(out).toContain(`ingress     allow     shop: app=api   5432/TCP   NetworkPolicy shop/db   ${SHOP}/policies.yaml:45\n`);
    const {out: entries} = stentorctl(['policy', 'show', 'shop/db', '--compiled', '--input', SHOP]);
    expect(entries).toMatch(/ingress +allow +1 +reserved:host +any +allow-localhost\n/);
    expect(entries).toMatch(/ingress +allow +\d+ +shop: app=api,tier=backend +5432\/TCP +NetworkPolicy shop\/db rule 0\n/);
    expect(JSON.parse(stentorctl(['policy', 'show', 'shop/db', '--input', SHOP, '-o', 'json']).out)).toMatchObject({pod: 'shop/db', ingressEnforced: true, rules: [{peers: ['shop: app=api'], ports: '5432/TCP'}]});
    expect(stentorctl(['policy', 'show', 'shop/none', '--input', SHOP]).code).toBe(1);
  });
});
