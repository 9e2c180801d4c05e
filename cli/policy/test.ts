// policy test DIR: the assertions beside the manifests, each asked of the compiled policies.

import type {Direction} from '../../lib/domain/policy.js';
import {FlowJudge, type FlowVerdict} from '../../lib/policy/flows.js';
import {formatFlow} from '../../lib/policy/format.js';
import type {CompiledCluster} from '../../lib/policy/offline.js';
import {matches} from '../../lib/domain/selector.js';
import type {Verb, VerbContext} from '../context.js';
import {EXIT, usage} from '../errors.js';
import {printValue} from '../output.js';
import {table} from '../table.js';
import {assertionsOf, type Assertion} from './assertions.js';
import {coloursOf} from './colours.js';
import {flowOf, formatL4} from './flow-args.js';
import {loadSettings, readInput, sayProblems} from './input.js';
import {junit} from './junit.js';
import {compileWorld, worldOf, type World} from './world.js';

/** One flow of one assertion. */
export interface TestResult {
  readonly name: string;
  readonly file: string;
  readonly line: number;
  readonly from: string;
  readonly to: string;
  readonly port: string;
  readonly expect: 'allow' | 'deny';
  readonly verdict: string;
  readonly passed: boolean;
  /** Why the verdict is what it is, or what is wrong with the assertion. */
  readonly reason: string;
}

/** Pairs of one assertion beyond which something else was meant. */
const FLOWS_MAX = 1_000_000;

/** Assertions alone are about the cluster. */
async function testedWorld(context: VerbContext): Promise<World> {
  const [given, settings] = [await readInput(context, context.args), await loadSettings(context)];
  if (given.objects.length > 0 || given.others.length === 0) return worldOf(given, settings);
  const {readCluster} = await import('./cluster-source.js');
  const {objects} = await readCluster(context.common, context.signal);
  return worldOf({...given, objects}, settings);
}

export const test: Verb = async (context) => {
  const {common, io} = context;
  const world = await testedWorld(context);
  const partial = sayProblems(context, {...world, warnings: []});
  const assertions = assertionsOf(world.manifests.others, world.cluster.endpoints);
  if (assertions.length === 0) throw usage('there are no assertions in the input (documents with `tests`, each with from, to, ports, expect)');
  const results = runAssertions(world, compileWorld(world), assertions);
  const failed = results.filter(({passed}) => !passed);
  if (common.format === 'junit') io.out(junitText(results));
  else if (common.format !== 'table' && common.format !== 'wide' && common.format !== 'name') {
    await printValue(io, common.format, common.format === 'jsonl' ? results : {passed: results.length - failed.length, failed: failed.length, results});
  } else {
    const colours = coloursOf(io);
    const columns = [
      {title: 'RESULT', cell: ({passed}: TestResult) => (passed ? 'ok' : 'FAIL')}, {title: 'TEST', cell: ({name}: TestResult) => name}, {title: 'FROM', cell: ({from}: TestResult) => from},
      {title: 'TO', cell: ({to}: TestResult) => to}, {title: 'PORT', cell: ({port}: TestResult) => port}, {title: 'EXPECT', cell: ({expect}: TestResult) => expect},
      {title: 'VERDICT', cell: ({verdict}: TestResult) => verdict},
    ];
    io.out(table(columns, results, common.format === 'wide' ? null : io.width).replaceAll(/^ok/gm, colours.good('ok')).replaceAll(/^FAIL/gm, colours.bad('FAIL')));
    for (const {file, line, from, to, port, reason} of failed) io.out(`\n${file}:${line}: ${from} → ${to} ${port}\n    ${reason}\n`);
    io.out(`\n${assertions.length} assertions, ${results.length} flows: ${results.length - failed.length} passed, ${failed.length} failed\n`);
  }
  return failed.length > 0 ? EXIT.findings : partial ? EXIT.partial : EXIT.ok;
};

export function runAssertions(world: World, compiled: CompiledCluster, assertions: readonly Assertion[]): TestResult[] {
  const judge = new FlowJudge(compiled);
  return assertions.flatMap((assertion): TestResult[] => {
    const {name, file, line, expect, problem} = assertion;
    const count = assertion.from.length * assertion.to.length * assertion.ports.length;
    const wrong = problem ?? (count > FLOWS_MAX ? `${count} flows are too many` : null);
    if (wrong !== null) return [{name, file, line, from: '-', to: '-', port: '-', expect, verdict: 'error', passed: false, reason: wrong}];
    return assertion.from.flatMap((from) => assertion.to.flatMap((to) => assertion.ports.map((l4): TestResult => {
      const flow = flowOf(from.end, to.end, l4);
      const base = {name, file, line, from: from.name, to: to.name, port: formatL4(l4), expect};
      if (typeof flow === 'string') return {...base, verdict: 'error', passed: false, reason: flow};
      const judged = judge.judge(flow);
      if (judged.error !== null) return {...base, verdict: 'error', passed: false, reason: judged.error};
      const {verdict, reason} = formatFlow(judged);
      const because = becauseHolds(assertion, judged, {world, compiled, ends: [from.end, to.end]});
      const isExpected = (verdict === 'deny') === (expect === 'deny');
      const said = isExpected && !because ? `${reason}; not because of ${assertion.because ?? ''}` : reason;
      return {...base, verdict, passed: isExpected && because, reason: said};
    })));
  });
}

interface BecauseScope {
  readonly world: World;
  readonly compiled: CompiledCluster;
  readonly ends: readonly [Readonly<Record<string, unknown>>, Readonly<Record<string, unknown>>];
}

/** The policy is behind the deciding entry of a side with that verdict; a denial by default is by every policy that isolates. */
function becauseHolds({because}: Assertion, {egress, ingress, verdict}: FlowVerdict, scope: BecauseScope): boolean {
  if (because === null) return true;
  const deciding = [egress, ingress].filter((side) => side !== null).filter((side) => (side.verdict.verdict === 'deny') === (verdict === 'deny'));
  return deciding.some((side) => {
    const {entry} = side.verdict;
    if (because === 'default') return entry === null || entry.derived !== undefined || !side.enforced;
    if (entry !== null) return entry.origins.some((origin) => isNamed(origin, because));
    const end = side.direction === 'egress' ? scope.ends[0] : scope.ends[1];
    return isolators(side.direction, String(end['pod'] as string), scope).some((origin) => isNamed(origin, because));
  });
}

function isNamed({kind, namespace, name}: {readonly kind: string; readonly namespace: string; readonly name: string}, text: string): boolean {
  const full = namespace === '' ? name : `${namespace}/${name}`;
  return [name, full, `${kind} ${full}`, `${kind}/${full}`].includes(text);
}

function isolators(direction: Direction, pod: string, {world, compiled}: BecauseScope): readonly {readonly kind: string; readonly namespace: string; readonly name: string}[] {
  const labels = compiled.endpoints.get(pod)?.endpoint.labels;
  return labels === undefined ? [] : world.cluster.rules.filter((rule) => rule.direction === direction && matches(rule.subject, labels)).map(({origin}) => origin);
}

function junitText(results: readonly TestResult[]): string {
  return junit('policy test', results.map(({name, file, line, from, to, port, expect, verdict, passed, reason}) => ({
    name: `${name}: ${from} → ${to} ${port} is ${expect}`, classname: file, file, line,
    failures: passed ? [] : [{type: verdict === 'error' ? 'Error' : 'Verdict', message: `expected ${expect}, got ${verdict}`, text: `${file}:${line}: ${reason}`}],
  })));
}
