// The agent's side of the CNI plugin: one request at a time per attachment, every outcome an answer that the runtime understands.

import {StentorError} from '../../lib/core/errors.js';
import {InvariantError} from '../../lib/core/invariant.js';
import type {Log} from '../../lib/run/log.js';
import {errorFields} from '../../lib/run/log.js';
import type {Attachment, CniFailure, CniRequest} from './protocol.js';
import {CNI_CODES, checkPrevResult, failure, failureJson, parseCniBody, resultJson, versionJson} from './protocol.js';

/** What the server asks of `attach.ts`. */
export interface PodAttachments {
  add(request: CniRequest): Promise<Attachment>;
  /** Every attachment of the container with this interface name; nothing there is success. */
  remove(containerId: string, ifname: string): Promise<void>;
  find(containerId: string, ifname: string): Attachment | null;
  /** Throws when the attachment is not what it should be. */
  verify(attachment: Attachment): Promise<void>;
  all(): readonly {readonly containerId: string; readonly ifname: string}[];
  /** Null when pods can be attached; else why not. */
  notReady(): string | null;
}

export interface CniAnswer {
  readonly exit: 0 | 1;
  readonly stdout: string;
}

/** Failures that pass by themselves: the runtime is asked to come again. */
const RETRYABLE: ReadonlySet<string> = new Set(['IPAM_NO_POD_CIDR', 'NOT_READY', 'STOPPING']);

export class CniServer {
  readonly #attachments: PodAttachments;
  readonly #log: Log;
  /** The last request of each attachment: the next one waits for it. */
  readonly #running = new Map<string, Promise<unknown>>();

  constructor(parts: {readonly attachments: PodAttachments; readonly log: Log}) {
    this.#attachments = parts.attachments;
    this.#log = parts.log;
  }

  async answer(body: Buffer): Promise<CniAnswer> {
    const request = parseCniBody(body);
    if (request.kind === 'failure') return refused(request);
    try {
      return await this.#inTurn(`${request.containerId}:${request.ifname}`, () => this.#dispatch(request));
    } catch (error) {
      if (error instanceof InvariantError) throw error;
      this.#log.warn('CNI request failed', {command: request.command, containerId: request.containerId, pod: request.pod, ...errorFields(error)});
      return refused(failureOf(request, error));
    }
  }

  async #dispatch(request: CniRequest): Promise<CniAnswer> {
    switch (request.command) {
      case 'VERSION':
        return {exit: 0, stdout: versionJson()};
      case 'STATUS':
        return this.#status(request);
      case 'ADD':
        return this.#add(request);
      case 'DEL':
        await this.#attachments.remove(request.containerId, request.ifname);
        return {exit: 0, stdout: ''};
      case 'CHECK':
        return this.#check(request);
      case 'GC':
        return this.#collect(request);
    }
  }

  #status(request: CniRequest): CniAnswer {
    const reason = this.#attachments.notReady();
    if (reason === null) return {exit: 0, stdout: ''};
    return refused(failure(request.cniVersion, CNI_CODES.notAvailable, 'the agent is not ready', reason));
  }

  async #add(request: CniRequest): Promise<CniAnswer> {
    const reason = this.#attachments.notReady();
    if (reason !== null) return refused(failure(request.cniVersion, CNI_CODES.tryAgain, 'the agent is not ready: try again later', reason));
    return {exit: 0, stdout: resultJson(request.cniVersion, await this.#attachments.add(request))};
  }

  async #check(request: CniRequest): Promise<CniAnswer> {
    const attachment = this.#attachments.find(request.containerId, request.ifname);
    if (attachment === null) return refused(failure(request.cniVersion, CNI_CODES.unknownContainer, 'no such attachment'));
    const difference = checkPrevResult(request.prevResult, attachment.endpoint);
    if (difference !== null) return refused(failure(request.cniVersion, CNI_CODES.unhealthy, 'the attachment is another one', difference));
    await this.#attachments.verify(attachment);
    return {exit: 0, stdout: ''};
  }

  async #collect(request: CniRequest): Promise<CniAnswer> {
    const valid = new Set((request.validAttachments ?? []).map(({containerId, ifname}) => `${containerId}:${ifname}`));
    for (const {containerId, ifname} of this.#attachments.all()) {
      if (valid.has(`${containerId}:${ifname}`)) continue;
      this.#log.info('collecting an attachment that the runtime no longer has', {containerId, ifname});
      await this.#attachments.remove(containerId, ifname);
    }
    return {exit: 0, stdout: ''};
  }

  async #inTurn<T>(key: string, body: () => Promise<T>): Promise<T> {
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

function refused(value: CniFailure): CniAnswer {
  return {exit: 1, stdout: failureJson(value)};
}

function failureOf(request: CniRequest, error: unknown): CniFailure {
  if (!(error instanceof StentorError)) return failure(request.cniVersion, CNI_CODES.internal, error instanceof Error ? error.message : String(error));
  const code = RETRYABLE.has(error.code) ? CNI_CODES.tryAgain : error.code === 'UNHEALTHY' ? CNI_CODES.unhealthy : CNI_CODES.internal;
  return failure(request.cniVersion, code, error.message, `${error.code} ${JSON.stringify(error.data)}`);
}
