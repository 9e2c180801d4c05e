// Schema and semantics of manifests, as findings; then the lint. The same validators and decoders as in the operator.

import type {ObjectRef} from '../../lib/core/errors.js';
import {RESOURCES} from '../../lib/kube/resources.js';
import {CrdSchemas, isCrdKind} from '../../crds/schema.js';
import type {SourceObject} from './documents.js';
import {stepsOf} from './edit.js';
import {compareFindings, fixOf, type Finding, type Report, type Severity} from './findings.js';
import {lintWorld, type Lint} from './lint.js';
import {networkPolicyProblems} from './network-policy-fields.js';
import type {Settings} from './settings.js';
import type {Manifests} from './sources.js';
import {isOurs, isPolicyKind, worldOf, type LoadedPolicy} from './world.js';

/** `schemas`: compiled ones, for who checks more than once. */
export function checkManifests(manifests: Manifests, settings: Settings, schemas = new CrdSchemas()): Report {
  const world = worldOf(manifests, settings);
  const findings: Finding[] = [
    ...manifests.problems.map(({place, code, message}): Finding => ({severity: 'error', code, object: null, path: '', ...place, reason: message, fix: fixOf(code)})),
    ...wrongVersions(manifests.objects),
    ...world.duplicates.map(({item, first}) => finding('warning', item, {path: 'metadata.name', code: 'DuplicateObject', reason: `the object is also in ${first.source.file}: the first one counts`})),
    ...others(manifests.objects, schemas),
  ];
  for (const policy of world.policies) findings.push(...checkPolicy(policy, schemas));
  for (const {policy, ...lint} of lintWorld(world)) findings.push(finding(lint.severity, policy.from, lint));
  const objects = world.policies.map(({ref, from}) => {
    const {file, line} = from.source.locate('');
    return {object: ref, file, line};
  });
  return {objects, findings: distinct(findings).sort(compareFindings)};
}

function finding(severity: Severity, {kind, object, source}: SourceObject, {path, code, reason}: Pick<Lint, 'path' | 'code' | 'reason'>): Finding {
  const {namespace = '', name, uid = ''} = object.metadata;
  const ref: ObjectRef = {kind, namespace, name, uid};
  return {severity, code, object: ref, path, ...source.locate(path), reason, fix: fixOf(code)};
}

/** What both have to say the decoder says better: it knows what the parts mean. */
function checkPolicy({kind, from, rejections}: LoadedPolicy, schemas: CrdSchemas): Finding[] {
  const schema = kind === 'NetworkPolicy' ? networkPolicyProblems(from.object) : schemaProblems(kind, from, schemas);
  const said = rejections.map(({path}) => stepsOf(path));
  const isSaid = ({path, code}: {readonly path: string; readonly code: string}): boolean => {
    const steps = stepsOf(path);
    return code !== 'UnknownField' && said.some((other) => startsWith(other, steps) || (other.length > 1 && startsWith(steps, other)));
  };
  return [
    ...schema.filter((problem) => !isSaid(problem)).map(({path, code, message}) => finding('error', from, {path, code, reason: message})),
    ...rejections.map(({path, code, reason}) => finding('error', from, {path, code, reason})),
  ];
}

function startsWith(steps: readonly string[], first: readonly string[]): boolean {
  return first.every((step, i) => steps[i] === step);
}

function schemaProblems(kind: string, {object}: SourceObject, schemas: CrdSchemas): {path: string; code: string; message: string}[] {
  if (!isCrdKind(kind)) return [];
  const result = schemas.validate(kind, object);
  if ('object' in result) return [];
  return result.problems.map(({path, message}) => ({path, code: message === 'unknown field' ? 'UnknownField' : 'Schema', message}));
}

/** Objects of our other kinds have a schema as well. */
function others(objects: readonly SourceObject[], schemas: CrdSchemas): Finding[] {
  return objects.filter((item) => isOurs(item) && !isPolicyKind(item.kind)).flatMap((item) =>
    schemaProblems(item.kind, item, schemas).map(({path, code, message}) => finding('error', item, {path, code, reason: message})));
}

function wrongVersions(objects: readonly SourceObject[]): Finding[] {
  return objects.filter((item) => isOurs(item) && isPolicyKind(item.kind)).flatMap((item) => {
    const served = isPolicyKind(item.kind) ? RESOURCES[item.kind].apiVersion : item.apiVersion;
    return item.apiVersion === served ? []
      : [finding('error', item, {path: 'apiVersion', code: 'UnknownVersion', reason: `${item.apiVersion} is not served; it is ${served}`})];
  });
}

function distinct(findings: readonly Finding[]): Finding[] {
  return [...new Map(findings.map((item) => [`${item.file} ${item.line} ${item.column} ${item.code} ${item.path} ${item.reason}`, item])).values()];
}
