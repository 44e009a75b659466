import { durationOf } from '../base/numberText.ts';
/** Why a request is refused: a status, a code for programs and a message for people. */

export interface HttpErrorOptions {
  /** The status of the response. */
  readonly status: number;
  /** For programs; null if the status is enough. */
  readonly code?: string | null;
  /** In addition to the headers of every response. */
  readonly headers?: Readonly<Record<string, string>>;
}

export class HttpError extends Error {
  override readonly name: string = 'HttpError';
  readonly status: number;
  readonly code: string | null;
  readonly headers: Readonly<Record<string, string>>;

  constructor(message: string, { status, code = null, headers = {} }: HttpErrorOptions) {
    super(message);
    this.status = status;
    this.code = code;
    this.headers = headers;
  }
}

/** What clients are told of the errors of Node's parser, by the parser's name for them. All others are `invalid_http`. */
const parserErrors: Readonly<Record<string, readonly [status: number, code: string, message: string]>> = {
  HPE_HEADER_OVERFLOW: [431, 'headers_too_large', 'the request line and the headers are too large'],
  HPE_CHUNK_EXTENSIONS_OVERFLOW: [413, 'chunk_extensions_too_large', 'the extensions of a chunk are too large'],
  HPE_INVALID_CONTENT_LENGTH: [400, 'invalid_content_length', 'Content-Length is not a number of bytes'],
  HPE_UNEXPECTED_CONTENT_LENGTH: [
    400,
    'invalid_content_length',
    'Content-Length stands twice, or beside Transfer-Encoding; send one of them',
  ],
  HPE_INVALID_TRANSFER_ENCODING: [400, 'invalid_transfer_encoding', 'Transfer-Encoding does not end with chunked'],
  HPE_INVALID_CHUNK_SIZE: [400, 'invalid_chunk', 'the size of a chunk is not a hexadecimal number'],
};

/**
 * What a client is told if Node refuses its bytes.
 * @param code the `code` of the error of a `clientError` event
 */
export function protocolError(code: string, limits: { headerBytesMax: number; timeoutMs: number }): HttpError {
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') {
    const message = `the request did not arrive within ${durationOf(limits.timeoutMs)}`;
    return new HttpError(message, { status: 408, code: 'request_timeout' });
  }
  const known = Object.hasOwn(parserErrors, code) ? parserErrors[code] : undefined;
  if (known === undefined) {
    return new HttpError('the request is not valid HTTP/1.1', { status: 400, code: 'invalid_http' });
  }
  const [status, name, message] = known;
  const limit = status === 431 ? `; at most ${limits.headerBytesMax} bytes` : '';
  return new HttpError(message + limit, { status, code: name });
}
