// A router of the lab run by FRR (zebra and bgpd).

import {chmodSync, mkdirSync, writeFileSync} from 'node:fs';
import type {Netns} from './netns.js';
import type {BgpSession, Router} from './router.js';
import type {RunDirectory} from './run-dir.js';
import {must, startDaemon, until, type Daemon} from './shell.js';
import type {RouterSpec} from './topology.js';

const FRR = '/usr/lib/frr';

interface Summary {
  readonly ipv4Unicast?: {readonly peers?: Readonly<Record<string, {readonly state: string}>>};
}

export class FrrRouter implements Router {
  readonly spec: RouterSpec;
  readonly netns: Netns;
  readonly program = 'frr';
  readonly #run: RunDirectory;
  #daemons: readonly Daemon[] = [];

  constructor(spec: RouterSpec, parts: {readonly netns: Netns; readonly run: RunDirectory}) {
    this.spec = spec;
    this.netns = parts.netns;
    this.#run = parts.run;
  }

  /** FRR's daemons give up root: their folder belongs to them and the way to it is open. */
  get #folder(): string {
    return `/run/${this.#run.prefix}-frr-${this.spec.name}`;
  }

  async start(): Promise<void> {
    const folder = this.#folder;
    mkdirSync(folder, {recursive: true});
    this.#run.append('folders', folder);
    writeFileSync(`${folder}/frr.conf`, frrConfig(this.spec));
    await must(['chown', '-R', 'frr:frr', folder]);
    chmodSync(folder, 0o755);
    const daemon = (program: string): Daemon => startDaemon({
      name: `${this.spec.name}-${program}`, netns: this.netns.path, logFile: this.#run.log(`${this.spec.name}-${program}`),
      command: [`${FRR}/${program}`, '-u', 'frr', '-g', 'frr', '--vty_socket', folder, '-z', `${folder}/zserv.api`, '-i', `${folder}/${program}.pid`,
        '-f', `${folder}/frr.conf`, '-P', '0', '--log', 'stdout'],
    });
    this.#daemons = [daemon('zebra')];
    await until(`zebra of ${this.spec.name} answers`, {timeoutMs: 10_000}, async () => await this.vtysh('show version') === '' ? null : true);
    this.#daemons = [...this.#daemons, daemon('bgpd')];
    await until(`bgpd of ${this.spec.name} answers`, {timeoutMs: 10_000}, async () => (await this.#summary()).ipv4Unicast === undefined ? null : true);
  }

  async stop(): Promise<void> {
    await Promise.all(this.#daemons.map((daemon) => daemon.stop()));
    this.#daemons = [];
  }

  vtysh(command: string): Promise<string> {
    return must(['vtysh', '--vty_socket', this.#folder, '-c', command]);
  }

  async #summary(): Promise<Summary> {
    return JSON.parse(await this.vtysh('show bgp summary json')) as Summary;
  }

  async sessions(): Promise<readonly BgpSession[]> {
    const peers = (await this.#summary()).ipv4Unicast?.peers ?? {};
    return this.spec.neighbours.map((neighbour) => {
      const state = peers[neighbour.address]?.state ?? 'unknown';
      return {neighbour: neighbour.address, asn: neighbour.asn, node: neighbour.node, state, established: state === 'Established'};
    });
  }
}

function frrConfig(spec: RouterSpec): string {
  const neighbours = spec.neighbours.flatMap((neighbour) => [
    ` neighbor ${neighbour.address} remote-as ${neighbour.asn}`,
    ` neighbor ${neighbour.address} update-source ${neighbour.localAddress}`,
    ` neighbor ${neighbour.address} timers connect 1`,
    ...(neighbour.node ? [` neighbor ${neighbour.address} passive`] : [` neighbor ${neighbour.address} timers 3 9`]),
  ]);
  return [
    'frr defaults datacenter',
    `hostname ${spec.name}`,
    `router bgp ${spec.asn}`,
    ` bgp router-id ${spec.routerId}`,
    ' no bgp ebgp-requires-policy',
    // Paths through different spine AS numbers count as equal.
    ' bgp bestpath as-path multipath-relax',
    ...neighbours,
    ' address-family ipv4 unicast',
    ...spec.networks.map((network) => `  network ${network}`),
    '  maximum-paths 8',
    ...spec.neighbours.filter((neighbour) => neighbour.node).map((neighbour) => `  neighbor ${neighbour.address} next-hop-self`),
    ' exit-address-family',
    'exit',
    '',
  ].join('\n');
}
