// Addresses of LoadBalancer Services and the condition beside them, through the status subresource. Only what differs is written.

import type {DesiredServiceStatus} from '../../lib/desired/cluster-state.js';
import {SATISFIED_CONDITION} from '../../lib/domain/exposed-service.js';
import {isRecord, type KubeObject} from '../../lib/kube/object.js';
import {RESOURCES} from '../../lib/kube/resources.js';
import {NOTHING, type Plan} from './plan.js';
import {conditionsOf, isSame, precondition, stamped} from './policy-status.js';

/** Written on the version that was seen: an address is never added to a Service that has changed since. */
export function planServiceStatus(desired: DesiredServiceStatus | undefined, observed: KubeObject | undefined, now: string): Plan {
  if (desired === undefined || observed === undefined || observed.metadata.uid !== desired.object.uid) return NOTHING;
  const {addresses, condition} = desired;
  const conditions = conditionsOf(observed);
  const before = conditions.get(SATISFIED_CONDITION);
  const isRight = condition === null ? before === undefined : isSame(before, condition);
  if (isRight && hasExactly(observed, addresses)) return NOTHING;
  const {name, namespace} = desired.object;
  const head = {apiVersion: 'v1', kind: 'Service', metadata: {name, namespace, ...precondition(observed)}};
  const loadBalancer = {ingress: addresses.map((ip) => ({ip}))};
  if (condition !== null) {
    return {verb: 'applyStatus', resource: RESOURCES.Service, object: {...head, status: {loadBalancer, conditions: [stamped(condition, before, now)]}}};
  }
  // The condition may be somebody else's work, which an apply does not take away.
  const others = [...conditions.values()].filter((one) => one !== before);
  return {verb: 'mergeStatus', resource: RESOURCES.Service, object: {...head, status: {loadBalancer, conditions: others}}};
}

/** Host names and addresses twice are no part of what should be there; ports and modes are the API server's. */
function hasExactly(observed: KubeObject, addresses: readonly string[]): boolean {
  const status = isRecord(observed['status']) ? observed['status'] : {};
  const balancer = isRecord(status['loadBalancer']) ? status['loadBalancer'] : {};
  const ingress: readonly unknown[] = Array.isArray(balancer['ingress']) ? balancer['ingress'] : [];
  return ingress.length === addresses.length && ingress.every((item, i) => isRecord(item) && item['ip'] === addresses[i]);
}
