/**
 * The run directory: `config.yaml` (resolved), `metrics.jsonl`, `events.jsonl`, `journal.jsonl`, `checkpoints/`, the keys of an
 * encrypted run (`runKeyFiles.ts`), the reference of preferences (`reference.ts`), and a lock while a run writes to it. Finds the place for a new run, and the run to resume.
 */
import { mkdir, readdir, rename, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { nodeDisk } from '../base/diskOperations.ts';
import { errorCode, messageOf, PeerError, UserError } from '../base/errors.ts';
import { claimLock, type HeldLock, isLocked } from '../base/lockFile.ts';
import { nearestWord } from '../base/nearest.ts';
import { optionName } from '../base/ownCommand.ts';
import { shellWord } from '../base/shellWord.ts';
import { shortPath } from '../base/shortPath.ts';
import { userPath } from '../base/userPath.ts';
import { writeWhole } from '../base/writeWhole.ts';

/** Maximum number of runs in a message. */
const namesMost = 10;

export class RunFolder {
  readonly path: string;
  /** Whether a new run starts here instead of a resumed one. */
  readonly isNew: boolean;
  /** Rejects with a PeerError when another process has taken the directory. This one must then leave it alone. */
  readonly lost: Promise<never>;
  #onLost: (error: PeerError) => void = () => {};
  #isLost = false;
  #lock: HeldLock | undefined;

  constructor(path: string, options: { isNew?: boolean } = {}) {
    this.path = path;
    this.isNew = options.isNew ?? false;
    this.lost = new Promise((_, reject) => {
      this.#onLost = reject;
    });
    // It may be lost while nobody waits for that; who does still sees the error.
    this.lost.catch(() => {
      this.#isLost = true;
    });
  }

  /** Whether {@link lost} has rejected. */
  get isLost(): boolean {
    return this.#isLost;
  }

  /** Whether this process has it. */
  get isHeld(): boolean {
    return this.#lock !== undefined && !this.#isLost;
  }

  get configPath(): string {
    return join(this.path, 'config.yaml');
  }

  get metricsPath(): string {
    return join(this.path, 'metrics.jsonl');
  }

  get journalPath(): string {
    return join(this.path, 'journal.jsonl');
  }

  get eventsPath(): string {
    return join(this.path, 'events.jsonl');
  }

  /** Samples from each checkpoint, if the run has a dashboard. */
  get samplesPath(): string {
    return join(this.path, 'samples.jsonl');
  }

  get tracePath(): string {
    return join(this.path, 'trace.json');
  }

  /** The last actions of every process of a failed run. */
  get flightPath(): string {
    return join(this.path, 'flight');
  }

  /** The reference log probabilities of preferences. */
  get referencePath(): string {
    return join(this.path, 'reference.safetensors');
  }

  /** What a run writes itself to learn from. */
  get rolloutsPath(): string {
    return join(this.path, 'rollouts');
  }

  /** The weights that a policy started with. */
  get policyReferencePath(): string {
    return join(this.rolloutsPath, 'reference.safetensors');
  }

  get checkpointsPath(): string {
    return join(this.path, 'checkpoints');
  }

  /** The newest checkpoint that was written to an object store. */
  get storedNotePath(): string {
    return join(this.path, 'stored-checkpoint.json');
  }

  get runKeyPath(): string {
    return join(this.path, 'run.key');
  }

  get joinKeyPath(): string {
    return join(this.path, 'join.key');
  }

  get #lockPath(): string {
    return join(this.path, 'run.lock');
  }

  /**
   * Creates the directory of a new run and claims it for this process; `release` gives it back.
   * @param note told why it takes longer
   * @param advice what to do, or what follows, when another living process has it
   * @throws UserError if one has it, or it cannot be made
   */
  async claim(
    note: (message: string) => void,
    advice = `wait for it, or choose another ${optionName('run-dir')}`,
  ): Promise<void> {
    const made = this.isNew ? makeFolder(this.path) : Promise.resolve();
    await made.catch((error: unknown) => {
      throw new UserError(
        `cannot make the run directory ${this.path}: ${messageOf(error)}; choose another with ${optionName('run-dir')}`,
      );
    });
    const shown = shortPath(this.path);
    this.#lock = await claimLock(this.#lockPath, {
      refusal: (who) => `${who} is training in ${shown} (${shortPath(this.#lockPath)} says so): ${advice}`,
      onWait: note,
      onLost: (who) =>
        this.#onLost(
          new PeerError(
            `${who} has taken ${shown}, since this process did not renew ${shortPath(this.#lockPath)} in time; only one of them can train there`,
          ),
        ),
    }).catch((error: unknown) => {
      if (error instanceof UserError) throw error;
      if (!this.isNew && errorCode(error) === 'ENOENT') {
        throw new UserError(`${shown} no longer exists: it was removed or renamed meanwhile`);
      }
      throw new UserError(`cannot write to the run directory ${this.path}: ${messageOf(error)}`);
    });
    // Another process may have chosen the same name, and may already have finished.
    if (this.isNew && (await exists(this.configPath))) {
      await this.release();
      throw new UserError(
        `another run started in ${this.path} at the same time: start again, or choose another ${optionName('run-dir')}`,
      );
    }
  }

  /** Writes the resolved config atomically, since a resume starts from it. */
  async writeConfig(text: string): Promise<void> {
    try {
      await writeWhole(this.configPath, text);
    } catch (error) {
      throw new UserError(`cannot write to the run directory ${this.path}: ${messageOf(error)}`);
    }
  }

  /** Whether a living process holds it. */
  isInUse(): Promise<boolean> {
    return isLocked(this.#lockPath);
  }

  /** Moves the claimed directory to another path and releases it. @throws the system's error, after releasing it */
  async moveTo(target: string): Promise<void> {
    const lock = this.#lock;
    this.#lock = undefined;
    await lock?.release(async () => {
      await rename(this.path, target);
      return join(target, basename(this.#lockPath));
    });
  }

  /** No effect unless this process holds it. */
  async release(): Promise<void> {
    const lock = this.#lock;
    this.#lock = undefined;
    await lock?.release();
  }
}

/** The directory of a new run: the requested one, which must not hold a run yet, or the next free one of its name in `runs/`. */
export async function newRunFolder(runDir: string | undefined, name: string, cwd: string): Promise<RunFolder> {
  if (runDir !== undefined) {
    const folder = new RunFolder(userPath(cwd, runDir), { isNew: true });
    if (await exists(folder.configPath)) {
      throw new UserError(
        `${shortPath(folder.path, cwd)} already holds a run: continue it with ${optionName('resume')} ${shellWord(runDir)}, or choose another ${optionName('run-dir')}`,
      );
    }
    return folder;
  }
  for (let attempt = 1; ; attempt++) {
    const folder = newFolderNamed(name, attempt, cwd);
    if (!(await exists(folder.path))) return folder;
  }
}

/** `runs/NAME`, `runs/NAME-2` and so on. */
export function newFolderNamed(name: string, attempt: number, cwd: string): RunFolder {
  return new RunFolder(join(cwd, 'runs', attempt === 1 ? name : `${name}-${attempt}`), { isNew: true });
}

/** The run to resume: the given directory, or the newest in `runs/`. @throws UserError if it does not exist */
export async function existingRunFolder(runDir: string | undefined, cwd: string): Promise<RunFolder> {
  if (runDir !== undefined) {
    const folder = new RunFolder(userPath(cwd, runDir));
    if (await exists(folder.configPath)) return folder;
    const around = await runAround(folder.path);
    const hint =
      around === undefined
        ? await runsHint(folder.path, cwd)
        : `. It is inside a run: use ${optionName('resume')} ${shellWord(around)}`;
    throw new UserError(`${shortPath(folder.path, cwd)} is not a run directory: config.yaml not found${hint}`);
  }
  const [newest] = await runFolders(cwd);
  if (newest !== undefined) return newest;
  const runs = shortPath(join(cwd, 'runs'), cwd);
  throw new UserError(`no run to resume in ${runs}: name its directory with ${optionName('resume')} DIR`);
}

/** Ends a message about a folder that does not exist: the existing runs, and the one that the user probably meant. */
export async function runsHint(path: string, cwd: string): Promise<string> {
  const runs = await runFolders(cwd);
  if (runs.length === 0) return '';
  const shown = (run: string) => shellWord(shortPath(run, cwd));
  const paths = runs.slice(0, namesMost).map((folder) => shown(folder.path));
  const guess = nearestOf(runs, path);
  const more = runs.length > namesMost ? `, and ${runs.length - namesMost} more` : '';
  return `. Your runs: ${paths.join(', ')}${more}${guess === undefined ? '' : `. Did you mean ${shown(guess)}?`}`;
}

/** The run in `runs/` whose name is nearly that of `path`, if there is one. */
export async function nearestRun(path: string, cwd: string): Promise<string | undefined> {
  return nearestOf(await runFolders(cwd), path);
}

function nearestOf(runs: readonly RunFolder[], path: string): string | undefined {
  const names = runs.map((folder) => basename(folder.path));
  const nearest = nearestWord(basename(path), names);
  return runs.find((folder) => basename(folder.path) === nearest)?.path;
}

/** The runs in `runs/` that have made a step, most recently active first. */
export async function runFolders(cwd: string): Promise<RunFolder[]> {
  const runs = join(cwd, 'runs');
  const found: { folder: RunFolder; changedMs: number }[] = [];
  for (const name of await readdir(runs).catch(() => [])) {
    const folder = new RunFolder(join(runs, name));
    const metrics = await stat(folder.metricsPath).catch(() => undefined);
    // A run that ended before its first step cannot be resumed.
    if (metrics === undefined || metrics.size === 0 || !(await exists(folder.configPath))) continue;
    found.push({ folder, changedMs: metrics.mtimeMs });
  }
  return found.sort((a, b) => b.changedMs - a.changedMs).map(({ folder }) => folder);
}

/** The run directory that a checkpoint, or the folder of checkpoints, belongs to. */
async function runAround(path: string): Promise<string | undefined> {
  for (const candidate of [dirname(path), dirname(dirname(path))]) {
    if (await exists(new RunFolder(candidate).configPath)) return candidate;
  }
  return undefined;
}

/** Makes a folder and its parents. `mkdir` with `recursive` never returns in a place like /proc (Node 20). */
async function makeFolder(path: string): Promise<void> {
  try {
    await mkdir(path);
    await nodeDisk.syncDirectory(dirname(path));
  } catch (error) {
    if (errorCode(error) === 'EEXIST' && (await stat(path)).isDirectory()) return;
    if (errorCode(error) !== 'ENOENT' || dirname(path) === path) throw error;
    await makeFolder(dirname(path));
    await mkdir(path);
    await nodeDisk.syncDirectory(dirname(path));
  }
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
