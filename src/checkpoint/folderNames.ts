/**
 * The folder names of the checkpoint store. `step-00001000` is a complete checkpoint, `.tmp-…` is being written or deleted, and
 * `.old-…` has just been replaced. The two hidden kinds end in words that identify their writer: the scope of its process id (host,
 * boot and pid namespace), the id, the process's start, and a random word. This separates the leftovers of a dead writer from the
 * work of a live one, even after the system has given the process id to another process.
 */
import { randomBytes } from 'node:crypto';
import { invariant } from '../base/errors.ts';
import { fateOfWord, placeWord, processWord } from '../base/processes.ts';

const STEP_NAME = /^step-(\d{8,15})$/;
/** Names from earlier versions lack the process's start and use another word for the scope. */
const HIDDEN_NAME = /^\.(tmp|old)-(step-\d{8,15})-([0-9a-f]{8})-(\d{1,10})(?:-([0-9a-f]{8}))?-[0-9a-f]{8}$/;

/** A writer on another machine or in another container counts as dead when its folder has not changed for this long. */
export const FOREIGN_WRITER_IDLE_MS = 3600 * 1000;

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

/** The parts of a hidden folder's name. */
export interface HiddenFolder {
  readonly name: string;
  readonly kind: 'tmp' | 'old';
  /** The `step-…` name that the folder will get, or had. */
  readonly target: string;
  /** The writer's scope, process id and start; the start is undefined in names from earlier versions. */
  readonly place: string;
  readonly pid: number;
  readonly process: string | undefined;
}

const ownNames = new Set<string>();

/** A new hidden name, which counts as in use until {@link releaseHiddenName}. */
export function claimHiddenName(kind: 'tmp' | 'old', target: string): string {
  const writer = `${placeWord()}-${process.pid}-${processWord()}`;
  const name = `.${kind}-${target}-${writer}-${randomBytes(4).toString('hex')}`;
  ownNames.add(name);
  return name;
}

export function releaseHiddenName(name: string): void {
  ownNames.delete(name);
}

export function parseHiddenName(name: string): HiddenFolder | undefined {
  const match = HIDDEN_NAME.exec(name);
  if (match === null) return undefined;
  const [, kind, target, place, pid, writer] = match as unknown as [
    string,
    'tmp' | 'old',
    string,
    string,
    string,
    string?,
  ];
  return { name, kind, target, place, pid: Number(pid), process: writer };
}

/**
 * Whether the process that made the folder has certainly ended. Processes on other machines, in other containers, or hidden by the
 * system cannot be checked; for them the age of the newest change decides.
 * @param idleMs time since anything in the folder changed
 */
export function isWriterGone(folder: HiddenFolder, idleMs: number): boolean {
  if (folder.process === undefined || folder.place !== placeWord()) return idleMs > FOREIGN_WRITER_IDLE_MS;
  if (folder.pid === process.pid && folder.process === processWord()) return !ownNames.has(folder.name);
  const fate = fateOfWord(folder.pid, folder.process);
  return fate === 'unknown' ? idleMs > FOREIGN_WRITER_IDLE_MS : fate === 'gone';
}
