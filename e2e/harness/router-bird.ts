// A router of the lab run by BIRD 2.

import {writeFileSync} from 'node:fs';
import type {Netns} from './netns.js';
import type {BgpSession, Router} from './router.js';
import type {RunDirectory} from './run-dir.js';
import {must, startDaemon, until, type Daemon} from './shell.js';
import type {NeighbourSpec, RouterSpec} from './topology.js';

export class BirdRouter implements Router {
  readonly spec: RouterSpec;
  readonly netns: Netns;
  readonly program = 'bird';
  readonly #run: RunDirectory;
  #daemon: Daemon | null = null;

  constructor(spec: RouterSpec, parts: {readonly netns: Netns; readonly run: RunDirectory}) {
    this.spec = spec;
    this.netns = parts.netns;
    this.#run = parts.run;
  }

  get controlSocket(): string {
    return this.#run.file('routers', `${this.spec.name}.ctl`);
  }

  async start(): Promise<void> {
    const config = this.#run.file('routers', `${this.spec.name}.conf`);
    writeFileSync(config, birdConfig(this.spec));
    this.#daemon = startDaemon({
      name: this.spec.name, netns: this.netns.path, logFile: this.#run.log(this.spec.name),
      command: ['bird', '-f', '-c', config, '-s', this.controlSocket, '-P', this.#run.file('routers', `${this.spec.name}.pid`)],
    });
    await until(`BIRD of ${this.spec.name} answers`, {timeoutMs: 5_000}, async () => {
      await this.birdc('show status');
      return true;
    });
  }

  /** Runs on with another configuration: the one of the start, as `edit` changes it. */
  async configure(edit: (config: string) => string): Promise<void> {
    writeFileSync(this.#run.file('routers', `${this.spec.name}.conf`), edit(birdConfig(this.spec)));
    const answer = await this.birdc('configure');
    if (!/Reconfigur/.test(answer)) throw new Error(`BIRD of ${this.spec.name}: ${answer}`);
  }

  async stop(): Promise<void> {
    await this.#daemon?.stop();
    this.#daemon = null;
  }

  birdc(command: string): Promise<string> {
    return must(['birdc', '-s', this.controlSocket, ...command.split(' ')]);
  }

  async sessions(): Promise<readonly BgpSession[]> {
    const lines = (await this.birdc('show protocols')).split('\n');
    return this.spec.neighbours.map((neighbour) => {
      const fields = lines.find((line) => line.startsWith(`${neighbour.name} `))?.split(/\s+/) ?? [];
      const state = fields.slice(5).join(' ').trim() || (fields[3] ?? 'unknown');
      return {neighbour: neighbour.address, asn: neighbour.asn, node: neighbour.node, state, established: state.startsWith('Established')};
    });
  }
}

function birdConfig(spec: RouterSpec): string {
  return [
    `router id ${spec.routerId};`,
    'log stderr all;',
    'protocol device { scan time 10; }',
    'protocol direct { ipv4; }',
    ...staticRoutes(spec),
    // `merge paths`: equally good BGP routes become one route with several next hops.
    'protocol kernel { merge paths on limit 8; ipv4 { import none; export where source = RTS_BGP || source = RTS_STATIC; }; }',
    `filter announced { if source = RTS_BGP || source = RTS_STATIC then accept; if net ~ [ ${spec.networks.join(', ')} ] then accept; reject; }`,
    ...spec.neighbours.map((neighbour) => session(spec, neighbour)),
    '',
  ].join('\n');
}

function staticRoutes(spec: RouterSpec): readonly string[] {
  if (spec.statics.length === 0) return [];
  return [`protocol static { ipv4; ${spec.statics.map((route) => `route ${route.prefix} via ${route.via};`).join(' ')} }`];
}

function session(spec: RouterSpec, neighbour: NeighbourSpec): string {
  return [
    `protocol bgp ${neighbour.name} {`,
    `  local ${neighbour.localAddress} as ${spec.asn};`,
    `  neighbor ${neighbour.address} as ${neighbour.asn};`,
    `  connect delay time 1; connect retry time 1; error wait time 1, 5; hold time ${neighbour.node ? 90 : 9};`,
    ...(neighbour.node ? ['  passive on;'] : []),
    `  ipv4 { import all; export filter announced;${neighbour.node ? ' next hop self;' : ''} };`,
    '}',
  ].join('\n');
}
