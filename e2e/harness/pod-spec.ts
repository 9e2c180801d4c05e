// The parts of a Pod that the stand-in for the kubelet reads.

import type {KubeObject} from '../../lib/kube/object.js';

export interface PodSpec {
  readonly nodeName?: string;
  readonly hostNetwork?: boolean;
  readonly restartPolicy?: 'Always' | 'OnFailure' | 'Never';
  readonly terminationGracePeriodSeconds?: number;
  readonly containers: readonly ContainerSpec[];
}

export interface ContainerSpec {
  readonly name: string;
  readonly image?: string;
  readonly command?: readonly string[];
  readonly args?: readonly string[];
  readonly env?: readonly {readonly name: string; readonly value?: string}[];
  readonly ports?: readonly {readonly name?: string; readonly containerPort: number; readonly protocol?: string}[];
  readonly readinessProbe?: ReadinessProbe;
}

export interface ReadinessProbe {
  readonly httpGet?: {readonly path?: string; readonly port: number | string};
  readonly tcpSocket?: {readonly port: number | string};
  readonly exec?: {readonly command: readonly string[]};
  readonly periodSeconds?: number;
  readonly timeoutSeconds?: number;
  readonly failureThreshold?: number;
}

export type Pod = KubeObject & {
  readonly spec: PodSpec;
  readonly status?: {readonly phase?: string; readonly conditions?: readonly PodCondition[]};
};

/** Pods with this annotation are left to the test: it calls the CNI plugin itself. */
export const BY_HAND = 'lab/by-hand';

export function isByHand({metadata}: Pod): boolean {
  return metadata.annotations?.[BY_HAND] !== undefined;
}

export interface PodCondition {
  readonly type: string;
  readonly status: string;
  readonly reason?: string;
  readonly message?: string;
  readonly lastTransitionTime?: string;
}

/** What the image of a container without command and ports is taken to serve: the article's pods answer HTTP on 80. */
const DEFAULT_PORTS = [{containerPort: 80, protocol: 'TCP'}, {containerPort: 80, protocol: 'UDP'}] as const;

/** Ports that the echo server of a container opens: declared ones, both TCP and UDP when no protocol is given. */
export function servedPorts(container: ContainerSpec): readonly string[] {
  const declared = container.ports ?? [];
  const ports = declared.length === 0 ? DEFAULT_PORTS : declared;
  return [...new Set(ports.flatMap((port) => {
    if (port.protocol === undefined) return [`tcp:${port.containerPort}`, `udp:${port.containerPort}`];
    return port.protocol === 'UDP' ? [`udp:${port.containerPort}`] : [`tcp:${port.containerPort}`];
  }))];
}

/** A port by number or by its name in the container. */
export function portNumber(container: ContainerSpec, port: number | string): number {
  if (typeof port === 'number') return port;
  const named = container.ports?.find((item) => item.name === port);
  return named?.containerPort ?? Number(port);
}

export function asPod(object: KubeObject): Pod | null {
  const spec = object['spec'];
  if (typeof spec !== 'object' || spec === null || !('containers' in spec) || !Array.isArray(spec.containers)) return null;
  return object as Pod;
}
