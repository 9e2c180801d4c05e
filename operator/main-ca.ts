// operator ca issue --ca-dir DIR (--node NAME | --server NAME,…) --out DIR: certificates from the small CA.

import {StentorError} from '../lib/core/errors.js';
import {loadConfig} from '../lib/run/config.js';
import {realClock} from '../lib/run/clock.js';
import {loadOrCreateCa, writeIssued} from './stream/ca-files.js';

const OPTIONS = {
  'ca-dir': {kind: 'string', default: '', required: true, help: 'folder of the CA; made when missing'},
  node: {kind: 'string', default: '', help: 'a node’s client certificate'},
  server: {kind: 'list', default: [], help: 'a server certificate for these names and addresses'},
  validity: {kind: 'duration', default: '8760h', minMs: 1000, help: 'how long it is valid; an agent renews it in time'},
  out: {kind: 'string', default: '', required: true, help: 'folder for ca.crt, tls.crt, tls.key'},
} as const;

export async function issueCommand(argv: readonly string[]): Promise<void> {
  const [verb = '', ...rest] = argv;
  if (verb !== 'issue') throw new StentorError('CONFIG_INVALID', `unknown command: ca ${verb}`, {hint: 'ca issue --ca-dir DIR --node NAME --out DIR'});
  const result = await loadConfig({program: 'operator ca issue', about: 'Issues a certificate.', options: OPTIONS, argv: rest, env: {}});
  if (result.kind !== 'config') {
    process.stdout.write(result.kind === 'help' ? result.text : '');
    return;
  }
  const {node, server, out} = result.value;
  if ((node === '') === (server.length === 0)) throw new StentorError('CONFIG_INVALID', 'one of --node and --server is needed', {hint: 'see --help'});
  const {issueNode, issueServer} = await import('./stream/ca.js');
  const validity = {nowMs: realClock.now(), validityMs: result.value.validity};
  const ca = await loadOrCreateCa(result.value['ca-dir'], validity.nowMs);
  await writeIssued(out, node === '' ? await issueServer(ca, server, validity) : await issueNode(ca, node, validity));
}
