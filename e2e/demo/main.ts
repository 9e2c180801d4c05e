// Starts the lab for `make demo` and `make lab`, and ends it. Usage: main.js demo|up|down [--api=real|files] [--leaf=bird|frr] [--mode=native|tunnel]

import {closeSync, existsSync, openSync, readFileSync, rmSync} from 'node:fs';
import {spawn} from 'node:child_process';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {cleanUp, keepLogs, recordProcess} from '../harness/cleanup.js';
import {Lab, type LabOptions} from '../harness/lab.js';
import {RunDirectory} from '../harness/run-dir.js';
import {pause} from '../harness/shell.js';
import {applyPeering, leafRoutes, nodeSessions} from '../harness/checks/bgp.js';
import {runDemo} from './demo.js';
import {writeLabInfo} from './lab-info.js';
import {Output} from './output.js';

const DOWN_LIMIT_MS = 30_000;

async function main(): Promise<number> {
  const [command = '', ...flags] = process.argv.slice(2);
  const value = (name: string, fallback: string): string => flags.find((flag) => flag.startsWith(`--${name}=`))?.slice(name.length + 3) ?? fallback;
  const options: LabOptions = {
    api: oneOf('api', value('api', 'real'), ['real', 'files']), leaf: oneOf('leaf', value('leaf', 'bird'), ['bird', 'frr']),
    routingMode: oneOf('mode', value('mode', 'native'), ['native', 'tunnel']),
  };
  if (process.getuid?.() !== 0) throw new Error('the lab makes network namespaces and loads BPF programs: run it as root');
  switch (command) {
    case 'demo': return demo(options);
    case 'up': return up(flags);
    case 'serve': return serve(options);
    case 'down': return down();
    default: throw new Error('usage: run-lab.sh demo|up|down [--api=real|files] [--leaf=bird|frr] [--mode=native|tunnel]');
  }
}

function oneOf<T extends string>(name: string, value: string, allowed: readonly T[]): T {
  const found = allowed.find((item) => item === value);
  if (found === undefined) throw new Error(`--${name} is one of ${allowed.join(', ')}, not ${value}`);
  return found;
}

async function demo(options: LabOptions): Promise<number> {
  const output = new Output({colour: process.stdout.isTTY}, {write: (text) => void process.stdout.write(text)});
  const run = RunDirectory.create();
  recordProcess(run, process.pid, 'demo');
  const stopSignal = new Promise<'interrupted'>((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => resolve('interrupted'));
  });
  let lab: Lab | null = null;
  const work = (async (): Promise<'done'> => {
    lab = await Lab.start(options, run, output.progress);
    await runDemo(lab, output);
    return 'done';
  })();
  let broken = false;
  try {
    broken = await Promise.race([work, stopSignal]) !== 'done';
  } catch (error) {
    broken = true;
    output.add({name: 'the demo ran to its end', value: error instanceof Error ? error.message : String(error), verdict: 'FAIL'});
    if (lab !== null) output.progress(`logs kept in ${await keepLogs(run)}`);
  }
  output.heading('cleaning up');
  const left = await endRun(lab, run);
  output.add({name: 'nothing is left: links, namespaces, pins, cgroups, routes, processes', value: left.length === 0 ? '0 left' : left.join('; '), verdict: left.length === 0 ? 'ok' : 'FAIL'});
  const code = output.table();
  return broken ? 1 : code;
}

/** Lab.stop needs a lab that answers; the records alone are enough when it does not. */
async function endRun(lab: Lab | null, run: RunDirectory): Promise<readonly string[]> {
  if (lab !== null) {
    try {
      return await Promise.race([lab.stop(), pause(60_000).then(() => cleanUp(run))]);
    } catch {
      // Falls through to the records.
    }
  }
  return cleanUp(run);
}

/** Starts `serve` in the background, shows its progress, and ends when the lab is ready. */
async function up(flags: readonly string[]): Promise<number> {
  if (RunDirectory.current() !== null) throw new Error('a lab is up already: `./lab status`, or `make lab-down` to end it');
  const log = join(tmpdir(), `stentor-lab-up-${process.pid}.log`);
  const fd = openSync(log, 'a');
  const child = spawn(process.execPath, [process.argv[1] ?? '', 'serve', ...flags], {detached: true, stdio: ['ignore', fd, fd]});
  closeSync(fd);
  let ended: number | null = null;
  child.once('exit', (code) => {
    ended = code ?? 1;
  });
  for (let shown = 0; ;) {
    const text = existsSync(log) ? readFileSync(log, 'utf8') : '';
    process.stdout.write(text.slice(shown));
    shown = text.length;
    if (ended !== null || text.includes(READY)) break;
    await pause(100);
  }
  child.unref();
  rmSync(log, {force: true});
  return ended ?? 0;
}

