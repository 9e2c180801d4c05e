// `make bench`: every number of docs/performance.md in one run. Usage: main.js [--only=latency,cni,memory,datapath,vxlan,bgp,demo] [--rounds=N] [--json=FILE]

import {spawn} from 'node:child_process';
import {writeFileSync} from 'node:fs';
import {cpus, release} from 'node:os';
import {join} from 'node:path';
import type {KubeClient} from '../../lib/kube/client.js';
import {applyPeering} from '../harness/checks/bgp.js';
import {cleanUp, recordProcess} from '../harness/cleanup.js';
import {NODE} from '../harness/helper.js';
import {Lab} from '../harness/lab.js';
import {Netns} from '../harness/netns.js';
import {ROOT, RunDirectory} from '../harness/run-dir.js';
import {nowMs, run as runCommand} from '../harness/shell.js';
import {NODES} from '../harness/topology.js';
import {measureBgp} from './bgp.js';
import {measureCni} from './cni.js';
import {deletePods, measurePath, sameHops, startPods, type Path} from './datapath.js';
import {ForeignCpu, foreignText} from './foreign-cpu.js';
import {measureLatency, measureLatencyFloor} from './latency.js';
import {measureMemory} from './memory.js';
import {Report} from './report.js';
import {calibrate, calibrationText, startServer} from './rr.js';
import {bareVethPair, shadowNodes, type ShadowNodes} from './topology.js';

const PARTS = ['latency', 'cni', 'memory', 'datapath', 'vxlan', 'bgp', 'demo'] as const;
type Part = (typeof PARTS)[number];

const LAB_READY_GOAL_S = 60;
const DEMO_GOAL_S = 300;

interface Options {
  readonly parts: ReadonlySet<Part>;
  readonly rounds: number;
  readonly jsonFile: string | null;
}

function optionsFrom(flags: readonly string[]): Options {
  const value = (name: string): string | null => flags.find((flag) => flag.startsWith(`--${name}=`))?.slice(name.length + 3) ?? null;
  const only = value('only')?.split(',') ?? PARTS;
  const parts = PARTS.filter((part) => only.includes(part));
  if (parts.length !== only.length) throw new Error(`--only takes ${PARTS.join(', ')}`);
  const rounds = Number(value('rounds') ?? 9);
  if (!Number.isInteger(rounds) || rounds < 5) throw new Error('--rounds is 5 or more');
  return {parts: new Set(parts), rounds, jsonFile: value('json')};
}

async function main(): Promise<number> {
  const options = optionsFrom(process.argv.slice(2));
  if (process.getuid?.() !== 0) throw new Error('the lab makes network namespaces and loads BPF programs: run it as root');
  const report = new Report({write: (text) => void process.stdout.write(text)});
  report.note(`machine: ${cpus().length} × ${cpus()[0]?.model ?? ''}, Linux ${release()}, Node ${process.versions.node}`);
  if (PARTS.some((part) => part !== 'demo' && options.parts.has(part))) await inLab(options, report);
  if (options.parts.has('demo')) await timeDemo(report);
  const code = report.table();
  if (options.jsonFile !== null) writeFileSync(options.jsonFile, `${JSON.stringify(report.json, null, 2)}\n`);
  return code;
}

async function inLab(options: Options, report: Report): Promise<void> {
  const run = RunDirectory.create('b');
  recordProcess(run, process.pid, 'bench');
  const stopSignal = new Promise<never>((_, reject) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => reject(new Error('interrupted')));
  });
  let lab: Lab | null = null;
  const work = (async (): Promise<void> => {
    const startedMs = nowMs();
    lab = await Lab.start({api: 'real', leaf: 'bird', routingMode: 'native'}, run, (text) => report.progress(text));
    await startApp(lab);
    const readyS = (nowMs() - startedMs) / 1000;
    report.add({
      name: 'lab ready (built): from nothing to four running pods', subject: `${readyS.toFixed(1)} s`, baseline: '–', result: '–', goal: `≤ ${LAB_READY_GOAL_S} s`,
      reached: readyS <= LAB_READY_GOAL_S,
    });
    await measure(lab, options, report);
  })();
  try {
    await Promise.race([work, stopSignal]);
  } catch (error) {
    report.check({name: 'the run came to its end', ok: false, value: error instanceof Error ? error.message : String(error)});
    await runCommand(['cp', '-r', run.folder('logs'), join('/tmp', `stentor-bench-logs-${run.prefix}`)]);
    report.note(`logs kept in /tmp/stentor-bench-logs-${run.prefix}`);
  }
  const left = await endRun(lab, run);
  report.check({name: 'nothing is left', ok: left.length === 0, value: left.length === 0 ? '0 left' : left.join('; ')});
}

async function endRun(lab: Lab | null, run: RunDirectory): Promise<readonly string[]> {
  try {
    return lab === null ? await cleanUp(run) : await lab.stop();
  } catch {
    // The records alone are enough when the lab does not answer.
    return cleanUp(run);
  }
}

