// node uninstall: leaves no trace of the agent on this node.

import {StentorError} from '../../lib/core/errors.js';
import {acquireLock} from '../../lib/run/lock-file.js';
import {Netlink} from '../../agent/kernel/netlink.js';
import type {Verb, VerbContext} from '../context.js';
import {CliError, EXIT} from '../errors.js';
import {findTraces, lockPaths, removeEmptyFolders, type Trace, type TracePlaces} from '../uninstall/traces.js';
import {list as printList} from './common.js';

interface Row {
  readonly kind: string;
  readonly name: string;
  readonly result: string;
}

const FAILED = 'failed: ';

export const uninstall: Verb = async (context) => {
  if (process.getuid?.() !== 0) throw new CliError(EXIT.usage, 'node uninstall needs root');
  const places = placesOf(context);
  const netlink = Netlink.open();
  try {
    const traces = await findTraces(places, netlink);
    if (context.options['dryRun'] === true) return await print(context, traces.map((trace) => rowOf(trace, 'would be removed')));
    return await withLocks(places, async () => {
      const pods = traces.filter(({kind}) => kind === 'pod-device').length;
      if (pods > 0 && context.options['force'] !== true) {
        throw new CliError(EXIT.findings, `${pods} ${pods === 1 ? 'pod has its' : 'pods have their'} network from this node’s agent: drain the node, or --force`);
      }
      return await print(context, await removeAll(traces));
    });
  } finally {
    netlink.close();
    if (context.options['dryRun'] !== true) await removeEmptyFolders(places);
  }
};

function placesOf({options, common}: VerbContext): TracePlaces {
  const path = (name: string, otherwise: string): string => {
    const given = options[name];
    return typeof given === 'string' ? given : otherwise;
  };
  return {
    bpfRoot: common.bpfRoot, apiSocket: common.apiSocket, stateDir: path('stateDir', '/var/lib/stentor'),
    cniConf: path('cniConf', '/etc/cni/net.d/05-stentor.conflist'), cniPlugin: path('cniPlugin', '/opt/cni/bin/stentor-cni'),
  };
}

/** No agent works meanwhile, and none starts. */
async function withLocks<T>(places: TracePlaces, body: () => Promise<T>): Promise<T> {
  const held: {release(): Promise<void>}[] = [];
  try {
    for (const path of await lockPaths(places)) held.push(await acquireLock(path));
    return await body();
  } catch (error) {
    if (!(error instanceof StentorError) || error.code !== 'LOCKED') throw error;
    throw new CliError(EXIT.findings, `an agent runs here (pid ${String(error.data['pid'])}): end it first`, {cause: error});
  } finally {
    for (const lock of held) await lock.release();
  }
}

/** What cannot be removed does not hold up the rest. */
async function removeAll(traces: readonly Trace[]): Promise<readonly Row[]> {
  const rows: Row[] = [];
  for (const trace of traces) {
    try {
      await trace.remove();
      rows.push(rowOf(trace, 'removed'));
    } catch (error) {
      rows.push(rowOf(trace, `${FAILED}${error instanceof Error ? error.message : String(error)}`));
    }
  }
  return rows;
}

function rowOf({kind, name}: Trace, result: string): Row {
  return {kind, name, result};
}

function print(context: VerbContext, items: readonly Row[]): ReturnType<Verb> {
  context.io.err('what stays are settings of the kernel that others may use by now: net.ipv4.ip_forward and forwarding of the uplinks, net.ipv4.conf.all.rp_filter\n');
  return printList<Row>(context, {
    items,
    columns: [{title: 'KIND', cell: ({kind}) => kind}, {title: 'NAME', cell: ({name}) => name}, {title: 'RESULT', cell: ({result}) => result}],
    name: ({kind, name}) => `${kind}/${name}`,
    empty: 'nothing of an agent is on this node',
  }, items.some(({result}) => result.startsWith(FAILED)) ? EXIT.partial : EXIT.ok);
}
