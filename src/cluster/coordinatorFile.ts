/**
 * `RUN/coordinator.json` in a run directory that all nodes of a job share: node 0 writes where it listens, the other nodes wait for it.
 * They then read the key, and where MPI names no node they learn the address. A file of another start in the same directory does not
 * count. Only the process that has claimed the run directory writes it (nodeZero.ts).
 */
import { mkdir, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { errorCode, messageOf, UserError } from '../base/errors.ts';
import { writeWhole } from '../base/writeWhole.ts';

const fileBytesMax = 65_536;

/** Maximum length of a failure's message. */
export const failureLengthMax = 10_000;

const fileSchema = z.object({
  format: z.literal(1),
  /** The name of one start of the job. */
  jobId: z.string().max(1_000).optional(),
  /** Makes each writing different. */
  writtenAtMs: z.number().finite(),
  state: z.discriminatedUnion('kind', [
    z.object({ kind: z.literal('listening'), address: z.string().max(1_000) }),
    /** Node 0 has ended: the run is finished, or it failed. */
    z.object({ kind: z.literal('ended') }),
    z.object({ kind: z.literal('failed'), message: z.string().max(failureLengthMax) }),
  ]),
});

/** What node 0 tells the others. */
export type CoordinatorState = z.infer<typeof fileSchema>['state'];

/** @throws UserError if the run directory cannot be written to */
export async function writeCoordinatorFile(
  runDir: string,
  jobId: string | undefined,
  state: CoordinatorState,
): Promise<void> {
  const content = { format: 1, ...(jobId !== undefined && { jobId }), writtenAtMs: Date.now(), state } as const;
  try {
    await mkdir(runDir, { recursive: true });
    await writeWhole(pathIn(runDir), `${JSON.stringify(content satisfies z.infer<typeof fileSchema>)}\n`);
  } catch (error) {
    throw new UserError(`cannot write to the run directory ${runDir}: ${messageOf(error)}`);
  }
}

/** Removes the file of an earlier start, so that nobody believes it. @throws UserError if the run directory cannot be written to */
export async function removeCoordinatorFile(runDir: string): Promise<void> {
  try {
    await rm(pathIn(runDir), { force: true });
  } catch (error) {
    throw new UserError(`cannot write to the run directory ${runDir}: ${messageOf(error)}`);
  }
}

/** What the file says. */
export interface ReadState {
  readonly state: CoordinatorState;
  /** Whether node 0 of this start wrote it; otherwise an earlier start may have. */
  readonly isCertain: boolean;
}

/**
 * Reads the file until node 0 of this start has written it. A launcher that does not name a start leaves two cases: what was there at the
 * first look may be of an earlier start, whose node 0 ended a moment ago, and what has changed since is of this one.
 */
export class CoordinatorFileReader {
  readonly #path: string;
  readonly #jobId: string | undefined;
  #hasLooked = false;
  #first: string | undefined;

  /** @param jobId the name of this start, if the launcher has one */
  constructor(runDir: string, jobId: string | undefined) {
    this.#path = pathIn(runDir);
    this.#jobId = jobId;
  }

  /** Undefined as long as node 0 has certainly not written it. @throws UserError if the file cannot be read */
  async read(): Promise<ReadState | undefined> {
    const text = await readText(this.#path);
    if (!this.#hasLooked) this.#first = text;
    this.#hasLooked = true;
    if (text === undefined) return undefined;
    const { jobId, state } = parse(this.#path, text);
    if (this.#jobId !== undefined) return jobId === this.#jobId ? { state, isCertain: true } : undefined;
    const isCertain = text !== this.#first;
    // An address can be tried. The end of an earlier start says nothing.
    return isCertain || state.kind === 'listening' ? { state, isCertain } : undefined;
  }
}

function parse(path: string, text: string): z.infer<typeof fileSchema> {
  let content: unknown;
  try {
    content = JSON.parse(text);
  } catch {
    throw new UserError(`${path} is not JSON: remove it, and start the job again`);
  }
  const parsed = fileSchema.safeParse(content);
  if (!parsed.success) {
    throw new UserError(`${path} is not from this version of Lockstep: use one version on all nodes`);
  }
  return parsed.data;
}

/** @returns undefined if the file does not exist */
async function readText(path: string): Promise<string | undefined> {
  try {
    const file = await open(path, 'r');
    try {
      const { buffer, bytesRead } = await file.read(Buffer.alloc(fileBytesMax + 1), 0, fileBytesMax + 1, 0);
      if (bytesRead > fileBytesMax) throw new UserError(`${path} has more than ${fileBytesMax} bytes: remove it`);
      return buffer.toString('utf8', 0, bytesRead);
    } finally {
      await file.close();
    }
  } catch (error) {
    // A file system over the network may lose sight of a file that was just replaced.
    if (['ENOENT', 'ENOTDIR', 'ESTALE'].includes(errorCode(error))) return undefined;
    if (error instanceof UserError) throw error;
    throw new UserError(`cannot read ${path}: ${messageOf(error)}`);
  }
}

function pathIn(runDir: string): string {
  return join(runDir, 'coordinator.json');
}
