// What an agent leaves on its node: found by what marks it as ours, never by what somebody remembers. In the order in which it goes.

import {readFile, readdir, realpath, rm, rmdir} from 'node:fs/promises';
import {createHash} from 'node:crypto';
import {basename, dirname, join} from 'node:path';
import {NODE_DEVICES, POD_DEVICE} from '../../lib/domain/devices.js';
import {detachClsact, queryClsactAll, type Hook} from '../../agent/kernel/clsact.js';
import type {Netlink} from '../../agent/kernel/netlink.js';
import {RTPROT_STENTOR, type Link} from '../../agent/kernel/rtnetlink.js';

export interface Trace {
  readonly kind: 'cni-configuration' | 'cni-plugin' | 'pod-device' | 'speaker' | 'pin' | 'filter' | 'route' | 'rule' | 'device' | 'state';
  readonly name: string;
  /** What is gone by then is no error. */
  readonly remove: () => Promise<unknown>;
}

export interface TracePlaces {
  readonly stateDir: string;
  readonly bpfRoot: string;
  readonly apiSocket: string;
  readonly cniConf: string;
  readonly cniPlugin: string;
}

/** Locks of BPF roots, as the agent takes them. */
const LOCK_FOLDER = '/run/stentor/locks';
const PROGRAM_PREFIX = 'cil_';
/** Of the state folder, the node's own certificate too: other files there, as a CA's, are not the agent's. */
const STATE_FILES = /^((state|endpoints|local-identities)\.json|state\.journal)(\.\w+)?$|^(gobgpd|tls)$/;

/**
 * No pod may start from the first step on, and pods lose their devices before the programs go that hold their policy: never is there a
 * pod with a network and without its policy.
 */
export async function findTraces(places: TracePlaces, netlink: Netlink): Promise<readonly Trace[]> {
  const links = await netlink.links();
  return [
    ...await cniTraces(places),
    ...links.filter(({name}) => POD_DEVICE.test(name)).map((link) => device('pod-device', link, netlink)),
    ...await speakerTraces(places.stateDir),
    ...await pinTraces(places.bpfRoot),
    ...await filterTraces(links.filter(({name, loopback}) => !loopback && !POD_DEVICE.test(name)), netlink),
    ...await routeTraces(netlink),
    ...links.filter(({name}) => NODE_DEVICES.has(name)).map((link) => device('device', link, netlink)),
    ...await stateTraces(places),
  ];
}

/** The agent's locks: who has them keeps an agent from starting. */
export async function lockPaths({stateDir, bpfRoot}: TracePlaces): Promise<readonly string[]> {
  const root = await realpath(bpfRoot).catch(() => null);
  return [join(stateDir, 'agent.lock'), ...(root === null ? [] : [join(LOCK_FOLDER, createHash('sha256').update(root).digest('hex').slice(0, 32))])];
}

/** Folders that are empty by now, innermost first. */
export async function removeEmptyFolders({stateDir, bpfRoot, apiSocket}: TracePlaces): Promise<void> {
  for (const folder of [...PIN_FOLDERS.map((name) => join(bpfRoot, name)), bpfRoot, stateDir, dirname(apiSocket), LOCK_FOLDER, dirname(LOCK_FOLDER)]) {
    await rmdir(folder).catch(() => undefined);
  }
}

async function cniTraces({cniConf, cniPlugin}: TracePlaces): Promise<readonly Trace[]> {
  const isOurs = (await readFile(cniConf, 'utf8').catch(() => '')).includes('"stentor-cni"');
  const plugin = await listed(dirname(cniPlugin));
  return [
    ...(isOurs ? [file('cni-configuration', cniConf)] : []),
    ...(plugin.includes(basename(cniPlugin)) ? [file('cni-plugin', cniPlugin)] : []),
  ];
}

