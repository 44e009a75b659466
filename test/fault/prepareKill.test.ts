/** `launch prepare` that is killed, meets a full disk, or another one in its folder: in the end the bytes of an undisturbed one. */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, open, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { packageRoot } from '../../src/base/packageRoot.ts';
import { launch, type Running, start, useFolder } from '../e2e/launch.ts';

const folder = useFolder();
const run = promisify(execFile);

/** Words in an order that hardly repeats, so that encoding takes its time. */
function words(count: number): string {
  let state = 1;
  const next = (below: number) => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return (state >>> 8) % below;
  };
  const word = () => Array.from({ length: 2 + next(7) }, () => String.fromCharCode(97 + next(26))).join('');
  return Array.from({ length: count }, () => `${word()}${next(12) === 0 ? '.\n' : ' '}`).join('');
}

const prepare = (source: string, out: string, ...more: string[]) => [
  'prepare',
  source,
  '--tokenizer',
  'gpt2',
  '--out',
  out,
  '--shard-tokens',
  '200000',
  ...more,
];

async function contentsOf(name: string): Promise<Record<string, string>> {
  const path = join(folder(), name);
  const entries = (await readdir(path))
    .sort()
    .map(async (file) => [file, (await readFile(join(path, file))).toString('base64')]);
  return Object.fromEntries(await Promise.all(entries)) as Record<string, string>;
}

beforeAll(async () => {
  const text = words(700_000);
  await writeFile(join(folder(), 'text.txt'), text);
  const lines = text
    .slice(0, 3_000_000)
    .split('\n')
    .map((line) => JSON.stringify({ text: line }));
  await writeFile(join(folder(), 'lines.jsonl.gz'), gzipSync(lines.join('\n')));
  for (const [source, out] of [
    ['text.txt', 'whole-text'],
    ['lines.jsonl.gz', 'whole-lines'],
  ] as const) {
    const more = source === 'text.txt' ? [] : ['--val-documents', '0.1'];
    expect(await launch(prepare(source, out, '--threads', '1', ...more), folder())).toMatchObject({
      code: 0,
      orphans: [],
    });
  }
});

/** Resolves when progress of this run is kept, or it has ended. */
async function isKept(out: string, { process: { exitCode }, finished }: Running): Promise<void> {
  const kept = () =>
    stat(join(folder(), out, 'progress.json')).then(
      ({ mtimeMs }) => mtimeMs,
      () => 0,
    );
  const before = await kept();
  let hasEnded = exitCode !== null;
  void finished.then(() => {
    hasEnded = true;
  });
  while (!hasEnded && (await kept()) === before) await sleep(2);
}

describe('killed again and again', () => {
  it.each([
    ['a text', 'text.txt', 'whole-text', []],
    ['compressed lines', 'lines.jsonl.gz', 'whole-lines', ['--val-documents', '0.1']],
  ])('%s is finished to the same bytes', async (_, source, whole, more) => {
    const args = prepare(source, `killed-${whole}`, '--threads', '2', ...more);
    let kills = 0;
    let wentOn = 0;
    for (;;) {
      const running = start(args, folder());
      // A few times, each soon after something more was made sure of.
      if (kills < 4) {
        await isKept(`killed-${whole}`, running);
        await sleep(Math.random() * 30);
        running.process.kill('SIGKILL');
      }
      const { code, stdout, stderr } = await running.finished;
      if (stdout.includes('resuming after')) wentOn++;
      if (code === 0) break;
      expect({ code, stderr: stderr.replace(/^.*tokens\/s.*$/gm, '').trim() }).toEqual({ code: null, stderr: '' });
      kills++;
      const left = await readdir(join(folder(), `killed-${whole}`)).catch(() => []);
      expect(left).not.toContain('manifest.json');
    }
    process.stdout.write(`${source}: killed ${kills} times, continued ${wentOn} times\n`);
    expect(kills).toBeGreaterThan(0);
    expect(wentOn).toBeGreaterThan(0);
    expect(await contentsOf(`killed-${whole}`)).toEqual(await contentsOf(whole));
    const trained = await launch(['--set', `data.shards=${whole}`, 'data.tokenizer=gpt2', '--dry-run'], folder());
    expect(trained.code).toBe(0);
  });
});

