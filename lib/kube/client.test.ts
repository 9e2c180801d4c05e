import {afterEach, beforeEach, describe, expect, test} from '@jest/globals';
import {realClock} from '../run/clock.js';
import {KubeClient} from './client.js';
import {FakeApiServer, openWatch, sendList, sendObject, sendStatus} from './fake-api-server.js';
import type {WatchEvent} from './watch-decoder.js';

let server: FakeApiServer;
let client: KubeClient;
let stop: AbortController;

beforeEach(async () => {
  server = await FakeApiServer.start();
  stop = new AbortController();
  client = new KubeClient({timeoutMs: 2_000, retries: 2}, {connection: server.connection(), clock: instantSleep(), random: () => 0});
});

afterEach(async () => {
  stop.abort();
  await client.close();
  await server.stop();
});

const slept: number[] = [];
function instantSleep(): typeof realClock {
  slept.length = 0;
  return {...realClock, sleep: (ms) => {
    slept.push(ms);
    return Promise.resolve();
  }};
}

const named = (name: string): {metadata: {name: string; resourceVersion: string}} => ({metadata: {name, resourceVersion: '7'}});

describe('calls', () => {
  test('pages are asked for until there is no continue token, and the version of the last page counts', async () => {
    server.answer((request, response) => {
      const at = Number(request.url.searchParams.get('continue') ?? '0');
      sendList(response, [named(`n${at}`)], {resourceVersion: String(40 + at), ...(at < 2 ? {continue: String(at + 1)} : {})});
    });
    const page = await client.listAll('/api/v1/nodes', {limit: 1, resourceVersion: '0'}, stop.signal);
    expect(page.items.map((item) => item.metadata.name)).toEqual(['n0', 'n1', 'n2']);
    expect(page.resourceVersion).toBe('42');
    // resourceVersion may not be sent together with a continue token.
    expect(server.requests.map((request) => request.url.searchParams.get('resourceVersion'))).toEqual(['0', null, null]);
  });

  test('429 waits as Retry-After says and then succeeds', async () => {
    server.answer((_request, response) => {
      if (server.requests.length < 3) sendStatus(response, 429, 'TooManyRequests', {'retry-after': '2'});
      else sendObject(response, named('x'));
    });
    expect((await client.get('/api/v1/nodes/x', stop.signal)).metadata.name).toBe('x');
    expect(slept).toEqual([2000, 2000]);
  });

  test.each([
    [404, 'NotFound', 'NotFound'], [409, 'AlreadyExists', 'AlreadyExists'], [409, 'Conflict', 'Conflict'], [410, 'Expired', 'Gone'],
    [422, 'Invalid', 'Invalid'], [403, 'Forbidden', 'Forbidden'], [500, 'InternalError', 'ServerError'], [503, 'ServiceUnavailable', 'Unavailable'],
  ])('%i %s is %s', async (status, reason, code) => {
    server.answer((_request, response) => sendStatus(response, status, reason));
    await expect(client.get('/api/v1/nodes/x', stop.signal)).rejects.toMatchObject({code, message: `${reason} for the test`});
  });

  test('a get on a connection that breaks is made once more; a create is not', async () => {
    server.answer((request, response) => {
      if (server.requests.length === 1 || request.method === 'POST') response.destroy();
      else sendObject(response, named('x'));
    });
    expect((await client.get('/api/v1/nodes/x', stop.signal)).metadata.name).toBe('x');
    await expect(client.create('/api/v1/nodes', named('x'), stop.signal)).rejects.toMatchObject({code: 'Unreachable'});
    expect(server.requests.filter((request) => request.method === 'POST')).toHaveLength(1);
  });

  test('an abort ends a call that waits', async () => {
    server.answer(() => setTimeout(() => stop.abort(), 5));
    await expect(client.get('/api/v1/nodes/x', stop.signal)).rejects.toMatchObject({code: 'Aborted'});
  });

  test('delete says whether the object was there', async () => {
    server.answer((request, response) => {
      if (request.url.pathname.endsWith('/here')) sendObject(response, {kind: 'Status'});
      else sendStatus(response, 404, 'NotFound');
    });
    expect(await client.delete('/api/v1/nodes/here', {uid: 'u'}, stop.signal)).toBe(true);
    expect(await client.delete('/api/v1/nodes/gone', {}, stop.signal)).toBe(false);
    expect(JSON.parse(server.requests[0]?.body ?? '')).toMatchObject({preconditions: {uid: 'u'}});
  });

  test('server-side apply names its manager and its content type', async () => {
    server.answer((_request, response) => sendObject(response, named('x')));
    await client.patch('/api/v1/nodes/x/status', {type: 'apply', fieldManager: 'm', force: true, patch: {a: 1}}, stop.signal);
    const [request] = server.requests;
    expect(request?.headers['content-type']).toBe('application/apply-patch+yaml');
    expect(request?.url.search).toBe('?fieldManager=m&force=true');
  });
});

