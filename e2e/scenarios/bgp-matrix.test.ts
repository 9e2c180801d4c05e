// Every kind of router × every feature of a session: established in time, timers and prefixes as they should be at the router. Prints the table.

import {join} from 'node:path';
import {afterAll, beforeAll, expect, test} from '@jest/globals';
import {SpeakerSession} from '../../agent/apply/speaker.js';
import type {Advertisement, BgpInstance} from '../../lib/domain/bgp.js';
import {realClock} from '../../lib/run/clock.js';
import {silentLog} from '../../lib/run/log.js';
import {birdRouter, connectLinks, FEATURES, frrRouter, goBgpRouter, LINKS, peerOf, silenceMs, type Link, type MatrixRouter, type Seen} from '../harness/bgp-matrix.js';
import {cleanUp} from '../harness/cleanup.js';
import {Netns} from '../harness/netns.js';
import {ROOT, RunDirectory} from '../harness/run-dir.js';
import {nowMs, until} from '../harness/shell.js';

const ESTABLISHED_LIMIT_MS = 5_000;
const SILENCE = 'BFD: silence to session down';
const run = RunDirectory.create('m');
let node: Netns;
let router: Netns;
const table = new Map<string, ReadonlyMap<string, string>>();

beforeAll(async () => {
  [node, router] = [await Netns.create(run, 'node'), await Netns.create(run, 'router')];
  await connectLinks(node, router);
}, 60_000);

afterAll(async () => {
  const names = [...FEATURES.map(({name}) => name), SILENCE];
  const width = Math.max(...names.map((name) => name.length));
  const lines = [`${''.padEnd(width)}  ${[...table.keys()].map((name) => name.padEnd(10)).join('')}`, ...names.map((name) =>
    `${name.padEnd(width)}  ${[...table.values()].map((cells) => (cells.get(name) ?? 'empty').padEnd(10)).join('')}`)];
  process.stdout.write(`\n${lines.join('\n')}\n`);
  expect(await cleanUp(run)).toEqual([]);
}, 60_000);

const COMMUNITIES = {communities: [65000 * 65536 + 99], largeCommunities: ['65000:1:2']};
const prefixOf = ({index, feature}: Link): string => (feature.v6 === true ? `fd00:98:${index}::/64` : `10.98.${index}.0/24`);

/** One instance for each AS number; each link's prefix goes to its own peer alone. */
function instances(): BgpInstance[] {
  const asns = [...new Set(FEATURES.map(({asn}) => asn))];
  return asns.map((asn, i) => {
    const links = LINKS.filter(({feature}) => feature.asn === asn);
    const advertisements = links.map((link): Advertisement => ({
      prefix: prefixOf(link), peers: [link.router], localPreference: null, communities: [], largeCommunities: [], ...(link.feature.communities === true ? COMMUNITIES : {}),
      origin: {kind: 'Node', namespace: '', name: 'n', uid: ''},
    }));
    return {name: `as-${asn}`, asn, routerId: `10.98.255.${i + 1}`, listenPort: -1, peers: links.map(peerOf), advertisements};
  });
}

/** FRR makes its BFD session anew when BGP comes up: that may cost one flap. */
function limitOf({feature}: Link): number {
  return feature.peer.bfd === undefined ? ESTABLISHED_LIMIT_MS : 2 * ESTABLISHED_LIMIT_MS;
}

/** Null = as it should be. */
function problemOf(link: Link, seen: Seen): string | null {
  if (!seen.established) return 'down';
  const hold = link.feature.peer.holdTimeSeconds ?? 90;
  if (seen.holdSeconds !== hold) return `hold ${seen.holdSeconds}`;
  if (link.feature.peer.bfd !== undefined && !seen.bfdUp) return 'BFD down';
  const others = LINKS.filter((other) => other !== link).map(prefixOf).filter((prefix) => seen.paths.includes(`${prefix.split('/')[0] ?? ''}/`));
  if (others.length > 0) return `also ${others.join(', ')}`;
  if (!seen.paths.includes(prefixOf(link).split('/')[0] ?? '')) return 'no path';
  // BIRD: (65000,99); FRR: 65000:99; GoBGP: the number.
  if (link.feature.communities === true && !/\(65000,99\)|65000:99|4259840099/.test(seen.paths)) return 'community';
  return null;
}

test.each<[string, (parts: {netns: Netns; run: RunDirectory}) => MatrixRouter]>([['BIRD', birdRouter], ['FRR', frrRouter], ['GoBGP', goBgpRouter]])('%s', async (name, make) => {
  const peer = make({netns: router, run});
  const cells = new Map<string, string>();
  table.set(name, cells);
  const session = new SpeakerSession({directory: run.folder(`gobgpd-${name}`), command: ['nsenter', `--net=${node.path}`, join(ROOT, 'build/bin/gobgpd')]}, {clock: realClock, log: silentLog});
  await peer.start();
  try {
    const started = nowMs();
    expect(await session.set({instances: instances(), source: null})).toEqual([]);
    for (const link of LINKS) {
      let problem: string | null = 'unknown';
      await until(`${name} ${link.feature.name}`, {timeoutMs: Math.max(500, started + limitOf(link) - nowMs()), intervalMs: 50}, async () => {
        problem = problemOf(link, await peer.seen(link));
        return problem === null ? true : null;
      }).catch(() => undefined);
      cells.set(link.feature.name, problem ?? 'pass');
    }
    expect([...cells].filter(([, cell]) => cell !== 'pass')).toEqual([]);
    cells.set(SILENCE, `${Math.round(await silenceMs(peer, router))} ms`);
  } finally {
    await session.set({instances: [], source: null});
    session.close();
    await peer.stop();
  }
}, 60_000);
