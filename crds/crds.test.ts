import {readFile} from 'node:fs/promises';
import {join} from 'node:path';
import {describe, expect, test} from '@jest/globals';
import {parse} from 'yaml';
import {renderCrds} from './render.js';
import {CrdSchemas, type SchemaResult} from './schema.js';
import {StatementCases} from '../lib/testing/cases.js';
import {CASES, objectOf} from './testing/cases.js';
import {REFUSED, REFUSED_CLUSTERWIDE, TAKEN, TAKEN_CLUSTERWIDE} from './testing/refused.js';
import type {Schema} from './schema-parts.js';

const cases = new StatementCases('crds/crds.test.ts');
const files = [...renderCrds()];
const schemas = new CrdSchemas();

describe('files', () => {
  test('there are fourteen', () => expect(files.map(([file]) => file)).toHaveLength(14));

  test.each(files)('%s is what the source says', async (file, content) => {
    expect(await readFile(join(import.meta.dirname, '../../crds', file), 'utf8')).toBe(content);
  });

  test.each(files)('%s describes every field and fits into an annotation', (_file, content) => {
    const crd = parse(content) as {spec: {versions: {schema: {openAPIV3Schema: Schema}}[]}};
    expect(JSON.stringify(crd).length).toBeLessThan(256 * 1024);
    const missing: string[] = [];
    const visit = (schema: Schema, path: string): void => {
      for (const [name, member] of Object.entries((schema['properties'] ?? {}) as Record<string, Schema>)) {
        if (typeof member['description'] !== 'string' && `${path}.${name}` !== '.metadata') missing.push(`${path}.${name}`);
        visit(member, `${path}.${name}`);
      }
      if (schema['items'] !== undefined) visit(schema['items'] as Schema, `${path}[]`);
      if (schema['additionalProperties'] !== undefined) visit(schema['additionalProperties'] as Schema, `${path}{}`);
    };
    visit(crd.spec.versions[0]?.schema.openAPIV3Schema ?? {}, '');
    expect(missing).toEqual([]);
  });
});

describe('offline validation', () => {
  cases.each(CASES, (kind, content, refusal) => {
    const result: SchemaResult = schemas.validate(kind, objectOf(kind, content, 'x'));
    if (refusal === null) {
      expect(result).toHaveProperty('object');
      return;
    }
    expect('problems' in result ? result.problems : []).toContainEqual({path: refusal[0], message: expect.stringContaining(refusal[1])});
  });

  test.each(REFUSED.map(([, what, spec, , , first]) => [what, spec, first] as const))('%s', (_what, spec, first) => {
    const result = schemas.validate('CiliumNetworkPolicy', objectOf('CiliumNetworkPolicy', {spec}, 'x'));
    expect('problems' in result ? 'refused' : 'taken').toBe(first === 'decode' ? 'taken' : 'refused');
  });

  test.each(TAKEN.map(([, what, spec]) => [what, spec] as const))('%s is taken', (_what, spec) => {
    expect(schemas.validate('CiliumNetworkPolicy', objectOf('CiliumNetworkPolicy', {spec}, 'x'))).toHaveProperty('object');
  });

  test.each([...REFUSED_CLUSTERWIDE.map(([, what, spec]) => [what, spec, 'problems'] as const), ...TAKEN_CLUSTERWIDE.map(([what, spec]) => [what, spec, 'object'] as const)])(
    'cluster-wide, %s', (_what, spec, expected) => {
      expect(schemas.validate('CiliumClusterwideNetworkPolicy', objectOf('CiliumClusterwideNetworkPolicy', {spec}, 'x'))).toHaveProperty(expected);
    });

  test('an unknown field is named with its path', () => {
    const result = schemas.validate('CiliumNetworkPolicy', objectOf('CiliumNetworkPolicy', {spec: {endpointSelector: {}, ingress: [{toPort: []}]}}, 'x'));
    expect(result).toEqual({problems: [{path: 'spec.ingress[0].toPort', message: 'unknown field'}]});
  });

  test('defaults are set in a copy', () => {
    const written = objectOf('CiliumBGPPeeringPolicy', {spec: {virtualRouters: [{localASN: 1, neighbors: [{peerASN: 1, peerAddress: '10.1.5.1/24'}]}]}}, 'x');
    const result = schemas.validate('CiliumBGPPeeringPolicy', written);
    expect(result).toMatchObject({object: {spec: {virtualRouters: [{exportPodCIDR: false, serviceAdvertisements: ['LoadBalancerIP'],
      neighbors: [{peerPort: 179, holdTimeSeconds: 90, keepAliveTimeSeconds: 30, connectRetryTimeSeconds: 120, eBGPMultihopTTL: 1}]}]}}});
    expect(JSON.stringify(written)).not.toContain('peerPort');
  });

  test('other kinds pass', () => {
    const pod = {apiVersion: 'v1', kind: 'Pod', metadata: {name: 'x'}, anything: 1};
    expect(schemas.admit('Pod', pod)).toEqual({object: pod});
  });
});

cases.one('1.9-02', 'CIDR groups are served as v2 and as v2alpha1, with one schema', () => {
  const [, text = ''] = files.find(([file]) => file === 'ciliumcidrgroups.yaml') ?? [];
  const {spec: {versions}} = parse(text) as {spec: {versions: {name: string; served: boolean; storage: boolean; schema: unknown}[]}};
  expect(versions.map(({name, served, storage}) => [name, served, storage])).toEqual([['v2', true, true], ['v2alpha1', true, false]]);
  expect(versions[1]?.schema).toEqual(versions[0]?.schema);
});

cases.one('1.1-22', 'a null is as if the field were not there; one of an unknown field stays', () => {
  const spec = {endpointSelector: {}, ingress: [{fromEndpoints: null, toPorts: null}], egress: null};
  expect(schemas.validate('CiliumNetworkPolicy', objectOf('CiliumNetworkPolicy', {spec}, 'x'))).toMatchObject({object: {spec: {endpointSelector: {}, ingress: [{}]}}});
  expect(schemas.validate('CiliumNetworkPolicy', objectOf('CiliumNetworkPolicy', {spec: {...spec, typo: null}}, 'x'))).toEqual({problems: [{path: 'spec.typo', message: 'unknown field'}]});
});

cases.complete();
