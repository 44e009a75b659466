/** A run whose data and checkpoints are in a real object store. */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { lossesOf, metricsOf, set, start, tiny } from '../e2e/launch.ts';
import { Swift } from './swift.ts';

const obstacle = Swift.obstacle();
const upload = join(import.meta.dirname, 'objectStoreUpload.mjs');

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

  test('a run that trains from it and saves there has the losses of one on the disk, and every command finds its model', async () => {
    const env = { ...swift!.env, XDG_CACHE_HOME: folder };
    const launch = async (...args: string[]) => {
      const { code, stdout, stderr } = await start(args, folder, env, swift!.within).finished;
      expect({ code, stderr }).toMatchObject({ code: 0 });
      return stdout;
    };
    await launch(
      'prepare',
      join(import.meta.dirname, '../../data/tinyshakespeare.txt'),
      '--tokenizer',
      'byte',
      '--out',
      'toks',
    );
    swift!.run([process.execPath, upload, join(folder, 'toks'), 's3://lockstep/toks']);
    const steps = [
      'train.maxSteps=30',
      'train.workers=1',
      'data.sampler=shuffled',
      'checkpoint.everySteps=10',
      'checkpoint.keep=1',
    ];
    const common = [...tiny, ...steps, 'data.tokenizer=byte'].filter((each) => !each.startsWith('data.text'));
    await launch('train', '--run-dir', 'disk', ...set(...common, 'data.shards=toks'));
    const place = 's3://lockstep/runs/a';
    await launch(
      'train',
      '--run-dir',
      's3',
      ...set(...common, 'data.shards=s3://lockstep/toks', `checkpoint.directory=${place}`),
    );
    expect(await lossesOf(join(folder, 's3'))).toEqual(await lossesOf(join(folder, 'disk')));
    expect(existsSync(join(folder, 's3/checkpoints'))).toBe(false);

    await launch('train', '--resume', 's3', ...set('train.maxSteps=35'));
    expect((await metricsOf(join(folder, 's3'))).at(-1)).toMatchObject({ step: 35 });
    const [ofPlace, ofRun] = [
      await launch('generate', '--checkpoint', place, '--max-tokens', '8', '--seed', '1'),
      await launch('generate', '--checkpoint', 's3', '--max-tokens', '8', '--seed', '1'),
    ];
    expect(ofPlace.split('\n')[0]).toBe(ofRun.split('\n')[0]);
    expect(readFileSync(join(folder, 's3/config.yaml'), 'utf8')).toContain(place);
  });
});
