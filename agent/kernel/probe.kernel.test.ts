import {expect, test} from '@jest/globals';
import {missingFeatures, probeFeatures} from './probe.js';

test('this kernel has what the datapath needs, and says what a path lacks', async () => {
  const features = await probeFeatures({bpfRoot: '/sys/fs/bpf/native-not-made-yet/maps'});
  expect(features.filter((feature) => !feature.available)).toEqual([]);
  expect(features.length).toBeGreaterThan(10);
  expect(missingFeatures(features, ['tcx', 'ringbuf'])).toEqual([]);
  const elsewhere = await probeFeatures({bpfRoot: '/tmp/native'});
  expect(missingFeatures(elsewhere, ['bpffs', 'netkit'])).toEqual([
    {name: 'bpffs', available: false, reason: expect.stringContaining('is not on a BPF file system')},
    {name: 'netkit', available: false, reason: 'not probed'},
  ]);
});
