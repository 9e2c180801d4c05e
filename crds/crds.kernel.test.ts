// The CRDs against a real API server: they are accepted, and so is everything that offline validation accepts, and nothing else.

import {readFile} from 'node:fs/promises';
import {join} from 'node:path';
import {describe, expect, test} from '@jest/globals';
import {installCrds} from '../operator/apply/crds.js';
import {collectionPath, objectPath, RESOURCES} from '../lib/kube/resources.js';
import {parseManifests} from '../lib/kube/manifest.js';
import {realClock} from '../lib/run/clock.js';
import {silentLog} from '../lib/run/log.js';
import {useApiServer} from '../lib/testing/use-api-server.js';
import {CrdSchemas} from './schema.js';
import {CASES, objectOf} from './testing/cases.js';
import {REFUSED, REFUSED_CLUSTERWIDE, TAKEN, TAKEN_CLUSTERWIDE} from './testing/refused.js';

const ROOT = join(import.meta.dirname, '../..');
const CRDS = join(ROOT, 'crds');
const POLICIES = ['overview/l3-l4-policy.yaml', 'overview/cidr-policy.yaml', 'overview/l7-policy.yaml', 'bgp-lab/peering-policies.yaml'];
const api = useApiServer();

test('kubectl apply installs them as they are, without a warning', async () => {
  await api.server.kubectl(['apply', '--warnings-as-errors', '-f', CRDS]);
  await api.server.kubectl(['wait', '--for=condition=Established', '--timeout=10s', '-f', CRDS]);
  const columns = JSON.parse(await api.server.kubectl(['get', 'crd', 'ciliumnetworkpolicies.cilium.io', '-o', 'json'])) as
    {spec: {versions: {additionalPrinterColumns: {name: string}[]}[]}};
  expect(columns.spec.versions[0]?.additionalPrinterColumns.map(({name}) => name)).toEqual(['Age', 'Valid', 'Enforced']);
}, 30_000);

test('the operator keeps what has our version or a higher one, and replaces what is older', async () => {
  const parts = {client: api.client, clock: realClock, log: silentLog};
  expect(new Set((await installCrds({dir: CRDS}, parts, api.signal)).values())).toEqual(new Set(['kept']));
  const label = (version: string | null): Promise<unknown> => api.client.patch(
    objectPath(RESOURCES.CustomResourceDefinition, null, 'ciliumidentities.cilium.io'),
    {type: 'merge', patch: {metadata: {labels: {'io.cilium.k8s.crd.schema.version': version}}, spec: {versions: [{
      name: 'v2', served: true, storage: true, schema: {openAPIV3Schema: {type: 'object', 'x-kubernetes-preserve-unknown-fields': true}}}]}}}, api.signal);
  for (const [version, outcome] of [['2.0.0', 'kept'], ['1.33.9', 'upgraded'], [null, 'upgraded'], ['rubbish', 'upgraded']] as const) {
    await label(version);
    expect((await installCrds({dir: CRDS}, parts, api.signal)).get('ciliumidentities.cilium.io')).toBe(outcome);
  }
  await api.server.kubectl(['delete', 'crd', 'ciliumidentities.cilium.io']);
  expect((await installCrds({dir: CRDS}, parts, api.signal)).get('ciliumidentities.cilium.io')).toBe('created');
}, 30_000);

describe('the policies of the reference articles', () => {
  test.each(POLICIES)('%s applies unchanged, with strict field validation', async (file) => {
    const path = join(ROOT, 'e2e/manifests', file);
    await api.server.kubectl(['apply', '--validate=strict', '-f', path]);
    const {manifests, problems} = parseManifests(await readFile(path, 'utf8'));
    expect(problems).toEqual([]);
    expect(manifests.length).toBeGreaterThan(0);
    const schemas = new CrdSchemas();
    for (const {kind, object} of manifests) expect(schemas.admit(kind, object)).toHaveProperty('object');
  }, 20_000);
});

