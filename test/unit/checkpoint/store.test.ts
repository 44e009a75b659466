import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { nodeDisk } from '../../../src/base/diskOperations.ts';
import { InvariantError, PeerError, UserError } from '../../../src/base/errors.ts';
import { placeWord, processWord } from '../../../src/base/processes.ts';
import { partsOf } from '../../../src/base/stateParts.ts';
import { openCheckpoint } from '../../../src/checkpoint/openCheckpoint.ts';
import { CheckpointStore } from '../../../src/checkpoint/store.ts';
import { collect, contentsAt, streamBytes, temporaryFolder, tinyModel, valuesOf, writeTiny } from './tinyCheckpoint.ts';

const FILES = [
  'config.json',
  'manifest.json',
  'model.safetensors',
  'optimizer.safetensors',
  'tokenizer.json',
  'tokenizer_config.json',
  'trainer.json',
];

function flipBit(path: string, at: number): void {
  const bytes = readFileSync(path);
  bytes[at]! ^= 1;
  writeFileSync(path, bytes);
}

describe('writing and reading', () => {
  test('everything comes back, in any order of tensors', async () => {
    const store = new CheckpointStore(join(temporaryFolder(), 'runs', 'a', 'checkpoints'));
    const contents = contentsAt(1000, { valLoss: 1.5 });
    const path = await writeTiny(store, contents);
    expect(path).toBe(join(store.directory, 'step-00001000'));
    expect(readdirSync(store.directory)).toEqual(['step-00001000']);
    expect(readdirSync(path).sort()).toEqual(FILES);

    const checkpoint = await openCheckpoint(path);
    expect(checkpoint.modelConfig).toEqual(tinyModel);
    expect(checkpoint.trainer).toEqual(contents.trainer);
    expect(checkpoint.tokenizerFiles).toEqual(contents.tokenizerFiles);
    expect(checkpoint.tensors).toEqual(contents.tensors);
    const names = contents.tensors.map(({ name }) => name);
    const parts = partsOf({ trained: true });
    expect(await collect(checkpoint.stream('weights', names)), 'no average').toEqual(
      valuesOf(contents.tensors, 0, 1000),
    );
    for (const [index, part] of parts.entries()) {
      const written = valuesOf(contents.tensors, index as 0 | 1 | 2, 1000);
      expect(await collect(checkpoint.stream(part, names))).toEqual(written);
      const last = contents.tensors.at(-1)!;
      const bytes = last.shape.reduce((a, b) => a * b);
      expect(await collect(checkpoint.stream(part, [last.name]))).toEqual(written.subarray(written.length - bytes));
    }
  });

  test('the same content gives the same bytes in every file, however it is chunked', async () => {
    const [one, two] = [temporaryFolder(), temporaryFolder()].map((folder) => new CheckpointStore(folder));
    const contents = contentsAt(7, { valLoss: 2 });
    await writeTiny(one!, contents);
    const writer = await two!.beginWrite(contents);
    await writer.write(streamBytes(contents.tensors, 7));
    await writer.commit();
    for (const name of FILES) {
      const [a, b] = [one!, two!].map((store) => readFileSync(join(store.directory, 'step-00000007', name)));
      expect(b!.equals(a!), name).toBe(true);
    }
  });

  test('only the named tensors have moments, whose bytes come in the order of all; naming all changes nothing', async () => {
    const contents = contentsAt(8);
    const names = contents.tensors.map(({ name }) => name);
    const parts = partsOf({ trained: true });
    const plain = await writeTiny(new CheckpointStore(temporaryFolder()), contents);
    const named = await writeTiny(new CheckpointStore(temporaryFolder()), {
      ...contents,
      tensors: contents.tensors.map((tensor) => ({ ...tensor, parts })),
    });
    for (const name of FILES)
      expect(readFileSync(join(named, name)).equals(readFileSync(join(plain, name))), name).toBe(true);

    const trained = contents.tensors.slice(2, 5);
    const trainedNames = trained.map(({ name }) => name);
    const store = new CheckpointStore(temporaryFolder());
    const tensors = contents.tensors.map((tensor) => ({
      ...tensor,
      parts: partsOf({ trained: trainedNames.includes(tensor.name) }),
    }));
    const writer = await store.beginWrite({ ...contents, tensors });
    const values = [valuesOf(contents.tensors, 0, 8), valuesOf(trained, 1, 8), valuesOf(trained, 2, 8)];
    const bytes = Buffer.concat(values.map(({ buffer }) => new Uint8Array(buffer as ArrayBuffer)));
    expect(writer.expectedBytes).toBe(bytes.length);
    await writer.write(bytes);
    const checkpoint = await openCheckpoint(await writer.commit());
    expect(checkpoint.moments).toEqual(trainedNames);
    expect(checkpoint.hasMomentsOf(tensors)).toBe(true);
    expect(checkpoint.hasMomentsOf(contents.tensors.map((tensor) => ({ ...tensor, parts })))).toBe(false);
    expect(await collect(checkpoint.stream('model', names))).toEqual(values[0]);
    expect(await collect(checkpoint.stream('m', trainedNames))).toEqual(values[1]);
    expect(await collect(checkpoint.stream('v', trainedNames))).toEqual(values[2]);
  });

  test('matrices of Muon have no second moment, and others may not lack theirs', async () => {
    const contents = contentsAt(8);
    const names = contents.tensors.map(({ name }) => name);
    const withParts = (isMuon: (name: string) => boolean) =>
      contents.tensors.map((tensor) => ({ ...tensor, parts: partsOf({ trained: true, muon: isMuon(tensor.name) }) }));
    const written = async (isMuon: (name: string) => boolean) => {
      const tensors = withParts(isMuon);
      const seconds = contents.tensors.filter(({ name }) => !isMuon(name));
      const writer = await new CheckpointStore(temporaryFolder()).beginWrite({ ...contents, tensors });
      const values = [valuesOf(contents.tensors, 0, 8), valuesOf(contents.tensors, 1, 8), valuesOf(seconds, 2, 8)];
      await writer.write(Buffer.concat(values.map(({ buffer }) => new Uint8Array(buffer as ArrayBuffer))));
      return { path: await writer.commit(), tensors, values, seconds: seconds.map(({ name }) => name) };
    };
    const isMatrix = (name: string) => /\.h\.\d\.(attn|mlp)\..*\.weight$/.test(name);
    const { path, tensors, values, seconds } = await written(isMatrix);
    const checkpoint = await openCheckpoint(path);
    expect(seconds).toHaveLength(names.length - 2 * 4);
    expect(await collect(checkpoint.stream('m', names))).toEqual(values[1]);
    expect(await collect(checkpoint.stream('v', seconds))).toEqual(values[2]);
    expect(checkpoint.hasMomentsOf(tensors)).toBe(true);
    expect(checkpoint.hasMomentsOf(withParts(() => false))).toBe(false);
    for (const lacks of [
      // Matrices outside of blocks, a vector, and a matrix in a block while others have theirs.
      (name: string) => name === 'transformer.wte.weight',
      (name: string) => isMatrix(name) || name === 'transformer.wpe.weight',
      (name: string) => isMatrix(name) || name === 'transformer.h.0.ln_1.bias',
      (name: string) => name === 'transformer.h.1.mlp.c_fc.weight',
    ]) {
      await expect(openCheckpoint((await written(lacks)).path)).rejects.toThrow(/tensor v\..* is missing/);
    }
  });

  test('with an average, that is the model, and the weights are with the moments', async () => {
    const contents = contentsAt(9);
    const names = contents.tensors.map(({ name }) => name);
    const trained = contents.tensors.slice(0, 3);
    const [trainedNames, frozenNames] = [names.slice(0, 3), names.slice(3)];
    const tensors = contents.tensors.map((tensor, i) => ({
      ...tensor,
      parts: partsOf({ trained: i < 3, averaged: true }),
    }));
    const writer = await new CheckpointStore(temporaryFolder()).beginWrite({ ...contents, tensors });
    const [model, weights] = [valuesOf(contents.tensors, 0, 9), valuesOf(trained, 0, 10)];
    const values = [model, weights, valuesOf(trained, 1, 9), valuesOf(trained, 2, 9)];
    await writer.write(Buffer.concat(values.map(({ buffer }) => new Uint8Array(buffer as ArrayBuffer))));
    const checkpoint = await openCheckpoint(await writer.commit());
    expect(await collect(checkpoint.stream('model', names))).toEqual(model);
    expect(await collect(checkpoint.stream('weights', trainedNames))).toEqual(weights);
    expect(await collect(checkpoint.stream('m', trainedNames))).toEqual(values[2]);
    expect(await collect(checkpoint.stream('weights', frozenNames))).toEqual(
      await collect(checkpoint.stream('model', frozenNames)),
    );
  });

  test('a state in which nothing is trained is refused', async () => {
    const store = new CheckpointStore(temporaryFolder());
    const tensors = contentsAt(1).tensors.map((tensor) => ({ ...tensor, parts: partsOf({ trained: false }) }));
    await expect(store.beginWrite({ ...contentsAt(1), tensors })).rejects.toThrow('no parameter that is trained');
  });

  test('writes that are not awaited keep their order', async () => {
    const store = new CheckpointStore(temporaryFolder());
    const contents = contentsAt(3);
    const writer = await store.beginWrite(contents);
    const bytes = streamBytes(contents.tensors, 3);
    const writes: Promise<void>[] = [];
    for (let at = 0; at < bytes.length; at += 313) writes.push(writer.write(bytes.slice(at, at + 313)));
    await Promise.all(writes);
    const checkpoint = await openCheckpoint(await writer.commit());
    const names = contents.tensors.map(({ name }) => name);
    expect(await collect(checkpoint.stream('v', names))).toEqual(valuesOf(contents.tensors, 2, 3));
  });

  test('a validation loss that is not a number is written as not measured', async () => {
    const store = new CheckpointStore(temporaryFolder());
    const checkpoint = await openCheckpoint(await writeTiny(store, contentsAt(1, { valLoss: Number.NaN })));
    expect(checkpoint.trainer?.valLoss).toBeNull();
  });

  test('an aborted write leaves nothing, and so does one with too few or too many bytes', async () => {
    const store = new CheckpointStore(temporaryFolder());
    const contents = contentsAt(5);
    const bytes = streamBytes(contents.tensors, 5);
    const aborted = await store.beginWrite(contents);
    await aborted.write(bytes.subarray(0, 1000));
    await aborted.abort();
    await aborted.abort();
    await expect(aborted.write(bytes)).rejects.toThrow('aborted');
    const short = await store.beginWrite(contents);
    await short.write(bytes.subarray(4));
    await expect(short.commit()).rejects.toThrow('was committed after');
    const long = await store.beginWrite(contents);
    await long.write(bytes);
    await expect(long.write(new Uint8Array(4))).rejects.toThrow('was sent more than that');
    expect(readdirSync(store.directory)).toEqual([]);
  });

  test('a tokenizer file cannot take another name or leave the folder', async () => {
    const store = new CheckpointStore(temporaryFolder());
    for (const name of ['../escape.json', 'a/b', '.hidden', '', 'manifest.json', 'x\0y', 'C:\\x']) {
      const contents = { ...contentsAt(1), tokenizerFiles: { [name]: 'x' } };
      await expect(store.beginWrite(contents), name).rejects.toThrow('cannot be the name of a tokenizer file');
    }
    expect(existsSync(store.directory) ? readdirSync(store.directory) : []).toEqual([]);
  });

  test('a step that is written again replaces the old one', async () => {
    const store = new CheckpointStore(temporaryFolder());
    const path = await writeTiny(store, contentsAt(9, { valLoss: 3 }));
    flipBit(join(path, 'model.safetensors'), 2000);
    await writeTiny(store, contentsAt(9, { valLoss: 2 }));
    expect(readdirSync(store.directory)).toEqual(['step-00000009']);
    expect((await openCheckpoint(path)).trainer?.valLoss).toBe(2);
  });
});

