/** `launch prepare` and `launch inspect` as commands, and runs that train, resume and are evaluated on what they made. */
import { execFile, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { promisify } from 'node:util';
import { beforeAll, describe, expect, it } from 'vitest';
import { packageRoot } from '../../src/base/packageRoot.ts';
import { encodeShardManifest } from '../../src/data/shards/shardManifest.ts';
import { ShardWriter } from '../../src/data/shards/shardWriter.ts';
import { createTokenizer } from '../../src/data/tokenizers/openTokenizer.ts';
import { tokenizerHash } from '../../src/data/tokenizers/tokenizerHash.ts';
import { launch, metricsOf, set, start, tiny, useFolder } from './launch.ts';

const folder = useFolder();
const run = promisify(execFile);
const model = tiny.filter((override) => !override.startsWith('data.'));

beforeAll(async () => {
  const text = Array.from({ length: 4_000 }, (_, i) => `Line ${i} of a text, naïve as ever.\n`).join('');
  await writeFile(join(folder(), 'text.txt'), text);
  const made = await launch(['prepare', 'text.txt', '--tokenizer', 'char', '--out', 'data/chars'], folder());
  expect({ ...made, stderr: withoutProgress(made.stderr) }).toMatchObject({ code: 0, stderr: '', orphans: [] });
  expect(made.stdout).toMatch(
    /^1 document, [\d,]+ bytes of text: [\d,]+ tokens to train on, [\d,]+ to validate, in 1 file\n/,
  );
});

describe('launch prepare', () => {
  it('reads standard input, plain and compressed, to the bytes of a file', async () => {
    const content = await readFile(join(folder(), 'text.txt'));
    for (const [name, input] of [
      ['plain', content],
      ['gzip', (await run('gzip', ['-c', 'text.txt'], { cwd: folder(), encoding: 'buffer' })).stdout],
    ] as const) {
      const args = ['prepare', '-', '--tokenizer', 'byte', '--out', `stdin-${name}`];
      const { status, stderr } = spawnSync(process.execPath, [join(packageRoot, 'dist/cli/main.js'), ...args], {
        cwd: folder(),
        input,
        encoding: 'utf8',
      });
      expect({ status, stderr: withoutProgress(stderr) }).toEqual({ status: 0, stderr: '' });
    }
    await launch(['prepare', 'text.txt', '--tokenizer', 'byte', '--out', 'from-file'], folder());
    const shard = (name: string) => readFile(join(folder(), name, 'tokens-00000.bin'));
    expect(await shard('stdin-plain')).toEqual(await shard('from-file'));
    expect(await shard('stdin-gzip')).toEqual(await shard('from-file'));
  });

  it.each(['SIGINT', 'SIGTERM'] as const)('says after %s that the same command resumes', async (signal) => {
    const out = `stopped-${signal}`;
    const args = ['prepare', '-', '--tokenizer', 'byte', '--out', out];
    const child = spawn(process.execPath, [join(packageRoot, 'dist/cli/main.js'), ...args], { cwd: folder() });
    let stderr = '';
    child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
      stderr += chunk;
    });
    const ended = once(child, 'close');
    // Standard input is open, so it does not end by itself.
    while (!existsSync(join(folder(), out))) await setTimeout(20);
    child.kill(signal);
    expect(await ended).toEqual([130, null]);
    expect(stderr).toMatch(/^interrupted\. The same command resumes$/m);
  });

  it('with a vocabulary of its own, of bytes, and from a file: a run trains on it and takes its tokenizer along', async () => {
    await launch(['prepare', 'text.txt', '--tokenizer', 'bpe:300', '--out', 'data/pairs'], folder());
    const byFile = ['prepare', 'text.txt', '--tokenizer', 'data/pairs/', '--out', 'data/again'];
    expect(await launch(byFile, folder())).toMatchObject({ code: 0 });
    const shard = (name: string) => readFile(join(folder(), 'data', name, 'tokens-00000.bin'));
    expect(await shard('again')).toEqual(await shard('pairs'));
    expect(await launch(['prepare', 'text.txt', '--tokenizer', 'byte', '--out', 'data/bytes'], folder())).toMatchObject(
      {
        code: 0,
      },
    );
    for (const [data, tokenizer] of [
      ['pairs', 'bpe:300'],
      ['again', 'data/pairs/'],
      ['bytes', 'byte'],
    ]) {
      const overrides = set(...model, `data.shards=data/${data}`, `data.tokenizer=${tokenizer}`, 'train.maxSteps=3');
      const trained = await launch(['--workers', '1', '--run-dir', `on-${data}`, ...overrides], folder());
      expect(trained, trained.stderr).toMatchObject({ code: 0, orphans: [] });
    }
    const resumed = await launch(['--resume', 'on-again', ...set('train.maxSteps=5')], folder());
    expect(resumed, resumed.stderr).toMatchObject({ code: 0 });
    const spoken = await launch(
      ['generate', '--checkpoint', 'on-pairs', '--prompt', 'Line', '--max-tokens', '5'],
      folder(),
    );
    expect(spoken, spoken.stderr).toMatchObject({ code: 0 });
  });

  it('says so when there is nothing to do, and refuses to do another thing in the same place', async () => {
    const args = (tokenizer: string) => ['prepare', 'text.txt', '--tokenizer', tokenizer, '--out', 'data/chars'];
    const again = await launch(args('char'), folder());
    expect(again).toMatchObject({ code: 0, stdout: 'data/chars already exists, made from the same sources\n' });
    const other = await launch(args('gpt2'), folder());
    expect(other.code).toBe(2);
    expect(other.stderr).toMatch(
      /launch: .*data\/chars was prepared with tokenizer "char", not "gpt2, .*choose another --out/,
    );
  });

  it.each<[string, string[], RegExp]>([
    ['a source that does not exist', ['nothing.txt'], /there is no file or folder nothing\.txt/],
    ['an unknown tokenizer', ['text.txt', '--tokenizer', 'words'], /--tokenizer: expected one of char, byte, gpt2/],
    [
      'an invalid share',
      ['text.txt', '--val-fraction', '2'],
      /--val-fraction: expected a number from 0 to 0\.9, received 2/,
    ],
    [
      'two ways to split',
      ['text.txt', '--val-fraction', '0.1', '--val-documents', '0.1'],
      /--val-fraction and --val-documents/,
    ],
    ['standard input and more', ['-', 'text.txt'], /standard input \(-\) must be the only source/],
  ])('refuses %s with exit code 2', async (_, args, message) => {
    const tokenizer = args.includes('--tokenizer') ? [] : ['--tokenizer', 'gpt2'];
    const { code, stdout, stderr } = await launch(['prepare', ...args, ...tokenizer, '--out', 'never'], folder());
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toMatch(message);
    expect(stderr).not.toMatch(/\n {4}at /);
    expect(await readdir(folder())).not.toContain('never');
  });
});

