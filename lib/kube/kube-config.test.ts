import {mkdtemp, rm, utimes, writeFile} from 'node:fs/promises';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterEach, beforeEach, describe, expect, test} from '@jest/globals';
import {loadKubeConfig} from './kube-config.js';

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'stentor-kubeconfig-'));
});
afterEach(() => rm(dir, {recursive: true}));

async function write(name: string, content: unknown): Promise<string> {
  const path = join(dir, name);
  await writeFile(path, typeof content === 'string' ? content : JSON.stringify(content));
  return path;
}

const config = (name: string, user: object, more: object = {}): object => ({
  'current-context': name,
  'clusters': [{name, cluster: {'server': `https://${name}:6443/`, 'certificate-authority': 'ca.crt', ...more}}],
  'users': [{name, user}],
  'contexts': [{name, context: {cluster: name, user: name, namespace: 'shop'}}],
});

describe('kubeconfig', () => {
  test('files are found beside it and read again when they change', async () => {
    for (const file of ['ca.crt', 'c.crt', 'c.key']) await write(file, file);
    const connection = await loadKubeConfig({kubeconfig: await write('config', config('a', {'client-certificate': 'c.crt', 'client-key': 'c.key'}))});
    expect(connection).toMatchObject({server: 'https://a:6443', namespace: 'shop'});
    const first = await connection.credentials();
    expect(first.tls.cert?.toString()).toBe('c.crt');
    expect((await connection.credentials()).version).toBe(first.version);
    await write('c.crt', 'renewed');
    await utimes(join(dir, 'c.crt'), 1, 1);
    const second = await connection.credentials();
    expect(second.tls.cert?.toString()).toBe('renewed');
    expect(second.version).not.toBe(first.version);
  });

  test('data, token, password, impersonation, server name', async () => {
    const data = Buffer.from('x').toString('base64');
    const more = {'certificate-authority-data': data, 'certificate-authority': undefined, 'tls-server-name': 'api', 'insecure-skip-tls-verify': true};
    const token = await loadKubeConfig({kubeconfig: await write('token', config('a', {token: 't', as: 'jane'}, more))});
    expect(await token.credentials()).toMatchObject({headers: {'authorization': 'Bearer t', 'impersonate-user': 'jane'},
      tls: {servername: 'api', rejectUnauthorized: false, ca: Buffer.from('x')}});
    const password = await loadKubeConfig({kubeconfig: await write('password', config('a', {username: 'u', password: 'p'}, more))});
    expect((await password.credentials()).headers).toEqual({authorization: `Basic ${Buffer.from('u:p').toString('base64')}`});
  });

  test('an exec plug-in gives the token', async () => {
    const credential = JSON.stringify({apiVersion: 'client.authentication.k8s.io/v1', kind: 'ExecCredential', status: {token: 'from-plugin'}});
    const exec = {command: 'echo', args: [credential]};
    const connection = await loadKubeConfig({kubeconfig: await write('exec', config('a', {exec}, {'certificate-authority': undefined}))});
    expect((await connection.credentials()).headers).toEqual({authorization: 'Bearer from-plugin'});
  });

  test('several files: the first one that names something wins; another context may be chosen', async () => {
    const paths = [await write('one', config('a', {token: '1'})), await write('two', config('b', {token: '2'}))].join(':');
    await write('ca.crt', '');
    expect((await loadKubeConfig({kubeconfig: paths})).server).toBe('https://a:6443');
    expect((await loadKubeConfig({kubeconfig: paths, context: 'b'})).server).toBe('https://b:6443');
  });

  test('says what is wrong with it', async () => {
    await expect(loadKubeConfig({kubeconfig: join(dir, 'none')})).rejects.toMatchObject({code: 'KubeConfig'});
    await expect(loadKubeConfig({kubeconfig: await write('broken', 'a: [')})).rejects.toMatchObject({code: 'KubeConfig'});
    await expect(loadKubeConfig({kubeconfig: await write('list', '[]')})).rejects.toMatchObject({code: 'KubeConfig'});
    await expect(loadKubeConfig({kubeconfig: await write('c', config('a', {})), context: 'z'})).rejects.toMatchObject({message: expect.stringContaining('no context "z"')});
  });

  test('in a pod: the service account, its token read again when it is rotated', async () => {
    await write('ca.crt', 'ca');
    await write('namespace', 'kube-system\n');
    await write('token', 'one\n');
    const connection = await loadKubeConfig({kubeconfig: null, serviceAccountDir: dir, inClusterServer: '10.0.0.1:6443'});
    expect(connection).toMatchObject({server: 'https://10.0.0.1:6443', namespace: 'kube-system'});
    const first = await connection.credentials();
    expect(first.headers).toEqual({authorization: 'Bearer one'});
    await write('token', 'two');
    await utimes(join(dir, 'token'), 1, 1);
    const second = await connection.credentials();
    expect(second.headers).toEqual({authorization: 'Bearer two'});
    // A new token needs no new connections.
    expect(second.version).toBe(first.version);
  });
});
