/**
 * The names that the checkpoint store gives to folders, and what they tell: `step-00001000` is a whole checkpoint;
 * `.tmp-…` is being written or deleted; `.old-…` has just been replaced. The two hidden kinds end in host, process id and a
 * random word of their writer, so that what a dead writer left can be told from what a live one is busy with.
 */
import { createHash, randomBytes } from 'node:crypto';
import { hostname } from 'node:os';
import { errorCode, invariant } from '../base/errors.ts';

const STEP_NAME = /^step-(\d{8,15})$/;
const HIDDEN_NAME = /^\.(tmp|old)-(step-\d{8,15})-([0-9a-f]{8})-(\d{1,10})-([0-9a-f]{8})$/;

/** A writer on another machine is taken for dead when nothing in its folder has changed for this long. */
export const FOREIGN_WRITER_IDLE_MS = 24 * 3600 * 1000;

export function stepFolderName(step: number): string {
  invariant(Number.isSafeInteger(step) && step >= 0, `a step is a whole number, not ${step}`);
  return `step-${String(step).padStart(8, '0')}`;
}

/** The step of a checkpoint folder's name, or undefined for any other name. */
export function stepOfFolderName(name: string): number | undefined {
  const digits = STEP_NAME.exec(name)?.[1];
  if (digits === undefined) return undefined;
  const step = Number(digits);
  return stepFolderName(step) === name ? step : undefined;
}

/** A hidden folder's name, taken apart. */
export interface HiddenFolder {
  readonly name: string;
  readonly kind: 'tmp' | 'old';
  /** The `step-…` name that it would have, or had. */
  readonly target: string;
  readonly host: string;
  readonly pid: number;
}

const ownNames = new Set<string>();

/** A new hidden name; counts as alive until {@link releaseHiddenName}. */
export function claimHiddenName(kind: 'tmp' | 'old', target: string): string {
  const name = `.${kind}-${target}-${hostWord()}-${process.pid}-${randomBytes(4).toString('hex')}`;
  ownNames.add(name);
  return name;
}

export function releaseHiddenName(name: string): void {
  ownNames.delete(name);
}

export function parseHiddenName(name: string): HiddenFolder | undefined {
  const match = HIDDEN_NAME.exec(name);
  if (match === null) return undefined;
  const [, kind, target, host, pid] = match as unknown as [string, 'tmp' | 'old', string, string, string];
  return { name, kind, target, host, pid: Number(pid) };
}

/**
 * Whether the process that made the folder is certainly gone. Another machine's process cannot be asked, so there the age
 * of the newest change decides.
 * @param idleMs time since anything in the folder changed
 */
export function isWriterGone(folder: HiddenFolder, idleMs: number): boolean {
  if (folder.host !== hostWord()) return idleMs > FOREIGN_WRITER_IDLE_MS;
  if (folder.pid === process.pid) return !ownNames.has(folder.name); // a restarted container gets the same pid again
  try {
    process.kill(folder.pid, 0);
    return false;
  } catch (error) {
    return errorCode(error) === 'ESRCH';
  }
}

function hostWord(): string {
  return createHash('sha256').update(hostname()).digest('hex').slice(0, 8);
}
