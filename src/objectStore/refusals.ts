/** What an object store means when it refuses a request, as an error that says how to fix it. Messages never contain keys or signatures. */
import { PeerError, UserError } from '../base/errors.ts';
import type { HttpResponse } from './http.ts';
import { textOf } from './xml.ts';

const messageMax = 200;

/** Codes with which a store asks for another attempt, whatever the status. */
const passingCodes = [
  'InternalError',
  'OperationAborted',
  'RequestTimeout',
  'ServiceUnavailable',
  'SlowDown',
  'Throttling',
];
const passingStatuses = [408, 425, 429, 500, 502, 503, 504];
/** Temporary keys have ended. */
const expiredCodes = ['ExpiredToken', 'ExpiredTokenException', 'TokenRefreshRequired'];

/** What a store said of a request that it did not carry out. */
export interface Refusal {
  readonly status: number;
  /** For example `NoSuchKey`; '' without a body. */
  readonly code: string;
  readonly message: string;
}

/** Undefined if the request was carried out. Some stores report a late failure with status 200. */
export function refusalOf({ status, body }: HttpResponse): Refusal | undefined {
  const text = body.subarray(0, 2 ** 14).toString('latin1');
  const isLate = status < 300 && /^\s*(<\?xml[^>]*>\s*)?<Error[ >]/.test(text);
  if (status < 300 && !isLate) return undefined;
  const message = (textOf(text, 'Message') ?? '').replace(/\s+/g, ' ').slice(0, messageMax);
  return { status: isLate ? 500 : status, code: textOf(text, 'Code') ?? '', message };
}

export function isPassing({ status, code }: Refusal): boolean {
  return passingStatuses.includes(status) || passingCodes.includes(code);
}

export function isExpired({ code }: Refusal): boolean {
  return expiredCodes.includes(code);
}

/** `503 SlowDown (Please reduce your request rate.)` */
export function refusalText({ status, code, message }: Refusal): string {
  return `${status}${code && ` ${code}`}${message && ` (${message})`}`;
}

/** The permission that each kind of request needs. */
const permissions: Readonly<Record<string, string>> = {
  GET: 's3:GetObject',
  HEAD: 's3:GetObject',
  PUT: 's3:PutObject',
  POST: 's3:PutObject',
  DELETE: 's3:DeleteObject and s3:AbortMultipartUpload',
  LIST: 's3:ListBucket and s3:ListBucketMultipartUploads',
};

/** The error for a refusal that another attempt does not change. */
export function refusalError(
  refusal: Refusal,
  at: {
    readonly path: string;
    readonly bucket: string;
    readonly action: string;
    readonly keys: string;
    readonly endpoint: string;
  },
): Error {
  const { code, status } = refusal;
  const said = `${at.endpoint} answered ${refusalText(refusal)}`;
  if (code === 'NoSuchBucket') {
    return new UserError(
      `${at.path}: there is no bucket ${at.bucket} at ${at.endpoint}: create it, or correct the name or the endpoint (AWS_ENDPOINT_URL_S3)`,
    );
  }
  if (code === 'RequestTimeTooSkewed') {
    return new UserError(
      `${at.path}: the clock of this machine differs from that of ${at.endpoint}: set it, for example with NTP`,
    );
  }
  if (isExpired(refusal)) {
    return new UserError(
      `${at.path}: the temporary keys from ${at.keys} have expired: fetch new ones with their session token (AWS_SESSION_TOKEN)`,
    );
  }
  if (['InvalidAccessKeyId', 'SignatureDoesNotMatch', 'InvalidToken', 'AuthFailure'].includes(code) || status === 401) {
    return new UserError(
      `${at.path}: the keys from ${at.keys} are not valid at ${at.endpoint} (${code || status}): correct them, or AWS_REGION and the endpoint`,
    );
  }
  if (
    ['PermanentRedirect', 'AuthorizationHeaderMalformed', 'IllegalLocationConstraintException'].includes(code) ||
    status === 301
  ) {
    return new UserError(`${at.path}: ${said}: set AWS_REGION to the region of the bucket`);
  }
  if (status === 403) {
    const right = permissions[at.action] ?? 's3:*';
    return new UserError(
      `${at.path}: access denied by ${at.endpoint} for the keys from ${at.keys}: allow ${right} there, or use other keys`,
    );
  }
  return new PeerError(`${at.path}: ${said}`);
}