describe('standard input', () => {
  /** Runs to the end, or until `out` has something to resume from. */
  async function fromInput(
    input: string,
    out: string,
    isKilled: boolean,
  ): Promise<{ code: number | null; stderr: string }> {
    const file = await open(join(folder(), input));
    const args = [join(packageRoot, 'dist/cli/main.js'), ...prepare('-', out)];
    const child = spawn(process.execPath, args, { cwd: folder(), stdio: [file.fd, 'ignore', 'pipe'] });
    let stderr = '';
    child.stderr?.setEncoding('utf8').on('data', (chunk: string) => {
      stderr += chunk;
    });
    const closed = once(child, 'close');
    while (isKilled && child.exitCode === null) {
      if ((await readdir(join(folder(), out)).catch(() => [] as string[])).includes('progress.json'))
        child.kill('SIGKILL');
      await sleep(10);
      if (child.signalCode !== null) break;
    }
    const [code] = (await closed) as [number | null];
    await file.close();
    return { code, stderr };
  }

  it('is resumed if it is the same, and refused if it is not', async () => {
    expect(await fromInput('text.txt', 'input', true)).toMatchObject({ code: null });
    const changed = await readFile(join(folder(), 'text.txt'));
    changed.write('X');
    await writeFile(join(folder(), 'changed.txt'), changed);
    await writeFile(join(folder(), 'shorter.txt'), changed.subarray(0, 1_000));
    for (const other of ['changed.txt', 'shorter.txt']) {
      const refused = await fromInput(other, 'input', false);
      expect(refused.code).toBe(2);
      expect(refused.stderr).toMatch(/launch: standard input is not what it was when the folder was begun/);
    }
    expect(await fromInput('text.txt', 'input', false)).toMatchObject({ code: 0 });
    const { 'prepare.json': _, ...expected } = await contentsOf('whole-text');
    expect(await contentsOf('input')).toMatchObject(expected);
  });
});

describe('a disk that fills up', () => {
  let mounted: string | undefined;
  afterEach(async () => {
    if (mounted !== undefined) await run('umount', ['-l', mounted]);
    mounted = undefined;
  });

  it('is told with what to do; with room again the same command comes to the same bytes', async () => {
    const disk = join(folder(), 'disk');
    await mkdir(disk);
    try {
      await run('mount', ['-t', 'tmpfs', '-o', 'size=6m', 'tmpfs', disk]);
    } catch (error) {
      process.stdout.write(`no disk of its own, so none that fills up (${String(error).split('\n')[0]})\n`);
      return;
    }
    mounted = disk;
    const args = prepare('text.txt', 'disk/out');
    const full = await launch(args, folder());
    expect(full).toMatchObject({ code: 1, orphans: [] });
    expect(full.stderr).toMatch(
      /launch: cannot write to .*disk\/out: the disk is full \(ENOSPC\).*run the same command again to resume/,
    );
    expect(full.stderr).not.toMatch(/\n {4}at /);
    expect(await readdir(join(disk, 'out'))).not.toContain('manifest.json');
    const refused = await launch(['--set', 'data.shards=disk/out', 'data.tokenizer=gpt2', '--dry-run'], folder());
    expect(refused.code).toBe(2);
    await run('mount', ['-o', 'remount,size=64m', disk]);
    expect(await launch(args, folder())).toMatchObject({ code: 0, orphans: [] });
    expect(await contentsOf('disk/out')).toEqual(await contentsOf('whole-text'));
  });
});

describe('two in one folder', () => {
  it('the second is refused, the first continues', async () => {
    const first = start(prepare('text.txt', 'both'), folder());
    for (;;) {
      if ((await readdir(join(folder(), 'both')).catch(() => [] as string[])).includes('prepare.lock')) break;
      await sleep(20);
    }
    const second = await launch(prepare('text.txt', 'both'), folder());
    expect(second.code).toBe(2);
    expect(second.stderr).toMatch(new RegExp(`launch: process ${first.process.pid} is preparing .*both: wait for it`));
    expect((await first.finished).code).toBe(0);
    expect(await contentsOf('both')).toEqual(await contentsOf('whole-text'));
    await rm(join(folder(), 'both'), { recursive: true });
  });
});
