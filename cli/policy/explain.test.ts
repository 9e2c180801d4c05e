// explain as a process: what it says, and that the change it proposes flips this verdict and no other.

import {mkdtempSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterAll, describe, expect, test} from '@jest/globals';
import type {FlowJson} from '../../lib/policy/format.js';
import {applyEdit, type Edit} from './edit.js';
import {readManifests} from './sources.js';
import {SHOP, ROOT, stentorctl} from './testing/run.js';

const DENY = 'cli/policy/testing/deny.yaml';
const OPEN = 'cli/policy/testing/isolated.yaml';
const TWO = 'cli/policy/testing/deny-two.yaml';
const folder = mkdtempSync(join(tmpdir(), 'policy-explain-'));
afterAll(() => rmSync(folder, {recursive: true, force: true}));

const explain = (flow: string, ...inputs: readonly string[]): {code: number | null; out: string; err: string} =>
  stentorctl(['policy', 'explain', ...flow.split(' '), ...inputs.flatMap((input) => ['--input', input])]);

const PODS = ['shop/frontend', 'shop/api', 'shop/db', 'monitoring/prometheus', 'kube-system/coredns'];
const ADDRESSES = ['192.0.2.1', '192.0.2.200', '198.51.100.1', '10.1.5.12'];
const PORTS = [53, 80, 443, 5432, 8080, 9090];

interface AskedFlow {
  readonly src: object;
  readonly dst: object;
  readonly protocol: string;
  readonly port: number;
}

const FLOWS: readonly AskedFlow[] = [...PODS, ...ADDRESSES].flatMap((source) => [...PODS, ...ADDRESSES].flatMap((destination) => {
  const end = (name: string): object => (name.includes('/') ? {pod: name} : {ip: name});
  return PODS.includes(source) || PODS.includes(destination)
    ? ['TCP', 'UDP'].flatMap((protocol) => PORTS.map((port) => ({src: end(source), dst: end(destination), protocol, port}))) : [];
}));

function verdicts(...inputs: readonly string[]): FlowJson[] {
  const {out} = stentorctl(['policy', 'verdict', '--input', ...inputs, '--flows', '-'], {input: FLOWS.map((flow) => JSON.stringify(flow)).join('\n')});
  return out.trim().split('\n').map((line) => JSON.parse(line) as FlowJson);
}

interface Step {
  readonly object: {readonly name: string; readonly kind: string};
  readonly edit: Edit;
}

interface Answer {
  readonly verdict: string;
  readonly sides: readonly {readonly direction: 'ingress' | 'egress'; readonly verdict: string; readonly nearest: {readonly misses: readonly string[]} | null; readonly change: (Step & {readonly more: readonly Step[]; readonly others: readonly string[]}) | null}[];
}

/** The inputs as one file, with the proposed changes of all sides made. */
async function changed(answer: Answer, inputs: readonly string[], name: string): Promise<string> {
  const {objects} = await readManifests(inputs.map((input) => join(ROOT, input)));
  const edits = answer.sides.flatMap(({change}): Step[] => (change === null ? [] : [change, ...change.more]));
  const made = objects.map(({kind, object}) => edits.filter(({edit, object: ref}) => edit.op !== 'create' && ref.kind === kind && ref.name === object.metadata.name)
    .reduce((before, {edit}) => applyEdit(before, edit), object as unknown));
  const created = edits.flatMap(({edit}) => (edit.op === 'create' ? [edit.value] : []));
  const file = join(folder, `${name.replaceAll(/\W/g, '-')}.json`);
  writeFileSync(file, JSON.stringify({apiVersion: 'v1', kind: 'List', items: [...made, ...created]}));
  return file;
}

