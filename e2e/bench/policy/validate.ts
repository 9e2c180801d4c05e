// `stentorctl policy validate` as a user runs it, over 1,000 policies.

import {execFileSync} from 'node:child_process';
import {mkdtempSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {cpuSeconds} from '../../../cli/policy/testing/run.js';

const COUNT = 1000;

/** CPU and wall-clock seconds of the whole process. */
export function validateThousand(): {readonly cpu: number; readonly wall: number} {
  const folder = mkdtempSync(join(tmpdir(), 'stentor-bench-'));
  try {
    const file = join(folder, 'policies.yaml');
    writeFileSync(file, Array.from({length: COUNT}, (_, i) => JSON.stringify(policy(i))).join('\n---\n'));
    const started = performance.now();
    execFileSync(process.execPath, [join(import.meta.dirname, '../../../cli/stentorctl.js'), 'policy', 'validate', file], {stdio: 'pipe'});
    return {wall: (performance.now() - started) / 1000, cpu: cpuSeconds(['policy', 'validate', file])};
  } finally {
    rmSync(folder, {recursive: true});
  }
}

function policy(i: number): object {
  return {
    apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', metadata: {name: `p${i}`, namespace: `ns${i % 20}`},
    spec: {
      endpointSelector: {matchLabels: {app: `web${i}`}},
      ingress: [{
        fromEndpoints: [{matchLabels: {app: `client${i}`, 'io.kubernetes.pod.namespace': `ns${(i + 1) % 20}`}}], toPorts: [{ports: [{port: '80', protocol: 'TCP'}]}],
      }],
      egress: [{toCIDRSet: [{cidr: '192.0.2.0/24', except: [`192.0.2.${i % 250}/32`]}]}],
    },
  };
}
