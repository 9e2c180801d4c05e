// policy verdict: flows in, one line of JSON each, what happens to them out; in the order given, as they come.

import {open} from 'node:fs/promises';
import {createInterface} from 'node:readline';
import type {Readable} from 'node:stream';
import {decodeFlow, FlowJudge} from '../../lib/policy/flows.js';
import {formatFlow, type FlowJson} from '../../lib/policy/format.js';
import type {Verb, VerbContext} from '../context.js';
import {EXIT, usage} from '../errors.js';
import {listOption, loadWorld, sayProblems, stringOption} from './input.js';
import {compileWorld} from './world.js';

/** Answers are written in pieces of about this many characters. */
const CHUNK = 64 << 10;

export const verdict: Verb = async (context) => {
  const flows = stringOption(context, 'flows');
  if (flows === null) throw usage('--flows FILE or - is needed');
  const inputs = [...listOption(context, 'input'), ...context.args];
  if (flows === '-' && inputs.includes('-')) throw usage('standard input is either the flows or the objects');
  const world = await loadWorld(context, context.args);
  const problems = sayProblems(context, world);
  const judge = new FlowJudge(compileWorld(world));
  const unread = await stream(context, flows, judge);
  return problems || unread ? EXIT.partial : EXIT.ok;
};

/** True when a line was no flow. */
async function stream({io, signal}: VerbContext, flows: string, judge: FlowJudge): Promise<boolean> {
  const input = flows === '-' ? process.stdin : await openFlows(flows);
  let unread = false;
  let text = '';
  for await (const line of createInterface({input, crlfDelay: Number.POSITIVE_INFINITY, signal})) {
    if (line === '') continue;
    const flow = readFlow(line);
    if (typeof flow === 'string') unread = true;
    text += `${JSON.stringify(typeof flow === 'string' ? unreadable(flow) : formatFlow(judge.judge(flow)))}\n`;
    if (text.length < CHUNK) continue;
    io.out(text);
    text = '';
    await io.drained();
  }
  io.out(text);
  return unread;
}

async function openFlows(path: string): Promise<Readable> {
  try {
    return (await open(path)).createReadStream();
  } catch (error) {
    throw usage(`--flows: ${error instanceof Error ? error.message : String(error)}`);
  }
}

function readFlow(line: string): ReturnType<typeof decodeFlow> {
  try {
    return decodeFlow(JSON.parse(line));
  } catch {
    return 'not JSON';
  }
}

function unreadable(reason: string): FlowJson {
  return {egress: 'n/a', ingress: 'n/a', verdict: 'deny', matched: {egress: null, ingress: null}, reason: `not a flow: ${reason}`};
}
