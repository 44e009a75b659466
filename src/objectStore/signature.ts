/**
 * Signs requests to an object store with AWS Signature Version 4
 * (https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html). The body is part of the signature, by its
 * sha256, so the store refuses a body that was changed on its way. Uploads over TLS do without it (upload.ts). Checked with the examples that AWS publishes.
 */
import { createHash, createHmac } from 'node:crypto';

/** Keys of an account. */
export interface Credentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  /** Belongs to temporary keys. */
  readonly sessionToken?: string | undefined;
}

/** What a signature covers. */
export interface SignedRequest {
  readonly method: string;
  /** Encoded by {@link encodeSegment}, with its slashes. */
  readonly path: string;
  /** Not encoded. */
  readonly query: readonly (readonly [name: string, value: string])[];
  /** Every header that is sent, with names in lower case, and `host`. */
  readonly headers: Readonly<Record<string, string>>;
  /** The hash of the body, in hex, or {@link unsignedPayload}. */
  readonly sha256: string;
}

const algorithm = 'AWS4-HMAC-SHA256';

/** In place of the hash of a body that the signature does not cover. */
export const unsignedPayload = 'UNSIGNED-PAYLOAD';

/** Percent-encodes all but letters, digits and `-._~`. */
export function encodeSegment(text: string): string {
  return encodeURIComponent(text).replace(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`);
}

/** The query as it is sent, and as the signature has it: encoded, sorted by name. */
export function queryText(query: SignedRequest['query']): string {
  return query
    .map(([name, value]) => [encodeSegment(name), encodeSegment(value)] as const)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value]) => `${name}=${value}`)
    .join('&');
}

/** `20130524T000000Z`, the value of `x-amz-date`. */
export function dateText(at: Date): string {
  return at.toISOString().replace(/[-:]|\.\d+/g, '');
}

/** The value of the header `authorization`. @param date of {@link dateText}, which is also the header `x-amz-date` */
export function authorization(
  request: SignedRequest,
  { credentials, region, date }: { credentials: Credentials; region: string; date: string },
): string {
  const headers = Object.entries(request.headers).sort(([a], [b]) => (a < b ? -1 : 1));
  const names = headers.map(([name]) => name).join(';');
  const canonical = [
    request.method,
    request.path,
    queryText(request.query),
    ...headers.map(([name, value]) => `${name}:${value.trim().replace(/ +/g, ' ')}`),
    '',
    names,
    request.sha256,
  ].join('\n');
  const scope = `${date.slice(0, 8)}/${region}/s3/aws4_request`;
  const toSign = [algorithm, date, scope, sha256Of(canonical)].join('\n');
  const key = [date.slice(0, 8), region, 's3', 'aws4_request'].reduce<Buffer | string>(
    (secret, part) => createHmac('sha256', secret).update(part).digest(),
    `AWS4${credentials.secretAccessKey}`,
  );
  const signature = createHmac('sha256', key).update(toSign).digest('hex');
  return `${algorithm} Credential=${credentials.accessKeyId}/${scope},SignedHeaders=${names},Signature=${signature}`;
}

/** In hex. */
export function sha256Of(bytes: Uint8Array | string): string {
  return createHash('sha256').update(bytes).digest('hex');
}
