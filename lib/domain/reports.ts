// What an agent tells its operator, in our types: the same at both ends of the stream.

/** Something that is desired and not so. Ends in an acknowledgement, in `/v1/status` and in a metric. */
export interface ApplyError {
  /** A kind of resource; of one that could not be decoded, whatever the operator called it. */
  readonly kind: string;
  readonly key: string;
  readonly code: string;
  readonly message: string;
}

export interface NodeReport {
  readonly devices: readonly string[];
  /** Of the devices, without lengths. */
  readonly addresses: readonly string[];
  readonly routerAddress: string | null;
  /** Only while IPv6 is on. */
  readonly routerAddress6?: string;
  readonly routerMac: string;
  readonly kernel: string;
  /** Names of what is available. */
  readonly features: readonly string[];
}

export interface EndpointReport {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly endpointId: number;
  readonly addresses: readonly string[];
  readonly containerId: string;
  /** `disconnected`: it is gone from its node, whatever its CiliumEndpoint still says. */
  readonly state: 'creating' | 'ready' | 'disconnected';
}

export interface PeerReport {
  readonly instance: string;
  readonly localAsn: number;
  readonly address: string;
  readonly peerAsn: number;
  readonly session: string;
  readonly reason: string;
  readonly received: number;
  readonly advertised: number;
  readonly uptimeSeconds: number;
  /** Seconds since 1970; 0 while it is not up. */
  readonly establishedAt: number;
  /** As agreed on; 0 while it is not up. */
  readonly holdTimeSeconds: number;
  readonly keepaliveSeconds: number;
  readonly families: readonly {readonly family: string; readonly received: number; readonly advertised: number}[];
}
