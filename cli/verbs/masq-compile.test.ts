import {describe, expect, test} from '@jest/globals';
import {stentorctl} from '../policy/testing/run.js';

const NODES = ['n2', 'n1'].map((name) => JSON.stringify({apiVersion: 'v1', kind: 'Node', metadata: {name}, spec: {podCIDRs: ['10.98.1.0/24']}}));
const configMap = (config: string): string => JSON.stringify({apiVersion: 'v1', kind: 'ConfigMap', metadata: {name: 'ip-masq-agent', namespace: 'kube-system'}, data: {config}});

function compile(...objects: readonly string[]): {readonly code: number | null; readonly nodes: readonly unknown[]} {
  const {code, out} = stentorctl(['masq', 'compile', '--input', '-', '-o', 'json'], {input: objects.join('\n---\n')});
  return {code, nodes: (JSON.parse(out) as {readonly nodes: readonly unknown[]}).nodes};
}

describe('masq compile', () => {
  test('one row for each node', () => {
    const row = {enabled: true, nonMasqueradeCidrs: ['20.1.1.0/24'], masqLinkLocal: true, masqLinkLocalIPv6: false, source: 'configmap', hold: null};
    expect(compile(...NODES, configMap('nonMasqueradeCIDRs: [20.1.1.7/24]\nmasqLinkLocal: true'))).toEqual({code: 0, nodes: [{name: 'n1', ...row}, {name: 'n2', ...row}]});
  });

  test('without a ConfigMap the defaults; a broken one is held and a finding', () => {
    expect(compile(...NODES)).toMatchObject({code: 0, nodes: [{source: 'defaults', masqLinkLocal: false}, {}]});
    expect(compile(...NODES, configMap('nonMasqueradeCIDRs: [x]'))).toMatchObject({code: 1, nodes: [{hold: expect.stringContaining('is not a prefix'), nonMasqueradeCidrs: []}, {}]});
  });
});
