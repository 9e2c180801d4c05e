// The policy verbs on a real API server: the same answers as from the files, and what they say when it cannot be reached.

import {join} from 'node:path';
import {expect, test} from '@jest/globals';
import type {CompileJson} from '../../lib/policy/format.js';
import {useApiServer} from '../../lib/testing/use-api-server.js';
import {ROOT, SHOP, stentorctl} from './testing/run.js';

const api = useApiServer();

const live = (...args: readonly string[]): ReturnType<typeof stentorctl> => stentorctl(['policy', ...args, '--kubeconfig', api.server.kubeconfig]);

test('without the CRDs: what Kubernetes itself has', async () => {
  for (const namespace of ['shop', 'monitoring']) await api.server.kubectl(['create', 'namespace', namespace]);
  expect(JSON.parse(live('compile', '-o', 'json').out)).toMatchObject({endpoints: [], rejected: [], warnings: []});
}, 30_000);

test('the same entries as from the files', async () => {
  await api.server.kubectl(['apply', '-f', join(ROOT, 'crds')]);
  await api.server.kubectl(['wait', '--for=condition=Established', '--timeout=10s', '-f', join(ROOT, 'crds')]);
  await api.server.kubectl(['apply', '-f', join(ROOT, SHOP, 'cluster.yaml'), '-f', join(ROOT, SHOP, 'policies.yaml')]);
  const entriesOf = (text: string): unknown => (JSON.parse(text) as CompileJson).endpoints
    .map(({name, entries}) => ({name, entries: entries.map(({direction, protocol, port, deny, derivedFrom}) => ({direction, protocol, port, deny, by: derivedFrom.map((origin) => `${origin.name} ${origin.ruleIndex}`)}))}))
    .sort((a, b) => a.name.localeCompare(b.name));
  const online = live('compile', '-o', 'json');
  expect(online.code).toBe(0);
  expect(entriesOf(online.out)).toEqual(entriesOf(stentorctl(['policy', 'compile', '--input', SHOP, '-o', 'json']).out));
  expect(live('explain', 'shop/frontend', 'shop/db', '5432/TCP').out).toContain('  NetworkPolicy shop/db spec.ingress[0]  (nearest miss)\n    peer  wants app=api, has app=frontend\n');
  expect(live('validate').out).toContain('2 policies: 0 errors, 0 warnings');
}, 60_000);

test('every other verb answers from the cluster as from the files', () => {
  const files = (...args: readonly string[]): ReturnType<typeof stentorctl> => stentorctl(['policy', ...args, '--input', SHOP]);
  const json = ({out}: ReturnType<typeof stentorctl>): unknown => JSON.parse(out);
  expect(json(live('matrix', '-o', 'json'))).toEqual(json(files('matrix', '-o', 'json')));
  const open = (result: ReturnType<typeof stentorctl>): unknown => (json(result) as {open: {pod: string}[]}).open.sort((a, b) => a.pod.localeCompare(b.pod));
  expect(open(live('coverage', '-o', 'json'))).toEqual(open(files('coverage', '-o', 'json')));
  const rules = (result: ReturnType<typeof stentorctl>): unknown => (json(result) as {rules: {peers: unknown; ports: unknown; policy: unknown; path: unknown}[]}).rules
    .map(({peers, ports, policy, path}) => ({peers, ports, policy, path}));
  expect(rules(live('show', 'shop/api', '-o', 'json'))).toEqual(rules(files('show', 'shop/api', '-o', 'json')));
  const flows = [['shop/frontend', 'shop/api', 8080], ['shop/frontend', 'shop/db', 5432], ['monitoring/prometheus', 'shop/api', 8080]] as const;
  const input = flows.map(([source, destination, port]) => JSON.stringify({src: {pod: source}, dst: {pod: destination}, protocol: 'TCP', port})).join('\n');
  const verdicts = (...args: readonly string[]): string[] =>
    stentorctl(['policy', 'verdict', '--flows', '-', ...args], {input}).out.trim().split('\n').map((line) => (JSON.parse(line) as {verdict: string; reason: string}).verdict);
  expect(verdicts('--kubeconfig', api.server.kubeconfig)).toEqual(verdicts('--input', SHOP));
  expect(live('test', join(ROOT, SHOP, 'tests.yaml'))).toMatchObject({code: 0, out: expect.stringContaining('7 passed, 0 failed') as unknown});
}, 60_000);

test('out of reach is exit code 3', () => {
  expect(stentorctl(['policy', 'compile', '--kubeconfig', '/nowhere'])).toMatchObject({code: 3, err: expect.stringContaining('cannot reach the cluster') as unknown});
});
