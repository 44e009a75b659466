/** Tiny shakespeare, the text of char-rnn and nanoGPT, which is not part of the package: fetched once, and known by its hash. */
import { createHash } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { messageOf, PeerError, UserError } from '../base/errors.ts';
import { readBoundedFile } from '../base/strictJson.ts';
import { isFile } from '../base/wholeFiles.ts';
import { writeWhole } from '../base/writeWhole.ts';

export const SHAKESPEARE = 'shakespeare';

const URL = 'https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt';
const BYTES = 1_115_394;
const SHA256 = '86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed';
const fetchTimeoutMs = 60_000;

/** The file, from the user's cache or from where char-rnn keeps it. @throws PeerError where it cannot be fetched */
export async function fetchShakespeare(): Promise<string> {
  const folder = join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'lockstep');
  const path = join(folder, 'tinyshakespeare.txt');
  if (await isFile(path)) return path;
  const advice = 'give a copy with --from FILE';
  let bytes: Uint8Array;
  try {
    const response = await fetch(URL, { signal: AbortSignal.timeout(fetchTimeoutMs) });
    if (!response.ok) throw new Error(`status ${response.status}`);
    bytes = new Uint8Array(await response.arrayBuffer());
  } catch (error) {
    throw new PeerError(`${URL} cannot be fetched (${reasonOf(error)}): ${advice}`, { cause: error });
  }
  const problem = difference(bytes);
  if (problem !== undefined) throw new PeerError(`${URL} is not the text it was: ${problem}; ${advice}`);
  await mkdir(folder, { recursive: true });
  await writeWhole(path, bytes, { beside: `${path}.${process.pid}` });
  return path;
}

/** @throws UserError unless the file is the text */
export async function verifyShakespeare(path: string): Promise<void> {
  const problem = difference(await readBoundedFile(path, 64 * 2 ** 20));
  if (problem !== undefined) throw new UserError(`${path} is not tiny shakespeare: ${problem}`);
}

function difference(bytes: Uint8Array): string | undefined {
  if (bytes.length !== BYTES) return `expected ${BYTES} bytes, found ${bytes.length}`;
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  return sha256 === SHA256 ? undefined : `expected sha256 ${SHA256}, found ${sha256}`;
}

/** `fetch` hides the reason in its cause. */
function reasonOf(error: unknown): string {
  return error instanceof Error && error.cause !== undefined ? messageOf(error.cause) : messageOf(error);
}