const READY = './lab status';

async function serve(options: LabOptions): Promise<number> {
  const output = new Output({colour: false}, {write: (text) => void process.stdout.write(text)});
  const run = RunDirectory.create();
  recordProcess(run, process.pid, 'lab');
  run.makeCurrent();
  const stopped = new Promise<void>((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => resolve());
  });
  let lab: Lab | null = null;
  try {
    lab = await Lab.start(options, run, output.progress);
    await lab.objects.apply(lab.manifest('bgp-lab/daemonset.yaml'));
    await lab.objects.apply(lab.manifest('overview/pods.yaml'));
    const applied = await applyPeering(lab);
    output.add(await nodeSessions(lab, applied), await leafRoutes(lab));
    await lab.podsReady(['app', 'app'], 4);
    for (const [key, value, count] of [['org', 'empire', 2], ['org', 'alliance', 2], ['app', 'myService', 1]] as const) await lab.podsReady([key, value], count);
    output.progress('pods of the DaemonSet and of the overview article are running');
    const refresh = setInterval(() => writeLabInfo(lab), 1_000);
    writeLabInfo(lab);
    process.stdout.write(whatToTry(options));
    await stopped;
    clearInterval(refresh);
  } catch (error) {
    process.stdout.write(`the lab could not be started: ${error instanceof Error ? error.message : String(error)}\n`);
    if (lab !== null) output.progress(`logs kept in ${await keepLogs(run)}`);
    await endRun(lab, run);
    return 1;
  }
  const left = await endRun(lab, run);
  return left.length === 0 ? 0 : 1;
}

function whatToTry(options: LabOptions): string {
  const kubectl = options.api === 'real' ? `
  ./lab kubectl get pods -o wide
  ./lab kubectl apply -f e2e/manifests/overview/l3-l4-policy.yaml
  ./lab kubectl wait --for=condition=stentor.io/Enforced cnp/rule1
  ./lab kubectl get ciliumendpoints,ciliumidentities,ciliumnodes
  ./lab kubectl create configmap ip-masq-agent --from-file=e2e/manifests/ip-masq/agent-config -n kube-system
  ./lab kubectl label node cilium-bgp-worker rack=rack1 --overwrite` : `
  cp e2e/manifests/overview/l3-l4-policy.yaml "$(./lab input)"     # the operator reads this folder`;
  return `
The lab is up. Try:
${kubectl}
  ./lab shell tiefighter -- curl -m 1 http://$(./lab address deathstar)/
  ./lab shell xwing -- curl -m 1 http://$(./lab address deathstar)/
  ./lab stentorctl --node cilium-bgp-worker2 bpf policy list
  ./lab stentorctl --node cilium-bgp-worker2 monitor --types drop
  ./lab stentorctl --node cilium-bgp-worker bgp peers
  ./lab shell leaf0 -- ip route            # or: ./lab shell leaf0, ./lab shell cilium-bgp-worker
  ./lab logs operator
  ./lab status                             # what runs where

make lab-down ends it.
`;
}

/** Ends the lab, and whatever crashed runs have left. */
async function down(): Promise<number> {
  const runs = RunDirectory.all();
  if (runs.length === 0) process.stdout.write('no lab is up\n');
  let code = 0;
  for (const record of runs) {
    const run = new RunDirectory(record.prefix, record.path);
    const owner = ownerOf(record.ownerPid);
    if (owner === 'other') {
      process.stdout.write(`${record.prefix}: process ${record.ownerPid} is using it; left alone\n`);
      continue;
    }
    if (owner === 'lab') {
      process.kill(record.ownerPid, 'SIGTERM');
      for (let waited = 0; waited < DOWN_LIMIT_MS && existsSync(run.path); waited += 100) await pause(100);
    }
    const left = existsSync(run.path) ? await cleanUp(run) : [];
    process.stdout.write(left.length === 0 ? `${record.prefix}: nothing is left\n` : `${record.prefix}: still there: ${left.join('; ')}\n`);
    if (left.length > 0) code = 1;
  }
  return code;
}

/** `other`: a program that uses the harness, as a test does. A run whose owner is gone is a crashed one. */
function ownerOf(pid: number): 'lab' | 'other' | 'gone' {
  try {
    const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8');
    if (command === '') return 'gone';
    return command.includes('e2e/demo/main.js') ? 'lab' : 'other';
  } catch {
    return 'gone';
  }
}

try {
  process.exitCode = await main();
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 2;
}
// Sockets of kept connections must not hold the process.
process.exit();

