import {describe, expect, test} from '@jest/globals';
import fc from 'fast-check';
import {StentorError} from '../../lib/core/errors.js';
import {silentLog} from '../../lib/run/log.js';
import type {LocalEndpoint} from '../model/local.js';
import type {Attachment, CniRequest} from './protocol.js';
import {checkPrevResult, resultJson} from './protocol.js';
import type {NotReady, PodAttachments} from './server.js';
import {CniServer} from './server.js';

const ENDPOINT: LocalEndpoint = {
  id: 7, containerId: 'abc', containerIfname: 'eth0', netns: '/run/netns/p', hostIfname: 'lxcabc', hostIfindex: 9, mac: '02:00:00:00:00:01',
  hostMac: '02:00:00:00:00:02', ipv4: '10.98.1.5', ipv6: null, namespace: 'default', name: 'web', uid: 'u', state: 'ready',
};

/** Attachments in memory: everything but the kernel. */
class MemoryAttachments implements PodAttachments {
  readonly held = new Map<string, Attachment>();
  running = 0;
  runningMax = 0;
  not: NotReady | null = null;
  failWith: Error | null = null;
  /** Whose removal fails. */
  readonly stuck = new Set<string>();
  onAdd: () => void = () => undefined;

  async add(request: CniRequest): Promise<Attachment> {
    this.runningMax = Math.max(this.runningMax, ++this.running);
    await Promise.resolve();
    this.running--;
    this.onAdd();
    if (this.failWith !== null) throw this.failWith;
    const {containerId, ifname, netns, network} = request;
    const endpoint = {...ENDPOINT, containerId, containerIfname: ifname, netns, network};
    const attachment = {endpoint, routers: {ipv4: '10.98.1.1', ipv6: null}, mtu: 1500};
    this.held.set(`${containerId}:${ifname}`, attachment);
    return attachment;
  }

  async remove(containerId: string, ifname: string): Promise<void> {
    if (this.stuck.has(containerId)) throw new StentorError('EBUSY', 'the link is busy');
    this.held.delete(`${containerId}:${ifname}`);
  }

  find(containerId: string, ifname: string): Attachment | null {
    return this.held.get(`${containerId}:${ifname}`) ?? null;
  }

  async verify(): Promise<void> {
    if (this.failWith !== null) throw this.failWith;
  }

  all(network: string): {containerId: string; ifname: string}[] {
    return [...this.held.values()].filter(({endpoint}) => endpoint.network === network).map(({endpoint}) => ({containerId: endpoint.containerId, ifname: endpoint.containerIfname}));
  }

  notReady(): NotReady | null {
    return this.not;
  }
}

function body(environment: Record<string, string>, config: unknown): Buffer {
  const head = Object.entries(environment).map(([key, value]) => `${key}=${value}\0`).join('');
  return Buffer.from(`${head}\0${typeof config === 'string' ? config : JSON.stringify(config)}`);
}

const ADD = {
  CNI_COMMAND: 'ADD', CNI_CONTAINERID: 'abc', CNI_IFNAME: 'eth0', CNI_NETNS: '/run/netns/p',
  CNI_ARGS: 'IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web;K8S_POD_UID=u1',
};

function started(): {server: CniServer; attachments: MemoryAttachments} {
  const attachments = new MemoryAttachments();
  return {server: new CniServer({attachments, log: silentLog}), attachments};
}

async function codeOf(server: CniServer, request: Buffer): Promise<number> {
  const answer = await server.answer(request);
  expect(answer.exit).toBe(1);
  const {code, msg, cniVersion} = JSON.parse(answer.stdout) as {code: number; msg: string; cniVersion: string};
  expect(msg).not.toBe('');
  expect(cniVersion).not.toBe('');
  return code;
}

