// The operator's whole turn, as far as it is synchronous: tables, compile, store, conditions, CiliumEndpoints. No agents.

import {realClock} from '../../../lib/run/clock.js';
import {silentLog} from '../../../lib/run/log.js';
import {DesiredStore} from '../../../operator/desired/store.js';
import type {Change} from '../../../operator/watch/feed-types.js';
import {Engine} from '../../../operator/wire-engine.js';
import {COMPILE, DECODERS} from './cluster.js';
import type {Workload} from './workloads.js';

const nothing = (): void => undefined;

export function engineWith(workload: Workload, identities: readonly Change[]): Engine {
  const engine = new Engine({
    compile: COMPILE, decoders: DECODERS, lbIpam: {families: [4], defaultIpam: true, classes: new Set()}, unreachableAfterMs: 60_000, settleMs: 60_000, spanAckLimitMs: 100, endpointsPerNodeMax: 1000, clusterPools: null,
  }, {
    store: new DesiredStore(), sessions: {get: () => undefined, all: () => [], spanAck: nothing}, clock: realClock, log: silentLog,
    observer: {compiled: nothing, converged: nothing, spanAcked: nothing, refused: nothing, lbIpam: nothing}, onClusterState: nothing, onInSync: nothing,
  });
  engine.onBatch({changes: [...workload.objects(), ...identities], inSync: true, receivedAtMs: 0});
  return engine;
}
