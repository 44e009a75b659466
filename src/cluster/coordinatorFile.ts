/**
 * `RUN/coordinator.json` in a run directory that all nodes of a job share: node 0 writes where it listens, the other nodes wait for it.
 * They then read the key, and where MPI names no node they learn the address. A file of an earlier job in the same directory does not
 * count.
 */
import { mkdir, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { errorCode, messageOf, UserError } from '../base/errors.ts';
import { writeWhole } from '../base/writeWhole.ts';

const fileBytesMax = 65_536;

/** Without a name of the job, how much older than this process the file of this job may be: clocks differ, and node 0 may start first. */
const olderMs = 30_000;

const fileSchema = z.object({
  format: z.literal(1),
  /** The name of one start of the job. */
  jobId: z.string().max(1_000).optional(),
  writtenAtMs: z.number().finite(),
  state: z.discriminatedUnion('kind', [
    z.object({ kind: z.literal('listening'), address: z.string().max(1_000) }),
    /** Node 0 has ended: the run was finished already, or it failed before it listened. */
    z.object({ kind: z.literal('ended') }),
    z.object({ kind: z.literal('failed'), message: z.string().max(20_000) }),
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

/** Removes the file of an earlier job, so that nobody believes it. */
export async function removeCoordinatorFile(runDir: string): Promise<void> {
  await rm(pathIn(runDir), { force: true });
}

/**
 * What node 0 of this job has written; undefined if it has not yet.
 * @param sinceMs when this process started, for launchers that do not name the job
 * @throws UserError if the file cannot be read
 */
export async function readCoordinatorFile(
  runDir: string,
  { jobId, sinceMs }: { readonly jobId: string | undefined; readonly sinceMs: number },
): Promise<CoordinatorState | undefined> {
  const text = await readText(pathIn(runDir));
  if (text === undefined) return undefined;
  let content: unknown;
  try {
    content = JSON.parse(text);
  } catch {
    throw new UserError(`${pathIn(runDir)} is not JSON: remove it, and start the job again`);
  }
  const parsed = fileSchema.safeParse(content);
  if (!parsed.success) {
    throw new UserError(`${pathIn(runDir)} is not from this version of Lockstep: use one version on all nodes`);
  }
  const { jobId: written, writtenAtMs, state } = parsed.data;
  const isOurs = jobId === undefined ? writtenAtMs >= sinceMs - olderMs : written === jobId;
  return isOurs ? state : undefined;
}

/** Undefined if there is no such file. */
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
