// In place of an agent, with its flags: a session over mTLS that acknowledges whatever it is sent, and does nothing about it. What is left of a
// change's time with four of these is no agent's to save.

import {readFileSync} from 'node:fs';
import * as grpc from '@grpc/grpc-js';
import {defineService, method} from '../../lib/run/grpc.js';
import {stentor} from '../../proto/gen/session.js';

const SERVICE = defineService('stentor.v1.NodeSessions', {Session: method('bidi', stentor.v1.AgentMessage, stentor.v1.OperatorMessage)});

function flag(name: string): string {
  const value = process.argv[process.argv.indexOf(`--${name}`) + 1];
  if (!process.argv.includes(`--${name}`) || value === undefined) throw new Error(`--${name} is needed`);
  return value;
}

const [ca, key, certificate] = ['tls-ca', 'tls-key', 'tls-cert'].map((name) => readFileSync(flag(name)));
if (ca === undefined || key === undefined || certificate === undefined) throw new Error('no certificate');
const client = SERVICE.connect(flag('operator-address'), grpc.credentials.createSsl(ca, key, certificate), {
  'grpc.ssl_target_name_override': flag('operator-name'), 'grpc.enable_retries': 0,
});
const call = client.Session();
call.on('data', ({chunk}: stentor.v1.OperatorMessage.$Properties) => {
  if (chunk?.last === true) call.write({ack: {sequence: chunk.sequence ?? 0, version: chunk.version ?? '', errors: []}});
});
call.on('error', (error: grpc.ServiceError) => {
  process.stderr.write(`${error.message}\n`);
  process.exit(1);
});
call.write({hello: {node: flag('node-name'), agentVersion: 'bare', held: []}});