describe('launch inspect', () => {
  it('shows counts, a histogram and samples', async () => {
    const { code, stdout } = await launch(['inspect', 'data/chars', '--samples', '2'], folder());
    expect(code).toBe(0);
    expect(stdout).toMatch(/^data\/chars: char tokenizer, \d+ tokens in the vocabulary, \d+ of them used\n/);
    expect(stdout).toMatch(/most frequent tokens\n.* % {2}" "\n/);
    expect(stdout.match(/^train, from token [\d,]+:\n".*"$/gm)).toHaveLength(2);
  });

  it('finds a byte that has changed', async () => {
    await run('cp', ['-r', 'data/chars', 'changed'], { cwd: folder() });
    const path = join(folder(), 'changed/tokens-00000.bin');
    const bytes = await readFile(path);
    bytes[5_000]! ^= 1;
    await writeFile(path, bytes);
    const { code, stderr } = await launch(['inspect', 'changed'], folder());
    expect(code).toBe(2);
    expect(stderr).toMatch(/tokens-00000\.bin is damaged: its tokens have sha256 .*, but the manifest says/);
  });
});

describe('a run on prepared data', () => {
  const options = (...overrides: string[]) => set(...model, 'train.maxSteps=20', 'eval.everySteps=10', ...overrides);

  it('has the losses of a run on the text, whatever the workers; and so has an evaluation', async () => {
    const fromText = await launch(['--workers', '1', '--run-dir', 'rt', ...options('data.text=text.txt')], folder());
    expect(fromText.code).toBe(0);
    const expected = (await metricsOf(join(folder(), 'rt'))).map(({ loss, valLoss }) => loss ?? valLoss);
    const fromShards = await launch(
      ['--workers', '1', '--run-dir', 'rs', ...options('data.shards=data/chars')],
      folder(),
    );
    expect(fromShards).toMatchObject({ code: 0, orphans: [] });
    expect((await metricsOf(join(folder(), 'rs'))).map(({ loss, valLoss }) => loss ?? valLoss)).toEqual(expected);
    const evaluate = async (...args: string[]) =>
      JSON.parse((await launch(['eval', '--json', ...args], folder())).stdout);
    const [a, b, c] = [
      await evaluate('--checkpoint', 'rt'),
      await evaluate('--checkpoint', 'rs'),
      await evaluate('--checkpoint', 'rt', '--data', 'data/chars'),
    ];
    expect(b).toMatchObject({
      loss: a.loss,
      bitsPerByte: a.bitsPerByte,
      tokens: a.tokens,
      data: { sameAsTrained: true },
    });
    expect(c.loss).toBe(a.loss);
  });

  it('validates on the complete split, and counts the bytes of the text without the ends of documents', async () => {
    const lines = Array.from({ length: 300 }, (_, i) => JSON.stringify({ text: `Document ${i}, naïve as ever.` }));
    await writeFile(join(folder(), 'many.jsonl'), lines.join('\n'));
    await launch(
      ['prepare', 'many.jsonl', '--tokenizer', 'gpt2', '--val-documents', '0.2', '--out', 'data/many'],
      folder(),
    );
    const manifest = JSON.parse(await readFile(join(folder(), 'data/many/manifest.json'), 'utf8'));
    const overrides = [
      'data.shards=data/many',
      'data.tokenizer=gpt2',
      'train.maxSteps=2',
      'eval.everySteps=2',
      'eval.batches=0',
    ];
    const options = ['--single-process', '--workers', '2', '--run-dir', 'rm', ...set(...model, ...overrides)];
    expect((await launch(options, folder())).code).toBe(0);
    const evaluate = async (split: string) =>
      JSON.parse((await launch(['eval', '--checkpoint', 'rm', '--json', '--split', split], folder())).stdout);
    const all = await evaluate('all');
    // But for the first token of either split, which nothing predicts.
    expect(all.bytes).toBe(manifest.textBytes - 2 * 'Document'.length);
    expect(all.tokens).toBe(manifest.shards[0].tokens + manifest.shards[1].tokens - 2);
    const [periodic] = (await metricsOf(join(folder(), 'rm'))).flatMap(({ valLoss }) => valLoss ?? []);
    expect((await evaluate('val')).loss).toBeCloseTo(periodic!, 4);
  });

  it('continues in a shuffled mixture where it was, with the samples of a run that was not interrupted', async () => {
    const made = await launch(['prepare', '*.txt', '--tokenizer', 'data/chars', '--out', 'data/more'], folder());
    expect(made.code).toBe(0);
    const mixture = ['data.shards=[data/chars,data/more]', 'data.weights=[3,1]', 'data.sampler=shuffled'];
    const begin = (runDir: string, maxSteps: number) => {
      const overrides = options(...mixture, 'schedule.kind=constant', `train.maxSteps=${maxSteps}`);
      return launch(['--single-process', '--workers', '2', '--run-dir', runDir, ...overrides], folder());
    };
    expect(await begin('whole', 20)).toMatchObject({ code: 0, orphans: [] });
    expect(await begin('part', 10)).toMatchObject({ code: 0, orphans: [] });
    expect((await launch(['--resume', 'part', ...set('train.maxSteps=20')], folder())).code).toBe(0);
    const losses = async (name: string) => (await metricsOf(join(folder(), name))).flatMap(({ loss }) => loss ?? []);
    expect(await losses('part')).toEqual(await losses('whole'));
    const changed = await launch(['--resume', 'part', ...set('train.maxSteps=30', 'data.weights=[1,3]')], folder());
    expect(changed.code).toBe(2);
    expect(changed.stderr).toMatch(/the text has changed/);
  });

  it('needs no memory for the tokens: shards larger than all it may have', async () => {
    const tokens = 320 * 2 ** 20;
    const limitBytes = 512 * 2 ** 20;
    const tokenizer = await createTokenizer('char', 'abcdefghijklmnop');
    const path = join(folder(), 'data/large');
    await mkdir(path, { recursive: true });
    const files = tokenizer.files();
    for (const [name, content] of Object.entries(files)) await writeFile(join(path, name), content);
    const sha256 = tokenizerHash(tokenizer);
    const shardTokens = 64 * 2 ** 20;
    const header = { prefix: 'tokens', tokenBytes: 2, vocabSize: 16, tokenizerSha256: sha256, shardTokens } as const;
    const writer = await ShardWriter.open({ ...header, folder: path }, { shards: [], openTokens: 0 });
    const block = Uint16Array.from({ length: 2 ** 20 }, (_, i) => (i * i + (i >> 3)) % 16);
    for (let at = 0; at < tokens; at += block.length) await writer.append(block);
    const shards = await writer.finish();
    const ranges = shards.map(({ name }) => ({ shard: name, from: 0, to: shardTokens }));
    await writeFile(
      join(path, 'manifest.json'),
      encodeShardManifest({
        tokenizer: { kind: 'char', vocabSize: 16, sha256, endOfText: null, files: Object.keys(files) },
        tokenBytes: 2,
        documents: 1,
        textBytes: tokens,
        skipped: 0,
        shards,
        splits: { train: ranges.slice(0, -1), val: ranges.slice(-1) },
      }),
    );
    expect(shards.length * shardTokens * 2).toBeGreaterThan(limitBytes);

    const running = start(
      ['--workers', '1', '--run-dir', 'large', ...options('data.shards=data/large', 'train.maxSteps=200')],
      folder(),
    );
    const group = await limitMemory(running.process.pid!, limitBytes);
    const peaks: number[] = [];
    const poll = setInterval(async () => {
      const status = await readFile(`/proc/${running.process.pid}/status`, 'utf8').catch(() => '');
      const peak = /VmHWM:\s+(\d+) kB/.exec(status)?.[1];
      if (peak !== undefined) peaks.push(Number(peak) * 1_024);
    }, 50);
    const { code, stderr } = await running.finished;
    clearInterval(poll);
    await group?.remove();
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(Math.max(...peaks)).toBeLessThan(limitBytes / 2);
    const waits = (await metricsOf(join(folder(), 'large'))).flatMap(
      ({ ranks }) => (ranks?.[0] as { dataWaitMs?: number })?.dataWaitMs ?? [],
    );
    expect(waits.length).toBe(200);
  });
});

/** A slow machine has time to say how far it is. */
function withoutProgress(stderr: string): string {
  return stderr.replace(/^.*(tokens\/s|collecting characters).*\n/gm, '');
}

/** Puts a process, and those that it starts, in a group with so much memory; undefined where that is not permitted. */
async function limitMemory(pid: number, bytes: number): Promise<{ remove: () => Promise<void> } | undefined> {
  const path = `/sys/fs/cgroup/memory/lockstep-test-${process.pid}`;
  try {
    await mkdir(path);
    await writeFile(join(path, 'memory.limit_in_bytes'), `${bytes}`);
    await writeFile(join(path, 'cgroup.procs'), `${pid}`);
  } catch (error) {
    process.stdout.write(
      `no memory group (${String(error).split('\n')[0]}): the peak of the process is looked at alone\n`,
    );
    return undefined;
  }
  return { remove: () => rmdir(path) };
}
