/**
 * The run directory: `config.yaml` (resolved), `metrics.jsonl`, `checkpoints/`, and a lock while a run writes to it. Finds
 * the place for a new run, and the run to resume.
 */
import { mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { basename, extname, join, resolve } from 'node:path';
import { messageOf, UserError } from '../base/errors.ts';

export class RunFolder {
  readonly path: string;

  constructor(path: string) {
    this.path = path;
  }

  get configPath(): string {
    return join(this.path, 'config.yaml');
  }

  get metricsPath(): string {
    return join(this.path, 'metrics.jsonl');
  }

  get checkpointsPath(): string {
    return join(this.path, 'checkpoints');
  }

  get #lockPath(): string {
    return join(this.path, 'run.lock');
  }

  /**
   * Creates the directory where needed and claims it for this process; `release` gives it back.
   * @throws UserError if another living process has it, or it cannot be made
   */
  async claim(): Promise<void> {
    await mkdir(this.path, { recursive: true }).catch((error: unknown) => {
      throw new UserError(`cannot make the run directory ${this.path}: ${messageOf(error)}`);
    });
    const owner = Number(await readFile(this.#lockPath, 'utf8').catch(() => ''));
    if (owner > 0 && owner !== process.pid && isAlive(owner)) {
      throw new UserError(
        `process ${owner} is training in ${this.path} (${this.#lockPath} says so): wait for it, or choose another --run-dir`,
      );
    }
    await writeFile(this.#lockPath, `${process.pid}\n`).catch((error: unknown) => {
      throw new UserError(`cannot write to the run directory ${this.path}: ${messageOf(error)}`);
    });
  }

  async release(): Promise<void> {
    await rm(this.#lockPath, { force: true });
  }
}

/** The directory of a new run: the one asked for, which must hold no run yet, or the next free one of its name in `runs/`. */
export async function newRunFolder(runDir: string | undefined, source: string, cwd: string): Promise<RunFolder> {
  if (runDir !== undefined) {
    const folder = new RunFolder(resolve(cwd, runDir));
    if (await exists(folder.configPath)) {
      throw new UserError(
        `${folder.path} holds a run already: go on with it with --resume ${runDir}, or choose another --run-dir`,
      );
    }
    return folder;
  }
  const name = basename(source, extname(source));
  for (let attempt = 1; ; attempt++) {
    const folder = new RunFolder(join(cwd, 'runs', attempt === 1 ? name : `${name}-${attempt}`));
    if (!(await exists(folder.path))) return folder;
  }
}

/** The run to go on with: the directory given, or the newest in `runs/`. @throws UserError if there is none */
export async function existingRunFolder(runDir: string | undefined, cwd: string): Promise<RunFolder> {
  if (runDir !== undefined) {
    const folder = new RunFolder(resolve(cwd, runDir));
    if (!(await exists(folder.configPath))) {
      throw new UserError(`expected a run directory with a config.yaml, found none in ${folder.path}`);
    }
    return folder;
  }
  const runs = join(cwd, 'runs');
  let newest: { folder: RunFolder; changedMs: number } | undefined;
  for (const name of await readdir(runs).catch(() => [])) {
    const folder = new RunFolder(join(runs, name));
    const info = await stat(folder.metricsPath).catch(() => undefined);
    if (info !== undefined && info.mtimeMs > (newest?.changedMs ?? 0)) newest = { folder, changedMs: info.mtimeMs };
  }
  if (newest === undefined) {
    throw new UserError(`there is no run to resume in ${runs}: name its directory, as in --resume DIR`);
  }
  return newest.folder;
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}