describe('watch', () => {
  const options = {resourceVersion: '5', timeoutSeconds: 60, silenceLimitMs: 0};

  test('events come in order however the bytes are cut, until the server ends it', async () => {
    server.answer((_request, response) => {
      response.writeHead(200, {'content-type': 'application/json'});
      const bytes = Buffer.from([
        {type: 'ADDED', object: named('ü')}, {type: 'MODIFIED', object: named('b')},
        {type: 'BOOKMARK', object: {metadata: {resourceVersion: '9'}}}, {type: 'DELETED', object: named('ü')},
      ].map((event) => `${JSON.stringify(event)}\n`).join(''));
      const writeFrom = (at: number): void => {
        if (at >= bytes.length) response.end();
        else response.write(bytes.subarray(at, at + 7), () => setImmediate(() => writeFrom(at + 7)));
      };
      writeFrom(0);
    });
    const seen: WatchEvent[] = [];
    await client.watch('/api/v1/nodes', options, (events) => seen.push(...events), stop.signal);
    expect(seen.map((event) => [event.type, event.object.metadata.name, event.object.metadata.resourceVersion])).toEqual([
      ['ADDED', 'ü', '7'], ['MODIFIED', 'b', '7'], ['BOOKMARK', '', '9'], ['DELETED', 'ü', '7'],
    ]);
  });

  test('an ERROR event 410 and a 410 answer are both Gone', async () => {
    server.answer((_request, response) => {
      if (server.requests.length === 1) openWatch(response).send('ERROR', {kind: 'Status', code: 410, reason: 'Expired', message: 'old'});
      else sendStatus(response, 410, 'Gone');
    });
    await expect(client.watch('/w', options, () => undefined, stop.signal)).rejects.toMatchObject({code: 'Gone'});
    await expect(client.watch('/w', options, () => undefined, stop.signal)).rejects.toMatchObject({code: 'Gone'});
  });

  test('a cut stream is Unreachable, a silent one Timeout, an aborted one Aborted', async () => {
    server.answer((_request, response) => {
      const watch = openWatch(response);
      if (server.requests.length === 1) setImmediate(watch.cut);
    });
    await expect(client.watch('/w', options, () => undefined, stop.signal)).rejects.toMatchObject({code: 'Unreachable'});
    await expect(client.watch('/w', {...options, silenceLimitMs: 50}, () => undefined, stop.signal)).rejects.toMatchObject({code: 'Timeout'});
    setTimeout(() => stop.abort(), 10);
    await expect(client.watch('/w', options, () => undefined, stop.signal)).rejects.toMatchObject({code: 'Aborted'});
  });

  test('what the callback throws ends the watch and comes out unchanged', async () => {
    server.answer((_request, response) => openWatch(response).send('ADDED', named('a')));
    const mine = new Error('mine');
    await expect(client.watch('/w', options, () => {
      throw mine;
    }, stop.signal)).rejects.toBe(mine);
  });
});
