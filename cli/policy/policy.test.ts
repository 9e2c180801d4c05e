// compile, verdict and validate as processes on manifests: no root, no cluster, no network.

import {mkdtempSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterAll, describe, expect, test} from '@jest/globals';
import type {CompileJson, FlowJson} from '../../lib/policy/format.js';
import {cpuSeconds, SHOP, stentorctl} from './testing/run.js';

const FAULTY = 'cli/policy/testing/faulty.yaml';
const folder = mkdtempSync(join(tmpdir(), 'policy-cli-'));
afterAll(() => rmSync(folder, {recursive: true, force: true}));

const compile = (...args: readonly string[]): CompileJson => JSON.parse(stentorctl(['policy', 'compile', '-o', 'json', ...args]).out) as CompileJson;
const flow = (src: string, dst: string, port: number): string =>
  JSON.stringify({src: src.includes('/') ? {pod: src} : {ip: src}, dst: dst.includes('/') ? {pod: dst} : {ip: dst}, protocol: 'TCP', port});

describe('compile', () => {
  test('endpoints, entries with their rules, ipcache', () => {
    const result = compile('--input', SHOP);
    expect(result.rejected).toEqual([]);
    expect(result.warnings).toEqual([]);
    const api = result.endpoints.find(({name}) => name === 'api');
    expect(api).toMatchObject({namespace: 'shop', ips: ['10.98.2.10'], node: 'node2', ingressEnforced: true, egressEnforced: true});
    expect(api?.entries.filter(({derived}) => derived === null).map(({direction, protocol, port, derivedFrom}) => [direction, protocol, port, derivedFrom[0]?.name, derivedFrom[0]?.ruleIndex]).sort())
      .toEqual([['egress', 17, 53, 'api', 2], ['egress', 6, 5432, 'api', 1], ['ingress', 6, 8080, 'api', 0]]);
    expect(result.ipcache.find(({prefix}) => prefix === '10.98.2.10/32')).toEqual({prefix: '10.98.2.10/32', identity: api?.identity, tunnelEndpoint: '10.1.5.12', encryptKey: 0});
    expect(result.identities.find(({id}) => id === api?.identity)?.labels).toContain('k8s:io.cilium.k8s.namespace.labels.team=shop');
  });

  test('--node, --config, stdin; the same from JSON and from a List', () => {
    expect(compile('--input', SHOP, '--node', 'node2').endpoints.map(({name}) => name)).toEqual(['api', 'db']);
    expect(stentorctl(['policy', 'compile', '--input', SHOP, '--node', 'node9']).code).toBe(2);
    const config = join(folder, 'config.yaml');
    writeFileSync(config, 'kind: ConfigMap\ndata: {enable-policy: always, routing-mode: native, cluster-name: c1}\n');
    const strict = compile('--input', SHOP, '--config', config);
    expect(strict.endpoints.every(({ingressEnforced, egressEnforced}) => ingressEnforced && egressEnforced)).toBe(true);
    expect(strict.ipcache.every(({tunnelEndpoint}) => tunnelEndpoint === null)).toBe(true);
    expect(strict.identities.some(({labels}) => labels.includes('k8s:io.cilium.k8s.policy.cluster=c1'))).toBe(true);
    const pod = {apiVersion: 'v1', kind: 'Pod', metadata: {name: 'a', namespace: 'n'}, spec: {}};
    const list = {apiVersion: 'v1', kind: 'List', items: [pod]};
    const piped = stentorctl(['policy', 'compile', '--input', '-', '-o', 'json'], {input: JSON.stringify(list)});
    const lines = stentorctl(['policy', 'compile', '-', '-o', 'json'], {input: `${JSON.stringify(pod)}\n`});
    expect(piped.out).toBe(lines.out);
    expect(JSON.parse(piped.out)).toMatchObject({endpoints: [{namespace: 'n', name: 'a', ips: []}], warnings: ['namespace n is not given: taken as one without labels']});
  });

  test('--names gives toFQDNs its addresses; a pod with an IPv6 address brings its family', () => {
    const names = join(folder, 'names.yaml');
    writeFileSync(names, 'API.example.com: 192.0.2.7\n');
    const objects = [
      {apiVersion: 'v1', kind: 'Pod', metadata: {name: 'a', namespace: 'n'}, spec: {}, status: {podIPs: [{ip: '10.0.0.1'}, {ip: 'fd00::1'}]}},
      {apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', metadata: {name: 'p', namespace: 'n'}, spec: {endpointSelector: {}, egress: [{toFQDNs: [{matchName: 'api.example.com'}]}]}},
    ];
    const input = objects.map((object) => JSON.stringify(object)).join('\n');
    const file = join(folder, 'fqdn.json');
    writeFileSync(file, input);
    const verdict = (...args: readonly string[]): string => (JSON.parse(stentorctl(['policy', 'verdict', '--input', file, '--flows', '-', ...args], {input: flow('n/a', '192.0.2.7', 443)}).out) as FlowJson).verdict;
    expect([verdict(), verdict('--names', names)]).toEqual(['deny', 'allow']);
    expect(stentorctl(['policy', 'explain', 'n/a', '192.0.2.7', '443', '--input', file, '--names', names]).out).toContain('CiliumNetworkPolicy n/p spec.egress[0]');
    expect(compile('--input', file).ipcache.map(({prefix}) => prefix)).toContain('fd00::1/128');
  });

  test('with IPv6 world is both worlds; names that are given make toFQDNs valid', () => {
    const objects = [
      {apiVersion: 'v1', kind: 'Pod', metadata: {name: 'a', namespace: 'n'}, spec: {}, status: {podIPs: [{ip: '10.0.0.1'}, {ip: 'fd00::1'}]}},
      {apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', metadata: {name: 'p', namespace: 'n'}, spec: {endpointSelector: {}, egress: [{toEntities: ['world']}]}},
    ];
    const file = join(folder, 'dual.json');
    writeFileSync(file, objects.map((object) => JSON.stringify(object)).join('\n'));
    const verdicts = stentorctl(['policy', 'verdict', '--input', file, '--flows', '-'], {input: [flow('n/a', '192.0.2.7', 443), flow('n/a', '2001:db8::7', 443)].join('\n')}).out;
    expect(verdicts.trim().split('\n').map((line) => (JSON.parse(line) as FlowJson).verdict)).toEqual(['allow', 'allow']);
    const named = {...objects[1], spec: {endpointSelector: {}, egress: [{toFQDNs: [{matchName: 'api.example.com'}]}]}};
    const rejected = (...args: readonly string[]): unknown => (JSON.parse(stentorctl(['policy', 'compile', '-', '-o', 'json', ...args], {input: JSON.stringify(named)}).out) as CompileJson).rejected.length;
    const names = join(folder, 'names2.yaml');
    writeFileSync(names, 'api.example.com: 192.0.2.7\n');
    expect([rejected(), rejected('--names', names)]).toEqual([1, 0]);
  });

  test('a workload stands for its pods, unless they are given', () => {
    const deployment = {
      apiVersion: 'apps/v1', kind: 'Deployment', metadata: {name: 'web', namespace: 'shop'}, spec: {template: {metadata: {labels: {app: 'web'}}, spec: {containers: []}}},
    };
    const pod = {apiVersion: 'v1', kind: 'Pod', metadata: {name: 'web-1', namespace: 'shop', labels: {app: 'web', 'pod-template-hash': 'x'}}, spec: {}};
    const names = (...objects: readonly unknown[]): string[] =>
      (JSON.parse(stentorctl(['policy', 'compile', '-', '-o', 'json'], {input: objects.map((object) => JSON.stringify(object)).join('\n')}).out) as CompileJson).endpoints.map(({name}) => name);
    expect(names(deployment)).toEqual(['web']);
    expect(names(deployment, pod)).toEqual(['web-1']);
  });
});

describe('verdict', () => {
  test('one line for each flow, in order', () => {
    const flows = [flow('shop/frontend', 'shop/api', 8080), flow('shop/frontend', 'shop/db', 5432), flow('shop/api', '192.0.2.1', 443), flow('shop/api', 'shop/none', 1)];
    const {out, code} = stentorctl(['policy', 'verdict', '--input', SHOP, '--flows', '-'], {input: `${flows.join('\n')}\n`});
    expect(code).toBe(0);
    const answers = out.trim().split('\n').map((line) => JSON.parse(line) as FlowJson);
    expect(answers.map(({egress, ingress, verdict}) => `${egress} ${ingress} ${verdict}`)).toEqual(['allow allow allow', 'allow deny deny', 'deny n/a deny', 'n/a n/a deny']);
    expect(answers[0]?.matched.ingress?.entry?.derivedFrom[0]).toMatchObject({name: 'api', ruleIndex: 0});
    expect(answers[3]?.reason).toContain('shop/none');
  });

  test('a line that is no flow is told in its place', () => {
    const {out, code} = stentorctl(['policy', 'verdict', '--input', SHOP, '--flows', '-'], {input: `nonsense\n${flow('shop/frontend', 'shop/api', 8080)}\n`});
    expect(code).toBe(5);
    expect(out.split('\n').slice(0, 2).map((line) => (JSON.parse(line) as FlowJson).verdict)).toEqual(['deny', 'allow']);
    expect(stentorctl(['policy', 'verdict', '--input', SHOP]).code).toBe(2);
    expect(stentorctl(['policy', 'verdict', '--input', '-', '--flows', '-'], {input: ''}).code).toBe(2);
    expect(stentorctl(['policy', 'verdict', '--input', SHOP, '--flows', '/none']).code).toBe(2);
  });

  test('100,000 flows: the rate is printed, and is above 20,000/s', () => {
    const file = join(folder, 'flows.jsonl');
    const lines = Array.from({length: 100_000}, (_, i) => (i % 2 === 0 ? flow('shop/frontend', 'shop/api', i % 65536) : flow(`10.${i % 200}.0.1`, 'shop/db', 5432)));
    writeFileSync(file, lines.join('\n'));
    expect(stentorctl(['policy', 'verdict', '--input', SHOP, '--flows', file]).out.split('\n')).toHaveLength(100_001);
    const rate = 100_000 / cpuSeconds(['policy', 'verdict', '--input', SHOP, '--flows', file]);
    console.info(`policy verdict: ${Math.round(rate)} flows/s of CPU, start-up included`);
    expect(rate).toBeGreaterThan(20_000);
  });
});

describe('validate', () => {
  test('every finding has its place, its code and a fix', () => {
    const {out, code} = stentorctl(['policy', 'validate', FAULTY, '-o', 'json']);
    expect(code).toBe(1);
    const {findings, counts, valid} = JSON.parse(out) as {
      findings: {severity: string; code: string; path: string; line: number; column: number; fix: string; object: {name: string}}[]; counts: object; valid: boolean;
    };
    expect(findings.map((item) => `${item.line}:${item.column} ${item.severity} ${item.code} ${item.object.name} ${item.path}`)).toEqual([
      '17:5 error UnknownField typo spec.ingress[0].fromEndpoint',
      '30:9 warning PortWithoutProtocol lint spec.ingress[0].toPorts[0].ports[0]',
      '31:5 warning PeerSelectsNothing lint spec.ingress[1]',
      '31:5 warning ShadowedRule lint spec.ingress[1]',
      '34:9 warning LabelNotInIdentity lint spec.ingress[1].fromEndpoints[0].matchLabels.pod-template-hash',
      '38:5 warning PeerSelectsNothing lint spec.ingress[2]',
      '41:14 warning CIDRCoversPods lint spec.egress[0].toCIDR[0]',
      '41:28 warning CIDRHostBits lint spec.egress[0].toCIDR[1]',
      '43:7 note CIDRCoversPods lint spec.egress[1].toCIDRSet[0].cidr',
      '51:5 warning IsolatesDNS isolate-all spec.ingress[0]',
      '57:3 warning SubjectSelectsNothing unused spec.podSelector',
      '58:3 error UnknownField unused spec.policyType',
    ]);
    expect(findings.every(({fix}) => fix !== '')).toBe(true);
    expect({counts, valid}).toEqual({counts: {objects: 4, errors: 2, warnings: 9, notes: 1}, valid: false});
  });

  test('labels of namespaces are in identities, whatever the filter says of pod labels', () => {
    const from = (selector: object): string => JSON.stringify({apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy', metadata: {name: 'from', namespace: 'shop'},
      spec: {podSelector: {}, ingress: [{from: [selector]}]}});
    const selector = {matchLabels: {'kubernetes.io/metadata.name': 'edge'}};
    expect(stentorctl(['policy', 'validate', '-'], {input: from({namespaceSelector: selector})})).toMatchObject({code: 0, out: '1 policies: 0 errors, 0 warnings, 0 notes\n'});
    expect(stentorctl(['policy', 'validate', '-'], {input: from({podSelector: selector})})).toMatchObject({code: 1, out: expect.stringContaining('LabelNotInIdentity') as unknown});
  });

  test('table, SARIF, JUnit, exit codes', () => {
    const table = stentorctl(['policy', 'validate', FAULTY]);
    expect(table.out.split('\n').slice(0, 3)).toEqual([
      `${FAULTY}:17:5: error UnknownField: unknown field`, '    in   CiliumNetworkPolicy shop/typo spec.ingress[0].fromEndpoint',
      '    fix  correct the spelling or the indentation, or remove the field',
    ]);
    expect(table.out).not.toContain('\u001b');
    const sarif = JSON.parse(stentorctl(['policy', 'validate', FAULTY, '-o', 'sarif']).out) as {version: string; runs: {results: unknown[]; tool: {driver: {rules: unknown[]}}}[]};
    expect(sarif.version).toBe('2.1.0');
    expect(sarif.runs[0]?.results[0]).toMatchObject({
      ruleId: 'UnknownField', level: 'error', locations: [{physicalLocation: {artifactLocation: {uri: FAULTY}, region: {startLine: 17, startColumn: 5}}}],
    });
    const junit = stentorctl(['policy', 'validate', FAULTY, '-o', 'junit']).out;
    expect(junit).toContain('<testsuites tests="4" failures="4" errors="0" skipped="0">');
    expect(junit).toContain('<failure type="UnknownField" message="unknown field">');
    expect(stentorctl(['policy', 'validate', SHOP])).toEqual({code: 0, out: '2 policies: 0 errors, 0 warnings, 0 notes\n', err: ''});
    expect(stentorctl(['policy', 'validate', 'nowhere']).code).toBe(2);
    expect(stentorctl(['policy', 'validate', SHOP, '-o', 'html']).code).toBe(2);
    expect(stentorctl(['policy', 'validate', '-'], {input: 'a: [\n'})).toMatchObject({code: 1, out: expect.stringContaining('<stdin>:2:1: error SyntaxError') as unknown});
  });

  test('1,000 policies with start-up: the CPU time is printed, and is below 2 s', () => {
    const file = join(folder, 'many.yaml');
    writeFileSync(file, Array.from({length: 1000}, (_, i) => `apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: p${i}, namespace: ns${i % 20}}
spec:
  endpointSelector:
    matchLabels: {app: web${i}}
  ingress:
  - fromEndpoints:
    - matchLabels:
        app: client${i}
        io.kubernetes.pod.namespace: ns${(i + 1) % 20}
    toPorts:
    - ports:
      - port: "80"
        protocol: TCP
  egress:
  - toCIDRSet:
    - cidr: 192.0.2.0/24
      except: [192.0.2.${i % 250}/32]
`).join('---\n'));
    expect(stentorctl(['policy', 'validate', file]).out).toBe('1000 policies: 0 errors, 0 warnings, 0 notes\n');
    const seconds = cpuSeconds(['policy', 'validate', file]);
    console.info(`policy validate of 1,000 policies: ${seconds} s of CPU`);
    expect(seconds).toBeGreaterThan(0);
    expect(seconds).toBeLessThan(2);
  });
});
