// LB-IPAM through the whole operator, in files mode: pools and Services in, statuses and Events out, and the same after a restart.

import {readFile} from 'node:fs/promises';
import {join} from 'node:path';
import {afterEach, beforeEach, expect, test} from '@jest/globals';
import {parse} from 'yaml';
import type {KubeObject} from '../lib/kube/object.js';
import {Harness, until} from './testing/harness.js';

const POOL = (cidr: string): object => ({apiVersion: 'cilium.io/v2alpha1', kind: 'CiliumLoadBalancerIPPool', metadata: {name: 'blue'}, spec: {blocks: [{cidr}]}});
const service = (name: string, annotations: Record<string, string> = {}): object => ({
  apiVersion: 'v1', kind: 'Service', metadata: {name, namespace: 'default', annotations}, spec: {type: 'LoadBalancer', selector: {app: name}, ports: [{port: 80}]},
});

let harness: Harness;

beforeEach(async () => {
  harness = await Harness.create();
});

afterEach(async () => {
  await harness.close();
  expect(harness.failure).toBeNull();
});

async function written(plural: string, ...path: readonly string[]): Promise<KubeObject> {
  return parse(await readFile(join(harness.dir, 'output', plural, ...path), 'utf8')) as KubeObject;
}

/** As read back from what was written. */
function ingress(name: string): readonly string[] {
  return harness.operator?.engine.tables.exposedServices.get(`default/${name}`)?.ingress ?? [];
}

test('a pool and Services: addresses are written, read back, and the same after a restart without a write', async () => {
  await harness.write('pool', POOL('10.0.10.0/31'));
  await harness.write('services', service('a'), service('b'), service('c'));
  let operator = await harness.start();
  await until('two have an address', () => ingress('a').length + ingress('b').length === 2);
  expect([ingress('a'), ingress('b'), ingress('c')]).toEqual([['10.0.10.0'], ['10.0.10.1'], []]);
  await until('what c lacks is told', () => operator.engine.tables.exposedServices.get('default/c')?.hasCondition === true);
  expect(await written('services', 'default', 'c.yaml')).toMatchObject({status: {conditions: [{type: 'cilium.io/IPAMRequestSatisfied', status: 'False', reason: 'out_of_ips'}]}});
  expect([...operator.engine.clusterState.events.values()].map(({object, reason}) => `${object.name} ${reason}`)).toEqual(['c LBIPAMUnsatisfied']);
  expect(await (await fetch(`http://${operator.addresses.http}/metrics`)).text()).toMatch(/^cilium_operator_lbipam_ips_used\{pool="blue"\} 2$/m);
  const conditions = async (): Promise<Record<string, string>> => {
    const {status} = await written('ciliumloadbalancerippools', 'blue.yaml') as unknown as {status: {conditions: {type: string; message: string; status: string}[]}};
    return Object.fromEntries(status.conditions.map(({type, message, status: value}) => [type.slice('cilium.io/'.length), `${value} ${message}`]));
  };
  expect(await conditions()).toEqual({PoolConflict: 'False ', IPsTotal: 'Unknown 2', IPsAvailable: 'Unknown 0', IPsUsed: 'Unknown 2'});
  await harness.stopOperator();
  operator = await harness.start();
  await until('in sync, with what was written', () => operator.engine.inSync && ingress('b').length === 1);
  expect([ingress('a'), ingress('b'), ingress('c')]).toEqual([['10.0.10.0'], ['10.0.10.1'], []]);
  expect(await (await fetch(`http://${operator.addresses.http}/metrics`)).text()).not.toMatch(/writes_total\{kind="(Service|CiliumLoadBalancerIPPool)"/);
});

test('an address that was asked for is given when its holder goes; a Service that is no LoadBalancer any more is cleared', async () => {
  await harness.write('pool', POOL('10.0.10.0/30'));
  await harness.write('first', service('a'));
  await harness.start();
  await until('a has one', () => ingress('a')[0] === '10.0.10.0');
  await harness.write('second', service('b', {'lbipam.cilium.io/ips': '10.0.10.0'}));
  await until('b waits', () => harness.operator?.engine.lb.ipam.unsatisfied === 1);
  await harness.write('first', {...service('a'), spec: {type: 'ClusterIP', ports: [{port: 80}]}});
  await until('a is cleared, and b has it', () => ingress('a').length === 0 && ingress('b')[0] === '10.0.10.0');
  expect(harness.operator?.engine.lb.services.has('default/a')).toBe(false);
});
