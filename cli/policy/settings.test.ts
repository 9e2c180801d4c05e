// Options as the operator has them, from a file or a ConfigMap.

import {describe, expect, test} from '@jest/globals';
import {CliError} from '../errors.js';
import {settingsOf} from './settings.js';

describe('allow-localhost', () => {
  test.each([['always', true], ['auto', true], ['true', true], ['policy', false], ['false', false]])('%s', (value, expected) => {
    expect(settingsOf(`allow-localhost: "${value}"`, 'c').allowLocalhost).toBe(expected);
  });

  test('unless said: auto, which is always', () => {
    expect(settingsOf('cluster-name: c1', 'c').allowLocalhost).toBe(true);
  });
});

test('labels, in a ConfigMap', () => {
  const {labelFilter} = settingsOf('kind: ConfigMap\ndata: {labels: "k8s:app k8s:!app-x"}\n', 'c');
  expect(['app', 'app-x', 'tier', 'io.kubernetes.pod.namespace'].filter((key) => labelFilter.keeps('k8s', key))).toEqual(['app', 'io.kubernetes.pod.namespace']);
});

test('the meaning of ICMP type 0', () => {
  expect([settingsOf('{}', 'c').icmpTypeZero, settingsOf('icmp-type-zero: any', 'c').icmpTypeZero]).toEqual(['exact', 'any']);
});

test.each(['allow-localhost: sometimes', 'icmp-type-zero: all', 'enable-policy: often', 'cluster-name: ""', 'labels: "("', 'labels: [a]', 'enable-ipv6: maybe', '[1]', '{'])('%s is wrong use', (text) => {
  expect(() => settingsOf(text, 'c')).toThrow(CliError);
});