describe('damage is found and named', () => {
  async function damagedBy(change: (path: string) => void): Promise<unknown> {
    const store = new CheckpointStore(temporaryFolder());
    const path = await writeTiny(store, contentsAt(4));
    change(path);
    return openCheckpoint(path).then(
      () => 'opened',
      (error: unknown) => error,
    );
  }

  test.each(FILES)('a flipped bit in %s', async (name) => {
    const error = await damagedBy((path) => {
      const file = join(path, name);
      flipBit(file, readFileSync(file).length >> 1);
    });
    expect(error).toBeInstanceOf(UserError);
    expect(String(error)).toMatch(
      name === 'manifest.json' ? /manifest\.json/ : new RegExp(`${name.replace('.', '\\.')} is damaged`),
    );
  });

  test.each(FILES)('a truncated %s', async (name) => {
    const error = await damagedBy((path) => {
      const file = join(path, name);
      writeFileSync(file, readFileSync(file).subarray(0, -1 - (name === 'manifest.json' ? 1 : 0)));
    });
    expect(error).toBeInstanceOf(UserError);
    expect(String(error)).toContain(`${name} is damaged`);
  });

  test.each(FILES)('a missing %s', async (name) => {
    const error = await damagedBy((path) => renameSync(join(path, name), join(path, `${name}.away`)));
    expect(error).toBeInstanceOf(UserError);
    expect(String(error)).toContain(`${name} is missing`);
  });

  test('every single bit of the manifest', async () => {
    const store = new CheckpointStore(temporaryFolder());
    const path = await writeTiny(store, contentsAt(4));
    const file = join(path, 'manifest.json');
    const whole = readFileSync(file);
    for (let at = 0; at < whole.length; at += 5) {
      const flipped = Buffer.from(whole);
      flipped[at]! ^= 1 << (at % 8);
      writeFileSync(file, flipped);
      const text = flipped.toString('latin1');
      // White space may change into other white space without a change of meaning.
      if (sameJson(text, whole.toString('latin1'))) continue;
      await expect(openCheckpoint(path), `byte ${at}`).rejects.toBeInstanceOf(UserError);
    }
  });

  function sameJson(a: string, b: string): boolean {
    try {
      return JSON.stringify(JSON.parse(a)) === JSON.stringify(JSON.parse(b));
    } catch {
      return false;
    }
  }

  test.each([
    ['manifest.json', '"version": 1', '"version": 2', 'format version 2; this Lockstep reads version 1'],
    ['manifest.json', 'lockstep-checkpoint', 'somebody-elses-data', 'is not a Lockstep file'],
    ['manifest.json', '"step": 4', '"step": 5', 'manifest.json says step 5, trainer.json says step 4'],
    ['manifest.json', '"tokenizer.json"', '"../secret.json"', 'Invalid key in record'],
    ['manifest.json', '"trainer.json"', '"trainer2.json"', 'does not list trainer.json'],
  ])('%s with %s → %s', async (name, from, to, message) => {
    const error = await damagedBy((path) => {
      const file = join(path, name);
      const text = readFileSync(file, 'utf8');
      expect(text).toContain(from);
      writeFileSync(file, text.replace(from, to));
    });
    expect(error).toBeInstanceOf(UserError);
    expect(String(error)).toContain(message);
  });

  test('the optimizer may be left unread by who does not need it', async () => {
    const store = new CheckpointStore(temporaryFolder());
    const path = await writeTiny(store, contentsAt(4));
    flipBit(join(path, 'optimizer.safetensors'), readFileSync(join(path, 'optimizer.safetensors')).length - 1);
    expect((await openCheckpoint(path, { verify: 'model' })).trainer?.step).toBe(4);
    await expect(openCheckpoint(path)).rejects.toThrow('optimizer.safetensors is damaged: its sha256');
  });
});

