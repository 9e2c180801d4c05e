// Secret → the TCP MD5 password that BGP objects name it for.

import type {KubeObject} from '../../watch/feed-types.js';
import type {BgpSecretFact} from '../bgp-facts.js';
import {record, text} from './json.js';

/** As the API gives it: base64 in `data`. A manifest may have plain text in `stringData`. */
export function decodeBgpSecret(object: KubeObject): BgpSecretFact {
  const plain = text(record(object['stringData'])['password']);
  const password = plain !== '' ? plain : Buffer.from(text(record(object['data'])['password']), 'base64').toString('utf8');
  return {password: password === '' ? null : password};
}