describe('the API server and offline validation agree', () => {
  test.each(CASES.map(([, ...row]) => row))('%s', async (what, kind, content, refusal) => {
    const resource = RESOURCES[kind];
    const object = objectOf(kind, content, what.toLowerCase().replace(/[^a-z0-9]+/g, '-').replace(/^-|-$/g, ''));
    const path = `${collectionPath(resource, 'default')}?dryRun=All&fieldValidation=Strict`;
    const answer = api.client.create(path, object, api.signal);
    if (refusal !== null) {
      await expect(answer).rejects.toMatchObject({code: refusal[1] === 'unknown field' ? 'BadRequest' : 'Invalid'});
      return;
    }
    const {apiVersion, kind: _, metadata: __, ...stored} = await answer;
    const offline = new CrdSchemas().validate(kind, object);
    expect(apiVersion).toBe(resource.apiVersion);
    const {apiVersion: ___, kind: ____, metadata: _____, ...defaulted} = 'object' in offline ? offline.object : {};
    expect(stored).toEqual(defaulted);
  });

  test('an unknown field is refused by a strict client', async () => {
    const object = objectOf('CiliumNetworkPolicy', {spec: {endpointSelector: {}, ingress: [{toPort: []}]}}, 'x');
    const path = `${collectionPath(RESOURCES.CiliumNetworkPolicy, 'default')}?dryRun=All&fieldValidation=Strict`;
    await expect(api.client.create(path, object, api.signal)).rejects.toMatchObject({code: 'BadRequest', message: expect.stringContaining('toPort')});
  });
});

describe('what the sanitiser refuses is refused at kubectl apply, where a schema can say it', () => {
  const path = `${collectionPath(RESOURCES.CiliumNetworkPolicy, 'default')}?dryRun=All&fieldValidation=Strict`;

  test.each(REFUSED.map(([, what, spec, , , first], i) => [what, spec, first, i] as const))('%s', async (_what, spec, first, i) => {
    const answer = api.client.create(path, objectOf('CiliumNetworkPolicy', {spec}, `refused-${i}`), api.signal);
    if (first === 'decode') await expect(answer).resolves.toHaveProperty('spec');
    else await expect(answer).rejects.toMatchObject({code: expect.stringMatching(first === 'strict' ? 'BadRequest' : /^(Invalid|BadRequest)$/) as unknown});
  });

  test.each(TAKEN.map(([, what, spec], i) => [what, spec, i] as const))('%s is taken', async (_what, spec, i) => {
    await expect(api.client.create(path, objectOf('CiliumNetworkPolicy', {spec}, `taken-${i}`), api.signal)).resolves.toHaveProperty('spec');
  });

  const clusterwide = `${collectionPath(RESOURCES.CiliumClusterwideNetworkPolicy)}?dryRun=All&fieldValidation=Strict`;

  test.each([...REFUSED_CLUSTERWIDE.map(([, what, spec]) => [what, spec, false] as const), ...TAKEN_CLUSTERWIDE.map(([what, spec]) => [what, spec, true] as const)])(
    'cluster-wide, %s', async (what, spec, taken) => {
      const answer = api.client.create(clusterwide, objectOf('CiliumClusterwideNetworkPolicy', {spec}, what.toLowerCase().replace(/[^a-z0-9]+/g, '-')), api.signal);
      if (taken) await expect(answer).resolves.toHaveProperty('spec');
      else await expect(answer).rejects.toMatchObject({code: 'Invalid'});
    });

  test('a null is cut off: the field is not there', async () => {
    const spec = {endpointSelector: {}, ingress: [{fromEndpoints: null, toPorts: [{ports: [{port: '80', protocol: 'TCP'}]}]}]};
    const stored = await api.client.create(path, objectOf('CiliumNetworkPolicy', {spec}, 'null'), api.signal);
    expect(stored['spec']).toEqual({endpointSelector: {}, ingress: [{toPorts: [{ports: [{port: '80', protocol: 'TCP'}]}]}]});
  });
});

test('CIDR groups are served in both versions, and are the same', async () => {
  const group = {kind: 'CiliumCIDRGroup', metadata: {name: 'old'}, spec: {externalCIDRs: ['192.0.2.0/24']}};
  const old = {...RESOURCES.CiliumCIDRGroup, apiVersion: 'cilium.io/v2alpha1'};
  await api.client.create(collectionPath(old), {...group, apiVersion: old.apiVersion}, api.signal);
  await expect(api.client.get(objectPath(RESOURCES.CiliumCIDRGroup, null, 'old'), api.signal)).resolves.toMatchObject({apiVersion: 'cilium.io/v2', spec: group.spec});
});
