// Reasons out of gobgpd's log, and the tail that finds them.

import {appendFileSync, mkdtempSync, rmSync, truncateSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {expect, test} from '@jest/globals';
import {LogTail, downReason} from './speaker-events.js';

test.each([
  ['{"level":"INFO","msg":"Peer Down","Topic":"Peer","Key":"10.0.0.2","State":"BGP_FSM_ESTABLISHED","Reason":"hold-timer-expired"}', {peer: '10.0.0.2', reason: 'hold-timer-expired'}],
  ['{"msg":"sent notification","Key":"10.0.0.2","State":"BGP_FSM_OPENSENT","Code":2,"Subcode":2,"Data":null}', {peer: '10.0.0.2', reason: 'sent notification: open message error, bad peer AS'}],
  ['{"msg":"received notification","Key":"fd00::1","Code":6,"Subcode":3}', {peer: 'fd00::1', reason: 'received notification: cease, peer de-configured'}],
  ['{"msg":"received notification","Key":"fd00::1","Code":6,"Subcode":77}', {peer: 'fd00::1', reason: 'received notification: cease, subcode 77'}],
  ['{"level":"DEBUG","msg":"failed to connect","Key":"10.0.0.2","Error":"dial tcp 0.0.0.0:0->10.0.0.2:179: connect: connection refused"}', {peer: '10.0.0.2', reason: 'connection refused: nothing listens there for this node'}],
  ['{"msg":"failed to connect","Key":"10.0.0.2","Error":"dial tcp 10.0.0.2:179: connect: network is unreachable"}', {peer: '10.0.0.2', reason: 'no route to the peer: the network is unreachable'}],
  ['{"msg":"failed to connect","Key":"10.0.0.2","Error":"dial tcp 10.0.0.2:179: i/o timeout"}', {peer: '10.0.0.2', reason: 'no answer to the TCP connection: the peer is down or filtered, or its TCP MD5 password is another one'}],
  ['{"msg":"Peer Up","Key":"10.0.0.2"}', null],
  ['{"msg":"Peer Down"', null],
  ['panic: runtime error', null],
])('%s', (line, expected) => expect(downReason(line)).toEqual(expected));

test('the tail reads whole lines, once, and starts over in a file that was cut', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'tail-'));
  const path = join(folder, 'log');
  const lines: string[] = [];
  const tail = new LogTail(path, (line) => lines.push(line));
  writeFileSync(path, 'one\ntw');
  await tail.read();
  appendFileSync(path, 'o\nthree\n');
  await Promise.all([tail.read(), tail.read()]);
  truncateSync(path, 0);
  appendFileSync(path, 'four\n');
  await tail.read();
  expect(lines).toEqual(['one', 'two', 'three', 'four']);
  // Faster than it is read: lines of what a router sent are passed over, and what is too far back, too.
  const long = `${'x'.repeat(100_000)}\n`;
  appendFileSync(path, `far back\n${long.repeat(20)}five\n${long}six\n`);
  await tail.read();
  expect(lines).toEqual(['one', 'two', 'three', 'four', 'five', 'six']);
  rmSync(folder, {recursive: true});
});
