// The agent's side of the CNI plugin: one request at a time per attachment, every outcome an answer that the runtime understands.

import {StentorError} from '../../lib/core/errors.js';
import {InvariantError} from '../../lib/core/invariant.js';
import type {Log} from '../../lib/run/log.js';
import {errorFields} from '../../lib/run/log.js';
import type {Attachment, CniCommand, CniFailure, CniRequest} from './protocol.js';
import {CNI_CODES, checkPrevResult, failure, failureJson, parseCniBody, resultJson, versionJson} from './protocol.js';

/** What the server asks of `attach.ts`. */
export interface PodAttachments {
  add(request: CniRequest): Promise<Attachment>;
  /** Every attachment of the container with this interface name; nothing there is success. */
  remove(containerId: string, ifname: string): Promise<void>;
  find(containerId: string, ifname: string): Attachment | null;
  /** Throws when the attachment is not what it should be. */
  verify(attachment: Attachment): Promise<void>;
  /** Those of one network. */
  all(network: string): readonly {readonly containerId: string; readonly ifname: string}[];
  /** Null when pods can be attached. */
  notReady(): NotReady | null;
}

export interface NotReady {
  readonly reason: string;
  /** Pods that are there are concerned, too: the kernel does not hold what they should have. */
  readonly limited: boolean;
}

export interface CniAnswer {
  readonly exit: 0 | 1;
  readonly stdout: string;
}

/** Failures that pass by themselves: the runtime is asked to come again. */
const RETRYABLE: ReadonlySet<string> = new Set(['IPAM_NO_POD_CIDR', 'NOT_READY', 'STOPPING']);

const CODE_OF: Readonly<Record<string, number>> = {UNHEALTHY: CNI_CODES.unhealthy, NO_NETNS: CNI_CODES.unknownContainer};
/** Commands about one attachment; GC takes its turn with each. */
const OF_ONE: ReadonlySet<CniCommand> = new Set(['ADD', 'DEL', 'CHECK']);
const NEVER = new AbortController().signal;

export class CniServer {
  readonly #attachments: PodAttachments;
  readonly #log: Log;
  /** The last request of each attachment: the next one waits for it. */
  readonly #running = new Map<string, Promise<unknown>>();

  constructor(parts: {readonly attachments: PodAttachments; readonly log: Log}) {
    this.#attachments = parts.attachments;
    this.#log = parts.log;
  }

  /** `gone` aborts when nobody waits for the answer any more: what an ADD has made then is taken back, since no runtime knows of it. */
  async answer(body: Buffer, gone: AbortSignal = NEVER): Promise<CniAnswer> {
    const request = parseCniBody(body);
    if (request.kind === 'failure') return refused(request);
    try {
      if (!OF_ONE.has(request.command)) return await this.#dispatch(request, gone);
      return await this.#inTurn(request, () => this.#dispatch(request, gone));
    } catch (error) {
      if (error instanceof InvariantError) throw error;
      this.#log.warn('CNI request failed', {command: request.command, containerId: request.containerId, pod: request.pod, ...errorFields(error)});
      return refused(failureOf(request, error));
    }
  }

  async #dispatch(request: CniRequest, gone: AbortSignal): Promise<CniAnswer> {
    switch (request.command) {
      case 'VERSION':
        return {exit: 0, stdout: versionJson(request.cniVersion)};
      case 'STATUS':
        return this.#status(request);
      case 'ADD':
        return this.#add(request, gone);
      case 'DEL':
        await this.#attachments.remove(request.containerId, request.ifname);
        return {exit: 0, stdout: ''};
      case 'CHECK':
        return this.#check(request);
      case 'GC':
        return this.#collect(request);
    }
  }

  #status({cniVersion}: CniRequest): CniAnswer {
    const not = this.#attachments.notReady();
    if (not === null) return {exit: 0, stdout: ''};
    return refused(failure(cniVersion, not.limited ? CNI_CODES.limitedConnectivity : CNI_CODES.notAvailable, 'the agent is not ready', not.reason));
  }

  async #add(request: CniRequest, gone: AbortSignal): Promise<CniAnswer> {
    const not = this.#attachments.notReady();
    if (not !== null) return refused(failure(request.cniVersion, CNI_CODES.tryAgain, 'the agent is not ready: try again later', not.reason));
    if (!gone.aborted) {
      const attachment = await this.#attachments.add(request);
      if (!gone.aborted) return {exit: 0, stdout: resultJson(request.cniVersion, attachment)};
      this.#log.info('taking back an attachment whose plugin is gone', {containerId: request.containerId, pod: request.pod});
      await this.#attachments.remove(request.containerId, request.ifname);
    }
    return refused(failure(request.cniVersion, CNI_CODES.tryAgain, 'the plugin went away'));
  }

  async #check(request: CniRequest): Promise<CniAnswer> {
    const attachment = this.#attachments.find(request.containerId, request.ifname);
    if (attachment === null) return refused(failure(request.cniVersion, CNI_CODES.unknownContainer, 'no such attachment'));
    const difference = checkPrevResult(request.prevResult, attachment.endpoint);
    if (difference !== null) return refused(failure(request.cniVersion, CNI_CODES.unhealthy, 'the attachment is another one', difference));
    await this.#attachments.verify(attachment);
    return {exit: 0, stdout: ''};
  }

  /** What fails does not hold up the rest; it is told at the end. */
  async #collect(request: CniRequest): Promise<CniAnswer> {
    const valid = new Set((request.validAttachments ?? []).map(keyOf));
    const problems: string[] = [];
    for (const attachment of this.#attachments.all(request.network)) {
      const {containerId, ifname} = attachment;
      if (valid.has(keyOf(attachment))) continue;
      this.#log.info('collecting an attachment that the runtime no longer has', {containerId, ifname});
      await this.#inTurn(attachment, () => this.#attachments.remove(containerId, ifname)).catch((error: unknown) => {
        if (error instanceof InvariantError) throw error;
        this.#log.warn('an attachment could not be collected', {containerId, ifname, ...errorFields(error)});
        problems.push(`${containerId} ${ifname}: ${error instanceof Error ? error.message : String(error)}`);
      });
    }
    if (problems.length === 0) return {exit: 0, stdout: ''};
    return refused(failure(request.cniVersion, CNI_CODES.internal, 'not everything could be collected', problems.join('; ')));
  }

  async #inTurn<T>(attachment: AttachmentName, body: () => Promise<T>): Promise<T> {
    const key = keyOf(attachment);
    const before = this.#running.get(key) ?? Promise.resolve();
    const mine = before.then(body, body);
    this.#running.set(key, mine);
    try {
      return await mine;
    } finally {
      if (this.#running.get(key) === mine) this.#running.delete(key);
    }
  }
}

type AttachmentName = Pick<CniRequest, 'containerId' | 'ifname'>;

function keyOf({containerId, ifname}: AttachmentName): string {
  return `${containerId}:${ifname}`;
}

function refused(value: CniFailure): CniAnswer {
  return {exit: 1, stdout: failureJson(value)};
}

function failureOf(request: CniRequest, error: unknown): CniFailure {
  if (!(error instanceof StentorError)) return failure(request.cniVersion, CNI_CODES.internal, error instanceof Error ? error.message : String(error));
  const code = RETRYABLE.has(error.code) ? CNI_CODES.tryAgain : CODE_OF[error.code] ?? CNI_CODES.internal;
  return failure(request.cniVersion, code, error.message, `${error.code} ${JSON.stringify(error.data)}`);
}
