/** `launch --trace`: one timeline of all workers. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { launch, lossesOf, set, tiny, useFolder } from './launch.ts';

interface Event {
  readonly ph: string;
  readonly name: string;
  readonly pid: number;
  readonly tid: number;
  readonly ts: number;
  readonly dur: number;
  readonly args: { readonly name: string; readonly step: number };
}

const folder = useFolder();

async function traceOf(run: string): Promise<Event[]> {
  return JSON.parse(await readFile(join(folder(), run, 'trace.json'), 'utf8')) as Event[];
}

it('shows kernels, waits, buckets and chunks of every worker, in the steps asked for; the losses are the same', async () => {
  const options = set(
    ...tiny,
    'train.maxSteps=12',
    'comm.chunkBytes=4096',
    'comm.bucketBytesMax=8192',
    'train.globalBatchSize=8',
    'train.microBatchSize=2',
  );
  const run = (name: string, ...more: string[]) =>
    launch(['--workers', '2', '--run-dir', name, ...more, ...options], folder());
  expect(await run('traced', '--trace', '4')).toMatchObject({ code: 0, stderr: '', orphans: [] });
  expect(await run('plain')).toMatchObject({ code: 0, orphans: [] });
  expect(await lossesOf(join(folder(), 'traced'))).toEqual(await lossesOf(join(folder(), 'plain')));

  const events = await traceOf('traced');
  const named = (name: string) => events.filter((event) => event.name === name);
  expect(
    named('process_name')
      .map(({ args }) => args.name.split(',')[0])
      .sort(),
  ).toEqual(['coordinator', 'rank 0: local-0000', 'rank 1: local-0001']);
  for (const pid of [1, 2]) {
    const own = events.filter((event) => event.pid === pid && event.ph === 'X');
    expect([...new Set(own.map(({ args }) => args.step))].sort()).toEqual([2, 3, 4, 5]);
    for (const name of ['wait for data', 'forward and backward', 'wait for the ring', 'wait for commit', 'optimizer']) {
      expect(
        own.filter((event) => event.name === name && event.tid === 0),
        name,
      ).toHaveLength(4);
    }
    // 4 samples a worker in microbatches of 2, each with every kernel of the model.
    const kernels = own.filter(({ tid }) => tid === 1);
    expect(kernels.filter(({ name }) => name.startsWith('microbatch'))).toHaveLength(8);
    expect(kernels.filter(({ name }) => name === 'linearCrossEntropy')).toHaveLength(8);
    expect(kernels.filter(({ name }) => name === 'adamw')).toHaveLength(4);
    expect(own.filter(({ name }) => name.startsWith('reduce-scatter')).length).toBeGreaterThan(0);
    const buckets = events.filter((event) => event.pid === pid && event.name.startsWith('bucket'));
    expect(buckets.filter(({ ph }) => ph === 'b')).toHaveLength(buckets.length / 2);
    expect(new Set(buckets.map(({ name }) => name)).size).toBeGreaterThan(1);
    for (const tid of [0, 1, 3]) expectNested(own.filter((event) => event.tid === tid));
  }
  expect(events.filter(({ pid, ph }) => pid === 0 && ph === 'X').map(({ name }) => name)).toEqual(
    [2, 3, 4, 5].map((step) => `step ${step}`),
  );
});

/** A timeline can draw spans inside each other, but not spans that overlap in part. Times are rounded to microseconds. */
function expectNested(events: readonly Event[]): void {
  const open: Event[] = [];
  for (const event of [...events].sort((a, b) => a.ts - b.ts || b.dur - a.dur)) {
    while (open.length > 0 && open.at(-1)!.ts + open.at(-1)!.dur <= event.ts + 1) open.pop();
    const around = open.at(-1);
    if (around)
      expect(event.ts + event.dur, `${event.name} in ${around.name}`).toBeLessThanOrEqual(around.ts + around.dur + 2);
    open.push(event);
  }
}

it('traces a run in one process, of all its steps if they are fewer; says what is wrong with the number', async () => {
  const refused = await launch(['--trace', '0', ...set(...tiny)], folder());
  expect(refused).toMatchObject({ code: 2 });
  expect(refused.stderr).toMatch(/--trace: expected a whole number from 1 to 1000/);
  const single = await launch(
    ['--single-process', '--workers', '2', '--trace', '50', '--run-dir', 'single', ...set(...tiny, 'train.maxSteps=3')],
    folder(),
  );
  expect(single).toMatchObject({ code: 0, stderr: '' });
  const steps = (await traceOf('single')).filter(({ pid, ph }) => pid === 0 && ph === 'X').map(({ name }) => name);
  expect(steps).toEqual(['step 1', 'step 2', 'step 3']);
});