describe('newestWhole', () => {
  test('is undefined for a run without checkpoints', async () => {
    expect(await new CheckpointStore(join(temporaryFolder(), 'absent')).newestWhole()).toBeUndefined();
  });

  test('skips what is damaged and says why', async () => {
    const store = new CheckpointStore(temporaryFolder());
    for (const step of [100, 200, 300, 400]) await writeTiny(store, contentsAt(step));
    flipBit(join(store.directory, 'step-00000400', 'optimizer.safetensors'), 3000);
    renameSync(join(store.directory, 'step-00000300', 'manifest.json'), join(store.directory, 'away'));
    mkdirSync(join(store.directory, 'step-1')); // not a name that we write
    const newest = await store.newestWhole();
    expect(newest?.checkpoint.trainer?.step).toBe(200);
    expect(newest?.skipped.map(({ step }) => step)).toEqual([400, 300]);
    expect(newest?.skipped[0]?.reason).toContain('optimizer.safetensors is damaged: its sha256');
    expect(newest?.skipped[1]?.reason).toContain('manifest.json is missing');
  });

  test('says so when none is complete, and when a folder was renamed', async () => {
    const store = new CheckpointStore(temporaryFolder());
    await writeTiny(store, contentsAt(100));
    renameSync(join(store.directory, 'step-00000100'), join(store.directory, 'step-00000101'));
    await expect(store.newestWhole()).rejects.toThrow(
      /no checkpoint in .* is complete:\n {2}step 101: .* is the checkpoint of step 100/,
    );
  });
});

