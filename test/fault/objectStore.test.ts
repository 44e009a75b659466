/** A real object store: checkpoints at lost answers and kills, and a run that keeps its data and checkpoints there. */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { lossesOf, metricsOf, set, start, tiny } from '../e2e/launch.ts';
import { isNightly } from '../skippedTests.ts';
import { Swift } from './swift.ts';

const obstacle = Swift.obstacle();
const faults = join(import.meta.dirname, 'objectStoreFaults.mjs');

describe.skipIf(obstacle !== undefined)(`an object store${obstacle === undefined ? '' : ` (${obstacle})`}`, () => {
  let swift: Swift | undefined;
  let folder: string;
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'lockstep-test-'));
    swift = await Swift.open();
  });
  afterAll(async () => {
    await swift?.close();
    rmSync(folder, { recursive: true, force: true });
  });

  test('after a lost answer or a kill at any request it has the old checkpoint or the new one, and nothing else', () => {
    // At some of the requests: the unit tests have each of them, on a store in memory.
    const strides = isNightly ? ['3', '4', '6'] : ['9', '12', '16'];
    const found = JSON.parse(swift!.run([process.execPath, faults, ...strides], { XDG_CACHE_HOME: folder }));
    expect(found.problems).toEqual([]);
    expect(found.lost).toBeGreaterThan(3);
    expect(Math.min(found.old, found.new)).toBeGreaterThan(0);
  });

  test('a run that trains from it and saves there has the losses of one on the disk, and every command finds its model', async () => {
    const env = { ...swift!.env, XDG_CACHE_HOME: folder };
    const launch = async (...args: string[]) => {
      const { code, stdout, stderr } = await start(args, folder, env, swift!.within).finished;
      expect(code, stderr).toBe(0);
      return stdout;
    };
    swift!.run([process.execPath, faults, 'bucket']);
    const text = join(import.meta.dirname, '../../data/tinyshakespeare.txt');
    for (const out of ['toks', 's3://faults/toks']) await launch('prepare', text, '--tokenizer', 'byte', '--out', out);
    const steps = [
      'train.maxSteps=30',
      'train.workers=1',
      'data.sampler=shuffled',
      'checkpoint.everySteps=10',
      'checkpoint.keep=1',
    ];
    const common = [...tiny, ...steps, 'data.tokenizer=byte'].filter((each) => !each.startsWith('data.text'));
    await launch('train', '--run-dir', 'disk', ...set(...common, 'data.shards=toks'));
    const place = 's3://faults/runs/a';
    await launch(
      'train',
      '--run-dir',
      's3',
      ...set(...common, 'data.shards=s3://faults/toks', `checkpoint.directory=${place}`),
    );
    expect(await lossesOf(join(folder, 's3'))).toEqual(await lossesOf(join(folder, 'disk')));
    expect(existsSync(join(folder, 's3/checkpoints'))).toBe(false);
    const measured = async (checkpoint: string) => {
      const {
        checkpoint: _,
        data,
        ...measures
      } = JSON.parse(await launch('eval', '--checkpoint', checkpoint, '--json'));
      return { ...measures, sameAsTrained: data.sameAsTrained };
    };
    const ofStored = await measured(place);
    expect(ofStored).toMatchObject({ step: 30, split: 'val', sameAsTrained: true });
    expect(ofStored).toEqual(await measured('disk'));

    // As on another machine, which has only the store.
    rmSync(join(folder, 's3'), { recursive: true });
    await launch('train', '--resume', place, '--run-dir', 'again', ...set('train.maxSteps=35'));
    expect((await metricsOf(join(folder, 'again'))).at(-1)).toMatchObject({ step: 35 });
    expect((await lossesOf(join(folder, 'again'))).slice(0, 30)).toEqual(await lossesOf(join(folder, 'disk')));
    const [ofPlace, ofRun] = [
      await launch('generate', '--checkpoint', place, '--max-tokens', '8', '--seed', '1'),
      await launch('generate', '--checkpoint', 'again', '--max-tokens', '8', '--seed', '1'),
    ];
    expect(ofPlace.split('\n')[0]).toBe(ofRun.split('\n')[0]);
    expect(readFileSync(join(folder, 'again/config.yaml'), 'utf8')).toContain(place);
  });
});
