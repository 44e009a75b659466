/** Starting, joining, stopping: every way a run can end leaves nothing behind. */
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { processOf } from '../../src/base/processes.ts';
import { isNightly } from '../skippedTests.ts';
import { launch, lossesOf, metricsOf, set, start, tiny, useFolder } from './launch.ts';

const folder = useFolder();
/** What a run leaves in its directory. */
const files = ['checkpoints', 'config.yaml', 'events.jsonl', 'join.key', 'journal.jsonl', 'metrics.jsonl', 'run.key'];
const long = [...tiny, 'train.maxSteps=100000'];

it('runs again and again, ends with code 0, and leaves no process, lock or temporary file', async () => {
  const runs = isNightly ? 10 : 3;
  for (let i = 0; i < runs; i++) {
    const result = await launch(['--workers', '2', ...set(...tiny, 'train.maxSteps=5')], folder());
    expect(result).toMatchObject({ code: 0, stderr: '', orphans: [] });
  }
  // Each run without a --run-dir gets the next free name.
  expect((await readdir(join(folder(), 'runs'))).sort()).toEqual(
    ['quickstart', ...Array.from({ length: runs - 1 }, (_, i) => `quickstart-${i + 2}`)].sort(),
  );
  expect((await readdir(join(folder(), 'runs/quickstart'))).sort()).toEqual(files);
  expect(await readdir(join(folder(), 'runs/quickstart/checkpoints'))).toEqual(['step-00000005']);
  // The system's temporary folder is this one too.
  expect(await readdir(folder())).toEqual(['runs']);
});

