/**
 * The names that the checkpoint store gives to folders, and what they tell: `step-00001000` is a whole checkpoint;
 * `.tmp-…` is being written or deleted; `.old-…` has just been replaced. The two hidden kinds end in words that name their writer: the
 * place where its process id counts, that id, the process itself, and a random word. So what a dead writer left can be told from
 * what a live one is busy with, also where another process has the id by now.
 */
import { randomBytes } from 'node:crypto';
import { invariant } from '../base/errors.ts';
import { fateOfWord, placeWord, processWord } from '../base/processes.ts';

const STEP_NAME = /^step-(\d{8,15})$/;
/** Folders of earlier versions have no word for the process, and another one for the place. */
const HIDDEN_NAME = /^\.(tmp|old)-(step-\d{8,15})-([0-9a-f]{8})-(\d{1,10})(?:-([0-9a-f]{8}))?-[0-9a-f]{8}$/;

/** A writer on another machine or in another container is taken for dead when nothing in its folder has changed for this long. */
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

/** A hidden folder's name, taken apart. */
export interface HiddenFolder {
  readonly name: string;
  readonly kind: 'tmp' | 'old';
  /** The `step-…` name that it would have, or had. */
  readonly target: string;
  /** Of the writer: where its process id counts, that id, and the process; the last is undefined in names of earlier versions. */
  readonly place: string;
  readonly pid: number;
  readonly process: string | undefined;
}

const ownNames = new Set<string>();

/** A new hidden name; counts as alive until {@link releaseHiddenName}. */
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
 * Whether the process that made the folder is certainly gone. A process of another machine or container cannot be asked, nor one that
 * the system hides, so there the age of the newest change decides.
 * @param idleMs time since anything in the folder changed
 */
export function isWriterGone(folder: HiddenFolder, idleMs: number): boolean {
  if (folder.process === undefined || folder.place !== placeWord()) return idleMs > FOREIGN_WRITER_IDLE_MS;
  if (folder.pid === process.pid && folder.process === processWord()) return !ownNames.has(folder.name);
  const fate = fateOfWord(folder.pid, folder.process);
  return fate === 'unknown' ? idleMs > FOREIGN_WRITER_IDLE_MS : fate === 'gone';
}
