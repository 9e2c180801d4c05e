// GoBGP's .proto files cut down to the calls that the speaker makes: reads them from FOLDER, writes protobufjs JSON to OUT.
// Usage: node gobgp-subset.ts FOLDER OUT

import {writeFileSync} from 'node:fs';
import {join} from 'node:path';
import protobuf from 'protobufjs';

const SERVICE = 'api.GoBgpService';
const CALLS: ReadonlySet<string> = new Set([
  'StartBgp', 'GetBgp', 'WatchEvent', 'AddPeer', 'DeletePeer', 'ListPeer', 'UpdatePeer', 'ResetPeer',
  'AddPath', 'ListPath', 'AddPathStream', 'GetTable', 'AddPolicy', 'DeletePolicy', 'ListPolicy', 'AddDefinedSet', 'DeleteDefinedSet', 'ListDefinedSet',
  'SetPolicyAssignment', 'ListPolicyAssignment', 'SetLogLevel',
]);
/** Branches of GoBGP's big unions that stay; the others pull in EVPN, flow specification, link state, … */
const KEPT_BRANCHES: Readonly<Record<string, ReadonlySet<string>>> = {
  'api.NLRI': new Set(['prefix']),
  'api.Attribute': new Set([
    'unknown', 'origin', 'asPath', 'nextHop', 'multiExitDisc', 'localPref', 'communities', 'originatorId', 'clusterList', 'mpReach', 'largeCommunities',
  ]),
};

const [folder, out] = process.argv.slice(2);
if (folder === undefined || out === undefined) {
  console.error('usage: gobgp-subset.ts FOLDER OUT');
  process.exit(2);
}
writeFileSync(out, JSON.stringify(subset(folder).toJSON()));

function subset(from: string): protobuf.Root {
  const root = new protobuf.Root();
  const resolveOwn = root.resolvePath.bind(root);
  root.resolvePath = (origin, target) => (target.startsWith('api/') ? join(from, target) : resolveOwn(origin, target));
  root.loadSync(join(from, 'api', 'gobgp.proto'));
  root.resolveAll();
  const service = root.lookupService(SERVICE);
  for (const method of service.methodsArray) if (!CALLS.has(method.name)) service.remove(method);
  if (service.methodsArray.length !== CALLS.size) throw new Error('a wanted call is missing in GoBGP’s service');
  for (const [name, kept] of Object.entries(KEPT_BRANCHES)) dropBranches(root.lookupType(name), kept);
  removeUnreached(root, reachable(service));
  return root;
}

function dropBranches(type: protobuf.Type, kept: ReadonlySet<string>): void {
  for (const field of type.fieldsArray) {
    if (kept.has(field.name)) continue;
    field.partOf?.remove(field);
    type.remove(field);
  }
  if (type.fieldsArray.length !== kept.size) throw new Error(`${type.fullName} lacks a branch that should stay`);
}

function reachable(service: protobuf.Service): ReadonlySet<protobuf.ReflectionObject> {
  const seen = new Set<protobuf.ReflectionObject>([service]);
  const queue: protobuf.ReflectionObject[] = [];
  const visit = (object: protobuf.ReflectionObject | null): void => {
    // A nested type keeps the types around it.
    for (let at = object; at !== null && !seen.has(at); at = at.parent) {
      seen.add(at);
      queue.push(at);
    }
  };
  for (const method of service.methodsArray) {
    visit(method.resolvedRequestType);
    visit(method.resolvedResponseType);
  }
  for (let at = queue.pop(); at !== undefined; at = queue.pop()) {
    if (at instanceof protobuf.Type) for (const field of at.fieldsArray) visit(field.resolvedType);
  }
  return seen;
}

function removeUnreached(within: protobuf.NamespaceBase, keep: ReadonlySet<protobuf.ReflectionObject>): void {
  for (const inner of within.nestedArray) {
    if (inner instanceof protobuf.Service) continue;
    const holds = inner instanceof protobuf.Type || inner instanceof protobuf.Enum;
    if (holds && !keep.has(inner)) within.remove(inner);
    else if (inner instanceof protobuf.Namespace || inner instanceof protobuf.Type) removeUnreached(inner, keep);
  }
}
