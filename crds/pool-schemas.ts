// Schemas of the pools: addresses for LoadBalancer Services, addresses for pods.

import {AGE, cidr, conditions, conditionColumn, crd, flag, int32, labelSelector, list, object, oneOfWords, root, text, type Schema} from './schema-parts.js';

export const ciliumLoadBalancerIPPool = crd({
  kind: 'CiliumLoadBalancerIPPool', plural: 'ciliumloadbalancerippools', shortNames: ['ippools', 'ippool', 'lbippool', 'lbippools'],
  categories: ['cilium'], scope: 'Cluster', version: 'v2', olderVersions: ['v2alpha1'],
  columns: [
    {name: 'Disabled', type: 'boolean', jsonPath: '.spec.disabled'},
    conditionColumn('Conflicting', 'cilium.io/PoolConflict'),
    {name: 'IPs Available', type: 'string', jsonPath: ".status.conditions[?(@.type=='cilium.io/IPsAvailable')].message"},
    AGE,
  ],
  statusSubresource: true,
  schema: root('Addresses that Services of type LoadBalancer are given.', {
    'spec*': object('The pool.', {
      allowFirstLastIPs: oneOfWords('Whether the first and the last address of each `cidr` longer than two addresses may be given out; Yes when absent.', ['Yes', 'No']),
      blocks: list('The addresses.', object('A prefix, or a range.', {
        cidr: cidr('A prefix.'), start: text('First address of a range.'), stop: text('Last address of a range; the first when absent.'),
      })),
      cidrs: list('The same as `blocks`, in the words of Cilium 1.14 and 1.15.', object('A prefix.', {cidr: cidr('A prefix.')})),
      disabled: flag('Nothing more is given out; what was given stays.', {default: false}),
      serviceSelector: labelSelector('The Services; all when absent. `io.kubernetes.service.namespace` and `io.kubernetes.service.name` are labels, too.'),
    }),
    status: object('The pool as it is.', {conditions: conditions('Conflicts with other pools, and counts of addresses (in `message`).')}),
  }),
});

function podAddresses(family: string, bits: number): Schema {
  return object(`${family} addresses.`, {
    'cidrs*': list('Where they come from.', cidr('A prefix.')), 'maskSize*': int32('Length of the prefix that each node is given.', 1, bits),
  });
}

export const ciliumPodIPPool = crd({
  kind: 'CiliumPodIPPool', plural: 'ciliumpodippools', shortNames: ['cpip'], categories: ['cilium'], scope: 'Cluster', version: 'v2alpha1',
  columns: [AGE], statusSubresource: false,
  schema: root('Addresses that pods are given. Read for BGP announcements alone: the prefixes of a node are in its CiliumNode.', {
    'spec*': object('The pool.', {
      ipv4: podAddresses('IPv4', 32), ipv6: podAddresses('IPv6', 128),
      namespaceSelector: labelSelector('Namespaces whose pods use the pool.'), podSelector: labelSelector('Pods that use the pool.'),
    }),
  }),
});