describe('retention', () => {
  const stepsOf = async (store: CheckpointStore): Promise<number[]> => (await store.list()).map(({ step }) => step);

  test('keeps the newest K and the best by validation loss', async () => {
    const store = new CheckpointStore(temporaryFolder(), { keep: 2 });
    const losses = [4, 1.5, 3, null, 2, 2.5];
    for (const [index, valLoss] of losses.entries()) await writeTiny(store, contentsAt(10 * (index + 1), { valLoss }));
    expect(await stepsOf(store)).toEqual([60, 50, 20]);
    expect(readdirSync(store.directory).length).toBe(3);
  });

  test('keeps all by default', async () => {
    const store = new CheckpointStore(temporaryFolder());
    for (const step of [1, 2, 3, 4]) await writeTiny(store, contentsAt(step));
    expect(await stepsOf(store)).toEqual([4, 3, 2, 1]);
  });

  test('a damaged or a later checkpoint never displaces a complete one', async () => {
    const store = new CheckpointStore(temporaryFolder(), { keep: 1 });
    await writeTiny(store, contentsAt(300));
    await writeTiny(store, contentsAt(100)); // the run was taken back to an earlier step
    writeFileSync(join(store.directory, 'step-00000300', 'trainer.json'), 'x');
    await writeTiny(store, contentsAt(200));
    expect(await stepsOf(store)).toEqual([300, 200]);
    expect((await store.newestWhole())?.checkpoint.trainer?.step).toBe(200);
  });

  test('what is held stays until it is released, and takes no other its place', async () => {
    const store = new CheckpointStore(temporaryFolder(), { keep: 1 });
    await writeTiny(store, contentsAt(1));
    const release = store.hold(1);
    expect(() => store.hold(1)).toThrow(InvariantError);
    for (const step of [2, 3]) await writeTiny(store, contentsAt(step));
    expect(await stepsOf(store)).toEqual([3, 1]);
    await release();
    expect(await stepsOf(store)).toEqual([3]);
    expect(readdirSync(store.directory).length).toBe(1);

    const releaseNewest = store.hold(3);
    await releaseNewest();
    expect(await stepsOf(store), 'retention keeps it').toEqual([3]);
    await writeTiny(store, contentsAt(4));
    expect(await stepsOf(store), 'it is not held any more').toEqual([4]);
  });

  test('a deletion that fails is a warning, not a failed checkpoint', async () => {
    const warnings: string[] = [];
    const disk = {
      ...nodeDisk,
      removeTree: () => Promise.reject(new Error('EIO: no')),
    };
    const store = new CheckpointStore(temporaryFolder(), { keep: 1, disk, onWarning: (text) => warnings.push(text) });
    await writeTiny(store, contentsAt(1));
    await writeTiny(store, contentsAt(2));
    expect(warnings).toEqual([expect.stringContaining('could not be deleted: EIO: no')]);
    expect(await stepsOf(store)).toEqual([2]);
  });
});

