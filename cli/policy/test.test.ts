// policy test as a process: results, places, counts, exit codes.

import {describe, expect, test} from '@jest/globals';
import {SHOP, stentorctl} from './testing/run.js';

const run = (yaml: string, ...args: readonly string[]): ReturnType<typeof stentorctl> => stentorctl(['policy', 'test', '--input', `${SHOP}/cluster.yaml`, `${SHOP}/policies.yaml`, '-', ...args], {input: yaml});

describe('policy test', () => {
  test('the assertions beside the manifests', () => {
    const {code, out} = stentorctl(['policy', 'test', SHOP]);
    expect(code).toBe(0);
    expect(out.split('\n').slice(0, 2)).toEqual([
      'RESULT   TEST                                 FROM                    TO          PORT       EXPECT   VERDICT',
      'ok       the shop works                       frontend                api         8080/TCP   allow    allow',
    ]);
    expect(out).toMatch(/\n3 assertions, 7 flows: 7 passed, 0 failed\n$/);
  });

  test('a failure names its line and the reason; the exit code is 1', () => {
    const yaml = '# why\n- {from: shop/frontend, to: shop/db, ports: [5432], expect: allow}\n- {from: shop/api, to: shop/db, ports: [5432], expect: allow}\n';
    const {code, out} = run(yaml);
    expect(code).toBe(1);
    expect(out).toContain('<stdin>:2: shop/frontend → shop/db 5432/TCP\n    egress: not enforced; ingress: no entry matches, denied by default\n');
    expect(out).toMatch(/2 assertions, 2 flows: 1 passed, 1 failed\n$/);
    const junit = run(yaml, '-o', 'junit').out;
    expect(junit).toContain('<testsuite name="policy test" tests="2" failures="1" errors="0" skipped="0">');
    expect(junit).toContain('<failure type="Verdict" message="expected allow, got deny">');
    expect(JSON.parse(run(yaml, '-o', 'json').out)).toMatchObject({passed: 1, failed: 1, results: [{line: 2, passed: false, verdict: 'deny'}, {line: 3, passed: true}]});
  });

  test.each([
    ['because of another policy', '{from: shop/frontend, to: shop/db, ports: [5432], expect: deny, because: api}', 1, 'not because of api'],
    ['because of the policy that isolates', '{from: shop/frontend, to: shop/db, ports: [5432], expect: deny, because: shop/db}', 0, '1 passed'],
    ['because of no policy', '{from: shop/api, to: shop/frontend, ports: [1/UDP], expect: deny, because: default}', 0, '1 passed'],
    ['a pod that is not there', '{from: shop/gone, to: shop/db, ports: [1], expect: deny}', 1, 'no pod shop/gone'],
    ['labels that nobody has', '{from: {namespace: shop, labels: {app: gone}}, to: shop/db, ports: [1], expect: deny}', 1, 'from: no pod has these labels'],
    ['a misspelt field', '{from: shop/api, to: shop/db, ports: [1], expects: deny}', 1, 'unknown field expects; expect is allow or deny'],
    ['a misspelt field beside the others', '{from: shop/api, to: shop/db, port: 1, expect: deny, becuase: x}', 1, 'unknown field becuase'],
    ['no assertion at all', '{a: 1}', 2, 'there are no assertions'],
    ['no port', '{from: shop/api, to: shop/db, expect: deny}', 1, 'ports: at least one'],
    ['a document of its own kind', '{apiVersion: stentor.io/v1, kind: PolicyTest, metadata: {name: t, namespace: shop}, spec: {tests: [{from: api, to: db, ports: [5432], expect: allow}]}}', 0, '1 passed'],
    ['ICMP, a range of pods', '{from: {namespace: "*"}, to: shop/frontend, ports: [ICMP/8, {port: 80, protocol: TCP}], expect: allow}', 1, '1 assertions, 10 flows: 8 passed, 2 failed'],
  ] as const)('%s', (_what, yaml, code, text) => {
    const result = run(yaml);
    expect(result.out + result.err).toContain(text);
    expect(result.code).toBe(code);
  });
});