describe('the proposed change flips this verdict and no other', () => {
  test.each([
    ['shop/frontend shop/db 5432/TCP', 'append spec.ingress[0].from', [SHOP]],
    ['shop/frontend shop/api 9090/TCP', 'append spec.ingress[0].toPorts[0].ports', [SHOP]],
    ['monitoring/prometheus shop/api 9090/TCP', 'append spec.ingress', [SHOP]],
    ['shop/api 192.0.2.1 443/TCP', 'append spec.egress', [SHOP]],
    ['198.51.100.1 shop/db 5432/TCP', 'append spec.ingress[0].from', [SHOP]],
    ['10.1.5.12 shop/api 53/UDP', null, [SHOP]],
    ['10.1.5.12 shop/frontend 80/TCP', null, [SHOP]],
    ['shop/api shop/frontend 443/TCP', 'append spec.egress', [SHOP]],
    ['monitoring/prometheus shop/db 9090/TCP', 'append spec.ingress', [SHOP]],
    ['shop/db 192.0.2.200 443/TCP', 'append spec.egress[0].toCIDRSet', [SHOP, DENY]],
    ['shop/db 198.51.100.1 80/TCP', 'append spec.egress', [SHOP, DENY]],
  ] as const)('%s: %s', async (flow, expected, inputs) => {
    const [source = '', destination = '', l4 = ''] = flow.split(' ');
    const answer = JSON.parse(explain(`${flow} -o json`, ...inputs).out) as Answer;
    if (expected === null) {
      // The own host reaches its pods, and nothing isolates the frontend.
      expect(answer.verdict).toBe('allow');
      return;
    }
    expect(answer.verdict).toBe('deny');
    const denied = answer.sides.filter(({verdict}) => verdict === 'deny');
    expect(denied.map(({change}) => change?.others)).toEqual(denied.map(() => []));
    const [{change} = {change: null}] = denied;
    expect(`${change?.edit.op} ${change?.edit.path}`).toMatch(expected);
    const before = verdicts(...inputs);
    const after = verdicts(await changed(answer, inputs, flow));
    const flipped = FLOWS.filter((_, i) => before[i]?.verdict !== after[i]?.verdict);
    const [port, protocol] = l4.split('/');
    expect(flipped).toEqual([{src: expect.anything() as unknown, dst: expect.anything() as unknown, protocol, port: Number(port)}]);
    expect(JSON.stringify(flipped[0])).toContain(`"${source}"`);
    expect(JSON.stringify(flipped[0])).toContain(`"${destination}"`);
  });

  test.each([
    ['both directions', 'shop/api shop/db 80/TCP', [SHOP], ['append spec.egress[0].toPorts[0].ports', 'append spec.ingress[0].ports']],
    ['both directions, another protocol', 'shop/api shop/db 443/UDP', [SHOP], ['append spec.egress[0].toPorts[0].ports', 'append spec.ingress[0].ports']],
    ['both directions, another peer', 'shop/api monitoring/prometheus 9090/TCP', [SHOP, OPEN], ['append spec.egress', 'append spec.ingress']],
    ['two rules that deny, and none that allows', 'shop/frontend shop/db 80/TCP', [SHOP, TWO], [
      'append spec.ingressDeny[0].fromEndpoints[0].matchExpressions', 'append spec.ingressDeny[0].fromEndpoints[0].matchExpressions', 'append spec.ingress',
    ]],
  ] as const)('where one edit is not enough: %s', async (_what, flow, inputs, expected) => {
    const answer = JSON.parse(explain(`${flow} -o json`, ...inputs).out) as Answer;
    const steps = answer.sides.flatMap(({change}) => (change === null ? [] : [change, ...change.more]));
    expect(steps.map(({edit}) => `${edit.op} ${edit.path}`)).toEqual(expected);
    expect(answer.sides.flatMap(({change}) => change?.others ?? [])).toEqual([]);
    const [before, after] = [verdicts(...inputs), verdicts(await changed(answer, inputs, flow))];
    const [source = '', destination = '', l4 = ''] = flow.split(' ');
    const [port, protocol] = l4.split('/');
    expect(FLOWS.filter((_, i) => before[i]?.verdict !== after[i]?.verdict)).toEqual([{src: {pod: source}, dst: {pod: destination}, protocol, port: Number(port)}]);
    expect(explain(flow, ...inputs).out).toContain(expected.length > 2 ? 'and then: ' : 'both changes are needed');
  });

  test('a deny is narrowed or taken away; what else changes is told', async () => {
    const answer = JSON.parse(explain('shop/api shop/db 5432/TCP -o json', SHOP, DENY).out) as Answer;
    const ingress = answer.sides.find(({direction}) => direction === 'ingress');
    expect(ingress?.change?.edit).toEqual({op: 'append', path: 'spec.ingressDeny[0].fromEndpoints[0].matchExpressions', value: {key: 'app', operator: 'NotIn', values: ['api']}});
    const before = verdicts(SHOP, DENY);
    const after = verdicts(await changed(answer, [SHOP, DENY], 'deny'));
    expect(FLOWS.filter((_, i) => before[i]?.verdict !== after[i]?.verdict)).toEqual([{src: {pod: 'shop/api'}, dst: {pod: 'shop/db'}, protocol: 'TCP', port: 5432}]);
  });
});

describe('what it says', () => {
  test('a denial: the rule, its line, the nearest miss, the change', () => {
    expect(explain('shop/frontend shop/db 5432/TCP', SHOP)).toEqual({code: 0, err: '', out: `shop/frontend → shop/db 5432/TCP: denied

egress of shop/frontend: allowed, no policy isolates it in this direction

ingress of shop/db: denied, no entry matches
  NetworkPolicy shop/db spec.ingress[0]  ${SHOP}/policies.yaml:45  (nearest miss)
    peer  wants app=api, has app=frontend
    port  matches
  smallest change: NetworkPolicy shop/db (${SHOP}/policies.yaml:45): append to spec.ingress[0].from
    - podSelector:
        matchLabels:
          app: frontend
`});
  });

  test('an allow, a reach without a port, an address, wrong use', () => {
    expect(explain('shop/frontend shop/api 8080', SHOP).out).toContain(`CiliumNetworkPolicy shop/api spec.ingress[0]  ${SHOP}/policies.yaml:11\n`);
    expect(explain('shop/api kube-system/coredns', SHOP).out).toContain('shop/api → kube-system/coredns: 53/UDP\n');
    expect(explain('shop/api world 443', SHOP).out).toContain('wants a pod with app=db, io.kubernetes.pod.namespace=shop, has reserved:world');
    expect(explain('shop/api shop/none 80', SHOP)).toMatchObject({code: 2, err: 'error: no pod shop/none\n'});
    expect(explain('shop/api world 443/XYZ', SHOP).code).toBe(2);
  });
});
