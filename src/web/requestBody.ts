/** Reads the body of a request, bounded in size, as JSON. */
import type { IncomingMessage } from 'node:http';
import { jsonErrorIndex, placeOf } from '../base/jsonSyntax.ts';
import { HttpError } from './httpError.ts';

/**
 * Parses the JSON that a client sends.
 * @throws HttpError if it is of another type (415), too large (413), or not JSON (400)
 */
export async function readJson(request: IncomingMessage, bytesMax: number): Promise<unknown> {
  checkType(request);
  const bytes = await readBody(request, bytesMax);
  if (bytes.length === 0) {
    throw new HttpError('the body of the request cannot be empty: expected a JSON object', {
      status: 400,
      code: 'empty_body',
    });
  }
  let text: string;
  try {
    // This drops a byte order mark.
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw new HttpError('the body of the request is not valid UTF-8', { status: 400, code: 'invalid_utf8' });
  }
  try {
    return JSON.parse(text);
  } catch (error) {
    const index = jsonErrorIndex(text);
    if (index === undefined) throw error;
    const found = index < text.length ? `unexpected ${JSON.stringify(text[index])} at ` : 'it breaks off at ';
    const message = `the body of the request is not valid JSON: ${found}${placeOf(text, index)}`;
    throw new HttpError(message, { status: 400, code: 'invalid_json' });
  }
}

/** Pages of other sites may send some types without asking first; JSON is not one of them. */
function checkType({ headers }: IncomingMessage): void {
  const [type = '', ...parameters] = (headers['content-type'] ?? '')
    .split(';')
    .map((part) => part.trim().toLowerCase());
  const charset = parameters.find((parameter) => parameter.startsWith('charset='))?.replace(/^charset="?|"$/g, '');
  const encoding = headers['content-encoding']?.toLowerCase() ?? 'identity';
  const refused = (what: string, received: string): HttpError =>
    new HttpError(`${what}, received ${JSON.stringify(received.slice(0, 100))}`, {
      status: 415,
      code: 'unsupported_media_type',
    });
  if (type !== 'application/json')
    throw refused('expected Content-Type: application/json (with curl: -H "Content-Type: application/json")', type);
  if (charset !== undefined && charset !== 'utf-8') throw refused('expected JSON in UTF-8', charset);
  if (encoding !== 'identity') throw refused('expected a body without Content-Encoding', encoding);
}

/** Bytes beyond the limit are read and dropped, so that the client gets to read the answer. */
function readBody(request: IncomingMessage, bytesMax: number): Promise<Buffer> {
  const tooLarge = new HttpError(`the body of the request is too large: at most ${bytesMax} bytes`, {
    status: 413,
    code: 'body_too_large',
  });
  if (Number(request.headers['content-length'] ?? 0) > bytesMax) {
    request.resume();
    return Promise.reject(tooLarge);
  }
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let length = 0;
    request.on('data', (chunk: Buffer) => {
      length += chunk.length;
      if (length <= bytesMax) chunks.push(chunk);
      else {
        chunks.length = 0;
        reject(tooLarge);
      }
    });
    request.on('end', () => resolve(Buffer.concat(chunks)));
    request.on('error', reject);
    request.on('close', () => reject(new Error('the client has disconnected')));
  });
}
