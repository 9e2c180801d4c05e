// Changes of policies as a client of the API makes them, and how long they take until every node concerned has them in force, or is rid of them.

import {objectKey, type KubeObject} from '../../lib/kube/object.js';
import {objectPath, RESOURCES, type KnownKind} from '../../lib/kube/resources.js';
import {ConditionWatch} from './condition-watch.js';
import {ENFORCED, holds, type ConditionView} from './enforced.js';
import type {Lab} from './lab.js';
import {nowMs, until} from './shell.js';
import {getJson} from './unix-http.js';

const LIMIT_MS = 20_000;
const POLICY_KINDS = ['NetworkPolicy', 'CiliumNetworkPolicy', 'CiliumClusterwideNetworkPolicy'] as const;
type PolicyKind = typeof POLICY_KINDS[number];

/** The operator's tables of what policies refer to. Such objects have no condition: they are taken to have been there before. */
const REFERRED: Readonly<Record<string, string>> = {CiliumCIDRGroup: 'cidrGroups', Service: 'services'};

export class PolicyChanges {
  readonly #lab: Lab;
  readonly #watches: ReadonlyMap<PolicyKind, ConditionWatch>;

  private constructor(parts: {readonly lab: Lab; readonly watches: ReadonlyMap<PolicyKind, ConditionWatch>}) {
    this.#lab = parts.lab;
    this.#watches = parts.watches;
  }

  static async start(lab: Lab): Promise<PolicyChanges> {
    const client = clientOf(lab);
    const kinds = ['CiliumNetworkPolicy', 'CiliumClusterwideNetworkPolicy'] as const;
    const watches = await Promise.all(kinds.map(async (kind) => [kind, await ConditionWatch.start(client, kind, null)] as const));
    return new PolicyChanges({lab, watches: new Map(watches)});
  }

  async stop(): Promise<void> {
    await Promise.all([...this.#watches.values()].map((watch) => watch.stop()));
  }

  /** Milliseconds from before the first policy is written to the last `Enforced=True`. */
  async apply(objects: readonly KubeObject[]): Promise<number> {
    for (const object of objects.filter((item) => !isPolicy(item))) {
      await this.#write(object);
      const table = REFERRED[String(object['kind'])];
      if (table === undefined) throw new Error(`nothing is known of ${String(object['kind'])}`);
      await until('the operator knows it', {timeoutMs: LIMIT_MS, intervalMs: 10}, async () =>
        objectKey(object) in await this.#debug<object>(`tables/${table}`) ? true : null);
    }
    const policies = objects.filter(isPolicy);
    const started = nowMs();
    const generations = new Map<KubeObject, number>();
    for (const policy of policies) generations.set(policy, (await this.#write(policy)).metadata.generation ?? 0);
    const times = await Promise.all(policies.map((policy) => this.#enforced(policy, generations.get(policy) ?? 0)));
    return Math.max(...times) - started;
  }

  /** Milliseconds from before the first deletion to the last acknowledgement of the state without these objects. */
  async remove(objects: readonly KubeObject[]): Promise<number> {
    const started = nowMs();
    for (const object of objects.toReversed()) await clientOf(this.#lab).delete(pathOf(object), {}, AbortSignal.timeout(LIMIT_MS));
    await until('the policies are gone', {timeoutMs: LIMIT_MS, intervalMs: 10}, async () => {
      const known = await this.#debug<object>('policies');
      if (objects.filter(isPolicy).some((policy) => debugKey(policy) in known)) return null;
      const sessions = await this.#debug<readonly SessionView[]>('sessions');
      return sessions.every(({phase, dirty, inFlight}) => phase === 'open' && dirty + inFlight === 0) ? true : null;
    });
    return nowMs() - started;
  }

  #write(object: KubeObject): Promise<KubeObject> {
    return clientOf(this.#lab).patch(pathOf(object), {type: 'apply', patch: object, fieldManager: 'lab', force: true}, AbortSignal.timeout(LIMIT_MS));
  }

  /** A NetworkPolicy has no conditions in the API: the operator is asked for what it would say. */
  #enforced(policy: KubeObject, generation: number): Promise<number> {
    const {name} = policy.metadata;
    const watch = this.#watches.get(kindOf(policy) as PolicyKind);
    if (watch !== undefined) {
      return watch.until(name, LIMIT_MS, (object) => object !== null && (object.metadata.generation ?? 0) >= generation && holds(object, 'Valid', 'True') && holds(object, ENFORCED, 'True'));
    }
    return until(`${name} is enforced`, {timeoutMs: LIMIT_MS, intervalMs: 5}, async () => {
      const view = (await this.#debug<Readonly<Record<string, PolicyView>>>('policies'))[debugKey(policy)];
      const isTrue = (type: string): boolean => view?.conditions.some((item) => item.type === type && item.status === 'True') ?? false;
      return view?.generation === generation && isTrue('Valid') && isTrue(ENFORCED) ? nowMs() : null;
    });
  }

  #debug<T>(what: string): Promise<T> {
    return getJson<T>(this.#lab.stentor.operatorHttp, `/debug/${what}`);
  }
}

interface PolicyView {
  readonly generation: number;
  readonly conditions: readonly ConditionView[];
}

interface SessionView {
  readonly phase: string;
  readonly dirty: number;
  readonly inFlight: number;
}

export function isPolicy(object: KubeObject): boolean {
  return (POLICY_KINDS as readonly string[]).includes(String(object['kind']));
}

function clientOf({client}: Lab): NonNullable<Lab['client']> {
  if (client === null) throw new Error('there is no API server');
  return client;
}

function kindOf(object: KubeObject): KnownKind {
  const kind = String(object['kind']);
  if (!(kind in RESOURCES)) throw new Error(`${kind} is no kind of ours`);
  return kind as KnownKind;
}

function pathOf(object: KubeObject): string {
  return objectPath(RESOURCES[kindOf(object)], object.metadata.namespace ?? null, object.metadata.name);
}

/** As the operator's tables name a policy. */
function debugKey(policy: KubeObject): string {
  return `${kindOf(policy)} ${objectKey(policy)}`;
}
