// Events on the user's objects: one per distinct value; when it comes back after it was over, its series counts on.

import {contentHash} from '../../lib/core/hash.js';
import type {DesiredEvent} from '../../lib/desired/cluster-state.js';
import type {KubeObject} from '../../lib/kube/object.js';
import {RESOURCES} from '../../lib/kube/resources.js';
import type {Plan} from './plan.js';

const CONTROLLER = 'stentor.io/operator';
/** The API server's limits. */
const NOTE_MAX = 1024;
const NAME_MAX = 253;

/** The name follows from the value, so that a restarted operator meets its own event instead of making a second one. */
export function planEvent(desired: DesiredEvent, count: number, at: {readonly microTime: string; readonly instance: string}): Plan {
  const {kind, namespace, name, uid} = desired.object;
  const hash = contentHash(`${uid}\n${desired.type}\n${desired.reason}\n${desired.message}`);
  // Events on cluster-scoped objects live in `default`.
  const metadata = {name: `${name.slice(0, NAME_MAX - hash.length - 1)}.${hash}`, namespace: namespace === '' ? 'default' : namespace};
  const head = {apiVersion: RESOURCES.Event.apiVersion, kind: RESOURCES.Event.kind, metadata};
  if (count > 1) {
    const object: KubeObject = {...head, series: {count, lastObservedTime: at.microTime}};
    return {verb: 'merge', resource: RESOURCES.Event, object};
  }
  const object: KubeObject = {
    ...head, eventTime: at.microTime, reportingController: CONTROLLER, reportingInstance: at.instance.slice(0, 128), action: 'Compile',
    reason: desired.reason, note: shortened(desired.message), type: desired.type,
    regarding: {apiVersion: desired.apiVersion, kind, name, uid, ...(namespace === '' ? {} : {namespace})},
  };
  return {verb: 'create', resource: RESOURCES.Event, object};
}

function shortened(message: string): string {
  return message.length <= NOTE_MAX ? message : `${message.slice(0, NOTE_MAX - 1)}…`;
}
