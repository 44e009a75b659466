/** Event files, read back by a parser of another's making; resuming; a disk that refuses. */
import { mkdtemp, open, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { StepMetrics } from '../../../src/records/metricsLog.ts';
import { encodeRecord } from '../../../src/report/eventFile.ts';
import { TensorBoardLog } from '../../../src/report/tensorBoard.ts';
import { crc32c, readEvents, scalarsOf } from '../records/eventReader.ts';

let folder = '';
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lockstep-tensorboard-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

function stepOf(step: number): StepMetrics {
  const times = { dataWaitMs: 1, forwardBackwardMs: 20, ringWaitMs: 3, commitWaitMs: 4, optimizerMs: 5 };
  const share = { sampleFrom: 0, sampleCount: 2 };
  return {
    step,
    loss: 4 / step,
    lr: 0.001,
    gradNorm: 0.5,
    tokens: 100 * step,
    term: 1,
    tokensPerSecond: 5_000,
    ranks: [
      { rank: 0, ...share, ...times },
      { rank: 1, ...share, ...times, forwardBackwardMs: 30 },
      { rank: 2, ...share },
    ],
  };
}

async function files(): Promise<Buffer[]> {
  const names = (await readdir(folder)).sort();
  for (const name of names) expect(name).toMatch(/^events\.out\.tfevents\.\d{10}\.[\w.-]+\.\d+\.\d+$/);
  return await Promise.all(names.map((name) => readFile(join(folder, name))));
}

const silent = (message: string) => expect.fail(message);

describe('encodeRecord', () => {
  it('has the checksum that the other implementation knows from RFC 3720', () => {
    expect(crc32c(Buffer.alloc(32))).toBe(0x8a9136aa);
    expect(crc32c(Buffer.from('123456789'))).toBe(0xe3069283);
  });

  it('is read back as it was', () => {
    const timeMs = 1_700_000_000_123;
    const text = 'Ünïcode 😀\n    code';
    const events = [
      encodeRecord({ timeMs, step: 0, content: { kind: 'fileVersion' } }),
      encodeRecord({ timeMs, step: 2 ** 40, content: { kind: 'sessionStart' } }),
      encodeRecord({
        timeMs,
        step: 7,
        content: { kind: 'scalars', values: { loss: 1.5, 'phases/ringWaitMs': -0.25 } },
      }),
      encodeRecord({ timeMs, step: 7, content: { kind: 'text', tag: 'config', text } }),
    ];
    const read = readEvents(Buffer.concat(events));
    expect(read.map(({ wallTime }) => wallTime)).toEqual(Array(4).fill(1_700_000_000.123));
    expect(read[0]).toMatchObject({ fileVersion: 'brain.Event:2' });
    expect(read[1]).toMatchObject({ step: 2 ** 40, sessionLog: { status: 'START' } });
    expect(read[2]).toMatchObject({
      step: 7,
      summary: {
        value: [
          { tag: 'loss', simpleValue: 1.5 },
          { tag: 'phases/ringWaitMs', simpleValue: -0.25 },
        ],
      },
    });
    const [value] = read[3]!.summary!.value;
    expect(value).toMatchObject({ tag: 'config', metadata: { pluginData: { pluginName: 'text' } } });
    expect(value?.tensor).toMatchObject({ dtype: 7, tensorShape: {} });
    expect(Buffer.from(value!.tensor!.stringVal[0]!).toString()).toBe(text);
  });
});

describe('TensorBoardLog', () => {
  it('writes steps, phases, evaluations and the config', async () => {
    const log = new TensorBoardLog({ folder, step: 0, config: 'model:\n  nLayer: 2', onWarning: silent });
    for (const step of [1, 2, 3]) log.listener.step?.({ ...stepOf(step), means: { accuracy: step / 4 } });
    const means = { accuracy: 0.5 };
    log.listener.evaluated?.({ step: 3, valLoss: 2.5, valPerplexity: 12, valTargets: 100, means });
    await log.close();
    const [file, ...others] = await files();
    expect(others).toEqual([]);
    expect(readEvents(file!)[0]).toMatchObject({ fileVersion: 'brain.Event:2' });
    expect(scalarsOf([file!], 'loss')).toEqual([
      [1, 4],
      [2, 2],
      [3, Math.fround(4 / 3)],
    ]);
    expect(scalarsOf([file!], 'valLoss')).toEqual([[3, 2.5]]);
    expect(scalarsOf([file!], 'train/accuracy')).toEqual([1, 2, 3].map((step) => [step, step / 4]));
    expect(scalarsOf([file!], 'validation/accuracy')).toEqual([[3, 0.5]]);
    expect(scalarsOf([file!], 'phases/forwardBackwardMs')[0]).toEqual([1, 25]);
    for (const tag of ['lr', 'gradNorm', 'tokensPerSecond', 'phases/optimizerMs'])
      expect(scalarsOf([file!], tag)).toHaveLength(3);
    const text = readEvents(file!)
      .flatMap(({ summary }) => summary?.value ?? [])
      .find(({ tag }) => tag === 'config');
    expect(Buffer.from(text!.tensor!.stringVal[0]!).toString()).toBe('    model:\n      nLayer: 2');
  });

  it('resumed, and gone back: what is done again is shown once', async () => {
    const first = new TensorBoardLog({ folder, step: 0, config: '', onWarning: silent });
    for (const step of [1, 2, 3, 4, 5]) first.listener.step?.(stepOf(step));
    await first.close();
    const second = new TensorBoardLog({ folder, step: 3, config: '', onWarning: silent });
    for (const step of [4, 5, 6, 5, 6, 7]) second.listener.step?.(stepOf(step));
    await second.close();
    const both = await files();
    expect(both).toHaveLength(2);
    expect(scalarsOf(both, 'loss').map(([step]) => step)).toEqual([1, 2, 3, 4, 5, 6, 7]);
  });

  it('resumed after the clock was set back, it writes a file that TensorBoard reads after the one before', async () => {
    const ahead = Math.floor(Date.now() / 1_000) + 86_400;
    await writeFile(join(folder, `events.out.tfevents.${ahead}.host.1.0`), '');
    const log = new TensorBoardLog({ folder, step: 3, config: '', onWarning: silent });
    log.listener.step?.(stepOf(4));
    await log.close();
    const [before, after] = (await readdir(folder)).sort();
    expect(before).toBe(`events.out.tfevents.${ahead}.host.1.0`);
    expect(after).toMatch(new RegExp(`^events\\.out\\.tfevents\\.${ahead + 1}\\..*\\.3$`));
  });

  it('a disk that is full for a while costs events and one warning, and leaves a file that can be read', async () => {
    const warnings: string[] = [];
    let isFull = false;
    const log = new TensorBoardLog({
      folder,
      step: 0,
      config: 'a: 1',
      onWarning: (message) => warnings.push(message),
      openSink: async (path) => {
        const file = await open(path, 'wx');
        return {
          write: async (bytes, offset, length, position) => {
            if (!isFull) return await file.write(bytes, offset, Math.min(length, 100), position);
            await file.write(bytes, offset, 5, position); // what fitted
            throw Object.assign(new Error('ENOSPC: no space left on device'), { code: 'ENOSPC' });
          },
          close: () => file.close(),
        };
      },
    });
    const settled = async () => await new Promise((resolve) => setTimeout(resolve, 50));
    log.listener.step?.(stepOf(1));
    await settled();
    isFull = true;
    for (const step of [2, 3]) {
      log.listener.step?.(stepOf(step));
      await settled();
    }
    isFull = false;
    log.listener.step?.(stepOf(4));
    await log.close();
    expect(warnings).toEqual([expect.stringMatching(/TensorBoard.*ENOSPC/)]);
    expect(scalarsOf(await files(), 'loss').map(([step]) => step)).toEqual([1, 4]);
  });

  it('a folder that cannot be made is warned of once', async () => {
    const warnings: string[] = [];
    await writeFile(join(folder, 'file'), '');
    const log = new TensorBoardLog({
      folder: join(folder, 'file/under'),
      step: 0,
      config: '',
      onWarning: (message) => warnings.push(message),
    });
    for (const step of [1, 2]) log.listener.step?.(stepOf(step));
    await log.close();
    expect(warnings).toHaveLength(1);
  });
});
