/**
 * Reads the small JSON files that Lockstep writes for checkpoints and prepared data. Their size is bounded before memory is allocated. They must be UTF-8 with one
 * object at the top and no duplicate keys (`JSON.parse` would silently use the last one). Not for configs written by users.
 */
import { open } from 'node:fs/promises';
import { errorCode, messageOf, PeerError, UserError } from './errors.ts';

/** The error for a file of Lockstep that exists but differs from what was written. */
export function damaged(path: string, what: string): UserError {
  return new UserError(`${path} is damaged: ${what}`);
}

/** Converts a failed open or read into a UserError if the path is wrong, otherwise into a PeerError (I/O). */
export function readFailure(path: string, error: unknown): Error {
  switch (errorCode(error)) {
    case 'ENOENT':
      return new UserError(`${path} is missing`);
    case 'EACCES':
    case 'EPERM':
      return new UserError(`${path} cannot be read: permission denied`);
    case 'EISDIR':
    case 'ENOTDIR':
    case 'ELOOP':
      return new UserError(`${path} is not a regular file`);
    default:
      return new PeerError(`${path} cannot be read: ${messageOf(error)}`, { cause: error });
  }
}

/**
 * The complete contents of a regular file of at most `bytesMax` bytes.
 * @throws UserError naming the file if it is missing, not a file, or larger; PeerError if reading fails.
 */
export async function readBoundedFile(path: string, bytesMax: number): Promise<Buffer> {
  let handle: Awaited<ReturnType<typeof open>>;
  try {
    handle = await open(path, 'r');
  } catch (error) {
    throw readFailure(path, error);
  }
  try {
    const stat = await handle.stat();
    if (!stat.isFile()) throw new UserError(`${path} is not a regular file`);
    if (stat.size > bytesMax) {
      throw new UserError(`${path} has ${stat.size} bytes: expected at most ${bytesMax}`);
    }
    const content = Buffer.alloc(stat.size);
    let filled = 0;
    while (filled < content.length) {
      const { bytesRead } = await handle.read(content, filled, content.length - filled, filled);
      if (bytesRead === 0) throw damaged(path, `it ends after ${filled} of ${content.length} bytes`);
      filled += bytesRead;
    }
    return content;
  } catch (error) {
    if (error instanceof UserError) throw error;
    throw readFailure(path, error);
  } finally {
    await handle.close();
  }
}

/** Parses one JSON object from UTF-8 bytes; `path` names the source in errors. Duplicate keys are refused at any depth. */
export function parseJsonObject(bytes: Uint8Array, path: string): Record<string, unknown> {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw damaged(path, 'its JSON is not valid UTF-8');
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw damaged(path, `expected JSON, but ${messageOf(error)}`);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw damaged(path, 'expected a JSON object at the top');
  }
  const duplicate = firstDuplicateKey(text);
  if (duplicate !== undefined) throw damaged(path, `the key ${JSON.stringify(duplicate)} occurs twice in one object`);
  return value as Record<string, unknown>;
}

/** The first duplicate key within an object of the (valid) JSON text. Iterative, so that depth needs no stack. */
function firstDuplicateKey(text: string): string | undefined {
  const scopes: (Set<string> | undefined)[] = []; // one per open bracket; undefined for arrays
  for (let i = 0; i < text.length; i++) {
    const char = text[i];
    if (char === '{') scopes.push(new Set());
    else if (char === '[') scopes.push(undefined);
    else if (char === '}' || char === ']') scopes.pop();
    else if (char === '"') {
      const start = i;
      for (i++; text[i] !== '"'; i++) if (text[i] === '\\') i++;
      if (!followedByColon(text, i + 1)) continue;
      const key = JSON.parse(text.slice(start, i + 1)) as string;
      const keys = scopes.at(-1);
      if (keys?.has(key)) return key;
      keys?.add(key);
    }
  }
  return undefined;
}

function followedByColon(text: string, from: number): boolean {
  let i = from;
  while (text[i] === ' ' || text[i] === '\n' || text[i] === '\r' || text[i] === '\t') i++;
  return text[i] === ':';
}