async function startApp(lab: Lab): Promise<void> {
  await lab.objects.apply(lab.manifest('bgp-lab/daemonset.yaml'));
  await lab.podsReady(['app', 'app'], NODES.length);
  // Pods of other nodes are reached as the leaves have learned it.
  await applyPeering(lab);
}

async function measure(lab: Lab, options: Options, report: Report): Promise<void> {
  const loopback = await Netns.create(lab.run, 'bench-loopback');
  startServer(lab.run, 'loopback', {netnsPath: loopback.path});
  report.note(calibrationText('before', await calibrate({netnsPath: loopback.path})));
  if (options.parts.has('latency')) await observed('the policy changes', report, () => measureLatency(clientOf(lab), report));
  if (options.parts.has('cni')) await observed('CNI', report, () => measureCni(lab, report));
  if (options.parts.has('memory')) {
    report.progress('memory');
    await measureMemory(lab, report);
  }
  // After the memory: the agents start anew.
  if (options.parts.has('latency')) await observed('the policy changes, agents that do nothing', report, () => measureLatencyFloor(lab, clientOf(lab), report));
  if (options.parts.has('datapath') || options.parts.has('vxlan')) await measureDatapath(lab, options, report);
  // Last: it leaves ten thousand Services behind.
  if (options.parts.has('bgp')) {
    const {client} = lab;
    if (client === null) throw new Error('BGP needs an API server');
    await observed('BGP', report, () => measureBgp(lab, client, report));
  }
  report.note(calibrationText('after', await calibrate({netnsPath: loopback.path})));
}

function clientOf({client}: Lab): KubeClient {
  if (client === null) throw new Error('latency needs an API server');
  return client;
}

/** Measures with an eye on what else runs. */
async function observed(what: string, report: Report, body: () => Promise<void>): Promise<void> {
  report.progress(what);
  const foreign = new ForeignCpu();
  await body();
  report.note(foreignText(what, foreign.share()));
}

async function measureDatapath(lab: Lab, options: Options, report: Report): Promise<void> {
  const shadows = await shadowNodes(lab.run, lab.fabric);
  if (options.parts.has('datapath')) await observed('native round trips', report, () => measureNative(lab, shadows, {options, report}));
  if (!options.parts.has('vxlan')) return;
  report.progress('the same lab in tunnel mode');
  await lab.objects.delete({kind: 'daemonset', namespace: 'default', name: 'app'});
  await deletePods(lab);
  await lab.noPods();
  await lab.restartStentor('tunnel');
  const {client, far} = await startPods(lab);
  await observed('VXLAN round trips', report, () => measurePath(lab, {
    name: 'VXLAN, node to node', client, server: far, baselineName: 'kernel VXLAN', baseline: shadows.vxlan, goal: 1, rounds: options.rounds,
  }, report));
}

async function measureNative(lab: Lab, shadows: ShadowNodes, {options, report}: {readonly options: Options; readonly report: Report}): Promise<void> {
  const {client, near, far} = await startPods(lab);
  const bare = await bareVethPair(lab.run);
  const {rounds} = options;
  await measurePath(lab, {name: 'pod ↔ pod on a node', client, server: near, baselineName: 'bare veth pair', baseline: bare, goal: 1.15, rounds}, report);
  const native: Path = {name: 'native, node to node', client, server: far, baselineName: 'kernel routing', baseline: shadows.routed, goal: 1, rounds};
  report.check(await sameHops(native));
  await measurePath(lab, native, report);
}

async function timeDemo(report: Report): Promise<void> {
  report.progress('make demo, as built');
  const startedMs = nowMs();
  const child = spawn(NODE, ['--disable-warning=ExperimentalWarning', join(ROOT, 'dist', 'e2e', 'demo', 'main.js'), 'demo'], {stdio: ['ignore', 'pipe', 'pipe']});
  const output: Buffer[] = [];
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (part: Buffer) => output.push(part));
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
  const tookS = (nowMs() - startedMs) / 1000;
  const lines = Buffer.concat(output).toString().trim().split('\n');
  report.add({name: 'the whole demo (built)', subject: `${tookS.toFixed(0)} s`, baseline: '–', result: '–', goal: `≤ ${DEMO_GOAL_S} s`, reached: code === 0 && tookS <= DEMO_GOAL_S});
  const failed = lines.filter((line) => / FAIL /.test(line)).slice(0, 3).map((line) => line.trim());
  report.check({name: 'the demo ended with exit code 0', ok: code === 0, value: [`${code ?? 'signal'}: ${lines.at(-1) ?? ''}`, ...failed].join('; ')});
}

try {
  process.exitCode = await main();
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.stack ?? error.message : String(error)}\n`);
  process.exitCode = 2;
}
// Sockets of kept connections must not hold the process.
process.exit();