describe('CniServer', () => {
  test('ADD answers in the shape of the configuration’s version', async () => {
    const {server} = started();
    const answer = await server.answer(body(ADD, {cniVersion: '1.0.0', name: 'stentor', type: 'stentor-cni'}));
    expect(answer.exit).toBe(0);
    expect(JSON.parse(answer.stdout)).toEqual({
      cniVersion: '1.0.0',
      interfaces: [{name: 'lxcabc', mac: ENDPOINT.hostMac}, {name: 'eth0', mac: ENDPOINT.mac, sandbox: '/run/netns/p'}],
      ips: [{address: '10.98.1.5/32', gateway: '10.98.1.1', interface: 1}],
      routes: [{dst: '10.98.1.1/32'}, {dst: '0.0.0.0/0', gw: '10.98.1.1'}],
      dns: {},
    });
    const attachment = {endpoint: ENDPOINT, routers: {ipv4: '10.98.1.1', ipv6: null}, mtu: 1450};
    expect(JSON.parse(resultJson('0.4.0', attachment))).toMatchObject({ips: [{version: '4'}]});
    expect(JSON.parse(resultJson('1.1.0', attachment))).toMatchObject({interfaces: [{mtu: 1450}, {mtu: 1450}]});
  });

  test('an attachment of both families, and one of IPv6 alone', () => {
    const dual = {endpoint: {...ENDPOINT, ipv6: 'fd00:98:1::5'}, routers: {ipv4: '10.98.1.1', ipv6: 'fd00:98:1::1'}, mtu: 1450};
    expect(JSON.parse(resultJson('0.3.1', dual))).toMatchObject({
      ips: [{version: '6', address: 'fd00:98:1::5/128', gateway: 'fd00:98:1::1', interface: 1}, {version: '4', address: '10.98.1.5/32', gateway: '10.98.1.1', interface: 1}],
      routes: [{dst: 'fd00:98:1::1/128'}, {dst: '::/0', gw: 'fd00:98:1::1'}, {dst: '10.98.1.1/32'}, {dst: '0.0.0.0/0', gw: '10.98.1.1'}],
    });
    const {endpoint} = dual;
    const single = {...dual, endpoint: {...endpoint, ipv4: null}};
    expect(JSON.parse(resultJson('1.0.0', single))).toMatchObject({ips: [{address: 'fd00:98:1::5/128'}]});
    expect(checkPrevResult(JSON.parse(resultJson('1.0.0', dual)), endpoint)).toBeNull();
    expect(checkPrevResult(JSON.parse(resultJson('1.0.0', single)), endpoint)).toContain('10.98.1.5');
  });

  test('DEL of what is not there succeeds, and needs neither pod nor namespace', async () => {
    const {server} = started();
    const {CNI_ARGS: _args, CNI_NETNS: _netns, ...rest} = ADD;
    expect(await server.answer(body({...rest, CNI_COMMAND: 'DEL'}, {cniVersion: '1.0.0'}))).toEqual({exit: 0, stdout: ''});
  });

  test('CHECK compares with prevResult and asks the kernel', async () => {
    const {server, attachments} = started();
    const added = await server.answer(body(ADD, {cniVersion: '1.0.0'}));
    const check = (prevResult: unknown) => body({...ADD, CNI_COMMAND: 'CHECK'}, {cniVersion: '1.0.0', prevResult});
    expect(await server.answer(check(JSON.parse(added.stdout)))).toEqual({exit: 0, stdout: ''});
    expect(await codeOf(server, check({interfaces: [], ips: []}))).toBe(101);
    attachments.failWith = new StentorError('UNHEALTHY', 'the program is not attached');
    expect(await codeOf(server, check(JSON.parse(added.stdout)))).toBe(101);
    attachments.held.clear();
    expect(await codeOf(server, check(JSON.parse(added.stdout)))).toBe(3);
  });

  const gc = (config: Readonly<Record<string, unknown>>): Buffer => body({CNI_COMMAND: 'GC'}, {cniVersion: '1.1.0', name: 'net', ...config});
  const add = (id: string, name = 'net'): Buffer => body({...ADD, CNI_CONTAINERID: id}, {cniVersion: '1.0.0', name});

  test('GC removes what the runtime does not name, of its own network', async () => {
    const {server, attachments} = started();
    for (const request of [add('abc'), add('gone'), add('other', 'second')]) await server.answer(request);
    expect(await server.answer(gc({'cni.dev/valid-attachments': [{containerID: 'abc', ifname: 'eth0'}]}))).toEqual({exit: 0, stdout: ''});
    expect([...attachments.held.keys()]).toEqual(['abc:eth0', 'other:eth0']);
  });

  test('GC goes on after what it cannot remove, and says so; a list that it cannot read removes nothing', async () => {
    const {server, attachments} = started();
    for (const id of ['a', 'b', 'c']) await server.answer(add(id));
    attachments.stuck.add('a');
    const answer = await server.answer(gc({'cni.dev/valid-attachments': []}));
    expect([answer.exit, JSON.parse(answer.stdout)]).toEqual([1, {cniVersion: '1.1.0', code: 999, msg: expect.any(String), details: 'a eth0: the link is busy'}]);
    expect([...attachments.held.keys()]).toEqual(['a:eth0']);
    attachments.stuck.clear();
    for (const list of [[{containerID: 'x'}], [null], 'a', {}]) expect(await codeOf(server, gc({'cni.dev/valid-attachments': list}))).toBe(7);
    expect(attachments.held.size).toBe(1);
  });

  test('STATUS and ADD say when the agent is not ready', async () => {
    const {server, attachments} = started();
    const status = body({CNI_COMMAND: 'STATUS'}, {cniVersion: '1.1.0'});
    expect((await server.answer(status)).exit).toBe(0);
    attachments.not = {reason: 'no PodCIDR yet', limited: false};
    expect(await codeOf(server, status)).toBe(50);
    expect(await codeOf(server, add('a'))).toBe(11);
    attachments.not = {reason: 'the kernel refuses the program', limited: true};
    expect(await codeOf(server, status)).toBe(51);
  });

  test('what was made for a plugin that is gone is taken back, and what is not begun is not', async () => {
    const {server, attachments} = started();
    const gone = new AbortController();
    attachments.onAdd = () => gone.abort();
    expect((await server.answer(add('a'), gone.signal)).exit).toBe(1);
    expect(attachments.held.size).toBe(0);
    attachments.onAdd = () => {
      throw new Error('begun');
    };
    expect((await server.answer(add('b'), gone.signal)).exit).toBe(1);
  });

  test.each(['0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'])('version %s: every answer has it', async (cniVersion) => {
    const {server} = started();
    const config = {cniVersion, name: 'net'};
    const added = await server.answer(body(ADD, config));
    expect(JSON.parse(added.stdout)).toMatchObject({cniVersion});
    expect(JSON.parse((await server.answer(body({CNI_COMMAND: 'VERSION'}, config))).stdout)).toEqual({cniVersion, supportedVersions: expect.arrayContaining(['0.4.0', '1.0.0', '1.1.0'])});
    expect(JSON.parse((await server.answer(body({...ADD, CNI_NETNS: 'x'}, config))).stdout)).toMatchObject({cniVersion, code: 4});
    const hasCheck = cniVersion > '0.4';
    const check = await server.answer(body({...ADD, CNI_COMMAND: 'CHECK'}, {...config, prevResult: JSON.parse(added.stdout)}));
    expect(hasCheck ? check : JSON.parse(check.stdout)).toMatchObject(hasCheck ? {exit: 0} : {cniVersion, code: 1});
    for (const request of [gc({cniVersion, 'cni.dev/valid-attachments': [{containerID: 'abc', ifname: 'eth0'}]}), body({CNI_COMMAND: 'STATUS'}, config)]) {
      const answer = await server.answer(request);
      expect(cniVersion === '1.1.0' ? answer : JSON.parse(answer.stdout)).toMatchObject(cniVersion === '1.1.0' ? {exit: 0, stdout: ''} : {cniVersion, code: 1});
    }
  });

  test('requests for one attachment run one after the other, others side by side', async () => {
    const {server, attachments} = started();
    await Promise.all([server.answer(add('abc')), server.answer(add('abc')), server.answer(add('abc'))]);
    expect(attachments.runningMax).toBe(1);
    await Promise.all(['x', 'y', 'z'].map((id) => server.answer(body({...ADD, CNI_CONTAINERID: id}, {cniVersion: '1.0.0'}))));
    expect(attachments.runningMax).toBe(3);
  });

  test('a failure does not hold up the next request', async () => {
    const {server, attachments} = started();
    attachments.failWith = new StentorError('IPAM_EXHAUSTED', 'no free address');
    expect(await codeOf(server, body(ADD, {cniVersion: '1.0.0'}))).toBe(999);
    attachments.failWith = null;
    expect((await server.answer(body(ADD, {cniVersion: '1.0.0'}))).exit).toBe(0);
  });

  test.each<[string, Record<string, string>, unknown, number]>([
    ['an unknown command', {...ADD, CNI_COMMAND: 'PURGE'}, {cniVersion: '1.0.0'}, 4],
    ['no command', {}, {cniVersion: '1.0.0'}, 4],
    ['a version of the future', ADD, {cniVersion: '9.0.0'}, 1],
    ['a configuration that is no JSON', ADD, '{', 6],
    ['a configuration that is a list', ADD, [], 6],
    ['an empty container id', {...ADD, CNI_CONTAINERID: ''}, {cniVersion: '1.0.0'}, 4],
    ['a container id with a slash', {...ADD, CNI_CONTAINERID: '../../etc'}, {cniVersion: '1.0.0'}, 4],
    ['an interface name that is too long', {...ADD, CNI_IFNAME: 'abcdefghijklmnop'}, {cniVersion: '1.0.0'}, 4],
    ['an interface name that is a path', {...ADD, CNI_IFNAME: 'a/b'}, {cniVersion: '1.0.0'}, 4],
    ['a namespace that is no path', {...ADD, CNI_NETNS: 'p'}, {cniVersion: '1.0.0'}, 4],
    ['no pod', {...ADD, CNI_ARGS: ''}, {cniVersion: '1.0.0'}, 4],
    ['a chained plugin', ADD, {cniVersion: '1.0.0', prevResult: {}}, 7],
    ['CHECK without prevResult', {...ADD, CNI_COMMAND: 'CHECK'}, {cniVersion: '1.0.0'}, 7],
    ['GC without attachments', {CNI_COMMAND: 'GC'}, {cniVersion: '1.1.0'}, 7],
  ])('%s is refused', async (_what, environment, config, code) => {
    const {server, attachments} = started();
    expect(await codeOf(server, body(environment, config))).toBe(code);
    expect(attachments.held.size).toBe(0);
  });

  test('no bytes whatever make it throw', async () => {
    const {server, attachments} = started();
    await fc.assert(fc.asyncProperty(fc.uint8Array({maxLength: 300}), async (bytes) => {
      expect((await server.answer(Buffer.from(bytes))).exit).toBe(1);
    }));
    expect(attachments.held.size).toBe(0);
  });
});

test('prevResult names what differs', () => {
  const good = {interfaces: [{name: 'lxcabc'}, {name: 'eth0'}], ips: [{address: '10.98.1.5/32'}]};
  expect(checkPrevResult(good, ENDPOINT)).toBeNull();
  expect(checkPrevResult({...good, ips: [{address: '10.98.1.6/32'}]}, ENDPOINT)).toContain('10.98.1.5');
  expect(checkPrevResult({...good, interfaces: [{name: 'eth0'}]}, ENDPOINT)).toContain('lxcabc');
  expect(checkPrevResult(7, ENDPOINT)).toContain('eth0');
});
