// Tests only: items of a NetworkPolicy's ingress, for the decoder and for a real API server.

/** Who reaches default/web on TCP 80 and on UDP 80: `a` default/a, `o` other/a, `w` world. */
export const OPEN = 'aow aow';
export const NONE = '- -';

/** Ids of statements, what it is, the item, and who reaches. */
export const TAKEN_ITEMS: readonly (readonly [ids: string, what: string, item: object, reached: string])[] = [
  ['2.10-04', 'an empty item is everything', {}, OPEN],
  ['2.10-04', 'from: []', {from: []}, OPEN],
  ['2.10-09', 'from: [{}] allows nothing', {from: [{}]}, NONE],
  ['2.10-05', 'a podSelector stays in the namespace', {from: [{podSelector: {matchLabels: {app: 'a'}}}]}, 'a a'],
  ['2.10-05 2.10-17', 'an empty podSelector', {from: [{podSelector: {}}]}, 'a a'],
  ['2.10-06', 'an empty namespaceSelector is every pod', {from: [{namespaceSelector: {}}]}, 'ao ao'],
  ['2.10-06', 'a namespaceSelector', {from: [{namespaceSelector: {matchLabels: {'kubernetes.io/metadata.name': 'other'}}}]}, 'o o'],
  ['2.10-17', 'a namespaceSelector by absence is about pods only',
    {from: [{namespaceSelector: {matchExpressions: [{key: 'absent', operator: 'DoesNotExist'}]}}]}, 'ao ao'],
  ['2.10-07', 'both selectors', {from: [{namespaceSelector: {}, podSelector: {matchLabels: {app: 'web'}}}]}, NONE],
  ['2.10-08', 'an ipBlock is never a pod', {from: [{ipBlock: {cidr: '0.0.0.0/0'}}]}, 'w w'],
  ['2.10-08', 'an ipBlock with a hole', {from: [{ipBlock: {cidr: '203.0.113.0/24', except: ['203.0.113.0/30']}}]}, NONE],
  ['2.10-10', 'a port without protocol is TCP', {ports: [{port: 80}]}, 'aow -'],
  ['2.10-11', 'a protocol without port', {ports: [{protocol: 'UDP'}]}, '- aow'],
  ['2.10-11', 'ports: [{}] is every TCP port', {ports: [{}]}, 'aow -'],
  ['2.10-12', 'ports: []', {ports: []}, OPEN],
  ['2.10-13', 'a range', {ports: [{port: 79, endPort: 81}]}, 'aow -'],
  ['2.10-14', 'a name is the number of the pod itself', {ports: [{port: 'http'}]}, 'aow -'],
  ['2.10-14', 'a name that the pod has not', {ports: [{port: 'metrics'}]}, NONE],
];

/** The only one of them that the API server refuses. */
export const REFUSED_BY_API = 'from: [{}] allows nothing';

/** What it is, the item, and the path of the refusal in it. */
export const REFUSED_ITEMS: readonly (readonly [what: string, item: object, path: string])[] = [
  ['port 0', {ports: [{port: 0}]}, 'ports[0].port'],
  ['a text of digits', {ports: [{port: '80'}]}, 'ports[0].port'],
  ['endPort before port', {ports: [{port: 80, endPort: 79}]}, 'ports[0].endPort'],
  ['endPort with a name', {ports: [{port: 'http', endPort: 90}]}, 'ports[0].endPort'],
  ['a protocol', {ports: [{port: 80, protocol: 'ICMP'}]}, 'ports[0].protocol'],
  ['a CIDR', {from: [{ipBlock: {cidr: '10.0.0.1'}}]}, 'from[0].ipBlock.cidr'],
  ['ipBlock with a selector', {from: [{ipBlock: {cidr: '10.0.0.0/8'}, podSelector: {}}]}, 'from[0]'],
  ['a source prefix', {from: [{podSelector: {matchLabels: {'k8s:app': 'a'}}}]}, 'from[0].podSelector.matchLabels'],
  ['port 65536', {ports: [{port: 65536}]}, 'ports[0].port'],
  ['an endPort of 65536', {ports: [{port: 80, endPort: 65536}]}, 'ports[0].endPort'],
  ['a name of 16 characters', {ports: [{port: 'abcdefghijklmnop'}]}, 'ports[0].port'],
  ['an except outside', {from: [{ipBlock: {cidr: '10.0.0.0/8', except: ['11.0.0.0/16']}}]}, 'from[0].ipBlock.except[0]'],
  ['an operator', {from: [{podSelector: {matchExpressions: [{key: 'a', operator: 'Gt', values: ['1']}]}}]}, 'from[0].podSelector.matchExpressions[0].operator'],
  ['a label value', {from: [{podSelector: {matchLabels: {a: 'b c'}}}]}, 'from[0].podSelector.matchLabels[a]'],
];
