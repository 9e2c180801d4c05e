// bgp compile: the instances, peers and paths of every node, as the operator would compile them.

import {communityText} from '../../lib/domain/bgp.js';
import {familyOf} from '../../lib/domain/bgp-advertisements.js';
import type {BgpInstance} from '../../lib/domain/bgp.js';
import type {CompiledSpeaker} from '../../operator/compile/bgp.js';
import type {Verb} from '../context.js';
import {EXIT, usage} from '../errors.js';
import {printValue} from '../output.js';
import {stringOption} from '../policy/input.js';
import {table} from '../table.js';
import {bgpWorld, conflictsOf, readBgpInput, sayBgpProblems, type BgpWorld} from './world.js';

export const compile: Verb = async (context) => {
  const {common, io} = context;
  const manifests = await readBgpInput(context, context.args);
  const world = bgpWorld(manifests.objects, 'given');
  const partial = sayBgpProblems(context, manifests, world);
  const node = stringOption(context, 'node');
  if (node !== null && !world.speakers.has(node)) throw usage(`--node ${node}: there is no such Node in the input`);
  const value = compileJson(world, node);
  if (common.format === 'table' || common.format === 'wide') {
    const rows = value.nodes.flatMap(({name, instances}) => instances.flatMap(({asn, paths, peers}) => paths.map((path) => ({name, asn, all: peers.length, ...path}))));
    if (rows.length === 0) io.err('no paths\n');
    else io.out(table([
      {title: 'NODE', cell: ({name}) => name}, {title: 'AS', cell: ({asn}) => asn}, {title: 'PREFIX', cell: ({prefix}) => prefix},
      {title: 'PEERS', cell: ({peers, all}) => (peers.length === 0 ? `all ${all}` : peers)}, {title: 'LOCAL PREF', cell: ({attributes}) => attributes.localPreference ?? ''},
      {title: 'COMMUNITIES', cell: ({attributes}) => [...attributes.communities, ...attributes.largeCommunities]}, {title: 'FROM', cell: ({origin}) => `${origin.kind} ${origin.namespace === '' ? '' : `${origin.namespace}/`}${origin.name}`},
    ], rows, io.width));
    for (const {object, message} of value.conflicts) io.err(`${object}: ${message}\n`);
  } else {
    await printValue(io, common.format, common.format === 'jsonl' ? value.nodes : value);
  }
  return value.conflicts.length > 0 ? EXIT.findings : partial ? EXIT.partial : EXIT.ok;
};

export function compileJson(world: BgpWorld, only: string | null) {
  const nodes = [...world.speakers].filter(([name]) => only === null || name === only).map(([name, compiled]) => ({name, ...speakerJson(compiled)}));
  return {nodes, conflicts: conflictsOf(world)};
}

function speakerJson({speaker}: CompiledSpeaker) {
  const {source, instances, holds = []} = speaker;
  return {source: source === null ? null : {kind: source.kind, name: source.name}, instances: instances.map(instanceJson), holds};
}

/** I4. No password is in it: a peer names its Secret. */
function instanceJson({name, asn, routerId, listenPort, peers, advertisements, interfaces = []}: BgpInstance) {
  return {
    name, asn, routerId, listenPort,
    peers: peers.map(({families, password: _password, localAddress, localPort, sourceInterface, bfd, ...peer}) => ({
      ...peer, bfd: bfd ?? null, sourceInterface: sourceInterface ?? null, localAddress: localAddress ?? null, localPort: localPort ?? null, families: families.map(({afi, safi}) => `${afi}/${safi}`),
    })),
    interfaces: interfaces.map(({interface: device, afi, peer, localPreference, communities, largeCommunities}) => ({
      interface: device, family: `${afi}/unicast`, peer, attributes: {localPreference, communities: communities.map(communityText), largeCommunities},
    })),
    paths: advertisements.map(({prefix, peers: told, localPreference, communities, largeCommunities, origin}) => ({
      family: `${familyOf(prefix)}/unicast`, prefix, peers: told,
      attributes: {localPreference, communities: communities.map(communityText), largeCommunities}, origin: {kind: origin.kind, namespace: origin.namespace, name: origin.name},
    })),
  };
}
