// operator render --input PATH… --node NAME: the exact state that the operator would stream to the node, as JSON. No cluster needed.

import {StentorError} from '../lib/core/errors.js';
import {realClock} from '../lib/run/clock.js';
import {createLog} from '../lib/run/log.js';
import {loadRenderConfig} from './config.js';
import {Compiler} from './compile/graph.js';
import {renderState} from './desired/assemble.js';
import {DesiredStore} from './desired/store.js';
import {decoders} from './model/decoders.js';
import {applyBatch, applyRows, emptyTables} from './model/tables.js';
import type {Batch, Change} from './watch/feed-types.js';
import {startFileFeed} from './watch/files.js';
import type {KindOptions} from './watch/kinds.js';
import {assignedServices} from './compile/lb-ipam.js';
import {assignedNodes} from './compile/pod-cidrs.js';
import {clusterPools, compileOptions, decoderOptions, lbIpamOptions} from './wire.js';
import {kindOptions, loadAdmission} from './wire-source.js';

export async function renderCommand(argv: readonly string[]): Promise<void> {
  const result = await loadRenderConfig(argv);
  if (result.kind !== 'config') {
    process.stdout.write(result.kind === 'help' ? result.text : '');
    return;
  }
  const config = result.value;
  if (config.input.length === 0) throw new StentorError('CONFIG_INVALID', '--input is required', {hint: 'see --help'});
  const batch = await readOnce(config.input, kindOptions(config));
  const store = new DesiredStore();
  const compiler = new Compiler(compileOptions(config));
  const read = applyBatch(emptyTables(), batch, decoders(decoderOptions(config)));
  const pools = clusterPools(config);
  // The PodCIDRs that nodes would be given.
  const given = pools === null ? read : applyRows(read.tables, 'nodes', assignedNodes(read.tables, pools));
  const first = {tables: given.tables, changed: {...read.changed, ...given.changed}};
  store.apply(compiler.update(first.tables, first.changed));
  // The identities that would be created, as read back.
  const changes = [...compiler.identities.desired()].map(([name, labels]): Change => ({kind: 'CiliumIdentity', key: name, object: {
    metadata: {name}, 'security-labels': Object.fromEntries(labels.all.map((label) => [`${label.source}:${label.key}`, label.value])),
  }}));
  const second = applyBatch(first.tables, {changes, inSync: true, receivedAtMs: 0}, decoders(decoderOptions(config)));
  store.apply(compiler.update(second.tables, second.changed));
  // And the addresses that Services would be given.
  const third = applyRows(second.tables, 'exposedServices', assignedServices(second.tables, lbIpamOptions(config)));
  store.apply(compiler.update(third.tables, third.changed));
  if (!second.tables.nodes.has(config.node)) throw new StentorError('NO_SUCH_NODE', `there is no Node ${config.node} in the input`, {nodes: [...second.tables.nodes.keys()].sort()});
  process.stdout.write(`${JSON.stringify({node: config.node, ...renderState(store.nodeState(config.node))}, null, 2)}\n`);
}

/** Everything in the files, as one batch. */
async function readOnce(inputs: readonly string[], kinds: KindOptions): Promise<Batch> {
  const admit = await loadAdmission();
  const stop = new AbortController();
  const changes: Change[] = [];
  await new Promise<void>((resolve, reject) => {
    startFileFeed({inputs, outputDir: null, kinds}, {
      clock: realClock, log: createLog({level: 'warn', fields: {program: 'operator render'}}), admit,
      onBatch: (batch) => {
        changes.push(...batch.changes);
        if (batch.inSync) resolve();
      },
    }, stop.signal).done.catch(reject);
  });
  stop.abort(new Error('read'));
  return {changes, inSync: true, receivedAtMs: 0};
}