async function speakerTraces(stateDir: string): Promise<readonly Trace[]> {
  const head = `unix://${join(stateDir, 'gobgpd')}/`;
  const pids = (await listed('/proc')).filter((name) => /^\d+$/.test(name));
  const found = await Promise.all(pids.map(async (pid) => {
    const words = (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).split('\0');
    return words.some((word) => word.startsWith(head)) ? [Number(pid)] : [];
  }));
  return found.flat().map((pid) => ({kind: 'speaker', name: `gobgpd ${pid}`, remove: () => ended(pid)}));
}

const END_MS = 5_000;

/** Sessions close in good order; who does not end is killed. */
async function ended(pid: number): Promise<void> {
  const isAlive = async (): Promise<boolean> => (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')) !== '';
  const deadlineMs = performance.now() + END_MS;
  for (let signal: NodeJS.Signals = 'SIGTERM'; await isAlive(); signal = performance.now() < deadlineMs ? 'SIGTERM' : 'SIGKILL') {
    try {
      process.kill(pid, signal);
    } catch (error) {
      if ((error as {code?: unknown}).code !== 'ESRCH') throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** Links first: with its pin a program leaves its device. */
const PIN_FOLDERS = ['links', 'progs', 'maps'] as const;

async function pinTraces(bpfRoot: string): Promise<readonly Trace[]> {
  const folders = await Promise.all(PIN_FOLDERS.map(async (folder) => (await listed(join(bpfRoot, folder))).map((name) => join(bpfRoot, folder, name))));
  return folders.flat().map((path) => file('pin', path));
}

async function filterTraces(links: readonly Link[], netlink: Netlink): Promise<readonly Trace[]> {
  const hooks = links.flatMap(({ifindex}) => (['ingress', 'egress'] as const).map((direction): Hook => ({ifindex, direction})));
  const filters = await queryClsactAll(netlink, hooks);
  return hooks.flatMap(({ifindex, direction}, i): readonly Trace[] => {
    const filter = filters[i] ?? null;
    if (filter === null || !filter.name.startsWith(PROGRAM_PREFIX)) return [];
    const name = links.find((link) => link.ifindex === ifindex)?.name ?? String(ifindex);
    return [{kind: 'filter', name: `${name} ${direction} ${filter.name}`, remove: () => detachClsact(netlink, ifindex, direction)}];
  });
}

async function routeTraces(netlink: Netlink): Promise<readonly Trace[]> {
  const routes = [...await netlink.routes({protocol: RTPROT_STENTOR, family: 4}), ...await netlink.routes({protocol: RTPROT_STENTOR, family: 6})];
  const rules = [...await netlink.rules(4), ...await netlink.rules(6)].filter(({protocol}) => protocol === RTPROT_STENTOR);
  return [
    ...routes.map((route): Trace => ({
      // Whatever the route looks like: ours, to that prefix, in that table.
      kind: 'route', name: `${route.prefix} table ${route.table}`,
      remove: () => netlink.deleteRoute({prefix: route.prefix, table: route.table, protocol: RTPROT_STENTOR, scope: 'nowhere', type: 0}),
    })),
    ...rules.map((rule): Trace => ({kind: 'rule', name: `priority ${rule.priority}`, remove: () => netlink.deleteRule(rule)})),
  ];
}

async function stateTraces({stateDir, apiSocket}: TracePlaces): Promise<readonly Trace[]> {
  const state = (await listed(stateDir)).filter((name) => STATE_FILES.test(name)).map((name) => join(stateDir, name));
  const folder = dirname(apiSocket);
  const beside = (await listed(folder)).filter((name) => name === basename(apiSocket) || name === 'deleteQueue').map((name) => join(folder, name));
  return [...state, ...beside].map((path) => file('state', path));
}

function device(kind: 'device' | 'pod-device', {name, ifindex}: Link, netlink: Netlink): Trace {
  return {kind, name, remove: () => netlink.deleteLink(ifindex)};
}

function file(kind: Trace['kind'], path: string): Trace {
  return {kind, name: path, remove: () => rm(path, {recursive: true, force: true})};
}

async function listed(folder: string): Promise<readonly string[]> {
  return readdir(folder).catch(() => []);
}
