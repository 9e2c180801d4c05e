// An operator in files mode inside the test's process, with agents over real gRPC.

import {mkdir, mkdtemp, rm, writeFile} from 'node:fs/promises';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {Lifecycle} from '../../lib/run/lifecycle.js';
import {silentLog, type Log} from '../../lib/run/log.js';
import {loadOperatorConfig} from '../config.js';
import {issueNode, type IssuedKeys} from '../stream/ca.js';
import {loadOrCreateCa} from '../stream/ca-files.js';
import {wireOperator, type Operator} from '../wire.js';
import {TestAgent, type TestAgentOptions} from './agent.js';

export async function until(what: string, condition: () => boolean, limitMs = 3000): Promise<void> {
  const deadline = performance.now() + limitMs;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`not within ${limitMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

export class Harness {
  readonly dir: string;
  readonly agents: TestAgent[] = [];
  operator: Operator | null = null;
  failure: unknown = null;
  #lifecycle: Lifecycle | null = null;

  private constructor(dir: string) {
    this.dir = dir;
  }

  static async create(): Promise<Harness> {
    const harness = new Harness(await mkdtemp(join(tmpdir(), 'stentor-operator-')));
    await mkdir(join(harness.dir, 'input'));
    return harness;
  }

  async write(name: string, ...objects: readonly object[]): Promise<void> {
    // The feed sees whole files: JSON documents are YAML.
    await writeFile(join(this.dir, 'input', `${name}.yaml`), objects.map((object) => JSON.stringify(object)).join('\n---\n'));
  }

  async remove(name: string): Promise<void> {
    await rm(join(this.dir, 'input', `${name}.yaml`));
  }

  async start(flags: readonly string[] = [], log: Log = silentLog): Promise<Operator> {
    const config = await loadOperatorConfig([
      '--input', join(this.dir, 'input'), '--output', join(this.dir, 'output'), '--ca-dir', join(this.dir, 'ca'),
      '--listen', '127.0.0.1:0', '--http-listen', '127.0.0.1:0', '--routing-mode', 'native', ...flags,
    ]);
    if (config.kind !== 'config') throw new Error('no configuration');
    this.#lifecycle = new Lifecycle({log});
    const fail = (error: unknown): void => {
      this.failure ??= error instanceof Error ? error.stack : error;
    };
    this.operator = await wireOperator(config.value, {log, lifecycle: this.#lifecycle, fail});
    await this.#lifecycle.start();
    return this.operator;
  }

  async stopOperator(): Promise<void> {
    await this.#lifecycle?.stop();
    this.#lifecycle = null;
    this.operator = null;
  }

  async keys(node: string): Promise<IssuedKeys> {
    const nowMs = Date.now();
    return issueNode(await loadOrCreateCa(join(this.dir, 'ca'), nowMs), node, {nowMs, validityMs: 86_400_000});
  }

  async agent(node: string, options: Partial<TestAgentOptions> = {}): Promise<TestAgent> {
    const agent = new TestAgent({address: this.operator?.addresses.grpc ?? '', node, keys: options.keys ?? await this.keys(node), ...options});
    this.agents.push(agent);
    return agent;
  }

  /** One that has ended its greeting: it has no peers. */
  async greetedAgent(node: string): Promise<TestAgent> {
    const agent = await this.agent(node);
    agent.send({peerReport: {peers: []}});
    return agent;
  }

  async debug(path: string): Promise<unknown> {
    const response = await fetch(`http://${this.operator?.addresses.http ?? ''}/debug/${path}`);
    return response.json();
  }

  async close(): Promise<void> {
    for (const agent of this.agents) agent.close();
    await this.stopOperator();
    await rm(this.dir, {recursive: true, force: true});
  }
}
