// ConfigMap → what was let through of BGP objects, which changes wait, and which of them somebody has confirmed. Written in operator/apply/bgp-accepted.ts.

import {CONFIRM_ANNOTATION, WAITING_KEY} from '../../../lib/domain/bgp-names.js';
import type {KubeObject} from '../../watch/feed-types.js';
import type {BgpManifest} from '../bgp-facts.js';
import type {BgpAcceptedFact} from '../facts.js';
import {objectManifest} from './bgp-common.js';
import {list, record, stringMap, text} from './json.js';

/** What of it cannot be read counts as not there: then the object is let through as it is. */
export function decodeBgpAccepted(object: KubeObject): BgpAcceptedFact {
  const {[WAITING_KEY]: waiting = '[]', ...data} = stringMap(object['data']);
  const manifests = Object.values(data).flatMap((written): [string, BgpManifest][] => {
    const {apiVersion, kind, metadata, spec} = record(parsed(written));
    const {name, uid, creationTimestamp, labels, annotations} = record(metadata);
    if (text(kind) === '' || text(name) === '') return [];
    const manifest = objectManifest(text(kind), {
      apiVersion, spec, metadata: {name: text(name), uid: text(uid), creationTimestamp: text(creationTimestamp), labels: stringMap(labels), annotations: stringMap(annotations)},
    });
    return [[`${text(kind)}/${text(name)}`, manifest]];
  });
  return {
    manifests: Object.fromEntries(manifests),
    held: Object.fromEntries(list(parsed(waiting)).map(record).map(({id, hash}) => [text(id), text(hash)])),
    confirmed: text(object.metadata.annotations?.[CONFIRM_ANNOTATION]).split(/[\s,]+/).filter((hash) => hash !== ''),
  };
}

function parsed(text_: string): unknown {
  try {
    return JSON.parse(text_) as unknown;
  } catch {
    return null;
  }
}
