// What agents say is bounded: nothing of it may be more than an object of Kubernetes can hold.

import {expect, test} from '@jest/globals';
import {decodeAgentMessage} from './decode.js';

test('numbers and families of a peer that cannot be are none', () => {
  const wild = {establishedAt: Number.MAX_SAFE_INTEGER, holdTimeSeconds: 4_000_000_000, keepaliveSeconds: -1, families: [
    {family: 'ipv4/unicast', received: 4_000_000_000, advertised: 7}, {family: 'x'.repeat(10_000), received: 1, advertised: 1}]};
  expect(decodeAgentMessage({peerReport: {peers: [{instance: 'a', address: '10.0.0.1', ...wild}]}})).toMatchObject({kind: 'peers', peers: [{
    establishedAt: 0, holdTimeSeconds: 0, keepaliveSeconds: 0, families: [{family: 'ipv4/unicast', received: 0, advertised: 7}],
  }]});
  expect(decodeAgentMessage({peerReport: {peers: [{establishedAt: 1_790_000_000, holdTimeSeconds: 90}]}})).toMatchObject({peers: [{establishedAt: 1_790_000_000, holdTimeSeconds: 90}]});
});
