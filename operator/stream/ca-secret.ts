// The CA in a Kubernetes Secret of type TLS: made by the first replica, read by the others.

import {StentorError} from '../../lib/core/errors.js';
import type {KubeClient} from '../../lib/kube/client.js';
import {isKubeError} from '../../lib/kube/errors.js';
import {isRecord, type KubeObject} from '../../lib/kube/object.js';
import {collectionPath, objectPath, RESOURCES} from '../../lib/kube/resources.js';
import type {CaMaterial} from './ca.js';
import {CA_VALIDITY_MS} from './ca-files.js';

export interface SecretRef {
  readonly namespace: string;
  readonly name: string;
}

export async function loadOrCreateSecretCa(ref: SecretRef, client: KubeClient, nowMs: number, signal: AbortSignal): Promise<CaMaterial> {
  const path = objectPath(RESOURCES.Secret, ref.namespace, ref.name);
  try {
    return decodeSecret(ref, await client.get(path, signal));
  } catch (error) {
    if (!isKubeError(error, 'NotFound')) throw error;
  }
  const {createCa} = await import('./ca.js');
  const made = await createCa({nowMs, validityMs: CA_VALIDITY_MS});
  const object: KubeObject = {
    apiVersion: 'v1', kind: 'Secret', metadata: {name: ref.name, namespace: ref.namespace}, type: 'kubernetes.io/tls',
    stringData: {'tls.crt': made.certPem, 'tls.key': made.keyPem},
  };
  try {
    await client.create(collectionPath(RESOURCES.Secret, ref.namespace), object, signal);
    return made;
  } catch (error) {
    // Another replica was faster: its CA is the one.
    if (!isKubeError(error, 'AlreadyExists')) throw error;
    return decodeSecret(ref, await client.get(path, signal));
  }
}

/** The CA's certificate alone, in a ConfigMap of the same name: what agents are given, who must not read the Secret. */
export async function publishCa(ref: SecretRef, client: KubeClient, ca: CaMaterial, signal: AbortSignal): Promise<void> {
  const patch = {apiVersion: 'v1', kind: 'ConfigMap', metadata: {...ref}, data: {'ca.crt': ca.certPem}};
  await client.patch(objectPath(RESOURCES.ConfigMap, ref.namespace, ref.name), {type: 'apply', patch, fieldManager: 'stentor-operator', force: true}, signal);
}

function decodeSecret(ref: SecretRef, object: KubeObject): CaMaterial {
  const data = isRecord(object['data']) ? object['data'] : {};
  const [certPem, keyPem] = ['tls.crt', 'tls.key'].map((key) => {
    const value = data[key];
    return typeof value === 'string' ? Buffer.from(value, 'base64').toString('utf8') : '';
  });
  if (certPem === undefined || keyPem === undefined || certPem === '' || keyPem === '') {
    throw new StentorError('CA_INCOMPLETE', `the Secret ${ref.namespace}/${ref.name} lacks tls.crt or tls.key`, {...ref});
  }
  return {certPem, keyPem};
}
