// The service helper against a real server and client of grpc-js.

import * as grpc from '@grpc/grpc-js';
import {afterAll, beforeAll, expect, test} from '@jest/globals';
import {stentor} from '../../proto/gen/session.js';
import {defineService, method} from './grpc.js';

const {AgentMessage, OperatorMessage, Hello, Welcome} = stentor.v1;
const service = defineService('stentor.v1.NodeSessions', {
  Session: method('bidi', AgentMessage, OperatorMessage),
  Greet: method('unary', Hello, Welcome),
  Count: method('client-stream', Hello, Welcome),
  Repeat: method('server-stream', Hello, Welcome),
});
const server = new grpc.Server();
let address = '';

beforeAll(async () => {
  const encodedOnce = Buffer.from(OperatorMessage.encode({chunk: {sequence: 2 ** 40, last: true}}).finish());
  service.addTo(server, {
    Session: (call) => {
      call.on('data', (message) => {
        call.write({welcome: {operatorVersion: message.hello?.node ?? ''}});
        call.write(encodedOnce);
      });
      call.on('end', () => call.end());
    },
    Greet: (call, done) => (call.request.node === '' ? done({code: grpc.status.INVALID_ARGUMENT, details: 'no node'}) : done(null, {operatorVersion: `hello ${call.request.node}`})),
    Count: (call, done) => {
      let count = 0;
      call.on('data', () => count++);
      call.on('end', () => done(null, {operatorVersion: `${count}`}));
    },
    Repeat: (call) => {
      for (let i = 0; i < 3; i++) call.write({operatorVersion: `${call.request.node}${i}`});
      call.end();
    },
  });
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, bound) => (error === null ? resolve(bound) : reject(error)));
  });
  address = `127.0.0.1:${port}`;
});

afterAll(() => server.forceShutdown());

test('all four shapes carry messages, pre-encoded bytes pass through, and 64-bit fields are numbers', async () => {
  const client = service.connect(address, grpc.credentials.createInsecure());
  expect((await client.Greet({node: 'n1'})).operatorVersion).toBe('hello n1');
  await expect(client.Greet({node: ''})).rejects.toMatchObject({code: grpc.status.INVALID_ARGUMENT, details: 'no node'});
  expect((await client.Count([{node: 'a'}, {node: 'b'}])).operatorVersion).toBe('2');
  const repeated: string[] = [];
  for await (const message of client.Repeat({node: 'x'})) repeated.push((message as {operatorVersion: string}).operatorVersion);
  expect(repeated).toEqual(['x0', 'x1', 'x2']);
  const session = client.Session();
  const received: stentor.v1.OperatorMessage[] = [];
  session.on('data', (message) => received.push(message));
  session.write({hello: {node: 'n2'}});
  session.end();
  await new Promise((resolve) => session.on('end', resolve));
  expect(received[0]?.welcome?.operatorVersion).toBe('n2');
  expect(received[1]?.chunk?.sequence).toBe(2 ** 40);
  client.channel.close();
});
