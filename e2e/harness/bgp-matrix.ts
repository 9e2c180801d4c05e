// Peers × features: what each kind of router is configured with for each feature, and how it is asked what came of it.

import {chmodSync, mkdirSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import type {BgpPeer} from '../../lib/domain/bgp.js';
import {connect, type Netns} from './netns.js';
import {ROOT, type RunDirectory} from './run-dir.js';
import {must, nowMs, startDaemon, until, type Daemon} from './shell.js';

export const ROUTER_AS = 65100;
export const NODE_AS = 65000;
/** Needs four bytes. */
export const WIDE_AS = 4_200_000_001;
/** Behind every link: what a peer over several hops speaks from. */
export const LOOPBACK = '10.99.0.1';
const PASSWORD = 'geheim';

export interface Feature {
  readonly name: string;
  readonly asn: number;
  /** Changes of the plain eBGP peer. */
  readonly peer: Partial<BgpPeer>;
  readonly v6?: boolean;
  readonly communities?: boolean;
}

export const FEATURES: readonly Feature[] = [
  {name: 'iBGP', asn: ROUTER_AS, peer: {}},
  {name: 'eBGP', asn: NODE_AS, peer: {}},
  {name: 'multihop', asn: NODE_AS, peer: {address: LOOPBACK, multihopTtl: 3}},
  {name: 'MD5', asn: NODE_AS, peer: {authSecret: 'x', password: PASSWORD}},
  {name: 'GR', asn: NODE_AS, peer: {gracefulRestart: {enabled: true, restartSeconds: 30}}},
  {name: 'communities', asn: NODE_AS, peer: {}, communities: true},
  {name: 'hold 3', asn: NODE_AS, peer: {holdTimeSeconds: 3, keepaliveSeconds: 1}},
  {name: 'v6 transport', asn: NODE_AS, peer: {families: [{afi: 'ipv6', safi: 'unicast'}]}, v6: true},
  {name: '4-byte ASN', asn: WIDE_AS, peer: {}},
  {name: 'BFD', asn: NODE_AS, peer: {bfd: {intervalMs: 50, multiplier: 3}}},
  {name: 'any ASN', asn: NODE_AS, peer: {asn: 0}},
];

export interface Link {
  readonly feature: Feature;
  readonly index: number;
  readonly node: string;
  readonly router: string;
}

export const LINKS: readonly Link[] = FEATURES.map((feature, index) => ({
  feature, index, node: feature.v6 === true ? `fd00:${index + 1}::10` : `10.${40 + index}.0.10`,
  router: feature.peer.address ?? (feature.v6 === true ? `fd00:${index + 1}::1` : `10.${40 + index}.0.1`),
}));

/** What a router knows of one session. */
export interface Seen {
  readonly established: boolean;
  readonly holdSeconds: number;
  readonly bfdUp: boolean;
  /** What it has of the node, with everything that it prints about it. */
  readonly paths: string;
}

export interface MatrixRouter {
  readonly name: string;
  start(): Promise<void>;
  seen(link: Link): Promise<Seen>;
  stop(): Promise<void>;
}

interface Parts {
  readonly netns: Netns;
  readonly run: RunDirectory;
}

const isRestarting = ({feature}: Link): boolean => feature.peer.gracefulRestart?.enabled === true;
const hasBfd = ({feature}: Link): boolean => feature.peer.bfd !== undefined;
const hasPassword = ({feature}: Link): boolean => feature.peer.password !== undefined;
const isMultihop = ({feature}: Link): boolean => feature.peer.multihopTtl !== undefined;

/** A link of its own for each feature. */
export async function connectLinks(node: Netns, router: Netns): Promise<void> {
  await router.ip([`addr add ${LOOPBACK}/32 dev lo`]);
  for (const {index, feature} of LINKS) {
    await connect(node, `n${index}`, router, `r${index}`);
    const [a, b] = feature.v6 === true ? [`fd00:${index + 1}::10/64 dev n${index} nodad`, `fd00:${index + 1}::1/64 dev r${index} nodad`] : [`10.${40 + index}.0.10/24 dev n${index}`, `10.${40 + index}.0.1/24 dev r${index}`];
    await node.ip([`addr add ${a}`, ...(feature.peer.address === LOOPBACK ? [`route add ${LOOPBACK} via 10.${40 + index}.0.1`] : [])]);
    await router.ip([`addr add ${b}`]);
  }
}

export function peerOf({feature, router: address}: Link): BgpPeer {
  return {
    address, asn: ROUTER_AS, port: 179, holdTimeSeconds: 90, keepaliveSeconds: 30, connectRetrySeconds: 1, multihopTtl: 1,
    gracefulRestart: {enabled: false, restartSeconds: 120}, authSecret: null, families: [{afi: 'ipv4', safi: 'unicast'}], ...feature.peer,
  };
}

/** 50 ms x 3, the machine's other work, and what asking costs. */
const SILENCE_LIMIT_MS = 1_000;

/** How long a router keeps a session with BFD whose packets stop coming, without any link that goes down. */
export async function silenceMs(peer: MatrixRouter, router: Netns): Promise<number> {
  const link = LINKS.find(({feature}) => feature.peer.bfd !== undefined);
  if (link === undefined) throw new Error('no feature has BFD');
  const rules = `table inet silence { chain input { type filter hook input priority 0; ip saddr ${link.node} drop; }; }`;
  await must(['nft', '-f', '-'], {netns: router.path, input: rules});
  const started = nowMs();
  try {
    return await until('the session is over', {timeoutMs: SILENCE_LIMIT_MS, intervalMs: 5}, async () => (await peer.seen(link)).established ? null : nowMs() - started);
  } finally {
    await must(['nft', 'delete', 'table', 'inet', 'silence'], {netns: router.path});
  }
}

export function birdRouter({netns, run}: Parts): MatrixRouter {
  const [config, control] = [run.file('routers', 'matrix-bird.conf'), run.file('routers', 'matrix-bird.ctl')];
  let daemon: Daemon | null = null;
  const birdc = (command: string): Promise<string> => must(['birdc', '-s', control, ...command.split(' ')]);
  const session = (link: Link): string => [
    `protocol bgp p${link.index} { local ${link.router} as ${ROUTER_AS}; neighbor ${link.node} as ${link.feature.asn}; passive on; error wait time 1,2;`,
    `  ${link.feature.v6 === true ? 'ipv6' : 'ipv4'} { import all; export none; };`,
    hasPassword(link) ? `  password "${PASSWORD}";` : '', isMultihop(link) ? '  multihop 3;' : '', isRestarting(link) ? '  graceful restart on;' : '', hasBfd(link) ? '  bfd on;' : '', '}',
  ].join('\n');
  return {
    name: 'BIRD',
    start: async () => {
      writeFileSync(config, ['router id 10.99.0.1;', 'log stderr all;', 'protocol device { }', 'protocol bfd { interface "*" { interval 50 ms; multiplier 3; }; }', ...LINKS.map(session), ''].join('\n'));
      daemon = startDaemon({name: 'matrix-bird', netns: netns.path, logFile: run.log('matrix-bird'), command: ['bird', '-f', '-c', config, '-s', control, '-P', `${control}.pid`]});
      await until('BIRD answers', {timeoutMs: 5_000}, async () => (await birdc('show status')).includes('up and running') ? true : null);
    },
    seen: async (link) => {
      const [protocol, paths, bfd] = [await birdc(`show protocols all p${link.index}`), await birdc(`show route protocol p${link.index} all`), await birdc('show bfd sessions')];
      return {
        bfdUp: new RegExp(`${link.node.replaceAll('.', '\\.')}.* Up `).test(bfd), established: /BGP state: +Established/.test(protocol), holdSeconds: Number(/Hold timer: +\S+\/(\d+)/.exec(protocol)?.[1] ?? 0), paths,
      };
    },
    stop: async () => daemon?.stop(),
  };
}

export function frrRouter({netns, run}: Parts): MatrixRouter {
  const folder = `/run/${run.prefix}-frr-matrix`;
  let daemons: readonly Daemon[] = [];
  const vtysh = (command: string): Promise<string> => must(['vtysh', '--vty_socket', folder, '-c', command]);
  const start = (program: string): Daemon => startDaemon({
    name: `matrix-${program}`, netns: netns.path, logFile: run.log(`matrix-${program}`),
    command: [`/usr/lib/frr/${program}`, '-u', 'frr', '-g', 'frr', '--vty_socket', folder, '-z', `${folder}/zserv.api`, '-i', `${folder}/${program}.pid`, '-f', `${folder}/frr.conf`, '-P', '0', '--log', 'stdout',
      ...(program === 'bfdd' ? ['--bfdctl', `${folder}/bfdd.sock`] : [])],
  });
  const neighbor = (link: Link): string[] => [
    ` neighbor ${link.node} remote-as ${link.feature.asn}`, ` neighbor ${link.node} update-source ${link.router}`, ` neighbor ${link.node} passive`,
    ...(hasPassword(link) ? [` neighbor ${link.node} password ${PASSWORD}`] : []), ...(isMultihop(link) ? [` neighbor ${link.node} ebgp-multihop 3`] : []),
    ...(hasBfd(link) ? [` neighbor ${link.node} bfd 3 50 50`] : []),
  ];
  const family = (afi: string, links: readonly Link[]): string[] => [` address-family ${afi} unicast`, ...links.map(({node}) => `  neighbor ${node} activate`), ' exit-address-family'];
  return {
    name: 'FRR',
    start: async () => {
      mkdirSync(folder, {recursive: true});
      run.append('folders', folder);
      const [v6, v4] = [LINKS.filter(({feature}) => feature.v6 === true), LINKS.filter(({feature}) => feature.v6 !== true)];
      writeFileSync(`${folder}/frr.conf`, [
        'hostname matrix', `router bgp ${ROUTER_AS}`, ' bgp router-id 10.99.0.1', ' no bgp ebgp-requires-policy', ' no bgp default ipv4-unicast', ' bgp graceful-restart', ...LINKS.flatMap(neighbor),
        ...family('ipv4', v4), ...family('ipv6', v6), 'exit', '',
      ].join('\n'));
      await must(['chown', '-R', 'frr:frr', folder]);
      chmodSync(folder, 0o755);
      daemons = [start('zebra')];
      await until('zebra answers', {timeoutMs: 10_000}, async () => await vtysh('show version') === '' ? null : true);
      daemons = [...daemons, start('bfdd')];
      await until('bfdd answers', {timeoutMs: 10_000}, async () => (await vtysh('show bfd peers json')).includes('[') ? true : null);
      daemons = [...daemons, start('bgpd')];
      await until('bgpd answers', {timeoutMs: 10_000}, async () => (await vtysh('show bgp summary json')).includes('peers') ? true : null);
    },
    seen: async (link) => {
      const all = JSON.parse(await vtysh(`show bgp neighbors ${link.node} json`)) as Readonly<Record<string, {readonly bgpState?: string; readonly bgpTimerHoldTimeMsecs?: number}>>;
      const prefix = link.feature.v6 === true ? 'ipv6' : 'ipv4';
      const routes = await vtysh(`show bgp ${prefix} unicast neighbors ${link.node} routes json`);
      const details = await Promise.all(Object.keys((JSON.parse(routes) as {routes?: object}).routes ?? {}).map((route) => vtysh(`show bgp ${prefix} unicast ${route} json`)));
      const neighbour = all[link.node];
      const bfd = JSON.parse(await vtysh('show bfd peers json')) as readonly {readonly peer?: string; readonly status?: string}[];
      return {
        bfdUp: bfd.some(({peer, status}) => peer === link.node && status === 'up'), established: neighbour?.bgpState === 'Established', holdSeconds: (neighbour?.bgpTimerHoldTimeMsecs ?? 0) / 1000, paths: [routes, ...details].join('\n'),
      };
    },
    stop: async () => void await Promise.all(daemons.map((daemon) => daemon.stop())),
  };
}

export function goBgpRouter({netns, run}: Parts): MatrixRouter {
  const [config, socket] = [run.file('routers', 'matrix-gobgp.json'), run.file('routers', 'matrix-gobgp.sock')];
  let daemon: Daemon | null = null;
  const gobgp = (...words: readonly string[]): Promise<string> => must([join(ROOT, 'build/bin/gobgp'), '--target', `unix://${socket}`, '-j', ...words]);
  const neighbor = (link: Link): object => ({
    'config': {'neighbor-address': link.node, 'peer-as': link.feature.asn, ...(hasPassword(link) ? {'auth-password': PASSWORD} : {})},
    'transport': {config: {'passive-mode': true, 'local-address': link.router}},
    ...(isMultihop(link) ? {'ebgp-multihop': {config: {'enabled': true, 'multihop-ttl': 3}}} : {}),
    ...(hasBfd(link) ? {bfd: {config: {'enabled': true, 'desired-minimum-tx-interval': 50_000, 'required-minimum-receive': 50_000, 'detection-multiplier': 3}}} : {}),
    ...(isRestarting(link) ? {'graceful-restart': {config: {'enabled': true, 'restart-time': 30}}} : {}),
    'afi-safis': [{'config': {'afi-safi-name': link.feature.v6 === true ? 'ipv6-unicast' : 'ipv4-unicast'}, ...(isRestarting(link) ? {'mp-graceful-restart': {config: {enabled: true}}} : {})}],
  });
  return {
    name: 'GoBGP',
    start: async () => {
      writeFileSync(config, JSON.stringify({global: {config: {'as': ROUTER_AS, 'router-id': '10.99.0.1'}}, neighbors: LINKS.map(neighbor)}));
      daemon = startDaemon({
        name: 'matrix-gobgp', netns: netns.path, logFile: run.log('matrix-gobgp'),
        command: [join(ROOT, 'build/bin/gobgpd'), '-t', 'json', '-f', config, '--api-hosts', `unix://${socket}`, '--pprof-disable', '--metrics-path', ''],
      });
      await until('gobgpd answers', {timeoutMs: 5_000}, async () => (await gobgp('neighbor')).includes('10.40.0.10') ? true : null);
    },
    seen: async (link) => {
      const peer: unknown = JSON.parse(await gobgp('neighbor', link.node));
      // Refused while there is no session.
      const paths = await gobgp('neighbor', link.node, 'adj-in', '-a', link.feature.v6 === true ? 'ipv6' : 'ipv4').catch(() => '');
      const text = JSON.stringify(peer);
      const bfd = /"bfd_state":\{[^}]*"session_state":(1|"[A-Z_]*UP")/.test(text);
      return {bfdUp: bfd, established: /"session_state":(6|"[A-Z_]*ESTABLISHED")/.test(text), holdSeconds: Number(/"negotiated_hold_time":"?(\d+)/.exec(text)?.[1] ?? 0), paths};
    },
    stop: async () => daemon?.stop(),
  };
}
