import {afterEach, beforeEach, describe, expect, test} from '@jest/globals';
import {KubeClient} from '../../lib/kube/client.js';
import {FakeApiServer, openWatch, sendList, sendStatus} from '../../lib/kube/fake-api-server.js';
import {RESOURCES} from '../../lib/kube/resources.js';
import {realClock} from '../../lib/run/clock.js';
import {silentLog} from '../../lib/run/log.js';
import type {Change} from './feed-types.js';
import {Reflector} from './reflector.js';

const watched = {kind: 'Node', resource: RESOURCES.Node, namespace: null, includes: () => true} as const;
const node = (name: string, uid: string, resourceVersion: string): object => ({metadata: {name, uid, resourceVersion, managedFields: [{manager: 'x'}]}});

let server: FakeApiServer;
let client: KubeClient;
let stop: AbortController;
let changes: Change[];
let listed: number;
let running: Promise<void>;

beforeEach(async () => {
  server = await FakeApiServer.start();
  stop = new AbortController();
  changes = [];
  listed = 0;
  client = new KubeClient({timeoutMs: 2_000, retries: 0}, {connection: server.connection(), clock: realClock});
});

afterEach(async () => {
  stop.abort();
  await running;
  await client.close();
  await server.stop();
});

function start(options: {readonly pageSize?: number} = {}): Reflector {
  const reflector = new Reflector({watched, backoff: {baseMs: 2, maxMs: 10}, ...options}, {
    client, clock: realClock, log: silentLog, onChanges: (more) => void changes.push(...more), onListed: () => void listed++,
  });
  running = reflector.run(stop.signal);
  return reflector;
}

async function until(condition: () => boolean): Promise<void> {
  const deadline = Date.now() + 3_000;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error(`not reached: ${condition.toString()} with ${JSON.stringify(changes)}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

const seen = (): string[] => changes.map(({key, object}) => (object === null ? `-${key}` : `${key} ${object.metadata.uid} ${object.metadata.resourceVersion}`));
const isWatch = (url: URL): boolean => url.searchParams.get('watch') === '1';

describe('reflector', () => {
  test('lists in pages, then watches from the version of the list', async () => {
    server.answer(({url}, response) => {
      if (isWatch(url)) {
        const watch = openWatch(response);
        watch.send('ADDED', node('c', 'u3', '12'));
        watch.send('DELETED', node('a', 'u1', '13'));
      } else if (url.searchParams.get('continue') === null) {
        sendList(response, [node('a', 'u1', '1')], {resourceVersion: '10', continue: 'more'});
      } else {
        sendList(response, [node('b', 'u2', '2')], {resourceVersion: '10'});
      }
    });
    const reflector = start({pageSize: 1});
    await until(() => changes.length === 4);
    expect(seen()).toEqual(['a u1 1', 'b u2 2', 'c u3 12', '-a']);
    expect(listed).toBe(1);
    const watch = server.requests.find(({url}) => isWatch(url));
    expect(watch?.url.searchParams.get('resourceVersion')).toBe('10');
    expect(watch?.url.searchParams.get('allowWatchBookmarks')).toBe('true');
    expect(changes[0]?.object?.metadata).not.toHaveProperty('managedFields');
    expect(reflector.status()).toMatchObject({listed: true, objects: 2, resourceVersion: '13', lists: 1, failure: null});
  });

  test('a cut watch resumes from the last bookmark, and nothing is listed again', async () => {
    const versions: (string | null)[] = [];
    server.answer(({url}, response) => {
      if (!isWatch(url)) return sendList(response, [node('a', 'u1', '1')], {resourceVersion: '10'});
      versions.push(url.searchParams.get('resourceVersion'));
      const watch = openWatch(response);
      if (versions.length === 1) {
        watch.send('BOOKMARK', {metadata: {resourceVersion: '50'}});
        setTimeout(watch.cut, 5);
      } else {
        watch.send('MODIFIED', node('a', 'u1', '51'));
      }
    });
    const reflector = start();
    await until(() => changes.length === 2);
    expect(versions).toEqual(['10', '50']);
    expect(reflector.status().lists).toBe(1);
  });

  test('410 lists again: what went away is gone, what was made anew under the same name is gone first, the rest is silent', async () => {
    let lists = 0;
    server.answer(({url}, response) => {
      if (isWatch(url)) {
        if (lists === 1) openWatch(response).send('ERROR', {kind: 'Status', code: 410, reason: 'Expired'});
        else openWatch(response);
        return;
      }
      lists++;
      const first = [node('a', 'u1', '1'), node('b', 'u2', '2'), node('c', 'u3', '3')];
      const second = [node('a', 'u1', '1'), node('b', 'new', '21'), node('d', 'u4', '22')];
      sendList(response, lists === 1 ? first : second, {resourceVersion: lists === 1 ? '10' : '30'});
    });
    start();
    await until(() => changes.length >= 7);
    expect(seen().slice(3)).toEqual(['-b', 'b new 21', 'd u4 22', '-c']);
    expect(listed).toBe(1);
  });

  test('refusals and broken connections never end it: 404 until the kind is served, 500, 429, a cut list', async () => {
    const answers = [404, 404, 500, 429, 0, 403];
    server.answer(({url}, response) => {
      if (isWatch(url)) return void openWatch(response);
      const status = answers.shift();
      if (status === undefined) sendList(response, [node('a', 'u1', '1')], {resourceVersion: '10'});
      else if (status === 0) response.destroy();
      else sendStatus(response, status, 'Whatever');
    });
    start();
    await until(() => listed === 1);
    expect(seen()).toEqual(['a u1 1']);
  });

  test('a list that breaks between its pages removes nothing', async () => {
    let lists = 0;
    server.answer(({url}, response) => {
      if (isWatch(url)) return lists < 2 ? sendStatus(response, 410, 'Expired') : void openWatch(response);
      if (url.searchParams.get('continue') !== null) {
        return lists === 2 ? sendStatus(response, 410, 'Expired') : sendList(response, [node('b', 'u2', '2')], {resourceVersion: '10'});
      }
      lists++;
      return sendList(response, [node('a', 'u1', '1')], {resourceVersion: '10', continue: 'more'});
    });
    start();
    await until(() => lists === 3 && server.requests.filter(({url}) => isWatch(url)).length === 2);
    expect(seen()).toEqual(['a u1 1', 'b u2 2']);
  });

  test('garbage in the stream is an error that is retried, not an end', async () => {
    let watches = 0;
    server.answer(({url}, response) => {
      if (!isWatch(url)) return sendList(response, [], {resourceVersion: '10'});
      if (++watches === 1) {
        response.writeHead(200);
        response.write('{"type": "ADDED", "object": {\n');
        return;
      }
      openWatch(response).send('ADDED', node('a', 'u1', '11'));
    });
    start();
    await until(() => changes.length === 1);
    expect(seen()).toEqual(['a u1 11']);
  });
});