interface Writer {
  readonly pid: number;
  readonly place?: string;
  readonly word?: string;
}

describe('what dead writers left', () => {
  const deadPid = spawnSync(process.execPath, ['-e', '']).pid;

  /** The name of the hidden folder of a writer of step 5. */
  function hiddenName(kind: 'tmp' | 'old', { pid, place = placeWord(), word = processWord(pid) }: Writer): string {
    return `.${kind}-step-00000005-${place}-${pid}-${word}-0123abcd`;
  }

  test('is removed, and nothing else is', async () => {
    const directory = temporaryFolder();
    const dead = hiddenName('tmp', { pid: deadPid });
    const restarted = hiddenName('tmp', { pid: process.pid });
    const alive = hiddenName('tmp', { pid: process.ppid });
    const reused = hiddenName('tmp', { pid: process.ppid, word: '01234567' });
    const foreign = hiddenName('tmp', { place: '00000000', pid: deadPid });
    const earlier = `.tmp-step-00000005-${placeWord()}-${deadPid}-0123abcd`;
    const unknown = '.tmp-mine';
    for (const name of [dead, restarted, alive, reused, foreign, earlier, unknown]) {
      mkdirSync(join(directory, name));
      writeFileSync(join(directory, name, 'model.safetensors'), 'x');
    }
    const link = hiddenName('tmp', { pid: deadPid }).replace('5-', '6-');
    symlinkSync(join(directory, unknown), join(directory, link));
    await new CheckpointStore(directory, { readOnly: true }).list();
    expect(readdirSync(directory).length).toBe(8);
    const store = new CheckpointStore(directory);
    expect(await store.list()).toEqual([]);
    expect(readdirSync(directory).sort()).toEqual([alive, foreign, earlier, unknown, link].sort());
    expect(readdirSync(join(directory, unknown))).toEqual(['model.safetensors']);
  });

  test('a replacement that was cut between its renames is undone', async () => {
    const store = new CheckpointStore(temporaryFolder());
    const path = await writeTiny(store, contentsAt(5));
    renameSync(path, join(store.directory, hiddenName('old', { pid: deadPid })));
    const again = new CheckpointStore(store.directory);
    expect((await again.newestWhole())?.checkpoint.trainer?.step).toBe(5);
  });

  test('a write in progress in this process is left alone by another store', async () => {
    const directory = temporaryFolder();
    const contents = contentsAt(5);
    const writer = await new CheckpointStore(directory).beginWrite(contents);
    await new CheckpointStore(directory).list();
    await writer.write(streamBytes(contents.tensors, 5));
    await writer.commit();
    expect(readdirSync(directory)).toEqual(['step-00000005']);
  });
});

test('too little room is noticed before anything is written', async () => {
  const disk = { ...nodeDisk, freeBytes: async () => 1000 };
  const store = new CheckpointStore(temporaryFolder(), { disk });
  const failure = await store.beginWrite(contentsAt(1)).catch((error: unknown) => error);
  expect(failure).toBeInstanceOf(PeerError);
  expect(String(failure)).toMatch(
    /step-00000001 could not be written: it needs [\d,]+ bytes, but the disk of .* has only 1,000 free/,
  );
  expect(readdirSync(store.directory)).toEqual([]);
});
