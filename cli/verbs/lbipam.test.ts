// lbipam compile as a process on manifests: the operator's allocation, without root, cluster or network.

import {mkdtempSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterAll, expect, test} from '@jest/globals';
import {stentorctl} from '../policy/testing/run.js';

const folder = mkdtempSync(join(tmpdir(), 'lbipam-cli-'));
afterAll(() => rmSync(folder, {recursive: true, force: true}));

const pool = (name: string, spec: object): object => ({apiVersion: 'cilium.io/v2alpha1', kind: 'CiliumLoadBalancerIPPool', metadata: {name}, spec});
const service = (name: string, more: object = {}, annotations: object = {}): object =>
  ({apiVersion: 'v1', kind: 'Service', metadata: {name, annotations}, spec: {type: 'LoadBalancer', ports: [{port: 80}], ...more}});
const text = (objects: readonly object[]): string => objects.map((object) => JSON.stringify(object)).join('\n');
const OBJECTS = [
  pool('blue', {cidrs: [{cidr: '10.0.10.0/31'}]}), pool('v6', {blocks: [{cidr: '2001:db8::/32'}]}),
  service('a', {ipFamilyPolicy: 'PreferDualStack'}), service('b'), service('c'), service('d', {type: 'ClusterIP'}), service('e', {}, {'lbipam.cilium.io/ips': '10.0.10.0'}),
];

interface Answer {
  readonly services: readonly {readonly namespace: string; readonly name: string; readonly addresses: readonly string[]; readonly conditions: readonly {readonly status: string; readonly reason: string}[]}[];
  readonly pools: readonly object[];
}

test('addresses, conditions and counts as I5 names them; enable-ipv6 from the configuration', () => {
  const {out, code} = stentorctl(['lbipam', 'compile', '-', '-o', 'json'], {input: text(OBJECTS)});
  const {services, pools} = JSON.parse(out) as Answer;
  expect(code).toBe(0);
  expect(services.map(({namespace, name, addresses, conditions: [condition]}) => [namespace, name, addresses.join(), condition?.status, condition?.reason])).toEqual([
    ['default', 'a', '10.0.10.1', 'True', 'satisfied'], ['default', 'b', '', 'False', 'out_of_ips'], ['default', 'c', '', 'False', 'out_of_ips'], ['default', 'e', '10.0.10.0', 'True', 'satisfied'],
  ]);
  expect(pools).toMatchObject([{name: 'blue', total: 2, available: 0, used: 2}, {name: 'v6', total: '79228162514264337593543950336', used: 0}]);
  const config = join(folder, 'config.yaml');
  writeFileSync(config, 'enable-ipv6: "true"\n');
  const both = JSON.parse(stentorctl(['lbipam', 'compile', '-', '-o', 'json', '--config', config], {input: text(OBJECTS)}).out) as Answer;
  expect(both.services[0]?.addresses).toEqual(['10.0.10.1', '2001:db8::']);
  writeFileSync(config, 'kind: ConfigMap\ndata: {default-lb-service-ipam: none}\n');
  expect((JSON.parse(stentorctl(['lbipam', 'compile', '-', '-o', 'json', '--config', config], {input: text(OBJECTS)}).out) as Answer).services).toEqual([]);
});

test('the objects of docs/lb-ipam.md are taken', () => {
  const page = readFileSync(join(import.meta.dirname, '../../../docs/lb-ipam.md'), 'utf8');
  const blocks = [...page.matchAll(/^```yaml\n([\s\S]*?)^```/gm)].map(([, block = '']) => block);
  expect(blocks.length).toBeGreaterThan(0);
  const {out, err, code} = stentorctl(['lbipam', 'compile', '-', '-o', 'json'], {input: `${blocks.join('---\n')}---\n${JSON.stringify(service('web'))}\n`});
  expect([code, err]).toEqual([0, '']);
  expect(JSON.parse(out)).toMatchObject({services: [{name: 'web', addresses: ['10.20.10.0']}], pools: [{name: 'blue', total: 357}]});
});

test('the table says why a Service has none; what is refused is said, and the answer is about the rest', () => {
  const {out} = stentorctl(['lbipam', 'compile', '--input', '-'], {input: text([...OBJECTS, pool('young', {blocks: [{start: '10.0.10.1'}]})])});
  expect(out).toMatch(/default\/b +- +False +All enabled CiliumLoadBalancerIPPools that match this service ran out/);
  expect(out).toMatch(/young +1 +1 +0 +Pool conflicts since range '10.0.10.1 - 10.0.10.1' overlaps range '10.0.10.0 - 10.0.10.1' from IP Pool 'blue'/);
  const broken = stentorctl(['lbipam', 'compile', '-', '-o', 'name'], {input: text([...OBJECTS, pool('bad', {blocks: [{cidr: '10.0.0.0'}]}), pool('range', {blocks: [{start: '10.1.0.9', stop: '10.1.0.1'}]})])});
  expect([broken.code, broken.out]).toEqual([5, 'service/default/a\nservice/default/b\nservice/default/c\nservice/default/e\n']);
  expect(broken.err).toContain('CiliumLoadBalancerIPPool bad is refused: spec.blocks[0].cidr: must be a cidr');
  expect(broken.err).toContain('CiliumLoadBalancerIPPool range spec.blocks[0]: stop lies before start');
});
