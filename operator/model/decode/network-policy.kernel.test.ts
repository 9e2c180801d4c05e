// What the decoder takes and refuses of a NetworkPolicy is what a real API server takes and refuses.

import {expect, test} from '@jest/globals';
import {collectionPath, RESOURCES} from '../../../lib/kube/resources.js';
import {useApiServer} from '../../../lib/testing/use-api-server.js';
import {REFUSED_BY_API, REFUSED_ITEMS, TAKEN_ITEMS} from './testing/network-policy-items.js';

const api = useApiServer();

const ROWS = [
  ...TAKEN_ITEMS.map(([, what, item]) => [what, item, what !== REFUSED_BY_API] as const), ...REFUSED_ITEMS.map(([what, item]) => [what, item, false] as const),
];

test.each(ROWS.map((row, i) => [...row, i] as const))('%s', async (_what, item, taken, i) => {
  const object = {apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy', metadata: {name: `item-${i}`}, spec: {podSelector: {}, ingress: [item]}};
  const answer = api.client.create(`${collectionPath(RESOURCES.NetworkPolicy, 'default')}?dryRun=All&fieldValidation=Strict`, object, api.signal);
  if (taken) await expect(answer).resolves.toHaveProperty('spec');
  else await expect(answer).rejects.toMatchObject({code: 'Invalid'});
});
