/** A disk that fills up during a run: the run trains to its end, its last checkpoint stays, the user is told. */
import { execFile } from 'node:child_process';
import { mkdir, readdir, rm, statfs, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, expect, it } from 'vitest';
import { launch, lossesOf, set, start, tiny, useFolder } from '../e2e/launch.ts';

const folder = useFolder();
const run = promisify(execFile);
let mounted: string | undefined;

/** A disk of its own for the run directory; false where mounting is not permitted. */
async function mountSmallDisk(path: string, bytes: number): Promise<boolean> {
  await mkdir(path, { recursive: true });
  try {
    await run('mount', ['-t', 'tmpfs', '-o', `size=${bytes}`, 'tmpfs', path]);
  } catch (error) {
    process.stdout.write(
      `no disk of its own (${String(error).split('\n')[0]}): a file blocks the folder of checkpoints\n`,
    );
    return false;
  }
  mounted = path;
  return true;
}

afterEach(async () => {
  // Lazily: a run that a failed test left going must not keep the mount.
  if (mounted !== undefined) await run('umount', ['-l', mounted]);
  mounted = undefined;
});

it('keeps the checkpoint before, trains on, and ends with code 1 and what to do', async () => {
  const disk = join(folder(), 'disk');
  const isDisk = await mountSmallDisk(disk, 8 << 20);
  const runDir = join(disk, 'run');
  const checkpoints = join(runDir, 'checkpoints');
  const options = [...tiny, 'train.maxSteps=450', 'checkpoint.everySteps=150', 'checkpoint.keep=9'];
  const running = start(['--workers', '2', '--run-dir', runDir, ...set(...options)], folder());
  await running.printed(/step 150\/450 +checkpoint step-00000150/);
  const filler = join(disk, 'filler');
  if (isDisk) await writeFile(filler, Buffer.alloc(16 << 20)).catch(() => undefined);
  else {
    await run('mv', [checkpoints, join(disk, 'aside')]);
    await writeFile(checkpoints, '');
  }
  const result = await running.finished;
  expect(result.code).toBe(1);
  expect(result.stderr).toMatch(
    /warning: the checkpoint of step (300|450) was not written: .*\. Earlier checkpoints are kept/,
  );
  expect(result.stderr).toMatch(/launch: the run reached step 450, but its last checkpoint could not be written/);
  expect(result.stderr).not.toMatch(/\n {4}at /);
  expect(result.stdout).toMatch(/step 450\/450 +loss/);
  expect(await running.descendants()).toEqual([]);

  // Room again: nothing half written is left, and the run resumes from the checkpoint that stayed.
  if (isDisk) await rm(filler);
  else {
    await rm(checkpoints);
    await run('mv', [join(disk, 'aside'), checkpoints]);
  }
  expect((await readdir(checkpoints)).filter((name) => !/^step-00000(150|300)$/.test(name))).toEqual([]);
  const resumed = await launch(['--resume', runDir], folder());
  expect(resumed).toMatchObject({ code: 0, stderr: '', orphans: [] });
  expect(resumed.stdout).toMatch(/resuming .*step-00000(150|300)/);
  const losses = await lossesOf(runDir);
  expect(losses).toHaveLength(450);
  expect(await readdir(runDir)).toEqual([
    'checkpoints',
    'config.yaml',
    'events.jsonl',
    'join.key',
    'journal.jsonl',
    'metrics.jsonl',
    'run.key',
  ]);
});

it('refuses a run at its start where no checkpoint would ever fit', async () => {
  const disk = join(folder(), 'small');
  if (!(await mountSmallDisk(disk, 512 << 10))) return;
  const runDir = join(disk, 'run');
  const result = await launch(['--workers', '1', '--run-dir', runDir, ...set(...tiny, 'train.maxSteps=5')], folder());
  expect(result).toMatchObject({ code: 2, orphans: [] });
  expect(result.stderr).toMatch(
    /a checkpoint of this model needs [\d,]+ bytes, but the disk of .*small has only [\d,]+ free: make room/,
  );
  expect(await readdir(disk)).toEqual([]);
});

it('continues a run although no checkpoint would fit any longer, and says so', async () => {
  const disk = join(folder(), 'filled');
  if (!(await mountSmallDisk(disk, 8 << 20))) return;
  const runDir = join(disk, 'run');
  const first = await launch(['--workers', '1', '--run-dir', runDir, ...set(...tiny, 'train.maxSteps=5')], folder());
  expect(first).toMatchObject({ code: 0, stderr: '' });
  const filler = join(disk, 'filler');
  await writeFile(filler, '');
  const { bavail, bsize } = await statfs(disk);
  await writeFile(filler, Buffer.alloc(bavail * bsize - (256 << 10)));
  const noRoom =
    /^warning: a checkpoint of this model needs [\d,]+ bytes, .* free: make room before the next one is due\n/;
  const resumed = start(['--resume', runDir, ...set('train.maxSteps=1000000')], folder());
  await resumed.printed(/step +8\//);
  await rm(filler);
  resumed.process.kill('SIGINT');
  const result = await resumed.finished;
  expect(result).toMatchObject({ code: 130, stderr: expect.stringMatching(noRoom) });
  expect(result.stdout).toMatch(/checkpoint step-\d+/);
});
