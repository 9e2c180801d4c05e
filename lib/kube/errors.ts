// What the API server says when it refuses, as StentorErrors with stable codes.

import {StentorError} from '../core/errors.js';
import {isRecord} from './object.js';

/** The codes of errors that lib/kube throws. */
export type KubeErrorCode =
  | 'NotFound' | 'AlreadyExists' | 'Conflict' | 'Gone' | 'Invalid' | 'BadRequest' | 'Unauthorized' | 'Forbidden'
  | 'TooManyRequests' | 'Timeout' | 'Unavailable' | 'ServerError' | 'Unreachable' | 'Aborted' | 'BadResponse' | 'KubeConfig';

const BY_STATUS: ReadonlyMap<number, KubeErrorCode> = new Map([
  [400, 'BadRequest'], [401, 'Unauthorized'], [403, 'Forbidden'], [404, 'NotFound'], [409, 'Conflict'], [410, 'Gone'],
  [415, 'BadRequest'], [422, 'Invalid'], [429, 'TooManyRequests'], [503, 'Unavailable'], [504, 'Timeout'],
]);

const BY_REASON: ReadonlyMap<string, KubeErrorCode> = new Map([
  ['AlreadyExists', 'AlreadyExists'], ['Expired', 'Gone'], ['Gone', 'Gone'], ['ServerTimeout', 'Timeout'],
]);

/** From an HTTP status and the `Status` object in the body, if that is what it is. */
export function kubeError(status: number, body: unknown, data: Readonly<Record<string, unknown>>): StentorError {
  const reason = isRecord(body) && typeof body['reason'] === 'string' ? body['reason'] : '';
  const message = isRecord(body) && typeof body['message'] === 'string' ? body['message'] : `HTTP ${status}`;
  const code = BY_REASON.get(reason) ?? BY_STATUS.get(status) ?? (status >= 500 ? 'ServerError' : 'BadRequest');
  return new StentorError(code, message, {...data, status, ...(reason === '' ? {} : {reason})});
}

export function isKubeError(error: unknown, ...codes: readonly KubeErrorCode[]): error is StentorError {
  return error instanceof StentorError && codes.some((code) => code === error.code);
}
