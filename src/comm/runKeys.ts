/**
 * The keys of a run: what makes its sockets unintelligible and unusable to anyone who has no copy (docs/decisions/encryption.md).
 *
 * - The coordinator has a CURVE key pair. A worker that joins knows its public half and talks to no other coordinator.
 * - All who join share one key pair. The coordinator talks to nobody without it.
 * - A `join` message carries the token as well, so that a port without encryption in front of this one gives nothing away.
 *
 * The files that hold them are `run/runKeyFiles.ts`'s; the ring's keys are made anew by each rank (`zmqLinkRing.ts`).
 */
import { randomBytes } from 'node:crypto';
import { curveKeyPair } from 'zeromq';
import { z } from 'zod';
import { UserError } from '../base/errors.ts';
import { isZ85Key } from './z85.ts';

/** Longer texts are not looked at. */
const textMax = 4_096;

/** The environment variable that can hold the contents of a `join.key`. */
export const joinKeyVariable = 'LOCKSTEP_JOIN_KEY';

const curveKey = z.string().refine(isZ85Key, 'expected a CURVE key of 40 Z85 characters');

export const runKeysSchema = z.strictObject({
  serverPublicKey: curveKey,
  /** Only the coordinator has it. */
  serverSecretKey: curveKey.exactOptional(),
  joinPublicKey: curveKey,
  joinSecretKey: curveKey,
  /** 32 bytes in hex. */
  token: z.string().regex(/^[0-9a-f]{64}$/, 'expected 64 hex digits'),
});

/** CURVE keys are Z85 texts. */
export type RunKeys = z.infer<typeof runKeysSchema>;

export function newRunKeys(): Required<RunKeys> {
  const server = curveKeyPair();
  const join = curveKeyPair();
  return {
    serverPublicKey: server.publicKey,
    serverSecretKey: server.secretKey,
    joinPublicKey: join.publicKey,
    joinSecretKey: join.secretKey,
    token: randomBytes(32).toString('hex'),
  };
}

/** What other machines get: all but the coordinator's secret key. */
export function joinKeysOf({ serverPublicKey, joinPublicKey, joinSecretKey, token }: RunKeys): RunKeys {
  return { serverPublicKey, joinPublicKey, joinSecretKey, token };
}

/** One line of JSON. */
export function renderRunKeys(keys: RunKeys): string {
  return `${JSON.stringify(keys)}\n`;
}

/** @throws UserError that says what is wrong, and never shows a key */
export function parseRunKeys(text: string): RunKeys {
  const expected = 'expected the keys of a run, as a run writes them to run.key and join.key';
  if (text.length > textMax) throw new UserError(`${expected}, received ${text.length} characters`);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new UserError(`${expected}, received ${text.trim() === '' ? 'nothing' : 'something that is not JSON'}`);
  }
  const parsed = runKeysSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw new UserError(`${expected}; ${issue?.path.join('.') || 'all of it'}: ${issue?.message ?? 'malformed'}`);
}