it.each([
  ['with processes', 'SIGINT', []],
  ['in one process', 'SIGTERM', ['--single-process']],
] as const)(
  'on Ctrl-C finishes the step, writes a checkpoint, ends with 130, and can be resumed: %s',
  async (label, signal, flags) => {
    const runDir = `interrupted ${label}`;
    const running = start(['--workers', '2', '--run-dir', runDir, ...flags, ...set(...long)], folder());
    await running.printed(/step +5\//);
    running.process.kill(signal);
    const result = await running.finished;
    expect(result.code).toBe(130);
    expect(result.stdout).toMatch(/stopped. Resume with: npx launch --resume/);
    expect(await running.descendants()).toEqual([]);
    const steps = (await lossesOf(join(folder(), runDir))).length;
    const name = `step-${String(steps).padStart(8, '0')}`;
    expect(await readdir(join(folder(), runDir, 'checkpoints'))).toEqual([name]);
    const resumed = await launch(['--resume', runDir, ...set(`train.maxSteps=${steps + 2}`)], folder());
    expect(resumed).toMatchObject({ code: 0, orphans: [] });
    expect(await lossesOf(join(folder(), runDir))).toHaveLength(steps + 2);
  },
);

it('whose directory another process takes ends with code 1 and leaves it alone, with processes and in one', async () => {
  const endsWhenTaken = async (runDir: string, flags: readonly string[]) => {
    const running = start(['--workers', '2', '--run-dir', runDir, ...flags, ...set(...long)], folder());
    await running.printed(/step +5\//);
    const path = join(folder(), runDir);
    const owner = JSON.stringify({ ...processOf(), host: 'elsewhere', claim: 'x' });
    await writeFile(join(path, 'run.lock'), owner);
    const { code, stderr } = await running.finished;
    expect({ code, stderr }).toEqual({
      code: 1,
      stderr: expect.stringContaining(`process ${process.pid} on elsewhere has taken ${runDir}`),
    });
    expect(stderr).not.toContain('--resume');
    expect(await running.descendants()).toEqual([]);
    // The run has not come to its end, and has written nothing of how it ended.
    expect(await readdir(path)).toEqual(expect.not.arrayContaining(['flight']));
    expect(await readFile(join(path, 'events.jsonl'), 'utf8')).not.toMatch(/"event":"(failed|finished|lost|leave)"/);
    expect(await readFile(join(path, 'run.lock'), 'utf8')).toBe(owner);
  };
  await Promise.all([endsWhenTaken('taken', []), endsWhenTaken('taken from one', ['--single-process'])]);
});

it.each([
  ['with processes', []],
  ['in one process', ['--single-process']],
])('on Ctrl-C while its workers start ends with 130 and nothing is left: %s', async (label, flags) => {
  const runDir = `early ${label}`;
  const running = start(['--workers', '2', '--run-dir', runDir, ...flags, ...set(...long)], folder());
  await running.printed(/^data /m);
  running.process.kill('SIGINT');
  const result = await running.finished;
  expect(result).toMatchObject({ code: 130, stderr: '' });
  expect(await running.descendants()).toEqual([]);
  expect(await readdir(join(folder(), runDir))).not.toContain('run.lock');
});

it('on a second Ctrl-C ends at once', async () => {
  const slow = [...long, 'model.nLayer=12', 'model.nEmbd=256', 'model.blockSize=128', 'train.globalBatchSize=64'];
  const running = start(['--workers', '2', ...set(...slow)], folder());
  await running.printed(/workers ready/);
  running.process.kill('SIGINT');
  await running.printed(/again to stop at once/);
  running.process.kill('SIGINT');
  expect((await running.finished).code).toBe(130);
  expect(await running.descendants()).toEqual([]);
  const left = await readdir(join(folder(), 'runs'), { recursive: true });
  expect(left.filter((name) => /run\.lock|\.tmp-/.test(name))).toEqual([]);
});

it('stops in order, with a checkpoint, when nobody reads its output any more', async () => {
  const running = start(['--workers', '1', '--run-dir', 'cut off', ...set(...long)], folder());
  await running.printed(/step +2\//);
  running.process.stdout?.destroy();
  expect((await running.finished).code).toBe(130);
  expect(await running.descendants()).toEqual([]);
  expect((await readdir(join(folder(), 'cut off'))).sort()).toEqual(files);
  expect(await readdir(join(folder(), 'cut off/checkpoints'))).toHaveLength(1);
});

it.each([
  ['with processes', []],
  ['in one process', ['--single-process']],
])('saves the last good state, and says what to do, when the loss is no longer a number: %s', async (label, flags) => {
  const diverging = ['schedule.learningRate=100', 'schedule.warmupSteps=10', 'optimizer.gradClip=0'];
  const keeping = ['checkpoint.everySteps=4', 'checkpoint.keep=1'];
  const args = [
    '--workers',
    '2',
    '--run-dir',
    `diverged ${label}`,
    ...flags,
    ...set(...long, ...diverging, ...keeping),
  ];
  const result = await launch(args, folder());
  const [, step] =
    /launch: the .* of step \d+ is (?:NaN|-?Infinity), expected a finite number: training has diverged. The state of step (\d+) is saved\. Resume with a lower schedule\.learningRate \(it is 100\), .* or optimizer\.gradClip=1 .*\ncontinue from step \1 with: npx launch --resume /.exec(
      result.stderr,
    ) ?? [];
  expect(Number(step), result.stderr).toBeGreaterThan(3);
  expect(result.stderr).not.toMatch(/\n {4}at /);
  expect(result).toMatchObject({ code: 1, orphans: [] });
  // The regular one before stays, although only one should be kept, because the saved state may be beyond help. So does one that would
  // have been replaced after the divergence was known: steps are faster than the disk.
  const kept = (await readdir(join(folder(), `diverged ${label}`, 'checkpoints'))).sort();
  const nameOf = (each: number) => `step-${String(each).padStart(8, '0')}`;
  const regular = 4 * Math.floor(Number(step) / 4);
  expect(kept).toContain(nameOf(regular));
  expect(kept.at(-1)).toBe(nameOf(Number(step)));
  expect([nameOf(regular - 4), nameOf(regular), nameOf(Number(step))]).toEqual(expect.arrayContaining(kept));
});

it('trains with a worker that joins from another process', async () => {
  const args = ['--listen', 'tcp://127.0.0.1:0', '--workers', '1', '--min-workers', '2', '--run-dir', 'joined'];
  const running = start([...args, ...set(...tiny, 'train.maxSteps=10')], folder());
  const [, ...asPrinted] = await running.printed(/launch (join) (\S+) (--key) (\S+)/);
  const joined = await launch(asPrinted, folder());
  expect(joined).toMatchObject({ code: 0, stderr: '', orphans: [] });
  const result = await running.finished;
  expect(result).toMatchObject({ code: 0, stderr: '' });
  await launch(['--workers', '2', '--run-dir', 'forked', ...set(...tiny, 'train.maxSteps=10')], folder());
  expect(await lossesOf(join(folder(), 'joined'))).toEqual(await lossesOf(join(folder(), 'forked')));
});

it('takes a worker that comes late, at the next step boundary, and trains the same', async () => {
  const late = ['--listen', 'tcp://127.0.0.1:0', '--workers', '1', '--run-dir', 'late'];
  const config = [...tiny, 'schedule.decaySteps=3000'];
  const running = start([...late, ...set(...config, 'train.maxSteps=1000000')], folder());
  const [, address = ''] = await running.printed(/listening on (\S+)/);
  await running.printed(/step +1\//);
  const joined = start(['join', address, '--key', join('late', 'join.key')], folder());
  await running.printed(/2 workers ready.*\n(?:.*\n)*?step/);
  running.process.kill('SIGINT');
  expect(await running.finished).toMatchObject({ code: 130, stderr: '' });
  expect(await joined.finished).toMatchObject({ code: 0, stderr: '' });
  expect(await joined.descendants()).toEqual([]);
  const lines = (await metricsOf(join(folder(), 'late'))).filter(({ loss }) => loss !== undefined);
  expect(lines.map(({ ranks }) => ranks?.length)).toContain(2);
  expect(lines.map(({ step }) => step)).toEqual(Array.from(lines, (_, i) => i + 1));
  const alone = set(...config, `train.maxSteps=${lines.length}`);
  await launch(['--workers', '1', '--run-dir', 'alone', ...alone], folder());
  const losses = await lossesOf(join(folder(), 'alone'));
  const ratio = ({ step, loss }: (typeof lines)[number]) => loss! / losses[step - 1]!;
  for (const line of lines.slice(0, 100)) expect(ratio(line)).toBeCloseTo(1, 3);
  // The sums are rounded otherwise, which grows over many steps.
  const first = lines.findIndex(({ ranks }) => ranks?.length === 2);
  for (const line of lines.slice(first, first + 20)) expect(ratio(line)).toBeCloseTo(1, 1);
});

it('says so when the workers that it waits for do not come', async () => {
  const args = ['--workers', '1', '--min-workers', '2', ...set(...tiny, 'comm.joinTimeoutMs=6000')];
  const result = await launch(args, folder());
  expect(result.code).toBe(1);
  expect(result.stderr).toMatch(/1 of 2 workers joined within 6\.0 s/);
  expect(result.orphans).toEqual([]);
});

it('refuses a run directory that another process trains in', async () => {
  await mkdir(join(folder(), 'busy'), { recursive: true });
  const running = start(['--workers', '1', '--run-dir', 'busy', ...set(...long)], folder());
  await running.printed(/step +1\//);
  const second = await launch(['--resume', 'busy'], folder());
  expect(second.code).toBe(2);
  expect(second.stderr).toMatch(/is training in/);
  running.process.kill('SIGINT');
  await running.finished;
});

it('says that it waits when its last worker leaves, and the command that it prints joins', async () => {
  const overrides = set(...tiny, 'train.maxSteps=1000000');
  const args = ['--listen', 'tcp://127.0.0.1:0', '--no-encrypt', '--workers', '1', '--run-dir', 'left', ...overrides];
  const run = start(args, folder());
  await run.printed(/^step +2\//m);
  for (const pid of await run.descendants()) process.kill(pid, 'SIGTERM');
  const [, join = ''] = await run.printed(
    / leaves as requested; 0 of 1 workers are ready, waiting for others to join\nwaiting for 1 more: npx launch (join \S+)$/m,
  );
  const joined = start(join.split(' '), folder());
  await run.printed(/ joined\n[\s\S]*^step /m);
  run.process.kill('SIGINT');
  expect(await run.finished).toMatchObject({ code: 130 });
  await joined.finished;
});
